//! Words of commands that people are told, as a shell reads them.

use std::borrow::Cow;

/// `word` as one word of a POSIX shell, whatever it holds.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', "'\\''"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_as_it_was() {
        for word in
            ["plain/word.pem", "", "two words", "it's", "$(reboot)", "`x`", "a;b", "*", "~/x", "[::1]", "a\\b", "ö"]
        {
            let script = format!("printf %s {}", quoted(word));
            let said = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&said.stdout), word, "{script}");
        }
        assert_eq!(quoted("plain/word.pem"), "plain/word.pem");
    }
}
