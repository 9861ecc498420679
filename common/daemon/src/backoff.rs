//! How long to wait before the next try: exponential with full jitter, so that many who failed together do not
//! come back together.

use std::time::Duration;

/// The longest wait that a server can impose. The plain port is not authenticated, so whoever sits there must
/// not be able to send a node away for ever.
const LONGEST_TOLD: Duration = Duration::from_hours(1);

/// Counts failures and says how long to wait after each.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is below `base`; the bound doubles with each failure up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            failures: 0,
        }
    }

    /// The wait after one more failure: `fraction` (from 0 to below 1, a random number) of the bound. What the
    /// server `told` (Retry-After) is added in full, up to an hour: it is never undercut, and those who were
    /// told the same still spread out.
    pub fn next(&mut self, fraction: f64, told: Option<Duration>) -> Duration {
        let bound = self
            .base
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(self.cap);
        self.failures = self.failures.saturating_add(1);
        told.unwrap_or_default().min(LONGEST_TOLD) + bound.mul_f64(fraction.clamp(0.0, 1.0))
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Duration = Duration::from_secs(5);
    const CAP: Duration = Duration::from_mins(5);

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_starts_again_after_success() {
        let mut backoff = Backoff::new(BASE, CAP);
        let waits: Vec<u64> = (0..8).map(|_| backoff.next(1.0, None).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.next(1.0, None), BASE);
    }

    #[test]
    fn what_the_server_told_is_kept_but_not_for_ever() {
        let mut backoff = Backoff::new(BASE, CAP);
        assert_eq!(
            backoff.next(0.0, Some(Duration::from_mins(10))),
            Duration::from_mins(10)
        );
        assert_eq!(
            backoff.next(0.5, Some(Duration::MAX)),
            Duration::from_hours(1) + BASE
        );
    }

    proptest! {
        #[test]
        fn a_wait_is_never_above_its_cap(fraction: f64, failures in 0_u32..200) {
            let mut backoff = Backoff::new(BASE, CAP);
            let fraction = if fraction.is_nan() { 0.5 } else { fraction };
            for _ in 0..failures {
                prop_assert!(backoff.next(fraction, None) <= CAP);
            }
        }
    }
}
