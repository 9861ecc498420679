//! The database and the blobs of the control plane: the only crate that speaks SQL.
//!
//! Invariant: a change, its audit records and its trust-state number commit together or not at all. Changes go
//! through [`Tx`], which exists only for a caller who was [`Authorized`](muster_model::permission::Authorized) and
//! commits only with a record. What is not audited (heartbeats, leases, poll counters) has functions of its own on
//! [`Store`], named after what they keep.
//!
//! One concept, one file: each says what its table means and offers reads on `Store` and writes on `Tx`. SQLite and
//! PostgreSQL run the same SQL; `dialect.rs` holds all that differs.

#![forbid(unsafe_code)]

mod audit;
mod authority;
mod blob;
mod certificate;
mod control_plane;
mod dialect;
mod epoch;
mod error;
mod function;
mod group;
mod idempotency;
mod join;
mod join_token;
mod lease;
mod library;
mod meta;
mod node;
mod place;
mod revocation;
mod run;
mod schema;
mod secret;
mod session;
mod signing;
mod store;
mod trust;
mod tx;
mod user;
mod value;
mod wake;

pub use audit::{
    AuditCursor, AuditEntry, AuditFilter, AuditFrom, AuditHead, AuditReport, BadRow, Draft, Records,
};
pub use authority::Authority;
pub use blob::{Blob, BlobError, BlobInfo, BlobReader, BlobStore, BlobWriter};
pub use certificate::{Certificate, CertificateFilter, CertificateState, RevokedSerial};
pub use control_plane::ControlPlane;
pub use dialect::Durability;
pub use epoch::{EpochBegun, NewEpoch};
pub use error::StoreError;
pub use function::{Function, FunctionVersion};
pub use group::{Directory, DirectoryGroup, Group};
pub use idempotency::Answer;
pub use join::{Full, JoinFilter};
pub use library::{CodeEntity, LibraryItem, LibraryVersion, Saved};
pub use meta::{BuiltinGroups, Collective, NewCollective};
pub use node::{Liveness, NodeFilter};
pub use place::{Pool, Site};
pub use revocation::RevocationList;
pub use run::{LeaseAnswer, NewOutput, Piece, ProgressRow, QueueLength, RunFilter, RunRow};
pub use schema::Schema;
pub use secret::Secret;
pub use session::{NewSession, Session};
pub use signing::{
    ItemSignature, RootOrigin, RootState, SignatureHead, SignerState, SigningCertificate, SigningRoot,
};
pub use store::{Store, StoreConfig};
pub use trust::{TrustChange, TrustHead, TrustReason, trust_digest};
pub use tx::Tx;
pub use user::{User, UserState};
pub use wake::{Topic, WakeListener};
