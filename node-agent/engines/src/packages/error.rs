//! Why there is no package set.

use std::{io, path::PathBuf};

use muster_ids::{Digest, Package};

/// Why a set cannot be had. The words are for people and name the cure.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The node has no sources.
    #[error(
        "this node has no sources of packages; its administrator names folders in packages.sources of node.toml, or for Python an index in packages.indexes"
    )]
    NoSources,
    /// A source cannot be read.
    #[error("the source of packages {} cannot be read; correct packages.sources of node.toml, or its permissions", path.display())]
    Source {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No source has a file of this name.
    #[error("no source of this node has the package {} {}; put it into one of them ({}) as {wanted}", package.name, package.version, listed(sources))]
    Missing {
        /// What is missing.
        package: Box<Package>,
        /// The name of a file.
        wanted: String,
        /// Where it was looked for.
        sources: Vec<PathBuf>,
    },
    /// A file is not what the list says.
    #[error("the file {} is not what the list of packages says of {} {}: it has the digest {found}; replace the file, or lock the list anew after finding out who changed it", file.display(), package.name, package.version)]
    WrongHash {
        /// The package.
        package: Box<Package>,
        /// The file.
        file: PathBuf,
        /// Its digest.
        found: Digest,
    },
    /// An index did not have them.
    #[error("the packages cannot be fetched from {}: {why}", indexes.join(", "))]
    NotFetched {
        /// The addresses.
        indexes: Vec<String>,
        /// What pip said.
        why: String,
    },
    /// The engine did not take them.
    #[error("the packages cannot be installed for {engine}: {why}")]
    NotBuilt {
        /// What the engine is, with its version.
        engine: String,
        /// What it said.
        why: String,
    },
    /// More bytes than a set may have.
    #[error("the packages have more than {} MiB; use fewer, or raise packages.set_mib in node.toml", bytes >> 20)]
    TooLarge {
        /// What a set may have.
        bytes: u64,
    },
    /// All sets that are there are in use.
    #[error(
        "there is no room for another package set: those in use are as many or as large as this node may have; wait, or raise packages.sets or packages.total_mib in node.toml"
    )]
    NoRoom,
    /// The state folder.
    #[error("package sets cannot be kept at {}", path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller wanted no more of it.
    #[error("nobody waits for the package set any more")]
    Cancelled,
}

fn listed(sources: &[PathBuf]) -> String {
    let sources: Vec<String> = sources
        .iter()
        .map(|source| source.display().to_string())
        .collect();
    sources.join(", ")
}
