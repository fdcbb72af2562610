//! The members of a JSON object, taken one by one with OpenAI's way of refusing: a wrong type names the member, and what nobody
//! took is `unrecognized`.

use serde_json::{Map, Number, Value};

use crate::json::kind;
use crate::{ErrorCode, WireError};

/// Characters of an unknown name that a message repeats at most.
const MOST_CHARS: usize = 64;

/// What is left of an object. A member that is `null` counts as absent.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    /// Where the object lies within the body (`messages[0].`); empty at the top.
    place: String,
    without_effect: Vec<&'static str>,
}

impl Fields {
    /// The members of the body itself.
    pub fn new(map: Map<String, Value>) -> Self {
        Self { map, place: String::new(), without_effect: Vec::new() }
    }

    /// The members of `value`, which lies at `place` in the body.
    pub fn inner(value: Value, place: impl Into<String>) -> Result<Self, WireError> {
        let place = place.into();
        match value {
            Value::Object(map) => Ok(Self { map, place: format!("{place}."), without_effect: Vec::new() }),
            other => Err(wrong(&place, &other, "an object")),
        }
    }

    /// A member's full name, as `param` gives it.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    /// Whether a member is there.
    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Takes a member as it is.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, WireError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.path(name), &other, "a text")),
        }
    }

    /// Takes a text that must be there.
    pub fn needed_text(&mut self, name: &str) -> Result<String, WireError> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes `true` or `false`.
    pub fn switch(&mut self, name: &str) -> Result<Option<bool>, WireError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(switch)) => Ok(Some(switch)),
            Some(other) => Err(wrong(&self.path(name), &other, "true or false")),
        }
    }

    /// Takes a number. One too large for 32 bits becomes infinite, which no rule lets through.
    pub fn number(&mut self, name: &str) -> Result<Option<f32>, WireError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64().map(|n| n as f32)),
            Some(other) => Err(wrong(&self.path(name), &other, "a number")),
        }
    }

    /// Takes a whole number from 0 on; `16.0` is one, too.
    pub fn whole(&mut self, name: &str) -> Result<Option<u64>, WireError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => whole(&self.path(name), &number).map(Some),
            Some(other) => Err(wrong(&self.path(name), &other, "a whole number")),
        }
    }

    /// As [`Fields::whole`], up to 2^32 - 1.
    pub fn whole_u32(&mut self, name: &str) -> Result<Option<u32>, WireError> {
        let Some(whole) = self.whole(name)? else { return Ok(None) };
        u32::try_from(whole).map(Some).map_err(|_| outside(&self.path(name), &whole.to_string(), "at most 4294967295"))
    }

    /// Takes a whole number of either sign.
    pub fn signed(&mut self, name: &str) -> Result<Option<i64>, WireError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let signed = number.as_i64().or_else(|| number.as_u64().map(u64::cast_signed));
                signed
                    .map(Some)
                    .ok_or_else(|| outside(&self.path(name), &number.to_string(), "a whole number of 64 bits"))
            }
            Some(other) => Err(wrong(&self.path(name), &other, "a whole number")),
        }
    }

    /// Takes a text or a list of texts; none is an empty list.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, WireError> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let path = self.path(name);
        match value {
            Value::String(text) => Ok(vec![text]),
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(&path, &other, "a text or a list of texts")),
                })
                .collect(),
            other => Err(wrong(&path, &other, "a text or a list of texts")),
        }
    }

    /// Takes a list of token ids; none is an empty list.
    pub fn ids(&mut self, name: &str) -> Result<Vec<u32>, WireError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => ids(&self.path(name), &items),
            Some(other) => Err(wrong(&self.path(name), &other, "a list of token ids")),
        }
    }

    /// Takes a list of anything; none is an empty list.
    pub fn list(&mut self, name: &str) -> Result<Vec<Value>, WireError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong(&self.path(name), &other, "a list")),
        }
    }

    /// Takes an object; none is an empty one.
    pub fn object(&mut self, name: &str) -> Result<Map<String, Value>, WireError> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(other) => Err(wrong(&self.path(name), &other, "an object")),
        }
    }

    /// Takes one of `words`.
    pub fn word(&mut self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, WireError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Some(word)),
            None => {
                let path = self.path(name);
                let message = format!("{path} must be one of {}", words.join(", "));
                Err(WireError::new(ErrorCode::InvalidOption, message).with_param(path))
            }
        }
    }

    /// Takes members that are known and do nothing here; [`Fields::finish`] names those that were there.
    pub fn pass_over(&mut self, names: &[&'static str]) {
        for name in names {
            if self.take(name).is_some() {
                self.without_effect.push(name);
            }
        }
    }

    /// Notes that a member did nothing.
    pub fn did_nothing(&mut self, name: &'static str) {
        self.without_effect.push(name);
    }

    /// The refusal of a request that lacks a member.
    pub fn missing(&self, name: &str) -> WireError {
        let path = self.path(name);
        WireError::new(ErrorCode::InvalidRequest, format!("you must provide a {path} parameter")).with_param(path)
    }

    /// Refuses what nobody took, and gives the names of the members that did nothing.
    pub fn finish(self) -> Result<Vec<&'static str>, WireError> {
        match self.map.keys().find(|name| !self.map[name.as_str()].is_null()) {
            Some(name) => Err(unrecognized(&self.path(name))),
            None => Ok(self.without_effect),
        }
    }

    /// The members that are left.
    pub fn into_rest(self) -> Map<String, Value> {
        self.map
    }
}

/// A list of token ids.
pub fn ids(path: &str, items: &[Value]) -> Result<Vec<u32>, WireError> {
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let read = items.iter().map(|item| id(item).ok_or(item));
    read.collect::<Result<_, _>>().map_err(|item| match item {
        Value::Number(number) => outside(path, &format!("{number} within its list"), "a token id from 0 to 4294967295"),
        other => wrong(path, other, "a token id"),
    })
}

/// The refusal of a member of the wrong type.
pub fn wrong(path: &str, found: &Value, expected: &str) -> WireError {
    let message = format!("{path} is or holds {}; it must be {expected}", kind(found));
    WireError::new(ErrorCode::InvalidRequest, message).with_param(path)
}

/// OpenAI's refusal of a member that it does not know.
pub fn unrecognized(path: &str) -> WireError {
    let shown: String = path.chars().take(MOST_CHARS).collect();
    let message = format!("unrecognized request argument supplied: {shown}");
    WireError::new(ErrorCode::InvalidRequest, message).with_param(shown)
}

fn outside(path: &str, found: &str, rule: &str) -> WireError {
    WireError::new(ErrorCode::InvalidOption, format!("{path} is {found}; it must be {rule}")).with_param(path)
}

fn whole(path: &str, number: &Number) -> Result<u64, WireError> {
    // Below 2^63 every such number with nothing behind the point is exact enough for every rule here.
    let float = || number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..9.2e18).contains(n)).map(|n| n as u64);
    number.as_u64().or_else(float).ok_or_else(|| outside(path, &number.to_string(), "a whole number from 0 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::new(crate::json::object(text.as_bytes()).expect("an object"))
    }

    #[test]
    fn numbers_are_whole_when_nothing_stands_behind_the_point() {
        assert_eq!(fields(r#"{"n": 16.0}"#).whole("n"), Ok(Some(16)));
        assert_eq!(fields(r#"{"n": 1e12}"#).whole("n"), Ok(Some(1_000_000_000_000)));
        for bad in ["-1", "1.5", "1e30", "-0.5"] {
            let e = fields(&format!("{{\"n\": {bad}}}")).whole("n").expect_err(bad);
            assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidOption, Some("n")));
        }
        assert_eq!(fields(r#"{"n": 4294967296}"#).whole_u32("n").expect_err("too large").param.as_deref(), Some("n"));
        assert_eq!(fields(r#"{"t": 1e300}"#).number("t"), Ok(Some(f32::INFINITY)));
    }

    #[test]
    fn a_wrong_type_and_an_unknown_name_are_refused_by_name_and_without_their_text() {
        let e = fields(r#"{"stop": "secret"}"#).whole("stop").expect_err("a text");
        assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidRequest, Some("stop")));
        assert!(!e.message.contains("secret"), "{e}");
        let mut given = fields(r#"{"a": 1, "frobnicate": 2, "gone": null}"#);
        assert!(given.take("a").is_some());
        let e = given.finish().expect_err("unknown");
        assert_eq!(e.message, "unrecognized request argument supplied: frobnicate");
        assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidRequest, Some("frobnicate")));
    }

    #[test]
    fn null_counts_as_absent_and_what_does_nothing_is_told() {
        let mut given = fields(r#"{"user": "me", "store": null, "n": null}"#);
        assert_eq!(given.whole("n"), Ok(None));
        given.pass_over(&["user", "store"]);
        assert_eq!(given.finish(), Ok(vec!["user"]));
    }

    #[test]
    fn ids_are_whole_numbers_of_32_bits() {
        assert_eq!(fields(r#"{"i": [0, 4294967295]}"#).ids("i"), Ok(vec![0, u32::MAX]));
        for bad in ["[-1]", "[4294967296]", "[1.5]", "[\"a\"]", "3"] {
            let e = fields(&format!("{{\"i\": {bad}}}")).ids("i").expect_err(bad);
            assert_eq!(e.param.as_deref(), Some("i"));
        }
    }
}
