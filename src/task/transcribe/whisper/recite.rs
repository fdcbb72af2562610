//! What a canary asks of Whisper: one window of a made sound.

use linnet_features::audio::SAMPLE_RATE;
use linnet_features::logmel::WhisperMel;

use super::config::TIME_PRECISION;
use super::execute::Writer;
use super::plan::{Before, Plan};
use super::rules::{Rules, log_sum_exp};
use super::write::{self, Begun, best};
use crate::engine::Positions;
use crate::task::model::LanguageModel;
use crate::task::transcribe::canary::{Recite, Recited};

/// Tokens that a canary holds at most.
const MOST_TOKENS: usize = 24;

impl Recite for Writer {
    fn recite(&mut self, sound: &[f32]) -> Result<Recited, String> {
        let mut recited = Recited::default();
        self.follow(sound, |scores, raw, end| {
            let token = best(scores);
            let rest = scores.iter().enumerate().filter(|(id, _)| *id as u32 != token).map(|(_, score)| *score);
            let second = rest.fold(f32::NEG_INFINITY, f32::max);
            recited.tokens.push(token);
            recited.margins.push(scores[token as usize] - second);
            recited.logprobs.push(raw[token as usize] - log_sum_exp(raw));
            (token != end && recited.tokens.len() < MOST_TOKENS).then_some(token)
        })?;
        Ok(recited)
    }

    fn logprobs(&mut self, sound: &[f32], tokens: &[u32]) -> Result<Vec<f32>, String> {
        let mut left = tokens.iter().copied();
        let mut logprobs = Vec::new();
        self.follow(sound, |_, raw, _| {
            let token = left.next()?;
            logprobs.push(raw.get(token as usize)? - log_sum_exp(raw));
            Some(token)
        })?;
        Ok(logprobs)
    }
}

impl Writer {
    /// Asks `next` for token after token, with the scores by the rules, the raw logits and the id of the end, until it gives none.
    fn follow(
        &mut self,
        sound: &[f32],
        mut next: impl FnMut(&[f32], &[f32], u32) -> Option<u32>,
    ) -> Result<(), String> {
        let shared = std::sync::Arc::clone(&self.shared);
        let settings = &shared.settings;
        let length = (settings.positions as f64 * TIME_PRECISION * f64::from(SAMPLE_RATE)) as usize;
        let mel = WhisperMel::with_bins(settings.mel_bins).log_mel(sound, length);
        let (bins, frames) = (settings.mel_bins, settings.window());
        let mut features = vec![0.0; bins * frames];
        for (place, frame) in mel.chunks_exact(bins).enumerate().take(frames) {
            frame.iter().enumerate().for_each(|(bin, value)| features[bin * frames + place] = *value);
        }
        self.listen(features).map_err(|e| e.to_string())?;
        let language = settings.languages.keys().find(|tag| *tag == "en").or(settings.languages.keys().next());
        let plan =
            Plan::new(&Default::default(), false, &shared.name, settings, &shared.tokens).map_err(|e| e.message)?;
        let prefix = plan.prefix(settings, language.map(String::as_str), &Before::new(&plan));
        let decoder = &mut self.decoder;
        let begun: Begun = write::begin(decoder, &prefix, &mut || Ok(())).map_err(|e| e.message)?;
        let Begun { mut sequences, logits: mut raw, .. } = begun;
        let rules = Rules::new(settings, true);
        let mut written = Vec::new();
        while prefix.ids.len() + written.len() < settings.max_length {
            let mut scores = raw.clone();
            rules.apply(&mut scores, &written);
            let Some(token) = next(&scores, &raw, settings.end) else { break };
            written.push(token);
            let stepped = decoder.step(&mut sequences, &[vec![token]], Positions::Last).map_err(|e| e.to_string())?;
            raw = stepped.last(0).to_vec();
        }
        Ok(())
    }
}
