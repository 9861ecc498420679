//! The two clocks of the product, as a parameter, and the text form of time.
//!
//! Wall time dates things; it may jump. The boot clock measures spans, also across suspension, and never goes
//! back; whatever bounds trust in time is counted on it. Once somebody who knows it has said what time it is
//! ([`Clock::prove`]), wall time is counted on from there by the boot clock, and the machine's own no longer matters.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::fault;

/// Tells the time. Clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    source: Source,
    /// A proved time, and how far the boot clock was then.
    proved: Arc<Mutex<Option<(i64, Duration)>>>,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    Hand(Arc<Hand>),
}

#[derive(Debug, Default)]
struct Hand {
    unix_ms: AtomicI64,
    boot_ms: AtomicU64,
}

/// Moves a clock that was made by [`Clock::by_hand`].
#[derive(Debug, Clone)]
pub struct ClockHand(Arc<Hand>);

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as RFC 3339 says, for example 2026-11-21T22:12:39Z")]
pub struct TimeError;

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self::of(Source::System)
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            proved: Arc::default(),
        }
    }

    /// A clock for tests that stands at `unix_ms` until it is moved.
    pub fn by_hand(unix_ms: i64) -> (Self, ClockHand) {
        let hand = Arc::new(Hand {
            unix_ms: unix_ms.into(),
            boot_ms: 0.into(),
        });
        (Self::of(Source::Hand(Arc::clone(&hand))), ClockHand(hand))
    }

    /// Wall time: milliseconds since 1970, UTC; from the time that was proved, if one was.
    pub fn unix_ms(&self) -> i64 {
        let proved = *self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        match proved {
            Some((unix_ms, boot)) => {
                let since = self.boot().saturating_sub(boot).as_millis();
                unix_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
            }
            None => self.machine_ms(),
        }
    }

    /// It is `unix_ms` now, says somebody who is believed: from now on the machine's wall clock may jump.
    pub fn prove(&self, unix_ms: i64) {
        let boot = self.boot();
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some((unix_ms, boot));
    }

    /// What the machine takes for wall time: milliseconds since 1970, UTC.
    pub fn machine_ms(&self) -> i64 {
        match &self.source {
            Source::System => {
                let now = clock_gettime(ClockId::Realtime);
                now.tv_sec * 1_000 + now.tv_nsec / 1_000_000 + fault::wall_clock_off()
            }
            Source::Hand(hand) => hand.unix_ms.load(Ordering::SeqCst),
        }
    }

    /// The time since this machine was booted, suspension included (CLOCK_BOOTTIME).
    pub fn boot(&self) -> Duration {
        match &self.source {
            Source::System => {
                let now = clock_gettime(ClockId::Boottime);
                // The kernel's boot clock is never negative and its nanoseconds are below 10^9.
                Duration::new(
                    now.tv_sec.cast_unsigned(),
                    u32::try_from(now.tv_nsec).unwrap_or(0),
                )
            }
            Source::Hand(hand) => Duration::from_millis(hand.boot_ms.load(Ordering::SeqCst)),
        }
    }
}

impl ClockHand {
    /// Moves both clocks on, by whole milliseconds.
    pub fn advance(&self, span: Duration) {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.0.boot_ms.fetch_add(span, Ordering::SeqCst);
        self.0
            .unix_ms
            .fetch_add(i64::try_from(span).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an administrator or a time server might; the boot clock does not notice.
    pub fn set_wall(&self, unix_ms: i64) {
        self.0.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

/// A time in UTC with three decimals of a second, so that the texts sort as the times do. A time before the
/// year -9999 or after 9999 becomes the nearest one inside.
pub fn format_rfc3339(unix_ms: i64) -> String {
    let limits = (Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
    let time =
        Timestamp::from_millisecond(unix_ms.clamp(limits.0, limits.1)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// The time that an RFC 3339 text names, with any offset; parts of a millisecond are dropped.
pub fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    // The parser also takes other forms of ISO 8601 and the annotations of RFC 9557.
    let bytes = text.as_bytes();
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
    if !shaped || !bytes.iter().all(|byte| b"0123456789-+:.TtZz".contains(byte)) {
        return Err(TimeError);
    }
    text.parse::<Timestamp>()
        .map(Timestamp::as_millisecond)
        .map_err(|_| TimeError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_machines_clocks_agree_with_the_world() {
        let clock = Clock::system();
        let (earlier, now) = (clock.boot(), clock.boot());
        assert!(now >= earlier && earlier > Duration::ZERO);
        // 2025-01-01, before this was written.
        assert!(clock.unix_ms() > 1_735_689_600_000);
    }

    #[test]
    fn a_clock_moved_by_hand_stands_still_otherwise() {
        let (clock, hand) = Clock::by_hand(5_000);
        assert_eq!((clock.unix_ms(), clock.boot()), (5_000, Duration::ZERO));
        hand.advance(Duration::from_secs(2));
        hand.set_wall(1);
        assert_eq!(
            (clock.clone().unix_ms(), clock.boot()),
            (1, Duration::from_secs(2))
        );
    }

    #[test]
    fn a_proved_time_goes_on_whatever_the_wall_clock_does() {
        let (clock, hand) = Clock::by_hand(5_000);
        clock.clone().prove(7_000);
        hand.set_wall(1);
        hand.advance(Duration::from_secs(2));
        assert_eq!((clock.unix_ms(), clock.machine_ms()), (9_000, 2_001));
        clock.prove(8_000);
        assert_eq!(clock.unix_ms(), 8_000);
    }

    #[test]
    fn times_are_read_with_offsets_and_shown_in_utc() {
        for (text, shown) in [
            ("2026-11-21T22:12:39Z", "2026-11-21T22:12:39.000Z"),
            ("2026-11-21T23:12:39.1239+01:00", "2026-11-21T22:12:39.123Z"),
            ("1969-12-31t23:59:59.5z", "1969-12-31T23:59:59.500Z"),
        ] {
            assert_eq!(parse_rfc3339(text).map(format_rfc3339).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn other_forms_of_time_are_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T22:12:39",
            "20261121T221239Z",
            "2026-11-21 22:12:39Z",
            "2026-11-21T22:12:39Z[UTC]",
            "2026-13-01T00:00:00Z",
            "now",
        ] {
            assert_eq!(parse_rfc3339(text), Err(TimeError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_time_reads_as_itself(unix_ms in -62_135_596_800_000_i64..253_402_300_799_999) {
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(unix_ms)), Ok(unix_ms));
        }

        #[test]
        fn no_time_makes_it_panic(unix_ms: i64, text: String) {
            let _ = (format_rfc3339(unix_ms), parse_rfc3339(&text));
        }
    }
}
