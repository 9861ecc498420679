//! Locked lists of packages: each package with its version and the digests of the files that may be used for it.
//!
//! Invariant: a [`PackageList`] names each package once, with one version and at least one SHA-256, and no name or
//! version of it is a path. Anything else in the text is refused by the number of its line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::Digest;

/// The most packages of a list.
pub const MOST_PACKAGES: usize = 256;
/// The most digests of one package: a package has a wheel for each platform and version of Python.
const MOST_DIGESTS: usize = 256;
/// The longest name or version, in bytes.
const LONGEST_WORD: usize = 128;

/// The language whose packages a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackageLanguage {
    /// Wheels. A line is one of a pip requirements file: `name==version --hash=sha256:…`.
    Python,
    /// Source packages of R, and packages of Debian. A line is `name version sha256:…`.
    R,
}

impl PackageLanguage {
    /// `python` or `r`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::R => "r",
        }
    }
}

impl fmt::Display for PackageLanguage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One package of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Of Python as `a-b` whatever it is written; of R as it is; of Debian `r-cran-…` or `r-bioc-…`.
    pub name: String,
    /// The version.
    pub version: String,
    /// The SHA-256 of each file that may be used for it.
    pub digests: BTreeSet<Digest>,
}

/// A locked list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageList {
    language: PackageLanguage,
    packages: BTreeMap<String, Package>,
}

/// Why a text is no locked list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list of packages cannot be used: {why}")]
pub struct PackageListError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub why: String,
}

impl PackageList {
    /// Reads a text as people keep it: remarks after `#`, empty lines, and lines that a `\` continues.
    pub fn read(language: PackageLanguage, text: &str) -> Result<Self, PackageListError> {
        let mut joined: Vec<(usize, String)> = Vec::new();
        let mut open = false;
        for (index, line) in text.lines().enumerate() {
            let remark = line.find('#').filter(|at| {
                let before = line[..*at].chars().next_back();
                before.is_none_or(char::is_whitespace)
            });
            let line = line[..remark.unwrap_or(line.len())].trim();
            let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
            match joined.last_mut() {
                Some((_, begun)) if open => {
                    begun.push(' ');
                    begun.push_str(part);
                }
                _ => joined.push((index + 1, part.to_owned())),
            }
            open = goes_on;
        }
        let lines = joined.iter().map(|(number, line)| (*number, line.trim()));
        Self::of_numbered(language, lines.filter(|(_, line)| !line.is_empty()))
    }

    /// Reads the lines of a definition or a setting: one package each.
    pub fn of_lines<'a>(
        language: PackageLanguage,
        lines: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, PackageListError> {
        Self::of_numbered(language, (1..).zip(lines))
    }

    fn of_numbered<'a>(
        language: PackageLanguage,
        lines: impl Iterator<Item = (usize, &'a str)>,
    ) -> Result<Self, PackageListError> {
        let mut packages = BTreeMap::new();
        for (number, line) in lines {
            let wrong = |why: String| PackageListError { line: number, why };
            let package = match language {
                PackageLanguage::Python => python(line),
                PackageLanguage::R => r(line),
            }
            .map_err(wrong)?;
            let name = package.name.clone();
            if packages.insert(name.clone(), package).is_some() {
                return Err(wrong(format!("{name} is named twice; leave one version of it")));
            }
            if packages.len() > MOST_PACKAGES {
                return Err(wrong(format!("a list has at most {MOST_PACKAGES} packages")));
            }
        }
        Ok(Self { language, packages })
    }

    /// A list of nothing.
    pub fn empty(language: PackageLanguage) -> Self {
        Self {
            language,
            packages: BTreeMap::new(),
        }
    }

    /// The language.
    pub fn language(&self) -> PackageLanguage {
        self.language
    }

    /// The packages, by name.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// The canonical lines, by name, with digests in order.
    pub fn lines(&self) -> Vec<String> {
        let line = |package: &Package| {
            let (between, before) = match self.language {
                PackageLanguage::Python => ("==", " --hash="),
                PackageLanguage::R => (" ", " "),
            };
            let mut line = format!("{}{between}{}", package.name, package.version);
            for digest in &package.digests {
                line.push_str(before);
                line.push_str(&digest.to_string());
            }
            line
        };
        self.packages.values().map(line).collect()
    }

    /// Names the list, whatever order and form it was written in.
    pub fn digest(&self) -> Digest {
        digest_of(&self.lines())
    }

    /// What stands for having no list, in either language.
    pub fn no_digest() -> Digest {
        digest_of(&[])
    }
}

fn digest_of(lines: &[String]) -> Digest {
    let lines = lines.iter().map(String::as_bytes);
    let parts: Vec<&[u8]> = std::iter::once(b"muster-packages/1".as_slice())
        .chain(lines)
        .collect();
    Digest::of_framed(&parts)
}

/// `name==version --hash=sha256:… --hash=sha256:…`
fn python(line: &str) -> Result<Package, String> {
    if line.starts_with('-') {
        return Err(format!(
            "it is an option of pip ({}); a list holds packages only, each as name==version --hash=sha256:…",
            shown(line)
        ));
    }
    let (requirement, options) = line
        .find(char::is_whitespace)
        .map_or((line, ""), |at| line.split_at(at));
    if line.contains('@') || line.contains("://") || requirement.contains('/') {
        return Err(
            "it names an address or a path; a list names packages by version, and the node finds their files"
                .to_owned(),
        );
    }
    if line.contains(';') {
        return Err(
            "conditions after a semicolon are not taken; lock the list for the engine's version of Python"
                .to_owned(),
        );
    }
    if requirement.contains('[') {
        return Err("extras in brackets are not taken; name the packages that they stand for".to_owned());
    }
    let unpinned = || {
        format!(
            "{} is not pinned; write name==version --hash=sha256:… as pip-compile --generate-hashes --strip-extras does",
            shown(requirement)
        )
    };
    let (name, version) = requirement.split_once("==").ok_or_else(unpinned)?;
    if version.starts_with('=')
        || version.contains(['*', ',', '<', '>', '~'])
        || name.contains(['<', '>', '~', '!', '='])
    {
        return Err(unpinned());
    }
    if !is_python_name(name) {
        return Err(format!("\"{}\" is no name of a package of Python", shown(name)));
    }
    if !is_version(version) {
        return Err(format!("\"{}\" is no version", shown(version)));
    }
    let mut digests = BTreeSet::new();
    for word in options.split_whitespace() {
        let hash = word.strip_prefix("--hash=").ok_or_else(|| {
            format!(
                "\"{}\" is not taken; only --hash=sha256:… may follow",
                shown(word)
            )
        })?;
        digests.insert(digest(hash)?);
    }
    whole(python_name(name), version, digests)
}

/// `name version sha256:…`; the prefix of the digest may be left out.
fn r(line: &str) -> Result<Package, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(version)) = (words.next(), words.next()) else {
        return Err(format!(
            "{} is not pinned; write name version sha256:…",
            shown(line)
        ));
    };
    let from_debian = is_debian_name(name);
    if !from_debian && !is_r_name(name) {
        return Err(format!(
            "\"{}\" is no name of a package of R, nor of one of Debian that begins with r-cran- or r-bioc-",
            shown(name)
        ));
    }
    if !is_version(version) || !version.starts_with(|one: char| one.is_ascii_digit()) {
        return Err(format!("\"{}\" is no version", shown(version)));
    }
    let digests: BTreeSet<Digest> = words
        .map(|word| {
            if word.contains(':') {
                digest(word)
            } else {
                digest(&format!("sha256:{word}"))
            }
        })
        .collect::<Result<_, _>>()?;
    whole(name.to_owned(), version, digests)
}

fn whole(name: String, version: &str, digests: BTreeSet<Digest>) -> Result<Package, String> {
    if digests.is_empty() {
        return Err(format!(
            "{name} has no SHA-256; a list says of each file what it must be"
        ));
    }
    if digests.len() > MOST_DIGESTS {
        return Err(format!("{name} has more than {MOST_DIGESTS} digests"));
    }
    Ok(Package {
        name,
        version: version.to_owned(),
        digests,
    })
}

fn digest(text: &str) -> Result<Digest, String> {
    let kind = text.split(':').next().unwrap_or_default();
    text.parse().map_err(|_| {
        format!(
            "\"{}\" is no digest ({kind}); write sha256: and 64 lower-case hexadecimal digits",
            shown(text),
            kind = shown(kind)
        )
    })
}

/// As the Python packaging documents compare names: lower case, and one hyphen for a run of hyphens, dots, underscores.
pub fn python_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for one in name.chars() {
        if matches!(one, '-' | '_' | '.') {
            if !normal.ends_with('-') {
                normal.push('-');
            }
        } else {
            normal.push(one.to_ascii_lowercase());
        }
    }
    normal
}

fn is_python_name(name: &str) -> bool {
    let ends = |one: char| one.is_ascii_alphanumeric();
    is_word(name, "-_.") && name.starts_with(ends) && name.ends_with(ends)
}

fn is_r_name(name: &str) -> bool {
    is_word(name, ".")
        && name.len() > 1
        && name.starts_with(|one: char| one.is_ascii_alphabetic())
        && !name.ends_with('.')
}

/// Packages of R in Debian; no name of R's own has a hyphen.
pub(crate) fn is_debian_name(name: &str) -> bool {
    let rest = name
        .strip_prefix("r-cran-")
        .or_else(|| name.strip_prefix("r-bioc-"));
    rest.is_some_and(|rest| is_word(rest, "+-.") && rest.starts_with(|one: char| one.is_ascii_alphanumeric()))
}

impl Package {
    /// Whether it is one of Debian, which brings packages of R that are built already.
    pub fn is_of_debian(&self) -> bool {
        is_debian_name(&self.name)
    }
}

fn is_version(version: &str) -> bool {
    is_word(version, ".+-~:!_") && version.starts_with(|one: char| one.is_ascii_alphanumeric())
}

fn is_word(text: &str, besides: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_WORD
        && text
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || besides.contains(one))
}

/// A stranger's words in a message.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
