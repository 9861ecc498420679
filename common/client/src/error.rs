//! Why a call did not succeed: what was attempted, where, why it failed and what to do.

use std::{error::Error, io, time::Duration};

use muster_ids::Digest;
use muster_wire::Problem;

/// Why a call did not succeed. Texts that came from the other side have control characters escaped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot reach the control plane at {endpoint}: {fault}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why, and what to do.
        fault: Fault,
    },
    /// None of several control planes; there are at least two errors.
    #[error("cannot reach any control plane: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    AllUnreachable(Vec<ClientError>),
    /// The list of control planes is empty.
    #[error("no control plane is configured; name at least one")]
    NoEndpoint,
    /// A connection that broke during a request, which may or may not have had its effect.
    #[error("{request} did not succeed: {fault}")]
    Broken {
        /// Method and address.
        request: String,
        /// Why, and what to do.
        fault: Fault,
    },
    /// The other side took too long.
    #[error("{request} was given up: nothing came for {}; the control plane may be overloaded, try again later", seconds(*.waited))]
    Late {
        /// Method and address.
        request: String,
        /// How long was waited.
        waited: Duration,
    },
    /// More than was asked for.
    #[error("{request} was given up: the answer is longer than {limit} bytes")]
    TooLong {
        /// Method and address.
        request: String,
        /// The most bytes that are taken.
        limit: u64,
    },
    /// An answer that cannot be understood.
    #[error(
        "{request} was answered with something unexpected: {reason}; are this program and the control plane of like versions?"
    )]
    Unexpected {
        /// Method and address.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Content that is not what its digest says.
    #[error("{request} brought damaged content: its digest is {found}, expected was {expected}; try again")]
    Damaged {
        /// Method and address.
        request: String,
        /// As it was announced.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// The control plane said no.
    #[error("{} ({}, {request})", escaped(&.problem.detail), .problem.status)]
    Refused {
        /// Method and address.
        request: String,
        /// What it said; made up from the status where it said nothing that can be understood.
        problem: Box<Problem>,
        /// When to try again, if it said so.
        retry_after: Option<Duration>,
    },
    /// A request that cannot be sent as it is.
    #[error("cannot send {request}: {reason}")]
    Invalid {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Content to be sent that cannot be read here.
    #[error("cannot read what {request} sends")]
    Read {
        /// Method and address.
        request: String,
        /// What the system said.
        source: io::Error,
    },
    /// Downloaded content that cannot be stored here.
    #[error("cannot store what {request} brings")]
    Store {
        /// Method and address.
        request: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ClientError {
    /// The problem document, where the control plane said no.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// When the control plane wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What went wrong on a connection, and its cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {cure}")]
pub struct Fault {
    what: String,
    cure: &'static str,
}

const CUT: &str = "the connection was cut before the answer was complete";
const AGAIN: &str = "try again";

impl Fault {
    pub(crate) fn new(what: impl Into<String>, cure: &'static str) -> Self {
        Self {
            what: what.into(),
            cure,
        }
    }

    /// The connection ended and nobody said why.
    pub(crate) fn cut() -> Self {
        Self::new(CUT, AGAIN)
    }

    /// The name of the host has no address.
    pub(crate) fn of_name(error: &io::Error) -> Self {
        Self::new(
            format!("its name cannot be resolved ({error})"),
            "check the spelling and the name service",
        )
    }

    /// From an error of a socket or of TLS on it.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Self::of_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::new(
                "connection refused",
                "check that muster-server runs there and that the port is open",
            ),
            io::ErrorKind::TimedOut => Self::new(
                "it does not answer",
                "check the network and the firewalls on the way",
            ),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::new(
                "there is no way to that network",
                "check the address and the network",
            ),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::cut(),
            _ => Self::new(error.to_string(), "check the network"),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription as Alert, Error as Tls};
        match error {
            Tls::InvalidCertificate(reason) => Self::new(
                format!("its certificate is not accepted ({reason:?})"),
                "compare the fingerprint of the certificate authority with the one that is pinned here; where the authority \
                 was exchanged, pin the one that muster-server and muster ca show say today (muster login URL \
                 --ca-fingerprint FINGERPRINT; ca_fingerprint of [join] in node.toml)",
            ),
            Tls::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::CertificateRequired),
            ) => Self::new(
                format!("it does not accept the certificate of this side ({alert:?})"),
                "check whether it has expired or an administrator has revoked it",
            ),
            Tls::InvalidMessage(_) => Self::new(
                "it does not speak TLS on this port",
                "check the port: 9443 for nodes, 8443 for people",
            ),
            other => Self::new(
                format!("no secure connection can be agreed on ({other})"),
                "check that both sides are of like versions",
            ),
        }
    }

    /// From an error of the HTTP layer, where the socket itself has none.
    pub(crate) fn of_http(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::new(
                "the header of the answer is too long",
                "check that a control plane listens there",
            );
        }
        if error.is_parse() {
            return Self::new(
                "the answer is not HTTP",
                "check that a control plane listens on this port",
            );
        }
        if error.is_timeout() {
            return Self::new(
                "it no longer answers",
                "check the network and that muster-server runs",
            );
        }
        if error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
            return Self::cut();
        }
        Self::new(escaped(&chain(error)), AGAIN)
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Foreign text without the means to forge lines or steer a terminal.
pub(crate) fn escaped(text: &str) -> String {
    let misleads = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if misleads(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

fn seconds(span: Duration) -> String {
    format!("{:.3}", span.as_secs_f64())
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
        + " s"
}
