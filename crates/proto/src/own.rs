//! Linnet's own JSON requests (`{"model", "input", …}`), read with the same refusals as OpenAI's.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::fields::unrecognized;
use crate::json::kind;
use crate::{ErrorCode, WireError};

/// Reads `body` as a request every member of which has a default. A member that is `null` counts as absent. The message of a
/// refusal names the member and repeats no text of it.
pub fn read<T: DeserializeOwned>(mut body: Map<String, Value>) -> Result<T, WireError> {
    body.retain(|_, value| !value.is_null());
    let names: Vec<String> = body.keys().cloned().collect();
    match serde_json::from_value(Value::Object(body.clone())) {
        Ok(request) => Ok(request),
        Err(error) => {
            // Every member has a default, so the one at fault is at fault alone, too.
            for name in names {
                let value = body.remove(&name).unwrap_or_default();
                let found = kind(&value);
                let alone = Map::from_iter([(name.clone(), value)]);
                if let Err(error) = serde_json::from_value::<T>(Value::Object(alone)) {
                    return Err(refusal(&name, found, &error.to_string()));
                }
            }
            Err(WireError::new(ErrorCode::InvalidRequest, tail(&error.to_string())))
        }
    }
}

fn refusal(name: &str, found: &str, reason: &str) -> WireError {
    if reason.starts_with(&format!("unknown field `{name}`")) {
        return unrecognized(name);
    }
    let message = format!("{name} is {found} that does not fit; it must be {}", tail(reason));
    WireError::new(ErrorCode::InvalidRequest, message).with_param(name)
}

/// What was expected, in words. The part of the reason before it may repeat what was sent.
fn tail(reason: &str) -> String {
    let expected = reason.rsplit_once(", expected ").map_or("", |(_, tail)| tail);
    match expected.split(" at line").next().unwrap_or_default() {
        "" => "of the shape that docs/http.md shows".to_owned(),
        "u32" | "u64" | "usize" => "a whole number from 0 on".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{ClassifyRequest, FillRequest, Inputs};

    fn fill(text: &str) -> Result<FillRequest, WireError> {
        read(crate::json::object(text.as_bytes()).expect("an object"))
    }

    #[test]
    fn one_text_and_several_are_read() {
        let one = fill(r#"{"model": "m", "input": "a [MASK]", "top_k": 3, "explain": null}"#).expect("a request");
        assert_eq!((one.input, one.top_k), (Inputs::One("a [MASK]".into()), Some(3)));
        assert_eq!(fill(r#"{"input": ["a", "b"]}"#).expect("a request").input.texts().len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name_and_never_repeated() {
        for (text, param) in [
            (r#"{"input": "x", "top_q": 1}"#, "top_q"),
            (r#"{"input": 7}"#, "input"),
            (r#"{"input": ["secret", 7]}"#, "input"),
            (r#"{"input": "x", "top_k": "secret"}"#, "top_k"),
            (r#"{"input": "x", "top_k": -1}"#, "top_k"),
            (r#"{"input": "x", "top_k": 1e12}"#, "top_k"),
            (r#"{"input": "x", "explain": "secret"}"#, "explain"),
        ] {
            let e = fill(text).expect_err(text);
            assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidRequest, Some(param)), "{text}: {e}");
            assert!(!e.message.contains("secret"), "{e}");
        }
        let e = fill(r#"{"input": "x", "top_q": 1}"#).expect_err("unknown");
        assert_eq!(e.message, "unrecognized request argument supplied: top_q");
        assert!(read::<ClassifyRequest>(crate::json::object(b"{\"labels\": \"x\"}").expect("JSON")).is_err());
    }
}
