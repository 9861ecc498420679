//! Times and their middle.

use std::io::{self, Write as _};

use rustix::time::{ClockId, clock_gettime};

/// Microseconds on the monotonic clock, for differences only.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// A count of microseconds, milliseconds or bytes as a number to calculate with; exact up to 2^53.
pub(crate) fn number(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "measurements are far below 2^53")]
    let number = count as f64;
    number
}

/// The middle of `samples`, of which there is at least one.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.as_slice() {
        [] => f64::NAN,
        samples if samples.len() % 2 == 1 => samples[middle],
        samples => f64::midpoint(samples[middle - 1], samples[middle]),
    }
}

/// A line for the process that has started this one.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
