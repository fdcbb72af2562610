//! From aligned units to words.

use super::Decoded;
use super::align::UnitSpan;
use crate::task::decode::Units;

/// A word and its frames.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedWord {
    /// The word.
    pub text: String,
    /// First frame of its first unit.
    pub start_frame: usize,
    /// The frame after its last unit's last.
    pub end_frame: usize,
    /// Geometric mean over its units of each unit's highest posterior, 0.0 to 1.0. A CTC model emits a unit as a short
    /// spike; the frames beside the spike belong to the blank and would only blur it.
    pub confidence: f32,
}

/// Words, text and mean log-posterior of aligned units. A bare word mark parts words and counts for nothing else.
pub fn assemble(spans: &[UnitSpan], units: &Units) -> Decoded {
    let mut words: Vec<DecodedWord> = Vec::new();
    let (mut word_sum, mut word_units) = (0.0f64, 0u32);
    let (mut sum, mut count) = (0.0f64, 0u32);
    let mut parted = true;
    for span in spans {
        parted |= units.starts_word(span.unit);
        let text = units.text(span.unit);
        if text.is_empty() {
            continue;
        }
        if parted {
            (word_sum, word_units) = (0.0, 0);
            words.push(DecodedWord {
                text: String::new(),
                start_frame: span.start_frame,
                end_frame: span.end_frame,
                confidence: 0.0,
            });
        }
        parted = false;
        let logprob = f64::from(span.logprob.min(0.0));
        (word_sum, word_units) = (word_sum + logprob, word_units + 1);
        (sum, count) = (sum + logprob, count + 1);
        let word = words.last_mut().expect("the first unit with text begins a word");
        word.text.push_str(text);
        word.end_frame = span.end_frame;
        word.confidence = (word_sum / f64::from(word_units)).exp() as f32;
    }
    let text = words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ");
    let avg_logprob = if count == 0 { 0.0 } else { (sum / f64::from(count)) as f32 };
    Decoded { text, words, avg_logprob }
}
