//! Join tokens: made, listed and taken back by administrators.
//!
//! Invariant: the secret exists in the answer to `create` only; what is stored, logged and audited is the public key
//! and the token's public name.

use std::time::Duration;

use muster_ids::TokenId;
use muster_model::{
    audit::Event,
    join::{Capability, approval::ApprovalRule},
    join_token::{JoinToken, LIFETIME_MS, MOST_USES, TokenState},
    permission::{Caller, Operation},
};
use muster_store::Draft;
use muster_wire::admin::v1::{
    Page, StatePageQuery,
    join_token::{CreateJoinToken, JoinToken as WireToken, NewJoinToken, Refusal, RevokeJoinToken},
};
use serde_json::json;

use crate::{App, Error, page, text::rfc3339};

/// How long a token lives when nothing else is said.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(1);

impl App {
    /// Makes a token; its secret is in this answer only.
    pub async fn create_join_token(
        &self,
        caller: &Caller,
        new: &CreateJoinToken,
    ) -> Result<NewJoinToken, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "make a join token", "")
            .await?;
        let now = self.now();
        let roots = self.authority().roots.fingerprints();
        let secret = muster_pki::join::JoinToken::new(
            self.random().id(now, TokenId::new),
            self.random().bytes(),
            roots,
        );
        let token = JoinToken {
            id: secret.id(),
            public_key: *secret.key().as_bytes(),
            capabilities: capabilities(&new.capabilities)?,
            pool: self.pool_or_default(new.pool.as_ref()).await?.name,
            site: self.site_or_default(new.site.as_ref()).await?.name,
            name: pattern(new.name.as_deref())?,
            address: pattern(new.address.as_deref())?,
            uses: uses(new.uses)?,
            used: 0,
            created_at: now,
            created_by: caller.to_string(),
            expires_at: now.saturating_add(lifetime(new.ttl_seconds)?),
            revoked_at: None,
            reason: None,
            refused: 0,
            last_refused: None,
        };
        self.may_stand_for_people(&token)?;
        let mut tx = self.store().begin(&authorized).await?;
        tx.join_token_insert(&token).await?;
        let detail = json!({
            "capabilities": token.capabilities,
            "pool": token.pool,
            "site": token.site,
            "name": new.name,
            "address": new.address,
            "uses": token.uses,
            "expires": rfc3339(token.expires_at),
        });
        tx.commit(
            Draft::new(Event::JoinTokenCreated, token.id.to_string(), detail),
            now,
        )
        .await?;
        self.inner.live_tokens.forget().await;
        Ok(NewJoinToken {
            token: secret.to_text().to_string(),
            join_token: to_wire(token, now),
        })
    }

    /// A token must not let one administrator alone do what needs several.
    fn may_stand_for_people(&self, token: &JoinToken) -> Result<(), Error> {
        let applies = |rule: &&ApprovalRule| {
            rule.count > 1
                && rule
                    .capability
                    .is_none_or(|capability| token.capabilities.contains(&capability))
                && rule
                    .pool
                    .as_ref()
                    .is_none_or(|pool| pool.key() == token.pool.key())
        };
        match self.options().approvals.iter().find(applies) {
            None => Ok(()),
            Some(rule) => Err(Error::conflict(
                "needs-people",
                format!(
                    "{} people must approve such nodes ([[join.approvals]]), and a join token cannot stand for them; limit it to other capabilities or pools",
                    rule.count
                ),
            )),
        }
    }

    /// The tokens, newest first.
    pub async fn list_join_tokens(
        &self,
        caller: &Caller,
        query: &StatePageQuery,
    ) -> Result<Page<WireToken>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "list join tokens", "")
            .await?;
        let limit = page::limit(&query.page())?;
        let state = query
            .state
            .as_deref()
            .map(str::parse::<TokenState>)
            .transpose()
            .map_err(Error::invalid)?;
        let now = self.now();
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX) + 1;
        let mut after = page::after::<TokenId>(&query.page())?;
        let mut rows = Vec::new();
        // The state follows from the time, so that rows of other states are passed over here.
        loop {
            let batch = self.store().join_token_list(after, limit + 1).await?;
            let ended = batch.len() < wanted;
            after = batch.last().map(|token| token.id);
            let fits = |token: &JoinToken| state.is_none_or(|state| token.state(now) == state);
            rows.extend(batch.into_iter().filter(fits));
            if ended || rows.len() >= wanted {
                break;
            }
        }
        Ok(page::of(rows, limit, |row| row.id, |row| to_wire(row, now)))
    }

    /// One token.
    pub async fn show_join_token(&self, caller: &Caller, id: TokenId) -> Result<WireToken, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "read the join token", id)
            .await?;
        let token = self.store().join_token(id).await?;
        token
            .map(|token| to_wire(token, self.now()))
            .ok_or_else(|| no_such_token(id))
    }

    /// Takes a token back. Nodes that it has let in stay.
    pub async fn revoke_join_token(
        &self,
        caller: &Caller,
        id: TokenId,
        revocation: &RevokeJoinToken,
    ) -> Result<WireToken, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "revoke the join token", id)
            .await?;
        let reason = revocation.reason.as_deref().map(page::clean_line).transpose()?;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let token = tx.join_token_get(id).await?.ok_or_else(|| no_such_token(id))?;
        if !tx.join_token_revoke(id, now, reason.as_deref()).await? {
            drop(tx);
            // Taken back before: it stays as it was.
            return Ok(to_wire(token, now));
        }
        let detail = json!({ "reason": reason, "used": token.used });
        tx.commit(Draft::new(Event::JoinTokenRevoked, id.to_string(), detail), now)
            .await?;
        self.inner.live_tokens.forget().await;
        let revoked = JoinToken {
            revoked_at: Some(now),
            reason,
            ..token
        };
        Ok(to_wire(revoked, now))
    }
}

fn to_wire(token: JoinToken, now: i64) -> WireToken {
    WireToken {
        id: token.id,
        state: token.state(now).to_string(),
        capabilities: token.capabilities.iter().map(ToString::to_string).collect(),
        pool: token.pool,
        site: token.site,
        name: token.name.map(|pattern| pattern.to_string()),
        address: token.address.map(|pattern| pattern.to_string()),
        uses: token.uses,
        used: token.used,
        created: rfc3339(token.created_at),
        created_by: token.created_by,
        expires: rfc3339(token.expires_at),
        revoked: token.revoked_at.map(rfc3339),
        reason: token.reason,
        refused: token.refused,
        last_refused: token
            .last_refused
            .map(|(at, why)| Refusal { at: rfc3339(at), why }),
    }
}

fn capabilities(texts: &[String]) -> Result<Vec<Capability>, Error> {
    if texts.is_empty() {
        return Ok(Capability::ALL.to_vec());
    }
    let mut capabilities = texts
        .iter()
        .map(|text| text.parse().map_err(|error: String| Error::invalid(error)))
        .collect::<Result<Vec<_>, _>>()?;
    capabilities.sort_unstable();
    capabilities.dedup();
    Ok(capabilities)
}

fn pattern<T>(text: Option<&str>) -> Result<Option<T>, Error>
where
    T: std::str::FromStr<Err = muster_model::join_token::PatternError>,
{
    text.map(|text| {
        text.parse()
            .map_err(|error: T::Err| Error::invalid(error.to_string()))
    })
    .transpose()
}

fn uses(asked: Option<u64>) -> Result<u64, Error> {
    match asked.unwrap_or(1) {
        uses @ 1..=MOST_USES => Ok(uses),
        _ => Err(Error::invalid(format!("a join token has 1 to {MOST_USES} uses"))),
    }
}

/// Milliseconds.
fn lifetime(asked: Option<u64>) -> Result<i64, Error> {
    let seconds = asked.unwrap_or(DEFAULT_LIFETIME.as_secs());
    let lifetime = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000));
    lifetime
        .filter(|lifetime| (LIFETIME_MS.0..=LIFETIME_MS.1).contains(lifetime))
        .ok_or_else(|| Error::invalid("a join token lives from one minute to 365 days"))
}

fn no_such_token(id: TokenId) -> Error {
    Error::not_found("join token", id, "muster join-token list shows all of them")
}
