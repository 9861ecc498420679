//! Which alphabet a letter belongs to, as far as alphabets have letters that look alike.
//!
//! The ranges are those of Unicode's Scripts.txt, whole blocks where a block holds one alphabet only. Writing systems
//! that nobody mistakes for another (Han, Kana, Arabic …) have no name here: mixing them with Latin is ordinary.

/// The alphabet of a letter; `None` for digits, signs and writing systems that are not mistaken for another.
pub(super) fn of(letter: char) -> Option<&'static str> {
    Some(match letter {
        'A'..='Z'
        | 'a'..='z'
        | '\u{aa}'
        | '\u{ba}'
        | '\u{c0}'..='\u{d6}'
        | '\u{d8}'..='\u{f6}'
        | '\u{f8}'..='\u{2b8}'
        | '\u{1d00}'..='\u{1d25}'
        | '\u{1e00}'..='\u{1eff}'
        | '\u{2c60}'..='\u{2c7f}'
        | '\u{a722}'..='\u{a7ff}'
        | '\u{ab30}'..='\u{ab64}' => "Latin",
        '\u{370}'..='\u{3e1}' | '\u{3f0}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => "Greek",
        '\u{3e2}'..='\u{3ef}' | '\u{2c80}'..='\u{2cff}' => "Coptic",
        '\u{400}'..='\u{52f}'
        | '\u{1c80}'..='\u{1c8a}'
        | '\u{2de0}'..='\u{2dff}'
        | '\u{a640}'..='\u{a69f}' => "Cyrillic",
        '\u{531}'..='\u{58a}' | '\u{fb13}'..='\u{fb17}' => "Armenian",
        '\u{10a0}'..='\u{10ff}' | '\u{1c90}'..='\u{1cbf}' | '\u{2d00}'..='\u{2d2d}' => "Georgian",
        '\u{13a0}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => "Cherokee",
        '\u{a4d0}'..='\u{a4ff}' => "Lisu",
        '\u{2100}'..='\u{214f}' | '\u{1d400}'..='\u{1d7ff}' => "mathematical",
        '\u{2460}'..='\u{24ff}' | '\u{1f100}'..='\u{1f1ff}' => "enclosed",
        '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => "fullwidth",
        _ => return None,
    })
}
