//! Asks a process whether it is ready: an operator port, as a load balancer would, and servers that are not ours.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Tells whether the service behind this operator port is ready.
pub fn is_ready(operator: SocketAddr) -> bool {
    let question = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    answer(operator, question).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

/// Tells whether PostgreSQL takes its superuser in (a StartupMessage of version 3.0, answered by `R`), who leaves at once.
pub fn is_postgres_ready(address: SocketAddr) -> bool {
    let question = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0X\0\0\0\x04";
    answer(address, question).is_ok_and(|answer| answer.starts_with(b"R"))
}

/// Tells whether Redis answers.
pub fn is_redis_ready(address: SocketAddr) -> bool {
    answer(address, b"PING\r\nQUIT\r\n").is_ok_and(|answer| answer.starts_with(b"+PONG"))
}

/// Tells whether anybody accepts connections there.
pub fn is_listening(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, LIMIT).is_ok()
}

/// Returns all that comes until the other side closes the connection.
fn answer(address: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(question)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers once, whatever is asked, after the length that a question has.
    fn answering(length: usize, answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; length]).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn a_server_that_starts_is_not_ready() {
        // The first says its own length.
        assert!(is_postgres_ready(answering(23 + 5, b"R\0\0\0\x08\0\0\0\0")));
        assert!(!is_postgres_ready(answering(23 + 5, b"E\0\0\0\x2eSFATAL\0")));
        assert!(is_redis_ready(answering(12, b"+PONG\r\n+OK\r\n")));
        assert!(!is_redis_ready(answering(12, b"-LOADING Redis is loading\r\n+OK\r\n")));
    }
}
