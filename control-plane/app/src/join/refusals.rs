//! What was refused on the registration listener: counted in memory, written once a minute.
//!
//! Invariant: a message that is refused writes nothing by itself. A minute of refusals is one row a prefix, one a token
//! that somebody named in vain, one a request whose messages were repeated, and one a prefix that sent what may be a
//! secret; there is an upper bound to each, whatever a flood brings.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use muster_ids::{JoinId, Name, TokenId};
use muster_model::{address::Prefix, audit::Event, join::JoinRequest, join_token::TokenRefused};
use muster_store::{Draft, Records};
use serde_json::json;

use crate::{App, Error};

/// The most prefixes, tokens and requests of one minute that get a row of their own.
const MOST: usize = 256;

/// How often something was refused, by why.
type Counts = BTreeMap<&'static str, u64>;

/// Refusals since the last flush.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    prefixes: BTreeMap<Prefix, Counts>,
    /// Of all prefixes beyond the first [`MOST`].
    others: Counts,
    tokens: BTreeMap<TokenId, Token>,
    repeated: BTreeMap<JoinId, Repeated>,
    /// Headers that could hold the secret of a session, but of none that lives.
    secrets: BTreeMap<Prefix, u64>,
}

/// Recorded messages of one request that came from elsewhere.
struct Repeated {
    name: Name,
    count: u64,
    source: IpAddr,
}

struct Token {
    counts: Counts,
    last: (i64, &'static str),
    source: IpAddr,
}

impl Refusals {
    /// Somebody at `source` was refused.
    pub(super) fn count(&self, source: IpAddr, error: &Error) {
        let why = match error {
            Error::Invalid { kind, .. } | Error::Denied { kind, .. } | Error::Conflict { kind, .. } => kind,
            Error::Unauthenticated { .. } => "unauthenticated",
            Error::NotFound { .. } => "not-found",
            Error::TooMany { .. } | Error::QueueFull { .. } => "too-many",
            // Not the stranger's fault.
            Error::Unavailable { .. } | Error::Bug { .. } => return,
        };
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = minute.prefixes.len() < MOST;
        let prefix = Prefix::of(source);
        let counts = if room || minute.prefixes.contains_key(&prefix) {
            minute.prefixes.entry(prefix).or_default()
        } else {
            &mut minute.others
        };
        *counts.entry(why).or_default() += 1;
    }

    /// Somebody at `source` named the token `id`, which exists, in vain.
    pub(super) fn count_token(&self, id: TokenId, source: IpAddr, refused: &TokenRefused, now: i64) {
        let why = refused.as_str();
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.tokens.len() >= MOST && !minute.tokens.contains_key(&id) {
            return;
        }
        let token = minute.tokens.entry(id).or_insert_with(|| Token {
            counts: Counts::new(),
            last: (now, why),
            source,
        });
        *token.counts.entry(why).or_default() += 1;
        (token.last, token.source) = ((now, why), source);
    }

    /// Somebody at `source` sent again what belongs to `row`. From where the request came itself that is a lost answer.
    pub(super) fn repeated(&self, row: &JoinRequest, source: IpAddr) {
        if row.source == source.to_string() {
            return;
        }
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.repeated.len() >= MOST && !minute.repeated.contains_key(&row.id) {
            return;
        }
        let repeated = minute.repeated.entry(row.id).or_insert_with(|| Repeated {
            name: row.applicant.name.clone(),
            count: 0,
            source,
        });
        repeated.count += 1;
        repeated.source = source;
    }

    /// Somebody at `source` sent something that looks like a secret and is none that counts.
    pub(crate) fn secret(&self, source: IpAddr) {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = Prefix::of(source);
        if minute.secrets.len() < MOST || minute.secrets.contains_key(&prefix) {
            *minute.secrets.entry(prefix).or_default() += 1;
        }
    }

    fn take(&self) -> Minute {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What could not be written counts for the next time.
    fn give_back(&self, written_not: Minute) {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (prefix, counts) in written_not.prefixes {
            add(minute.prefixes.entry(prefix).or_default(), counts);
        }
        add(&mut minute.others, written_not.others);
        for (id, token) in written_not.tokens {
            match minute.tokens.entry(id) {
                Entry::Occupied(mut entry) => add(&mut entry.get_mut().counts, token.counts),
                Entry::Vacant(entry) => drop(entry.insert(token)),
            }
        }
        for (id, repeated) in written_not.repeated {
            match minute.repeated.entry(id) {
                Entry::Occupied(mut entry) => entry.get_mut().count += repeated.count,
                Entry::Vacant(entry) => drop(entry.insert(repeated)),
            }
        }
        for (prefix, count) in written_not.secrets {
            *minute.secrets.entry(prefix).or_default() += count;
        }
    }
}

fn add(to: &mut Counts, more: Counts) {
    for (why, count) in more {
        *to.entry(why).or_default() += count;
    }
}

impl App {
    /// Writes what was refused since the last time; how much that was.
    pub async fn reconcile_refusals(&self) -> Result<u64, Error> {
        let minute = self.inner.refusals.take();
        let written = self.record(&minute).await;
        if written.is_err() {
            self.inner.refusals.give_back(minute);
        }
        written
    }

    async fn record(&self, minute: &Minute) -> Result<u64, Error> {
        let now = self.now();
        let sum = |counts: &Counts| counts.values().sum::<u64>();
        let mut drafts = Vec::new();
        let mut all = 0;
        let prefixes = minute
            .prefixes
            .iter()
            .map(|(prefix, counts)| (prefix.to_string(), counts));
        let others = (!minute.others.is_empty()).then(|| ("other prefixes".to_owned(), &minute.others));
        for (subject, counts) in prefixes.chain(others) {
            all += sum(counts);
            let detail = json!({ "count": sum(counts), "why": counts });
            drafts.push(Draft::new(Event::JoinRefused, subject, detail));
        }
        for (id, token) in &minute.tokens {
            let detail = json!({
                "count": sum(&token.counts),
                "why": token.counts,
                "source": token.source.to_string(),
            });
            drafts.push(Draft::new(Event::JoinTokenRefused, id.to_string(), detail));
        }
        for (id, repeated) in &minute.repeated {
            let detail = json!({
                "join": id.to_string(),
                "count": repeated.count,
                "source": repeated.source.to_string(),
            });
            drafts.push(Draft::new(Event::JoinReplay, repeated.name.to_string(), detail));
        }
        for (prefix, count) in &minute.secrets {
            let detail = json!({ "count": count, "ended": false });
            drafts.push(Draft::new(Event::SecretLeaked, prefix.to_string(), detail));
        }
        if drafts.is_empty() {
            return Ok(0);
        }
        let mut tx = self.store().begin(&Self::system()).await?;
        for (id, token) in &minute.tokens {
            tx.join_token_refused(*id, sum(&token.counts), token.last.0, token.last.1)
                .await?;
        }
        let first = drafts.remove(0);
        tx.commit(Records::new(first, drafts), now).await?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_becomes_a_bounded_number_of_rows() {
        let (app, _folder) = crate::fixture::app().await;
        for _ in 0..3 {
            for n in 0..=u16::MAX {
                let [high, low] = n.to_be_bytes();
                let source = IpAddr::from([10, high, low, 1]);
                app.inner.refusals.count(source, &Error::invalid("nonsense"));
            }
        }
        assert_eq!(app.reconcile_refusals().await.expect("written"), 3 * 65_536);
        assert_eq!(app.reconcile_refusals().await.expect("nothing new"), 0);
        let rows = app
            .store()
            .audit_list(
                &muster_store::AuditFilter::default(),
                muster_store::AuditFrom::Newest,
                1000,
            )
            .await
            .expect("read");
        let refused = rows
            .iter()
            .filter(|row| row.record.event == Event::JoinRefused)
            .count();
        assert_eq!(refused, MOST + 1);
    }
}
