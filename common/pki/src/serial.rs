//! Serial numbers of certificates: 128 random bits, so that none can be guessed or repeats.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A serial number, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 16]);

/// A text or number that is not a serial number of this collective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a serial number is a positive integer of at most 128 bits, written as 32 lower-case hexadecimal digits"
)]
pub struct SerialError;

impl Serial {
    /// A serial number made of random bytes. All 128 bits are kept: DER puts a zero byte before a leading one
    /// bit, so the number is never negative.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The content of a DER integer.
    pub(crate) fn from_der_integer(content: &[u8]) -> Result<Self, SerialError> {
        if content.first().is_none_or(|first| first & 0x80 != 0) {
            return Err(SerialError);
        }
        let zeros = content.iter().take_while(|byte| **byte == 0).count();
        let number = &content[zeros..];
        let start = 16usize.checked_sub(number.len()).ok_or(SerialError)?;
        let mut bytes = [0; 16];
        bytes[start..].copy_from_slice(number);
        Ok(Self(bytes))
    }

    /// The 16 bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = SerialError;
    fn from_str(text: &str) -> Result<Self, SerialError> {
        let canonical = text.len() == 32 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| canonical)
            .ok_or(SerialError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<String> for Serial {
    type Error = SerialError;
    fn try_from(text: String) -> Result<Self, SerialError> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> String {
        serial.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_longer_or_negative_number_is_refused() {
        assert_eq!(Serial::from_der_integer(&[1; 17]), Err(SerialError));
        assert_eq!(Serial::from_der_integer(&[0x80; 16]), Err(SerialError));
        assert_eq!(Serial::from_der_integer(&[]), Err(SerialError));
        assert_eq!(
            Serial::from_der_integer(&[5]).map(|s| s.to_string()),
            Ok(format!("{:032x}", 5))
        );
    }

    proptest! {
        #[test]
        fn a_serial_survives_its_text_and_its_integer(bytes in any::<[u8; 16]>()) {
            let serial = Serial::from_random(bytes);
            prop_assert_eq!(serial.to_string().parse(), Ok(serial));
            let integer = [&[0], &bytes[..]].concat();
            prop_assert_eq!(Serial::from_der_integer(&integer), Ok(serial));
        }

        #[test]
        fn a_text_that_parses_is_the_canonical_one(text in "[0-9a-fA-F+]{30,34}") {
            if let Ok(serial) = text.parse::<Serial>() {
                prop_assert_eq!(serial.to_string(), text);
            }
        }
    }
}
