//! Words of others, before they come to a log, a terminal or a report.

/// Longest sentence of a broker's own that is repeated, characters.
pub const MAX_SENTENCE_CHARS: usize = 200;

/// `text` without what moves a terminal's cursor or hides or turns what is beside it, and of that at most the first `most` characters.
pub fn plain(text: &str, most: usize) -> String {
    text.chars().filter(|c| is_plain(*c)).take(most).collect()
}

/// Like [`plain`]; where something is cut off, the last of the `most` characters is `…`.
pub fn shortened(text: &str, most: usize) -> String {
    let mut plain = plain(text, most.saturating_add(1));
    // The last two, of which the mark takes the place.
    if let Some((last, _)) = plain.char_indices().nth(most.saturating_sub(1))
        && plain.chars().nth(most).is_some()
    {
        plain.truncate(last);
        plain.push('…');
    }
    plain
}

/// A text that may be a URL, without the login in it: what stands before the last `@`, from `://` on, or else from the first `:` on, since a
/// mistyped URL has a password, too.
pub fn without_login(text: &str) -> String {
    let Some((before, address)) = text.rsplit_once('@') else { return text.to_owned() };
    let begin = before.find("://").map(|at| at + 3).or_else(|| before.find(':').map(|at| at + 1));
    match begin {
        Some(begin) => format!("{}…@{address}", &before[..begin]),
        None => text.to_owned(),
    }
}

/// Neither a control character nor one of Unicode's that are not seen: breaks of lines, directions of writing, marks of no width, tags.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_turns_the_writing_is_left_out_and_the_rest_is_cut() {
        let hostile = "a\u{1b}]0;b\u{7}\u{9b}c\n\u{200b}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}ä…";
        assert_eq!(plain(hostile, 100), "a]0;bcä…");
        assert_eq!(plain(hostile, 3), "a]0");
        assert_eq!(plain(&"\u{1b}x".repeat(1000), 7), "xxxxxxx");
    }

    #[test]
    fn a_mark_stands_where_something_is_cut_off() {
        for (text, most, short) in
            [("", 3, ""), ("äöü", 3, "äöü"), ("äöüß", 3, "äö…"), ("a\u{1b}bc", 3, "abc"), ("ab", 1, "…")]
        {
            assert_eq!(shortened(text, most), short, "{text:?}");
        }
    }

    #[test]
    fn a_login_is_not_shown_in_a_url_nor_in_a_mistyped_one() {
        for (text, shown) in [
            ("mqtt://op:S3cr3t@h:1883", "mqtt://…@h:1883"),
            ("mqtt://op:S3c/r3@t@h", "mqtt://…@h"),
            ("mqtt:op:S3cr3t@h", "mqtt:…@h"),
            ("op:S3cr3t@h", "op:…@h"),
            ("mqtt://h:1883", "mqtt://h:1883"),
            ("info", "info"),
            ("a@b", "a@b"),
        ] {
            assert_eq!(without_login(text), shown);
        }
    }
}
