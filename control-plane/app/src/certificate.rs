//! Certificates: listed, shown, revoked singly, by key, by holder, or all at once.
//!
//! Invariant: what is revoked stays so. A node's work ends with its last certificate: it could not report it.

use std::collections::BTreeMap;

use muster_ids::{Digest, JoinId, Name, NodeId};
use muster_model::{
    audit::Event,
    join::{JoinState, REQUEST_LIFETIME_MS},
    node::Trust,
    permission::{Caller, Operation},
};
use muster_pki::{Outline, RevocationReason, Serial, pem};
use muster_store::{
    Certificate, CertificateFilter, CertificateState, Draft, JoinFilter, NodeFilter, Records, Tx,
};
use muster_wire::admin::v1::{
    Page, PageQuery,
    certificate::{
        Certificate as WireCertificate, CertificateQuery, ResetTrust, RevokeCertificate, RevokedCertificates,
        TrustReset,
    },
};
use serde_json::json;

use crate::{App, Error, epoch::tombstone, node::ALL, page, text::rfc3339};

/// The certificates that let nodes speak.
const NODE: &str = "node";

/// Which certificates of a holder a revocation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Certificate,
    Key,
    Lineage,
}

impl App {
    /// Certificates that were issued, by serial number; with the state `pending`, those that are asked for.
    pub async fn list_certificates(
        &self,
        caller: &Caller,
        query: CertificateQuery,
    ) -> Result<Page<WireCertificate>, Error> {
        self.authorize_to(
            caller,
            Operation::ReadAdministration,
            "list certificates of nodes",
            "",
        )
        .await?;
        let subject = match query.subject {
            Some(subject) => Some(self.holder_named(subject).await?),
            None => None,
        };
        let state = query.state;
        let query = &PageQuery {
            limit: query.limit,
            next: query.next,
        };
        let limit = page::limit(query)?;
        let now = self.now();
        let valid = Some(CertificateState::Valid);
        let filter = match state.as_deref() {
            None => CertificateFilter::default(),
            Some("valid") => CertificateFilter {
                state: valid,
                ends_from: Some(now),
                ..CertificateFilter::default()
            },
            Some("expired") => CertificateFilter {
                state: valid,
                ends_before: Some(now),
                ..CertificateFilter::default()
            },
            Some("revoked") => CertificateFilter {
                state: Some(CertificateState::Revoked),
                ..CertificateFilter::default()
            },
            Some("pending") => return self.pending_certificates(query, limit, now).await,
            Some(_) => {
                return Err(Error::invalid(
                    "the state of a certificate is valid, expired, revoked or pending",
                ));
            }
        };
        let filter = CertificateFilter { subject, ..filter };
        let after = page::after::<String>(query)?;
        let rows = self
            .store()
            .certificate_list(&filter, after.as_deref(), limit + 1)
            .await?;
        let names = self.names_of_holders(&rows).await?;
        Ok(page::of(
            rows,
            limit,
            |row| row.serial.clone(),
            |row| {
                let name = names.get(&row.subject).cloned();
                to_wire(row, name, now)
            },
        ))
    }

    /// What join requests ask for.
    async fn pending_certificates(
        &self,
        query: &PageQuery,
        limit: u32,
        now: i64,
    ) -> Result<Page<WireCertificate>, Error> {
        let filter = JoinFilter {
            state: Some(JoinState::Pending),
            waiting_since: now - REQUEST_LIFETIME_MS,
        };
        let after = page::after::<(i64, JoinId)>(query)?;
        let rows = self.store().join_list(&filter, after, limit + 1).await?;
        let page = page::of(
            rows,
            limit,
            |row| (row.created_at, row.id),
            |row| {
                let row = row.at(now);
                (row.state == JoinState::Pending).then(|| WireCertificate {
                    serial: None,
                    join: Some(row.id),
                    purpose: NODE.to_owned(),
                    subject: row.applicant.name.to_string(),
                    node: None,
                    state: JoinState::Pending.as_str().to_owned(),
                    not_before: None,
                    not_after: None,
                    revoked: None,
                    reason: None,
                    fingerprint: None,
                    pem: None,
                })
            },
        );
        Ok(Page {
            items: page.items.into_iter().flatten().collect(),
            next: page.next,
        })
    }

    /// One certificate, whole.
    pub async fn show_certificate(&self, caller: &Caller, serial: &str) -> Result<WireCertificate, Error> {
        self.authorize_to(
            caller,
            Operation::ReadAdministration,
            "read the certificate",
            serial,
        )
        .await?;
        let serial = parse(serial)?;
        let row = self.store().certificate(&serial).await?;
        let row = row.ok_or_else(|| no_such_certificate(&serial))?;
        let names = self.names_of_holders(std::slice::from_ref(&row)).await?;
        let der = row.der.clone();
        let name = names.get(&row.subject).cloned();
        Ok(WireCertificate {
            fingerprint: Some(Digest::of(&der).to_string()),
            pem: Some(pem::write_certificates([&der.into()])),
            ..to_wire(row, name, self.now())
        })
    }

    /// Revokes a certificate, all of its holder for its key, or all of its holder. The holder's connections that were
    /// opened with one of them are cut.
    pub async fn revoke_certificate(
        &self,
        caller: &Caller,
        serial: &str,
        request: &RevokeCertificate,
    ) -> Result<RevokedCertificates, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "revoke the certificate", serial)
            .await?;
        let serial = parse(serial)?;
        let reason = match &request.reason {
            None => RevocationReason::Unspecified,
            Some(text) => text
                .parse()
                .map_err(|error: muster_pki::ReasonError| Error::invalid(error.to_string()))?,
        };
        let extent = match request.extent.as_deref() {
            None | Some("certificate") => Extent::Certificate,
            Some("key") => Extent::Key,
            Some("lineage") => Extent::Lineage,
            Some(_) => {
                return Err(Error::invalid(
                    "the extent of a revocation is certificate, key or lineage",
                ));
            }
        };
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let row = tx.certificate_get(&serial).await?;
        let row = row.ok_or_else(|| no_such_certificate(&serial))?;
        let held = tx.certificates_of(&row.subject, now).await?;
        let mut serials = Vec::new();
        if extent == Extent::Certificate {
            if row.state != CertificateState::Valid {
                let since = row.revoked_at.map(rfc3339).unwrap_or_default();
                return Err(Error::conflict(
                    "certificate-state",
                    format!(
                        "the certificate {serial} was revoked already, on {since}; muster cert show says why"
                    ),
                ));
            }
            serials.push(serial.clone());
        } else {
            let key = key_of(&row);
            serials.extend(
                held.iter()
                    .filter(|other| extent == Extent::Lineage || key_of(other) == key)
                    .map(|other| other.serial.clone()),
            );
        }
        for serial in &serials {
            tx.certificate_revoke(serial, now, reason.as_str()).await?;
        }
        let gone: Vec<_> = held
            .iter()
            .chain([&row])
            .filter(|other| serials.contains(&other.serial) && other.not_after > now)
            .map(|other| tombstone::of_certificate(other, now))
            .collect::<Result<_, _>>()?;
        tombstone::bury(&mut tx, gone, now).await?;
        let remaining: Vec<_> = held
            .iter()
            .filter(|other| !serials.contains(&other.serial))
            .collect();
        let mut records = Vec::new();
        let speechless = !remaining.iter().any(|other| other.purpose == NODE);
        if let Ok(node) = row.subject.parse::<NodeId>()
            && speechless
            && held.iter().any(|other| other.purpose == NODE)
        {
            records = self
                .lose_runs_of(&mut tx, node, "the certificate of its node was revoked", now)
                .await?;
        }
        let detail = json!({
            "serials": serials, "purpose": row.purpose, "holder": row.subject, "reason": reason.as_str(),
        });
        let answer = RevokedCertificates {
            runs_lost: records.len() as u64,
            remaining: remaining.len() as u64,
            serials,
        };
        let draft = Draft::new(Event::CertificateRevoked, serial, detail);
        tx.commit(Records::new(draft, records), now).await?;
        tracing::info!(certificates = answer.serials.len(), holder = %row.subject, by = %caller, "certificates revoked");
        Ok(answer)
    }

    /// Revokes every certificate of the collective's authority and untrusts every node; control planes go on with new
    /// ones of their own.
    pub async fn reset_trust(&self, caller: &Caller, request: &ResetTrust) -> Result<TrustReset, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "reset the trust in nodes", "")
            .await?;
        let now = self.now();
        let reason = "trust was reset";
        let mut nodes = self.store().node_list(&NodeFilter::default(), None, ALL).await?;
        // As reports of an earlier epoch lock them.
        nodes.sort_unstable_by_key(|node| node.id);
        let mut tx = self.store().begin(&authorized).await?;
        let mut records = Vec::new();
        let (mut trusted, mut certificates, mut gone) = (0, 0, Vec::new());
        for node in &nodes {
            if node.trust == Trust::Trusted {
                trusted += 1;
                let lost = (reason, "the trust in its node was reset");
                let (_, revoked, ends) = self.revoke_unburied(&mut tx, node.id, lost, now).await?;
                gone.push(tombstone::of_node(node.id, now));
                certificates += revoked;
                records.extend(ends);
            }
            if request.delete {
                tx.node_delete(node.id).await?;
            }
        }
        tombstone::bury(&mut tx, gone, now).await?;
        certificates += tx.certificates_reset(now, reason, request.delete).await?;
        let answer = TrustReset {
            nodes: trusted,
            certificates,
            runs_lost: records.len() as u64,
        };
        let detail = json!({ "nodes": trusted, "certificates": certificates, "deleted": request.delete });
        let draft = Draft::new(Event::TrustReset, self.collective().to_string(), detail);
        tx.commit(Records::new(draft, records), now).await?;
        for node in nodes {
            self.liveness().forget(node.id);
        }
        tracing::warn!(nodes = trusted, certificates, by = %caller, "trust was reset");
        Ok(answer)
    }

    /// The runs of a node that cannot end them any more are lost; gives their records.
    pub(crate) async fn lose_runs_of(
        &self,
        tx: &mut Tx,
        node: NodeId,
        why: &str,
        now: i64,
    ) -> Result<Vec<Draft>, Error> {
        let mut records = Vec::new();
        for run in self.store().runs_of_node(node).await? {
            // The cause stands in for the end of the lease.
            records.extend(self.lose_run(tx, run.run.id, (i64::MAX, now), why).await?);
        }
        Ok(records)
    }

    /// A holder's identifier; nodes are known by their names too.
    async fn holder_named(&self, text: String) -> Result<String, Error> {
        let named = match text.parse::<Name>() {
            Ok(name) => self.store().node_by_name(&name).await?,
            Err(_) => None,
        };
        Ok(named.map_or(text, |node| node.id.to_string()))
    }

    /// The names of the nodes among the holders, by identifier.
    async fn names_of_holders(&self, rows: &[Certificate]) -> Result<BTreeMap<String, Name>, Error> {
        let mut names = BTreeMap::new();
        for row in rows {
            if let Ok(node) = row.subject.parse::<NodeId>()
                && !names.contains_key(&row.subject)
                && let Some(node) = self.store().node(node).await?
            {
                names.insert(row.subject.clone(), node.name);
            }
        }
        Ok(names)
    }
}

fn key_of(row: &Certificate) -> Option<Digest> {
    let key = Outline::of(&row.der)?.public_key?;
    Some(key.fingerprint())
}

/// A serial number as people give it: as shown, or as other programs print it, with colons or capital letters.
fn parse(text: &str) -> Result<String, Error> {
    let plain: String = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let padded = format!("{plain:0>32}");
    // OpenSSL writes a zero byte before a leading one bit.
    let number = padded.strip_prefix("00").filter(|rest| rest.len() == 32);
    number
        .unwrap_or(&padded)
        .parse::<Serial>()
        .map(|serial| serial.to_string())
        .map_err(|error| Error::invalid(error.to_string()))
}

fn to_wire(row: Certificate, node: Option<Name>, now: i64) -> WireCertificate {
    WireCertificate {
        state: match row.state {
            CertificateState::Valid if row.not_after < now => "expired".to_owned(),
            state => state.to_string(),
        },
        serial: Some(row.serial),
        join: None,
        purpose: row.purpose,
        subject: row.subject,
        node,
        not_before: Some(rfc3339(row.not_before)),
        not_after: Some(rfc3339(row.not_after)),
        revoked: row.revoked_at.map(rfc3339),
        reason: row.reason,
        fingerprint: None,
        pem: None,
    }
}

fn no_such_certificate(serial: &str) -> Error {
    Error::not_found("certificate", serial, "muster cert list shows all of them")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn serial_numbers_are_taken_as_other_programs_print_them() {
        let serial = "8f00aa00000000000000000000000001";
        for text in [
            serial,
            "8F00AA00000000000000000000000001",
            "00:8f:00:aa:00:00:00:00:00:00:00:00:00:00:00:00:01",
        ] {
            assert_eq!(parse(text).expect("a serial number"), serial, "{text}");
        }
        assert_eq!(parse("1f").expect("short"), format!("{:0>32}", "1f"));
        for text in ["", "terr01", "8f00aa0000000000000000000000000100"] {
            assert!(text.is_empty() || parse(text).is_err(), "{text}");
        }
    }
}
