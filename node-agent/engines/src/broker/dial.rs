//! From a destination to a connection: listed, resolved, judged, connected.
//!
//! ```text
//! listed? ──no──> refused, and never resolved
//!   └─> addresses ──each judged──> connect to the address that was judged, never to the name again
//! ```
//!
//! Invariant: a connection leads to an address that is listed itself, or to one that is neither this node nor the
//! control plane.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use super::{
    Policy,
    control_plane::{ControlPlane, Missing},
    rules::{Host, Rules, guises, inward},
};

/// For each address.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Of a name that has many.
const MOST_ADDRESSES: usize = 4;

/// A destination, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) host: Host,
    pub(super) port: u16,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the administrator's policy does not list {0}")]
    NotListed(Wanted),
    #[error(
        "{wanted} is at {address}, which is {what}; the administrator's policy would have to list {address}"
    )]
    Inward {
        wanted: Wanted,
        address: SocketAddr,
        what: &'static str,
    },
    #[error("{0} cannot be resolved by this node: {1}")]
    Unresolved(Wanted, io::Error),
    #[error("{0} cannot be told from the control plane, because {1}")]
    Doubtful(Wanted, Missing),
    #[error("{0} does not answer this node: {1}")]
    Unreachable(Wanted, io::Error),
}

/// Connects to `wanted` if the rules let it.
pub(super) async fn dial(policy: &Policy, wanted: &Wanted) -> Result<TcpStream, Refusal> {
    let Policy {
        rules,
        control_plane,
        names,
    } = policy;
    if !rules.list(&wanted.host, wanted.port) {
        return Err(Refusal::NotListed(wanted.clone()));
    }
    let addresses = match &wanted.host {
        Host::Address(address) => vec![SocketAddr::new(*address, wanted.port)],
        Host::Name(name) => names
            .resolve(name, wanted.port)
            .await
            .map_err(|error| Refusal::Unresolved(wanted.clone(), error))?,
    };
    let (mut allowed, mut inside) = (Vec::new(), None);
    for address in addresses {
        match judged(rules, control_plane, wanted, address).await {
            Ok(()) => allowed.push(address),
            Err(refusal) => inside = Some(refusal),
        }
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in allowed.into_iter().take(MOST_ADDRESSES) {
        inside = None;
        match timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(inside.unwrap_or_else(|| Refusal::Unreachable(wanted.clone(), last)))
}

/// Whether one address may be connected to.
async fn judged(
    rules: &Rules,
    control_plane: &ControlPlane,
    wanted: &Wanted,
    address: SocketAddr,
) -> Result<(), Refusal> {
    if rules.list(&Host::Address(address.ip()), address.port()) {
        return Ok(());
    }
    let refused = |what| {
        Err(Refusal::Inward {
            wanted: wanted.clone(),
            address,
            what,
        })
    };
    let guises = guises(address.ip());
    for guise in &guises {
        if let Some(what) = inward(*guise) {
            return refused(what);
        }
        match is_own(*guise) {
            Ok(false) => {}
            Ok(true) => return refused("this node itself"),
            Err(_) => return refused("this node itself for all that can be told (no socket could be made)"),
        }
    }
    let control_plane = control_plane.addresses().await;
    let control_plane = control_plane.map_err(|missing| Refusal::Doubtful(wanted.clone(), missing))?;
    if guises.iter().any(|guise| control_plane.contains(guise)) {
        return refused("the control plane");
    }
    Ok(())
}

/// Whether this node has the address, on whatever interface: only then a socket can be bound to it. Nothing is sent.
fn is_own(address: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
