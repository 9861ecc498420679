//! How long a certificate is valid, in whole seconds as X.509 keeps them.

use std::time::Duration;

/// How far the beginning lies before the moment of issue, so that a peer whose clock is a little behind
/// accepts a fresh certificate: at most this, and at most a tenth of its life, which half of it is counted in.
const BACKDATE_MS: i64 = 5 * 60 * 1000;

/// The span of time in which a certificate is accepted. Both ends are inclusive and whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before_ms: i64,
    not_after_ms: i64,
}

impl Validity {
    /// From five minutes (a tenth of a shorter life) before `now_ms` (milliseconds since 1970, UTC) until `lifetime`
    /// after it.
    pub fn starting(now_ms: i64, lifetime: Duration) -> Self {
        let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        Self::between(
            now_ms.saturating_sub(BACKDATE_MS.min(lifetime_ms / 10)),
            now_ms.saturating_add(lifetime_ms),
        )
    }

    /// Between two moments in milliseconds since 1970, UTC.
    pub fn between(not_before_ms: i64, not_after_ms: i64) -> Self {
        Self {
            not_before_ms: whole_second(not_before_ms),
            not_after_ms: whole_second(not_after_ms),
        }
    }

    /// The same span, cut off where `other` ends: a certificate must not outlive its issuer.
    pub fn ending_with(self, other: Self) -> Self {
        Self {
            not_after_ms: self.not_after_ms.min(other.not_after_ms),
            ..self
        }
    }

    /// The first moment, in milliseconds since 1970, UTC.
    pub fn not_before_ms(&self) -> i64 {
        self.not_before_ms
    }

    /// The last moment, in milliseconds since 1970, UTC.
    pub fn not_after_ms(&self) -> i64 {
        self.not_after_ms
    }

    /// How urgent the end is at `now_ms`: less than 30, 7 or 1 days are left, 0 after it. What lives shorter is renewed
    /// at half of its life, so that the first half gives no warning.
    pub fn days_left_warning(&self, now_ms: i64) -> Option<u32> {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        let left = self.not_after_ms.saturating_sub(now_ms);
        let life = self.not_after_ms.saturating_sub(self.not_before_ms);
        if left <= 0 {
            return Some(0);
        }
        let near = [1, 7, 30]
            .into_iter()
            .find(|days| left < i64::from(*days) * DAY_MS);
        near.filter(|_| left < life / 2)
    }
}

fn whole_second(ms: i64) -> i64 {
    ms.div_euclid(1000).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_begins_five_minutes_early_and_never_outlives_its_issuer() {
        let issuer = Validity::starting(1_000_000, Duration::from_secs(100));
        let leaf = Validity::starting(1_050_999, Duration::from_hours(1));
        assert_eq!((leaf.not_before_ms(), leaf.not_after_ms()), (750_000, 4_650_000));
        assert_eq!(leaf.ending_with(issuer).not_after_ms(), 1_100_000);
        assert_eq!(issuer.ending_with(leaf), issuer);
    }

    #[test]
    fn a_short_validity_begins_a_tenth_of_its_life_early() {
        let short = Validity::starting(1_000_000, Duration::from_secs(100));
        assert_eq!(
            (short.not_before_ms(), short.not_after_ms()),
            (990_000, 1_100_000)
        );
    }

    #[test]
    fn an_end_is_warned_of_at_thirty_seven_and_one_days_and_not_in_the_first_half() {
        let day = 24 * 3_600_000;
        let year = Validity::between(0, 365 * day);
        let week = Validity::between(0, 7 * day);
        for (validity, left, expected) in [
            (year, 31, None),
            (year, 29, Some(30)),
            (year, 6, Some(7)),
            (week, 6, None),
            (week, 3, Some(7)),
        ] {
            let now = validity.not_after_ms() - left * day;
            assert_eq!(validity.days_left_warning(now), expected, "{left} days");
        }
        assert_eq!(year.days_left_warning(365 * day - 3_600_000), Some(1));
        assert_eq!(year.days_left_warning(365 * day), Some(0));
    }

    #[test]
    fn a_lifetime_beyond_all_time_saturates() {
        assert!(Validity::starting(i64::MAX, Duration::MAX).not_after_ms() > i64::MAX - 1000);
    }
}
