use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind, Value};

use super::key::Key;
use crate::store::SessionKey;

/// A script that does one thing to the keys of one session. It may run twice: a lost connection tells nothing.
#[derive(Debug)]
pub(super) struct SessionScript {
    text: &'static str,
    hash: String,
}

impl SessionScript {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// Runs it, by its hash. A server that does not know it is sent all of it, once.
    pub(super) async fn run(
        &self,
        connection: &mut (impl ConnectionLike + Send),
        key: &SessionKey,
        arguments: &[&[u8]],
    ) -> RedisResult<Value> {
        let known = command("EVALSHA", &self.hash, key, arguments);
        match connection.req_packed_command(&known).await.and_then(Value::extract_error) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let whole = command("EVAL", self.text, key, arguments);
                connection.req_packed_command(&whole).await.and_then(Value::extract_error)
            }
            done => done,
        }
    }
}

fn command(verb: &str, script: &str, key: &SessionKey, arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(verb);
    let (lease, window) = (Key::Lease(key).to_string(), Key::Window(key).to_string());
    command.arg(script).arg(2).arg(lease).arg(window).arg(arguments);
    command
}
