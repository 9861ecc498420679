//! Answers that are given again when a client repeats a request under the same `Idempotency-Key`.

use muster_ids::{Digest, UserId};

use crate::{error::StoreError, store::Store, tx::Tx, value::args};

/// What a request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the request; another request under the same key is a mistake of the client.
    pub request_digest: Digest,
    /// HTTP status.
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
