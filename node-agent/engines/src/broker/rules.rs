//! Which destinations the runs of a launcher may have, as data: no network is touched here.
//!
//! Invariant: a name is compared with names and an address with addresses. Where a name leads is judged anew for each
//! address that it has.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::policy::Destination;

/// The longest name of a host, in bytes (RFC 1035, 2.3.4, as text).
const LONGEST_NAME: usize = 253;
/// Where clouds answer questions about their machines, besides link-local addresses and [`METADATA_OF_AWS`]: Alibaba,
/// Azure; by IPv6 Google, Oracle and Scaleway.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];
/// fd00:ec2::/32: metadata, time and names of AWS.
const METADATA_OF_AWS: [u16; 2] = [0xfd00, 0xec2];

/// What a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// In lower case, without the dot of the root.
    Name(String),
    /// IPv4 in whatever disguise is IPv4.
    Address(IpAddr),
}

impl Host {
    /// `None` for what is neither: a name that ends in a number is an address that some resolvers would read.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let plain = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let numeric = |label: &str| {
            label.bytes().all(|byte| byte.is_ascii_digit())
                || label
                    .strip_prefix("0x")
                    .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        let named = name.len() <= LONGEST_NAME && name.split('.').all(plain) && !numeric(last);
        named.then_some(Self::Name(name))
    }
}

/// The destinations that a policy lists.
#[derive(Debug)]
pub(crate) struct Rules(BTreeSet<Destination>);

impl Rules {
    pub(crate) fn new(listed: BTreeSet<Destination>) -> Self {
        Self(listed)
    }

    /// Whether the policy lists it, by this name or address.
    pub(super) fn list(&self, host: &Host, port: u16) -> bool {
        let listed = |destination: &Destination| match (host, Host::parse(&destination.host)) {
            (Host::Address(wanted), Some(Host::Address(address))) => *wanted == address,
            (Host::Name(wanted), Some(Host::Name(name))) => *wanted == name,
            (Host::Name(wanted), None) => {
                // `*.example.com` is all that is below, and not example.com itself.
                let suffix = destination.host.strip_prefix("*.").and_then(Host::parse);
                let Some(Host::Name(suffix)) = suffix else {
                    return false;
                };
                let below = wanted.strip_suffix(suffix.as_str());
                below.is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            _ => false,
        };
        self.0
            .iter()
            .any(|destination| destination.port == port && listed(destination))
    }
}

/// Why an address is no destination unless it is listed itself. Asked of each of its [`guises`].
pub(super) fn inward(address: IpAddr) -> Option<&'static str> {
    let metadata = match address {
        IpAddr::V6(v6) => v6.segments().starts_with(&METADATA_OF_AWS),
        IpAddr::V4(_) => false,
    };
    if metadata || METADATA.contains(&address) {
        return Some("where a cloud keeps secrets of this node");
    }
    match address {
        IpAddr::V4(v4) if v4.is_loopback() || v4.octets()[0] == 0 => Some("this node itself"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("of this node's own link, where clouds keep secrets"),
        IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => Some("no single host"),
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unspecified() => Some("this node itself"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("of this node's own link"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("no single host"),
        _ => None,
    }
}

/// All addresses to which a connection to this one may lead: itself, and what is embedded in it.
pub(super) fn guises(address: IpAddr) -> Vec<IpAddr> {
    let address = address.to_canonical();
    let mut all = vec![address];
    if let IpAddr::V6(v6) = address {
        all.extend(embedded(v6).into_iter().map(IpAddr::V4));
    }
    all
}

/// The IPv4 addresses to which others may translate: NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), compatible (RFC 4291).
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bytes = address.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| bytes[place]));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0, 0, _, _] => vec![at([12, 13, 14, 15])],
        // How long the prefix is, its network knows: all four ways to read it (RFC 6052, 2.2), but for those that find
        // only padding.
        [0x64, 0xff9b, 1, ..] => [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]]
            .map(at)
            .into_iter()
            .filter(|v4| v4.octets()[0] != 0)
            .collect(),
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(listed: &[(&str, u16)]) -> Rules {
        let destinations = listed.iter().map(|(host, port)| Destination {
            host: (*host).to_owned(),
            port: *port,
        });
        Rules::new(destinations.collect())
    }

    fn listed(rules: &Rules, host: &str, port: u16) -> bool {
        Host::parse(host).is_some_and(|host| rules.list(&host, port))
    }

    fn told(address: IpAddr) -> bool {
        guises(address).into_iter().any(|guise| inward(guise).is_some())
    }

    #[test]
    fn a_destination_is_listed_with_host_and_port() {
        let rules = rules(&[("Data.Example.com", 443), ("10.0.0.7", 5432), ("2001:db8::7", 80)]);
        for (host, port, expected) in [
            ("data.example.com", 443, true),
            ("DATA.example.COM.", 443, true),
            ("data.example.com", 80, false),
            ("example.com", 443, false),
            ("x.data.example.com", 443, false),
            ("data.example.com.evil.net", 443, false),
            ("10.0.0.7", 5432, true),
            ("::ffff:10.0.0.7", 5432, true),
            ("[::ffff:a00:7]", 5432, true),
            ("10.0.0.7", 443, false),
            ("010.0.0.7", 5432, false),
            ("10.7", 5432, false),
            ("0xa000007", 5432, false),
            ("167772167", 5432, false),
            ("[2001:DB8:0::7]", 80, true),
            ("2001:db8::8", 80, false),
            ("", 443, false),
        ] {
            assert_eq!(listed(&rules, host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn a_star_stands_for_one_or_more_names_before_the_rest() {
        let rules = rules(&[("*.example.com", 443), ("*.1", 443), ("*", 443), ("*.", 443)]);
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.EXAMPLE.com", true),
            ("example.com", false),
            (".example.com", false),
            ("notexample.com", false),
            ("127.0.0.1", false),
            ("evil.net", false),
            ("*.example.com", false),
        ] {
            assert_eq!(listed(&rules, host, 443), expected, "{host}");
        }
    }

    #[test]
    fn what_leads_back_to_the_node_is_told_in_every_disguise() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:7f00:0:100::",
            "64:ff9b:1:7:7f:0:100:0",
            "64:ff9b:1:7:7f:0:100:0",
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert!(told(address), "{address}");
        }
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "93.184.216.34",
            "fd00::1",
            "2606:2800:220:1::1",
            "64:ff9b::808:808",
            "64:ff9b:1::10.0.0.1",
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert!(!told(address), "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn only_what_has_the_suffix_is_below_a_star(host in ".{0,40}") {
            let rules = rules(&[("*.example.com", 443)]);
            if listed(&rules, &host, 443) {
                let lower = host.trim_end_matches('.').to_ascii_lowercase();
                proptest::prop_assert!(lower.ends_with(".example.com"));
            }
        }

        #[test]
        fn every_way_to_write_an_address_of_this_node_is_told(last in 0u32..0x0100_0000) {
            let v4 = Ipv4Addr::from(0x7f00_0000 | last);
            proptest::prop_assert!(told(IpAddr::V4(v4)));
            proptest::prop_assert!(told(IpAddr::V6(v4.to_ipv6_mapped())));
        }
    }
}
