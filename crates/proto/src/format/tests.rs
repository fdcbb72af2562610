use super::*;
use crate::{Segment, Word};

fn word(text: &str, start: f64, end: f64) -> Word {
    Word { word: text.into(), start, end, confidence: 0.5, interpolated: false }
}

fn segment(id: u32, words: Vec<Word>) -> Segment {
    let text = words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(" ");
    let (start, end) = (words[0].start, words[words.len() - 1].end);
    Segment { id, start, end, text, avg_logprob: -0.25, words, ..Segment::default() }
}

fn transcript(segments: Vec<Segment>) -> Transcript {
    Transcript {
        text: segments.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(" "),
        words: segments.iter().flat_map(|s| s.words.clone()).collect(),
        segments,
        model: "stt-en-small".into(),
        language: "en".into(),
        duration_secs: 3725.5,
        rtf: 0.01,
        queue_ms: 0.0,
        inference_ms: 1.0,
    }
}

fn two_segments() -> Transcript {
    transcript(vec![
        segment(0, vec![word("turn", 0.1, 0.4), word("on", 0.4, 0.6004)]),
        segment(1, vec![word("<b>&", 3723.25, 3724.0)]),
    ])
}

#[test]
fn srt_numbers_its_cues_and_writes_hours_with_a_comma() {
    assert_eq!(
        srt(&two_segments()),
        "1\n00:00:00,100 --> 00:00:00,600\nturn on\n\n2\n01:02:03,250 --> 01:02:04,000\n<b>&\n\n"
    );
}

#[test]
fn vtt_has_a_header_and_escapes_what_would_be_a_tag() {
    assert_eq!(
        vtt(&two_segments()),
        "WEBVTT\n\n00:00:00.100 --> 00:00:00.600\nturn on\n\n01:02:03.250 --> 01:02:04.000\n&lt;b&gt;&amp;\n\n"
    );
}

#[test]
fn silence_gives_well_formed_empty_documents() {
    let silence = transcript(Vec::new());
    assert_eq!(srt(&silence), "");
    assert_eq!(vtt(&silence), "WEBVTT\n\n");
    assert_eq!(text(&silence), "\n");
    assert_eq!(verbose_json(&silence, Granularities::default()).segments, Some(Vec::new()));
}

#[test]
fn a_long_segment_is_cut_between_words_and_loses_none() {
    let words: Vec<_> = (0..100).map(|i| word("seven77", f64::from(i) * 0.5, f64::from(i) * 0.5 + 0.4)).collect();
    let cues = cues(&transcript(vec![segment(0, words)]));
    assert!(cues.len() > 1);
    for pair in cues.windows(2) {
        assert!(pair[0].end_ms <= pair[1].start_ms);
    }
    for cue in &cues {
        assert!(cue.text.chars().count() <= MAX_CUE_CHARS);
        assert!(cue.end_ms - cue.start_ms <= (MAX_CUE_SECS * 1000.0) as u64);
    }
    assert_eq!(cues.iter().map(|c| c.text.split(' ').count()).sum::<usize>(), 100);
}

#[test]
fn blank_lines_and_arrows_in_a_text_cannot_break_a_cue() {
    let odd = transcript(vec![segment(0, vec![word("a\n\nb --> c", 0.0, 1.0)])]);
    assert_eq!(srt(&odd), "1\n00:00:00,000 --> 00:00:01,000\na b → c\n\n");
    assert_eq!(vtt(&odd), "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na b --&gt; c\n\n");
}

#[test]
fn times_that_are_no_numbers_still_give_a_document() {
    let odd = transcript(vec![segment(0, vec![word("a", f64::NAN, f64::NEG_INFINITY)])]);
    assert_eq!(srt(&odd), "1\n00:00:00,000 --> 00:00:00,001\na\n\n");
}

#[test]
fn verbose_json_gives_words_only_when_asked() {
    let t = two_segments();
    let without = serde_json::to_value(verbose_json(&t, Granularities::default())).expect("serializes");
    assert_eq!(without["task"], "transcribe");
    assert_eq!(without["language"], "english");
    assert_eq!(without["duration"], 3725.5);
    assert_eq!(without["usage"], serde_json::json!({"type": "duration", "seconds": 3726}));
    assert_eq!(without["segments"][1]["seek"], 372_325);
    assert!(without.get("words").is_none());
    let with = verbose_json(&t, Granularities { segment: false, word: true });
    let with = serde_json::to_value(with).expect("serializes");
    assert_eq!(with["words"].as_array().map(Vec::len), Some(3));
    assert!(with.get("segments").is_none());
}

#[test]
fn every_format_is_found_by_its_name_and_others_are_named_in_the_error() {
    for format in ResponseFormat::ALL {
        assert_eq!(format.as_str().parse(), Ok(format));
    }
    let error = "xml".parse::<ResponseFormat>().expect_err("no such format");
    assert!(error.to_string().contains("`xml`") && error.to_string().contains("verbose_json"));
}

#[test]
fn linnet_json_round_trips() {
    let t = two_segments();
    let body = render(&t, ResponseFormat::LinnetJson, Granularities::default()).expect("serializes");
    assert!(!body.contains('\n'));
    assert_eq!(serde_json::from_str::<Transcript>(&body).expect("parses"), t);
}
