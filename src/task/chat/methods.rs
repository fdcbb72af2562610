//! The methods of Python's strings, lists and dictionaries that templates call. Those that change a value are refused, as
//! `transformers`' sandbox refuses them.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::python;
use crate::task::tokenizer::is_python_space;

pub(super) fn call(_: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => map(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => list(value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

fn string(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "strip" | "lstrip" | "rstrip" => strip(text, method, args)?,
        "split" | "rsplit" => split(text, method == "rsplit", args)?,
        "splitlines" => Value::from(lines(text, from_args::<(Option<bool>,)>(args)?.0.unwrap_or(false))),
        "startswith" => Value::from(any_of(args, |part| text.starts_with(part))?),
        "endswith" => Value::from(any_of(args, |part| text.ends_with(part))?),
        "replace" => {
            let (from, to, count): (&str, &str, Option<i64>) = from_args(args)?;
            Value::from(match count.map(usize::try_from) {
                Some(Ok(count)) => text.replacen(from, to, count),
                _ => text.replace(from, to),
            })
        }
        "removeprefix" => Value::from(text.strip_prefix(from_args::<(&str,)>(args)?.0).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(from_args::<(&str,)>(args)?.0).unwrap_or(text)),
        "partition" | "rpartition" => {
            let (part,): (&str,) = from_args(args)?;
            let found = if method == "partition" { text.find(part) } else { text.rfind(part) };
            let parts = match found {
                Some(at) => [&text[..at], part, &text[at + part.len()..]],
                None if method == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(minijinja::value::Tuple::from(parts.map(Value::from).to_vec()))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (part,): (&str,) = from_args(args)?;
            let found = if method.starts_with('r') { text.rfind(part) } else { text.find(part) };
            match found.map(|at| text[..at].chars().count()) {
                Some(at) => Value::from(at),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(invalid("substring not found")),
            }
        }
        "count" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(if part.is_empty() { text.chars().count() + 1 } else { text.matches(part).count() })
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let items = items.try_iter()?.map(|item| match item.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(invalid(format!("join: expected a string, found {}", item.kind()))),
            });
            let items = items.collect::<Result<Vec<_>, _>>()?;
            let size = items.iter().map(|item| item.len() + text.len()).sum::<usize>();
            if size > python::MAX_BYTES {
                return Err(python::too_large());
            }
            Value::from(items.join(text))
        }
        "format" => Value::from(format(FormatStyle::StrFormat, text, args)?),
        "upper" => Value::from(text.to_uppercase()),
        "lower" | "casefold" => Value::from(text.to_lowercase()),
        "title" => Value::from(title(text)),
        "capitalize" => {
            let mut characters = text.chars();
            let first = characters.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
            Value::from(first + &characters.as_str().to_lowercase())
        }
        "swapcase" => {
            let swap = |c: char| {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect::<String>() }
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) =
                text.split_at(text.len() - text.trim_start_matches(['+', '-']).len().max(text.len().saturating_sub(1)));
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing(text, width)?)))
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            let (missing, fill) = (missing(text, width)?, fill.unwrap_or(" "));
            let left = match method {
                "ljust" => 0,
                "rjust" => missing,
                // Python leans to the left where both cannot be the same.
                _ => missing / 2 + (missing & width & 1),
            };
            Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)))
        }
        "isdigit" | "isdecimal" | "isnumeric" => Value::from(all(text, char::is_numeric)),
        "isalpha" => Value::from(all(text, char::is_alphabetic)),
        "isalnum" => Value::from(all(text, char::is_alphanumeric)),
        "isspace" => Value::from(all(text, is_python_space)),
        "isascii" => Value::from(text.is_ascii()),
        "isupper" => Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        "islower" => Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn all(text: &str, is_it: fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is_it)
}

/// How many characters a text lacks to be as wide.
fn missing(text: &str, width: usize) -> Result<usize, Error> {
    if width > python::MAX_BYTES {
        return Err(python::too_large());
    }
    Ok(width.saturating_sub(text.chars().count()))
}

fn strip(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (characters,): (Option<&str>,) = from_args(args)?;
    let is_cut = |c: char| characters.map_or_else(|| is_python_space(c), |set| set.contains(c));
    Ok(Value::from(match method {
        "lstrip" => text.trim_start_matches(is_cut),
        "rstrip" => text.trim_end_matches(is_cut),
        _ => text.trim_matches(is_cut),
    }))
}

fn split(text: &str, from_end: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, most, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let most = most.or(kwargs.get("maxsplit")?);
    let separator = separator.or(kwargs.get("sep")?);
    let most = most.and_then(|n| usize::try_from(n).ok());
    let parts: Vec<&str> = match (separator, most) {
        (Some(""), _) => return Err(invalid("empty separator")),
        (Some(by), None) => text.split(by).collect(),
        (Some(by), Some(most)) if from_end => {
            let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), by).collect();
            parts.reverse();
            parts
        }
        (Some(by), Some(most)) => text.splitn(most.saturating_add(1), by).collect(),
        (None, most) => words(text, most.unwrap_or(usize::MAX), from_end),
    };
    Ok(Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>()))
}

fn words(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_matches(is_python_space);
    while parts.len() < most {
        let cut = if from_end { rest.rfind(is_python_space) } else { rest.find(is_python_space) };
        let Some(at) = cut else { break };
        let length = rest[at..].chars().next().map_or(1, char::len_utf8);
        let (before, after) = (&rest[..at], &rest[at + length..]);
        let (part, left) = if from_end {
            (after, before.trim_end_matches(is_python_space))
        } else {
            (before, after.trim_start_matches(is_python_space))
        };
        parts.push(part);
        rest = left;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    if from_end {
        parts.reverse();
    }
    parts
}

fn lines(text: &str, keep_ends: bool) -> Vec<Value> {
    let is_end =
        |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(is_end).unwrap_or(rest.len());
        let end = if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(0, char::len_utf8) };
        lines.push(Value::from(&rest[..if keep_ends { at + end } else { at }]));
        rest = &rest[at + end..];
    }
    lines
}

/// Of one string, or any of a tuple.
fn any_of(args: &[Value], is_it: impl Fn(&str) -> bool) -> Result<bool, Error> {
    let (wanted,): (&Value,) = from_args(args)?;
    if let Some(text) = wanted.as_str() {
        return Ok(is_it(text));
    }
    if !wanted.is_tuple() {
        return Err(invalid(format!("expected a string or a tuple of strings, found {}", wanted.kind())));
    }
    Ok(wanted.try_iter()?.any(|part| part.as_str().is_some_and(&is_it)))
}

fn title(text: &str) -> String {
    let mut is_inside = false;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let is_cased = character.is_lowercase() || character.is_uppercase();
        if is_cased && is_inside {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        is_inside = is_cased;
    }
    out
}

fn map(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let pairs = || -> Result<Vec<(Value, Value)>, Error> {
        value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect()
    };
    Ok(match method {
        "get" => {
            let (key, default): (&Value, Option<&Value>) = from_args(args)?;
            match value.get_item(key)? {
                found if found.is_undefined() => default.cloned().unwrap_or(Value::from(())),
                found => found,
            }
        }
        "items" => {
            from_args::<()>(args)?;
            let tuple = |(key, item)| Value::from(minijinja::value::Tuple::from(vec![key, item]));
            Value::from(pairs()?.into_iter().map(tuple).collect::<Vec<_>>())
        }
        "keys" => {
            from_args::<()>(args)?;
            Value::from(value.try_iter()?.collect::<Vec<_>>())
        }
        "values" => {
            from_args::<()>(args)?;
            Value::from(pairs()?.into_iter().map(|(_, item)| item).collect::<Vec<_>>())
        }
        "copy" => value.clone(),
        "update" | "pop" | "popitem" | "clear" | "setdefault" => return Err(refuse(method)),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "count" => {
            let (wanted,): (&Value,) = from_args(args)?;
            Value::from(value.try_iter()?.filter(|item| item == wanted).count())
        }
        "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == *wanted);
            Value::from(found.ok_or_else(|| invalid("the list does not hold the value"))?)
        }
        "copy" => value.clone(),
        "append" | "extend" | "insert" | "pop" | "remove" | "clear" | "sort" | "reverse" => return Err(refuse(method)),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn refuse(method: &str) -> Error {
    invalid(format!("{method} would change a value, which a chat template may not"))
}
