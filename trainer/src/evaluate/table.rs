//! Figures for people and for programs.

use std::fmt::Write;
use std::path::Path;

use linnet_features::wer::ErrorCounts;
use serde_json::{Value, json};

use super::{Heard, Score, SetScore};
use crate::error::{Failure, Result};
use crate::export::Opened;

/// Longest speaker's name that is shown whole.
const NAME_WIDTH: usize = 28;

/// A table: one line for everything, one for each speaker where there are several.
pub(super) fn text(path: &Path, set: &SetScore, texts: Option<&Vec<Heard>>) -> String {
    let mut out = format!("{}\n", path.display());
    let head = ["", "WER", "words", "S", "D", "I", "CER", "utterances", "right", "hours"];
    let _ = writeln!(
        out,
        "  {:<NAME_WIDTH$} {:>8} {:>8} {:>6} {:>6} {:>6} {:>8} {:>10} {:>6} {:>7}",
        head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9]
    );
    if set.speakers.len() > 1 {
        for speaker in &set.speakers {
            row(&mut out, &speaker.speaker, &speaker.score);
        }
    }
    row(&mut out, "all", &set.total);
    let _ = writeln!(out, "  real-time factor on one thread {:.4}", set.total.rtf());
    for one in texts.into_iter().flatten() {
        let _ = writeln!(out, "\n  {}", one.utterance.audio.display());
        let _ = writeln!(out, "    said  {}\n    heard {}", one.utterance.text, one.text);
    }
    out
}

fn row(out: &mut String, name: &str, score: &Score) {
    let name: String = name.chars().take(NAME_WIDTH).collect();
    let words = score.words;
    let _ = writeln!(
        out,
        "  {name:<NAME_WIDTH$} {:>6.2} % {:>8} {:>6} {:>6} {:>6} {:>6.2} % {:>10} {:>6} {:>7.3}",
        100.0 * score.wer(),
        words.reference,
        words.substitutions,
        words.deletions,
        words.insertions,
        100.0 * score.cer(),
        score.utterances,
        score.right,
        score.audio_secs / 3600.0,
    );
}

/// The same as one JSON object.
pub(super) fn json(
    opened: &Opened,
    path: &Path,
    set: &SetScore,
    bad: usize,
    texts: Option<&Vec<Heard>>,
) -> Result<String> {
    let mut object = score(&set.total);
    let Value::Object(map) = &mut object else {
        return Err(Failure::software("a score is no object"));
    };
    map.insert("model".into(), json!(opened.name));
    map.insert("manifest".into(), json!(path));
    map.insert("bad_rows".into(), json!(bad));
    let speaker = |s: &super::SpeakerScore| {
        let mut object = score(&s.score);
        object["speaker"] = json!(s.speaker);
        object
    };
    map.insert("speakers".into(), set.speakers.iter().map(speaker).collect());
    if let Some(texts) = texts {
        let text = |h: &Heard| json!({ "audio": h.utterance.audio, "said": h.utterance.text, "heard": h.text });
        map.insert("texts".into(), texts.iter().map(text).collect());
    }
    Ok(object.to_string())
}

fn score(score: &Score) -> Value {
    let counts = |c: &ErrorCounts, rate: f64| {
        json!({
            "substitutions": c.substitutions, "deletions": c.deletions, "insertions": c.insertions,
            "reference": c.reference, "rate": rate,
        })
    };
    json!({
        "wer": score.wer(),
        "cer": score.cer(),
        "words": counts(&score.words, score.wer()),
        "chars": counts(&score.chars, score.cer()),
        "utterances": score.utterances,
        "right": score.right,
        "audio_secs": score.audio_secs,
        "rtf": score.rtf(),
    })
}
