//! Takes out of a text what is secret.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::doctor::files::{KEYS, Kind};
use crate::cli::doctor::settings::Settings;

/// What stands in the place of a secret.
const REMOVED: &str = "[removed]";
/// Shortest text that is looked for, bytes: a shorter one stands in every second word.
const SHORTEST: usize = 4;
/// Largest secret file that is read, bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Words whose values are not shown, whoever wrote them: `password = "…"`, `token: …`.
const WORDS: [&str; 5] = ["password", "passphrase", "token", "secret", "api_key"];

/// The secrets of this machine that this user may read; those he may not cannot have come to him either.
#[derive(Default)]
pub(super) struct Scrub {
    secrets: Vec<Zeroizing<String>>,
}

impl Scrub {
    /// `is_right`: whether `linnetd` knows every key of the configuration, so that secrets can stand in files only.
    pub(super) fn of(settings: &Settings, is_right: bool) -> Self {
        let mut scrub = Self::default();
        if !is_right {
            for text in settings.doubtful_texts() {
                scrub.take(&text);
            }
        }
        for (key, _) in KEYS.iter().filter(|(_, kind)| *kind == Kind::Secret) {
            if let Some(path) = settings.path(key) {
                scrub.take_file(&path);
            }
        }
        // Given to this program itself.
        for variable in ["LINNET_MQTT_PASSWORD", "LINNET_TOKEN"] {
            if let Ok(value) = std::env::var(variable) {
                scrub.take(value.trim());
            }
        }
        // The longest first: one may be a part of another.
        scrub.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        scrub
    }

    fn take_file(&mut self, path: &Path) {
        let mut text = Zeroizing::new(String::new());
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        if read.is_err() {
            return;
        }
        self.take(text.trim());
        // A key may be told in part, line by line; its frame is no secret.
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("-----")) {
            self.take(line);
        }
    }

    fn take(&mut self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        self.secrets.push(Zeroizing::new(secret.to_owned()));
        // As it would stand in JSON.
        if let Ok(quoted) = serde_json::to_string(secret)
            && quoted[1..quoted.len() - 1] != *secret
        {
            self.secrets.push(Zeroizing::new(quoted[1..quoted.len() - 1].to_owned()));
        }
    }

    /// `text` without what is secret.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), REMOVED);
            }
        }
        let ends_with_a_line = clean.ends_with('\n');
        let lines: Vec<String> = clean.lines().map(|line| without_values(&without_logins(line))).collect();
        let mut clean = lines.join("\n");
        if ends_with_a_line {
            clean.push('\n');
        }
        clean
    }
}

/// `mqtt://ann:s3cret@host` becomes `mqtt://[removed]@host`.
fn without_logins(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find(|c: char| c == '/' || c == '"' || c == '\'' || c.is_whitespace()).unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                clean.push_str(REMOVED);
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    clean.push_str(rest);
    clean
}

/// Values of keys that sound like secrets. `password_file` names a path and stays.
fn without_values(line: &str) -> String {
    // ASCII alone changes its case, so that places are the same in both.
    let lower = line.to_ascii_lowercase();
    let after_words = WORDS.iter().flat_map(|word| lower.match_indices(word).map(|(at, _)| at + word.len()));
    let mut places: Vec<usize> = after_words.collect();
    places.sort_unstable();
    let mut clean = String::with_capacity(line.len());
    let mut done = 0;
    for value in places.into_iter().filter_map(|at| value_after(line, at)) {
        // A word inside of a value that is gone already.
        if value.start >= done {
            clean.push_str(&line[done..value.start]);
            clean.push_str(REMOVED);
            done = value.end;
        }
    }
    clean + &line[done..]
}

/// Where the value of a key stands that ends at `at`: after an end of quotes, then `=` or `:`; in quotes, or up to the next blank.
fn value_after(line: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let rest = line[at..].trim_start_matches(['"', '\'', '\\']);
    let rest = rest.trim_start().strip_prefix(['=', ':'])?.trim_start();
    let quote = QUOTES.iter().find(|quote| rest.starts_with(**quote));
    let value = &rest[quote.map_or(0, |quote| quote.len())..];
    let end = match quote {
        Some(quote) => unescaped(value, quote),
        None => value.find(|c: char| c.is_whitespace() || matches!(c, ',' | '"' | '\'' | '}' | ']')),
    };
    let end = end.unwrap_or(value.len());
    let start = line.len() - value.len();
    let harmless = ["true", "false", "null", ""].contains(&&value[..end]) || value.starts_with(REMOVED);
    (!harmless).then_some(start..start + end)
}

/// How a value begins and ends; with a backslash where it stands in a text that is itself in JSON.
const QUOTES: [&str; 4] = ["\\\"", "\\'", "\"", "'"];

/// Where `quote` stands in `value` without a backslash of its own.
fn unescaped(value: &str, quote: &str) -> Option<usize> {
    value.match_indices(quote).map(|(at, _)| at).find(|at| !value[..*at].ends_with('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_secret_files_is_taken_out_wherever_it_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("written");
            dir.path().join(name)
        };
        let token = write("token", "tok\"en-marker\n");
        let key =
            write("key", "-----BEGIN PRIVATE KEY-----\nAAAAmarkerAAAA\nBBBBmarkerBBBB\n-----END PRIVATE KEY-----\n");
        let text = format!("[http]\ntoken_file = {token:?}\ntls_key = {key:?}\ntls_cert = {key:?}\n");
        let scrub = Scrub::of(&Settings::of(&text), true);
        let told = "a tok\"en-marker b\n{\"why\": \"tok\\\"en-marker\"}\nBBBBmarkerBBBB\n-----BEGIN PRIVATE KEY-----\n";
        let clean = scrub.clean(told);
        assert_eq!(clean, "a [removed] b\n{\"why\": \"[removed]\"}\n[removed]\n-----BEGIN PRIVATE KEY-----\n");
    }

    #[test]
    fn logins_and_values_of_secret_keys_are_taken_out_and_paths_stay() {
        for (line, clean) in [
            ("mqtt.url = \"mqtt://ann:s3cret@h:1\"  # a:1", "mqtt.url = \"mqtt://[removed]@h:1\"  # a:1"),
            ("two mqtt://a@h and wss://b:c@d:1/mqtt", "two mqtt://[removed]@h and wss://[removed]@d:1/mqtt"),
            ("https://h/a@b", "https://h/a@b"),
            ("mqtt.password_file = \"/etc/x\"", "mqtt.password_file = \"/etc/x\""),
            ("password = \"s3cret\" # old", "password = \"[removed]\" # old"),
            ("PASSWORD=s3cret token: abc, api_key='x y'", "PASSWORD=[removed] token: [removed], api_key='[removed]'"),
            ("{\"token\": \"abc\", \"n\": 1}", "{\"token\": \"[removed]\", \"n\": 1}"),
            ("tokens: 4, the token is read", "tokens: 4, the token is read"),
            ("ä password = ö", "ä password = [removed]"),
            (r#"{"why": "password = \"s3\" here"}"#, r#"{"why": "password = \"[removed]\" here"}"#),
            (r#"{"why": "password: s3", "n": 1}"#, r#"{"why": "password: [removed]", "n": 1}"#),
            (r#"password = "a\"b" # c"#, r#"password = "[removed]" # c"#),
            ("password =", "password ="),
        ] {
            assert_eq!(Scrub::default().clean(line), clean);
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing_more() {
        let once = Scrub::default().clean("password = \"s3cret\" mqtt://a:b@h\n");
        assert_eq!(Scrub::default().clean(&once), once);
    }
}
