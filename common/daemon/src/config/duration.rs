//! Time spans as people write them: `500ms`, `30s`, `15m`, `1h30m`, `7d`.

use std::time::Duration;

/// Units from the largest to the smallest, with their milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The span that `text` names: one or more whole numbers with the units `d`, `h`, `m`, `s` and `ms`, each unit
/// at most once and in this order. `None` for anything else, also for more than 2^64 milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        // The iterator goes on from the last unit, so that order and uniqueness need no other check.
        let (_, milliseconds) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(*milliseconds)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// The shortest text that [`parse_duration`] reads as `span`; parts of a millisecond are dropped.
pub fn format_duration(span: Duration) -> String {
    use std::fmt::Write as _;
    let mut rest = span.as_millis();
    let mut text = String::new();
    for (name, milliseconds) in UNITS {
        let count = rest / u128::from(milliseconds);
        rest %= u128::from(milliseconds);
        if count > 0 {
            // Writing into a String cannot fail.
            let _ = write!(text, "{count}{name}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("15m", 900_000),
            ("30s", 30_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_not_spans() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5h",
            "1 h",
            "30m1h",
            "1s1s",
            "1w",
            "99999999999999999999s",
            "99999999999999999d",
            "٣s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_formatted_span_reads_as_itself(milliseconds: u64) {
            let span = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(span)), Some(span));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse_duration(&text);
        }
    }
}
