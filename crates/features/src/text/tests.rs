use proptest::prelude::*;

use super::normalize_text;

#[test]
fn texts_become_words() {
    for (text, wanted) in [
        ("", ""),
        (" \t\n", ""),
        ("Hello, World!", "hello world"),
        ("It's the dogs' bone; rock 'n' roll.", "it's the dogs bone rock n roll"),
        ("don’t ‘quote’ me", "don't quote me"),
        ("well-known — and/or…so", "well known and or so"),
        ("the U.S. and the U.K., e.g. at 5 p.m.", "the us and the uk eg at five pm"),
        ("Mr. Smith.Then nothing", "mr smith then nothing"),
        ("Café, naïve Øresund, Straße; ﬁne Æther", "cafe naive oresund strasse fine aether"),
        ("e\u{301}te\u{301} zero\u{200b}width soft\u{ad}hyphen", "ete zerowidth softhyphen"),
        ("ＦＵＬＬ　Ｗｉｄｔｈ　１２", "full width twelve"),
        ("日本 go мир", "go"),
        ("salt & pepper, 50%", "salt and pepper fifty percent"),
        ("AT&T's", "at and t's"),
        ("half: ½", "half one half"),
        ("''''", ""),
        ("a'", "a"),
        ("'a", "a"),
        ("x''y", "x y"),
    ] {
        assert_eq!(normalize_text(text), wanted, "{text:?}");
    }
}

#[test]
fn numbers_become_words() {
    for (text, wanted) in [
        ("0", "zero"),
        ("7", "seven"),
        ("10", "ten"),
        ("13", "thirteen"),
        ("20", "twenty"),
        ("21", "twenty one"),
        ("99", "ninety nine"),
        ("100", "one hundred"),
        ("101", "one hundred one"),
        ("110", "one hundred ten"),
        ("999", "nine hundred ninety nine"),
        ("1000", "one thousand"),
        ("1,234", "one thousand two hundred thirty four"),
        ("12,34", "twelve thirty four"),
        ("1000,000", "one thousand zero zero zero"),
        ("30,005", "thirty thousand five"),
        ("1000000", "one million"),
        ("2,000,017", "two million seventeen"),
        ("999,999,999", "nine hundred ninety nine million nine hundred ninety nine thousand nine hundred ninety nine"),
        ("1000000000", "one zero zero zero zero zero zero zero zero zero"),
        ("007", "zero zero seven"),
        ("3.14", "three point one four"),
        ("It was 3.", "it was three"),
        ("192.168.0.1", "one hundred ninety two one hundred sixty eight zero point one"),
        ("10:30", "ten thirty"),
        ("-5", "five"),
        ("1st", "first"),
        ("2nd 3rd 4TH 5th", "second third fourth fifth"),
        ("8th, 9th, 12th", "eighth ninth twelfth"),
        ("20th 21st 100th", "twentieth twenty first one hundredth"),
        ("1,000th", "one thousandth"),
        ("2stack", "two stack"),
        ("mp3 b2b", "mp three b two b"),
        ("5's", "five s"),
    ] {
        assert_eq!(normalize_text(text), wanted, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_becomes_words_and_stays_so(text in any_text()) {
        let once = normalize_text(&text);
        let letters = once.chars().all(|c| c.is_ascii_lowercase() || c == '\'' || c == ' ');
        prop_assert!(letters && !once.contains("  ") && once.trim() == once, "{:?}", once);
        let apostrophes = once.split(' ').all(|w| !w.starts_with('\'') && !w.ends_with('\'') && !w.contains("''"));
        prop_assert!(apostrophes, "{:?}", once);
        prop_assert_eq!(normalize_text(&once), once);
    }
}

/// Half of it from the characters that rules are about.
fn any_text() -> impl Strategy<Value = String> {
    let near = prop::sample::select("aZ.'’-, 019%&éßﬁ\u{301}½thsndr".chars().collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![near, any::<char>()], 0..40).prop_map(|chars| chars.into_iter().collect())
}
