//! A mod in one file, `.mod`: a ZIP archive with `mod-manifest.json`, the files that it names, and its signature.
//!
//! Invariant: whoever reads an accepted archive in another way, by its central directory, from the front, or where upper
//! and lower case do not differ, finds the same files with the same bytes. Nothing is unpacked that the manifest does not
//! name, nor more than the archive says and the limits allow.

mod container;

use std::{collections::BTreeMap, io::Read as _};

use flate2::{Crc, read::DeflateDecoder};
use muster_ids::Sha512;

use self::container::{Entry, entries, write};
use super::{
    Item, ItemError, ItemPath, MOD_MANIFEST, MOD_SIGNATURE, MOST_MANIFEST, ModManifest, PathError, path,
};
use crate::signature::MOST_BUNDLE;

/// The longest archive, and the most that its files have unpacked, bytes.
pub const MOST_ARCHIVE: usize = 256 * 1024 * 1024;

/// Why bytes are no archive of a mod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// More than an archive can be, packed or unpacked.
    #[error(
        "the archive, or what is in it, has more than {MOST_ARCHIVE} bytes; leave out what the mod does not need"
    )]
    Long,
    /// Not a ZIP archive of the plain form.
    #[error("it is not a plain ZIP archive: {0}; pack the folder of the mod again")]
    Form(&'static str),
    /// There is no manifest.
    #[error("the archive has no {MOD_MANIFEST} beside its files, so it is none of a mod")]
    NoManifest,
    /// A file is not what the archive says.
    #[error("the file \"{0}\" of the archive is damaged: its length or checksum differs")]
    Damaged(ItemPath),
    /// The path of a file is not accepted.
    #[error("a file of the archive cannot be unpacked")]
    Path(#[from] PathError),
    /// What is in it is no mod.
    #[error("what is in the archive is no mod")]
    Item(#[from] ItemError),
}

/// What is in the archive of a mod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModArchive {
    /// The bytes of `mod-manifest.json`.
    pub manifest: Vec<u8>,
    /// The files that it names.
    pub files: BTreeMap<ItemPath, Vec<u8>>,
    /// The bytes of `muster-signature.json`, if it is there.
    pub signature: Option<Vec<u8>>,
    /// What else is in the archive. It is no part of the mod and was not unpacked.
    pub others: Vec<ItemPath>,
}

impl ModArchive {
    /// Reads an archive.
    pub fn read(bytes: &[u8]) -> Result<Self, ArchiveError> {
        if bytes.len() > MOST_ARCHIVE {
            return Err(ArchiveError::Long);
        }
        let found = entries(bytes)?;
        // Before anything is unpacked: no path leads out of the mod, and no two could be taken for one another.
        let nothing = Sha512::of(b"");
        path::tree(found.iter().map(|entry| (entry.name, nothing)), None)?;
        let mut by_path = BTreeMap::new();
        for entry in found {
            by_path.insert(entry.name.parse::<ItemPath>()?, entry);
        }
        let mut take = |name: &str, most: usize| -> Result<Option<Vec<u8>>, ArchiveError> {
            let path: ItemPath = name.parse()?;
            let entry = by_path.remove(&path);
            entry.map(|entry| unpacked(&path, &entry, most)).transpose()
        };
        let manifest = take(MOD_MANIFEST, MOST_MANIFEST)?.ok_or(ArchiveError::NoManifest)?;
        let signature = take(MOD_SIGNATURE, MOST_BUNDLE)?;
        let mut left = MOST_ARCHIVE;
        let mut files = BTreeMap::new();
        for path in ModManifest::read(&manifest)?.declared() {
            // A file that is named twice, or is missing, is for the item to refuse.
            if let Some(entry) = by_path.remove(&path) {
                let content = unpacked(&path, &entry, left)?;
                left -= content.len();
                files.insert(path, content);
            }
        }
        let archive = Self {
            manifest,
            files,
            signature,
            others: by_path.into_keys().collect(),
        };
        archive.item()?;
        Ok(archive)
    }

    /// The mod.
    pub fn item(&self) -> Result<Item, ItemError> {
        let digests = self
            .files
            .iter()
            .map(|(path, content)| (path.as_str(), Sha512::of(content)));
        Item::of_mod(self.manifest.clone(), digests)
    }

    /// The archive: manifest, files, and the signature last. What else was in one that was read is left out.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArchiveError> {
        let files = self
            .files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()));
        let signature = self
            .signature
            .iter()
            .map(|content| (MOD_SIGNATURE, content.as_slice()));
        let all: Vec<(&str, &[u8])> = [(MOD_MANIFEST, self.manifest.as_slice())]
            .into_iter()
            .chain(files)
            .chain(signature)
            .collect();
        if all.iter().map(|(_, content)| content.len()).sum::<usize>() > MOST_ARCHIVE {
            return Err(ArchiveError::Long);
        }
        write(&all)
    }
}

/// The content of `entry`, which is exactly as long as it says.
fn unpacked(path: &ItemPath, entry: &Entry<'_>, most: usize) -> Result<Vec<u8>, ArchiveError> {
    if entry.size > most {
        return Err(ArchiveError::Long);
    }
    let damaged = || ArchiveError::Damaged(path.clone());
    let content = if entry.deflated {
        // One byte more than there may be tells that there are too many.
        let limit = u64::try_from(entry.size).map_err(|_| damaged())? + 1;
        let mut decoder = DeflateDecoder::new(entry.packed).take(limit);
        let mut content = Vec::new();
        decoder.read_to_end(&mut content).map_err(|_| damaged())?;
        let read = decoder.into_inner().total_in();
        if usize::try_from(read) != Ok(entry.packed.len()) {
            return Err(damaged());
        }
        content
    } else {
        entry.packed.to_vec()
    };
    let mut crc = Crc::new();
    crc.update(&content);
    if content.len() != entry.size || crc.sum() != entry.crc {
        return Err(damaged());
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
