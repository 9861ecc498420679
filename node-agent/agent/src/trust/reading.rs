//! Signed trust states and bumps, read.
//!
//! Invariant: what comes out was signed under the collective's roots, can be obeyed by this program and has the signed
//! digest.

use muster_code_trust::{Bump, Change, Line, TrustState, check_requires};
use muster_pki::{PayloadType, Roots};
use muster_wire::node::v1::{
    Envelope as WireEnvelope,
    epoch::{self, EpochBump},
    trust_state::{TrustHead, TrustStateReply},
};

use super::{Held, TrustError, version};

/// What `reply` leads to from `before`, verified under `roots`. Whether it may take the place of `before` is not asked
/// here.
pub fn read(
    reply: &TrustStateReply,
    before: Option<&Held>,
    roots: &Roots,
    now_ms: i64,
) -> Result<Held, TrustError> {
    build(reply, &open(reply, roots, now_ms)?, before)
}

/// The signed head, if this program can obey it.
pub(super) fn open(reply: &TrustStateReply, roots: &Roots, now_ms: i64) -> Result<TrustHead, TrustError> {
    let envelope = crate::envelope::read(&reply.head, PayloadType::TrustState)?;
    let verified = envelope.verify(PayloadType::TrustState, roots, now_ms)?;
    let head: TrustHead = serde_json::from_slice(&verified.payload)?;
    check_requires(head.requires.iter().map(String::as_str))?;
    Ok(head)
}

/// What a bump says, in the word of a known root.
pub fn open_bump(wire: &WireEnvelope, roots: &Roots, now_ms: i64) -> Result<Bump, TrustError> {
    let envelope = crate::envelope::read(wire, PayloadType::EpochBump)?;
    let payload = envelope.verify_by_root(PayloadType::EpochBump, roots, now_ms)?;
    let bump: EpochBump = serde_json::from_slice(&payload)?;
    if bump.collective != roots.collective() {
        return Err(TrustError::Collective);
    }
    let line = |line: epoch::Line| Line {
        incarnation: line.incarnation,
        epoch: line.epoch,
    };
    Ok(Bump {
        from: line(bump.from),
        to: line(bump.to),
    })
}

/// The state that `reply` leads to from `before`; its digest is the signed one.
pub(super) fn build(
    reply: &TrustStateReply,
    head: &TrustHead,
    before: Option<&Held>,
) -> Result<Held, TrustError> {
    let signed = head.version.digest;
    let state = match (&reply.entries, &reply.changes, before) {
        (Some(entries), None, _) => {
            let pairs = entries.iter().map(|(key, value)| (key.clone(), value.clone()));
            let state = TrustState::from_pairs(pairs)?;
            let found = state.digest();
            if found != signed {
                return Err(TrustError::Digest { found, signed });
            }
            state
        }
        (None, Some(changes), Some(before)) => {
            let changes: Vec<Change> = changes
                .iter()
                .map(|change| Change {
                    number: change.number,
                    key: change.key.clone(),
                    value: change.value.clone(),
                })
                .collect();
            before.state.apply(&changes, &signed)?
        }
        _ => return Err(TrustError::Nothing),
    };
    Ok(Held {
        version: version(&head.version),
        state,
    })
}
