//! Foreign text, made harmless for a terminal and for a log of one line an event.

use std::fmt::{self, Write};

/// Passes text on to `W` with control characters, line separators and bidirectional controls escaped as in
/// Rust strings (`\n`, `\u{1b}`), so that no value can forge a log line or steer a terminal.
pub(crate) struct Escaping<W>(pub(crate) W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, character) in text.char_indices().filter(|(_, character)| misleads(*character)) {
            self.0.write_str(&text[plain..at])?;
            write!(self.0, "{}", character.escape_default())?;
            plain = at + character.len_utf8();
        }
        self.0.write_str(&text[plain..])
    }
}

/// `value` with everything escaped that could mislead.
pub(crate) fn escaped(value: &str) -> String {
    let mut shown = String::with_capacity(value.len());
    // Writing into a String cannot fail.
    let _ = Escaping(&mut shown).write_str(value);
    shown
}

fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mislead_is_escaped_and_the_rest_is_kept() {
        assert_eq!(
            escaped("Ärzte 解析\n\u{1b}[2J\u{202e}x"),
            "Ärzte 解析\\n\\u{1b}[2J\\u{202e}x"
        );
    }
}
