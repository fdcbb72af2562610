//! The environment that templates run in: Jinja as `transformers` sets it up, on minijinja.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use super::{json, methods, python};
use crate::task::tokenizer::is_python_space;

/// What `raise_exception` was given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(write);
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        let message = python::text(message)?;
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Refusal(message)))
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |value: &Value| python::text(value));
    // The engine's own takes for ever with what is nested deeply.
    environment.add_filter("pprint", |value: &Value| python::text(value));
    environment.remove_global("debug");
    environment.add_filter("trim", |value: &Value, characters: Option<String>| -> Result<String, Error> {
        let text = python::text(value)?;
        Ok(match characters {
            Some(characters) => text.trim_matches(|c| characters.contains(c)).to_owned(),
            None => text.trim_matches(is_python_space).to_owned(),
        })
    });
    // A text is a sequence to Jinja, and so is a mapping.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
    environment.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map | ValueKind::Undefined
        )
    });
    environment.add_test("callable", |_: &Value| false);
    environment
}

/// Writes a value as Python's `str` does.
fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None if value.kind() == ValueKind::Invalid => minijinja::escape_formatter(out, state, value),
        None => out.write_str(&python::text(value)?).map_err(Error::from),
    }
}

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(value: &Value, positional: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let given = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        let named: Option<Value> = kwargs.get(name)?;
        Ok(positional.get(index).cloned().or(named).filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let mut style = json::Style::default();
    if let Some(ascii) = given(0, "ensure_ascii")? {
        style.ascii = ascii.is_true();
    }
    if let Some(indent) = given(1, "indent")? {
        let blanks = || usize::try_from(indent.clone()).map(|n| " ".repeat(n.min(json::MAX_INDENT)));
        style = style.indented(indent.as_str().map_or_else(blanks, |text| Ok(text.to_owned()))?);
    }
    if let Some(separators) = given(2, "separators")? {
        style.between_items = python::text(&separators.get_item_by_index(0)?)?;
        style.after_key = python::text(&separators.get_item_by_index(1)?)?;
    }
    if let Some(sort) = given(3, "sort_keys")? {
        style.sort_keys = sort.is_true();
    }
    kwargs.assert_all_used()?;
    json::write(value, &style)
}
