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
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    sync::{Mutex, Semaphore},
    time::{Instant, timeout},
};

use super::rules::{Host, Rules, inward};

/// A resolver that is silent for so long will not answer.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(10);
/// For each address.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Of a name that has many.
const MOST_ADDRESSES: usize = 4;
/// Questions to the resolver at a time, of all launchers: each holds a thread until it is answered.
static RESOLVING: Semaphore = Semaphore::const_new(8);
/// For how long the addresses of the control plane are believed.
const FRESH: Duration = Duration::from_mins(1);

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
    #[error("{0} cannot be told from the control plane, because {1} cannot be resolved by this node: {2}")]
    Doubtful(Wanted, String, io::Error),
    #[error("{0} does not answer this node: {1}")]
    Unreachable(Wanted, io::Error),
}

/// The hosts of the control plane, and where they were found to be.
#[derive(Debug, Default)]
pub(crate) struct ControlPlane {
    hosts: Vec<String>,
    found: Mutex<Option<(Instant, Vec<IpAddr>)>>,
}

impl ControlPlane {
    pub(crate) fn new(hosts: Vec<String>) -> Self {
        Self {
            hosts,
            found: Mutex::default(),
        }
    }

    /// Its addresses. What was found before holds while not all is found anew; an error when nothing ever was.
    async fn addresses(&self) -> Result<Vec<IpAddr>, (String, io::Error)> {
        let mut found = self.found.lock().await;
        if let Some((when, addresses)) = found.as_ref()
            && when.elapsed() < FRESH
        {
            return Ok(addresses.clone());
        }
        let (mut addresses, mut failed) = (Vec::new(), None);
        for host in &self.hosts {
            match resolve(host, 0).await {
                Ok(of_host) => addresses.extend(of_host.iter().map(SocketAddr::ip)),
                Err(error) => failed = Some((host.clone(), error)),
            }
        }
        match (failed, found.as_ref()) {
            (Some(_), Some((_, before))) => addresses.extend(before),
            (Some(failed), None) if addresses.is_empty() => return Err(failed),
            _ => {}
        }
        addresses.sort_unstable();
        addresses.dedup();
        *found = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

/// Connects to `wanted` if the rules let it.
pub(super) async fn dial(
    rules: &Rules,
    control_plane: &ControlPlane,
    wanted: &Wanted,
) -> Result<TcpStream, Refusal> {
    if !rules.list(&wanted.host, wanted.port) {
        return Err(Refusal::NotListed(wanted.clone()));
    }
    let addresses = match &wanted.host {
        Host::Address(address) => vec![SocketAddr::new(*address, wanted.port)],
        Host::Name(name) => resolve(name, wanted.port)
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
    if let Some(what) = inward(address.ip()) {
        return refused(what);
    }
    if is_own(address) {
        return refused("this node itself");
    }
    let control_plane = control_plane.addresses().await;
    let control_plane =
        control_plane.map_err(|(host, error)| Refusal::Doubtful(wanted.clone(), host, error))?;
    if control_plane.contains(&address.ip()) {
        return refused("the control plane");
    }
    Ok(())
}

/// Whether an interface of this node has the address: only then the way to it begins with itself. Nothing is sent.
fn is_own(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    // Without a way to it there is no connection to it either.
    source.is_ok_and(|source| source.ip() == address.ip())
}

/// The addresses of a name or address, in canonical form.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let asking = async {
        let _turn = RESOLVING.acquire().await.map_err(io::Error::other)?;
        let found = lookup_host((host, port)).await?;
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), port);
        Ok(found.map(canonical).collect())
    };
    timeout(RESOLVE_DEADLINE, asking)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests;
