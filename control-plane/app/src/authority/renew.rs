//! The authority's own certificates are issued anew from half of their life on, with the same keys.
//!
//! Invariant: only certificates change. What was issued before keeps its path, because name and key of the intermediate
//! stay the same.

use muster_model::{audit::Event, authority::rotation::is_past_half};
use muster_pki::{AuthorityFacts, Facts, Validity};
use muster_store::Draft;
use serde_json::json;

use super::{
    load::{der, row_of, stage},
    make::Issuer,
};
use crate::{App, Error};

impl App {
    /// Issues intermediate and policy certificate of the active authority anew where they are past half of their life.
    /// Without the root's key the intermediate stays, and [`App::status`] says when it ends. Keys that a crash has kept
    /// from being destroyed are destroyed.
    pub async fn reconcile_authority(&self) -> Result<(), Error> {
        let rows = self.store().authorities().await?;
        self.forget_revoked(&rows)?;
        let mut row = row_of(&rows, &stage(&rows)?.active())?.clone();
        let (now, present) = (self.now(), self.authority());
        let past_half =
            |validity: Validity| is_past_half(validity.not_before_ms(), validity.not_after_ms(), now);
        let root = AuthorityFacts::of(&row.root).map_err(Error::bug)?;
        let issuing = AuthorityFacts::of(&row.issuing).map_err(Error::bug)?;
        let policy = Facts::of(&der(&row.policy)).map_err(Error::bug)?;
        let mut renewed = Vec::new();
        // An intermediate that ends with its root cannot get longer.
        let longer = issuing.validity.not_after_ms() < root.validity.not_after_ms();
        if past_half(issuing.validity)
            && longer
            && let Some(key) = self.keys().root(&row.standing.root)?
        {
            let certificate = der(&row.root);
            let by_root = Issuer {
                certificate: &certificate,
                signer: &*key,
                random: self.random(),
                now,
            };
            let issued = by_root
                .issuing(&issuing.public_key, present.control_plane)
                .await?;
            row.issuing = issued.to_vec();
            renewed.push("intermediate");
        }
        let issuing = AuthorityFacts::of(&row.issuing).map_err(Error::bug)?;
        let longer = policy.validity.not_after_ms() < issuing.validity.not_after_ms();
        if past_half(policy.validity) && longer {
            let certificate = der(&row.issuing);
            let by_issuing = Issuer {
                certificate: &certificate,
                signer: &*present.issuing,
                random: self.random(),
                now,
            };
            let issued = by_issuing
                .policy(&policy.public_key, present.control_plane)
                .await?;
            row.policy = issued.to_vec();
            renewed.push("policy");
        }
        if renewed.is_empty() {
            return Ok(());
        }
        row.version += 1;
        let mut tx = self.store().begin(&Self::system()).await?;
        tx.authority_put(&row).await?;
        let detail = json!({ "certificates": renewed });
        let draft = Draft::new(Event::AuthorityRenewed, row.standing.root.to_string(), detail);
        tx.commit(draft, now).await?;
        tracing::info!(certificates = ?renewed, "certificates of the authority were issued anew");
        self.refresh_authority().await
    }
}

#[cfg(test)]
mod tests;
