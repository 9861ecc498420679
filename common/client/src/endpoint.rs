//! Where a control plane listens.

use std::{fmt, str::FromStr};

use http::Uri;

/// The scheme, host and port of one listener, written `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// A text that is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not the address of a control plane; write https://HOST:PORT, for example https://muster.example.com:8443", .0.escape_default())]
pub struct EndpointError(String);

impl Endpoint {
    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The name or address of the machine, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as in a Host header.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.authority()
        )
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;
    /// Without a port, 443 or 80 is meant. A path, a query or a user name is refused.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse(text).ok_or_else(|| EndpointError(text.chars().take(200).collect()))
    }
}

fn parse(text: &str) -> Option<Endpoint> {
    let uri: Uri = text.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host)? {
        "" => {
            if tls {
                443
            } else {
                80
            }
        }
        port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
        .to_owned();
    (!host.is_empty()).then_some(Endpoint { tls, host, port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for (text, shown) in [
            ("https://host:9443", "https://host:9443"),
            ("http://10.0.0.5:9080/", "http://10.0.0.5:9080"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://muster.example.com", "https://muster.example.com:443"),
        ] {
            assert_eq!(text.parse::<Endpoint>().expect(text).to_string(), shown);
        }
        assert_eq!(
            "https://[::1]:8443".parse::<Endpoint>().expect("address").host(),
            "::1"
        );
    }

    #[test]
    fn what_is_more_or_less_than_that_is_refused() {
        for text in [
            "",
            "host:9443",
            "ftp://host",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://u:p@a",
            "https://a:0",
            "https://a:99999",
            "https://a:",
            "https://a b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_endpoint_reads_as_itself(text in "https?://[a-z0-9.:\\[\\]@/-]{0,20}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }
    }
}
