//! The broker of a launcher: its runs are in a network with one door, and the broker stands behind it.
//!
//! ```text
//! run ──HTTP──> 127.0.0.1:3128 of the jail ──accepted by the agent──> listed? ──resolved and dialed──> destination
//! ```
//!
//! The door is a socket of the jail's network that the launcher made and gave away; what is accepted from it is served
//! here, with the agent's network. Invariant: a launcher has one policy for life, so all that knocks has the same rules;
//! nothing of the host's network is ever handed into the jail.

mod control_plane;
mod dial;
mod resolve;
mod rules;
mod serve;
mod watch;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::Duration,
};

use muster_sandbox::protocol::DOOR;
use rustix::net::sockopt;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use control_plane::ControlPlane;
use resolve::Asker;
use rules::Rules;

use crate::{launcher::locked, policy::Destination};

/// Connections of one launcher at a time; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 64;
/// After an error of the machine, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Refusals that are remembered.
const REMEMBERED: usize = 32;

/// What holds for all connections of a launcher.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Rules,
    control_plane: Arc<ControlPlane>,
    names: Asker,
}

impl Policy {
    pub(crate) fn new(listed: BTreeSet<Destination>, control_plane: Arc<ControlPlane>) -> Self {
        Self {
            rules: Rules::new(listed),
            control_plane,
            names: Asker::of_policy(),
        }
    }
}

/// What the clients of both languages are told by their environment, in both spellings that are in use.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    ["http_proxy", "https_proxy", "all_proxy"]
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_uppercase()])
        .map(|name| (name, format!("http://{DOOR}")))
}

/// A broker at work; dropping it closes the door and all that came through it.
#[derive(Debug)]
pub(crate) struct Broker {
    refusals: Arc<Refusals>,
    _serving: AbortOnDropHandle<()>,
}

impl Broker {
    /// Begins to serve what knocks at `door`.
    pub(crate) fn behind(door: OwnedFd, policy: Arc<Policy>) -> io::Result<Self> {
        let door = StdTcpListener::from(door);
        if door.local_addr()? != SocketAddr::V4(DOOR) || !sockopt::socket_acceptconn(&door)? {
            return Err(io::Error::other("it does not listen where it should"));
        }
        door.set_nonblocking(true)?;
        let door = TcpListener::from_std(door)?;
        let refusals = Arc::new(Refusals::default());
        let serving = tokio::spawn(accept(door, policy, Arc::clone(&refusals)));
        Ok(Self {
            refusals,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// How many were refused until now.
    pub(crate) fn count_refused(&self) -> u64 {
        locked(&self.refusals.0).count
    }

    /// Destinations that were refused since the count was `since`, each once, as far as they are remembered.
    pub(crate) fn refused_since(&self, since: u64) -> BTreeSet<String> {
        let refused = locked(&self.refusals.0);
        let new = refused.last.iter().filter(|(number, _)| *number >= since);
        new.map(|(_, destination)| destination.clone()).collect()
    }
}

/// What was refused, the last of it.
#[derive(Debug, Default)]
struct Refusals(Mutex<Refused>);

#[derive(Debug, Default)]
struct Refused {
    count: u64,
    last: VecDeque<(u64, String)>,
}

impl Refusals {
    fn add(&self, destination: String) {
        let mut refused = locked(&self.0);
        let number = refused.count;
        refused.count += 1;
        refused.last.push_back((number, destination));
        if refused.last.len() > REMEMBERED {
            refused.last.pop_front();
        }
    }
}

async fn accept(door: TcpListener, policy: Arc<Policy>, refusals: Arc<Refusals>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut serving = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match door.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "the broker could not accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (policy, refusals) = (Arc::clone(&policy), Arc::clone(&refusals));
        serving.spawn(async move {
            serve::serve(stream, policy, refusals).await;
            drop(place);
        });
        while serving.try_join_next().is_some() {}
    }
}

/// What a broker answers to these bytes if its policy lists nothing. Public for those who send nonsense.
pub async fn brokers_answer(bytes: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (run, door) = tokio::io::duplex(64 * 1024);
    let (mut hearing, mut asking) = tokio::io::split(run);
    let policy = Arc::new(Policy::new(
        BTreeSet::new(),
        Arc::new(ControlPlane::new(Vec::new())),
    ));
    let mut said = Vec::new();
    let ask = async {
        // A broker that has heard enough hangs up.
        let _ = asking.write_all(bytes).await;
        let _ = asking.shutdown().await;
    };
    let hear = async {
        let _ = hearing.read_to_end(&mut said).await;
    };
    tokio::join!(serve::serve(door, policy, Arc::default()), ask, hear);
    said
}

#[cfg(test)]
mod tests;
