//! One version of an item of the library, and the digest that is its identity.
//!
//! The canonical form, version 1, is a list of parts, each preceded by its length as eight big-endian bytes, under SHA-512:
//!
//! ```text
//! "muster-item/1", kind, manifest, number of files (eight bytes, big-endian),
//! for each file, in the byte order of the paths: path, the 64 bytes of its SHA-512
//! ```
//!
//! The manifest is its bytes, unchanged; only the configuration of an external action, which other items may embed, is
//! written anew with sorted fields and without white space. What a manifest and the files of each kind must be is in [`ItemKind`]. Data
//! functions have a form of their own, [`FunctionContent`](crate::FunctionContent).
//!
//! Invariant: an [`Item`] is one that every reader reads alike. Its JSON names no field twice, its paths stay inside of
//! it, and no two of them could be taken for one another.

mod archive;
mod code;
mod json;
mod mod_manifest;
mod path;

use std::collections::{BTreeMap, BTreeSet};

use muster_ids::Sha512;

pub use archive::{ArchiveError, MOST_ARCHIVE, ModArchive};
pub use code::{CodeLanguage, CodeManifest, CodeParameter};
pub use mod_manifest::{Capability, ModManifest, ModScript};
pub use path::{ItemPath, PathError};

use crate::{ItemHash, ItemType, SignedKind, entry::canonical, words::words};

/// The longest manifest, bytes.
pub const MOST_MANIFEST: usize = 1024 * 1024;
/// The most files of an item.
pub const MOST_FILES: usize = 4096;
/// The name that the manifest of a mod has beside its files.
pub const MOD_MANIFEST: &str = "mod-manifest.json";
/// The name that the signature of a mod has beside its files.
pub const MOD_SIGNATURE: &str = "muster-signature.json";
/// The one file of a script, query or job script.
pub const CODE_FILE: &str = "code";

words! {
    /// What an item of the library is.
    pub ItemKind ("kind of item") {
        /// A custom visualization: the manifest is `mod-manifest.json`, the files are those that it names.
        VisualizationMod = "visualization_mod",
        /// A package of scripts that triggers start: likewise.
        ActionMod = "action_mod",
        /// A configured call of an external system: the manifest is the configuration, a JSON object, without files.
        ExternalAction = "external_action",
        /// A script inside an analysis: the manifest is a [`CodeManifest`], the one file is `code`.
        Script = "script",
        /// A custom query of a connection: likewise.
        CustomQuery = "custom_query",
        /// The script of a job's task: likewise.
        JobScript = "job_script",
        /// An analysis: the manifest is a JSON object that names its parts; any files.
        Analysis = "analysis",
    }
}

impl ItemKind {
    /// The type that decisions about it are of; an analysis is decided about by its parts.
    pub fn item_type(self) -> Option<ItemType> {
        match self {
            Self::VisualizationMod => Some(ItemType::VisualizationMod),
            Self::ActionMod => Some(ItemType::ActionMod),
            Self::ExternalAction => Some(ItemType::ExternalAction),
            Self::Script => Some(ItemType::Script),
            Self::CustomQuery => Some(ItemType::CustomQuery),
            Self::JobScript => Some(ItemType::JobScript),
            Self::Analysis => None,
        }
    }

    /// The kind whose trust is by signature, if it is one.
    pub fn signed(self) -> Option<SignedKind> {
        match self {
            Self::VisualizationMod => Some(SignedKind::VisualizationMod),
            Self::ActionMod => Some(SignedKind::ActionMod),
            Self::ExternalAction => Some(SignedKind::ExternalAction),
            Self::Script | Self::CustomQuery | Self::JobScript | Self::Analysis => None,
        }
    }
}

/// One version of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    kind: ItemKind,
    manifest: Vec<u8>,
    files: BTreeMap<ItemPath, Sha512>,
}

/// Why something is not an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// More than a manifest can be.
    #[error("the manifest has {0} bytes; at most {MOST_MANIFEST} are accepted")]
    LongManifest(usize),
    /// More files than an item can have.
    #[error("the item has more than {MOST_FILES} files; leave out what it does not need")]
    ManyFiles,
    /// The manifest cannot be read, or says what it must not.
    #[error("the manifest cannot be used: {0}")]
    Manifest(String),
    /// A path is not one.
    #[error("the item has a file whose path is not accepted")]
    Path(#[from] PathError),
    /// A file twice, or two that could be taken for one another.
    #[error(
        "the files \"{0}\" and \"{1}\" are the same where upper and lower case do not differ, or one is a folder of the other; rename one"
    )]
    Alike(ItemPath, ItemPath),
    /// A file that the manifest names is not there.
    #[error("the manifest names the file \"{0}\", which is not there; build the item again")]
    Missing(ItemPath),
    /// A file that the manifest does not name.
    #[error("the file \"{0}\" is not named by the manifest; name it there or leave it out")]
    Extra(ItemPath),
}

impl Item {
    /// An item of these parts. Paths are as somebody sent them; the manifest of a mod is no file.
    pub fn new<P: AsRef<str>>(
        kind: ItemKind,
        mut manifest: Vec<u8>,
        files: impl IntoIterator<Item = (P, Sha512)>,
    ) -> Result<Self, ItemError> {
        if manifest.len() > MOST_MANIFEST {
            return Err(ItemError::LongManifest(manifest.len()));
        }
        // What a manifest says is asked first: it bounds the files.
        let files = match kind {
            ItemKind::VisualizationMod | ItemKind::ActionMod => {
                let read = ModManifest::read(&manifest)?;
                if ItemKind::from(read.kind) != kind {
                    return Err(ItemError::Manifest(format!(
                        "it is that of another kind, {}",
                        read.kind
                    )));
                }
                exactly(files, &read.declared(), Some(&MOD_MANIFEST.parse()?))?
            }
            ItemKind::ExternalAction => {
                manifest = configuration(&manifest)?;
                exactly(files, &[], None)?
            }
            ItemKind::Analysis => {
                json::object(&manifest)?;
                // An external action in it is named by its configuration, which is written anew.
                json::plain_numbers(&manifest)?;
                path::tree(files, None)?
            }
            ItemKind::Script | ItemKind::CustomQuery | ItemKind::JobScript => {
                CodeManifest::read(kind, &manifest)?;
                exactly(files, &[CODE_FILE.parse()?], None)?
            }
        };
        Ok(Self {
            kind,
            manifest,
            files,
        })
    }

    /// The mod whose manifest and files these are: its kind is what the manifest says.
    pub fn of_mod<P: AsRef<str>>(
        manifest: Vec<u8>,
        files: impl IntoIterator<Item = (P, Sha512)>,
    ) -> Result<Self, ItemError> {
        if manifest.len() > MOST_MANIFEST {
            return Err(ItemError::LongManifest(manifest.len()));
        }
        let kind = ModManifest::read(&manifest)?.kind.into();
        Self::new(kind, manifest, files)
    }

    /// The script, query or job script with this declaration and these bytes of code.
    pub fn of_code(kind: ItemKind, declared: &CodeManifest, code: &[u8]) -> Result<Self, ItemError> {
        Self::new(
            kind,
            declared.to_json().into_bytes(),
            [(CODE_FILE, Sha512::of(code))],
        )
    }

    /// What it is.
    pub fn kind(&self) -> ItemKind {
        self.kind
    }

    /// Its manifest, as it came; a configuration in its canonical form.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Its files.
    pub fn files(&self) -> &BTreeMap<ItemPath, Sha512> {
        &self.files
    }

    /// The digest that is its identity.
    pub fn digest(&self) -> Sha512 {
        let count = (self.files.len() as u64).to_be_bytes();
        let head: [&[u8]; 4] = [
            b"muster-item/1",
            self.kind.as_str().as_bytes(),
            &self.manifest,
            &count,
        ];
        let files = self
            .files
            .iter()
            .flat_map(|(path, digest)| [path.as_str().as_bytes(), digest.as_bytes().as_slice()]);
        Sha512::of_framed(head.into_iter().chain(files))
    }

    /// The same, as trust entries, blocks and stamps name it.
    pub fn hash(&self) -> ItemHash {
        self.digest().into()
    }
}

impl From<SignedKind> for ItemKind {
    fn from(kind: SignedKind) -> Self {
        match kind {
            SignedKind::VisualizationMod => Self::VisualizationMod,
            SignedKind::ActionMod => Self::ActionMod,
            SignedKind::ExternalAction => Self::ExternalAction,
        }
    }
}

/// The canonical form of a configuration.
fn configuration(manifest: &[u8]) -> Result<Vec<u8>, ItemError> {
    let object = json::object(manifest)?;
    json::plain_numbers(manifest)?;
    let written = canonical(&object).into_bytes();
    if written.len() > MOST_MANIFEST {
        return Err(ItemError::LongManifest(written.len()));
    }
    json::plain_numbers(&written)?;
    if canonical(&json::object(&written)?).as_bytes() != written {
        return Err(ItemError::Manifest(
            "it cannot be written in one way; write its numbers as texts".to_owned(),
        ));
    }
    Ok(written)
}

/// The files, which must be these and no others, beside what lies there too.
fn exactly<P: AsRef<str>>(
    files: impl IntoIterator<Item = (P, Sha512)>,
    declared: &[ItemPath],
    beside: Option<&ItemPath>,
) -> Result<BTreeMap<ItemPath, Sha512>, ItemError> {
    // One more than there may be is enough to name one that is too many.
    let files = path::tree(files.into_iter().take(declared.len() + 1), beside)?;
    if let Some(missing) = declared.iter().find(|path| !files.contains_key(path)) {
        return Err(ItemError::Missing(missing.clone()));
    }
    let declared: BTreeSet<&ItemPath> = declared.iter().collect();
    match files.keys().find(|path| !declared.contains(path)) {
        Some(extra) => Err(ItemError::Extra(extra.clone())),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests;
