//! Ports that nobody listens on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// Returns a loopback address whose port was free a moment ago.
///
/// The system hands out such ports in turn, so that another program gets the same one is unlikely, not
/// impossible: where a program can listen on port 0 and tell which one it got, that is better.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a loopback port")?;
    listener.local_addr().context("asking for the bound port")
}

/// Returns a loopback port that was free a moment ago; see [`free_address`].
pub fn free_port() -> Result<u16> {
    Ok(free_address()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let address = free_address().unwrap();
        assert!(address.ip().is_loopback());
        TcpListener::bind(address).unwrap();
    }
}
