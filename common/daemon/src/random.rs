//! Random numbers as a parameter.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// A source of random numbers. Clones draw from the same source.
#[derive(Debug, Clone)]
pub struct Random(Source);

#[derive(Debug, Clone)]
enum Source {
    System(SystemRandom),
    Seeded(Arc<Mutex<Seeded>>),
}

#[derive(Debug)]
struct Seeded {
    seed: u64,
    drawn: u64,
}

impl Random {
    /// The cryptographic source of the machine.
    pub fn system() -> Self {
        Self(Source::System(SystemRandom::new()))
    }

    /// A source for tests that always yields the same numbers for one `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(Seeded { seed, drawn: 0 }))))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::System(system) => {
                system
                    .fill(bytes)
                    .expect("the kernel's random source works once a process has started");
            }
            Source::Seeded(seeded) => {
                // A panic elsewhere leaves the counter as good as before.
                let mut seeded = seeded.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(32) {
                    let block = [seeded.seed.to_be_bytes(), seeded.drawn.to_be_bytes()].concat();
                    seeded.drawn += 1;
                    chunk.copy_from_slice(&digest(&SHA256, &block).as_ref()[..chunk.len()]);
                }
            }
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A fraction from 0 to below 1 in steps of 2^-32, for jitter.
    pub fn fraction(&self) -> f64 {
        f64::from(u32::from_be_bytes(self.bytes())) / (f64::from(u32::MAX) + 1.0)
    }

    /// A number from 0 to below `bound`; 0 where `bound` is 0. The bias is below `bound` / 2^64.
    pub fn below(&self, bound: usize) -> usize {
        let wide = u128::from(u64::from_be_bytes(self.bytes())) * (bound as u128);
        usize::try_from(wide >> 64).expect("the product's upper half is below the bound")
    }

    /// A new identifier: `random.id(clock.unix_ms(), NodeId::new)`.
    pub fn id<T>(&self, unix_ms: i64, make: impl FnOnce(i64, [u8; 10]) -> T) -> T {
        make(unix_ms, self.bytes())
    }

    /// A secret of `length` random bytes as base64url text without padding.
    pub fn token(&self, length: usize) -> SecretString {
        let mut bytes = Zeroizing::new(vec![0; length]);
        self.fill(&mut bytes);
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes));
        SecretString::new(Box::from(text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn one_seed_yields_one_stream_and_clones_share_it() {
        let (one, same, other) = (Random::seeded(7), Random::seeded(7), Random::seeded(8));
        let first: [u8; 40] = one.bytes();
        assert_eq!(first, same.bytes());
        assert_ne!(first, other.bytes());
        assert_eq!(one.clone().bytes::<8>(), same.bytes());
        assert_ne!(one.bytes::<8>(), one.bytes());
    }

    #[test]
    fn the_machines_source_does_not_repeat() {
        let random = Random::system();
        assert_ne!(random.bytes::<32>(), random.bytes());
    }

    #[test]
    fn a_token_is_base64url_of_its_length_and_never_shown() {
        let token = Random::seeded(1).token(32);
        assert_eq!(
            URL_SAFE_NO_PAD
                .decode(token.expose_secret())
                .expect("base64url")
                .len(),
            32
        );
        assert!(!format!("{token:?}").contains(token.expose_secret()));
    }

    #[test]
    fn an_identifier_gets_the_time_and_ten_bytes() {
        let (ms, bytes) = Random::seeded(1).id(42, |ms, bytes| (ms, bytes));
        assert_eq!((ms, bytes), (42, Random::seeded(1).bytes::<10>()));
    }

    proptest! {
        #[test]
        fn numbers_stay_in_their_range(seed: u64, bound in 1_usize..) {
            let random = Random::seeded(seed);
            prop_assert!(random.below(bound) < bound);
            prop_assert!((0.0..1.0).contains(&random.fraction()));
            prop_assert_eq!(random.below(0), 0);
        }
    }
}
