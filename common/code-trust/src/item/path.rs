//! Where a file of an item is, within it.
//!
//! Invariant: a path leads nowhere but into the item, on every system; two files of one item differ wherever they are
//! unpacked, also where upper and lower case do not.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
};

use muster_ids::{Name, NameError, Sha512};

use super::{ItemError, MOST_FILES};

/// The longest path, bytes.
const MOST_BYTES: usize = 512;
/// The most parts of a path.
const MOST_PARTS: usize = 32;
/// Names that are devices on one system, whatever follows a dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Why a text is not a path of an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, or more than a path can be.
    #[error("a path has 1 to {MOST_BYTES} bytes and at most {MOST_PARTS} parts; \"{shown}\" has not")]
    Length {
        /// The path, made safe to show.
        shown: String,
    },
    /// It does not lead into the item, or is written in another way than the one.
    #[error(
        "\"{shown}\" is not a path within an item; write it as folder/file, without . and .., in normal form C"
    )]
    Form {
        /// The path, made safe to show.
        shown: String,
    },
    /// A part is no name.
    #[error("\"{shown}\" is not a path within an item")]
    Name {
        /// The path, made safe to show.
        shown: String,
        /// What is wrong with the part.
        source: NameError,
    },
    /// A part that some systems take for something else.
    #[error("\"{shown}\" has a part that some systems read as a device or without its last dot; rename it")]
    Reserved {
        /// The path, made safe to show.
        shown: String,
    },
}

/// A path within an item: names with `/` between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemPath(String);

impl ItemPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which paths are compared for being the same file.
    fn key(&self) -> String {
        let parts = self.0.split('/').map(|part| {
            part.parse::<Name>()
                .map_or_else(|_| part.to_lowercase(), |name| name.key())
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

impl fmt::Display for ItemPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ItemPath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let shown = || text.chars().take(128).flat_map(char::escape_default).collect();
        if text.is_empty() || text.len() > MOST_BYTES || text.split('/').count() > MOST_PARTS {
            return Err(PathError::Length { shown: shown() });
        }
        for part in text.split('/') {
            if part.is_empty() || part == "." || part == ".." {
                return Err(PathError::Form { shown: shown() });
            }
            let name: Name = part.parse().map_err(|source| PathError::Name {
                shown: shown(),
                source,
            })?;
            if name.as_str() != part {
                return Err(PathError::Form { shown: shown() });
            }
            if part.ends_with('.') || is_device(&name) {
                return Err(PathError::Reserved { shown: shown() });
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// `CON`, `nul.txt`, `Com1.js` and their like.
fn is_device(name: &Name) -> bool {
    let key = name.key();
    let stem = key.split('.').next().unwrap_or_default().trim_end();
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    DEVICES.contains(&stem)
        || port.is_some_and(|number| {
            let mut digits = number.chars();
            matches!(
                (digits.next(), digits.next()),
                (Some('0'..='9' | '¹' | '²' | '³'), None)
            )
        })
}

/// The files by path, if no two of them could be taken for one another.
pub(super) fn tree<P: AsRef<str>>(
    files: impl IntoIterator<Item = (P, Sha512)>,
) -> Result<BTreeMap<ItemPath, Sha512>, ItemError> {
    let mut tree = BTreeMap::new();
    // For each folded file and folder the spelling that was seen, the path that it came from, and whether it is a file.
    let mut seen: BTreeMap<String, (String, ItemPath, bool)> = BTreeMap::new();
    for (path, digest) in files {
        let path: ItemPath = path.as_ref().parse()?;
        if tree.len() == MOST_FILES {
            return Err(ItemError::ManyFiles);
        }
        let key = path.key();
        let (mut key_end, mut end) = (0, 0);
        loop {
            let next = |text: &str, from: usize| text[from..].find('/').map_or(text.len(), |at| from + at);
            (key_end, end) = (next(&key, key_end), next(path.as_str(), end));
            let is_file = end == path.as_str().len();
            let spelling = &path.as_str()[..end];
            match seen.entry(key[..key_end].to_owned()) {
                Entry::Vacant(vacant) => {
                    vacant.insert((spelling.to_owned(), path.clone(), is_file));
                }
                Entry::Occupied(before) => {
                    let (known, first, was_file) = before.get();
                    if *was_file || is_file || known != spelling {
                        return Err(ItemError::Alike(first.clone(), path.clone()));
                    }
                }
            }
            if is_file {
                break;
            }
            (key_end, end) = (key_end + 1, end + 1);
        }
        tree.insert(path, digest);
    }
    Ok(tree)
}
