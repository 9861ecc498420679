//! Reads a daemon's settings from a TOML file and the environment, and reports all errors at once.
//!
//! A program declares its keys by calling the typed getters of a [`Reader`], then calls [`Reader::finish`].
//! A getter always returns a value (the default where something is wrong), so that every key is looked at;
//! invariant: `finish` is `Ok` only if each value came from a default or from text that was wholly valid,
//! and nothing in the file or the environment was left unread.
//!
//! The environment overrides the file: `[section] key` is `MUSTER_SECTION__KEY`, a nested section `[a.b]` is
//! `MUSTER_A__B__KEY`. Lists are separated by commas there; an empty variable unsets an optional key and
//! empties a list. Variables that begin with `MUSTER_` but have no `__` are not settings.

mod document;
mod duration;
mod error;
mod getters;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use self::document::{Document, Entry, Value};
pub use self::{
    duration::{format_duration, parse_duration},
    error::{ConfigError, ConfigErrors, Place},
};

/// The largest configuration file, in bytes. Real ones have a few KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// How a message shows what could be a secret.
const HIDDEN: &str = "something else (not shown)";

/// Reads declared keys and remembers what was wrong.
pub struct Reader {
    file: PathBuf,
    entries: BTreeMap<String, Entry>,
    overrides: BTreeMap<String, String>,
    credentials: Option<PathBuf>,
    declared: BTreeSet<String>,
    settings: Vec<Setting>,
    errors: Vec<ConfigError>,
}

/// The value of one key in force, as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key, for example `front_end.listen`.
    pub key: String,
    /// The value in TOML notation; a secret one is replaced by a remark, an unset one is `None`.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: Source,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built into the program.
    Default,
    /// The file or a variable.
    Given(Place),
}

/// A value before it has its type: text is as written, numbers and truth values are in decimal and words.
enum Raw {
    One(String),
    Many(Vec<String>),
}

/// What the file must hold for a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    /// A text that no message shows.
    Secret,
    Bool,
    Whole,
    List,
}

impl Reader {
    /// Reads `file` and takes the overrides out of `environment` (usually [`crate::environment`]). A file that
    /// does not exist is empty unless it `must_exist`, as one named by `--config` must.
    pub fn open(
        file: &Path,
        must_exist: bool,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let text = match crate::file::read(file, crate::file::Access::Any, MAX_FILE) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| ConfigError::Encoding(file.to_owned()))?,
            Err(error) if error.is_not_found() && !must_exist => String::new(),
            Err(error) => return Err(ConfigError::File(error).into()),
        };
        Ok(Self::of_text(file, &text, environment))
    }

    /// A reader of `text`, which messages say stands in `file`.
    pub fn of_text(file: &Path, text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let Document { entries, errors } = document::parse(file, text);
        let mut overrides = BTreeMap::new();
        let mut credentials = None;
        for (name, value) in environment {
            if name == "CREDENTIALS_DIRECTORY" {
                credentials = Some(PathBuf::from(value));
            } else if name.starts_with("MUSTER_") && name.contains("__") {
                overrides.insert(name, value);
            }
        }
        Self {
            file: file.to_owned(),
            entries,
            overrides,
            credentials,
            declared: BTreeSet::new(),
            settings: Vec::new(),
            errors,
        }
    }

    /// Adds an error of the program's own about a key, such as one that another key requires. `reason` says
    /// what is wrong and what to do, and begins in lower case.
    pub fn refuse(&mut self, section: &str, key: &str, reason: impl Into<String>) {
        let path = format!("{section}.{key}");
        let place = self.place(&path);
        self.errors.push(ConfigError::Refused {
            place,
            key: path,
            reason: reason.into(),
        });
    }

    /// The names of the sections `[[section.key]]`, in their order: each is the `section` of the keys in it. They can
    /// only be given in the file.
    pub fn sections(&mut self, section: &str, key: &str) -> Vec<String> {
        let path = format!("{section}.{key}");
        let Some(entry) = self.entries.get(&path) else {
            return Vec::new();
        };
        if let Value::Tables(count) = entry.value {
            return (0..count).map(|number| format!("{path}.{number}")).collect();
        }
        let (place, found) = (self.place(&path), entry.value.to_string());
        self.declared.insert(path.clone());
        self.errors.push(ConfigError::Value {
            place,
            wanted: format!("sections [[{path}]]"),
            key: path,
            found,
        });
        Vec::new()
    }

    /// The values in force, for `config show`, or everything that was wrong.
    pub fn finish(mut self) -> Result<Vec<Setting>, ConfigErrors> {
        self.report_unknown_entries();
        let names: Vec<String> = self.declared.iter().map(|key| variable(key)).collect();
        for name in self.overrides.keys().filter(|name| !names.contains(name)) {
            let nearest = nearest(name, names.iter().map(String::as_str));
            let place = Place::Variable(name.clone());
            self.errors.push(ConfigError::Unknown {
                place,
                key: name.clone(),
                nearest,
            });
        }
        if self.errors.is_empty() {
            Ok(self.settings)
        } else {
            Err(self.errors.into())
        }
    }

    fn report_unknown_entries(&mut self) {
        let mut reported: Vec<String> = Vec::new();
        for (key, entry) in &self.entries {
            let holds_known = self.declared.iter().any(|known| {
                known == key || (entry.value.is_section() && known.starts_with(&format!("{key}.")))
            });
            let inside_reported = reported
                .iter()
                .any(|parent| key.starts_with(&format!("{parent}.")));
            // A value where a section is wanted, or the reverse, was reported when the key was read.
            let inside_declared = self
                .declared
                .iter()
                .any(|known| key.starts_with(&format!("{known}.")));
            if holds_known || inside_reported || inside_declared {
                continue;
            }
            let place = Place::File {
                file: self.file.clone(),
                line: entry.line,
            };
            let nearest = if entry.value.is_section() {
                let sections: BTreeSet<&str> = self
                    .declared
                    .iter()
                    .filter_map(|known| known.rsplit_once('.'))
                    .map(|(section, _)| section)
                    .collect();
                nearest(key, sections.into_iter())
            } else {
                nearest(key, self.declared.iter().map(String::as_str))
            };
            self.errors.push(ConfigError::Unknown {
                place,
                key: key.clone(),
                nearest,
            });
            reported.push(key.clone());
        }
    }

    /// The value of a declared key if it is given and valid. Its setting is recorded either way.
    fn take<T>(
        &mut self,
        section: &str,
        key: &str,
        shape: Shape,
        wanted: &str,
        parse: impl FnOnce(Raw) -> Option<T>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let path = format!("{section}.{key}");
        let place = self.place(&path);
        let given = self.given(&path, shape);
        self.declared.insert(path.clone());
        let value = given.and_then(|(found, raw)| {
            let value = raw.and_then(parse);
            if value.is_none() {
                let (place, key, wanted) = (place.clone(), path.clone(), wanted.to_owned());
                self.errors.push(ConfigError::Value {
                    place,
                    key,
                    found,
                    wanted,
                });
            }
            value
        });
        let source = if value.is_some() {
            Source::Given(place)
        } else {
            Source::Default
        };
        self.settings.push(Setting {
            key: path,
            value: value.as_ref().map(show),
            source,
        });
        value
    }

    /// What is given for `path`: how a message shows it, and its raw form unless its shape is another.
    fn given(&self, path: &str, shape: Shape) -> Option<(String, Option<Raw>)> {
        if let Some(text) = self.overrides.get(&variable(path)) {
            if text.is_empty() && shape != Shape::List {
                return None;
            }
            let raw = match shape {
                _ if text.contains('\u{fffd}') => None,
                Shape::List if text.is_empty() => Some(Raw::Many(Vec::new())),
                Shape::List => Some(Raw::Many(
                    text.split(',').map(|item| item.trim().to_owned()).collect(),
                )),
                _ => Some(Raw::One(text.clone())),
            };
            let found = if shape == Shape::Secret {
                HIDDEN.to_owned()
            } else {
                quoted(text)
            };
            return Some((found, raw));
        }
        let entry = self.entries.get(path)?;
        let raw = match (&entry.value, shape) {
            (Value::Text(text), Shape::Text | Shape::Secret) => Some(Raw::One(text.clone())),
            (Value::Bool(value), Shape::Bool) => Some(Raw::One(value.to_string())),
            (Value::Whole(digits), Shape::Whole) => Some(Raw::One(digits.clone())),
            (Value::Texts(items), Shape::List) => Some(Raw::Many(items.clone())),
            _ => None,
        };
        let found = if shape == Shape::Secret {
            HIDDEN.to_owned()
        } else {
            entry.value.to_string()
        };
        Some((found, raw))
    }

    fn place(&self, path: &str) -> Place {
        let name = variable(path);
        if self.overrides.contains_key(&name) {
            Place::Variable(name)
        } else {
            let line = self.entries.get(path).map_or(0, |entry| entry.line);
            Place::File {
                file: self.file.clone(),
                line,
            }
        }
    }
}

impl fmt::Debug for Reader {
    /// Without the values: which of them are secret is known only once they are read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}", self.key)?,
            None => write!(f, "# {} is not set", self.key)?,
        }
        match &self.source {
            Source::Default => write!(f, "  # default"),
            Source::Given(place) => write!(f, "  # {place}"),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", crate::escape::escaped(text).replace('"', "\\\""))
}

/// The variable that overrides the key `path`.
fn variable(path: &str) -> String {
    format!("MUSTER_{}", path.to_uppercase().replace('.', "__"))
}

/// The known name that is most like `name`.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, known)| known.to_owned())
}
