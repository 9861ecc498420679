//! Names that people give to things, safe to show anywhere.
//!
//! A name is in Unicode normalization form C (UAX #15), without control characters, line separators or
//! bidirectional controls (the "Trojan Source" characters, CVE-2021-42574), without leading or trailing white
//! space, and does not begin with `-`, so that it can never be read as an option.

mod script;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The longest name, in characters. Directory names of that length still fit every database index.
const MAX_CHARACTERS: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("a name must not be empty")]
    Empty,
    /// Too long.
    #[error("a name has at most {MAX_CHARACTERS} characters; this one has {0}")]
    TooLong(usize),
    /// A character that could mislead a reader or a terminal.
    #[error("a name must not contain the character U+{:04X}; use letters, digits, spaces and . _ - instead", *.0 as u32)]
    Character(char),
    /// White space at an end, or a leading dash.
    #[error("a name must not begin or end with white space or begin with a dash")]
    Edge,
    /// A user name without its domain, or with two.
    #[error("a user is named name@DOMAIN, for example ann@SPOTFIRE")]
    Domain,
}

/// The name of a node, group, pool, site, function or other thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text, in normalization form C.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which names are compared for being the same: upper and lower case do not differ.
    pub fn key(&self) -> String {
        self.0.to_lowercase().nfc().collect()
    }

    /// What `look` finds by the key, which it gets without an allocation where the name is ASCII.
    pub fn with_key<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        let mut room = [0; MAX_CHARACTERS];
        match room.get_mut(..self.0.len()) {
            Some(folded) if self.0.is_ascii() => {
                folded.copy_from_slice(self.0.as_bytes());
                folded.make_ascii_lowercase();
                look(str::from_utf8(folded).expect("ASCII is UTF-8"))
            }
            _ => look(&self.key()),
        }
    }

    /// The first two alphabets that it mixes, where letters of one look like letters of the other: it may be meant to be
    /// taken for another name. `None` for an ordinary name.
    pub fn mixed_alphabets(&self) -> Option<(&'static str, &'static str)> {
        let mut alphabets = self.0.chars().filter_map(script::of);
        let first = alphabets.next()?;
        let other = alphabets.find(|alphabet| *alphabet != first)?;
        Some((first, other))
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let text: String = if is_nfc(text) {
            text.to_owned()
        } else {
            text.nfc().collect()
        };
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let length = text.chars().count();
        if length > MAX_CHARACTERS {
            return Err(NameError::TooLong(length));
        }
        if let Some(character) = text.chars().find(|c| misleads(*c)) {
            return Err(NameError::Character(character));
        }
        if text.trim() != text || text.starts_with('-') {
            return Err(NameError::Edge);
        }
        Ok(Self(text))
    }
}

/// A user, `name@DOMAIN`: the domain is a namespace of the user directory, `SPOTFIRE` the built-in one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Name);

impl UserName {
    /// The whole, `name@DOMAIN`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The form under which user names are compared: upper and lower case do not differ.
    pub fn key(&self) -> String {
        self.0.key()
    }

    /// As [`Name::with_key`].
    pub fn with_key<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        self.0.with_key(look)
    }
}

impl FromStr for UserName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name: Name = text.parse()?;
        match name.as_str().rsplit_once('@') {
            Some((user, domain)) if !user.is_empty() && !domain.is_empty() => Ok(Self(name)),
            _ => Err(NameError::Domain),
        }
    }
}

macro_rules! text_forms {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }
    )+};
}

text_forms!(Name, UserName);

/// Characters that a name must not have.
fn misleads(character: char) -> bool {
    is_deceptive(character)
        || matches!(
            character,
            '/' | '\\' | '"' | '<' | '>' | '|' | '*' | '?' | ':' | ';' | '`' | '$'
        )
}

/// Whether a character is invisible, breaks lines or reorders what stands beside it.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_in_any_script_are_accepted() {
        for name in [
            "terr01",
            "Web Player 2",
            "Ärzte",
            "解析",
            "a.b_c-d",
            "Script Author",
        ] {
            assert_eq!(name.parse::<Name>().expect(name).as_str(), name);
        }
    }

    #[test]
    fn what_could_mislead_is_refused_with_its_reason() {
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        assert_eq!(
            "a\u{202e}b".parse::<Name>(),
            Err(NameError::Character('\u{202e}'))
        );
        assert_eq!("a\nb".parse::<Name>(), Err(NameError::Character('\n')));
        assert_eq!("../etc".parse::<Name>(), Err(NameError::Character('/')));
        assert_eq!("-rf".parse::<Name>(), Err(NameError::Edge));
        assert_eq!(" a".parse::<Name>(), Err(NameError::Edge));
        assert_eq!(
            "x".repeat(65_536).parse::<Name>(),
            Err(NameError::TooLong(65_536))
        );
    }

    #[test]
    fn two_spellings_of_one_name_are_the_same_name() {
        let composed: Name = "Caf\u{e9}".parse().expect("name");
        let decomposed: Name = "Cafe\u{301}".parse().expect("name");
        assert_eq!(composed, decomposed);
        assert_eq!(composed.key(), "CAF\u{c9}".parse::<Name>().expect("name").key());
    }

    #[test]
    fn the_key_that_is_lent_is_the_key() {
        let longest = "X".repeat(MAX_CHARACTERS);
        let wide = "É".repeat(MAX_CHARACTERS);
        for name in ["Script Author", "ann@SPOTFIRE", "Ärzte", "ΣΑΣ", &longest, &wide] {
            let name: Name = name.parse().expect(name);
            assert_eq!(name.with_key(str::to_owned), name.key());
        }
    }

    #[test]
    fn letters_of_two_alphabets_that_look_alike_are_noticed() {
        let mixed = |text: &str| text.parse::<Name>().expect(text).mixed_alphabets();
        assert_eq!(mixed("t\u{435}rr01"), Some(("Latin", "Cyrillic")));
        assert_eq!(mixed("\u{3c1}rod"), Some(("Greek", "Latin")));
        assert_eq!(mixed("web\u{ff41}"), Some(("Latin", "fullwidth")));
        for ordinary in ["terr01", "Ärzte-7", "узел 3", "解析 server", "Ωμέγα", "北京R"] {
            assert_eq!(mixed(ordinary), None, "{ordinary}");
        }
    }

    #[test]
    fn a_user_has_a_domain() {
        assert_eq!(
            "ann@SPOTFIRE".parse::<UserName>().expect("user").as_str(),
            "ann@SPOTFIRE"
        );
        for text in ["ann", "@SPOTFIRE", "ann@"] {
            assert_eq!(text.parse::<UserName>(), Err(NameError::Domain), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_parses_is_stable_and_visible(text in any::<String>()) {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.as_str().parse::<Name>(), Ok(name.clone()));
                prop_assert!(!name.as_str().chars().any(misleads));
            }
        }
    }
}
