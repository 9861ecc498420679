//! Requests that may be sent twice: an `Idempotency-Key` makes a write happen at most once.
//!
//! The key is taken before the work and answered after it. A crash in between leaves it taken without an
//! answer; a repetition is then told so instead of being carried out again.

use muster_ids::Digest;
use muster_model::permission::Caller;
use muster_store::Answer;

use crate::{App, Error};

/// The longest key.
const LONGEST_KEY: usize = 200;

/// What to do with a request that carries a key.
pub enum Repetition {
    /// It is new: carry it out, then finish or abandon it.
    New,
    /// It was answered: answer the same again.
    Answered {
        /// HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
}

impl App {
    /// Takes `key` for the request with this digest.
    pub async fn begin_once(&self, caller: &Caller, key: &str, digest: Digest) -> Result<Repetition, Error> {
        let Caller::User(user) = caller else {
            return Ok(Repetition::New);
        };
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Error::invalid("an Idempotency-Key has 1 to 200 characters"));
        }
        match self
            .store()
            .idempotency_begin(user.id, key, digest, self.now())
            .await?
        {
            None => Ok(Repetition::New),
            Some(Answer { request_digest, .. }) if request_digest != digest => Err(Error::Invalid {
                kind: "idempotency-key-reused",
                detail: "this Idempotency-Key was used for another request; use a new one".to_owned(),
            }),
            Some(Answer { status: 0, .. }) => Err(Error::conflict(
                "idempotency-unknown",
                "the request with this Idempotency-Key is under way, or was interrupted; look whether it was done before sending it under a new key",
            )),
            Some(Answer { status, body, .. }) => Ok(Repetition::Answered { status, body }),
        }
    }

    /// Keeps the answer, or gives the key back when the request was refused without changing anything.
    pub async fn end_once(&self, caller: &Caller, key: &str, status: u16, body: &str) -> Result<(), Error> {
        let Caller::User(user) = caller else { return Ok(()) };
        match status {
            200..300 => {
                self.store()
                    .idempotency_finish(user.id, key, status, body)
                    .await?;
            }
            // Refusals change nothing. After a failure inside, nobody can say that for sure.
            300..500 => self.store().idempotency_abandon(user.id, key).await?,
            _ => {}
        }
        Ok(())
    }
}
