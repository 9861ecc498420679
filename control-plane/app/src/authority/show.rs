//! What people see of the authorities: how far a rotation is, who keeps up, what ends when.

use muster_model::{
    authority::rotation::AuthorityState,
    node::Health,
    permission::{ADMINISTRATOR, Caller, Operation},
};
use muster_pki::{not_after_ms, pem};
use muster_store::Authority as Row;
use muster_wire::admin::v1::authority::{Authority as WireAuthority, AuthorityNode, OneAuthority};

use super::load::stage;
use crate::{App, Error, text::rfc3339};

impl App {
    /// The certificate authority: public facts for everybody who is logged in, the nodes for administrators.
    pub async fn show_authority(&self, caller: &Caller) -> Result<WireAuthority, Error> {
        self.authorize(caller, Operation::Use).await?;
        let administrator = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        let rows = self.store().authorities().await?;
        let authority = self.authority();
        let nodes = if administrator {
            Some(self.authority_nodes().await?)
        } else {
            None
        };
        Ok(WireAuthority {
            root_fingerprints: authority
                .roots
                .fingerprints()
                .iter()
                .map(ToString::to_string)
                .collect(),
            roots_pem: pem::write_certificates(authority.roots.certificates()),
            intermediate_expires: rfc3339(authority.intermediate_expires()),
            collective: self.collective().to_string(),
            stage: stage(&rows)?.as_str().to_owned(),
            authorities: rows.iter().map(one).collect(),
            nodes,
        })
    }

    /// For each trusted node, which roots it knows and whose certificate it uses.
    async fn authority_nodes(&self) -> Result<Vec<AuthorityNode>, Error> {
        let used = self.certificates_in_use().await?;
        let now = self.now();
        let nodes = self.trusted_nodes().await?;
        Ok(nodes
            .into_iter()
            .map(|node| AuthorityNode {
                roots: self.roots_known(&node),
                certificate: used
                    .get(&node.id)
                    .and_then(|held| held.authority)
                    .map(|root| root.to_string()),
                health: Health::at(self.last_seen(&node), now).to_string(),
                name: node.name,
            })
            .collect())
    }
}

fn one(row: &Row) -> OneAuthority {
    let end = |der: &[u8]| {
        let accepted = row.standing.state != AuthorityState::Revoked;
        not_after_ms(der).filter(|_| accepted).map(rfc3339)
    };
    OneAuthority {
        root: row.standing.root.to_string(),
        state: row.standing.state.to_string(),
        root_expires: end(&row.root),
        intermediate_expires: end(&row.issuing),
        policy_expires: end(&row.policy),
        prepared: rfc3339(row.prepared_at),
        activated: row.activated_at.map(rfc3339),
        tainted: row.tainted_at.map(rfc3339),
        revoked: row.revoked_at.map(rfc3339),
    }
}
