//! What nodes know of earlier epochs, united with what the database knows.

use std::collections::BTreeMap;

use muster_code_trust::{Blocking, Entry, Gone, Moment, TrustState};
use muster_ids::{BlockId, Digest, NodeId};
use muster_model::{
    audit::Event,
    node::Trust,
    permission::{Authorized, Caller, Operation},
};
use muster_pki::{Envelope, PayloadType, Roots};
use muster_store::{Draft, Records, RootState, TrustHead, Tx};
use muster_wire::node::v1::{
    epoch::{Known, KnownState},
    trust_state::TrustHead as WireHead,
};
use serde_json::json;

use super::{head, tombstone::Change};
use crate::{
    App, Error,
    trust::{is_behind, locked},
};

/// Why a node that the database trusts is untrusted.
const UNTRUSTED: &str = "it was untrusted before the database was put back, as a node knew";

/// What a report changes: what was taken away, what was blocked and what was unblocked.
#[derive(Default)]
struct Losses {
    changes: Vec<Change>,
    tombstones: usize,
    stamps: usize,
    blocked: usize,
    unblocked: usize,
    revocations: usize,
    nodes: Vec<NodeId>,
    certificates: Vec<String>,
    roots: Vec<Digest>,
}

impl App {
    /// Takes what `node` knows of earlier epochs. A report that was not signed by a control plane of this collective
    /// counts as none.
    pub async fn unite(&self, node: NodeId, known: Known) -> Result<(), Error> {
        let authorized = self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        if self.has_reported(node).await? {
            return Ok(());
        }
        let (epoch, now) = (self.epoch(), self.now());
        let Some(reported) = known.state else {
            return Ok(self.store().epoch_report_nothing(epoch, node, now).await?);
        };
        match read_known(&reported, &self.authority().roots, now) {
            Ok((version, state)) if version.epoch < epoch => {
                self.take_away(&authorized, node, &version, &state, now).await
            }
            // What it holds is of this epoch: there is nothing to learn.
            Ok(_) => Ok(self.store().epoch_report_nothing(epoch, node, now).await?),
            Err(why) => {
                tracing::warn!(node.id = %node, why, "what a node knows of earlier epochs cannot be used");
                let tx = self.store().begin(&authorized).await?;
                let draft = Draft::new(Event::EpochReportRefused, node.to_string(), json!({ "why": why }));
                tx.commit(draft, now).await?;
                Ok(self.store().epoch_report_nothing(epoch, node, now).await?)
            }
        }
    }

    /// Takes away what `state` says was taken away, blocks and unblocks what it says was, and nothing else.
    async fn take_away(
        &self,
        authorized: &Authorized,
        node: NodeId,
        version: &TrustHead,
        state: &TrustState,
        now: i64,
    ) -> Result<(), Error> {
        let mut tx = self.store().begin(authorized).await?;
        // Rows of nodes, certificates and runs come before the rights in every change. What is lost may become less until
        // those are held, when another report says the same, but not more: such tombstones are never removed.
        let before = losses(&tx.trust_entries().await?, state, Moment::from_unix_ms(now));
        for id in &before.nodes {
            tx.node_get(*id).await?;
        }
        let mut records = Vec::new();
        let mut untrusted = 0;
        for id in &before.nodes {
            if self.is_trusted(&mut tx, *id).await? {
                let why = (UNTRUSTED, "its node was untrusted");
                let (gone, certificates, runs) = self.revoke_unburied(&mut tx, *id, why, now).await?;
                let detail =
                    json!({ "node": id.to_string(), "reason": UNTRUSTED, "certificates": certificates });
                records.push(Draft::new(Event::NodeUntrusted, gone.name.to_string(), detail));
                records.extend(runs);
                untrusted += 1;
            }
        }
        let mut certificates = 0;
        for serial in &before.certificates {
            let reason = "revoked before the database was put back, as a node knew";
            certificates += usize::from(tx.certificate_revoke(serial, now, reason).await?);
        }
        let entries = locked(&mut tx).await?;
        let losses = losses(&entries, state, Moment::from_unix_ms(now));
        tx.trust_change(&losses.changes, now).await?;
        let mut roots = 0;
        for known in tx.signing_roots().await? {
            if known.state != RootState::Removed && losses.roots.contains(&known.fingerprint) {
                tx.signing_root_remove(&known.fingerprint).await?;
                // Code trust was reset: what users were issued under the root went with it.
                tx.signing_certificates_delete(&known.fingerprint).await?;
                roots += 1;
            }
        }
        tx.epoch_report(self.epoch(), node, version, now).await?;
        let detail = json!({
            "epoch": version.epoch,
            "number": version.number,
            "tombstones": losses.tombstones,
            "stamps": losses.stamps,
            "blocked": losses.blocked,
            "unblocked": losses.unblocked,
            "revocations": losses.revocations,
            "nodes": untrusted,
            "certificates": certificates,
            "roots": roots,
        });
        let draft = Draft::new(Event::EpochUnited, node.to_string(), detail);
        tx.commit(Records::new(draft, records), now).await?;
        if !losses.changes.is_empty() {
            tracing::warn!(node.id = %node, stamps = losses.stamps, nodes = untrusted, certificates, "what a node knew was taken away again");
        }
        Ok(())
    }

    async fn is_trusted(&self, tx: &mut Tx, id: NodeId) -> Result<bool, Error> {
        let node = tx.node_get(id).await?;
        Ok(node.is_some_and(|node| node.trust == Trust::Trusted))
    }
}

/// The state of a report, as a control plane of the collective with `roots` signed it; else why it counts as none.
/// `now` is in milliseconds since 1970, UTC.
pub fn read_known(known: &KnownState, roots: &Roots, now: i64) -> Result<(TrustHead, TrustState), String> {
    let json = serde_json::to_vec(&known.head).map_err(|error| error.to_string())?;
    let payload = Envelope::from_json(&json, PayloadType::TrustState)
        .and_then(|envelope| envelope.verify(PayloadType::TrustState, roots, now))
        .map_err(|error| error.to_string())?
        .payload;
    let signed: WireHead = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
    let pairs = known
        .entries
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    let state = TrustState::from_pairs(pairs).map_err(|error| error.to_string())?;
    if state.digest() != signed.version.digest {
        return Err("its entries are not those that were signed".to_owned());
    }
    Ok((head(&signed.version), state))
}

/// What `state` takes away from `entries`; nodes and certificates in the order of their numbers, in which their rows are
/// locked.
fn losses(entries: &BTreeMap<String, String>, state: &TrustState, now: Moment) -> Losses {
    let mut losses = Losses::default();
    let mut lifted = Vec::new();
    for tombstone in state.tombstones().filter(|tombstone| !tombstone.is_over(now)) {
        let gone = tombstone.gone.clone();
        let entry = Entry::Tombstone(tombstone);
        if entries.contains_key(&entry.key()) {
            continue;
        }
        losses.changes.push((entry.key(), Some(entry.value())));
        losses.tombstones += 1;
        match gone {
            Gone::Stamp(id) => {
                let key = format!("stamp/{id}");
                if entries.contains_key(&key) {
                    losses.changes.push((key, None));
                    losses.stamps += 1;
                }
            }
            Gone::Block(id) => lifted.push(id),
            Gone::Node(id) => losses.nodes.push(id),
            Gone::Root(name) => {
                let key = Entry::Root(name.clone()).key();
                if entries.contains_key(&key) {
                    losses.changes.push((key, None));
                }
                losses.roots.extend(name.as_str().parse::<Digest>());
            }
            // In the database serial numbers have all their digits.
            Gone::Certificate { serial, .. } => {
                losses.certificates.push(format!("{:0>32}", serial.to_string()));
            }
        }
    }
    blocks(entries, state, &lifted, &mut losses);
    for revocation in state.revocations() {
        let entry = Entry::Revocation(revocation);
        if !entries.contains_key(&entry.key()) {
            losses.changes.push((entry.key(), Some(entry.value())));
            losses.revocations += 1;
        }
    }
    losses
}

/// Unites the acts of blocking: those that were lifted go, those that nobody lifted come, and a block stands as long as
/// one act is behind it. Identifiers are never used twice, so it does not matter who reports first.
fn blocks(entries: &BTreeMap<String, String>, state: &TrustState, lifted: &[BlockId], losses: &mut Losses) {
    let known = entries
        .range("blocking/".to_owned()..)
        .take_while(|(key, _)| key.starts_with("blocking/"))
        .filter_map(|(key, value)| match Entry::parse(key, value) {
            Ok(Entry::Blocking(act)) => Some(act),
            _ => None,
        });
    let (gone, kept): (Vec<Blocking>, Vec<Blocking>) = known.partition(|act| lifted.contains(&act.id));
    let is_dead = |act: &Blocking| {
        let tombstone = format!("tombstone/block/{}", act.id);
        entries.contains_key(&tombstone) || state.get(&tombstone).is_some()
    };
    let new: Vec<Blocking> = state
        .blockings()
        .filter(|act| !is_dead(act) && kept.iter().all(|known| known.id != act.id))
        .collect();
    for act in &gone {
        losses.changes.push((Entry::Blocking(act.clone()).key(), None));
        if !kept.iter().chain(&new).any(|other| is_behind(other, &act.block)) {
            losses.changes.push((Entry::Block(act.block.clone()).key(), None));
            losses.unblocked += 1;
        }
    }
    for act in new {
        let block = Entry::Block(act.block.clone());
        if !entries.contains_key(&block.key()) {
            losses.changes.push((block.key(), Some(block.value())));
            losses.blocked += 1;
        }
        let act = Entry::Blocking(act);
        losses.changes.push((act.key(), Some(act.value())));
    }
}

#[cfg(test)]
mod tests;
