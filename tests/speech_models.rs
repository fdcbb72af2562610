//! Speech models of every family serve as they were exported, over HTTP, in every format.

mod harness;

use std::path::Path;

use harness::{Daemon, root};
use serde_json::Value;

/// A directory of models that holds these of `tests/goldens`, each under its own last name.
fn models(of: &[&str]) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("the goldens are part of the tree").flatten() {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() { copy(&from, &to) } else { std::fs::copy(&from, &to).map(|_| ()).expect("copies") }
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    for model in of {
        let from = root().join("tests/goldens").join(model);
        copy(&from, &dir.path().join(from.file_name().expect("a name")));
    }
    dir
}

fn clip(name: &str) -> Vec<u8> {
    std::fs::read(root().join(format!("tests/goldens/whisper/{name}.wav"))).expect("the clip is part of the tree")
}

/// What the golden of a model says of a clip: its text, or its segments' texts.
fn golden(model: &str, clip: &str) -> String {
    let text = std::fs::read(root().join("tests/goldens").join(model).join("golden.json")).expect("reads");
    let golden: Value = serde_json::from_slice(&text).expect("JSON");
    let cases = golden["cases"].as_array().expect("cases");
    let case = cases.iter().find(|case| case["clip"] == clip).expect("the clip is among the cases");
    match case["segments"].as_array() {
        Some(segments) => {
            let texts = segments.iter().filter_map(|s| s["text"].as_str()).map(str::trim).filter(|t| !t.is_empty());
            texts.collect::<Vec<_>>().join(" ")
        }
        None => case["text"].as_str().expect("a text").trim().to_owned(),
    }
}

#[test]
fn whisper_transcribes_and_translates_in_every_format() {
    let models = models(&["whisper/multilingual"]);
    let daemon = Daemon::builder().models(models.path()).start();
    let ask = |path: &str, query: &str, audio: &[u8]| daemon.post(&format!("{path}?{query}"), "audio/wav", audio);
    let speech = "/v1/audio/transcriptions";

    let verbose = ask(
        speech,
        "response_format=verbose_json&timestamp_granularities[]=word&timestamp_granularities[]=segment",
        &clip("en"),
    );
    assert_eq!(verbose.status, 200, "{}", verbose.text());
    let verbose = verbose.json();
    assert_eq!(verbose["text"], golden("whisper/multilingual", "en"));
    assert_eq!(verbose["language"], "english");
    let segments = verbose["segments"].as_array().expect("segments");
    assert!(
        segments.len() > 3 && segments.iter().any(|s| s["seek"].as_u64() > Some(0)),
        "several windows: {segments:?}"
    );
    assert!(segments.iter().all(|s| !s["tokens"].as_array().expect("tokens").is_empty()));
    assert!(!verbose["words"].as_array().expect("words").is_empty());

    // The language is heard, and English is written of it where that is asked.
    let german = ask(speech, "response_format=verbose_json", &clip("de")).json();
    assert_eq!(german["language"], "german");
    let english = ask("/v1/audio/translations", "response_format=verbose_json", &clip("de")).json();
    assert_eq!(english["language"], "english");
    assert_ne!(english["text"], german["text"]);

    let subtitles = ask(speech, "response_format=srt", &clip("en")).text();
    assert!(subtitles.starts_with("1\n00:00:00,"), "{subtitles}");
    let streamed = ask(speech, "stream=true", &clip("en")).text();
    assert_eq!(streamed.matches("transcript.text.delta").count(), segments.len());

    // What Whisper has no use for is named; what it has, is not.
    let answer = ask(speech, "lm_weight=1&temperature=0&seed=3&user=me", &clip("short"));
    assert_eq!(answer.header("linnet-without-effect"), Some("user, lm_weight"));
    let refused = ask(speech, "language=tlh", &clip("short"));
    assert_eq!(refused.error_code(), "unsupported_task");
    assert!(refused.text().contains("de, en, fr"), "{}", refused.text());
}

#[test]
fn every_family_serves_as_it_was_exported() {
    let families = ["speech/moonshine", "speech/wav2vec2", "speech/hubert", "speech/wavlm", "speech/zipformer"];
    let models = models(&families);
    let daemon = Daemon::builder().models(models.path()).start();
    for family in families {
        let name = family.split('/').next_back().expect("a name");
        let path = format!("/v1/audio/transcriptions?model={name}&response_format=linnet_json");
        let answer = daemon.post(&path, "audio/wav", &clip("short"));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["model"], name);
        let words = answer["words"].as_array().expect("words");
        assert!(!words.is_empty(), "{name}: {answer}");
        for word in words {
            let (start, end) = (word["start"].as_f64().expect("a start"), word["end"].as_f64().expect("an end"));
            // Times of words are rounded to milliseconds.
            let length = answer["duration_secs"].as_f64().expect("a length") + 5e-4;
            assert!(start < end && end <= length, "{name}: {word} of {length} s");
            assert_eq!(word["interpolated"].as_bool().unwrap_or(false), name == "moonshine");
        }
    }
}
