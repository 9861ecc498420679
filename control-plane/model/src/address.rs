//! Address prefixes: what stands for one place in the network when requests are counted.
//!
//! Whoever has one IPv6 address has a whole network of them, and neighbours in an IPv4 network often belong together.
//! So shares and quotas go by /24 and /48 before they go by address.

use std::{fmt, net::IpAddr};

/// The /24 of an IPv4 address or the /48 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// The first three bytes.
    V4([u8; 3]),
    /// The first six bytes.
    V6([u8; 6]),
}

impl Prefix {
    /// The prefix of `address`; an IPv4 address written as IPv6 counts as what it is.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [first @ .., _] = v4.octets();
                Self::V4(first)
            }
            IpAddr::V6(v6) => {
                let [first @ .., _, _, _, _, _, _, _, _, _, _] = v6.octets();
                Self::V6(first)
            }
        }
    }
}

impl fmt::Display for Prefix {
    /// `10.0.0.0/24` or `fd00:1:2::/48`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(first) => {
                let mut octets = [0; 4];
                octets[..3].copy_from_slice(first);
                write!(f, "{}/24", std::net::Ipv4Addr::from(octets))
            }
            Self::V6(first) => {
                let mut octets = [0; 16];
                octets[..6].copy_from_slice(first);
                write!(f, "{}/48", std::net::Ipv6Addr::from(octets))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_prefix_however_they_are_written() {
        for (address, prefix) in [
            ("10.1.2.3", "10.1.2.0/24"),
            ("::ffff:10.1.2.250", "10.1.2.0/24"),
            ("fd00:1:2:3::4", "fd00:1:2::/48"),
            ("::1", "::/48"),
        ] {
            assert_eq!(
                Prefix::of(address.parse().expect("an address")).to_string(),
                prefix
            );
        }
    }
}
