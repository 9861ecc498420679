//! Answers that are given again when a client repeats a request under the same `Idempotency-Key`.

use muster_ids::{Digest, UserId};

use crate::{error::StoreError, store::Store, tx::Tx, value::args};

/// What a request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the request; another request under the same key is a mistake of the client.
    pub request_digest: Digest,
    /// HTTP status; 0 while the request is being carried out, or when a crash left its outcome unknown.
    pub status: u16,
    /// The body.
    pub body: String,
    /// When it was first answered.
    pub created_at: i64,
}

impl Store {
    /// What this user's request under this key was answered.
    pub async fn idempotency_lookup(&self, user: UserId, key: &str) -> Result<Option<Answer>, StoreError> {
        let row = self
            .first(
                "SELECT request_digest, status, body, created_at FROM idempotency \
                 WHERE user_id = $1 AND request_key = $2",
                args![user, key],
            )
            .await?;
        row.map(|row| {
            Ok(Answer {
                request_digest: row.parsed("request_digest")?,
                status: u16::try_from(row.int("status")?)
                    .map_err(|_| StoreError::corrupt("a wrong value in the column status"))?,
                body: row.text("body")?,
                created_at: row.int("created_at")?,
            })
        })
        .transpose()
    }

    /// Takes the key for a request that is about to be carried out: `None` when it was free, else what stands
    /// under it, with the status 0 while nobody knows the answer. Not audited.
    pub async fn idempotency_begin(
        &self,
        user: UserId,
        key: &str,
        request_digest: Digest,
        now: i64,
    ) -> Result<Option<Answer>, StoreError> {
        let taken = self
            .write(
                "INSERT INTO idempotency (user_id, request_key, request_digest, status, body, created_at) \
                 VALUES ($1, $2, $3, 0, '', $4) ON CONFLICT (user_id, request_key) DO NOTHING",
                args![user, key, request_digest, now],
            )
            .await?;
        if taken == 1 {
            return Ok(None);
        }
        self.idempotency_lookup(user, key)
            .await?
            .map(Some)
            .ok_or_else(|| StoreError::changed("this Idempotency-Key"))
    }

    /// Keeps the answer of a request that was begun. Not audited: the change itself was.
    pub async fn idempotency_finish(
        &self,
        user: UserId,
        key: &str,
        status: u16,
        body: &str,
    ) -> Result<(), StoreError> {
        self.write(
            "UPDATE idempotency SET status = $3, body = $4 WHERE user_id = $1 AND request_key = $2 AND status = 0",
            args![user, key, i64::from(status), body],
        )
        .await
        .map(drop)
    }

    /// Gives the key of a begun request back: nothing was changed, and it may be tried again.
    pub async fn idempotency_abandon(&self, user: UserId, key: &str) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM idempotency WHERE user_id = $1 AND request_key = $2 AND status = 0",
            args![user, key],
        )
        .await
        .map(drop)
    }

    /// Forgets answers given before `at`; how many. Not audited.
    pub async fn idempotency_delete_before(&self, at: i64) -> Result<u64, StoreError> {
        self.write("DELETE FROM idempotency WHERE created_at < $1", args![at])
            .await
    }
}

impl Tx {
    /// Keeps an answer; `Duplicate` when the same request was answered meanwhile, which undoes this one.
    pub async fn idempotency_store(
        &mut self,
        user: UserId,
        key: &str,
        answer: &Answer,
    ) -> Result<(), StoreError> {
        let named = "an answer to a request under this Idempotency-Key";
        self.insert(
            "INSERT INTO idempotency (user_id, request_key, request_digest, status, body, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            args![
                user,
                key,
                answer.request_digest,
                i64::from(answer.status),
                answer.body.as_str(),
                answer.created_at
            ],
            named,
            named,
        )
        .await
    }
}
