//! Join requests: one row for a node key, renewed under another id by each exchange.
//!
//! Invariant: a row changes by compare-and-swap on `version`, one transition of
//! [`JoinRequest`] at a time. Only the poll counter moves beside it, and it only grows.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::{Digest, JoinId, Name};
use muster_model::{
    address::Prefix,
    join::{JoinRequest, JoinState},
};

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
            "SELECT id, join_key, spki, transcript, applicant, source, created_at, revealed_at, poll_counter, state, \
             reason, renewal_of, node_id, token_id, votes, version FROM joins ",
            $tail
        )
    };
}

/// The most waiting requests that are looked at together.
const MAX_PENDING: i64 = 10_000;

/// What a list is about; `None` does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinFilter {
    /// In this state as stored; requests expire by time alone, see [`JoinRequest::at`].
    pub state: Option<JoinState>,
}

impl Store {
    /// The request of this identity. A renewed request has another one.
    pub async fn join_by_id(&self, id: JoinId) -> Result<Option<JoinRequest>, StoreError> {
        self.first(select!("WHERE id = $1"), args![id])
            .await?
            .map(|row| request(&row))
            .transpose()
    }

    /// At most `limit` requests, oldest first, from after the one made at `after.0` with the identity `after.1`.
    pub async fn join_list(
        &self,
        filter: &JoinFilter,
        after: Option<(i64, JoinId)>,
        limit: u32,
    ) -> Result<Vec<JoinRequest>, StoreError> {
        let sql = select!(
            "WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR (created_at, id) > ($2, $3)) \
             ORDER BY created_at, id LIMIT $4"
        );
        let values = args![
            filter.state.map(JoinState::as_str),
            after.map(|after| after.0),
            after.map(|after| after.1),
            i64::from(limit)
        ];
        self.all(sql, values).await?.iter().map(request).collect()
    }

    /// The requests that wait, the latest reveals first, 10,000 at most: among these a typed code is looked for.
    pub async fn joins_pending(&self) -> Result<Vec<JoinRequest>, StoreError> {
        let sql = select!("WHERE state = 'pending' ORDER BY revealed_at DESC, id LIMIT $1");
        self.all(sql, args![MAX_PENDING])
            .await?
            .iter()
            .map(request)
            .collect()
    }

    /// Moves the counter of polls up to `poll`; false when it was used before or the request is gone. Not audited: a
    /// poll changes nothing else.
    pub async fn join_poll(&self, id: JoinId, poll: u64) -> Result<bool, StoreError> {
        let Ok(poll) = counter(poll) else { return Ok(false) };
        let sql = "UPDATE joins SET poll_counter = $2 WHERE id = $1 AND poll_counter < $2";
        Ok(self.write(sql, args![id, poll]).await? == 1)
    }

    /// The issued chain, the node's certificate first, each as DER.
    pub async fn join_chain(&self, id: JoinId) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let sql = "SELECT issued_chain FROM joins WHERE id = $1 AND issued_chain IS NOT NULL";
        let Some(row) = self.first(sql, args![id]).await? else {
            return Ok(None);
        };
        let chain: Vec<String> = row.json("issued_chain")?;
        let decoded: Result<_, _> = chain
            .iter()
            .map(|certificate| STANDARD.decode(certificate))
            .collect();
        decoded
            .map(Some)
            .map_err(|_| StoreError::corrupt("a wrong value in the column issued_chain"))
    }
}

impl Tx {
    /// The request of this node key, locked.
    pub async fn join_by_key(&mut self, key: &Digest) -> Result<Option<JoinRequest>, StoreError> {
        let sql = locking!(select!("WHERE join_key = $1"));
        self.first(sql, args![*key])
            .await?
            .map(|row| request(&row))
            .transpose()
    }

    /// The request of this identity, locked.
    pub async fn join_get(&mut self, id: JoinId) -> Result<Option<JoinRequest>, StoreError> {
        let sql = locking!(select!("WHERE id = $1"));
        self.first(sql, args![id])
            .await?
            .map(|row| request(&row))
            .transpose()
    }

    /// The requests that wait under this name, locked.
    pub async fn joins_pending_with_name(&mut self, name: &Name) -> Result<Vec<JoinRequest>, StoreError> {
        let sql = locking!(select!(
            "WHERE state = 'pending' AND name_key = $1 ORDER BY join_key"
        ));
        self.all(sql, args![name.key()])
            .await?
            .iter()
            .map(request)
            .collect()
    }

    /// Stores a new request (version 1) or the next version of the request of the same key. A renewal forgets the
    /// chain of the exchange before.
    pub async fn join_put(&mut self, request: &JoinRequest) -> Result<(), StoreError> {
        let values = args![
            request.key,
            request.id,
            &request.spki,
            request.transcript,
            request.applicant.name.key(),
            json(&request.applicant)?,
            request.source.as_str(),
            request.created_at,
            request.revealed_at,
            counter(request.poll_counter)?,
            request.state.as_str(),
            &request.reason,
            request.renewal_of,
            request.node,
            request.version,
            request.token,
            json(&request.votes)?,
            prefix_of(&request.source),
        ];
        self.touch(Topic::Joins);
        if request.version == 1 {
            let known = "a join request of this key or transcript";
            let sql = "INSERT INTO joins (join_key, id, spki, transcript, name_key, applicant, source, created_at, \
                       revealed_at, poll_counter, state, reason, renewal_of, node_id, version, token_id, votes, prefix) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
            return self.insert(sql, values, known, known).await;
        }
        // The counter of the same exchange may have grown since the row was read.
        let sql = "UPDATE joins SET id = $2, spki = $3, transcript = $4, name_key = $5, applicant = $6, source = $7, \
                   created_at = $8, revealed_at = $9, \
                   poll_counter = CASE WHEN id = $2 AND poll_counter > $10 THEN poll_counter ELSE $10 END, \
                   issued_chain = CASE WHEN id = $2 THEN issued_chain ELSE NULL END, \
                   state = $11, reason = $12, renewal_of = $13, node_id = $14, version = $15, token_id = $16, \
                   votes = $17, prefix = $18 \
                   WHERE join_key = $1 AND version = $15 - 1";
        self.swap(
            sql,
            values,
            &format!("the join request of \"{}\"", request.applicant.name),
        )
        .await
    }

    /// Keeps the issued chain, the node's certificate first, each as DER, to answer polls with.
    pub async fn join_set_chain(&mut self, id: JoinId, chain: &[Vec<u8>]) -> Result<(), StoreError> {
        let chain: Vec<_> = chain
            .iter()
            .map(|certificate| STANDARD.encode(certificate))
            .collect();
        self.touch(Topic::Joins);
        match self
            .execute(
                "UPDATE joins SET issued_chain = $2 WHERE id = $1",
                args![id, json(&chain)?],
            )
            .await?
        {
            0 => Err(StoreError::not_found(format!("the join request {id}"))),
            _ => Ok(()),
        }
    }
}

/// The network that a request counts for; a source that is no address counts for itself.
fn prefix_of(source: &str) -> String {
    source
        .parse()
        .map_or_else(|_| source.to_owned(), |address| Prefix::of(address).to_string())
}

fn request(row: &Row) -> Result<JoinRequest, StoreError> {
    Ok(JoinRequest {
        id: row.parsed("id")?,
        key: row.parsed("join_key")?,
        spki: row.bytes("spki")?,
        transcript: row.parsed("transcript")?,
        applicant: row.json("applicant")?,
        source: row.text("source")?,
        created_at: row.int("created_at")?,
        revealed_at: row.int("revealed_at")?,
        poll_counter: row.counter("poll_counter")?,
        state: row.parsed("state")?,
        reason: row.optional_text("reason")?,
        renewal_of: row.optional("renewal_of")?,
        node: row.optional("node_id")?,
        token: row.optional("token_id")?,
        votes: row.json("votes")?,
        version: row.int("version")?,
    })
}
