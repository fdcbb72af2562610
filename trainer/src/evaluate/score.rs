//! Errors of a whole set, and of each speaker in it.

use std::collections::BTreeMap;

use linnet_features::wer::{ErrorCounts, char_errors, word_errors};

use super::Heard;

/// Errors of some recordings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// Recordings.
    pub utterances: usize,
    /// In words.
    pub words: ErrorCounts,
    /// In characters, the blanks between words counted.
    pub chars: ErrorCounts,
    /// Recordings without an error.
    pub right: usize,
    /// Length of the audio, seconds.
    pub audio_secs: f64,
    /// Work of one thread, seconds.
    pub busy_secs: f64,
}

impl Score {
    fn add(&mut self, heard: &Heard) {
        let words = word_errors(&heard.utterance.text, &heard.text);
        self.utterances += 1;
        self.words += words;
        self.chars += char_errors(&heard.utterance.text, &heard.text);
        self.right += usize::from(words.errors() == 0);
        self.audio_secs += heard.audio_secs;
        self.busy_secs += heard.busy_secs;
    }

    /// Word errors per word of the reference; 0 without a reference.
    pub fn wer(&self) -> f64 {
        self.words.rate().unwrap_or(0.0)
    }

    /// Character errors per character of the reference; 0 without a reference.
    pub fn cer(&self) -> f64 {
        self.chars.rate().unwrap_or(0.0)
    }

    /// Work per second of audio, on one thread.
    pub fn rtf(&self) -> f64 {
        if self.audio_secs > 0.0 { self.busy_secs / self.audio_secs } else { 0.0 }
    }
}

/// Errors of one speaker.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeakerScore {
    /// Who speaks.
    pub speaker: String,
    /// Errors.
    pub score: Score,
}

/// Errors of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetScore {
    /// Of everything.
    pub total: Score,
    /// Of each speaker, by name.
    pub speakers: Vec<SpeakerScore>,
}

impl SetScore {
    /// Adds up.
    pub fn new(heard: &[Heard]) -> Self {
        let mut total = Score::default();
        let mut speakers = BTreeMap::<&str, Score>::new();
        for one in heard {
            total.add(one);
            speakers.entry(&one.utterance.speaker).or_default().add(one);
        }
        let speakers =
            speakers.into_iter().map(|(speaker, score)| SpeakerScore { speaker: speaker.to_owned(), score }).collect();
        Self { total, speakers }
    }
}
