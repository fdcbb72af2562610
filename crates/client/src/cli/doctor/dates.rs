//! Dates as HTTP, TUF and certificates write them, in seconds since 1970-01-01 UTC.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT`: HTTP's `Date`.
pub(super) fn of_http(text: &str) -> Option<i64> {
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    at(number(year)?, month, number(day)?, &time.replace(':', ""))
}

/// `2030-01-31T12:00:00Z`: what TUF writes.
pub(super) fn of_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    // Parts of a second do not matter here.
    let time = time.split('.').next()?.replace(':', "");
    at(number(year)?, number(month)?, number(day)?, &time)
}

/// `300131120000Z` (UTCTime) or `20300131120000Z` (GeneralizedTime), as RFC 5280 allows them.
pub(super) fn of_certificate(text: &str, generalized: bool) -> Option<i64> {
    let digits = text.strip_suffix('Z')?;
    let (year, rest) = digits.split_at_checked(if generalized { 4 } else { 2 })?;
    let year = match (generalized, number(year)?) {
        (true, year) => year,
        (false, year) if year < 50 => 2000 + year,
        (false, year) => 1900 + year,
    };
    let (month, rest) = rest.split_at_checked(2)?;
    let (day, time) = rest.split_at_checked(2)?;
    at(year, number(month)?, number(day)?, time)
}

/// `2030-01-31`.
pub(super) fn day(secs: i64) -> String {
    let (year, month, day) = civil(secs.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// The year.
pub(super) fn year(secs: i64) -> i64 {
    civil(secs.div_euclid(86_400)).0
}

fn number(text: &str) -> Option<i64> {
    let all_digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

/// `time` is `hhmmss`.
fn at(year: i64, month: i64, day: i64, time: &str) -> Option<i64> {
    let part = |range: std::ops::Range<usize>| number(time.get(range)?);
    let (hour, minute, second) = (part(0..2)?, part(2..4)?, part(4..6)?);
    let fits = time.len() == 6
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    fits.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The date of a day: the other way round.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_write_one_moment_agree() {
        // `date -d @784111777 -u`: Sun Nov 6 08:49:37 UTC 1994 (RFC 9110's own example).
        assert_eq!(of_http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(of_rfc3339("1994-11-06T08:49:37Z"), Some(784_111_777));
        assert_eq!(of_rfc3339("1994-11-06T08:49:37.25Z"), Some(784_111_777));
        assert_eq!(of_certificate("941106084937Z", false), Some(784_111_777));
        assert_eq!(of_certificate("19941106084937Z", true), Some(784_111_777));
        assert_eq!(of_certificate("491106084937Z", false), of_rfc3339("2049-11-06T08:49:37Z"));
    }

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for (date, number) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2024-03-01", 19_783), ("2100-03-01", 47_541)]
        {
            assert_eq!(day(number * 86_400), date);
            assert_eq!(of_rfc3339(&format!("{date}T00:00:00Z")), Some(number * 86_400), "{date}");
        }
        for number in (-200_000..200_000).step_by(97) {
            let (year, month, day) = civil(number);
            assert_eq!(days(year, month, day), number);
        }
        assert_eq!(year(-1), 1969);
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "now", "Sun, 06 Nov 1994", "Sun, 06 Nix 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"] {
            assert_eq!(of_http(text), None, "{text}");
        }
        for text in ["2024-13-01T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01", "ä-ö-üT00:00:00Z"] {
            assert_eq!(of_rfc3339(text), None, "{text}");
        }
        for text in ["", "Z", "9", "94110608493Z", "äöüäöüäZ"] {
            assert_eq!(of_certificate(text, false), None, "{text}");
            assert_eq!(of_certificate(text, true), None, "{text}");
        }
    }
}
