//! What must not be found in a log.

/// Words that only requests hold.
pub const SECRETS: [&str; 3] = ["Quetzalcoatl", "Zanzibar", "Wolverhampton"];

/// All of them as somebody would say or write them.
pub fn secret() -> String {
    SECRETS.join(", ")
}

/// Fails when `log` holds one of [`SECRETS`] or a longer word of `texts`.
pub fn assert_none_logged<'a>(log: &str, texts: impl IntoIterator<Item = &'a str>) {
    let lower = log.to_lowercase();
    let words = texts.into_iter().flat_map(str::split_whitespace).chain(SECRETS);
    for word in words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()) {
        // Shorter ones stand in any log: "the", "about".
        assert!(word.len() <= 5 || !lower.contains(&word), "{word:?} stands in the log:\n{log}");
    }
}
