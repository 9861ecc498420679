//! What each listener grants before it knows who is there.

use std::time::Duration;

use muster_wire::node::v1::join::MAX_MESSAGE;

use super::gate::Room;

/// What one connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Until the first request has come, counted from the handshake; a message of the plain port must be whole by then.
    pub first: Duration,
    /// Without a request in between.
    pub idle: Duration,
    /// Bytes a second that a peer on the plain port must send after [`GRACE`] while it is waited for.
    pub rate: u64,
    /// The longest body, which is read before anything looks at it; `None` leaves the body to whoever handles it.
    pub message: Option<usize>,
    /// Requests.
    pub requests: u64,
    /// Bytes from the peer.
    pub bytes: u64,
    /// Header of an HTTP/1 request, in bytes.
    pub header: usize,
}

/// A peer that is waited for has this long before its rate counts.
pub(super) const GRACE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 3_000 });

/// All limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections.
    pub room: Room,
    /// What each of them may take.
    pub pace: Pace,
}

impl Limits {
    /// The plain port, where nobody is known: one message takes milliseconds, and the newest is served first.
    pub fn registration(connections: usize) -> Self {
        Self {
            room: Room {
                total: connections,
                waiting: connections,
                per_prefix: connections / 2,
                per_address: connections / 4,
                patience: Duration::ZERO,
            },
            pace: Pace {
                first: Duration::from_secs(10),
                idle: Duration::from_secs(10),
                rate: 128,
                message: Some(MAX_MESSAGE),
                requests: if cfg!(test) { 16 } else { 1_024 },
                bytes: 32 * 1024 * 1024,
                header: 16 * 1024,
            },
        }
    }

    /// Nodes, which come all at once when a control plane was away, often from behind one address.
    pub fn back_end(connections: usize) -> Self {
        Self {
            room: Room::behind_tls(connections),
            pace: Pace {
                // A node ends a payload connection itself; its control connection never idles.
                idle: Duration::from_mins(10),
                ..Pace::LONG
            },
        }
    }

    /// People and programs.
    pub fn front_end(connections: usize) -> Self {
        Self {
            room: Room::behind_tls(connections),
            pace: Pace::LONG,
        }
    }

    /// Whoever watches this machine.
    pub fn operations() -> Self {
        Self {
            room: Room::behind_tls(64),
            pace: Pace::LONG,
        }
    }
}

impl Room {
    /// Handshakes take their turn, so a waiting connection is cut only when it stalls.
    fn behind_tls(connections: usize) -> Self {
        let waiting = connections.min(2_048);
        Self {
            total: connections,
            waiting,
            per_prefix: waiting / 4 * 3,
            per_address: waiting / 4 * 3,
            patience: Duration::from_secs(1),
        }
    }
}

impl Pace {
    /// For peers that are known after their first request at the latest.
    const LONG: Self = Self {
        first: Duration::from_millis(if cfg!(test) { 200 } else { 10_000 }),
        idle: Duration::from_millis(if cfg!(test) { 400 } else { 120_000 }),
        rate: 0,
        message: None,
        requests: u64::MAX,
        bytes: u64::MAX,
        header: 64 * 1024,
    };
}
