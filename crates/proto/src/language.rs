//! Names of languages, and when two tags mean the same one.

/// English name in lower case of a BCP-47 primary tag; the tag itself where no name is known.
pub fn language_name(tag: &str) -> &str {
    NAMES.binary_search_by(|(known, _)| (*known).cmp(tag)).map_or(tag, |at| NAMES[at].1)
}

/// The tag of a language by its English name in lower case.
pub fn language_tag(name: &str) -> Option<&'static str> {
    NAMES.iter().chain(&ALIASES).find(|(_, known)| *known == name).map(|(tag, _)| *tag)
}

/// English name as it stands in a list (`Haitian Creole`).
pub fn language_title(tag: &str) -> String {
    let words = language_name(tag).split(' ').map(|word| {
        let mut characters = word.chars();
        characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
    });
    words.collect::<Vec<String>>().join(" ")
}

/// The primary part of a tag in lower case: `de` of `de-AT`, `DE` and `de_AT`.
pub fn primary(tag: &str) -> String {
    tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase()
}

/// Whether `asked` means the language `known` of a model: the same tag, or the same primary one where either has nothing more.
pub fn means(asked: &str, known: &str) -> bool {
    let bare = |tag: &str| !tag.contains(['-', '_']);
    asked.eq_ignore_ascii_case(known) || ((bare(asked) || bare(known)) && primary(asked) == primary(known))
}

/// Other names of some, as Whisper has them.
const ALIASES: [(&str, &str); 12] = [
    ("my", "burmese"),
    ("ca", "valencian"),
    ("nl", "flemish"),
    ("ht", "haitian"),
    ("lb", "letzeburgesch"),
    ("ps", "pushto"),
    ("pa", "panjabi"),
    ("ro", "moldavian"),
    ("ro", "moldovan"),
    ("si", "sinhalese"),
    ("es", "castilian"),
    ("zh", "mandarin"),
];

/// In the order of tags: those of Whisper, M2M100 and LibreTranslate.
const NAMES: [(&str, &str); 113] = [
    ("af", "afrikaans"),
    ("am", "amharic"),
    ("ar", "arabic"),
    ("as", "assamese"),
    ("ast", "asturian"),
    ("az", "azerbaijani"),
    ("ba", "bashkir"),
    ("be", "belarusian"),
    ("bg", "bulgarian"),
    ("bn", "bengali"),
    ("bo", "tibetan"),
    ("br", "breton"),
    ("bs", "bosnian"),
    ("ca", "catalan"),
    ("ceb", "cebuano"),
    ("cs", "czech"),
    ("cy", "welsh"),
    ("da", "danish"),
    ("de", "german"),
    ("el", "greek"),
    ("en", "english"),
    ("eo", "esperanto"),
    ("es", "spanish"),
    ("et", "estonian"),
    ("eu", "basque"),
    ("fa", "persian"),
    ("ff", "fulah"),
    ("fi", "finnish"),
    ("fo", "faroese"),
    ("fr", "french"),
    ("fy", "western frisian"),
    ("ga", "irish"),
    ("gd", "gaelic"),
    ("gl", "galician"),
    ("gu", "gujarati"),
    ("ha", "hausa"),
    ("haw", "hawaiian"),
    ("he", "hebrew"),
    ("hi", "hindi"),
    ("hr", "croatian"),
    ("ht", "haitian creole"),
    ("hu", "hungarian"),
    ("hy", "armenian"),
    ("id", "indonesian"),
    ("ig", "igbo"),
    ("ilo", "iloko"),
    ("is", "icelandic"),
    ("it", "italian"),
    ("ja", "japanese"),
    ("jw", "javanese"),
    ("ka", "georgian"),
    ("kk", "kazakh"),
    ("km", "khmer"),
    ("kn", "kannada"),
    ("ko", "korean"),
    ("la", "latin"),
    ("lb", "luxembourgish"),
    ("lg", "ganda"),
    ("ln", "lingala"),
    ("lo", "lao"),
    ("lt", "lithuanian"),
    ("lv", "latvian"),
    ("mg", "malagasy"),
    ("mi", "maori"),
    ("mk", "macedonian"),
    ("ml", "malayalam"),
    ("mn", "mongolian"),
    ("mr", "marathi"),
    ("ms", "malay"),
    ("mt", "maltese"),
    ("my", "burmese"),
    ("nb", "norwegian bokmal"),
    ("ne", "nepali"),
    ("nl", "dutch"),
    ("nn", "nynorsk"),
    ("no", "norwegian"),
    ("ns", "northern sotho"),
    ("oc", "occitan"),
    ("or", "oriya"),
    ("pa", "panjabi"),
    ("pl", "polish"),
    ("ps", "pashto"),
    ("pt", "portuguese"),
    ("ro", "romanian"),
    ("ru", "russian"),
    ("sa", "sanskrit"),
    ("sd", "sindhi"),
    ("si", "sinhala"),
    ("sk", "slovak"),
    ("sl", "slovenian"),
    ("sn", "shona"),
    ("so", "somali"),
    ("sq", "albanian"),
    ("sr", "serbian"),
    ("ss", "swati"),
    ("su", "sundanese"),
    ("sv", "swedish"),
    ("sw", "swahili"),
    ("ta", "tamil"),
    ("te", "telugu"),
    ("tg", "tajik"),
    ("th", "thai"),
    ("tk", "turkmen"),
    ("tl", "tagalog"),
    ("tn", "tswana"),
    ("tr", "turkish"),
    ("tt", "tatar"),
    ("uk", "ukrainian"),
    ("ur", "urdu"),
    ("uz", "uzbek"),
    ("vi", "vietnamese"),
    ("yi", "yiddish"),
    ("zh", "chinese"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_so_that_every_tag_is_found() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!((language_name("en"), language_name("tlh")), ("english", "tlh"));
        assert_eq!(language_title("ht"), "Haitian Creole");
        assert!(NAMES.iter().all(|(tag, name)| language_tag(name) == Some(tag)));
        assert_eq!((language_tag("flemish"), language_tag("klingon")), (Some("nl"), None));
    }

    #[test]
    fn a_tag_means_a_language_by_its_primary_part() {
        for (asked, known, wanted) in [
            ("de", "de", true),
            ("DE", "de", true),
            ("de-AT", "de", true),
            ("zh", "zh-Hans", true),
            ("zh-Hant", "zh-Hans", false),
            ("de", "nl", false),
        ] {
            assert_eq!(means(asked, known), wanted, "{asked} {known}");
        }
    }
}
