//! Names to addresses, by a resolver that may be as slow as whoever answers for a name likes.
//!
//! The resolver of this node holds a thread for each question and cannot be told to stop. Invariant: a turn belongs to
//! the thread that asks until it has its answer, also when nobody waits for it any more. So names hold at most three of
//! the agent's threads for files: two for all runs, of which those of one policy have one, and one for the control plane.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::timeout,
};

/// A resolver that is silent for so long will not answer.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(10);
/// Who has not had a turn by then is told to come again. Connections are counted, so few wait.
const TURN_DEADLINE: Duration = Duration::from_secs(5);
/// Questions of all runs of this node at a time.
static OF_RUNS: Semaphore = Semaphore::const_new(2);

/// Whoever asks: one question at a time.
#[derive(Debug)]
pub(super) struct Asker {
    own: Arc<Semaphore>,
    shared: Option<&'static Semaphore>,
}

/// Kept by the thread that asks.
struct Turn {
    _own: OwnedSemaphorePermit,
    _shared: Option<SemaphorePermit<'static>>,
}

impl Asker {
    /// The runs of one policy, beside those of others.
    pub(super) fn of_policy() -> Self {
        Self {
            own: Arc::new(Semaphore::new(1)),
            shared: Some(&OF_RUNS),
        }
    }

    /// The agent itself, for which no run is in the way.
    pub(super) fn of_agent() -> Self {
        Self {
            own: Arc::new(Semaphore::new(1)),
            shared: None,
        }
    }

    /// The addresses of a name or address, in canonical form. `ResourceBusy` when there was no turn.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let canonical = move |address: IpAddr| SocketAddr::new(address.to_canonical(), port);
        if let Ok(address) = host.parse() {
            return Ok(vec![canonical(address)]);
        }
        let turn = self.turn(TURN_DEADLINE).await?;
        let host = host.to_owned();
        let asking = spawn_blocking(move || {
            let _turn = turn;
            let found = (host.as_str(), port).to_socket_addrs()?;
            Ok(found.map(|address| canonical(address.ip())).collect())
        });
        match timeout(RESOLVE_DEADLINE, asking).await {
            Ok(answered) => answered.map_err(io::Error::other)?,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn turn(&self, within: Duration) -> io::Result<Turn> {
        let taking = async {
            // One's own first: who has one already does not stand in the way of others.
            let own = Arc::clone(&self.own).acquire_owned().await;
            let shared = match self.shared {
                Some(shared) => Some(shared.acquire().await.map_err(io::Error::other)?),
                None => None,
            };
            Ok(Turn {
                _own: own.map_err(io::Error::other)?,
                _shared: shared,
            })
        };
        timeout(within, taking).await.unwrap_or_else(|_| {
            let why = "names that were asked for before it are still without an answer; try again later";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one thread for what blocks.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime")
    }

    #[test]
    fn who_waits_for_a_turn_in_vain_is_refused() {
        static SHARED: Semaphore = Semaphore::const_new(1);
        let asker = || Asker {
            own: Arc::new(Semaphore::new(1)),
            shared: Some(&SHARED),
        };
        runtime().block_on(async {
            let (slow, other) = (asker(), asker());
            let turn = slow.turn(Duration::ZERO).await.expect("a turn");
            for asker in [&slow, &other] {
                let refusal = asker.turn(Duration::ZERO).await.err().expect("no turn");
                assert_eq!(refusal.kind(), io::ErrorKind::ResourceBusy, "{refusal}");
                // What is an address already asks nobody.
                assert!(asker.resolve("::ffff:192.0.2.1", 1).await.is_ok());
            }
            drop(turn);
            for asker in [&slow, &other] {
                assert!(asker.turn(Duration::ZERO).await.is_ok());
            }
        });
    }

    #[test]
    fn a_turn_outlives_who_waited_for_it() {
        runtime().block_on(async {
            // The only thread is taken, as by a resolver that does not answer.
            let (release, taken) = std::sync::mpsc::channel::<()>();
            let slow = spawn_blocking(move || taken.recv());
            let asker = Asker::of_agent();
            // Asked once, then hung up.
            let asked = asked_once(asker.resolve("localhost", 1)).await;
            assert!(asked.is_none());
            assert_eq!(asker.own.available_permits(), 0);
            release.send(()).expect("released");
            slow.await.expect("ended").expect("released");
            let turn = asker.turn(TURN_DEADLINE).await;
            let _turn = turn.expect("the turn came back with the answer");
        });
    }

    /// What a future says when it is asked once; it is dropped then.
    async fn asked_once<F: Future>(future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
