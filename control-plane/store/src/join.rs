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
    dialect::{Sql, locking},
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

/// What a list is about; `None` does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinFilter {
    /// In this state only.
    pub state: Option<JoinState>,
    /// Waiting requests that were revealed at this time or before have expired, see [`JoinRequest::at`].
    pub waiting_since: i64,
}

/// What is full, seen from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full<'a> {
    /// The share of this address.
    Address(&'a str),
    /// The share of the prefix of this address.
    Prefix(&'a str),
    /// The whole queue.
    All,
}

impl Store {
    /// The request of this identity. A renewed request has another one.
    pub async fn join_by_id(&self, id: JoinId) -> Result<Option<JoinRequest>, StoreError> {
        self.first(select!("WHERE id = $1"), args![id])
            .await?
            .map(|row| request(&row))
            .transpose()
    }

    /// What a poll of this request is verified with, its transcript and its public key, and nothing else: until then a
    /// request that is there must cost as little as one that is not.
    pub async fn join_proof(&self, id: JoinId) -> Result<Option<(Digest, Vec<u8>)>, StoreError> {
        let row = self
            .first("SELECT transcript, spki FROM joins WHERE id = $1", args![id])
            .await?;
        row.map(|row| Ok((row.parsed("transcript")?, row.bytes("spki")?)))
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
            "WHERE ($1 IS NULL OR \
             CASE WHEN state = 'pending' AND revealed_at <= $5 THEN 'expired' ELSE state END = $1) \
             AND ($2 IS NULL OR (created_at, id) > ($2, $3)) ORDER BY created_at, id LIMIT $4"
        );
        let values = args![
            filter.state.map(JoinState::as_str),
            after.map(|after| after.0),
            after.map(|after| after.1),
            i64::from(limit),
            filter.waiting_since
        ];
        self.all(sql, values).await?.iter().map(request).collect()
    }

    /// Every request that waits and was revealed after `since`, with its transcript: among these a typed code is looked
    /// for. Their number is what quotas allow.
    pub async fn joins_waiting(&self, since: i64) -> Result<Vec<(JoinId, Digest)>, StoreError> {
        let sql = "SELECT id, transcript FROM joins WHERE state = 'pending' AND revealed_at > $1 ORDER BY id";
        let rows = self.all(sql, args![since]).await?;
        rows.iter()
            .map(|row| Ok((row.parsed("id")?, row.parsed("transcript")?)))
            .collect()
    }

    /// How many requests wait that were revealed after `since`.
    pub async fn joins_waiting_count(&self, since: i64) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS waiting FROM joins WHERE state = 'pending' AND revealed_at > $1";
        match self.first(sql, args![since]).await? {
            Some(row) => row.counter("waiting"),
            None => Ok(0),
        }
    }

    /// Removes requests that were revealed before `end` and wait no more, and of those without a node all but the
    /// `keep` newest; how many. Not audited: how they ended is.
    pub async fn joins_tidy(&self, end: i64, waiting_since: i64, keep: u32) -> Result<u64, StoreError> {
        const OVER: &str = "(state IN ('rejected', 'expired', 'superseded') \
                            OR (state = 'pending' AND revealed_at <= $1))";
        let old = "DELETE FROM joins WHERE revealed_at < $1 AND (state <> 'pending' OR revealed_at <= $2)";
        let old = self.write(old, args![end, waiting_since]).await?;
        let many = format!(
            "DELETE FROM joins WHERE {OVER} AND revealed_at <= \
             (SELECT revealed_at FROM joins WHERE {OVER} ORDER BY revealed_at DESC LIMIT 1 OFFSET $2)"
        );
        let many = self
            .write(Sql::Built(many), args![waiting_since, i64::from(keep)])
            .await?;
        Ok(old + many)
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

    /// How many requests wait beside the one of `key` that were revealed after `since`: from this address, from its
    /// prefix, and in all.
    pub async fn joins_crowd(
        &mut self,
        source: &str,
        key: &Digest,
        since: i64,
    ) -> Result<[u64; 3], StoreError> {
        let sql = "SELECT COUNT(CASE WHEN source = $1 THEN 1 END) AS address, \
                   COUNT(CASE WHEN prefix = $2 THEN 1 END) AS network, COUNT(*) AS whole \
                   FROM joins WHERE state = 'pending' AND revealed_at > $3 AND join_key <> $4";
        let values = args![source, prefix_of(source), since, *key];
        match self.first(sql, values).await? {
            Some(row) => Ok([
                row.counter("address")?,
                row.counter("network")?,
                row.counter("whole")?,
            ]),
            None => Ok([0; 3]),
        }
    }

    /// The request that gives way where too many wait, locked: the oldest of the busiest address, of the busiest
    /// prefix, within `source` or its prefix if that is what is full. Those that somebody has approved go last, and
    /// never that of `key`.
    pub async fn join_to_drop(
        &mut self,
        full: Full<'_>,
        key: &Digest,
        since: i64,
    ) -> Result<Option<JoinRequest>, StoreError> {
        let (address, prefix) = match full {
            Full::Address(source) => (Some(source.to_owned()), Some(prefix_of(source))),
            Full::Prefix(source) => (None, Some(prefix_of(source))),
            Full::All => (None, None),
        };
        let prefix = if prefix.is_some() {
            prefix
        } else {
            let sql = "SELECT prefix FROM joins WHERE state = 'pending' AND revealed_at > $1 AND join_key <> $2 \
                       GROUP BY prefix ORDER BY COUNT(*) DESC, prefix LIMIT 1";
            let row = self.first(sql, args![since, *key]).await?;
            row.map(|row| row.text("prefix")).transpose()?
        };
        let address = if address.is_some() {
            address
        } else {
            let sql = "SELECT source FROM joins WHERE state = 'pending' AND revealed_at > $1 AND join_key <> $2 \
                       AND prefix = $3 GROUP BY source ORDER BY COUNT(*) DESC, source LIMIT 1";
            let row = self.first(sql, args![since, *key, &prefix]).await?;
            row.map(|row| row.text("source")).transpose()?
        };
        let sql = locking!(select!(
            "WHERE state = 'pending' AND revealed_at > $1 AND join_key <> $2 AND prefix = $3 AND source = $4 \
             ORDER BY CASE WHEN votes = '[]' THEN 0 ELSE 1 END, created_at, id LIMIT 1"
        ));
        self.first(sql, args![since, *key, prefix, address])
            .await?
            .map(|row| request(&row))
            .transpose()
    }

    /// Ends every waiting request, as a restore of an older database must: its codes belong to another join key.
    pub async fn joins_void(&mut self, reason: &str) -> Result<u64, StoreError> {
        self.touch(Topic::Joins);
        let sql =
            "UPDATE joins SET state = 'expired', reason = $1, version = version + 1 WHERE state = 'pending'";
        self.execute(sql, args![reason]).await
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
