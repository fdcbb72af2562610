//! JSON from strangers, bounded in depth and in the number of its values before anything is built of it.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::{ErrorCode, WireError};

/// Deepest nesting. A schema of a function's arguments takes about ten levels.
pub const MAX_DEPTH: usize = 64;
/// Most values of one document, where a member of an object counts three times: a prompt of 2^20 token ids fits, and what is
/// built in memory stays below about 64 MiB.
pub const MAX_VALUES: usize = (1 << 20) + (1 << 18);

/// Reads a JSON object. Refused: what is no JSON object, what nests deeper than [`MAX_DEPTH`], more values than [`MAX_VALUES`],
/// and `NaN` or infinities, which some writers send and JSON does not have. No message repeats a text of the body.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, WireError> {
    within_bounds(bytes)?;
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(broken(format!("the body is {}; send a JSON object", kind(&other)))),
        Err(e) => Err(broken(format!("the body is not JSON: {e}"))),
    }
}

/// What a value is, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn within_bounds(bytes: &[u8]) -> Result<(), WireError> {
    let (mut depth, mut values) = (0usize, 0usize);
    let mut last_text = 0..0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let begin = at + 1;
                at = end_of_text(bytes, begin);
                last_text = begin..at.min(bytes.len());
            }
            b'{' | b'[' => {
                depth += 1;
                values += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            b':' => values += 2,
            b'N' | b'I' => return Err(no_number(bytes, last_text)),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(broken(format!("the JSON nests deeper than {MAX_DEPTH} levels")));
        }
        if values > MAX_VALUES {
            let message = format!("the JSON holds more than {MAX_VALUES} values (a member counts three times)");
            return Err(WireError::new(ErrorCode::TooLarge, message));
        }
        at += 1;
    }
    Ok(())
}

/// Where the text that begins at `at` ends: its closing quote, or the end of all.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// `NaN` and `Infinity` stand where a number should; the text before them is the member's name.
fn no_number(bytes: &[u8], name: Range<usize>) -> WireError {
    let name = bytes.get(name).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain {
        broken(format!("{name} is no number; JSON has neither NaN nor infinities")).with_param(name)
    } else {
        broken("the body is not JSON: it has neither NaN nor infinities, and words stand in quotes".to_owned())
    }
}

fn broken(message: String) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> WireError {
        object(text.as_bytes()).expect_err(&text[..text.len().min(80)])
    }

    #[test]
    fn an_object_is_read_and_anything_else_is_named() {
        assert_eq!(object(br#"{"a": [1, {"b": "}]\"["}]}"#).expect("an object").len(), 1);
        assert_eq!(refused("[1]").message, "the body is a list; send a JSON object");
        for broken in ["", "{", r#"{"a":}"#, "\u{feff}{}", r#"{"a":"\ud800"}"#] {
            assert_eq!(refused(broken).code, ErrorCode::InvalidRequest, "{broken:?}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}").expect_err("not UTF-8").code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn ten_thousand_levels_are_refused_without_being_followed() {
        for open in ["[", "{\"a\":"] {
            let deep = format!("{{\"x\":{}", open.repeat(10_000));
            assert!(refused(&deep).message.contains("64 levels"));
        }
        let edge = format!("{{\"a\":{}{}}}", "[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1));
        assert!(object(edge.as_bytes()).is_ok());
    }

    #[test]
    fn a_document_of_very_many_values_is_refused_before_it_is_built() {
        let many = format!("{{\"a\":[{}1]}}", "1,".repeat(MAX_VALUES));
        assert_eq!(refused(&many).code, ErrorCode::TooLarge);
        // What looks like values inside a text is none.
        let text = format!("{{\"a\":\"{}\"}}", "[,".repeat(MAX_VALUES));
        assert!(object(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_its_name() {
        for value in ["NaN", "-Infinity", "Infinity"] {
            let e = refused(&format!("{{\"model\":\"m\",\"temperature\": {value}}}"));
            assert_eq!(e.param.as_deref(), Some("temperature"), "{e}");
        }
        assert_eq!(refused("{\"a\": NULL}").param.as_deref(), Some("a"));
    }
}
