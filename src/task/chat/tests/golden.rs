//! Every template with every conversation, and single expressions.

use serde::Deserialize;

use super::*;

/// 2026-03-07 09:05:04, which the goldens were made at.
const WALL_SECS: u64 = 1_772_874_304;

#[derive(Deserialize)]
struct Conversations {
    chats: BTreeMap<String, Vec<Value>>,
    tools: Vec<Value>,
    tokens: BTreeMap<String, (Option<String>, String)>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    chat: String,
    options: Map<String, Value>,
    tools: Vec<String>,
    text: Option<String>,
    refused: Option<String>,
    #[serde(default)]
    fails: bool,
}

#[derive(Deserialize)]
struct Expressions {
    context: Map<String, Value>,
    rows: Vec<Expression>,
}

#[derive(Deserialize)]
struct Expression {
    expression: String,
    text: Option<String>,
}

#[test]
fn conversations_are_rendered_as_transformers_does() {
    let given: Conversations = serde_json::from_str(&read("conversations.json")).expect("the conversations");
    let cases: Vec<Case> = serde_json::from_str(&read("cases.json")).expect("the cases");
    assert!(cases.len() > 600);
    let mut wrong = Vec::new();
    for case in &cases {
        let template = template(&case.template);
        let (bos, eos) = given.tokens.get(&case.template).cloned().unwrap_or((None, "<|im_end|>".to_owned()));
        let flag = |name: &str| case.options.get(name).and_then(Value::as_bool).unwrap_or(false);
        let own = ["add_generation_prompt", "continue_final_message"];
        let variables = case.options.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let variables: Map<String, Value> = variables.map(|(name, value)| (name.clone(), value.clone())).collect();
        let is_wanted = |tool: &&Value| case.tools.iter().any(|name| tool["function"]["name"] == **name);
        let tools: Vec<Value> = given.tools.iter().filter(is_wanted).cloned().collect();
        let chat = Chat {
            tools: (!tools.is_empty()).then_some(&tools),
            add_generation_prompt: flag("add_generation_prompt"),
            continue_final_message: flag("continue_final_message"),
            variables: Some(&variables),
            wall_secs: WALL_SECS,
            ..Chat::new(&given.chats[&case.chat])
        };
        // A token that occurs in none of the words: nothing is marked.
        let got = template.render(&chat, &tokens(bos.as_deref(), &eos, &[("<|never|>", true)]));
        let is_right = match (&got, &case.text, &case.refused) {
            (Ok(prompt), Some(text), _) => prompt.text == *text && prompt.guards.is_empty(),
            (Err(ChatError::Refused(got)), _, Some(wanted)) => got == wanted,
            // What Jinja does not find it says in its own words.
            (Err(ChatError::Failed(_)), _, Some(wanted)) => wanted.contains("undefined") || wanted.contains("has no"),
            (Err(ChatError::Failed(_)), _, _) => case.fails,
            // Jinja cannot join a text and nothing, which the engine can.
            (Ok(_), None, None) => case.fails && case.template == "macros" && case.chat == "null_content",
            _ => false,
        };
        if !is_right {
            let want = (&case.text, &case.refused, case.fails);
            let what = format!("{} {} {:?} {:?}", case.template, case.chat, case.options, case.tools);
            wrong.push(format!("{what}\n    got  {got:?}\n    want {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Expressions that are left as they are, with why.
const KNOWN: &[(&str, &str)] = &[
    ("'%s-%d' % ('a', 3)", NO_PRINTF),
    ("'%s' % s.strip()", NO_PRINTF),
    ("'x' | int", "Jinja makes 0 of what is no number; the engine says that it is none"),
    ("n.real is defined", NO_ATTRIBUTES),
    ("t.encode is defined", NO_ATTRIBUTES),
    ("+n", "the engine has no unary plus"),
    ("'x' | center(5)", NO_FILTER),
    ("'one two' | wordcount", NO_FILTER),
    ("'abcdef' | truncate(5)", NO_FILTER),
    ("'<p>x</p>' | striptags", NO_FILTER),
    ("'http://a b' | urlencode", NO_FILTER),
];
const NO_PRINTF: &str = "the engine has no operator that formats; `format` does it";
const NO_ATTRIBUTES: &str = "the attributes of Python's own types are not there, on purpose";
const NO_FILTER: &str = "no published template of a model uses it; it is refused by name";

#[test]
fn expressions_are_what_jinja_makes_of_them() {
    let golden: Expressions = serde_json::from_str(&read("expressions.json")).expect("the expressions");
    assert!(golden.rows.len() > 250);
    let mut wrong = Vec::new();
    for row in &golden.rows {
        let source = format!("{{{{ {} }}}}", row.expression);
        let got = ChatTemplate::from_source(&source).map_err(ChatError::Failed).and_then(|template| {
            let messages = user("x");
            let chat = Chat { variables: Some(&golden.context), wall_secs: WALL_SECS, ..Chat::new(&messages) };
            template.render(&chat, &ChatTokens::default()).map(|prompt| prompt.text)
        });
        let is_known = KNOWN.iter().any(|(expression, _)| *expression == row.expression);
        let is_right = got.as_ref().ok() == row.text.as_ref();
        assert!(!(is_right && is_known), "{} is as Jinja has it: take it off the list", row.expression);
        if !is_right && !is_known {
            wrong.push(format!("{}\n    got  {got:?}\n    want {:?}", row.expression, row.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), golden.rows.len(), wrong.join("\n"));
}
