//! Which JSON schemas are taken: only what can be held to the letter, and only what compiles in bounded time.
//!
//! Everything here is checked before the compiler sees the schema: it recurses, and it passes over what it does not know.

use std::collections::BTreeSet;

use linnet_proto::WireError;
use serde_json::{Map, Value};

use super::super::bounds::{MAX_SCHEMA_COUNT, MAX_SCHEMA_DEPTH, MAX_SCHEMA_ENUM, MAX_SCHEMA_NODES};
use super::refused;

/// Keywords that change what is valid and cannot be held, each with what to do instead.
const REFUSED: [(&str, &str); 19] = [
    ("oneOf", "write anyOf; where the alternatives exclude each other it means the same"),
    ("not", "say what is allowed instead"),
    ("if", "write anyOf"),
    ("then", "write anyOf"),
    ("else", "write anyOf"),
    ("contains", "use items or prefixItems"),
    ("minContains", "use items or prefixItems"),
    ("maxContains", "use items or prefixItems"),
    ("propertyNames", "use patternProperties with additionalProperties false"),
    ("dependencies", "write anyOf"),
    ("dependentRequired", "write anyOf"),
    ("dependentSchemas", "write anyOf"),
    ("unevaluatedItems", "use items false"),
    ("unevaluatedProperties", "use additionalProperties false"),
    ("$dynamicRef", "use $ref"),
    ("$dynamicAnchor", "use $ref"),
    ("$recursiveRef", "use $ref"),
    ("$recursiveAnchor", "use $ref"),
    ("contentSchema", "describe the text with pattern"),
];

/// Keywords whose value is a map of schemas.
const MAPS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// Keywords whose value is a list of schemas; `items` was one, too, before 2020.
const LISTS: [&str; 4] = ["allOf", "anyOf", "prefixItems", "items"];
/// Keywords whose value is a schema.
const SINGLES: [&str; 3] = ["items", "additionalItems", "additionalProperties"];
/// Keywords that count.
const COUNTS: [&str; 6] = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];

/// Bounds from above and from below.
const UPPER: [&str; 2] = ["maximum", "exclusiveMaximum"];
const LOWER: [&str; 2] = ["minimum", "exclusiveMinimum"];
/// The largest whole number that a 64-bit float holds together with all below it.
const EXACT: i64 = (1 << 53) - 1;

/// Checks a schema, or refuses it and names the keyword and its place.
pub(super) fn check(schema: &Value) -> Result<(), WireError> {
    shallow_enough(schema)?;
    let mut walk = Walk { root: schema, done: BTreeSet::new(), path: Vec::new(), nodes: 0, entries: 0 };
    walk.visit(schema, "#".to_owned())
}

/// Refuses what is nested so deep that walking it would be a danger. Does not recurse.
fn shallow_enough(schema: &Value) -> Result<(), WireError> {
    let mut left = vec![(schema, 0)];
    while let Some((value, depth)) = left.pop() {
        // A level of the schema is two of JSON: the keyword's value, and the schema in it.
        if depth > 2 * MAX_SCHEMA_DEPTH {
            return Err(too_deep("#"));
        }
        match value {
            Value::Array(values) => left.extend(values.iter().map(|value| (value, depth + 1))),
            Value::Object(entries) => left.extend(entries.values().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    Ok(())
}

fn too_deep(place: &str) -> WireError {
    refused("json_schema", format!("the schema is nested deeper than {MAX_SCHEMA_DEPTH} levels at {place}; flatten it"))
}

fn too_large(keyword: &str, at: &str) -> WireError {
    let message = format!("{keyword} (at {at}) is beyond ±{EXACT}, where readers of JSON round numbers; use a string");
    refused("json_schema", message)
}

struct Walk<'a> {
    root: &'a Value,
    /// Places that were checked whole.
    done: BTreeSet<String>,
    /// Places that lead to the present one, references followed.
    path: Vec<String>,
    nodes: usize,
    entries: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, schema: &'a Value, place: String) -> Result<(), WireError> {
        if self.path.contains(&place) {
            let message = format!(
                "the schema is recursive: {place} leads back to itself, so that an answer need never end; write its levels out"
            );
            return Err(refused("json_schema", message));
        }
        if self.done.contains(&place) {
            return Ok(());
        }
        self.nodes += 1;
        if self.nodes > MAX_SCHEMA_NODES {
            let message = format!("the schema holds more than {MAX_SCHEMA_NODES} schemas; ask for less at once");
            return Err(refused("json_schema", message));
        }
        if self.path.len() > MAX_SCHEMA_DEPTH {
            return Err(too_deep(&place));
        }
        match schema {
            Value::Bool(_) => {}
            Value::Object(entries) => {
                self.path.push(place.clone());
                self.keywords(entries, &place)?;
                self.path.pop();
            }
            _ => {
                let message = format!("{place} is no schema: a schema is an object, true or false");
                return Err(refused("json_schema", message));
            }
        }
        self.done.insert(place);
        Ok(())
    }

    fn keywords(&mut self, entries: &'a Map<String, Value>, place: &str) -> Result<(), WireError> {
        for (keyword, value) in entries {
            let at = format!("{place}/{}", escaped(keyword));
            if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| refused == keyword) {
                let message = format!("the schema's keyword {keyword} (at {at}) cannot be enforced; {instead}");
                return Err(refused("json_schema", message));
            }
            if COUNTS.contains(&keyword.as_str()) && value.as_u64().is_none_or(|count| count > MAX_SCHEMA_COUNT) {
                let message = format!("{keyword} (at {at}) must be a whole number from 0 to {MAX_SCHEMA_COUNT}");
                return Err(refused("json_schema", message));
            }
            match value {
                Value::Object(schemas) if MAPS.contains(&keyword.as_str()) => {
                    for (name, schema) in schemas {
                        // What only stands ready for references is checked where it is referred to.
                        if !matches!(keyword.as_str(), "$defs" | "definitions") {
                            self.visit(schema, format!("{at}/{}", escaped(name)))?;
                        }
                    }
                }
                Value::Array(schemas) if LISTS.contains(&keyword.as_str()) => {
                    for (number, schema) in schemas.iter().enumerate() {
                        self.visit(schema, format!("{at}/{number}"))?;
                    }
                }
                schema if SINGLES.contains(&keyword.as_str()) => self.visit(schema, at)?,
                value => self.value(keyword, value, &at, place)?,
            }
        }
        self.repeated_names(entries, place)
    }

    /// A keyword whose value is no schema.
    fn value(&mut self, keyword: &str, value: &'a Value, at: &str, place: &str) -> Result<(), WireError> {
        match (keyword, value) {
            ("$ref", Value::String(reference)) => {
                let target = self.resolve(reference, at)?;
                self.visit(target, reference.clone())
            }
            ("$id" | "id", Value::String(_)) if place != "#" => {
                let message = format!("{keyword} (at {at}) may stand at the schema's root only; leave it out");
                Err(refused("json_schema", message))
            }
            ("const" | "enum", value) if holds_beyond(value) => Err(too_large(keyword, at)),
            ("enum", Value::Array(values)) => {
                self.entries += values.len();
                if self.entries > MAX_SCHEMA_ENUM {
                    let message = format!("the schema's enum lists have more than {MAX_SCHEMA_ENUM} entries together");
                    return Err(refused("json_schema", message));
                }
                Ok(())
            }
            ("uniqueItems", value) if value != &Value::Bool(false) => {
                let message = format!("the schema's keyword uniqueItems (at {at}) cannot be enforced; leave it out");
                Err(refused("json_schema", message))
            }
            // A bound on the far side leaves nothing that is counted exactly.
            ("maximum" | "exclusiveMaximum", value) if beyond(value) && value.as_f64() < Some(0.0) => {
                Err(too_large(keyword, at))
            }
            ("minimum" | "exclusiveMinimum", value) if beyond(value) && value.as_f64() > Some(0.0) => {
                Err(too_large(keyword, at))
            }
            ("multipleOf", value) if beyond(value) => Err(too_large(keyword, at)),
            ("multipleOf", value) if value.as_f64().is_none_or(|number| number.fract() != 0.0 || number < 1.0) => {
                let message = format!(
                    "multipleOf (at {at}) must be a whole number of 1 or more: with a fraction, validators round and differ; \
                     use an integer of the smallest unit"
                );
                Err(refused("json_schema", message))
            }
            _ => Ok(()),
        }
    }

    /// An object may name a property twice in JSON, and readers keep one: where free names count, the count would be wrong.
    fn repeated_names(&self, entries: &Map<String, Value>, place: &str) -> Result<(), WireError> {
        let least = entries.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        let required = entries.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        let closed = entries.get("additionalProperties") == Some(&Value::Bool(false));
        let patterned = entries.get("patternProperties").and_then(Value::as_object).is_some_and(|p| !p.is_empty());
        if least > required && (!closed || patterned) {
            let message = format!(
                "the schema's keyword minProperties (at {place}) cannot be enforced where names are free; list the names under \
                 required, or set additionalProperties to false"
            );
            return Err(refused("json_schema", message));
        }
        Ok(())
    }

    fn resolve(&self, reference: &str, at: &str) -> Result<&'a Value, WireError> {
        let unknown = || {
            let message = format!(
                "$ref (at {at}) leads to {reference:?}, which is not in the schema; only references as #/$defs/name are taken"
            );
            refused("json_schema", message)
        };
        let places =
            ["/$defs/", "/%24defs/", "/definitions/", "/properties/", "/items", "/prefixItems/", "/anyOf/", "/allOf/"];
        let known = |rest: &&str| rest.is_empty() || places.iter().any(|place| rest.starts_with(place));
        let pointer = reference.strip_prefix('#').filter(known);
        let pointer = pointer.and_then(percent_decoded).ok_or_else(unknown)?;
        self.root.pointer(&pointer).ok_or_else(unknown)
    }
}

/// `name` as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The schema as the compiler gets it. What says nothing is left out (`uniqueItems: false`), since it would be refused, and
/// bounds beyond what a 64-bit float counts exactly are drawn in to there: the compiler's own numbers end earlier than JSON's.
pub(super) fn simplified(schema: &Value) -> Value {
    let Value::Object(entries) = schema else { return schema.clone() };
    let kept = entries.iter().filter(|(key, value)| !(key.as_str() == "uniqueItems" && **value == Value::Bool(false)));
    let simple = kept.map(|(keyword, value)| {
        let value = match value {
            Value::Object(schemas) if MAPS.contains(&keyword.as_str()) => {
                Value::Object(schemas.iter().map(|(name, schema)| (name.clone(), simplified(schema))).collect())
            }
            Value::Array(schemas) if LISTS.contains(&keyword.as_str()) => schemas.iter().map(simplified).collect(),
            schema if SINGLES.contains(&keyword.as_str()) => simplified(schema),
            bound if UPPER.contains(&keyword.as_str()) && beyond(bound) => Value::from(EXACT),
            bound if LOWER.contains(&keyword.as_str()) && beyond(bound) => Value::from(-EXACT),
            other => other.clone(),
        };
        (keyword.clone(), value)
    });
    Value::Object(simple.collect())
}

/// Whether a number is beyond what is counted exactly.
fn beyond(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.abs() > EXACT as f64)
}

/// Whether a value holds such a number. The value is shallow: the whole schema is.
fn holds_beyond(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(holds_beyond),
        Value::Object(entries) => entries.values().any(holds_beyond),
        other => beyond(other),
    }
}
