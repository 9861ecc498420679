//! Foreign text, made harmless for a terminal.
//!
//! Invariant: what comes out holds no character that moves the cursor, colours, reorders or hides text.

/// `text` in one line.
pub(crate) fn escaped(text: &str) -> String {
    escape(text, |_| false)
}

/// `text` with its lines and tabs kept.
pub(crate) fn escaped_lines(text: &str) -> String {
    escape(text, |character| matches!(character, '\n' | '\t'))
}

fn escape(text: &str, kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if misleads(character) && !kept(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Control characters, line separators, and characters that are invisible or reorder their neighbours
/// (the "Trojan Source" characters, CVE-2021-42574).
fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_the_rest_is_kept() {
        assert_eq!(escaped("Ärzte 解析 \"x\""), "Ärzte 解析 \"x\"");
        assert_eq!(
            escaped("a\u{1b}[2Jb\r\n\u{9b}1m\u{202e}c\u{200b}"),
            "a\\u{1b}[2Jb\\r\\n\\u{9b}1m\\u{202e}c\\u{200b}"
        );
        assert_eq!(escaped_lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
    }

    proptest! {
        #[test]
        fn nothing_that_misleads_comes_out(text: String) {
            prop_assert!(!escaped(&text).chars().any(misleads));
            prop_assert!(!escaped_lines(&text).chars().any(|c| misleads(c) && c != '\n' && c != '\t'));
        }
    }
}
