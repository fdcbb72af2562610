//! Text models as people have them (`tests/goldens/families`, tiny), served by the real daemon.

mod harness;

use std::path::Path;
use std::process::Command;

use harness::{Daemon, models_of_families};
use serde_json::{Value, json};

/// A daemon that serves `families`, each under its own name.
fn serving(home: &Path, families: &[&str]) -> Daemon {
    Daemon::builder().models(models_of_families(home, families)).start()
}

fn ask(daemon: &Daemon, path: &str, body: &Value) -> Value {
    let answer = daemon.post(path, "application/json", body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn golden(family: &str) -> Value {
    let path = harness::root().join("tests/goldens/families").join(family).join("golden.json");
    serde_json::from_slice(&std::fs::read(path).expect("the goldens are part of the tree")).expect("JSON")
}

#[test]
fn a_forced_language_token_decides_what_a_model_of_many_languages_writes() {
    let home = tempfile::tempdir().expect("a directory");
    let daemon = serving(home.path(), &["m2m_100"]);
    let golden = golden("m2m_100");
    let cases = golden["runs"][0]["cases"].as_array().expect("cases");
    let mut languages = std::collections::BTreeSet::new();
    for case in cases.iter().filter(|case| case["text"].is_null()) {
        let ids = case["ids"].as_array().expect("ids");
        let forced = &case["forced_bos_token_id"];
        let body = |prefix: Value| {
            json!({
                "prompt": case["input_ids"], "forced_prefix": prefix, "max_tokens": ids.len() - 1, "temperature": 0,
                "return_token_ids": true,
            })
        };
        let written = |body: Value| ask(&daemon, "/v1/completions", &body)["choices"][0]["token_ids"].clone();
        assert_eq!((&ids[0], written(body(json!([forced])))), (forced, json!(ids[1..])));
        assert_ne!(written(body(json!([]))), json!(ids[1..]), "without it another text is written");
        languages.insert(forced.as_u64());
    }
    assert_eq!(languages.len(), 2, "{languages:?}");
}

#[test]
fn a_conversations_second_turn_begins_with_a_kept_prefix_and_the_metrics_say_so() {
    let home = tempfile::tempdir().expect("a directory");
    let daemon = serving(home.path(), &["qwen2"]);
    let count = |what: &str| daemon.metric(&format!("linnet_prefix_cache_{what}_total"));
    let mut messages = vec![json!({"role": "user", "content": "The bird sings in the garden every morning."})];
    let turn = |messages: &[Value]| {
        let body = json!({"messages": messages, "max_tokens": 8, "temperature": 0});
        let answer = ask(&daemon, "/v1/chat/completions", &body);
        let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a number");
        (answer["choices"][0]["message"].clone(), cached)
    };
    let (said, cached) = turn(&messages);
    assert_eq!((cached, count("hits"), count("misses"), count("tokens")), (0, 0.0, 1.0, 0.0), "the first turn");
    messages
        .extend([json!({"role": "assistant", "content": said["content"]}), json!({"role": "user", "content": "Why?"})]);
    let (_, cached) = turn(&messages);
    assert!(cached >= 29, "at least the first message of 29 tokens was not read again: {cached}");
    assert_eq!((count("hits"), count("misses"), count("tokens")), (1.0, 1.0, cached as f64), "the second turn");
    // A conversation that begins otherwise finds nothing.
    let (_, cached) = turn(&[json!({"role": "system", "content": "Answer briefly."}), messages[0].clone()]);
    assert_eq!((cached, count("hits"), count("misses")), (0, 1.0, 2.0), "another conversation");
}

#[test]
fn linnet_shows_which_words_of_a_translation_come_from_which() {
    let home = tempfile::tempdir().expect("a directory");
    let daemon = serving(home.path(), &["marian-attention", "marian"]);
    let says = |arguments: &[&str]| {
        let linnet = Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name("linnet");
        let mut command = Command::new(linnet);
        command.args(arguments).env_remove("LINNET_MODEL").env("LINNET_SOCKET", daemon.socket());
        let output = command.output().expect("linnet is built with the workspace");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let golden = golden("marian-attention");
    let cases = golden["runs"][0]["cases"].as_array().expect("cases");
    for case in cases.iter().filter(|case| case["text"].is_string()) {
        let (text, answer) = (case["text"].as_str().expect("a text"), case["answer"].as_str().expect("an answer"));
        let (from, to) = (text.split(' ').collect::<Vec<_>>(), answer.split(' ').collect::<Vec<_>>());
        let asked = ["translate", "--from", "en", "--to", "de", text, "--model", "marian-attention"];
        let said = says(&[&asked[..], &["--explain"]].concat());
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], answer);
        let links = case["alignment"].as_array().expect("an alignment");
        for (line, link) in lines[1..].iter().zip(links) {
            let [none, share, word, source] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
            let of = |i: usize| link[i].as_u64().expect("a word") as usize;
            assert_eq!((none, word, source), ("", to[of(0)], from[of(1)]), "{text}");
            let (share, golden) = (share.parse::<f64>().expect("a number"), link[2].as_f64().expect("a share"));
            assert!((share - golden).abs() < 2e-4, "{text}: {share} instead of {golden}");
        }
        assert_eq!(lines.len(), links.len() + 2, "{said}");
        assert!(lines[links.len() + 1].starts_with("\talignment: "), "{said}");
        assert_eq!(says(&asked), format!("{answer}\n"));
    }
    // A graph that gives no attention: the translation, and why there is no more.
    let said = says(&["translate", "--from", "en", "--to", "de", "The bird sings.", "--model", "marian", "--explain"]);
    assert!(said.lines().count() == 2 && said.contains("\n\tno alignment: "), "{said}");
}
