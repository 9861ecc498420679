//! What many nodes ask at the same time, read once for all of them.
//!
//! Invariant: an answer is never older than the last hint about its topic and never older than [`MOMENT`]; and
//! whoever may speak is looked up again after every change that this control plane commits, so that whatever takes a
//! right away holds for the very next request.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use muster_ids::{NodeId, PoolId, RunId, SiteId};
use muster_model::{
    join::Capability,
    node::{Health, Node, OFFLINE_MS, Trust},
};
use muster_store::{StoreError, Topic, TrustHead};

use crate::{App, Error, renewal::Shown, trust::SignedState};

/// The most time for which an answer is used. Beacons are signed for a head that was read within the last second
/// (protocols.md 3).
const MOMENT: Duration = Duration::from_millis(500);
/// The same for what only hints change.
const HINTED: Duration = Duration::from_secs(30);
/// For how long a node is not looked up again although nothing was committed: somebody may have put another database
/// in place.
const STANDING: Duration = Duration::from_mins(5);

/// Answers for all nodes, and who was found to be one.
#[derive(Default)]
pub(crate) struct Fleet {
    head: Shared<TrustHead>,
    places: Shared<HashMap<NodeId, (PoolId, SiteId)>>,
    cancelled: Shared<HashMap<NodeId, Vec<(RunId, i64)>>>,
    waiting: Shared<BTreeSet<(PoolId, SiteId, Capability)>>,
    standings: Mutex<Standings>,
    signed: tokio::sync::Mutex<Option<Arc<SignedState>>>,
    silence: OnceLock<Silence>,
}

/// The time in which no node could be heard, because no control plane listened.
#[derive(Clone, Copy)]
struct Silence {
    /// Nodes that were heard of since then were there when it began.
    from: i64,
    /// When somebody listened again.
    until: i64,
}

/// Certificates that were found good while the database was at `commits`.
#[derive(Default)]
struct Standings {
    commits: u64,
    good: HashMap<String, (Shown, Duration)>,
}

impl Fleet {
    /// What was signed of the trust state, for the one who holds it.
    pub(crate) async fn signed_state(&self) -> tokio::sync::MutexGuard<'_, Option<Arc<SignedState>>> {
        self.signed.lock().await
    }
}

impl App {
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.inner.fleet
    }

    /// The certificate behind a request, as long as its node may speak with it: asked for every request. The
    /// certificate's own time is `until`; `renews` tells whether the request is for the next one.
    pub async fn admit_node(
        &self,
        node: NodeId,
        serial: &str,
        until: i64,
        renews: bool,
    ) -> Result<Shown, Error> {
        let boot = self.clock().boot();
        // Read before the database is: a change in between makes the answer one of the past.
        let commits = self.store().commits();
        if let Some(commits) = commits
            && until >= self.now()
            && let Some(shown) = self.inner.fleet.good(commits, node, serial, boot)
        {
            return Ok(shown);
        }
        let shown = self.trusted_node(node, serial, renews).await?;
        // One that is left behind is good for a while only.
        if let Some(commits) = commits.filter(|_| !shown.superseded) {
            self.inner.fleet.is_found_good(commits, &shown, boot);
        }
        Ok(shown)
    }

    /// Nodes that were there when the last control plane stopped are not gone because it was.
    pub(crate) async fn forgive_nodes(&self) -> Result<(), Error> {
        if let Some(last) = self.store().nodes_last_seen().await? {
            let (from, until) = (last.saturating_sub(OFFLINE_MS), self.now());
            // Only the first start of this process counts.
            let _ = self.inner.fleet.silence.set(Silence { from, until });
        }
        Ok(())
    }

    /// Whether `node` is there, as far as it could be heard.
    pub(crate) fn health(&self, node: &Node) -> Health {
        let silence = self.inner.fleet.silence.get();
        let forgiven = silence
            .filter(|silence| node.seen_at.is_some_and(|seen| seen >= silence.from))
            .map(|silence| silence.until);
        let seen = self.last_seen(node).max(forgiven);
        // Nobody hears a revoked node: its connections are cut and its new ones are refused.
        Health::at(seen.filter(|_| node.trust == Trust::Trusted), self.now())
    }

    /// The head of the trust state.
    pub(crate) async fn trust_head_now(&self) -> Result<Arc<TrustHead>, Error> {
        let read = async || self.store().trust_head().await;
        self.inner.fleet.head.get(self, Topic::Trust, MOMENT, read).await
    }

    /// Pool and site of a node: settings are set by their identity.
    pub async fn placement(&self, id: NodeId) -> Result<(PoolId, SiteId), Error> {
        let read = async || {
            let places = self.store().node_places().await?;
            Ok(places
                .into_iter()
                .map(|(node, pool, site)| (node, (pool, site)))
                .collect())
        };
        let places = self
            .inner
            .fleet
            .places
            .get(self, Topic::Nodes, HINTED, read)
            .await?;
        let place = places.get(&id).copied();
        place.ok_or_else(|| Error::not_found("node", id, "muster node list shows all of them"))
    }

    /// The claims of a node that a person asked to end, with their fences.
    pub async fn cancelled_claims(&self, id: NodeId) -> Result<Vec<(RunId, i64)>, Error> {
        let read = async || {
            let mut claims: HashMap<_, Vec<_>> = HashMap::new();
            for (node, run, fence) in self.store().runs_cancel_requested().await? {
                claims.entry(node).or_default().push((run, fence));
            }
            Ok(claims)
        };
        let claims = self
            .inner
            .fleet
            .cancelled
            .get(self, Topic::Work, self.of_runs(), read)
            .await?;
        Ok(claims.get(&id).cloned().unwrap_or_default())
    }

    /// Whether any run waits in this pool and site.
    pub async fn work_waits(&self, (pool, site): (PoolId, SiteId)) -> Result<bool, Error> {
        let waiting = self.waiting().await?;
        Ok(waiting.iter().any(|one| (one.0, one.1) == (pool, site)))
    }

    /// Whether a run waits that needs one of `offered` where this node is: most claims of a fleet find nothing, and
    /// these should cost no transaction.
    pub(crate) async fn may_claim(&self, node: NodeId, offered: &[Capability]) -> Result<bool, Error> {
        let (pool, site) = self.placement(node).await?;
        let waiting = self.waiting().await?;
        Ok(offered
            .iter()
            .any(|capability| waiting.contains(&(pool, site, *capability))))
    }

    /// How long what was read of runs is used: hints of other processes may be lost, those of this one are not.
    fn of_runs(&self) -> Duration {
        if self.store().commits().is_some() {
            HINTED
        } else {
            MOMENT
        }
    }

    async fn waiting(&self) -> Result<Arc<BTreeSet<(PoolId, SiteId, Capability)>>, Error> {
        let read = async || {
            let queues = self.store().queues_waiting().await?;
            Ok(queues
                .into_iter()
                .map(|(capability, pool, site)| (pool, site, capability))
                .collect())
        };
        self.inner
            .fleet
            .waiting
            .get(self, Topic::Runs, self.of_runs(), read)
            .await
    }
}

impl Fleet {
    fn good(&self, commits: u64, node: NodeId, serial: &str, boot: Duration) -> Option<Shown> {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let (shown, found) = standings
            .good
            .get(serial)
            .filter(|_| standings.commits == commits)?;
        (shown.node == node && boot.saturating_sub(*found) < STANDING).then(|| shown.clone())
    }

    fn is_found_good(&self, commits: u64, shown: &Shown, boot: Duration) {
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        if commits > standings.commits {
            standings.commits = commits;
            standings.good.clear();
        }
        if commits == standings.commits {
            standings.good.insert(shown.serial.clone(), (shown.clone(), boot));
        }
    }
}

/// One answer of the database, for all who ask within a moment.
struct Shared<T>(tokio::sync::Mutex<Option<Kept<T>>>);

struct Kept<T> {
    hints: u64,
    read: Duration,
    answer: Arc<T>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(None))
    }
}

impl<T> Shared<T> {
    async fn get(
        &self,
        app: &App,
        topic: Topic,
        longest: Duration,
        read: impl AsyncFnOnce() -> Result<T, StoreError>,
    ) -> Result<Arc<T>, Error> {
        // One reads, and the others wait for what it finds.
        let mut kept = self.0.lock().await;
        let (hints, boot) = (app.store().hints(topic), app.clock().boot());
        if let Some(kept) = kept.as_ref()
            && kept.hints == hints
            && boot.saturating_sub(kept.read) < longest
        {
            return Ok(kept.answer.clone());
        }
        let answer = Arc::new(read().await?);
        *kept = Some(Kept {
            hints,
            read: boot,
            answer: answer.clone(),
        });
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(1);

    #[test]
    fn a_certificate_is_good_only_until_something_is_committed() {
        let fleet = Fleet::default();
        let node = NodeId::new(1, [1; 10]);
        let (a, b) = (Shown::of_test(node, "a"), Shown::of_test(node, "b"));
        fleet.is_found_good(1, &a, LATER);
        assert!(fleet.good(1, node, "a", LATER).is_some());
        assert!(
            fleet.good(1, NodeId::new(1, [2; 10]), "a", LATER).is_none(),
            "another node"
        );
        assert!(fleet.good(1, node, "b", LATER).is_none(), "another certificate");
        assert!(
            fleet.good(2, node, "a", LATER).is_none(),
            "something was committed"
        );
        assert!(fleet.good(1, node, "a", LATER + STANDING).is_none(), "long ago");
        fleet.is_found_good(2, &b, LATER);
        assert!(fleet.good(2, node, "a", LATER).is_none(), "nothing older counts");
        // One that read before the commit comes last.
        fleet.is_found_good(1, &a, LATER);
        assert!(fleet.good(1, node, "a", LATER).is_none() && fleet.good(2, node, "a", LATER).is_none());
    }

    #[tokio::test]
    async fn many_who_ask_at_once_are_one_read_and_a_hint_makes_another() {
        let (app, _folder) = crate::fixture::app().await;
        let (shared, reads) = (Shared::<u64>::default(), std::cell::Cell::new(0));
        let ask = || {
            shared.get(&app, Topic::Trust, HINTED, async || {
                tokio::task::yield_now().await;
                reads.set(reads.get() + 1);
                Ok(reads.get())
            })
        };
        let (one, other) = tokio::join!(ask(), ask());
        assert_eq!((*one.expect("read"), *other.expect("read")), (1, 1));
        let aged = shared.get(&app, Topic::Trust, Duration::ZERO, async || Ok(7));
        assert_eq!(*aged.await.expect("read"), 7);
    }
}
