use std::sync::Arc;
use std::time::{Duration, Instant};

use linnet_proto::generate::{Choice, DecodeOptions, FinishReason};
use serde_json::Map;

use super::super::alphabet::{Alphabet, END};
use super::super::generation::{Generation, Prompt, Setting};
use super::super::{GenerationConfig, ResolvedOptions};
use super::*;
use crate::task::model::fake::FakeLanguageModel;

mod random_schema;
mod validator;

/// Longest that a refusal may take. It takes milliseconds; a machine that runs other tests beside it is given room.
const SOON: Duration = Duration::from_secs(5);

const PIECES: [&str; 17] = [
    "true", "false", "null", "\":", "\": ", "\", \"", "\",\"", "{\"", "\"}", "12", "345", "[[", "], ", "  ", "\n  ",
    "name", "ö",
];

fn vocabulary() -> Arc<Vocabulary> {
    let alphabet = Alphabet::new(&PIECES);
    let size = alphabet.size();
    Arc::new(Vocabulary::new(Box::new(alphabet), size, &[END]))
}

fn compile(constraint: &Constraint) -> Result<Guide, WireError> {
    vocabulary().grammars().expect("a vocabulary of bytes").compile(constraint)
}

fn refusal(constraint: Constraint) -> String {
    let began = Instant::now();
    let error = compile(&constraint).expect_err("must be refused");
    let took = began.elapsed();
    assert!(took < SOON, "refused after {took:?}: {}", error.message);
    assert_eq!(error.code, if error.code == ErrorCode::TooLarge { error.code } else { ErrorCode::InvalidOption });
    assert_eq!(error.param.as_deref(), Some(constraint.name()));
    error.message
}

fn schema_refusal(schema: Value) -> String {
    refusal(Constraint::JsonSchema(schema))
}

/// A random model's answer under a constraint.
fn answer(
    vocabulary: &Arc<Vocabulary>,
    seed: u64,
    constraint: Constraint,
    more: DecodeOptions,
) -> Result<Choice, WireError> {
    let mut model = FakeLanguageModel::hashed(vocabulary.size(), seed as u32);
    let config = GenerationConfig { eos_token_id: vocabulary.ends().to_vec(), ..GenerationConfig::default() };
    let options = DecodeOptions {
        seed: Some(seed),
        constraint: Some(constraint),
        max_tokens: more.max_tokens.or(Some(400)),
        return_token_ids: true,
        ..more
    };
    let options = ResolvedOptions::resolve(&config, &options, vocabulary.size())?;
    let setting = Setting { vocabulary: Arc::clone(vocabulary), prefixes: None, processors: Vec::new() };
    let prompt = Prompt { ids: vec![65], ..Prompt::default() };
    let outcome = Generation::new(&model, setting, prompt, options)?.run(&mut model, &(), &mut |_| Ok(()))?;
    Ok(outcome.choices.into_iter().next().expect("one answer"))
}

fn sampling() -> DecodeOptions {
    DecodeOptions { temperature: Some(1.0), top_k: Some(0), ..DecodeOptions::default() }
}

#[test]
fn what_ends_by_itself_validates_and_nearly_all_does() {
    let vocabulary = vocabulary();
    let mut finished = 0;
    for seed in 0..200 {
        let schema = random_schema::of(seed);
        let constraint = Constraint::JsonSchema(schema.clone());
        let options = if seed % 4 == 0 { DecodeOptions::default() } else { sampling() };
        let choice = answer(&vocabulary, seed, constraint, options).unwrap_or_else(|e| panic!("{schema}: {e}"));
        if choice.finish_reason != FinishReason::Stop {
            continue;
        }
        finished += 1;
        let value: Value =
            serde_json::from_str(&choice.text).unwrap_or_else(|e| panic!("{schema}: {e}: {:?}", choice.text));
        validator::check(&schema, &schema, &value).unwrap_or_else(|why| panic!("{schema}: {why}: {}", choice.text));
    }
    assert!(finished >= 190, "only {finished} of 200 answers ended");
}

#[test]
fn beams_and_several_choices_keep_to_a_schema_too() {
    let vocabulary = vocabulary();
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {
        "a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "boolean"}}});
    for seed in 0..8 {
        let constraint = Constraint::JsonSchema(schema.clone());
        let options = DecodeOptions { num_beams: Some(3), ..DecodeOptions::default() };
        let choice = answer(&vocabulary, seed, constraint, options).expect("answers");
        assert_eq!(choice.finish_reason, FinishReason::Stop);
        let value: Value = serde_json::from_str(&choice.text).expect("JSON");
        validator::check(&schema, &schema, &value).expect("valid");
    }
}

#[test]
fn any_object_is_an_object_and_regular_expressions_grammars_and_choices_match_whole() {
    let vocabulary = vocabulary();
    let mut ended = 0;
    for seed in 0..30 {
        let choice = answer(&vocabulary, seed, Constraint::JsonObject, sampling()).expect("answers");
        if choice.finish_reason == FinishReason::Stop {
            ended += 1;
            serde_json::from_str::<Map<String, Value>>(&choice.text).expect("an object");
        }
        let date = answer(&vocabulary, seed, Constraint::Regex(r"[0-9]{4}-(0[1-9]|1[0-2])/x".into()), sampling());
        let date = date.expect("answers").text;
        assert!(date.len() == 9 && date.ends_with("/x") && date[..4].parse::<u16>().is_ok(), "{date}");
        let grammar = "start: greeting \" \" NAME\ngreeting: \"hello\" | \"good day\"\nNAME: /[A-Z][a-z]{1,5}/\n";
        let greeting =
            answer(&vocabulary, seed, Constraint::Grammar(grammar.into()), sampling()).expect("answers").text;
        assert!(greeting.starts_with("hello ") || greeting.starts_with("good day "), "{greeting}");
        let texts: Vec<String> = ["yes.", "no (never)", "it's \"50/50\"\n"].map(String::from).to_vec();
        let chosen = answer(&vocabulary, seed, Constraint::Choice(texts.clone()), sampling()).expect("answers");
        assert_eq!(chosen.finish_reason, FinishReason::Stop);
        assert!(texts.contains(&chosen.text), "{:?}", chosen.text);
    }
    assert!(ended > 5, "{ended} objects ended");
}

#[test]
fn keywords_that_cannot_be_enforced_are_refused_by_name() {
    for (keyword, value) in [
        ("oneOf", json!([{"type": "string"}, {"type": "integer"}])),
        ("not", json!({"type": "string"})),
        ("if", json!(true)),
        ("contains", json!({"type": "string"})),
        ("propertyNames", json!({"pattern": "a"})),
        ("uniqueItems", json!(true)),
        ("dependentRequired", json!({"a": ["b"]})),
        ("dependentSchemas", json!({"a": true})),
        ("unevaluatedProperties", json!(false)),
        ("$dynamicRef", json!("#a")),
        ("multipleOf", json!(0.1)),
    ] {
        let nested = json!({"type": "object", "properties": {"deep": {"items": {keyword: value.clone()}}}});
        for schema in [
            json!({keyword: value.clone()}),
            nested,
            json!({"$schema": "http://json-schema.org/draft-04/schema#", keyword: value}),
        ] {
            let message = schema_refusal(schema);
            assert!(message.contains(keyword), "{keyword}: {message}");
        }
    }
    // Where it stands for a property's name, or says nothing, it is none.
    for schema in [
        json!({"type": "object", "properties": {"oneOf": {"type": "string", "maxLength": 2}}}),
        json!({"type": "array", "items": {"type": "null"}, "uniqueItems": false, "maxItems": 2}),
        json!({"enum": [{"not": 1}], "description": "oneOf", "default": {"if": 1}, "nullable": true}),
        json!({"const": {"uniqueItems": false, "maximum": 3}}),
    ] {
        compile(&Constraint::JsonSchema(schema.clone())).unwrap_or_else(|e| panic!("{schema}: {e}"));
    }
    for (keyword, value) in [
        ("const", json!([1e20])),
        ("enum", json!([{"a": -1e17}])),
        ("minimum", json!(1e17)),
        ("multipleOf", json!(1e17)),
    ] {
        assert!(schema_refusal(json!({"type": "integer", keyword: value})).contains(keyword));
    }
    // Bounds that exclude nothing that can be written exactly are taken.
    let int64 = json!({"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX});
    compile(&Constraint::JsonSchema(int64)).expect("bounds of other languages");
    assert!(schema_refusal(json!({"type": "string", "format": "no-such-format"})).contains("no-such-format"));
    assert!(schema_refusal(json!({"type": "string", "pattern": "(?=a)"})).contains("json_schema"));
}

#[test]
fn a_schema_cannot_turn_checks_off() {
    let lenient =
        json!({"x-guidance": {"lenient": true, "coerce_one_of": true}, "type": "string", "format": "no-such-format"});
    assert!(schema_refusal(lenient).contains("no-such-format"));
    let grammar = r#"start: %json {"x-guidance": {"coerce_one_of": true}, "type": "string"}"#;
    assert!(refusal(Constraint::Grammar(grammar.into())).contains("x-guidance"));
    let grammar = "start: %json {\"oneOf\": [{\"type\": \"string\"}]}";
    let error = compile(&Constraint::Grammar(grammar.into())).expect_err("refused");
    assert!(error.message.contains("oneOf"), "{}", error.message);
}

#[test]
fn recursive_contradictory_and_huge_schemas_are_refused_soon() {
    let node = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}});
    for recursive in [
        json!({"$ref": "#"}),
        json!({"type": "array", "items": {"$ref": "#"}}),
        json!({"$ref": "#/$defs/node", "$defs": {"node": node}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"items": {"$ref": "#/$defs/a"}}}}),
    ] {
        assert!(schema_refusal(recursive).contains("recursive"));
    }
    for contradictory in [
        json!(false),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4}),
        json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"type": "string", "pattern": "^a$", "minLength": 3}),
        json!({"type": "object", "required": ["a"], "properties": {"a": false}}),
        json!({"type": "object", "required": ["a"], "additionalProperties": false}),
        json!({"type": "array", "minItems": 2, "maxItems": 1}),
        json!({"type": "array", "minItems": 1, "items": false}),
        json!({"type": "integer", "multipleOf": 10, "minimum": 1, "maximum": 9}),
        json!({"enum": []}),
        json!({"const": 3, "type": "string"}),
    ] {
        schema_refusal(contradictory);
    }
    let names: Map<String, Value> = (0..5000).map(|i| (format!("p{i}"), json!({"type": "string"}))).collect();
    assert!(schema_refusal(json!({"type": "object", "properties": names})).contains("2048"));
    let words: Vec<String> = (0..20_000).map(|i| format!("w{i}")).collect();
    assert!(schema_refusal(json!({"enum": words})).contains("4096"));
    assert!(schema_refusal(json!({"type": "string", "maxLength": 1_000_000_000})).contains("maxLength"));
    assert!(schema_refusal(json!({"type": "string", "description": "x".repeat(300 << 10)})).contains("bytes"));
    assert!(schema_refusal(json!({"type": 5})).contains("type"));
    assert!(schema_refusal(json!([])).contains("no schema"));
    for reference in ["#/$defs/none", "http://example.com/schema", "other.json", "#anchor", "#/%zz"] {
        assert!(schema_refusal(json!({"$ref": reference})).contains("$ref"), "{reference}");
    }
}

#[test]
fn ten_thousand_levels_are_refused_soon() {
    let mut schema = json!({"type": "string"});
    for _ in 0..10_000 {
        // Not by `json!`, which copies what it is given, and recurses.
        schema = Value::Object([("items".to_owned(), schema)].into_iter().collect());
    }
    let constraint = Constraint::JsonSchema(schema);
    let error = compile(&constraint).expect_err("refused");
    assert!(error.message.contains("nested deeper"), "{}", error.message);
    // serde_json's own drop recurses.
    let Constraint::JsonSchema(mut schema) = constraint else { unreachable!("built above") };
    while let Some(inner) = schema.get_mut("items").map(Value::take) {
        schema = inner;
    }
    assert!(
        refusal(Constraint::Grammar(format!("start: {}\"a\"{}", "(".repeat(10_000), ")".repeat(10_000))))
            .contains("2048")
    );
    // The library takes some 30 levels.
    let deep = format!("start: {}\"a\"{}", "(".repeat(2000), ")".repeat(2000));
    assert!(refusal(Constraint::Grammar(deep)).contains("deeply nested"));
    // A chain of rules is as deep, rule by rule: the stack holds.
    let chain: String = (0..1900).map(|i| format!("r{i}: r{}\n", i + 1)).collect();
    compile(&Constraint::Grammar(format!("start: r0\n{chain}r1900: \"a\"\n"))).expect("long, but taken");
    let groups = format!("{}a{}", "(".repeat(5000), ")".repeat(5000));
    refusal(Constraint::Regex(groups));
}

#[test]
fn what_is_costly_is_compiled_or_refused_soon() {
    let branches: Vec<Value> = (0..12).map(|i| json!({"anyOf": (0..4).map(|j| json!({"properties": {format!("p{i}"): {"const": j}}})).collect::<Vec<_>>()})).collect();
    let formats: Vec<Value> =
        (0..40).map(|i| json!({"type": "string", "format": "date-time", "description": i.to_string()})).collect();
    let names: Map<String, Value> = (0..1500).map(|i| (format!("p{i}"), json!({"type": "integer"}))).collect();
    let words: Vec<String> = (0..4000).map(|i| format!("word number {i}")).collect();
    for constraint in [
        Constraint::JsonSchema(json!({"allOf": branches})),
        Constraint::JsonSchema(json!({"anyOf": formats})),
        Constraint::JsonSchema(json!({"type": "object", "properties": names})),
        Constraint::JsonSchema(json!({"enum": words})),
        Constraint::JsonSchema(json!({"type": "array", "items": {"type": "string"}, "minItems": 60_000})),
        Constraint::JsonSchema(
            json!({"type": "array", "items": {"type": "array", "items": {"type": "array", "minItems": 60_000}, "minItems": 60_000}, "minItems": 60_000}),
        ),
        Constraint::JsonSchema(json!({"type": "string", "minLength": 60_000})),
        Constraint::JsonSchema(json!({"type": "string", "pattern": "^(a|b|ab)*c.{60,90}(x+x+)+y$"})),
        Constraint::JsonSchema(json!({"type": "string", "pattern": "(.*a.{20}){10}", "minLength": 1000})),
        Constraint::JsonSchema(json!({"type": "number", "minimum": 0.123_456_789, "maximum": 9e200})),
        Constraint::JsonSchema(json!({"type": "integer", "multipleOf": 999_983, "minimum": 1, "maximum": 1e15})),
        Constraint::JsonSchema(
            json!({"type": "object", "patternProperties": {"^a.*b.*c.*d$": true, ".*x.{10,40}y$": true}}),
        ),
        Constraint::Regex("((a{100}){100}){100}".into()),
        Constraint::Regex("(.*a.{25}){3}".into()),
        Constraint::Regex("(".into()),
        Constraint::Regex("[a-".into()),
        Constraint::Grammar("start: start \"a\"".into()),
        Constraint::Grammar("start: nothing".into()),
        Constraint::Grammar("no grammar at all".into()),
        Constraint::Grammar("%llguidance {\"no_such_option\": 1}\nstart: \"a\"".into()),
        Constraint::Choice((0..1024).map(|i| format!("{i}").repeat(40)).collect()),
    ] {
        let began = Instant::now();
        let outcome = compile(&constraint);
        let took = began.elapsed();
        let shown: String = format!("{constraint:?}").chars().take(90).collect();
        if let Err(error) = &outcome {
            assert!(!error.message.contains("panic"), "{shown}: {}", error.message);
        }
        println!("{took:>10.1?} {} {shown}", if outcome.is_ok() { "taken  " } else { "refused" });
        assert!(took < SOON, "{shown} took {took:?}");
        // And the first steps, too, end soon.
        if outcome.is_ok() {
            let began = Instant::now();
            let _ = answer(&vocabulary(), 1, constraint, DecodeOptions { max_tokens: Some(40), ..sampling() });
            assert!(began.elapsed() < SOON, "40 tokens of {shown} took {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_text_to_stop_at_does_not_break_a_constraint() {
    let vocabulary = vocabulary();
    let stop = |stop: &str| DecodeOptions { stop: vec![stop.to_owned()], ..sampling() };
    let schema = json!({"type": "object", "properties": {"a": {"const": "x,y"}, "b": {"type": "boolean"}},
                        "required": ["a", "b"], "additionalProperties": false});
    for seed in 0..10 {
        let choice = answer(&vocabulary, seed, Constraint::JsonSchema(schema.clone()), stop(",")).expect("answers");
        let value: Value = serde_json::from_str(&choice.text).expect("the comma did not end it");
        assert_eq!((value["a"].as_str(), choice.finish_reason), (Some("x,y"), FinishReason::Stop));
        // Where the answer is whole before the text, the text ends it.
        let digits =
            answer(&vocabulary, seed, Constraint::Regex("[0-9]+(;[a-z]*)?".into()), stop(";")).expect("answers");
        assert!(!digits.text.contains(';'), "{}", digits.text);
    }
}

#[test]
fn bans_give_way_to_the_constraint() {
    let vocabulary = vocabulary();
    let bans = DecodeOptions {
        bad_words: vec!["yes".into()],
        logit_bias: [(u32::from(b'y'), -100.0)].into(),
        min_tokens: Some(20),
        ..sampling()
    };
    let choice = answer(&vocabulary, 1, Constraint::Choice(vec!["yes".into()]), bans).expect("answers");
    assert_eq!((choice.text.as_str(), choice.finish_reason), ("yes", FinishReason::Stop));
}

#[test]
fn a_model_without_an_end_token_ends_where_its_answer_is_whole() {
    let alphabet = Alphabet::new(&[]);
    let size = alphabet.size();
    let vocabulary = Arc::new(Vocabulary::new(Box::new(alphabet), size, &[]));
    for options in [sampling(), DecodeOptions { num_beams: Some(2), ..DecodeOptions::default() }] {
        let choice = answer(&vocabulary, 1, Constraint::Regex("[ab]{3}".into()), options).expect("answers");
        assert_eq!((choice.text.len(), choice.finish_reason), (3, FinishReason::Stop));
    }
    let number = json!({"type": "integer", "minimum": 0});
    let choice = answer(&vocabulary, 1, Constraint::JsonSchema(number), sampling()).expect("answers");
    assert!(choice.text.len() <= 15, "{}", choice.text);
    assert_eq!(choice.finish_reason, FinishReason::Stop);
}

#[test]
fn a_vocabulary_that_cannot_write_an_answer_says_so() {
    #[derive(Debug)]
    struct Letters;
    impl super::super::Spell for Letters {
        fn piece(&self, id: u32) -> Option<super::super::Piece> {
            Some(super::super::Piece { bytes: vec![b'a' + id as u8], special: false })
        }
        fn begin(&self, context: &[u32], keep_special: bool) -> Box<dyn super::super::Spelling> {
            Alphabet::new(&[]).begin(context, keep_special)
        }
    }
    let vocabulary = Vocabulary::new(Box::new(Letters), 26, &[]);
    let grammars = vocabulary.grammars().expect("builds");
    let error = grammars.compile(&Constraint::JsonObject).map(|mut guide| guide.mask(&vocabulary).map(|_| ()));
    let message = match error {
        Err(error) | Ok(Err(error)) => error.message,
        Ok(Ok(())) => panic!("letters are no JSON"),
    };
    assert!(message.contains("vocabulary can write"), "{message}");
}

/// How long masks take; the figures stand in docs/generation.md. Run with --nocapture.
#[test]
fn masks_are_cheap_beside_a_step() {
    let words: Vec<String> =
        (0..32_000_u32).map(|i| format!("{}{:x}", ["", " ", "the", "Qu"][i as usize % 4], i * 7919)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let alphabet = Alphabet::new(&words);
    let size = alphabet.size();
    let vocabulary = Arc::new(Vocabulary::new(Box::new(alphabet), size, &[END]));
    let began = Instant::now();
    vocabulary.grammars().expect("builds");
    println!("the tree of {size} tokens: {:.1?}", began.elapsed());
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name", "age", "tags"], "properties": {
        "name": {"type": "string", "maxLength": 30}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 5}}});
    for (what, constraint) in [
        ("schema", Constraint::JsonSchema(schema)),
        ("any object", Constraint::JsonObject),
        ("regex", Constraint::Regex("([A-Z][a-z ]{1,20}\\. ){5}".into())),
    ] {
        let began = Instant::now();
        let grammars = vocabulary.grammars().expect("builds");
        let mut guide = grammars.compile(&constraint).expect("compiles");
        let compiled = began.elapsed();
        let (mut spent, mut steps, mut longest) = (Duration::ZERO, 0_u32, Duration::ZERO);
        let mut seed = 0_u64;
        while !guide.is_complete() && steps < 200 {
            let began = Instant::now();
            let mask = guide.mask(&vocabulary).expect("goes on");
            let took = began.elapsed();
            (spent, steps, longest) = (spent + took, steps + 1, longest.max(took));
            let mut scores = vec![0.0; size];
            mask.apply(&mut scores);
            let allowed: Vec<u32> = (0..size as u32).filter(|id| scores[*id as usize] == 0.0).collect();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            guide.take(allowed[(seed >> 33) as usize % allowed.len()], &vocabulary).expect("allowed");
        }
        println!(
            "{what}: compiled in {compiled:.1?}; {steps} masks, {:.1?} each, {longest:.1?} the longest",
            spent / steps.max(1)
        );
        assert!(spent / steps.max(1) < Duration::from_millis(50), "{what}");
    }
}
