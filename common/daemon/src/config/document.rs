//! A TOML text as a flat list of keys with the lines on which they stand.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::de::{DeTable, DeValue};

use super::{ConfigError, quoted};

/// The entries of a file, or what is wrong with its syntax.
pub(super) struct Document {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) errors: Vec<ConfigError>,
}

/// One key or section.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    /// From 1.
    pub(super) line: usize,
}

/// A value as far as settings can have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    /// In decimal, with its sign if it is negative.
    Whole(String),
    Texts(Vec<String>),
    /// A section; what stands in it has entries of its own.
    Table,
    /// So many sections of one name; each is an entry under its number, from 0.
    Tables(usize),
    /// What no setting is: the word for it.
    Other(&'static str),
}

/// Reads `text`. A text with errors of syntax has no entries: what was recovered around an error would lead to
/// complaints that are not the person's fault.
pub(super) fn parse(file: &Path, text: &str) -> Document {
    let mut entries = BTreeMap::new();
    let (table, errors) = DeTable::parse_recoverable(text);
    let errors: Vec<_> = errors
        .iter()
        .map(|error| {
            let (line, column) = position(text, error.span().map_or(text.len(), |span| span.start));
            ConfigError::Syntax {
                file: file.to_owned(),
                line,
                column,
                message: error.message().to_owned(),
            }
        })
        .collect();
    if errors.is_empty() {
        flatten(text, "", table.get_ref(), &mut entries);
    }
    Document { entries, errors }
}

/// `parse_recoverable` bounds the nesting, so recursion is safe.
fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut BTreeMap<String, Entry>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if prefix.is_empty() {
            name.to_string()
        } else {
            format!("{prefix}.{name}")
        };
        let (line, _) = position(text, key.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, &path, inner, entries),
            DeValue::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    let DeValue::Table(inner) = item.get_ref() else {
                        continue;
                    };
                    let path = format!("{path}.{number}");
                    flatten(text, &path, inner, entries);
                    let (line, _) = position(text, item.span().start);
                    let value = Value::Table;
                    entries.insert(path, Entry { value, line });
                }
            }
            _ => {}
        }
        entries.insert(
            path,
            Entry {
                value: convert(value.get_ref()),
                line,
            },
        );
    }
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number that is too large"), |number| {
                Value::Whole(number.to_string())
            }),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items)
            if !items.is_empty()
                && items
                    .iter()
                    .all(|item| matches!(item.get_ref(), DeValue::Table(_))) =>
        {
            Value::Tables(items.len())
        }
        DeValue::Array(items) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map_or(
                Value::Other("a list with elements that are not texts"),
                Value::Texts,
            ),
        DeValue::Table(_) => Value::Table,
    }
}

impl Value {
    /// Whether other keys stand in it.
    pub(super) fn is_section(&self) -> bool {
        matches!(self, Self::Table | Self::Tables(_))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Whole(digits) => f.write_str(digits),
            Self::Texts(_) => f.write_str("a list"),
            Self::Table => f.write_str("a section"),
            Self::Tables(_) => f.write_str("a list of sections"),
            Self::Other(word) => f.write_str(word),
        }
    }
}

/// The line and column of a byte, both from 1, the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
