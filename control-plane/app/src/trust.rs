//! What is trusted: stamps, the trust state as nodes get it, beacons, and the explanation of a verdict; below, what
//! else people decide about.
//!
//! Invariant: a control plane signs a state or a beacon only for the head that it read from the primary
//! database within the last second.

mod block;
mod entity;
mod entry;
mod explain;
mod opening;
#[cfg(test)]
mod orders;
mod revocation;
mod signed;
mod signer;
mod stamp;

pub(crate) use block::{is_behind, refuse_blocked};
pub(crate) use entry::{author, duplicate, locked, moment, reason, refuse_long};
pub(crate) use explain::Judged;
pub(crate) use opening::{denied_by_node, denied_run};
pub(crate) use revocation::{refuse_many_of, to_wire as revocation_to_wire};
pub use signed::Hint;
pub(crate) use signed::SignedState;
pub(crate) use signer::{of_group, of_renamed, of_user};
pub(crate) use stamp::{removals, stamps_in};

use muster_code_trust::{CodeType, DenyReason, ItemHash, Outcome, Place, Stamp, TrustState, Verdict};
use muster_ids::{Digest, FunctionId, LibraryItemId, Name, NodeId, StampId, UserName};
use muster_model::{
    library::Tree,
    permission::{ADMINISTRATOR, Caller, Operation, UserCaller},
};
use muster_pki::PayloadType;
use muster_store::{LibraryItem, TrustHead};
use muster_wire::{
    admin::v1::{function::Untrusted, run::Why, stamp::Stamp as WireStamp},
    node::v1::{beacon::Beacon, trust_state::TrustVersion},
};

use crate::{App, Error, library::person};
pub(crate) use signer::named_signer;

/// Stamps that go with a question: one that counts is enough, the others are for when that one is taken away.
const MOST_STAMPS: usize = 64;
/// How long a beacon may be relied on (protocols.md 3: `trust.max_staleness`).
const BEACON_LIFETIME_SECONDS: u64 = 15 * 60;
/// Why somebody runs nothing of what they may not read; no rule of the decisions, which are about content.
pub(crate) const NOT_READABLE: &str = "function-not-readable";

impl App {
    /// Trusts the content of a function, which must be the current one: what was read is what is trusted.
    pub async fn trust_function(
        &self,
        caller: &Caller,
        reference: &str,
        digest: &Digest,
    ) -> Result<WireStamp, Error> {
        self.authorize(caller, Operation::StampFunctions).await?;
        let current = self.function_for(caller, reference).await?;
        let item = self.item_of(caller, current.function.id).await?;
        let mut codes = self.code_in(person(caller)?, &item).await?;
        codes.retain(|code| code.hash.as_str() == digest.to_string());
        if codes.is_empty() {
            return Err(Error::conflict(
                "content-changed",
                format!(
                    "the function \"{}\" was changed meanwhile: it is {} now; read it again with muster function show",
                    item.name,
                    item.current.unwrap_or_default()
                ),
            ));
        }
        let done = self.stamp(caller, &item, codes).await?;
        let mut stamps = done.stamped.into_iter().chain(done.already);
        stamps
            .next()
            .ok_or_else(|| Error::bug("a function that is no code"))
    }

    /// Removes the stamps of a function, whatever their version: one's own, or as an administrator all.
    pub async fn untrust_function(&self, caller: &Caller, reference: &str) -> Result<Untrusted, Error> {
        let operation = match caller {
            Caller::User(user) if user.is_in(ADMINISTRATOR) => Operation::ManageTrust,
            _ => Operation::StampFunctions,
        };
        self.authorize(caller, operation).await?;
        let current = self.function_for(caller, reference).await?;
        let item = self.item_of(caller, current.function.id).await?;
        self.unstamp_all(caller, &item).await
    }

    async fn item_of(&self, caller: &Caller, function: FunctionId) -> Result<LibraryItem, Error> {
        let id = LibraryItemId::from(function).to_string();
        self.library_item_for(person(caller)?, &id).await
    }

    /// The stamps for this content on items that the user can read in the library: the others do not count. Those whose
    /// author's word counts come first, and of these those on `item`; [`MOST_STAMPS`] are enough.
    pub(crate) async fn readable_stamps(
        &self,
        user: &UserCaller,
        state: &TrustState,
        (kind, hash): (CodeType, &ItemHash),
        item: Option<LibraryItemId>,
    ) -> Result<Vec<StampId>, Error> {
        let on = |stamp: &Stamp| stamp.library_item.as_str().parse::<LibraryItemId>().ok();
        let mut stamps: Vec<((bool, bool), LibraryItemId, &Stamp)> = state
            .stamps_of(kind, hash)
            .filter_map(|stamp| on(stamp).map(|on| ((!state.has_word(stamp), item != Some(on)), on, stamp)))
            .collect();
        stamps.sort_by_key(|(last, ..)| *last);
        let mut readable = Vec::new();
        for (_, on, stamp) in stamps {
            if self.right_to(user, on).await?.is_some() {
                readable.push(stamp.id);
                if readable.len() == MOST_STAMPS {
                    break;
                }
            }
        }
        Ok(readable)
    }

    /// The state as it is in the primary database now.
    pub(crate) async fn trust_state(&self) -> Result<TrustState, Error> {
        Ok(self.trust_state_and_head().await?.1)
    }

    pub(crate) async fn trust_state_and_head(&self) -> Result<(TrustHead, TrustState), Error> {
        let (head, entries) = self.store().trust_state().await?;
        let state = TrustState::from_pairs(entries).map_err(Error::bug)?;
        Ok((head, state))
    }

    /// The signed word that a state is the current one, in answer to a node's challenge.
    pub async fn beacon(&self, node: NodeId, challenge: &str) -> Result<serde_json::Value, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let head = self.trust_head_now().await?;
        let beacon = Beacon {
            version: version(&head),
            issued: self.now(),
            time_to_live: BEACON_LIFETIME_SECONDS,
            challenge: challenge.to_owned(),
        };
        let envelope = self.authority().sign(PayloadType::Beacon, &beacon).await?;
        serde_json::to_value(envelope).map_err(Error::bug)
    }

    /// The number of the current state.
    pub async fn trust_number(&self) -> Result<u64, Error> {
        Ok(self.trust_head_now().await?.number)
    }

    /// Where decisions about a run on `node` look for settings.
    pub(crate) async fn place(&self, node: &muster_model::node::Node) -> Result<Place, Error> {
        let (pool, site) = self.known_names(node.pool, node.site).await?;
        Ok(Place {
            node: Some((node.id, node.name.clone())),
            pool: pool.map(|name| (node.pool, name)),
            site: site.map(|name| (node.site, name)),
        })
    }

    async fn default_place(&self) -> Result<Place, Error> {
        let pool = self.pool_or_default(None).await?;
        let site = self.site_or_default(None).await?;
        Ok(Place {
            node: None,
            pool: Some((pool.id, pool.name)),
            site: Some((site.id, site.name)),
        })
    }
}

/// Whether the user can read what this stamp is on.
pub(crate) fn may_read_stamped(tree: &Tree, user: &UserCaller, stamp: &Stamp) -> bool {
    let item = stamp.library_item.as_str().parse();
    item.is_ok_and(|item| tree.right(user, item).is_some())
}

pub(crate) fn version(head: &TrustHead) -> TrustVersion {
    TrustVersion {
        incarnation: head.incarnation,
        epoch: head.epoch,
        number: head.number,
        digest: head.digest,
        previous: head.previous,
    }
}

/// For whom the function is not there, however much its content is trusted.
fn not_readable(user: &UserName, what: &str) -> Verdict {
    Verdict {
        outcome: Outcome::Deny {
            reason: DenyReason::Untrusted,
        },
        rule: NOT_READABLE,
        entry: None,
        group_path: Vec::new(),
        reasons: vec![format!("The user {user} may not read the {what} in the library.")],
    }
}

pub(crate) fn why(verdict: &Verdict) -> Why {
    Why {
        rule: verdict.rule.to_owned(),
        reason: match verdict.outcome {
            Outcome::Deny { reason } => Some(reason.to_string()),
            _ => None,
        },
        entry: verdict.entry.clone(),
        group_path: verdict.group_path.iter().map(Name::to_string).collect(),
        reasons: verdict.reasons.clone(),
    }
}

#[cfg(test)]
mod tests;
