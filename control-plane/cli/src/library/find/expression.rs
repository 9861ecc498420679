//! Which items are meant: words, all of which an item has.

use std::str::FromStr;

use muster_wire::admin::v1::library::LibraryItem;

use crate::pattern::Pattern;

/// Where a word is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Name, description, path or kind.
    Anywhere,
    Name,
    Description,
    Path,
    Kind,
}

/// Words, each with its place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expression(Vec<(Place, Pattern)>);

/// Why a text says nothing of items.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpressionError {
    #[error("the words to search by end within quotes; close them")]
    Quotes,
    #[error(
        "words to search by are all looked for, and {0} means nothing between them; put it in quotes if it is a word"
    )]
    Operator(String),
    #[error("there are no words to search by")]
    Empty,
}

impl Expression {
    /// Whether an item is meant.
    pub(super) fn matches(&self, item: &LibraryItem) -> bool {
        self.0.iter().all(|(place, pattern)| {
            let texts = [
                (Place::Name, item.name.as_str()),
                (Place::Description, item.description.as_str()),
                (Place::Path, item.path.as_str()),
                (Place::Kind, item.kind.as_str()),
            ];
            texts
                .iter()
                .any(|(at, text)| (*place == Place::Anywhere || place == at) && pattern.matches(text))
        })
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut words = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (place, after) = place(rest);
            let (word, after, quoted) = if let Some(inside) = after.strip_prefix('"') {
                let (word, after) = inside.split_once('"').ok_or(ExpressionError::Quotes)?;
                (word, after, true)
            } else {
                let end = after
                    .find(|character: char| character.is_whitespace() || character == '"')
                    .unwrap_or(after.len());
                (&after[..end], &after[end..], false)
            };
            rest = after.trim_start();
            let operator = matches!(word, "AND" | "OR" | "NOT" | "&" | "|") || word.contains(['(', ')']);
            match (quoted, place, word) {
                (false, Place::Anywhere, "AND") => {}
                (false, ..) if operator => return Err(ExpressionError::Operator(word.to_owned())),
                (_, _, "") => {}
                (..) => words.push((place, Pattern::new(word))),
            }
        }
        if words.is_empty() {
            return Err(ExpressionError::Empty);
        }
        Ok(Self(words))
    }
}

/// Where the next word is looked for, and the word.
fn place(text: &str) -> (Place, &str) {
    for (mark, place) in [
        ("name:", Place::Name),
        ("title:", Place::Name),
        ("description:", Place::Description),
        ("path:", Place::Path),
        ("type:", Place::Kind),
        ("kind:", Place::Kind),
    ] {
        if let Some(head) = text.get(..mark.len())
            && head.eq_ignore_ascii_case(mark)
        {
            return (place, &text[mark.len()..]);
        }
    }
    (Place::Anywhere, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item() -> LibraryItem {
        serde_json::from_value(serde_json::json!({
            "id": muster_ids::LibraryItemId::ROOT, "kind": "analysis", "name": "Sales report",
            "path": "/Team/Sales report", "description": "Numbers of (last) year", "inherits": true,
            "right": "read", "created": "2026-11-22T00:00:00Z", "updated": "2026-11-22T00:00:00Z",
        }))
        .expect("an item")
    }

    #[test]
    fn an_item_has_all_the_words() {
        for (text, expected) in [
            ("sales", true),
            ("SALES year", true),
            ("sales AND year", true),
            ("sales other", false),
            ("\"sales report\"", true),
            ("\"report sales\"", false),
            ("type:analysis", true),
            ("Type:script", false),
            ("name:year", false),
            ("title:sales", true),
            ("description:\"(last) year\"", true),
            ("path:/team/*", true),
            ("path:team*", false),
            ("name:\"sales report\" type:ana*", true),
            ("\"NOT\"", false),
        ] {
            let expression: Expression = text.parse().expect(text);
            assert_eq!(expression.matches(&item()), expected, "{text}");
        }
        assert!(Expression::default().matches(&item()), "no words are in all");
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for text in ["a OR b", "NOT a", "(a)", "\"a", "", "  ", "AND", "name:\"\""] {
            assert!(text.parse::<Expression>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            if let Ok(expression) = text.parse::<Expression>() {
                expression.matches(&item());
            }
        }
    }
}
