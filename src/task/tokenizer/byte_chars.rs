//! The characters that byte-level tokenizers write bytes as (GPT-2): printable Latin-1 as itself, the rest from U+0100 on.

use std::sync::LazyLock;

const FIRST: u32 = 0x100;

fn is_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// By the place of the character behind U+0100.
static SHIFTED: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=255).filter(|b| !is_itself(*b)).collect());

/// The byte that a character is written for.
pub(super) fn byte_of_char(character: char) -> Option<u8> {
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => is_itself(byte).then_some(byte),
        Err(_) => SHIFTED.get((code - FIRST) as usize).copied(),
    }
}

/// The bytes of a token, or its text's own where a character stands for none (as `tokenizers` has it).
pub(super) fn bytes_of_token(token: &str) -> Vec<u8> {
    token.chars().map(byte_of_char).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut bytes: Vec<u8> = alphabet.iter().map(|c| byte_of_char(*c).expect("a byte")).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(bytes_of_token("Ġä"), [0x20, 0xe4]);
        assert_eq!(bytes_of_token("▁a"), "▁a".as_bytes());
        assert_eq!(byte_of_char('\u{144}'), None);
    }
}
