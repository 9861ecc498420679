//! The authorities of the collective: which one signs and which ones are accepted. A row is never deleted.
//!
//! Invariant: what an authority is good for changes by compare-and-swap, and the database itself holds at most one that
//! is active. Certificates stand here, private keys never.

use muster_ids::{Digest, NodeId};
use muster_model::authority::rotation::{AuthorityState, Standing};

use crate::{
    certificate::Certificate,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args, counter},
    wake::Topic,
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT number, root, state, root_der, root_cross, issuing, issuing_cross, policy, prepared_at, \
             activated_at, tainted_at, revoked_at, version FROM authorities ",
            $tail
        )
    };
}

/// One authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its place among all, the fingerprint of its root, and what it is good for.
    pub standing: Standing,
    /// The root, DER.
    pub root: Vec<u8>,
    /// The root's key, certified by the root before it, DER.
    pub root_cross: Option<Vec<u8>>,
    /// The issuing intermediate under the root, DER.
    pub issuing: Vec<u8>,
    /// The same intermediate under the root before, DER.
    pub issuing_cross: Option<Vec<u8>>,
    /// The policy certificate under the intermediate, DER.
    pub policy: Vec<u8>,
    /// When it was made, milliseconds.
    pub prepared_at: i64,
    /// When it began to sign.
    pub activated_at: Option<i64>,
    /// When it was said that it must be left.
    pub tainted_at: Option<i64>,
    /// When it ended.
    pub revoked_at: Option<i64>,
    /// Number of changes.
    pub version: i64,
}

impl Authority {
    /// The same in another state since `now`. One that signs again was never tainted.
    pub fn enter(self, state: AuthorityState, now: i64) -> Self {
        let since = |wanted, before| if state == wanted { Some(now) } else { before };
        Self {
            activated_at: since(AuthorityState::Active, self.activated_at),
            tainted_at: since(
                AuthorityState::Tainted,
                self.tainted_at.filter(|_| state != AuthorityState::Active),
            ),
            revoked_at: since(AuthorityState::Revoked, self.revoked_at),
            standing: Standing {
                state,
                ..self.standing
            },
            version: self.version + 1,
            ..self
        }
    }
}

impl Store {
    /// All authorities that there ever were, the first one first.
    pub async fn authorities(&self) -> Result<Vec<Authority>, StoreError> {
        let rows = self.all(select!("ORDER BY number"), args![]).await?;
        rows.iter().map(authority).collect()
    }

    /// For each node the certificate that it uses: the newest of the generation that it stands at. Nodes without one
    /// are left out.
    pub async fn certificates_in_use(&self) -> Result<Vec<(NodeId, Certificate)>, StoreError> {
        let rows = self.all(crate::certificate::IN_USE, args![]).await?;
        let pair = |row: &Row| Ok((row.parsed("subject_id")?, crate::certificate::certificate(row)?));
        rows.iter().map(pair).collect()
    }
}

impl Tx {
    /// All authorities that there ever were, the first one first.
    pub async fn authorities(&mut self) -> Result<Vec<Authority>, StoreError> {
        let rows = self.all(select!("ORDER BY number"), args![]).await?;
        rows.iter().map(authority).collect()
    }

    /// Adds an authority; its version is 1.
    pub async fn authority_insert(&mut self, authority: &Authority) -> Result<(), StoreError> {
        self.touch(Topic::Nodes);
        let empty: &[u8] = &[];
        self.insert(
            "INSERT INTO authorities (number, root, state, root_der, root_cross, issuing, issuing_cross, policy, \
             prepared_at, activated_at, tainted_at, revoked_at, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1)",
            args![
                counter(authority.standing.number)?,
                authority.standing.root,
                authority.standing.state.as_str(),
                &authority.root,
                authority.root_cross.as_deref().unwrap_or(empty),
                &authority.issuing,
                authority.issuing_cross.as_deref().unwrap_or(empty),
                &authority.policy,
                authority.prepared_at,
                authority.activated_at,
                authority.tainted_at,
                authority.revoked_at,
            ],
            "another rotation of the authority",
            "another rotation of the authority",
        )
        .await
    }

    /// Changes an authority whose version was one less: its state, or certificates that were issued anew.
    pub async fn authority_put(&mut self, authority: &Authority) -> Result<(), StoreError> {
        self.touch(Topic::Nodes);
        let empty: &[u8] = &[];
        self.swap(
            "UPDATE authorities SET state = $3, issuing = $4, issuing_cross = $5, policy = $6, activated_at = $7, \
             tainted_at = $8, revoked_at = $9, version = $2 WHERE root = $1 AND version = $2 - 1",
            args![
                authority.standing.root,
                authority.version,
                authority.standing.state.as_str(),
                &authority.issuing,
                authority.issuing_cross.as_deref().unwrap_or(empty),
                &authority.policy,
                authority.activated_at,
                authority.tainted_at,
                authority.revoked_at,
            ],
            "the authority",
        )
        .await
    }

    /// Certificates without an authority are those of `root`: written by a version that knew one authority only.
    pub async fn certificates_adopt(&mut self, root: &Digest) -> Result<u64, StoreError> {
        self.execute(
            "UPDATE certificates SET authority = $1 WHERE authority IS NULL",
            args![*root],
        )
        .await
    }

    /// Revokes every certificate that the authority of `root` issued; how many that were.
    pub async fn certificates_revoke_under(
        &mut self,
        root: &Digest,
        at: i64,
        reason: &str,
    ) -> Result<u64, StoreError> {
        self.touch(Topic::Nodes);
        self.execute(
            "UPDATE certificates SET state = 'revoked', revoked_at = $2, reason = $3 \
             WHERE authority = $1 AND state = 'valid' AND not_after > $2",
            args![*root, at, reason],
        )
        .await
    }
}

fn authority(row: &Row) -> Result<Authority, StoreError> {
    let optional = |column| Ok::<_, StoreError>(Some(row.bytes(column)?).filter(|der| !der.is_empty()));
    Ok(Authority {
        standing: Standing {
            number: row.counter("number")?,
            root: row.parsed("root")?,
            state: row.parsed("state")?,
        },
        root: row.bytes("root_der")?,
        root_cross: optional("root_cross")?,
        issuing: row.bytes("issuing")?,
        issuing_cross: optional("issuing_cross")?,
        policy: row.bytes("policy")?,
        prepared_at: row.int("prepared_at")?,
        activated_at: row.optional_int("activated_at")?,
        tainted_at: row.optional_int("tainted_at")?,
        revoked_at: row.optional_int("revoked_at")?,
        version: row.int("version")?,
    })
}
