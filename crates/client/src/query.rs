//! Options of a transcription as names and values, and as an HTTP query.

use linnet_proto::models::AddModel;
use linnet_proto::{Priority, TranscribeOptions};

use crate::Terms;

/// The options that are asked for, by their names on the wire: an HTTP query's fields and MQTT's user properties.
pub(crate) fn pairs(options: &TranscribeOptions, terms: Terms) -> Vec<(&'static str, String)> {
    let all = [
        ("model", options.model.clone()),
        ("language", options.language.clone()),
        ("prompt", options.prompt.clone()),
        ("hot_word_boost", options.hot_word_boost.map(|v| v.to_string())),
        ("beam_width", options.beam_width.map(|v| v.to_string())),
        ("lm_weight", options.lm_weight.map(|v| v.to_string())),
        ("temperature", options.temperature.map(|v| v.to_string())),
        ("seed", options.seed.map(|v| v.to_string())),
        ("condition_on_previous_text", options.condition_on_previous_text.map(|v| v.to_string())),
        ("punctuate", options.punctuate.map(|v| v.to_string())),
        ("timeout_ms", terms.timeout.map(|t| t.as_millis().max(1).to_string())),
        ("priority", terms.priority.map(|p| Priority::as_str(p).to_owned())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The query of a streamed transcription with Linnet's own JSON at its end.
pub(crate) fn of_options(options: &TranscribeOptions, terms: Terms) -> String {
    let mut query = String::from("response_format=linnet_json&stream=true");
    for (name, value) in pairs(options, terms) {
        query.push('&');
        query.push_str(name);
        query.push('=');
        percent_encode(&value, &mut query);
    }
    query
}

/// The query of a model whose files are sent.
pub(crate) fn of_model(asked: &AddModel) -> String {
    let single = [("directory", &asked.directory), ("name", &asked.name), ("dtype", &asked.dtype)];
    let single = single.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let aliases = asked.aliases.iter().map(|alias| ("alias", alias.as_str()));
    let mut query = format!("replace={}", asked.replace);
    for (name, value) in single.chain(aliases) {
        query.push('&');
        query.push_str(name);
        query.push('=');
        percent_encode(value, &mut query);
    }
    query
}

/// One part of a path or a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    percent_encode(text, &mut encoded);
    encoded
}

/// RFC 3986: everything but unreserved characters.
fn percent_encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_asked_for_is_sent_and_nothing_breaks_out_of_its_value() {
        let options = TranscribeOptions {
            prompt: Some("Zoë & co; 50 %".into()),
            beam_width: Some(8),
            ..TranscribeOptions::default()
        };
        let terms = Terms { timeout: Some(Duration::from_millis(500)), priority: Some(Priority::High) };
        assert_eq!(
            of_options(&options, terms),
            "response_format=linnet_json&stream=true&prompt=Zo%C3%AB%20%26%20co%3B%2050%20%25&beam_width=8&timeout_ms=500\
             &priority=high"
        );
        assert_eq!(pairs(&TranscribeOptions::default(), Terms::default()), []);
    }
}
