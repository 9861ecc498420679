//! Where a file of an item is, within it.
//!
//! Invariant: a path leads nowhere but into the item, on every system; two files of one item differ wherever they are
//! unpacked, also where upper and lower case do not.

use std::{collections::BTreeMap, fmt, str::FromStr};

use muster_ids::{Name, NameError, Sha512};
use unicode_normalization::UnicodeNormalization as _;

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
    #[error(
        "\"{shown}\" has a part that some systems read as a device, as the short name of another file, or without its last dot; rename it"
    )]
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
    pub(super) fn key(&self) -> String {
        folded(&self.0)
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
            if part.ends_with('.') || is_device(&name) || is_short(part) {
                return Err(PathError::Reserved { shown: shown() });
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// A text without the difference of upper and lower case, as the loosest of systems has it: letter by letter, and letters
/// that only share their capital (`s` and `\u{17f}`) are one.
pub(super) fn folded(text: &str) -> String {
    let lower = text.chars().flat_map(char::to_lowercase);
    let upper = lower.flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfc().collect()
}

/// `INDEX~1.HTM`, which one system also calls `index.html` by.
fn is_short(part: &str) -> bool {
    let digit = |rest: &str| rest.starts_with(|next: char| next.is_ascii_digit());
    part.split('~').skip(1).any(digit)
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

/// The files by path, if no two of them could be taken for one another, nor one for `beside`, which lies there too.
pub(super) fn tree<P: AsRef<str>>(
    files: impl IntoIterator<Item = (P, Sha512)>,
    beside: Option<&ItemPath>,
) -> Result<BTreeMap<ItemPath, Sha512>, ItemError> {
    let mut all: Vec<(ItemPath, Option<Sha512>)> =
        beside.map(|path| (path.clone(), None)).into_iter().collect();
    let most = MOST_FILES + all.len();
    for (path, digest) in files {
        let path: ItemPath = path.as_ref().parse()?;
        if all.len() == most {
            return Err(ItemError::ManyFiles);
        }
        all.push((path, Some(digest)));
    }
    let mut keyed: Vec<(String, usize)> = (0..).zip(&all).map(|(at, (path, _))| (path.key(), at)).collect();
    // Part by part, so that what is alike in its first parts is together, a file before what takes it for a folder.
    keyed.sort_by(|(one, first), (other, second)| {
        one.split('/').cmp(other.split('/')).then(first.cmp(second))
    });
    for pair in keyed.windows(2) {
        let [(key, first), (other_key, second)] = pair else {
            continue;
        };
        let (first, second) = (&all[*first].0, &all[*second].0);
        if are_alike((key, first), (other_key, second)) {
            return Err(ItemError::Alike(first.clone(), second.clone()));
        }
    }
    Ok(all
        .into_iter()
        .filter_map(|(path, digest)| Some((path, digest?)))
        .collect())
}

/// Whether two are one file, one is a folder of the other, or they spell a folder in two ways.
fn are_alike((key, path): (&str, &ItemPath), (other_key, other): (&str, &ItemPath)) -> bool {
    let mut parts = key.split('/').zip(path.as_str().split('/')).peekable();
    let mut others = other_key.split('/').zip(other.as_str().split('/')).peekable();
    while let (Some((key, part)), Some((other_key, other))) = (parts.next(), others.next()) {
        if key != other_key {
            return false;
        }
        if part != other || parts.peek().is_none() || others.peek().is_none() {
            return true;
        }
    }
    false
}
