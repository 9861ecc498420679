//! Inputs and outputs of a run as they stand on the command line.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Formats that files may have in this version, by extension.
const FORMATS: [&str; 2] = ["csv", "json"];

/// The types whose values JSON writes as numbers and truth values; of all others it writes a text.
const SCALARS: [&str; 6] = [
    "Boolean",
    "Integer",
    "LongInteger",
    "SingleReal",
    "Real",
    "Currency",
];

/// `--input x=@data.csv` or `--input n=3`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    /// The variable.
    pub(crate) name: String,
    /// What it gets.
    pub(crate) given: Given,
}

/// What an input gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// A literal: what it looks like, and how it was written.
    Value(Value, String),
    /// The content of a file.
    File(Named),
}

/// A file with the format that its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where.
    pub(crate) path: PathBuf,
    /// `csv` or `json`.
    pub(crate) format: &'static str,
}

/// `--save y=out.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Save {
    /// The output.
    pub(crate) name: String,
    /// Where it goes.
    pub(crate) file: Named,
}

/// Reads `--input`.
pub(crate) fn input(text: &str) -> Result<Input, String> {
    let (name, value) = pair(text).ok_or("write NAME=VALUE or NAME=@FILE, for example n=3 or x=@data.csv")?;
    let given = match value.strip_prefix('@') {
        Some(path) => Given::File(named(path)?),
        None => Given::Value(literal(value), value.to_owned()),
    };
    Ok(Input {
        name: name.to_owned(),
        given,
    })
}

impl Input {
    /// Whether it looks like a number or a truth value, which may be a text all the same.
    pub(crate) fn may_be_text(&self) -> bool {
        matches!(&self.given, Given::Value(Value::Number(_) | Value::Bool(_), _))
    }

    /// Takes a literal as the text that was written, where the function declares that it is one: `007` may be a name.
    pub(crate) fn declared(&mut self, types: &[String]) {
        let reads_it = |kind: &String| SCALARS.contains(&kind.as_str());
        if !types.is_empty()
            && !types.iter().any(reads_it)
            && let Given::Value(value, text) = &mut self.given
            && !value.is_null()
        {
            *value = Value::String(text.clone());
        }
    }
}

/// Reads `--save`.
pub(crate) fn save(text: &str) -> Result<Save, String> {
    let (name, path) = pair(text).ok_or("write NAME=FILE, for example y=out.csv")?;
    Ok(Save {
        name: name.to_owned(),
        file: named(path)?,
    })
}

/// Reads `--timeout`: `60s`, `5m`, `1h`, or a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3_600),
        _ => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "write a span above 0 such as 60s, 5m or 1h".to_owned())
}

fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, _)| !name.is_empty())
}

/// A number, `true`, `false` or `null` as JSON writes them; anything else is a text.
fn literal(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

fn named(path: &str) -> Result<Named, String> {
    let path = Path::new(path);
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    match FORMATS
        .iter()
        .find(|format| format.eq_ignore_ascii_case(extension))
    {
        Some(format) => Ok(Named {
            path: path.to_owned(),
            format,
        }),
        None if extension.is_empty() => {
            Err("the name of a file tells its format; it must end in .csv or .json".to_owned())
        }
        None => Err(format!(
            "the format .{} is not supported by this version; use .csv or .json",
            extension.escape_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        match input(text).expect("an input").given {
            Given::Value(value, _) => value,
            Given::File(file) => panic!("{file:?} is no literal"),
        }
    }

    #[test]
    fn a_literal_is_a_json_scalar_or_else_a_text() {
        for (text, expected) in [
            ("n=3", json!(3)),
            ("n=-0.5e2", json!(-50.0)),
            ("n=true", json!(true)),
            ("n=null", Value::Null),
            ("n=", json!("")),
            ("n=TRUE", json!("TRUE")),
            ("n=\"3\"", json!("\"3\"")),
            ("n=[1]", json!("[1]")),
            ("n={}", json!("{}")),
            ("n=a=b", json!("a=b")),
            ("n=1e999", json!("1e999")),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn a_literal_is_the_text_that_was_written_where_that_is_declared() {
        let declared = |text: &str, types: &[&str]| {
            let mut input = input(text).expect("an input");
            input.declared(&types.iter().map(ToString::to_string).collect::<Vec<_>>());
            match input.given {
                Given::Value(value, _) => value,
                Given::File(file) => panic!("{file:?} is no literal"),
            }
        };
        assert_eq!(declared("x=1.50", &["String"]), json!("1.50"));
        assert_eq!(declared("x=true", &["String", "Binary"]), json!("true"));
        assert_eq!(declared("x=90", &["TimeSpan"]), json!("90"));
        assert_eq!(declared("x=1.50", &["Real", "String"]), json!(1.5));
        assert_eq!(declared("x=1", &[]), json!(1));
        assert_eq!(declared("x=null", &["String"]), Value::Null);
    }

    #[test]
    fn a_file_has_a_format_that_is_there_already() {
        let file = |path: &str, format| {
            Given::File(Named {
                path: path.into(),
                format,
            })
        };
        assert_eq!(input("x=@a.csv").expect("an input").given, file("a.csv", "csv"));
        assert_eq!(
            input("x=@dir/a.JSON").expect("an input").given,
            file("dir/a.JSON", "json")
        );
        assert_eq!(
            input("x=@a.sbdf"),
            Err("the format .sbdf is not supported by this version; use .csv or .json".to_owned())
        );
        for wrong in ["x=@a", "x=@", "=3", "x", ""] {
            assert!(input(wrong).is_err(), "{wrong}");
        }
        assert!(save("y=out.csv").is_ok() && save("y=out.parquet").is_err() && save("y").is_err());
    }

    #[test]
    fn a_span_has_a_unit() {
        for (text, expected) in [("60s", 60), ("5m", 300), ("1h", 3_600), ("7", 7)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "s", "0s", "-1s", "1d", "1.5s", "99999999999999999999h", "1é"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_argument_makes_it_panic(text: String) {
            let _ = (input(&text), save(&text), seconds(&text));
        }
    }
}
