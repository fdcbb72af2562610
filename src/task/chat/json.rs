//! JSON as `json.dumps` of Python writes it, which is what `tojson` is in `transformers`.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::mark::is_mark;
use super::python::{MAX_BYTES, MAX_DEPTH, float, too_deep, too_large};

/// Widest indentation: a million blanks a level would be a way to fill the memory.
pub(super) const MAX_INDENT: usize = 64;

/// The arguments of `json.dumps`.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) ascii: bool,
    pub(super) indent: Option<String>,
    pub(super) between_items: String,
    pub(super) after_key: String,
    pub(super) sort_keys: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            ascii: false,
            indent: None,
            between_items: ", ".to_owned(),
            after_key: ": ".to_owned(),
            sort_keys: false,
        }
    }
}

impl Style {
    pub(super) fn indented(mut self, by: String) -> Self {
        self.indent = Some(by);
        self.between_items = ",".to_owned();
        self
    }
}

pub(super) fn write(value: &Value, style: &Style) -> Result<String, Error> {
    let mut out = String::new();
    any(value, style, 0, &mut out)?;
    Ok(out)
}

fn any(value: &Value, style: &Style, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    if out.len() > MAX_BYTES {
        return Err(too_large());
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => number(value, out)?,
        ValueKind::String => string(value.as_str().unwrap_or_default(), style.ascii, out),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.collect::<Vec<_>>();
            let write = |item: &Value, out: &mut String| any(item, style, depth + 1, out);
            container(&items, ['[', ']'], style, depth, out, write)?;
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                pairs.push((key_text(&key)?, value.get_item(&key)?));
            }
            if style.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            let write = |(key, item): &(String, Value), out: &mut String| {
                string(key, style.ascii, out);
                out.push_str(&style.after_key);
                any(item, style, depth + 1, out)
            };
            container(&pairs, ['{', '}'], style, depth, out, write)?;
        }
        kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} cannot be written as JSON"))),
    }
    Ok(())
}

fn container<T>(
    items: &[T],
    brackets: [char; 2],
    style: &Style,
    depth: usize,
    out: &mut String,
    write: impl Fn(&T, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |depth: usize, out: &mut String| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    out.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&style.between_items);
        }
        new_line(depth + 1, out);
        write(item, out)?;
    }
    if !items.is_empty() {
        new_line(depth, out);
    }
    out.push(brackets[1]);
    Ok(())
}

fn number(value: &Value, out: &mut String) -> Result<(), Error> {
    if value.is_integer() {
        out.push_str(&value.to_string());
        return Ok(());
    }
    let number = f64::try_from(value.clone())?;
    out.push_str(&match number {
        n if n.is_nan() => "NaN".to_owned(),
        n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        n => float(n),
    });
    Ok(())
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => {
            let mut text = String::new();
            number(key, &mut text)?;
            Ok(text)
        }
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} cannot be a key in JSON"))),
    }
}

fn string(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if c < ' ' || (ascii && !(' '..='~').contains(&c) && !is_mark(c)) => {
                let mut units = [0; 2];
                out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
