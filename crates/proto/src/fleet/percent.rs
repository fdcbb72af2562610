//! Percentages of a fleet, as whole millionths: signed forms hold no fractions.

/// Reads `10`, `0.5` or `12.3456`, with or without `%` behind, as millionths; `None` for anything else, and for more than 100.
pub fn millionths_of_percent(text: &str) -> Option<u32> {
    let number = text.trim();
    let number = number.strip_suffix('%').unwrap_or(number).trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 4 {
        return None;
    }
    let (whole, part): (u32, u32) = (whole.parse().ok()?, format!("{part:0<4}").parse().ok()?);
    whole.checked_mul(10_000)?.checked_add(part).filter(|millionths| *millionths <= 1_000_000)
}

/// The same number of percent as people write it, without the sign: `10`, `0.5`.
pub fn percent_of_millionths(millionths: u32) -> String {
    match (millionths / 10_000, millionths % 10_000) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{}", format!("{part:04}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_reads_as_it_is_written() {
        for (text, millionths) in
            [("1", 10_000), ("100", 1_000_000), ("0.5", 5_000), ("0", 0), ("12.3456", 123_456), ("0.0001", 1)]
        {
            assert_eq!(millionths_of_percent(text), Some(millionths), "{text}");
            assert_eq!(millionths_of_percent(&format!(" {text} % ")), Some(millionths), "{text} %");
            assert_eq!(percent_of_millionths(millionths), text);
        }
        for text in ["", "%", "101", "-1", "1e1", "100.0001", ".5", "1.23456", "99999999999", "1%%", "1,5", "ten"] {
            assert_eq!(millionths_of_percent(text), None, "{text}");
        }
    }
}
