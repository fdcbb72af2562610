//! An independent check of values against schemas, for the keywords that the random schemas use.

use serde_json::Value;

/// Checks `value`, or says what is wrong.
pub(super) fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        return if schema == &Value::Bool(true) { Ok(()) } else { Err("false".into()) };
    };
    keywords.iter().try_for_each(|(keyword, rule)| holds(root, keywords, keyword, rule, value))
}

fn holds(
    root: &Value,
    keywords: &serde_json::Map<String, Value>,
    keyword: &str,
    rule: &Value,
    value: &Value,
) -> Result<(), String> {
    let wrong = || Err(format!("{keyword} {rule} of {value}"));
    let number = |text: &Value| text.as_f64().unwrap_or(f64::NAN);
    let fine = match keyword {
        "type" => return type_of(rule, value),
        "enum" => rule.as_array().is_some_and(|values| values.contains(value)),
        "const" => rule == value,
        "anyOf" => rule.as_array().is_some_and(|some| some.iter().any(|schema| check(root, schema, value).is_ok())),
        "allOf" => rule.as_array().is_some_and(|all| all.iter().all(|schema| check(root, schema, value).is_ok())),
        "$ref" => {
            let target = rule.as_str().and_then(|r| root.pointer(r.trim_start_matches('#'))).expect("a reference");
            return check(root, target, value);
        }
        "minimum" => !value.is_number() || number(value) >= number(rule),
        "maximum" => !value.is_number() || number(value) <= number(rule),
        "exclusiveMinimum" => !value.is_number() || number(value) > number(rule),
        "exclusiveMaximum" => !value.is_number() || number(value) < number(rule),
        "multipleOf" => !value.is_number() || number(value) % number(rule) == 0.0,
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as f64 >= number(rule)),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as f64 <= number(rule)),
        "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().expect("a pattern"), text)),
        "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number(rule)),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= number(rule)),
        "prefixItems" | "items" => return items(root, keywords, keyword, rule, value),
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().expect("names").iter().all(|name| object.contains_key(name.as_str().expect("a name")))
        }),
        "maxProperties" => value.as_object().is_none_or(|object| object.len() as f64 <= number(rule)),
        "minProperties" => value.as_object().is_none_or(|object| object.len() as f64 >= number(rule)),
        "properties" => {
            let Some(object) = value.as_object() else { return Ok(()) };
            let known = rule.as_object().expect("a map");
            return known.iter().try_for_each(|(name, schema)| match object.get(name) {
                Some(value) => check(root, schema, value),
                None => Ok(()),
            });
        }
        "additionalProperties" => {
            let Some(object) = value.as_object() else { return Ok(()) };
            let known = keywords.get("properties").and_then(Value::as_object);
            let mut others = object.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
            return others.try_for_each(|(_, value)| check(root, rule, value));
        }
        "$defs" | "description" => true,
        other => panic!("the validator does not know {other}"),
    };
    if fine { Ok(()) } else { wrong() }
}

fn type_of(rule: &Value, value: &Value) -> Result<(), String> {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    };
    let fits = match rule {
        Value::Array(names) => names.iter().any(|name| is(name.as_str().expect("a name"))),
        name => is(name.as_str().expect("a name")),
    };
    if fits { Ok(()) } else { Err(format!("type {rule} of {value}")) }
}

fn items(
    root: &Value,
    keywords: &serde_json::Map<String, Value>,
    keyword: &str,
    rule: &Value,
    value: &Value,
) -> Result<(), String> {
    let Some(items) = value.as_array() else { return Ok(()) };
    let first = keywords.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
    match keyword {
        "prefixItems" => {
            let schemas = rule.as_array().expect("schemas");
            items.iter().zip(schemas).try_for_each(|(item, schema)| check(root, schema, item))
        }
        _ => items.iter().skip(first).try_for_each(|item| check(root, rule, item)),
    }
}

/// The few patterns that the random schemas use, by hand.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[a-c]{1,4}$" => (1..=4).contains(&text.len()) && text.bytes().all(|b| b"abc".contains(&b)),
        "^x" => text.starts_with('x'),
        "[0-9]$" => text.ends_with(|c: char| c.is_ascii_digit()),
        "^\\w+ \\d$" => text.split_once(' ').is_some_and(|(word, digit)| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && digit.len() == 1
                && digit.as_bytes()[0].is_ascii_digit()
        }),
        other => panic!("the validator does not know the pattern {other}"),
    }
}
