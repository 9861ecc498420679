//! Reads `custom.properties`, as services of the original are set up: `key: value` lines with `${NAME:default}`.
//!
//! ```text
//! # a comment, and ! too
//! engine.execution.timeout: ${ENGINE_EXECUTION_TIMEOUT_SECONDS:600}
//! packagePath: /opt/packages          a later line with the same key wins
//! ```
//!
//! Invariant: what is read is exactly what stands there. A line that is none is an error with its number, and a
//! message shows no value, which may be a secret.

use std::collections::BTreeMap;

/// The longest line, in bytes, before and after its variables are put in.
const LONGEST_LINE: usize = 16 * 1024;
/// The most lines of one file.
const MOST_LINES: usize = 10_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without the space around it, and with its variables put in.
    pub value: String,
    /// From 1.
    pub line: usize,
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct PropertyError {
    /// From 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub why: &'static str,
}

/// Reads all lines. `environment` is what `${NAME}` means.
pub fn parse(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Entry>, PropertyError> {
    let mut entries = BTreeMap::new();
    // Windows editors begin a file so.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let wrong = |why| PropertyError { line, why };
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', '!']) {
            continue;
        }
        if line > MOST_LINES || text.len() > LONGEST_LINE {
            return Err(wrong("the file is too long to be one of settings"));
        }
        let (key, value) = text
            .split_once([':', '='])
            .ok_or_else(|| wrong("write a setting as key: value, and a remark behind #"))?;
        let key = key.trim_end();
        let plain = |one: char| one.is_ascii_alphanumeric() || "._-".contains(one);
        if key.is_empty() || !key.chars().all(plain) {
            return Err(wrong(
                "a key has letters, digits, dots, hyphens and underscores only",
            ));
        }
        let value = expanded(value.trim(), environment).map_err(wrong)?;
        if value.contains(|one: char| one.is_control() && one != '\t') {
            return Err(wrong(
                "a value has no control characters; end lines as Unix or Windows does",
            ));
        }
        entries.insert(key.to_owned(), Entry { value, line });
    }
    Ok(entries)
}

/// The text with its variables put in, once: what a variable holds is not looked at again.
fn expanded(text: &str, environment: &BTreeMap<String, String>) -> Result<String, &'static str> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        whole.push_str(before);
        let (inside, after) = after
            .split_once('}')
            .ok_or("a variable is written ${NAME:default}; the closing brace is missing")?;
        let (name, default) = match inside.split_once(':') {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let good = |one: char| one.is_ascii_alphanumeric() || one == '_';
        if name.is_empty() || !name.chars().all(good) {
            return Err("a variable is written ${NAME:default}; this name is none");
        }
        let value = environment.get(name).map(String::as_str).or(default);
        whole.push_str(value.ok_or("a variable is not set and has no default; write ${NAME:default}")?);
        if whole.len() > LONGEST_LINE {
            return Err("with its variables put in, the line is too long");
        }
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("TIMEOUT".to_owned(), "60".to_owned()),
            ("EMPTY".to_owned(), String::new()),
            ("NESTED".to_owned(), "${TIMEOUT}".to_owned()),
        ])
    }

    fn value(text: &str) -> Result<String, PropertyError> {
        parse(text, &variables()).map(|mut entries| entries.remove("key").expect("the key").value)
    }

    #[test]
    fn variables_are_put_in_once_and_defaults_where_they_are_not_set() {
        for (text, expected) in [
            ("key: ${TIMEOUT:600}", "60"),
            ("key: ${MISSING:600}", "600"),
            ("key: ${EMPTY:600}", ""),
            ("key: ${MISSING:}", ""),
            ("key: a${TIMEOUT}b${MISSING:c:d}e", "a60bc:de"),
            ("key: ${NESTED}", "${TIMEOUT}"),
            ("key=1", "1"),
            ("  key :  C:/R/bin  ", "C:/R/bin"),
            ("key: 1\r\n# key: 2\n! no\n\nkey: 3\r\n", "3"),
            ("\u{feff}key: $5 }", "$5 }"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_named_by_its_number_and_shows_no_value() {
        for text in [
            "key: 1\nsecret",
            "key: 1\n: secret",
            "key: 1\nk ey: secret",
            "key: 1\nkey: ${secret",
            "key: 1\nkey: ${MISSING}",
            "key: 1\nkey: ${:secret}",
            "key: 1\nkey: secret\rkey: 2",
        ] {
            let error = parse(text, &variables()).expect_err(text);
            assert_eq!(error.line, 2, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,400}") {
            let _ = parse(&text, &variables());
        }

        #[test]
        fn what_is_written_is_read_and_the_last_wins(
            lines in proptest::collection::vec(("[a-z.]{1,8}", "[a-zA-Z0-9/ ._-]{0,12}"), 0..20)
        ) {
            let text: Vec<String> = lines.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let text = text.join("\n");
            let read = parse(&text, &BTreeMap::new()).expect("plain lines");
            let expected: BTreeMap<_, _> = lines.iter().map(|(key, value)| (key.clone(), value.trim().to_owned())).collect();
            let found: BTreeMap<_, _> = read.into_iter().map(|(key, entry)| (key, entry.value)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
