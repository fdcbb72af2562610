//! HTML in parts: markup, which stays byte for byte, and text, which is translated. Not a parser: whatever is malformed is text or markup, and
//! nothing is lost.

/// A part of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A tag, a comment, a declaration, or an element whose content is no language.
    Markup(&'a str),
    /// Text between them, with its entities.
    Text(&'a str),
}

/// Elements whose content is not translated.
const OPAQUE: [&str; 6] = ["script", "style", "code", "pre", "textarea", "svg"];

/// The parts of `html`, in order; together they are all of it.
pub(super) fn parts(html: &str) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = next_markup(rest) {
        if at > 0 {
            found.push(Part::Text(&rest[..at]));
        }
        rest = &rest[at..];
        let end = markup_end(rest);
        found.push(Part::Markup(&rest[..end]));
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest));
    }
    found
}

/// Where a tag, comment or declaration begins.
fn next_markup(text: &str) -> Option<usize> {
    text.match_indices('<').map(|(at, _)| at).find(|at| {
        text[at + 1..].chars().next().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
    })
}

/// Where the markup that `text` begins with ends.
fn markup_end(text: &str) -> usize {
    if text.starts_with("<!--") {
        return text.find("-->").map_or(text.len(), |end| end + 3);
    }
    let end = tag_end(text);
    let name: String =
        text[1..end].chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if !OPAQUE.contains(&name.as_str()) || text[..end].ends_with("/>") {
        return end;
    }
    let close = format!("</{name}");
    let lower = text[end..].to_ascii_lowercase();
    match lower.find(&close) {
        Some(at) => end + at + tag_end(&text[end + at..]),
        None => text.len(),
    }
}

/// Where a tag ends; a `>` in quotes does not end it. A tag that never ends goes to the end of the text.
fn tag_end(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return at + 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(own), c) if own == c => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// Entities as the characters that they stand for; unknown ones stay.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        match end.and_then(|end| Some((entity(&rest[1..end])?, end))) {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{A0}',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        "ntilde" => 'ñ',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| *c != '\0')?
        }
    })
}

/// Text that no browser takes for markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Part::{Markup, Text};
    use super::*;

    #[test]
    fn tags_stay_and_text_is_told_apart() {
        assert_eq!(
            parts("<p class=\"a>b\">Hello <b>you</b>!<!-- no --><script>var a = '<p>';</script></p>"),
            [
                Markup("<p class=\"a>b\">"),
                Text("Hello "),
                Markup("<b>"),
                Text("you"),
                Markup("</b>"),
                Text("!"),
                Markup("<!-- no -->"),
                Markup("<script>var a = '<p>';</script>"),
                Markup("</p>"),
            ]
        );
    }

    #[test]
    fn what_is_malformed_is_kept() {
        assert_eq!(parts("a < b and <b"), [Text("a < b and "), Markup("<b")]);
        assert_eq!(parts("1 <2> x"), [Text("1 <2> x")]);
        assert_eq!(unescape("&lt;b&gt; &#8364;&#x20AC; &unknown; & co"), "<b> €€ &unknown; & co");
        assert_eq!(escape("<b> & co"), "&lt;b&gt; &amp; co");
    }

    proptest! {
        #[test]
        fn the_parts_are_the_whole(html in "[<>a-z/!\"' -]{0,60}|\\PC{0,60}") {
            let joined: String = parts(&html).into_iter().map(|part| match part { Markup(s) | Text(s) => s }).collect();
            prop_assert_eq!(joined, html);
        }

        #[test]
        fn escaping_is_undone(text in "\\PC{0,60}") {
            prop_assert_eq!(unescape(&escape(&text)), text);
        }
    }
}
