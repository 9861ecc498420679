//! Joins that name a token: admitted at the reveal, or refused.
//!
//! Invariant: the use of the token, the node and its certificate commit together. Whoever has not proved the secret of
//! a live token gets one and the same refusal, whatever is wrong; administrators see why (`muster join-token list`).

use std::{collections::HashSet, net::IpAddr, time::Duration};

use muster_daemon::file::crash_point;
use muster_ids::TokenId;
use muster_model::{
    audit::Event,
    join::{JoinRequest, approval::people_needed},
    join_token::{JoinToken, TokenRefused, TokenState},
    permission::Authorized,
};
use muster_pki::join::{TokenKey, Transcript};
use muster_store::{Draft, Records};
use serde_json::json;

use super::exchange::Entry;
use crate::{App, Error};

/// How long the list of live tokens is relied on.
const FRESH: Duration = Duration::from_secs(1);
/// The most live tokens that have a part in the budget of offers for tokens; others use the common one.
const MOST_LIVE: u32 = 10_000;

/// Which tokens are live, read at most once a second: a flood of hellos must not become one of queries.
#[derive(Default)]
pub(crate) struct LiveTokens(tokio::sync::Mutex<Option<(Duration, HashSet<TokenId>)>>);

impl LiveTokens {
    /// Whatever is known may be wrong now.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

impl App {
    /// Whether `id` is a token that may let somebody in, as of the last second.
    pub(super) async fn token_is_live(&self, id: TokenId) -> Result<bool, Error> {
        let boot = self.clock().boot();
        let mut known = self.inner.live_tokens.0.lock().await;
        match &*known {
            Some((at, live)) if boot.saturating_sub(*at) < FRESH => Ok(live.contains(&id)),
            _ => {
                let live = self.store().join_tokens_live(self.now(), MOST_LIVE).await?;
                let (_, live) = known.insert((boot, live.into_iter().collect()));
                Ok(live.contains(&id))
            }
        }
    }

    /// Lets the node of `exchange` in by the token `id`, if `proof` is right and the token grants it.
    pub(super) async fn join_by_token(
        &self,
        authorized: &Authorized,
        exchange: JoinRequest,
        proof: &[u8],
        source: IpAddr,
    ) -> Result<JoinRequest, Error> {
        let id = exchange
            .token
            .ok_or_else(|| Error::bug("a join without a token"))?;
        let admitted = self.admit_by_token(authorized, id, exchange, proof, source).await;
        admitted.map_err(|refusal| match refusal {
            Refusal::Token(refused) => {
                if refused != TokenRefused::Unknown {
                    self.inner.refusals.count_token(id, source, &refused, self.now());
                }
                told(&refused)
            }
            Refusal::Other(error) => error,
        })
    }

    async fn admit_by_token(
        &self,
        authorized: &Authorized,
        id: TokenId,
        exchange: JoinRequest,
        proof: &[u8],
        source: IpAddr,
    ) -> Result<JoinRequest, Refusal> {
        let now = self.now();
        // All that can be refused is refused before the only writer of SQLite is taken.
        let token = self.store().join_token(id).await.map_err(Error::from)?;
        let key = token
            .as_ref()
            .map_or(TokenKey::DECOY, |token| TokenKey::from_bytes(token.public_key));
        let proved = key.verify(&Transcript::from_digest(exchange.transcript), proof);
        let token = token.ok_or(TokenRefused::Unknown)?;
        proved.map_err(|_| TokenRefused::Proof)?;
        match token.state(now) {
            // A node that used it before may come again; that is looked at below.
            TokenState::Live | TokenState::Spent => {}
            over => return Err(TokenRefused::Over(over).into()),
        }
        let granted = grant(&token, &exchange, source)?;
        // Else one administrator could let in alone, by a token, what two must approve.
        match people_needed(&self.options().approvals, &granted.applicant) {
            0 | 1 => {}
            people => return Err(TokenRefused::People(people).into()),
        }

        let mut tx = self.store().begin(authorized).await.map_err(Error::from)?;
        let request = match self.enter(&mut tx, granted).await? {
            Entry::Open(request) => request,
            Entry::Stands(row) => return Ok(row),
        };
        let token = tx.join_token_get(id).await.map_err(Error::from)?;
        let token = token.ok_or(TokenRefused::Unknown)?;
        let used_it = tx
            .join_token_used_by(id, &request.key)
            .await
            .map_err(Error::from)?;
        token.may_be_used(used_it, now)?;
        let again = used_it
            || !tx
                .join_token_use(id, &request.key, now)
                .await
                .map_err(Error::from)?;
        if again && !used_it {
            return Err(TokenRefused::Over(TokenState::Spent).into());
        }
        let version = request.version;
        let approved = request.approve(now).map_err(|error| super::refused(&error))?;
        let (node, stored, drafts, tx) = self.issue_join(tx, approved, version, now, None).await?;
        let draft = Draft {
            event: Event::JoinApproved,
            subject: node.name.to_string(),
            detail: json!({
                "join": stored.id.to_string(),
                "node": node.id.to_string(),
                "key": stored.key.to_string(),
                "by": "token",
                "token": id.to_string(),
                "again": again,
            }),
        };
        tx.commit(Records::new(draft, drafts), now)
            .await
            .map_err(Error::from)?;
        crash_point("join.committed");
        tracing::info!(node.id = %node.id, node.name = %node.name, token = %id, "a join token let a node in");
        Ok(stored)
    }
}

/// Why nobody was let in.
enum Refusal {
    Token(TokenRefused),
    Other(Error),
}

impl From<TokenRefused> for Refusal {
    fn from(refused: TokenRefused) -> Self {
        Self::Token(refused)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn grant(token: &JoinToken, exchange: &JoinRequest, source: IpAddr) -> Result<JoinRequest, TokenRefused> {
    Ok(JoinRequest {
        applicant: token.grant(&exchange.applicant, source)?,
        ..exchange.clone()
    })
}

/// What the one who asked may know.
fn told(refused: &TokenRefused) -> Error {
    let detail = if refused.may_be_told() {
        refused.to_string()
    } else {
        "the join token is not accepted: it may be spent, expired or revoked, or not what was handed out; ask an administrator for a new one"
            .to_owned()
    };
    Error::Denied {
        kind: "join-token-refused",
        detail,
    }
}
