//! Enumerations that are written as fixed words, in one place: text, parsing and the list for errors.

/// A text that is none of the words that are allowed at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{shown}\" is no {kind}; it is one of {allowed}")]
pub struct UnknownWord {
    kind: &'static str,
    shown: String,
    allowed: String,
}

impl UnknownWord {
    pub(crate) fn new(kind: &'static str, text: &str, allowed: impl Iterator<Item = &'static str>) -> Self {
        let shown = text.chars().take(64).flat_map(char::escape_default).collect();
        Self {
            kind,
            shown,
            allowed: allowed.collect::<Vec<_>>().join(", "),
        }
    }
}

/// Declares an enumeration whose variants have one spelling each.
macro_rules! words {
    ($($(#[$doc:meta])* $vis:vis $name:ident ($kind:literal) { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them, in the order of the reference.
            $vis const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word.
            $vis fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    $crate::words::UnknownWord::new($kind, text, Self::ALL.iter().map(|word| word.as_str()))
                })
            }
        }
    )+};
}

pub(crate) use words;
