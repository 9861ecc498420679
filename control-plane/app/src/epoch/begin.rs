//! Beginning an epoch: what an administrator does who put back an older database, while no control plane runs on it.

use muster_daemon::{clock::Clock, random::Random};
use muster_ids::{AuditWriter, Incarnation};
use muster_model::{
    audit::Event,
    permission::{Caller, Operation, authorize},
    run::LAST_EPOCH,
};
use muster_pki::{CertificateDer, Envelope, PayloadType, Signer};
use muster_store::{Draft, NewEpoch, Store};
use muster_wire::node::v1::epoch::{EpochBump, Line};
use serde_json::json;

use crate::{Error, init::put_join_key};

/// What became of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The copy that was put back.
    pub from: Line,
    /// What it is now.
    pub to: Line,
    /// Join requests that waited and are void.
    pub joins: u64,
    /// Join tokens that are void.
    pub tokens: u64,
    /// Sessions of people that ended.
    pub sessions: u64,
}

/// Makes this database another copy with a later epoch, above `above`: the bump signed with `root_key`, a new join key,
/// no waiting joins, no join tokens, no sessions, and a new audit chain, in one transaction.
pub async fn begin(
    store: &Store,
    (root, root_key): (&CertificateDer<'static>, &dyn Signer),
    master_key: &[u8; 32],
    above: u64,
    clock: &Clock,
    random: &Random,
) -> Result<Begun, Error> {
    let now = clock.unix_ms();
    let authorized = authorize(&Caller::System, Operation::Maintain)?;
    let collective = store
        .collective()
        .await?
        .ok_or(muster_store::StoreError::NotInitialised)?;
    let from = Line {
        incarnation: collective.incarnation,
        epoch: collective.epoch,
    };
    let epoch = collective.epoch.max(above).saturating_add(1);
    if epoch > LAST_EPOCH {
        return Err(Error::invalid(format!(
            "there are at most {LAST_EPOCH} epochs; with --above give the epoch that nodes name, and no other number"
        )));
    }
    let to = Line {
        incarnation: random.id(now, Incarnation::new),
        epoch,
    };
    let bump = EpochBump {
        collective: collective.collective,
        from,
        to,
        issued: now,
    };
    let payload = serde_json::to_vec(&bump).map_err(Error::bug)?;
    let bump = Envelope::sign(
        PayloadType::EpochBump,
        payload,
        root_key,
        std::slice::from_ref(root),
    )
    .await
    .map_err(Error::bug)?;
    let mut tx = store.begin(&authorized).await?;
    let new = NewEpoch {
        epoch: to.epoch,
        incarnation: to.incarnation,
        writer: random.id(now, AuditWriter::new),
        bump: String::from_utf8(bump.to_json()).map_err(Error::bug)?,
    };
    let ended = tx.epoch_begin(&new, now).await?;
    put_join_key(&mut tx, master_key, to.epoch, random).await?;
    let detail = json!({
        "from": { "incarnation": from.incarnation.to_string(), "epoch": from.epoch },
        "to": { "incarnation": to.incarnation.to_string(), "epoch": to.epoch },
        "joins": ended.joins,
        "join_tokens": ended.tokens,
        "sessions": ended.sessions,
        "audit": {
            "writer": ended.audit.writer.to_string(),
            "sequence": ended.audit.sequence,
            "hash": ended.audit.hash.to_string(),
        },
    });
    let draft = Draft::new(Event::EpochBegun, format!("epoch {}", to.epoch), detail);
    tx.commit(draft, now).await?;
    Ok(Begun {
        from,
        to,
        joins: ended.joins,
        tokens: ended.tokens,
        sessions: ended.sessions,
    })
}
