//! Sessions of people and automation. The database knows the digest of a token only, never the token.

use muster_ids::{Digest, UserId};

use crate::{
    error::StoreError,
    store::Store,
    tx::Tx,
    user::{User, user},
    value::args,
};

/// A session to be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Digest of the token.
    pub token_hash: Digest,
    /// Whose it is.
    pub user: UserId,
    /// When it began.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// Where it comes from, as people recognise it.
    pub label: String,
}

/// A session that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub user: User,
    /// When it began.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// Where it comes from.
    pub label: String,
}

impl Store {
    /// The session of this token, unless it has ended or its user is disabled.
    pub async fn session_user(&self, token_hash: &Digest, now: i64) -> Result<Option<Session>, StoreError> {
        let row = self
            .first(
                "SELECT u.id, u.name, u.state, u.created_at, u.version, s.created_at AS began_at, s.expires_at, \
                 s.label FROM sessions s JOIN users u ON u.id = s.user_id \
                 WHERE s.token_hash = $1 AND s.expires_at > $2 AND u.state = 'active'",
                args![*token_hash, now],
            )
            .await?;
        row.map(|row| {
            Ok(Session {
                user: user(&row)?,
                created_at: row.int("began_at")?,
                expires_at: row.int("expires_at")?,
                label: row.text("label")?,
            })
        })
        .transpose()
    }

    /// Removes sessions that have ended; how many. Not audited: they did not count any more.
    pub async fn sessions_delete_expired(&self, now: i64) -> Result<u64, StoreError> {
        self.write("DELETE FROM sessions WHERE expires_at <= $1", args![now])
            .await
    }
}

impl Tx {
    /// Begins a session.
    pub async fn session_insert(&mut self, session: &NewSession) -> Result<(), StoreError> {
        let named = "a session of this token";
        self.insert(
            "INSERT INTO sessions (token_hash, user_id, created_at, expires_at, label) VALUES ($1, $2, $3, $4, $5)",
            args![session.token_hash, session.user, session.created_at, session.expires_at, &session.label],
            named,
            named,
        )
        .await
    }

    /// Ends a session; false when there is none.
    pub async fn session_delete(&mut self, token_hash: &Digest) -> Result<bool, StoreError> {
        Ok(self
            .execute("DELETE FROM sessions WHERE token_hash = $1", args![*token_hash])
            .await?
            > 0)
    }

    /// Ends every session of a user; how many.
    pub async fn sessions_delete_of(&mut self, user: UserId) -> Result<u64, StoreError> {
        self.execute("DELETE FROM sessions WHERE user_id = $1", args![user])
            .await
    }
}
