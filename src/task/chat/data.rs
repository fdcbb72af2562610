//! A conversation's data for the template: JSON values, somebody's words marked.

use minijinja::Value;

use super::mark::{Marker, Speaker};

/// A value of a conversation. Words of the model itself are told by the role of their message.
pub(super) fn value(value: &serde_json::Value, marker: &Marker) -> Value {
    let role = value.get("role").and_then(serde_json::Value::as_str);
    let speaker = if role == Some("assistant") { Speaker::Model } else { Speaker::Anybody };
    convert(value, marker, speaker)
}

fn convert(value: &serde_json::Value, marker: &Marker, speaker: Speaker) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(yes) => Value::from(*yes),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, Some(number)) => Value::from(number),
            _ => Value::from(number.to_string()),
        },
        serde_json::Value::String(text) => Value::from(&*marker.mark(text, speaker)),
        serde_json::Value::Array(list) => {
            Value::from(list.iter().map(|v| convert(v, marker, speaker)).collect::<Vec<_>>())
        }
        serde_json::Value::Object(map) => Value::from_pairs(
            map.iter().map(|(key, v)| (marker.mark(key, speaker).into_owned(), convert(v, marker, speaker))),
        ),
    }
}
