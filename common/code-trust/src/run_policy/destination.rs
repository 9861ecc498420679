//! A host and a port that a brokered run may connect to.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// `db.example.com:5432`, `192.0.2.7:443`, `[2001:db8::1]:443`, or `*.example.com:443` for every name that ends so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    host: String,
    port: u16,
}

impl Destination {
    /// In lower case; an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether `narrow` is this, or one of the names that this stands for.
    pub(super) fn holds(&self, narrow: &Self) -> bool {
        let ends = |end| narrow.host.ends_with(end);
        self.port == narrow.port
            && (self.host == narrow.host || self.host.strip_prefix('*').is_some_and(ends))
    }
}

impl FromStr for Destination {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            let shown: String = text.chars().take(64).flat_map(char::escape_default).collect();
            format!(
                "\"{shown}\" is no destination; write it as db.example.com:5432, *.example.com:443 or [2001:db8::1]:443"
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let port: u16 = port.parse().map_err(|_| refused())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            // As the standard library writes it: one spelling for one address.
            Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| refused())?.to_string(),
            None => host.to_ascii_lowercase(),
        };
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // The end of an address is no domain.
        let number = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        let domain = name == host || (name.contains('.') && !number);
        let named = name.len() <= 253 && name.split('.').all(label) && domain;
        if port != 0 && (named || host.parse::<IpAddr>().is_ok()) {
            Ok(Self { host, port })
        } else {
            Err(refused())
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
