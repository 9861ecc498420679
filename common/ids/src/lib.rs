//! The words that every other crate shares: typed identifiers, names, digests and locked lists of packages.
//!
//! Invariant: a value of one of these types is valid. Foreign text becomes one by `FromStr` or `serde`
//! only, and both refuse what the constructor refuses.

#![forbid(unsafe_code)]

mod digest;
mod id;
mod name;
mod package;
mod sha512;

pub use digest::{Digest, DigestError};
pub use id::{
    AuditWriter, BlobId, BlockId, CollectiveId, ControlPlaneId, FunctionId, GroupId, IdError, Incarnation,
    JoinId, LibraryItemId, NodeId, PoolId, RunId, SiteId, StampId, TokenId, UserId,
};
pub use name::{Name, NameError, UserName, is_deceptive};
pub use package::{MOST_PACKAGES, Package, PackageLanguage, PackageList, PackageListError, python_name};
pub use sha512::{Sha512, Sha512Error};

#[cfg(feature = "openapi")]
mod openapi;
