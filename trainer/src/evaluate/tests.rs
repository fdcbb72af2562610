use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::manifest::Utterance;

/// A row of the golden that `jiwer` wrote: substitutions, deletions, insertions, length of the reference.
#[derive(Deserialize)]
struct Case {
    reference: String,
    heard: String,
    words: [u64; 4],
    chars: [u64; 4],
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/wer/cases.json");
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("well formed")
}

#[test]
fn a_set_and_its_speakers_add_up_to_what_jiwer_counts() {
    let cases = cases();
    let heard: Vec<Heard> = cases
        .iter()
        .enumerate()
        .map(|(i, case)| Heard {
            utterance: Utterance {
                audio: "a.wav".into(),
                text: case.reference.clone(),
                speaker: ["anna", "ben", "carl"][i % 3].into(),
                seconds: 1.0,
                line: i + 1,
            },
            text: case.heard.clone(),
            busy_secs: 0.01,
            audio_secs: 1.0,
        })
        .collect();
    let sum = |of: fn(&Case) -> [u64; 4], which: &dyn Fn(usize) -> bool| {
        cases.iter().enumerate().filter(|(i, _)| which(*i)).map(|(_, c)| of(c)).fold([0; 4], |mut sum, counts| {
            sum.iter_mut().zip(counts).for_each(|(s, c)| *s += c);
            sum
        })
    };
    let counts = |c: &linnet_features::wer::ErrorCounts| [c.substitutions, c.deletions, c.insertions, c.reference];
    let set = SetScore::new(&heard);
    assert_eq!(counts(&set.total.words), sum(|c| c.words, &|_| true));
    assert_eq!(counts(&set.total.chars), sum(|c| c.chars, &|_| true));
    assert_eq!(set.speakers.len(), 3);
    for (place, speaker) in set.speakers.iter().enumerate() {
        assert_eq!(speaker.speaker, ["anna", "ben", "carl"][place]);
        assert_eq!(counts(&speaker.score.words), sum(|c| c.words, &|i| i % 3 == place));
        assert_eq!(counts(&speaker.score.chars), sum(|c| c.chars, &|i| i % 3 == place));
    }
    assert_eq!(set.total.utterances, cases.len());
    assert_eq!(set.total.right, cases.iter().filter(|c| c.words[..3] == [0; 3]).count());
    assert!((set.total.rtf() - 0.01).abs() < 1e-9);
    assert!(set.total.wer() > 0.0 && set.total.cer() > 0.0);
}
