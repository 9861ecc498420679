//! A moment in UTC, written as in RFC 3339, for the entries that have one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const DAY: i64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z, within the years 0000 to 9999 that RFC 3339 can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(i64);

/// A text or number that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as in RFC 3339, for example 2020-06-01T00:00:00Z")]
pub struct MomentError;

impl Moment {
    /// The moment `unix_ms` milliseconds after 1970 began, UTC. Moments that RFC 3339 cannot write become the nearest
    /// that it can.
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms.clamp(days(0, 1, 1) * DAY, days(10_000, 1, 1) * DAY - 1))
    }

    /// Milliseconds since 1970 began, UTC.
    pub fn unix_ms(self) -> i64 {
        self.0
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    /// Accepts any offset and 1 to 9 digits of a second's fraction, of which three count.
    fn from_str(text: &str) -> Result<Self, MomentError> {
        parse(text).ok_or(MomentError)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(DAY));
        let ms = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if ms % 1000 != 0 {
            write!(f, ".{:03}", ms % 1000)?;
        }
        f.write_str("Z")
    }
}

impl TryFrom<String> for Moment {
    type Error = MomentError;
    fn try_from(text: String) -> Result<Self, MomentError> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> String {
        moment.to_string()
    }
}

fn parse(text: &str) -> Option<Moment> {
    let bytes = text.as_bytes();
    let (head, rest) = bytes.split_at_checked(19)?;
    let separated = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separated
        .iter()
        .any(|(at, mark)| !head[*at].eq_ignore_ascii_case(mark))
    {
        return None;
    }
    let (year, month, day) = (number(&head[0..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (
        number(&head[11..13])?,
        number(&head[14..16])?,
        number(&head[17..19])?,
    );
    // The round trip refuses the 31st of June. Leap seconds are refused, as nearly everywhere.
    if civil(days(year, month, day)) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest.split_first() {
        Some((b'.', rest)) => {
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&count) {
                return None;
            }
            let digits: Vec<u8> = rest[..count].iter().copied().chain([b'0'; 2]).take(3).collect();
            (number(&digits)?, &rest[count..])
        }
        _ => (0, rest),
    };
    let offset = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = (hours * 60 + minutes) * 60_000;
            if *sign == b'+' { offset } else { -offset }
        }
        _ => return None,
    };
    let ms = days(year, month, day) * DAY + (hour * 3600 + minute * 60 + second) * 1000 + fraction - offset;
    let moment = Moment::from_unix_ms(ms);
    (moment.0 == ms).then_some(moment)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in eras of 400 years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date that is `days` days after 1970-01-01: year, month, day.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments_have_their_known_numbers() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2020-06-01T00:00:00Z", 1_590_969_600_000),
            ("2020-06-01T02:00:00.25+02:00", 1_590_969_600_250),
        ] {
            assert_eq!(text.parse(), Ok(Moment(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_moment_is_refused() {
        for text in [
            "",
            "2020-06-01",
            "2020-06-31T00:00:00Z",
            "2021-02-29T00:00:00Z",
            "2020-06-01T24:00:00Z",
            "2020-06-01T00:00:00",
            "2020-06-01T00:00:00.Z",
            "2020-06-01T00:00:00+2:00",
            "2020-06-01 00:00:00Z",
            "0000-01-01T00:00:00+01:00",
            "２020-06-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Moment>(), Err(MomentError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_survives_its_text(ms in days(0, 1, 1) * DAY..days(10_000, 1, 1) * DAY) {
            prop_assert_eq!(Moment(ms).to_string().parse(), Ok(Moment(ms)));
        }
    }
}
