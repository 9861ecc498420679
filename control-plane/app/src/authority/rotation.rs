//! The rotation of the certificate authority: each step is one transaction, and what follows from it can be done again.
//!
//! Order of `prepare`: keys on disk, then the row and the trust state together; a crash in between leaves keys that
//! nothing names. Order of the others: states and trust state together, then the authority of this process is swapped
//! and everybody who follows it is told, then the keys of what was revoked are destroyed. A restart begins with the
//! states, and what a crash or an error has left is made up for by the reconcilers, so no step stays half done.

use muster_code_trust::{Authority as TrustAuthority, Entry};
use muster_daemon::file::crash_point;
use muster_ids::{Digest, NodeId};
use muster_model::{
    audit::Event,
    authority::rotation::{AuthorityState, Outcome, Stage, Standing, Step},
    node::{Health, Node, Trust},
    permission::{Authorized, Caller, Operation},
};
use muster_pki::AuthorityFacts;
use muster_store::{Authority as Row, Certificate, Draft, NodeFilter};
use muster_wire::{
    admin::v1::authority::{Authority as WireAuthority, Rotate},
    node::v1::control::Inventory,
};
use serde_json::json;

use super::{
    keys::root_key,
    load::{der, issuing_key, of_rows, row_of, stage},
    make::{Issuer, make},
};
use crate::{App, Error, node::ALL, text::encode};

/// Names in one sentence at most.
const MOST_NAMES: usize = 10;
/// What every certificate of a revoked authority is revoked for.
const REVOKED: &str = "its authority was revoked";

impl App {
    /// Takes a step of the rotation; the same step again changes nothing.
    pub async fn rotate_authority(&self, caller: &Caller, rotate: &Rotate) -> Result<WireAuthority, Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageAuthority,
                "rotate the certificate authority",
                "",
            )
            .await?;
        let step = rotate.step.parse::<Step>().map_err(Error::invalid)?;
        self.take_step(&authorized, step, rotate.force).await?;
        self.show_authority(caller).await
    }

    /// Follows what the database says where this process did not, and ends a rotation that was aborted once nobody holds
    /// anything of the authority that was given up.
    pub async fn reconcile_rotation(&self) -> Result<(), Error> {
        let rows = self.store().authorities().await?;
        if !self.follows(&rows)? {
            self.refresh_authority().await?;
        }
        let Stage::Aborted { new, .. } = stage(&rows)? else {
            return Ok(());
        };
        if self.holders_of(&new).await?.is_empty() {
            self.take_step(&Self::system(), Step::Revoke, false).await?;
        }
        Ok(())
    }

    async fn take_step(&self, authorized: &Authorized, step: Step, force: bool) -> Result<(), Error> {
        let rows = self.store().authorities().await?;
        let at = stage(&rows)?;
        let outcome = at
            .step(step)
            .map_err(|refused| Error::conflict("rotation-order", refused.to_string()))?;
        match outcome {
            Outcome::Already => return Ok(()),
            Outcome::Make => self.prepare(authorized, &rows, at).await?,
            Outcome::Change(changes) => {
                if !force {
                    self.check(step, at).await?;
                }
                self.change(authorized, (step, force), at, &changes).await?;
            }
        }
        tracing::info!(step = step.as_str(), by = %authorized.caller(), "the authority is being rotated");
        self.refresh_authority().await
    }

    /// Makes the next authority, with the bridges from the present one to it.
    async fn prepare(&self, authorized: &Authorized, rows: &[Row], at: Stage) -> Result<(), Error> {
        let now = self.now();
        let present = self.authority();
        let old = row_of(rows, &at.active())?;
        let old_key = root_key(self.keys(), &old.standing.root, "the bridge to the new root")?;
        let new = make((self.collective(), present.control_plane), now, self.random()).await?;
        let old_root = der(&old.root);
        let by_old = Issuer {
            certificate: &old_root,
            signer: &*old_key,
            random: self.random(),
            now,
        };
        let key = |certificate: &[u8]| AuthorityFacts::of(certificate).map_err(Error::bug);
        let cross = by_old.cross(&key(&new.root)?.public_key).await?;
        let bridge = by_old
            .issuing(&key(&new.issuing)?.public_key, present.control_plane)
            .await?;
        self.keys().store(&new)?;
        crash_point("authority.keys.stored");
        let number = rows.iter().map(|row| row.standing.number).max().unwrap_or(0) + 1;
        let row = Row {
            standing: Standing {
                number,
                root: new.fingerprint(),
                state: AuthorityState::Prepared,
            },
            root_cross: Some(cross.to_vec()),
            issuing_cross: Some(bridge.to_vec()),
            activated_at: None,
            ..new.first(now)
        };
        let mut tx = self.store().begin(authorized).await?;
        require(&tx.authorities().await?, at)?;
        tx.authority_insert(&row).await?;
        tx.trust_change(&[accepted(old)?, accepted(&row)?], now).await?;
        let detail =
            json!({ "root": row.standing.root.to_string(), "before": old.standing.root.to_string() });
        let draft = Draft::new(Event::AuthorityPrepared, row.standing.root.to_string(), detail);
        tx.commit(draft, now).await?;
        crash_point("authority.prepared");
        Ok(())
    }

    async fn change(
        &self,
        authorized: &Authorized,
        (step, force): (Step, bool),
        at: Stage,
        changes: &[(Digest, AuthorityState)],
    ) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.store().begin(authorized).await?;
        let rows = tx.authorities().await?;
        require(&rows, at)?;
        let mut revoked = 0;
        for (root, state) in changes {
            let row = row_of(&rows, root)?.clone();
            if *state == AuthorityState::Revoked {
                revoked += tx.certificates_revoke_under(root, now, REVOKED).await?;
                tx.trust_change(&[left(&row)?], now).await?;
            }
            tx.authority_put(&row.enter(*state, now)).await?;
        }
        let (event, subject) = match step {
            Step::Activate => (Event::AuthorityActivated, changes[1].0),
            Step::Taint => (Event::AuthorityTainted, changes[0].0),
            Step::Revoke => (Event::AuthorityRevoked, changes[0].0),
            Step::Abort | Step::Prepare => (Event::AuthorityAborted, changes[0].0),
        };
        let detail = json!({ "stage": at.as_str(), "forced": force, "certificates": revoked });
        tx.commit(Draft::new(event, subject.to_string(), detail), now)
            .await?;
        crash_point("authority.changed");
        Ok(())
    }

    /// Takes over what the database says of the authorities, and destroys the keys of those that were left.
    pub async fn refresh_authority(&self) -> Result<(), Error> {
        let rows = self.store().authorities().await?;
        let authority = of_rows(&rows, self.keys())?;
        self.replace_authority(authority);
        self.forget_revoked(&rows)
    }

    /// Destroys the keys of authorities that were revoked, where that was not done yet.
    pub(super) fn forget_revoked(&self, rows: &[Row]) -> Result<(), Error> {
        rows.iter()
            .filter(|row| row.standing.state == AuthorityState::Revoked)
            .try_for_each(|row| self.keys().forget(&row.standing.root))
    }

    /// Whether this process has taken over what the database says.
    fn follows(&self, rows: &[Row]) -> Result<bool, Error> {
        let authority = self.authority();
        let accepted = rows.iter().filter(|row| row.standing.state.is_accepted());
        let accepted: Vec<Digest> = accepted.map(|row| row.standing.root).collect();
        Ok(stage(rows)?.active() == authority.root && accepted == authority.roots.fingerprints())
    }

    /// Whether everybody is ready for the step; else who is not.
    async fn check(&self, step: Step, at: Stage) -> Result<(), Error> {
        match (step, at) {
            (Step::Activate, Stage::Prepared { new, .. }) => {
                let unaware = self.online_without(&new).await?;
                if unaware.is_empty() {
                    return Ok(());
                }
                Err(Error::conflict(
                    "root-not-known",
                    format!(
                        "these nodes do not know the new root yet: {}; wait until they do (muster ca show), or say --force and they learn it when they connect again",
                        names(&unaware)
                    ),
                ))
            }
            (Step::Revoke, at) => {
                let Some(root) = at.left() else { return Ok(()) };
                let holders = self.holders_of(&root).await?;
                if holders.is_empty() {
                    return Ok(());
                }
                Err(Error::conflict(
                    "authority-in-use",
                    format!(
                        "these nodes still hold a certificate of the authority that would be revoked: {}; wait until they have renewed it (muster ca show), or say --force and they have to join again with their key",
                        names(&holders)
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Trusted nodes that are online and do not know this root.
    async fn online_without(&self, root: &Digest) -> Result<Vec<String>, Error> {
        let now = self.now();
        let wanted = root.to_string();
        let unaware = self.trusted_nodes().await?.into_iter().filter(|node| {
            Health::at(self.last_seen(node), now) != Health::Offline
                && !self.roots_known(node).contains(&wanted)
        });
        Ok(unaware.map(|node| node.name.to_string()).collect())
    }

    /// Trusted nodes whose certificate in use is of this authority and has not ended.
    pub(crate) async fn holders_of(&self, root: &Digest) -> Result<Vec<String>, Error> {
        let used = self.certificates_in_use().await?;
        let holders = self.trusted_nodes().await?.into_iter().filter(|node| {
            used.get(&node.id)
                .is_some_and(|held| held.authority == Some(*root) && held.not_after >= self.now())
        });
        Ok(holders.map(|node| node.name.to_string()).collect())
    }

    pub(crate) async fn certificates_in_use(
        &self,
    ) -> Result<std::collections::HashMap<NodeId, Certificate>, Error> {
        Ok(self.store().certificates_in_use().await?.into_iter().collect())
    }

    pub(crate) async fn trusted_nodes(&self) -> Result<Vec<Node>, Error> {
        let trusted = NodeFilter {
            trust: Some(Trust::Trusted),
            ..NodeFilter::default()
        };
        Ok(self.store().node_list(&trusted, None, ALL).await?)
    }

    /// The roots that a node said it knows.
    pub(crate) fn roots_known(&self, node: &Node) -> Vec<String> {
        self.inventory_of(node)
            .map(|inventory: Inventory| inventory.roots)
            .unwrap_or_default()
    }
}

/// The stage has not changed since it was looked at.
fn require(rows: &[Row], at: Stage) -> Result<(), Error> {
    if stage(rows)? == at {
        return Ok(());
    }
    Err(Error::conflict(
        "conflict",
        "somebody else has taken a step of the rotation meanwhile; look with muster ca show",
    ))
}

type Change = (String, Option<String>);

fn entry(authority: TrustAuthority) -> Change {
    let entry = Entry::Authority(authority);
    (entry.key(), Some(entry.value()))
}

fn accepted(row: &Row) -> Result<Change, Error> {
    Ok(entry(TrustAuthority {
        fingerprint: row.standing.root,
        issuing: issuing_key(row)?,
        root: Some(encode(&row.root).parse().map_err(Error::bug)?),
    }))
}

fn left(row: &Row) -> Result<Change, Error> {
    Ok(entry(TrustAuthority {
        fingerprint: row.standing.root,
        issuing: issuing_key(row)?,
        root: None,
    }))
}

fn names(nodes: &[String]) -> String {
    let shown: Vec<String> = nodes
        .iter()
        .take(MOST_NAMES)
        .map(|name| format!("\"{name}\""))
        .collect();
    let more = nodes.len().saturating_sub(MOST_NAMES);
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

#[cfg(test)]
mod tests;
