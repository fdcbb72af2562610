use std::sync::Arc;

use base64::Engine as _;
use linnet_proto::model_config::UnitKind;
use serde::Deserialize;

use super::align::{Aligner, UnitSpan};
use super::*;

/// A case of `tests/goldens/ctc/generate.py`.
#[derive(Deserialize)]
struct Case {
    kind: UnitKind,
    units: Vec<String>,
    frames: Vec<Vec<f32>>,
    beam_width: usize,
    top_units: usize,
    least_unit_logprob: f32,
    lm_weight: f32,
    word_bonus: f32,
    boost: f32,
    hot: Vec<String>,
    lm: Option<String>,
    beam_units: Vec<u32>,
    beam_text: String,
    beam_score: f64,
    spans: Vec<(u32, usize, usize, f32)>,
    greedy_units: Vec<u32>,
    greedy_text: String,
}

impl Case {
    fn params(&self) -> SearchParams {
        SearchParams {
            beam_width: self.beam_width,
            top_units: self.top_units,
            least_unit_logprob: self.least_unit_logprob,
            lm_weight: self.lm_weight,
            word_bonus: self.word_bonus,
            hot_word_boost: self.boost,
            sentence_ends: true,
        }
    }

    fn units(&self) -> Units {
        Units::new(&self.units, 0, self.kind).expect("units of the golden")
    }

    fn lm(&self) -> Option<NgramLm> {
        let file = self.lm.as_ref()?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(file).expect("base64 of the golden");
        Some(NgramLm::read(&bytes).expect("the file that generate.py wrote from docs/formats.md"))
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../../../tests/goldens/ctc/cases.json")).expect("cases.json");
    assert!(cases.len() >= 40);
    cases
}

#[test]
fn beam_search_agrees_with_the_independent_one() {
    let mut search = BeamSearch::default();
    for (number, case) in cases().iter().enumerate() {
        let (units, lm) = (case.units(), case.lm());
        let data = case.frames.concat();
        let log_probs = LogProbs::new(&data, units.len()).expect("whole frames");
        let hot = HotWords::new(case.hot.iter().cloned());
        let Ok(found) =
            search.search::<Infallible>(log_probs, &units, lm.as_ref(), &hot, &case.params(), &mut || Ok(()));
        assert_eq!(units.spell(&found.units), case.beam_text, "case {number}");
        assert_eq!(found.units, case.beam_units, "case {number}");
        assert!(
            (found.score - case.beam_score).abs() < 1e-4,
            "case {number}: {} instead of {}",
            found.score,
            case.beam_score
        );
    }
}

#[test]
fn greedy_search_agrees_with_the_independent_one() {
    for (number, case) in cases().iter().enumerate() {
        let data = case.frames.concat();
        let log_probs = LogProbs::new(&data, case.units.len()).expect("whole frames");
        let spans = greedy::search(log_probs, 0);
        let units: Vec<u32> = spans.iter().map(|s| s.unit).collect();
        assert_eq!(units, case.greedy_units, "case {number}");
        assert_eq!(words::assemble(&spans, &case.units()).text, case.greedy_text, "case {number}");
    }
}

#[test]
fn alignment_agrees_with_the_independent_one() {
    let mut aligner = Aligner::default();
    for (number, case) in cases().iter().enumerate() {
        let data = case.frames.concat();
        let log_probs = LogProbs::new(&data, case.units.len()).expect("whole frames");
        let found = aligner.align(log_probs, &case.beam_units, 0);
        let expected: Vec<UnitSpan> = case
            .spans
            .iter()
            .map(|&(unit, start_frame, end_frame, logprob)| UnitSpan { unit, start_frame, end_frame, logprob })
            .collect();
        assert_eq!(found, expected, "case {number}");
    }
}

#[test]
fn aligning_the_greedy_units_gives_the_greedy_frames() {
    let mut aligner = Aligner::default();
    for case in cases() {
        let data = case.frames.concat();
        let log_probs = LogProbs::new(&data, case.units.len()).expect("whole frames");
        let spans = greedy::search(log_probs, 0);
        assert_eq!(aligner.align(log_probs, &case.greedy_units, 0), spans);
    }
}

fn units() -> Units {
    Units::new(&["<blank>", "▁", "a", "b"], 0, UnitKind::Characters).expect("well formed")
}

/// Frames in which one unit each has probability 0.91.
fn clear(path: &[usize]) -> Vec<f32> {
    let frame = |&best: &usize| (0..4).map(move |unit| if unit == best { 0.91f32.ln() } else { 0.03f32.ln() });
    path.iter().flat_map(frame).collect()
}

#[test]
fn words_have_times_and_a_probability_in_both_searches() {
    let data = clear(&[0, 2, 2, 0, 2, 1, 0, 3, 0, 0]);
    let log_probs = LogProbs::new(&data, 4).expect("whole frames");
    let mut decoder = Decoder::new(Arc::new(units()), None);
    for beam_width in [1, 8] {
        let params = SearchParams { beam_width, ..SearchParams::default() };
        let decoded = decoder.decode(log_probs, &params, &HotWords::default());
        assert_eq!(decoded.text, "aa b");
        let frames: Vec<_> = decoded.words.iter().map(|w| (w.start_frame, w.end_frame)).collect();
        assert_eq!(frames, [(1, 5), (7, 8)]);
        assert!(decoded.words.iter().all(|w| (w.confidence - 0.91).abs() < 1e-4));
        assert!((decoded.avg_logprob - 0.91f32.ln()).abs() < 1e-4);
    }
}

#[test]
fn a_search_looks_whether_to_go_on_every_few_frames_and_stops_when_told() {
    let data = clear(&[0, 2, 0, 3].repeat(100));
    let log_probs = LogProbs::new(&data, 4).expect("whole frames");
    let mut decoder = Decoder::new(Arc::new(units()), None);
    let params = SearchParams { beam_width: 8, ..SearchParams::default() };
    let mut decode = |params: &SearchParams, most: usize| {
        let mut looks = 0;
        let decoded = decoder.decode_while(log_probs, params, &HotWords::default(), &mut || {
            looks += 1;
            if looks > most { Err("told to stop") } else { Ok(()) }
        });
        (decoded.map(|d| d.words.len()), looks)
    };
    let (whole, looks) = decode(&params, usize::MAX);
    assert!(whole.is_ok_and(|words| words > 0));
    // One before the search, one after it, and one every 16 of the 400 frames.
    assert_eq!(looks, 2 + 400 / beam::FRAMES_PER_CHECKPOINT);
    assert_eq!(decode(&params, 5), (Err("told to stop"), 6), "nothing is looked at behind the error");
    assert_eq!(decode(&SearchParams::default(), 0), (Err("told to stop"), 1), "a greedy one looks before it begins");
    // What was broken off leaves nothing behind.
    assert_eq!(decode(&params, usize::MAX).0, whole);
}

/// Frames with these probabilities of blank, "▁", "a" and "b".
fn probabilities(frames: &[[f32; 4]]) -> Vec<f32> {
    frames.iter().flatten().map(|p| p.ln()).collect()
}

#[test]
fn a_margin_is_what_has_to_change_before_the_text_does() {
    // The third frame repeats "a": blank in its place changes nothing, "b" does; the second is sure.
    let sure = [0.97, 0.01, 0.01, 0.01];
    let a = |p: f32, b: f32| [1.0 - p - b - 0.01, 0.01, p, b];
    let data = probabilities(&[sure, a(0.9, 0.05), a(0.5, 0.2), sure]);
    let log_probs = LogProbs::new(&data, 4).expect("whole frames");
    let mut decoder = Decoder::new(Arc::new(units()), None);
    let greedy = decoder.margin(log_probs, &SearchParams::default(), &HotWords::default());
    assert!((greedy - f64::from((0.5f32 / 0.2).ln())).abs() < 1e-5, "{greedy}");
    // Changed by more, it is another text; by less, the same.
    let mut nudged = |by: f32| {
        let mut data = data.clone();
        data[2 * 4 + 3] += by;
        let log_probs = LogProbs::new(&data, 4).expect("whole frames");
        decoder.decode(log_probs, &SearchParams::default(), &HotWords::default()).text
    };
    assert_eq!((nudged(0.91).as_str(), nudged(0.92).as_str()), ("a", "ab"));
    assert_eq!(greedy::margin(LogProbs::new(&[], 4).expect("no frame"), 0), f64::INFINITY);
}

#[test]
fn the_margin_of_a_beam_is_the_distance_to_the_best_other_text() {
    let data = probabilities(&[[0.3, 0.05, 0.6, 0.05], [0.9, 0.02, 0.04, 0.04]]);
    let log_probs = LogProbs::new(&data, 4).expect("whole frames");
    let mut decoder = Decoder::new(Arc::new(units()), None);
    let params = SearchParams { beam_width: 8, ..SearchParams::default() };
    let margin = decoder.margin(log_probs, &params, &HotWords::default());
    // "a": a then blank, a twice, blank then a. Nothing: blank twice, and "▁", which spells nothing, in its places.
    let a = 0.6 * 0.9 + 0.6 * 0.04 + 0.3 * 0.04;
    let silence = 0.3 * 0.9;
    let wanted = f64::from(a / silence as f32).ln();
    assert!((margin - wanted).abs() < 1e-5, "{margin} instead of {wanted}");
}

#[test]
fn blank_frames_and_no_frames_are_silence() {
    let mut decoder = Decoder::new(Arc::new(units()), None);
    for (beam_width, path) in [(1, vec![]), (1, vec![0; 20]), (8, vec![]), (8, vec![0; 20])] {
        let data = clear(&path);
        let params = SearchParams { beam_width, ..SearchParams::default() };
        let log_probs = LogProbs::new(&data, 4).expect("whole frames");
        let decoded = decoder.decode(log_probs, &params, &HotWords::default());
        assert_eq!((decoded.text.as_str(), decoded.avg_logprob), ("", 0.0));
    }
}

#[test]
fn a_hot_word_wins_over_a_likelier_sound() {
    let mut data = clear(&[2, 2, 0, 0]);
    // In the third frame "b" is nearly as likely as the blank.
    data[2 * 4] = 0.5f32.ln();
    data[2 * 4 + 3] = 0.44f32.ln();
    let log_probs = LogProbs::new(&data, 4).expect("whole frames");
    let mut decoder = Decoder::new(Arc::new(units()), None);
    let params = SearchParams { beam_width: 8, hot_word_boost: 2.0, ..SearchParams::default() };
    assert_eq!(decoder.decode(log_probs, &params, &HotWords::default()).text, "a");
    assert_eq!(decoder.decode(log_probs, &params, &HotWords::parse("ab")).text, "ab");
    // A longer word that begins so does not leave its credit behind.
    assert_eq!(decoder.decode(log_probs, &params, &HotWords::parse("abba")).text, "a");
}

#[test]
fn posteriors_that_are_none_are_refused() {
    assert_eq!(LogProbs::new(&[0.0; 5], 4).expect_err("5 of 4"), LogProbsError::Shape { len: 5, units: 4 });
    assert_eq!(LogProbs::new(&[], 0).expect_err("no units"), LogProbsError::Shape { len: 0, units: 0 });
    let mut data = clear(&[0, 0]);
    data[6] = f32::NAN;
    assert_eq!(LogProbs::new(&data, 4).expect_err("NaN"), LogProbsError::Value { frame: 1, unit: 2 });
    data[6] = 3.0;
    assert!(LogProbs::new(&data, 4).is_err());
    data[6] = f32::NEG_INFINITY;
    assert!(LogProbs::new(&data, 4).is_ok());
}

#[test]
fn impossible_frames_give_no_text_and_no_panic() {
    let data = vec![f32::NEG_INFINITY; 40];
    let log_probs = LogProbs::new(&data, 4).expect("whole frames");
    let mut decoder = Decoder::new(Arc::new(units()), None);
    for beam_width in [1, 8] {
        let params = SearchParams { beam_width, ..SearchParams::default() };
        assert_eq!(decoder.decode(log_probs, &params, &HotWords::default()).text, "");
    }
    assert_eq!(Aligner::default().align(log_probs, &[2], 0), []);
}

#[test]
fn the_fingerprint_is_the_mean_of_the_best() {
    let data = clear(&[0, 2, 3]);
    let log_probs = LogProbs::new(&data, 4).expect("whole frames");
    assert!((log_probs.mean_best() - 0.91f64.ln()).abs() < 1e-6);
    assert_eq!(LogProbs::new(&[], 4).expect("no frame").mean_best(), 0.0);
}
