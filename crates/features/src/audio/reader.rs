//! The one entrance: any audio to 16 kHz mono.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::resample::Resampler;
use super::source::{Form, Source};
use super::{AudioError, AudioLimits, Media, SAMPLE_RATE, sniff};

/// Decodes, mixes to mono (the mean of the channels) and resamples chunk by chunk, in bounded memory.
///
/// A panic in a decoder comes out as [`AudioError::Malformed`]: decoders are other people's code on strangers' bytes. After
/// an error every further read gives the same error.
pub struct AudioReader {
    source: Box<dyn Source>,
    limits: AudioLimits,
    declared_secs: Option<f64>,
    resampler: Option<(Form, Resampler)>,
    mono: Vec<f32>,
    decoded_secs: f64,
    state: State,
}

#[derive(Clone)]
enum State {
    Reading,
    Ended,
    Failed(AudioError),
}

impl AudioReader {
    /// Probes the header and checks `limits` before anything is decoded.
    pub fn open(bytes: Bytes, media: &Media, limits: &AudioLimits) -> Result<Self, AudioError> {
        let source = guard(|| sniff::open(bytes, media))?;
        if let Some(form) = source.form() {
            limits.check_form(form)?;
        }
        let declared_secs = source.declared_secs();
        if let Some(secs) = declared_secs {
            limits.check_declared(secs)?;
        }
        Ok(Self {
            source,
            limits: limits.clone(),
            declared_secs,
            resampler: None,
            mono: Vec::new(),
            decoded_secs: 0.0,
            state: State::Reading,
        })
    }

    /// Length that the header declares, seconds. What comes out may be shorter.
    pub fn declared_secs(&self) -> Option<f64> {
        self.declared_secs
    }

    /// Appends the next 16 kHz mono samples to `out`; `false` at the end, when nothing was appended.
    ///
    /// One call decodes a packet or a few: some thousand samples at most, except for codecs with huge blocks.
    pub fn read(&mut self, out: &mut Vec<f32>) -> Result<bool, AudioError> {
        let start = out.len();
        while out.len() == start {
            match &self.state {
                State::Reading => {}
                State::Ended => return Ok(false),
                State::Failed(e) => return Err(e.clone()),
            }
            if let Err(e) = self.step(out) {
                self.state = State::Failed(e.clone());
                return Err(e);
            }
        }
        Ok(true)
    }

    fn step(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.mono.clear();
        let (source, mono) = (&mut self.source, &mut self.mono);
        if !guard(|| source.read(mono))? {
            self.state = State::Ended;
            return match &mut self.resampler {
                Some((_, resampler)) => resampler.finish(out),
                None => Err(AudioError::Empty),
            };
        }
        let Some(form) = self.source.form() else { return Ok(()) };
        if self.resampler.as_ref().is_none_or(|(known, _)| *known != form) {
            self.change_form(form, out)?;
        }
        self.decoded_secs += self.mono.len() as f64 / f64::from(form.rate);
        self.limits.check_decoded(self.decoded_secs)?;
        match &mut self.resampler {
            Some((_, resampler)) => resampler.push(&self.mono, out),
            None => Ok(()),
        }
    }

    /// The first samples, or a header that did not say the truth, or the next part of a chained stream.
    fn change_form(&mut self, form: Form, out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.limits.check_form(form)?;
        if let Some((known, resampler)) = &mut self.resampler {
            if known.rate == form.rate {
                known.channels = form.channels;
                return Ok(());
            }
            resampler.finish(out)?;
        }
        self.resampler = Some((form, Resampler::new(form.rate, SAMPLE_RATE)?));
        Ok(())
    }
}

/// Runs a decoder.
fn guard<T>(decode: impl FnOnce() -> Result<T, AudioError>) -> Result<T, AudioError> {
    // A source that panicked is not read again: the reader has failed.
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(AudioError::Malformed(
            "the audio is broken in a way that its decoder does not withstand; check that the file plays elsewhere"
                .to_owned(),
        ))
    })
}
