//! How many requests may wait: a flood displaces itself, and nobody else.
//!
//! Invariant: only requests that wait give way, the oldest of the busiest address of the busiest prefix first; those
//! that somebody has approved go last, and approved and issued ones never.

use muster_ids::JoinId;
use muster_model::join::{JoinRequest, REQUEST_LIFETIME_MS};
use muster_store::{Full, Tx};

use crate::{App, Error};

/// The most requests that give way to one: more only after the quotas were lowered.
const AT_ONCE: usize = 16;
/// Said to the node and to administrators.
const REASON: &str = "too many requests wait; the node asks again by itself";

impl App {
    /// Makes room for `request` in the queue; says which requests gave way.
    pub(super) async fn make_room(&self, tx: &mut Tx, request: &JoinRequest) -> Result<Vec<JoinId>, Error> {
        let quotas = self.options().quotas;
        let since = request.revealed_at - REQUEST_LIFETIME_MS;
        let mut dropped = Vec::new();
        while dropped.len() < AT_ONCE {
            let [address, prefix, all] = tx.joins_crowd(&request.source, &request.key, since).await?;
            let full = if address >= quotas.per_address {
                Full::Address(&request.source)
            } else if prefix >= quotas.per_prefix {
                Full::Prefix(&request.source)
            } else if all >= quotas.total {
                Full::All
            } else {
                break;
            };
            let Some(oldest) = tx.join_to_drop(full, &request.key, since).await? else {
                break;
            };
            let expired = oldest.expire(REASON).map_err(|error| super::refused(&error))?;
            tx.join_put(&expired).await?;
            dropped.push(expired.id);
        }
        Ok(dropped)
    }
}
