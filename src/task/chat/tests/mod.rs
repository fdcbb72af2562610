//! Against `transformers` (`tests/goldens/chat/generate.py`), and on what it does not promise.

mod bad_input;
mod golden;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::*;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/chat")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(goldens().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn template(name: &str) -> ChatTemplate {
    ChatTemplate::from_source(&read(&format!("templates/{name}.jinja"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn tokens(bos: Option<&str>, eos: &str, control: &[(&str, bool)]) -> ChatTokens {
    let mut named = BTreeMap::from([("eos_token".to_owned(), eos.to_owned())]);
    named.extend(bos.map(|bos| ("bos_token".to_owned(), bos.to_owned())));
    let control = control.iter().map(|(text, special)| ((*text).to_owned(), *special)).collect();
    ChatTokens { named, additional: Vec::new(), control }
}

/// One user's message.
fn user(content: &str) -> Vec<Value> {
    vec![json!({"role": "user", "content": content})]
}

fn render(template: &ChatTemplate, messages: &[Value], tokens: &ChatTokens) -> Prompt {
    template.render(&Chat::new(messages), tokens).unwrap_or_else(|e| panic!("{e}"))
}

/// What a template makes of one user's message `x`.
fn expression(source: &str) -> Result<String, ChatError> {
    let template = ChatTemplate::from_source(source).map_err(ChatError::Failed)?;
    template.render(&Chat::new(&user("x")), &ChatTokens::default()).map(|prompt| prompt.text)
}
