//! Which grammars are taken: those whose compilation cannot run away.

use linnet_proto::WireError;
use serde::Deserialize;
use serde_json::Value;

use super::super::bounds::MAX_GRAMMAR_GROUPS;
use super::{refused, schema};

/// Checks a grammar's size and the schemas in it.
pub(super) fn check(grammar: &str) -> Result<(), WireError> {
    if grammar.trim().is_empty() {
        return Err(refused("grammar", "the grammar is empty; it needs a rule named start".into()));
    }
    // Each rule and each group may be one level of recursion, wherever it stands: more than that is never deep.
    let groups = grammar.bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{' | b':')).count();
    if groups > MAX_GRAMMAR_GROUPS {
        let message = format!("the grammar has {groups} rules and groups; at most {MAX_GRAMMAR_GROUPS} are taken");
        return Err(refused("grammar", message));
    }
    for (at, _) in grammar.match_indices("%json") {
        let rest = &grammar[at + "%json".len()..];
        // What is no JSON is for the compiler to refuse: `%json` may stand in a string.
        let mut deserializer = serde_json::Deserializer::from_str(rest);
        if let Ok(value) = Value::deserialize(&mut deserializer) {
            schema::check(&value)?;
            if value.get("x-guidance").is_some() {
                let message = "x-guidance in a %json of the grammar could turn checks off; leave it out";
                return Err(refused("grammar", message.into()));
            }
        }
    }
    Ok(())
}

/// A regular expression that `text` alone matches.
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
