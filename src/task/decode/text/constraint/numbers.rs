//! Numbers in constrained JSON end: a grammar allows digits without end, and a small model writes them. Where the grammar lets a
//! number end, digits beyond what a 64-bit float holds exactly are left out of the choice.

use super::super::bounds::{MAX_EXPONENT_DIGITS, MAX_NUMBER_DIGITS};

/// Where in a JSON text its end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Between values.
    Outside,
    /// In a string.
    Text,
    /// In a string, behind a backslash.
    Escape,
    /// In a number, with so many digits.
    Number(u32),
    /// In a number's exponent, with so many digits.
    Exponent(u32),
}

impl Place {
    /// The place behind `bytes`.
    pub(super) fn after(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |place, byte| place.step(*byte))
    }

    fn step(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Text, b'"') => Self::Outside,
            (Self::Text, b'\\') => Self::Escape,
            (Self::Text | Self::Escape, _) => Self::Text,
            (_, b'"') => Self::Text,
            (Self::Number(digits), b'0'..=b'9') => Self::Number(digits + 1),
            (Self::Number(digits), b'.') => Self::Number(digits),
            (Self::Number(_), b'e' | b'E') => Self::Exponent(0),
            (Self::Exponent(digits), b'0'..=b'9') => Self::Exponent(digits + 1),
            (Self::Exponent(0), b'+' | b'-') => Self::Exponent(0),
            (_, b'0'..=b'9') => Self::Number(1),
            (_, b'-') => Self::Number(0),
            // `true` holds an e, but no number before it.
            _ => Self::Outside,
        }
    }

    /// Whether `bytes`, written here, would make a number longer than one may be.
    pub(super) fn overflows_with(self, bytes: &[u8]) -> bool {
        let mut place = self;
        bytes.iter().any(|byte| {
            place = place.step(*byte);
            match place {
                Self::Number(digits) => digits > MAX_NUMBER_DIGITS,
                Self::Exponent(digits) => digits > MAX_EXPONENT_DIGITS,
                _ => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_in_numbers_only() {
        let place = |text: &str| Place::Outside.after(text.as_bytes());
        assert_eq!(place("{\"a1\": -12.5"), Place::Number(3));
        assert_eq!(place("[1e+1"), Place::Exponent(1));
        assert_eq!(place("\"a\\\"1"), Place::Text);
        assert_eq!(place("[12,true"), Place::Outside);
        assert!(place("123456789012").overflows_with(b"3456"));
        assert!(!place("123456789012").overflows_with(b"345"));
        assert!(!place("123456789012").overflows_with(b"3, 4567"));
        assert!(place("1e10").overflows_with(b"0"));
        assert!(!place("\"").overflows_with(b"12345678901234567890"));
    }
}
