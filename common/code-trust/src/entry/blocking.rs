//! Acts of blocking: who blocked what and when, each under an identifier of its own.
//!
//! A block is found by what it is about, and is one entry however often it was made. The acts say which of them are
//! behind it, so that a database that was put back from an older copy can be told which blocks were made since and
//! which were lifted since ([`Gone::Block`](crate::Gone::Block)).
//!
//! Invariant: a block is in the state exactly as long as at least one act is behind it. Acts decide nothing themselves.

use muster_ids::{BlockId, UserName};
use serde::{Deserialize, Serialize};

use super::Block;
use crate::Moment;

/// That a person blocked something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocking {
    /// Its identifier.
    pub id: BlockId,
    /// What.
    pub block: Block,
    /// Who did.
    pub author: UserName,
    /// When.
    pub at: Moment,
}
