//! What people search by: a part of a text, or a whole one in which `*` stands for anything. Upper and lower case do not
//! differ.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// The pattern that somebody typed.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether `text` is meant.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let Some((first, rest)) = self.0.split_once('*') else {
            return text.contains(&self.0);
        };
        let Some(mut left) = text.strip_prefix(first) else {
            return false;
        };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            // The first place is as good as any: what follows has the most room then.
            let Some((_, after)) = left.split_once(part) else {
                return false;
            };
            left = after;
        }
        left.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_star_a_part_is_enough_and_with_one_it_is_the_whole() {
        for (pattern, text, expected) in [
            ("ana", "Analysts", true),
            ("LYST", "Analysts", true),
            ("anb", "Analysts", false),
            ("", "anything", true),
            ("ana*", "Analysts", true),
            ("*sts", "Analysts", true),
            ("a*s", "Analysts", true),
            ("a*y*s", "Analysts", true),
            ("a*x*s", "Analysts", false),
            ("na*", "Analysts", false),
            ("a*b*b", "ab", false),
            ("aa*aa", "aaa", false),
            ("*", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(text),
                expected,
                "{pattern} on {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_slow_search_finds(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        slow(rest, text) || text.split_first().is_some_and(|(_, less)| slow(pattern, less))
                    }
                    (Some((wanted, rest)), Some((found, less))) => wanted == found && slow(rest, less),
                    _ => false,
                }
            }
            let whole = if pattern.contains('*') { pattern.clone() } else { format!("*{pattern}*") };
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), slow(whole.as_bytes(), text.as_bytes()));
        }
    }
}
