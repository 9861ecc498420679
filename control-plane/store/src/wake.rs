//! Hints that something has changed, so that nobody has to ask the database in a loop.
//!
//! Invariant: a hint is never the truth. It may come twice or, when a connection breaks, a few seconds late; whoever
//! gets it reads the rows. Within a process hints come at commit. Between control planes PostgreSQL's `NOTIFY`
//! carries them, and a look at the ends of the audit chains every [`POLL`] finds what a broken connection lost:
//! every change that could wake somebody is audited.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    dialect::{CHANNEL, Db},
    error::StoreError,
};

/// How often lost notifications are looked for.
const POLL: Duration = Duration::from_secs(2);

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The trust state.
    Trust,
    /// A run was queued, claimed, ended, or should end.
    Runs,
    /// Nodes have something to do: a run was queued, or should end.
    Work,
    /// A run has ended.
    Ends,
    /// A node appeared, was changed, untrusted or deleted.
    Nodes,
    /// A join request was made or answered.
    Joins,
    /// A certificate was revoked.
    Revocations,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 7] = [
        Self::Trust,
        Self::Runs,
        Self::Work,
        Self::Ends,
        Self::Nodes,
        Self::Joins,
        Self::Revocations,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Runs => "runs",
            Self::Work => "work",
            Self::Ends => "ends",
            Self::Nodes => "nodes",
            Self::Joins => "joins",
            Self::Revocations => "revocations",
        }
    }
}

/// How often each topic was hinted at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts([u64; Topic::ALL.len()]);

/// Where hints come together.
pub(crate) struct Hub {
    counts: Arc<watch::Sender<Counts>>,
    commits: AtomicU64,
    /// Changes that are being committed.
    changing: AtomicU64,
    remote: Option<JoinHandle<()>>,
}

impl Hub {
    pub(crate) fn start(db: &Arc<Db>) -> Self {
        let counts = Arc::new(watch::Sender::new(Counts::default()));
        let remote = match db.as_ref() {
            Db::Sqlite { .. } => None,
            Db::Postgres { pool, .. } => Some(tokio::spawn(follow(pool.clone(), counts.clone()))),
        };
        Self {
            counts,
            commits: AtomicU64::new(0),
            changing: AtomicU64::new(0),
            remote,
        }
    }

    pub(crate) fn hint(&self, topics: &BTreeSet<Topic>) {
        if !topics.is_empty() {
            hint(&self.counts, |topic| topics.contains(&topic));
        }
    }

    /// How often `topic` was hinted at.
    pub(crate) fn hints(&self, topic: Topic) -> u64 {
        let counts = self.counts.borrow();
        std::iter::zip(Topic::ALL, counts.0)
            .find_map(|(one, count)| (one == topic).then_some(count))
            .unwrap_or(0)
    }

    /// A change of this process goes into the database from now on until what this returns is dropped.
    pub(crate) fn change(self: &Arc<Self>) -> Change {
        self.changing.fetch_add(1, Ordering::SeqCst);
        Change(self.clone())
    }

    /// How many changes there were; `None` while one is being committed, because others may see it already.
    pub(crate) fn commits(&self) -> Option<u64> {
        let commits = self.commits.load(Ordering::SeqCst);
        (self.changing.load(Ordering::SeqCst) == 0).then_some(commits)
    }

    pub(crate) fn listen(&self) -> WakeListener {
        let receiver = self.counts.subscribe();
        let seen = *receiver.borrow();
        WakeListener { receiver, seen }
    }
}

/// A change that is being committed.
pub(crate) struct Change(Arc<Hub>);

impl Drop for Change {
    fn drop(&mut self) {
        // In this order: who finds no change under way finds it counted.
        self.0.commits.fetch_add(1, Ordering::SeqCst);
        self.0.changing.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(remote) = &self.remote {
            remote.abort();
        }
    }
}

/// The topics of one transaction as one payload.
pub(crate) fn payload(topics: &BTreeSet<Topic>) -> String {
    topics
        .iter()
        .map(|topic| topic.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Waits for hints.
pub struct WakeListener {
    receiver: watch::Receiver<Counts>,
    seen: Counts,
}

impl WakeListener {
    /// The topics that were hinted at since the last call, or `None` once the store is gone. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<BTreeSet<Topic>> {
        loop {
            let now = *self.receiver.borrow_and_update();
            let topics: BTreeSet<_> = std::iter::zip(Topic::ALL, std::iter::zip(now.0, self.seen.0))
                .filter_map(|(topic, (now, seen))| (now != seen).then_some(topic))
                .collect();
            self.seen = now;
            if !topics.is_empty() {
                return Some(topics);
            }
            self.receiver.changed().await.ok()?;
        }
    }
}

fn hint(counts: &watch::Sender<Counts>, wanted: impl Fn(Topic) -> bool) {
    counts.send_modify(|counts| {
        for (topic, count) in std::iter::zip(Topic::ALL, counts.0.iter_mut()) {
            *count += u64::from(wanted(topic));
        }
    });
}

/// Follows what other control planes do, for as long as the store lives.
async fn follow(pool: PgPool, counts: Arc<watch::Sender<Counts>>) {
    let mut ends = None;
    while !pool.is_closed() {
        if let Err(error) = listen(&pool, &counts, &mut ends).await {
            tracing::debug!(%error, "notifications of the database are interrupted");
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn listen(
    pool: &PgPool,
    counts: &watch::Sender<Counts>,
    ends: &mut Option<Vec<(String, i64)>>,
) -> Result<(), StoreError> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    // Whatever was committed before this moment was not heard of.
    hint(counts, |_| true);
    let mut notified = false;
    loop {
        let now: Vec<(String, i64)> =
            sqlx::query_as("SELECT writer, sequence FROM audit_heads ORDER BY writer")
                .fetch_all(pool)
                .await?;
        // Every commit notifies; one that was not heard of went lost.
        let unheard = ends.replace(now.clone()).is_some_and(|before| before != now) && !notified;
        if unheard {
            hint(counts, |_| true);
        }
        notified = false;
        let until = Instant::now() + POLL;
        while let Ok(notification) = timeout_at(until, listener.try_recv()).await {
            notified = true;
            match notification? {
                Some(notification) => {
                    let topics: BTreeSet<_> = notification.payload().split(' ').collect();
                    hint(counts, |topic| topics.contains(topic.as_str()));
                }
                // The connection broke: what was sent meanwhile is lost.
                None => hint(counts, |_| true),
            }
        }
    }
}
