//! The verification code of a join: 12 digits that the node shows and a person types.

use std::{fmt, str::FromStr};

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// One more than the largest code.
const CODES: u64 = 1_000_000_000_000;

/// A verification code, shown as `4821-0937-5512`. Comparing two takes the same time whatever they are.
#[derive(Clone, Copy)]
pub struct VerificationCode(u64);

/// A text that is not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a verification code has 12 digits, for example 4821-0937-5512; read it on the node with muster-node status"
)]
pub struct CodeError;

impl VerificationCode {
    /// The code of the first 16 bytes of a hash.
    pub(super) fn from_hash(bytes: [u8; 16]) -> Self {
        let code = u128::from_be_bytes(bytes) % u128::from(CODES);
        Self(u64::try_from(code).expect("a remainder of 10^12 fits 64 bits"))
    }
}

impl PartialEq for VerificationCode {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0.to_be_bytes(), &other.0.to_be_bytes()).is_ok()
    }
}

impl Eq for VerificationCode {}

impl fmt::Display for VerificationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:04}-{:04}",
            self.0 / 100_000_000,
            self.0 / 10_000 % 10_000,
            self.0 % 10_000
        )
    }
}

impl fmt::Debug for VerificationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerificationCode(..)")
    }
}

impl FromStr for VerificationCode {
    type Err = CodeError;
    /// Accepts the 12 digits with or without dashes and spaces, as people type them.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
        if digits.len() != 12 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(CodeError);
        }
        digits.parse().map(Self).map_err(|_| CodeError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code: VerificationCode = "4821-0937-5512".parse().expect("code");
        for text in ["482109375512", "4821 0937 5512", " 4821-09375512 "] {
            assert_eq!(text.parse(), Ok(code), "{text}");
        }
        for text in [
            "",
            "-",
            "4821-0937-551",
            "4821-0937-55120",
            "4821-0937-551x",
            "+82109375512",
            "٤٨٢١٠٩٣٧٥٥١٢",
        ] {
            assert_eq!(text.parse::<VerificationCode>(), Err(CodeError), "{text}");
        }
    }

    #[test]
    fn a_small_code_keeps_its_zeros() {
        let mut hash = [0; 16];
        hash[15] = 7;
        assert_eq!(VerificationCode::from_hash(hash).to_string(), "0000-0000-0007");
    }

    proptest! {
        #[test]
        fn a_code_survives_its_text(hash in any::<[u8; 16]>(), other in any::<[u8; 16]>()) {
            let code = VerificationCode::from_hash(hash);
            prop_assert_eq!(code.to_string().parse(), Ok(code));
            prop_assert_eq!(code == VerificationCode::from_hash(other), hash == other);
        }
    }
}
