//! Ports that nobody listens on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Returns a loopback address whose port was free a moment ago.
///
/// That another program gets the same one is unlikely (see [`free_ports`]), not impossible: where a program can
/// listen on port 0 and tell which one it got, that is better.
pub fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(&[0])?)))
}

/// Returns a loopback port that was free a moment ago; see [`free_address`].
pub fn free_port() -> Result<u16> {
    Ok(free_address()?.port())
}

/// Returns a loopback port that was free a moment ago, as those at each of these distances above it were.
///
/// They lie below 32768, where Linux begins to hand out ports to those who ask for any, and in one process every call
/// gets others, until there are none left and it begins again.
pub fn free_ports(distances: &[u16]) -> Result<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let length = distances.iter().max().map_or(1, |distance| distance + 1);
    let blocks = COUNT / length;
    // Two processes seldom begin at the same block.
    let begin = std::process::id() as u16 % blocks.max(1);
    for _ in 0..blocks {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let base = FIRST + (begin + call % blocks) % blocks * length;
        if distances.iter().all(|distance| TcpListener::bind((Ipv4Addr::LOCALHOST, base + distance)).is_ok()) {
            return Ok(base);
        }
    }
    bail!("found no free ports at the distances {distances:?}")
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

    #[test]
    fn ports_at_distances_can_be_bound() {
        let distances = [0, 1, 100];
        let [base, other] = [free_ports(&distances).unwrap(), free_ports(&distances).unwrap()];
        assert!(base.abs_diff(other) > 100);
        let bound = distances.map(|distance| TcpListener::bind((Ipv4Addr::LOCALHOST, base + distance)));
        assert!(bound.iter().all(Result::is_ok), "{bound:?}");
    }
}
