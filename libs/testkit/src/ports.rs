//! Ports that nobody listens on.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail, ensure};

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
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let span = distances.iter().max().map_or(0, |distance| *distance);
    ensure!(span < COUNT, "there is no room for ports {span} apart");
    let bases = u32::from(COUNT - span);
    // Two processes seldom begin near each other.
    let begin = std::process::id().wrapping_mul(101) % bases;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |port: u16, given: &BTreeSet<u16>| {
        !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    };
    for _ in 0..2 {
        for offset in 0..bases {
            let base = FIRST + ((begin + offset) % bases) as u16;
            if distances.iter().all(|distance| is_free(base + distance, &given)) {
                given.extend(distances.iter().map(|distance| base + distance));
                return Ok(base);
            }
        }
        given.clear();
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
    fn ports_too_far_apart_are_refused() {
        assert!(free_ports(&[0, 22_000]).unwrap_err().to_string().contains("22000 apart"));
    }

    #[test]
    fn ports_at_distances_can_be_bound() {
        let distances = [0, 1, 100];
        let [base, other] = [free_ports(&distances).unwrap(), free_ports(&distances).unwrap()];
        let ports = [base, other, free_port().unwrap()].map(|base| distances.map(|distance| base + distance));
        let bound = [&ports[0][..], &ports[1], &ports[2][..1]].concat();
        let bound: Vec<_> = bound.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port))).collect();
        assert!(bound.iter().all(Result::is_ok), "{bound:?}");
    }
}
