//! When certificates end that the collective cannot work without.

use muster_ids::NodeId;
use muster_pki::{CertificateDer, Outline, Validity};
use muster_store::{CertificateFilter, CertificateState};
use muster_wire::admin::v1::status::Expiry as WireExpiry;

use crate::{App, Error, text::rfc3339};

/// One end.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// `root`, `issuing`, `policy`, `control_plane`, `front_end`, `node`, `revocation_list`.
    pub what: &'static str,
    /// Which one, where there are several.
    pub name: String,
    /// From when until when.
    pub validity: Validity,
}

impl Expiry {
    /// What to do about it, as a sentence; `None` while nothing is to be done.
    pub fn warning(&self, now: i64) -> Option<String> {
        let days = self.validity.days_left_warning(now)?;
        let (subject, cure) = match self.what {
            "root" => (
                "the root certificate",
                "bring the root's key back with muster-server root-key import, and it is renewed",
            ),
            "issuing" => (
                "the issuing certificate",
                "bring the root's key back with muster-server root-key import, and it is renewed",
            ),
            "policy" => (
                "the policy certificate",
                "see the log of muster-server for why it is not renewed",
            ),
            "control_plane" => (
                "the certificate of the back end",
                "see the log of muster-server for why it is not renewed",
            ),
            "front_end" => (
                "the certificate of the front end",
                "see the log of muster-server for why it is not renewed",
            ),
            "revocation_list" => ("the revocation list", "see the log of the control plane"),
            _ => ("the certificate of the node", "see muster-node status on it"),
        };
        let name = if self.name.is_empty() {
            String::new()
        } else {
            format!(" \"{}\"", self.name)
        };
        let end = rfc3339(self.validity.not_after_ms());
        Some(match days {
            0 => format!("{subject}{name} has ended on {end}; {cure}"),
            1 => format!("{subject}{name} ends within a day, on {end}; {cure}"),
            days => format!("{subject}{name} ends in less than {days} days, on {end}; {cure}"),
        })
    }

    pub(crate) fn to_wire(&self) -> WireExpiry {
        WireExpiry {
            what: self.what.to_owned(),
            name: self.name.clone(),
            ends: rfc3339(self.validity.not_after_ms()),
        }
    }
}

impl App {
    /// The ends of everything that the collective cannot work without; of the nodes the first one.
    pub async fn expiries(&self) -> Result<Vec<Expiry>, Error> {
        let authority = self.authority();
        let mut expiries = Vec::new();
        let mut add = |what, certificate: &CertificateDer<'_>| {
            if let Some(outline) = Outline::of(certificate) {
                expiries.push(Expiry {
                    what,
                    name: String::new(),
                    validity: outline.validity,
                });
            }
        };
        authority
            .roots
            .certificates()
            .iter()
            .for_each(|root| add("root", root));
        add("issuing", &authority.intermediate);
        authority
            .policy_chain
            .first()
            .into_iter()
            .for_each(|policy| add("policy", policy));
        for what in ["control_plane", "front_end"] {
            let filter = CertificateFilter {
                subject: Some(authority.control_plane.to_string()),
                purpose: Some(what.to_owned()),
                state: Some(CertificateState::Valid),
                ends_from: Some(self.now()),
                ..CertificateFilter::default()
            };
            let rows = self.store().certificate_list(&filter, None, 1000).await?;
            if let Some(latest) = rows.into_iter().max_by_key(|row| row.not_after) {
                add(what, &latest.der.into());
            }
        }
        if let Some((node, begins, ends)) = self.store().node_certificate_ending_first().await? {
            let known = match node.parse::<NodeId>() {
                Ok(id) => self.store().node(id).await?,
                Err(_) => None,
            };
            expiries.push(Expiry {
                what: "node",
                name: known.map_or(node, |node| node.name.to_string()),
                validity: Validity::between(begins, ends),
            });
        }
        if let Some(list) = self.revocation_list() {
            expiries.push(Expiry {
                what: "revocation_list",
                name: String::new(),
                validity: Validity::between(list.this_update, list.next_update),
            });
        }
        Ok(expiries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_what_ends_when_and_the_cure() {
        let day = 24 * 3_600_000;
        let expiry = Expiry {
            what: "issuing",
            name: String::new(),
            validity: Validity::between(0, 1000 * day),
        };
        assert_eq!(expiry.warning(900 * day), None);
        assert_eq!(
            expiry.warning(994 * day).as_deref(),
            Some(
                "the issuing certificate ends in less than 7 days, on 1972-09-27T00:00:00.000Z; \
                 bring the root's key back with muster-server root-key import, and it is renewed"
            )
        );
        let node = Expiry {
            what: "node",
            name: "terr01".to_owned(),
            ..expiry
        };
        let ended = node.warning(1000 * day).expect("over");
        assert!(
            ended.starts_with("the certificate of the node \"terr01\" has ended on "),
            "{ended}"
        );
    }
}
