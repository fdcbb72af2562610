//! What a canary asks of a CTC model: the greedy path through a made sound.

use super::recognizer::Recognizer;
use crate::task::decode::LogProbs;
use crate::task::decode::ctc::greedy;
use crate::task::transcribe::canary::{Recite, Recited};

impl Recite for Recognizer {
    fn recite(&mut self, sound: &[f32]) -> Result<Recited, String> {
        let data = self.log_probs(sound).map_err(|e| e.to_string())?;
        let (units, blank) = (self.shared().acoustics.units, self.shared().units.blank());
        let log_probs = LogProbs::new(&data, units).map_err(|e| e.to_string())?;
        let spans = greedy::search(log_probs, blank);
        let margin = greedy::margin(log_probs, blank) as f32;
        Ok(Recited {
            tokens: spans.iter().map(|span| span.unit).collect(),
            margins: vec![margin; spans.len() + 1],
            logprobs: best_of_frames(&data, units),
        })
    }

    /// The path has no other units to follow: the fingerprint is the best of every frame, whatever it is.
    fn logprobs(&mut self, sound: &[f32], _tokens: &[u32]) -> Result<Vec<f32>, String> {
        let data = self.log_probs(sound).map_err(|e| e.to_string())?;
        Ok(best_of_frames(&data, self.shared().acoustics.units))
    }
}

fn best_of_frames(data: &[f32], units: usize) -> Vec<f32> {
    data.chunks_exact(units).map(|frame| frame.iter().copied().fold(f32::NEG_INFINITY, f32::max)).collect()
}
