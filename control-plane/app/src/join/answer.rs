//! Step 5: the signed answer.

use muster_model::{
    join::{JoinRequest, JoinState},
    node::Trust,
};
use muster_pki::{PayloadType, Role};
use muster_wire::node::v1::join::{Answer, Issued};

use crate::{App, Error, text::encode};

/// When a waiting node asks again, in seconds.
const RETRY_AFTER: u64 = 5;

impl App {
    /// The answer about `join`, signed under the root of its offer. `host` is the name by which the node
    /// reached this control plane.
    pub(super) async fn answer(
        &self,
        join: &JoinRequest,
        counter: u64,
        host: &str,
    ) -> Result<Vec<u8>, Error> {
        let automatic = self.renewed_automatically(join).await?;
        let join = automatic.as_ref().unwrap_or(join);
        let issued = match join.state {
            JoinState::Issued => Some(self.issued(join, host).await?),
            _ => None,
        };
        let answer = Answer {
            transcript: join.transcript,
            counter,
            state: join.state.as_str().to_owned(),
            reason: join.reason.clone(),
            retry_after: RETRY_AFTER,
            issued,
        };
        let envelope = self.authority().sign(PayloadType::JoinAnswer, &answer).await?;
        Ok(envelope.to_json())
    }

    async fn issued(&self, join: &JoinRequest, host: &str) -> Result<Issued, Error> {
        let gone = || {
            Error::conflict(
                "node-revoked",
                "the node was untrusted after it joined; run muster-node leave and join again",
            )
        };
        let id = join.node.ok_or_else(gone)?;
        let node = self
            .store()
            .node(id)
            .await?
            .filter(|node| node.trust == Trust::Trusted)
            .ok_or_else(gone)?;
        let chain = self.store().join_chain(join.id).await?.ok_or_else(gone)?;
        let pool = self.store().pool(node.pool).await?.ok_or_else(gone)?;
        let site = self.store().site(node.site).await?.ok_or_else(gone)?;
        let generation = self.generation_of(&chain).await?;
        let collective = self.collective();
        Ok(Issued {
            generation,
            node: id,
            collective,
            name: node.name,
            role: Role::Node.to_string(),
            capabilities: node.capabilities.iter().map(ToString::to_string).collect(),
            pool: pool.name,
            site: site.name,
            chain: chain.iter().map(|der| encode(der)).collect(),
            back_ends: self.back_ends(host),
            server_identity: format!("spiffe://{collective}/control-plane/"),
            anchors: self
                .authority()
                .roots
                .certificates()
                .iter()
                .map(|der| encode(der))
                .collect(),
            epoch: self.epoch(),
        })
    }

    /// Configured addresses; one without a host gets the host by which the node came.
    fn back_ends(&self, host: &str) -> Vec<String> {
        let complete = |address: &String| {
            if address.starts_with(':') {
                format!("{host}{address}")
            } else {
                address.clone()
            }
        };
        self.options().back_ends.iter().map(complete).collect()
    }
}
