//! Groups of letters of a text, hashed.

/// Longest group.
const LONGEST: usize = 4;
/// Only so much of a text is looked at: more does not tell more.
pub const MAX_CHARS: usize = 2048;

/// Places of a text's groups among `buckets`, and how often each occurs; the counts' squares sum to 1.
pub fn features(text: &str, buckets: usize) -> Vec<(u32, f32)> {
    let letters = letters(text);
    let mut places: Vec<u32> = Vec::with_capacity(letters.len() * LONGEST);
    for start in 0..letters.len() {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for (length, letter) in letters[start..].iter().take(LONGEST).enumerate() {
            hash = mix(hash, *letter, length);
            // A blank alone is in every text.
            if !(length == 0 && *letter == ' ') {
                places.push((hash % buckets as u64) as u32);
            }
        }
    }
    places.sort_unstable();
    let mut counted: Vec<(u32, f32)> = Vec::new();
    for place in places {
        match counted.last_mut() {
            Some((own, count)) if *own == place => *count += 1.0,
            _ => counted.push((place, 1.0)),
        }
    }
    // A word that is said often must not drown the others.
    counted.iter_mut().for_each(|(_, count)| *count = count.sqrt());
    let length = counted.iter().map(|(_, x)| x * x).sum::<f32>().sqrt().max(1e-6);
    counted.iter_mut().for_each(|(_, x)| *x /= length);
    counted
}

/// Letters in small form, words parted by one blank; digits and marks are no language.
fn letters(text: &str) -> Vec<char> {
    let mut letters = vec![' '];
    for c in text.chars().take(MAX_CHARS) {
        if c.is_alphabetic() || is_mark(c) {
            letters.extend(c.to_lowercase());
        } else if letters.last() != Some(&' ') {
            letters.push(' ');
        }
    }
    if letters.last() != Some(&' ') {
        letters.push(' ');
    }
    letters
}

/// Vowel signs and the like, which Rust does not count among letters.
fn is_mark(c: char) -> bool {
    matches!(c as u32, 0x0300..=0x036F | 0x0591..=0x05C7 | 0x064B..=0x065F | 0x0900..=0x0DFF | 0x0E31..=0x0E4E)
}

/// FNV-1a over the letters, with a final mix at each length.
fn mix(hash: u64, letter: char, length: usize) -> u64 {
    let mut hash = hash;
    for byte in (letter as u32).to_le_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^ (hash >> 29) ^ (length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_digits_and_marks_change_nothing() {
        assert_eq!(features("Hello, World 42!", 1 << 14), features("hello world", 1 << 14));
        assert_ne!(features("hello", 1 << 14), features("hallo", 1 << 14));
    }

    #[test]
    fn a_text_of_any_length_has_length_one_and_nothing_has_none() {
        for text in ["a", "ab cd", &"wort ".repeat(1000)] {
            let sum: f32 = features(text, 1 << 10).iter().map(|(_, x)| x * x).sum();
            assert!((sum - 1.0).abs() < 1e-4, "{text}");
        }
        assert!(features("1234 !!", 1 << 10).is_empty());
    }
}
