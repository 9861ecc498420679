//! Which names and addresses a join token is good for.

use std::{fmt, net::IpAddr, str::FromStr};

use muster_ids::{Name, NameError};

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not one of a name.
    #[error(
        "a name pattern is a name in which * stands for any characters and ? for one, such as \"terr-*\""
    )]
    Name(#[source] NameError),
    /// Not one of addresses.
    #[error(
        "an address pattern is a network such as 10.1.0.0/16 or fd00:1::/48, an address, or an address with * such as 10.1.*"
    )]
    Address,
    /// A network whose address has bits beyond its length.
    #[error("the network {0} begins at {1}; write {1}/{2}")]
    Network(String, IpAddr, u8),
}

/// A name in which `*` stands for any characters and `?` for one; upper and lower case do not differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Whether `name` is such a name.
    pub fn matches(&self, name: &Name) -> bool {
        glob(&fold(&self.0), &fold(name.as_str()))
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        // Whatever is no wildcard must be able to stand in a name.
        text.replace(['*', '?'], "x")
            .parse::<Name>()
            .map_err(PatternError::Name)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Addresses: a network, one address, or an address with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPattern {
    /// All addresses whose first bits are these.
    Network(IpAddr, u8),
    /// All addresses whose text, in its usual form, is like this.
    Glob(String),
}

impl AddressPattern {
    /// Whether `address` is such an address. An IPv4 address written as IPv6 counts as what it is.
    pub fn matches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::Network(network, bits) => first_bits(address, *bits) == Some(*network),
            Self::Glob(pattern) => glob(&fold(pattern), &fold(&address.to_string())),
        }
    }
}

/// The network of `bits` bits that `address` is in.
fn first_bits(address: IpAddr, bits: u8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => {
            let rest = 32_u32.checked_sub(bits.into())?;
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let rest = 128_u32.checked_sub(bits.into())?;
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    })
}

impl FromStr for AddressPattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        const LONGEST: usize = 64;
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| PatternError::Address)?;
            let bits: u8 = bits.parse().map_err(|_| PatternError::Address)?;
            let network = first_bits(address, bits).ok_or(PatternError::Address)?;
            if network != address {
                return Err(PatternError::Network(text.to_owned(), network, bits));
            }
            return Ok(Self::Network(network, bits));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Ok(Self::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let plain = |byte: u8| byte.is_ascii_hexdigit() || b".:*?".contains(&byte);
        let like_one = text.contains(['.', ':']) && text.contains(['*', '?']);
        if text.len() > LONGEST || !text.bytes().all(plain) || !like_one {
            return Err(PatternError::Address);
        }
        Ok(Self::Glob(text.to_owned()))
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network, bits) => write!(f, "{network}/{bits}"),
            Self::Glob(text) => f.write_str(text),
        }
    }
}

fn fold(text: &str) -> Vec<char> {
    text.to_lowercase().chars().collect()
}

/// Whether `text` is like `pattern`. Only the last `*` is ever taken back, so that the time is bounded by the product
/// of both lengths.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_match_with_wildcards_whatever_their_case() {
        for (pattern, name, matches) in [
            ("terr-*", "TERR-01", true),
            ("terr-*", "terr-", true),
            ("terr-*", "xterr-01", false),
            ("terr-??", "terr-1", false),
            ("*", "anything", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("node", "node", true),
            ("node", "node2", false),
        ] {
            let (pattern, name): (NamePattern, Name) =
                (pattern.parse().expect("a pattern"), name.parse().expect("a name"));
            assert_eq!(pattern.matches(&name), matches, "{pattern} {name}");
        }
        for text in ["", " *", "a/b*", "\u{202e}*", "-*"] {
            assert!(text.parse::<NamePattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_match_by_network_or_wildcard() {
        for (pattern, address, matches) in [
            ("10.1.0.0/16", "10.1.255.3", true),
            ("10.1.0.0/16", "::ffff:10.1.0.3", true),
            ("10.1.0.0/16", "10.2.0.3", false),
            ("10.1.0.0/16", "fd00::1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "192.0.2.1", false),
            ("fd00:1::/32", "fd00:1:2::3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.30", false),
            ("10.1.*", "10.1.2.3", true),
            ("10.1.*", "10.11.2.3", false),
            ("FD00::*", "fd00::12", true),
        ] {
            let pattern: AddressPattern = pattern.parse().expect("a pattern");
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(pattern.matches(address), matches, "{pattern} {address}");
        }
        for text in [
            "",
            "*",
            "10.1.0.0/33",
            "10.1.0.0/-1",
            "10.1.0.1/16",
            "10.1",
            "host.*",
            "10.1.0.0/",
        ] {
            assert!(text.parse::<AddressPattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_survives_its_text_and_never_panics(text in "[0-9a-f.:*?/]{0,20}", address: [u8; 4]) {
            if let Ok(pattern) = text.parse::<AddressPattern>() {
                prop_assert_eq!(pattern.to_string().parse::<AddressPattern>(), Ok(pattern.clone()));
                pattern.matches(IpAddr::from(address));
            }
        }

        #[test]
        fn a_text_matches_itself_with_any_part_starred(text in "[a-c]{0,8}", from in 0_usize..8, to in 0_usize..8) {
            let text: Vec<char> = text.chars().collect();
            let (from, to) = (from.min(to).min(text.len()), from.max(to).min(text.len()));
            let pattern: Vec<char> = [&text[..from], &['*'], &text[to..]].concat();
            prop_assert!(glob(&pattern, &text));
        }
    }
}
