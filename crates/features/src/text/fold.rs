//! One character to the ASCII that English writes for it: the part of Unicode's NFKC, and of its removal of accents, that
//! Latin text meets.

/// What a lower-case character becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folded {
    /// It vanishes without parting a word: accents that stand alone, invisible marks.
    Nothing,
    /// One character: a letter, digit or punctuation mark of ASCII, or a blank for what English does not write.
    Char(char),
    /// Several letters.
    Text(&'static str),
}

pub(super) fn fold(c: char) -> Folded {
    use Folded::{Char, Nothing, Text};
    match c {
        '\u{21}'..='\u{7e}' => Char(c),
        // Full-width forms stand 0xFEE0 above ASCII.
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(c as u32 - 0xfee0).map_or(Char(' '), |c| Char(c.to_ascii_lowercase()))
        }
        '\u{300}'..='\u{36f}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => Nothing,
        '’' | '‘' | 'ʼ' | '‛' | '′' => Char('\''),
        'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' | 'ª' => Char('a'),
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => Char('c'),
        'ď' | 'đ' | 'ð' => Char('d'),
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => Char('e'),
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => Char('g'),
        'ĥ' | 'ħ' => Char('h'),
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' | 'ǐ' => Char('i'),
        'ĵ' => Char('j'),
        'ķ' => Char('k'),
        'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => Char('l'),
        'ñ' | 'ń' | 'ņ' | 'ň' => Char('n'),
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' | 'ǒ' | 'º' => Char('o'),
        'ŕ' | 'ŗ' | 'ř' => Char('r'),
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' | 'ſ' => Char('s'),
        'ţ' | 'ť' | 'ŧ' | 'ț' => Char('t'),
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ǔ' => Char('u'),
        'ŵ' => Char('w'),
        'ý' | 'ÿ' | 'ŷ' => Char('y'),
        'ź' | 'ż' | 'ž' => Char('z'),
        'æ' => Text("ae"),
        'œ' => Text("oe"),
        'ĳ' => Text("ij"),
        'ß' => Text("ss"),
        'þ' => Text("th"),
        'ﬀ' => Text("ff"),
        'ﬁ' => Text("fi"),
        'ﬂ' => Text("fl"),
        'ﬃ' => Text("ffi"),
        'ﬄ' => Text("ffl"),
        'ﬅ' | 'ﬆ' => Text("st"),
        '½' => Text(" one half "),
        '¼' => Text(" one quarter "),
        '¾' => Text(" three quarters "),
        _ => Char(' '),
    }
}
