//! Join tokens: what each grants, and which node keys have used it.
//!
//! Invariant: a use is taken by compare-and-swap and bound to a node key, so that no more nodes come in than were
//! granted, and a retry of one of them takes nothing. The secret of a token is nowhere here.

use muster_ids::{Digest, TokenId};
use muster_model::join_token::JoinToken;

use crate::{
    dialect::locking,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args, counter, json},
    wake::Topic,
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, public_key, capabilities, pool, site, name_pattern, address_pattern, uses, used, created_at, \
             created_by, expires_at, revoked_at, reason, refused, refused_at, refused_why FROM join_tokens ",
            $tail
        )
    };
}

impl Store {
    /// The token of this identity.
    pub async fn join_token(&self, id: TokenId) -> Result<Option<JoinToken>, StoreError> {
        self.first(select!("WHERE id = $1"), args![id])
            .await?
            .map(|row| token(&row))
            .transpose()
    }

    /// At most `limit` tokens, the newest first, from after the one with the identity `after`.
    pub async fn join_token_list(
        &self,
        after: Option<TokenId>,
        limit: u32,
    ) -> Result<Vec<JoinToken>, StoreError> {
        let sql = select!("WHERE ($1 IS NULL OR id < $1) ORDER BY id DESC LIMIT $2");
        self.all(sql, args![after, i64::from(limit)])
            .await?
            .iter()
            .map(token)
            .collect()
    }

    /// The identities of at most `limit` tokens that may let somebody in at `now`; those that end last come first.
    pub async fn join_tokens_live(&self, now: i64, limit: u32) -> Result<Vec<TokenId>, StoreError> {
        let sql = "SELECT id FROM join_tokens WHERE expires_at > $1 AND revoked_at IS NULL \
                   ORDER BY expires_at DESC LIMIT $2";
        let rows = self.all(sql, args![now, i64::from(limit)]).await?;
        rows.iter().map(|row| row.parsed("id")).collect()
    }
}

impl Store {
    /// Removes tokens that ended before `end`, with their uses; how many. Not audited: what they did is.
    pub async fn join_tokens_delete_before(&self, end: i64) -> Result<u64, StoreError> {
        self.write("DELETE FROM join_tokens WHERE expires_at < $1", args![end])
            .await
    }
}

impl Tx {
    /// The token of this identity, locked.
    pub async fn join_token_get(&mut self, id: TokenId) -> Result<Option<JoinToken>, StoreError> {
        let sql = locking!(select!("WHERE id = $1"));
        self.first(sql, args![id])
            .await?
            .map(|row| token(&row))
            .transpose()
    }

    /// Adds a token.
    pub async fn join_token_insert(&mut self, token: &JoinToken) -> Result<(), StoreError> {
        let named = "a join token of this identity";
        self.touch(Topic::Joins);
        self.insert(
            "INSERT INTO join_tokens (id, public_key, capabilities, pool, site, name_pattern, address_pattern, uses, \
             used, created_at, created_by, expires_at, revoked_at, reason, refused, refused_at, refused_why) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, NULL, NULL)",
            args![
                token.id,
                &token.public_key[..],
                json(&token.capabilities)?,
                token.pool.as_str(),
                token.site.as_str(),
                token.name.as_ref().map(ToString::to_string),
                token.address.as_ref().map(ToString::to_string),
                counter(token.uses)?,
                counter(token.used)?,
                token.created_at,
                &token.created_by,
                token.expires_at,
                token.revoked_at,
                &token.reason,
            ],
            named,
            named,
        )
        .await
    }

    /// Whether the node of this key has used the token.
    pub async fn join_token_used_by(&mut self, id: TokenId, key: &Digest) -> Result<bool, StoreError> {
        let sql = "SELECT 1 AS used FROM join_token_uses WHERE token_id = $1 AND node_key = $2";
        Ok(self.first(sql, args![id, *key]).await?.is_some())
    }

    /// Takes one use of the token for the node of this key; false when none is left or the token ended before `now`.
    pub async fn join_token_use(&mut self, id: TokenId, key: &Digest, now: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE join_tokens SET used = used + 1 \
                   WHERE id = $1 AND used < uses AND expires_at > $2 AND revoked_at IS NULL";
        if self.execute(sql, args![id, now]).await? == 0 {
            return Ok(false);
        }
        let named = "a use of this token by this node";
        self.insert(
            "INSERT INTO join_token_uses (token_id, node_key, used_at) VALUES ($1, $2, $3)",
            args![id, *key, now],
            named,
            named,
        )
        .await?;
        Ok(true)
    }

    /// Takes a token back at `at`; false when it was taken back before or there is none.
    pub async fn join_token_revoke(
        &mut self,
        id: TokenId,
        at: i64,
        reason: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.touch(Topic::Joins);
        let sql = "UPDATE join_tokens SET revoked_at = $2, reason = $3 WHERE id = $1 AND revoked_at IS NULL";
        Ok(self.execute(sql, args![id, at, reason]).await? > 0)
    }

    /// Takes every token back, as a restore of an older database must: it may not know which were used or taken back.
    pub async fn join_tokens_void(&mut self, at: i64, reason: &str) -> Result<u64, StoreError> {
        self.touch(Topic::Joins);
        let sql = "UPDATE join_tokens SET revoked_at = $1, reason = $2 WHERE revoked_at IS NULL";
        self.execute(sql, args![at, reason]).await
    }

    /// Remembers that `count` more joins that named the token were refused, the last one at `at` because of `why`.
    pub async fn join_token_refused(
        &mut self,
        id: TokenId,
        count: u64,
        at: i64,
        why: &str,
    ) -> Result<(), StoreError> {
        let sql =
            "UPDATE join_tokens SET refused = refused + $2, refused_at = $3, refused_why = $4 WHERE id = $1";
        self.execute(sql, args![id, counter(count)?, at, why])
            .await
            .map(drop)
    }
}

fn token(row: &Row) -> Result<JoinToken, StoreError> {
    let wrong = |column: &str| StoreError::corrupt(format!("a wrong value in the column {column}"));
    let refused_at = row.optional_int("refused_at")?;
    Ok(JoinToken {
        id: row.parsed("id")?,
        public_key: row
            .bytes("public_key")?
            .try_into()
            .map_err(|_| wrong("public_key"))?,
        capabilities: row.json("capabilities")?,
        pool: row.parsed("pool")?,
        site: row.parsed("site")?,
        name: row.optional("name_pattern")?,
        address: row.optional("address_pattern")?,
        uses: row.counter("uses")?,
        used: row.counter("used")?,
        created_at: row.int("created_at")?,
        created_by: row.text("created_by")?,
        expires_at: row.int("expires_at")?,
        revoked_at: row.optional_int("revoked_at")?,
        reason: row.optional_text("reason")?,
        refused: row.counter("refused")?,
        last_refused: refused_at.zip(row.optional_text("refused_why")?),
    })
}
