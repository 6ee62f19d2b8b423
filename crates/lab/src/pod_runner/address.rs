//! The address of a Pod: all Pods share the host's network, so each gets a loopback address of its own. Two programs of
//! different Pods can then listen on the same port.

use std::net::Ipv4Addr;

use sha2::{Digest as _, Sha256};

/// An address in 127.64.0.0 – 127.127.255.254, the same for the same UID.
pub(super) fn of_pod(uid: &str) -> Ipv4Addr {
    let digest = Sha256::digest(uid.as_bytes());
    let [first, second, third, ..] = <[u8; 32]>::from(digest);
    // Neither the network's own nor its broadcast address.
    Ipv4Addr::new(127, 64 | (first & 63), second, third.clamp(1, 254))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_loopback_address_and_another_one_for_another_pod() {
        let [one, two] = ["3f5736c8", "e70a61a8"].map(of_pod);
        assert!(one.is_loopback() && two.is_loopback());
        assert_ne!(one, two);
        assert_eq!(one, of_pod("3f5736c8"));
        assert_ne!(one, Ipv4Addr::LOCALHOST);
    }
}
