//! Cuts audio of any length into pieces that the model takes: at silences, else at the quietest place.

use std::collections::VecDeque;

use linnet_features::audio::SAMPLE_RATE;

use super::activity::{Activity, BLOCK_SAMPLES, Block};

/// Blocks of a second.
const BLOCKS_PER_SEC: f64 = SAMPLE_RATE as f64 / BLOCK_SAMPLES as f64;
/// Silence that is left before and after speech where there is some: 0.3 s. Weak beginnings and ends lie in it.
const MARGIN_BLOCKS: usize = 30;
/// Speech in a piece that is worth a run: 80 ms, of which the averaging makes up half.
const LEAST_SPEECH_BLOCKS: usize = 8;
/// A quietest place is sought with this many blocks on either side.
const CUT_BLOCKS: usize = 7;

/// A stretch of audio with speech in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Number of its first sample from the beginning of the audio.
    pub start: u64,
    /// Its samples, 16 kHz mono.
    pub samples: Vec<f32>,
    /// Whether a silence follows, or the end; otherwise it was cut within speech, and the next piece follows at once.
    pub ends_in_pause: bool,
}

impl Piece {
    /// Number of the sample after its last one.
    pub fn end(&self) -> u64 {
        self.start + self.samples.len() as u64
    }
}

/// Splits audio that comes in chunks of any length. It holds one piece and about a second more, never the whole, and
/// gives the same pieces for any chunking.
#[derive(Debug)]
pub struct Splitter {
    most_blocks: usize,
    activity: Activity,
    /// Samples from block `first` on.
    samples: VecDeque<f32>,
    /// Decided blocks from block `first` on.
    blocks: VecDeque<Block>,
    first: u64,
    open: Option<Open>,
    ended: bool,
}

/// A piece that has begun; places are blocks counted from `Splitter::first`.
#[derive(Debug, Clone, Copy)]
struct Open {
    start: usize,
    /// The block after the last one with speech.
    speech_end: usize,
    speech_blocks: usize,
    /// It goes on where a piece was cut, so what it has of speech belongs to that.
    continues: bool,
}

impl Splitter {
    /// Pieces will be at most `max_secs` long.
    pub fn new(max_secs: f64) -> Self {
        Self {
            most_blocks: ((max_secs * BLOCKS_PER_SEC) as usize).max(2 * MARGIN_BLOCKS),
            activity: Activity::default(),
            samples: VecDeque::new(),
            blocks: VecDeque::new(),
            first: 0,
            open: None,
            ended: false,
        }
    }

    /// Takes the next samples. Call [`Self::next`] until it gives nothing before pushing more.
    pub fn push(&mut self, samples: &[f32]) {
        debug_assert!(!self.ended);
        self.samples.extend(samples);
        self.activity.push(samples);
    }

    /// Ends the audio; [`Self::next`] then gives the last pieces.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.activity.finish();
        }
    }

    /// Samples that are held now.
    pub fn held(&self) -> usize {
        self.samples.len()
    }

    /// The next piece, as soon as its end is known.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have ended for good after the first None")]
    pub fn next(&mut self) -> Option<Piece> {
        while let Some(block) = self.activity.next() {
            if let Some(piece) = self.step(block) {
                return Some(piece);
            }
        }
        if !self.ended {
            return None;
        }
        let open = self.open.take()?;
        self.close(open, (open.speech_end + MARGIN_BLOCKS).min(self.blocks.len()))
    }

    fn step(&mut self, block: Block) -> Option<Piece> {
        let at = self.blocks.len();
        self.blocks.push_back(block);
        let Some(open) = &mut self.open else {
            if block.speech {
                let start = at.saturating_sub(MARGIN_BLOCKS);
                self.open = Some(Open { start, speech_end: at + 1, speech_blocks: 1, continues: false });
            } else {
                self.forget(self.blocks.len().saturating_sub(MARGIN_BLOCKS));
            }
            return None;
        };
        if block.speech {
            open.speech_end = at + 1;
            open.speech_blocks += 1;
        }
        let open = *open;
        let (length, silence) = (at + 1 - open.start, at + 1 - open.speech_end);
        if silence >= self.pause_blocks(length) {
            self.open = None;
            self.close(open, open.speech_end + silence.min(MARGIN_BLOCKS))
        } else if length == self.most_blocks {
            self.cut(open)
        } else {
            None
        }
    }

    /// Silence that ends a piece of `length`: the longer the piece, the less is waited for. Words that are said within
    /// one breath stay together, since a model knows them better so.
    fn pause_blocks(&self, length: usize) -> usize {
        match 4 * length / self.most_blocks {
            0 | 1 => 80,
            2 => 40,
            _ => 20,
        }
    }

    /// Ends a piece before block `end`, in silence.
    fn close(&mut self, open: Open, end: usize) -> Option<Piece> {
        let piece = self.take(open.start, end, true);
        (open.continues || open.speech_blocks >= LEAST_SPEECH_BLOCKS).then_some(piece)
    }

    /// Ends a piece that has no silence at its quietest place in its second half; what is left goes on.
    fn cut(&mut self, open: Open) -> Option<Piece> {
        let loudness = |place: usize| -> f32 {
            let around = place.saturating_sub(CUT_BLOCKS).max(open.start)..(place + CUT_BLOCKS).min(self.blocks.len());
            let blocks = around.len() as f32;
            self.blocks.range(around).map(|b| b.energy).sum::<f32>() / blocks
        };
        let (from, to) = (open.start + self.most_blocks / 2, open.start + self.most_blocks);
        let cut = (from..to).min_by(|a, b| loudness(*a).total_cmp(&loudness(*b))).unwrap_or(to);
        let rest = self.blocks.range(cut..);
        let speech_blocks = rest.clone().filter(|b| b.speech).count();
        let speech_end = rest.clone().rposition(|b| b.speech).map_or(0, |last| last + 1);
        self.open = (speech_blocks > 0).then_some(Open { start: 0, speech_end, speech_blocks, continues: true });
        Some(self.take(open.start, cut, speech_blocks == 0))
    }

    /// Takes out the blocks `start..end` and forgets what lies before them.
    fn take(&mut self, start: usize, end: usize, ends_in_pause: bool) -> Piece {
        self.forget(start);
        let samples = ((end - start) * BLOCK_SAMPLES).min(self.samples.len());
        let piece = Piece {
            start: self.first * BLOCK_SAMPLES as u64,
            samples: self.samples.drain(..samples).collect(),
            ends_in_pause,
        };
        self.blocks.drain(..end - start);
        self.first += (end - start) as u64;
        piece
    }

    fn forget(&mut self, blocks: usize) {
        self.blocks.drain(..blocks);
        self.samples.drain(..(blocks * BLOCK_SAMPLES).min(self.samples.len()));
        self.first += blocks as u64;
    }
}

#[cfg(test)]
#[path = "splitter_tests.rs"]
mod tests;
