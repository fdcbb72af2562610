//! The search's defaults, chosen on the validation set: the graph runs once on every recording, then only the search is
//! repeated.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use linnet::task::decode::{Decoder, HotWords, LogProbs, NgramLm, SearchParams, Units};
use linnet::task::transcribe::Recognizer;
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_features::wer::{ErrorCounts, word_errors};
use linnet_proto::model_config::DecodingDefaults;

use super::Opened;
use crate::error::{Failure, Kind, Result};
use crate::interrupt;
use crate::manifest::Manifest;
use crate::{progress, text};

/// Weights of the language model that are tried.
const LM_WEIGHTS: [f32; 8] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6];
/// Bonuses for each word that are tried.
const WORD_BONUSES: [f32; 8] = [-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0];
/// Width while weights are tried.
const TRIAL_WIDTH: u32 = 32;
/// Widths that are tried with the best weights, the cheapest first.
const WIDTHS: [u32; 5] = [4, 8, 16, 32, 64];
/// Points of word error rate that a narrower beam may cost: it answers sooner.
const WIDTH_WORTH: f64 = 0.05;

/// The best defaults for a package.
pub fn tune(opened: &Opened, valid: &Manifest, threads: usize) -> Result<DecodingDefaults> {
    Search::new(opened, valid, threads)?.best(&opened.config.decoding)
}

/// What the graph made of every recording.
struct Search {
    units: Arc<Units>,
    lm: Option<Arc<NgramLm>>,
    /// Reference text and log-probabilities.
    heard: Vec<(String, Vec<f32>)>,
    threads: usize,
}

impl Search {
    fn new(opened: &Opened, valid: &Manifest, threads: usize) -> Result<Self> {
        let (units, lm) = opened.pipeline.vocabulary();
        let recordings = valid.utterances.iter().collect::<Vec<_>>();
        let new = || opened.pipeline.recognizer().map_err(|e| Failure::software(e.to_string()));
        let heard = spread(&recordings, threads, new, |recognizer, utterance| {
            let samples = read_audio(&utterance.audio)?;
            Ok((utterance.text.clone(), run(recognizer, &samples)?))
        })?;
        Ok(Self { units, lm, heard, threads })
    }

    /// Tries every setting; what is not tried is as in `own`.
    fn best(&self, own: &DecodingDefaults) -> Result<DecodingDefaults> {
        let (lm_weights, word_bonuses): (&[f32], &[f32]) = match self.lm {
            Some(_) => (&LM_WEIGHTS, &WORD_BONUSES),
            None => (&[0.0], &[0.0]),
        };
        let mut trials = Vec::new();
        for &lm_weight in lm_weights {
            let trial =
                |&word_bonus| DecodingDefaults { lm_weight, word_bonus, beam_width: TRIAL_WIDTH, ..own.clone() };
            trials.extend(word_bonuses.iter().map(trial));
        }
        let mut line = progress::Line::new();
        let mut best = (own.clone(), f64::INFINITY);
        let all = trials.len();
        for (done, trial) in trials.into_iter().enumerate() {
            let least = 100.0 * best.1;
            if done > 0 {
                line.show(|| {
                    format!("tuning: {done} of {all} settings tried, best so far {least:.2} % of words wrong")
                });
            }
            let wer = self.wer(&trial)?;
            if wer < best.1 {
                best = (trial, wer);
            }
        }
        let width = |&beam_width| {
            let trial = DecodingDefaults { beam_width, ..best.0.clone() };
            Ok((self.wer(&trial)?, trial))
        };
        let widths = WIDTHS.iter().map(width).collect::<Result<Vec<_>>>()?;
        let least = widths.iter().map(|(wer, _)| *wer).fold(f64::INFINITY, f64::min);
        let (wer, chosen) = widths
            .into_iter()
            .find(|(wer, _)| 100.0 * (wer - least) <= WIDTH_WORTH)
            .ok_or_else(|| Failure::data("no setting of the search gave an error rate that is a number"))?;
        let greedy = self.wer(&DecodingDefaults { beam_width: 1, ..own.clone() })?;
        line.finish(&format!(
            "tuned: beam {}, language model {}, word bonus {}: {:.2} % of words wrong (greedy {:.2} %)",
            chosen.beam_width,
            chosen.lm_weight,
            chosen.word_bonus,
            100.0 * wer,
            100.0 * greedy
        ));
        Ok(chosen)
    }

    fn wer(&self, defaults: &DecodingDefaults) -> Result<f64> {
        let params = SearchParams::from(defaults);
        let heard = self.heard.iter().collect::<Vec<_>>();
        let decoder = || Ok(Decoder::new(Arc::clone(&self.units), self.lm.clone()));
        let errors = spread(&heard, self.threads, decoder, |decoder, (reference, data)| {
            let log_probs = LogProbs::new(data, self.units.len()).map_err(|e| Failure::data(e.to_string()))?;
            let decoded = decoder.decode(log_probs, &params, &HotWords::default());
            Ok(word_errors(reference, &text::normalize(&decoded.text)))
        })?;
        Ok(errors.into_iter().sum::<ErrorCounts>().rate().unwrap_or(f64::INFINITY))
    }
}

/// Calls `work` on every item, on several threads each with its own state, and keeps the order.
fn spread<I: Sync, S, R: Send>(
    items: &[I],
    threads: usize,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, &I) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                let mut own = state();
                while !interrupt::requested() {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(item), Some(slot)) = (items.get(place), results.get(place)) else { return };
                    let result = match &mut own {
                        Ok(own) => work(own, item),
                        Err(error) => Err(Failure::new(error.kind(), error.to_string())),
                    };
                    if let Ok(mut slot) = slot.lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    let stopped = || Failure::new(Kind::Interrupted, "stopped; nothing was written");
    results.into_iter().map(|slot| slot.into_inner().ok().flatten().ok_or_else(stopped)?).collect()
}

fn run(recognizer: &mut Recognizer, samples: &[f32]) -> Result<Vec<f32>> {
    recognizer.log_probs(samples).map_err(|e| Failure::software(e.to_string()))
}

/// Log-probabilities of a clip, `[frames, units]`.
pub(super) fn log_probs_of_clip(opened: &Opened, path: &Path) -> Result<Vec<f32>> {
    let mut recognizer = opened.pipeline.recognizer().map_err(|e| Failure::software(e.to_string()))?;
    run(&mut recognizer, &read_audio(path)?)
}

/// Normalised features of a clip, `[frames, 80]`.
pub(super) fn features_of_clip(opened: &Opened, path: &Path) -> Result<Vec<f32>> {
    let mut recognizer = opened.pipeline.recognizer().map_err(|e| Failure::software(e.to_string()))?;
    Ok(recognizer.features(&read_audio(path)?).to_vec())
}

/// 16 kHz mono samples of a file.
fn read_audio(path: &Path) -> Result<Vec<f32>> {
    let wrong = |e: linnet_features::audio::AudioError| Failure::data(format!("{}: {e}", path.display()));
    let bytes = Bytes::from(std::fs::read(path).map_err(|e| Failure::read(path, e))?);
    let mut reader = AudioReader::open(bytes, &Media::Detect, &AudioLimits::default()).map_err(wrong)?;
    let mut samples = Vec::new();
    while reader.read(&mut samples).map_err(wrong)? {}
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use linnet::task::decode::lm::estimate::{Counts, Pruning};
    use linnet_proto::model_config::UnitKind;

    use super::*;

    const NAMES: [&str; 6] = ["<blank>", "▁", "a", "b", "c", "t"];

    /// Frames in which the given units have these probabilities, and the rest is the blank's.
    fn frames(frames: &[&[(usize, f32)]]) -> Vec<f32> {
        let mut out = Vec::new();
        for units in frames {
            let mut row = [1e-5f32; NAMES.len()];
            row[0] = 1.0 - units.iter().map(|(_, p)| p).sum::<f32>() + 1e-5;
            units.iter().for_each(|(unit, p)| row[*unit] = *p);
            out.extend(row.map(f32::ln));
        }
        out
    }

    /// The sound is nearer to "cab", the language to "cat".
    fn search(with_lm: bool) -> Search {
        let mut counts = Counts::new(2, ["cab", "cat"]).expect("two words");
        for _ in 0..50 {
            counts.add_sentence(["cat"]);
        }
        counts.add_sentence(["cab"]);
        let lm = counts.estimate(&Pruning(vec![0, 0]), 1000).expect("estimates");
        let cat = frames(&[&[(4, 0.95)], &[(2, 0.95)], &[(3, 0.5), (5, 0.45)]]);
        Search {
            units: Arc::new(Units::new(&NAMES, 0, UnitKind::Characters).expect("well formed")),
            lm: with_lm.then(|| Arc::new(lm)),
            heard: vec![("cat".into(), cat.clone()), ("cat".into(), cat)],
            threads: 2,
        }
    }

    #[test]
    fn a_language_model_that_helps_gets_weight() {
        let (search, own) = (search(true), DecodingDefaults { hot_word_boost: 7.0, ..DecodingDefaults::default() });
        assert_eq!(
            search.wer(&DecodingDefaults { lm_weight: 0.0, word_bonus: 0.0, ..own.clone() }).expect("decodes"),
            1.0
        );
        let best = search.best(&own).expect("tunes");
        assert_eq!(search.wer(&best).expect("decodes"), 0.0);
        assert!(best.lm_weight > 0.0);
        assert_eq!(
            (best.beam_width, best.hot_word_boost),
            (WIDTHS[0], 7.0),
            "the cheapest beam, and the rest as it was"
        );
    }

    #[test]
    fn without_a_language_model_nothing_is_weighed() {
        let best = search(false).best(&DecodingDefaults::default()).expect("tunes");
        assert_eq!((best.lm_weight, best.word_bonus), (0.0, 0.0));
    }
}
