//! What audio may claim and hold.

use super::AudioError;
use super::source::Form;

/// Limits that are checked from the header, before decoding, and again while decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioLimits {
    /// Longest audio, seconds.
    pub max_secs: f64,
    /// Lowest rate, Hz.
    pub min_rate: u32,
    /// Highest rate, Hz.
    pub max_rate: u32,
    /// Most channels.
    pub max_channels: u16,
}

impl Default for AudioLimits {
    fn default() -> Self {
        Self { max_secs: 4.0 * 3600.0, min_rate: 4_000, max_rate: 384_000, max_channels: 8 }
    }
}

impl AudioLimits {
    /// Whether audio of this form is taken.
    pub(super) fn check_form(&self, form: Form) -> Result<(), AudioError> {
        let Form { rate, channels } = form;
        let Self { min_rate, max_rate, max_channels, .. } = self;
        if !(*min_rate..=*max_rate).contains(&rate) {
            return Err(AudioError::OutOfRange(format!(
                "the audio has a rate of {rate} Hz; it must lie between {min_rate} and {max_rate} Hz; resample it first"
            )));
        }
        if !(1..=*max_channels).contains(&channels) {
            return Err(AudioError::OutOfRange(format!(
                "the audio has {channels} channels; it must have 1 to {max_channels}; mix it down first"
            )));
        }
        Ok(())
    }

    /// Whether a length that the header declares is taken.
    pub(super) fn check_declared(&self, secs: f64) -> Result<(), AudioError> {
        if secs > self.max_secs {
            return Err(AudioError::TooLarge(format!(
                "the audio's header declares {secs:.1} s; at most {} s are taken; send it in parts",
                self.max_secs
            )));
        }
        Ok(())
    }

    /// Whether the audio decoded so far is still within its length.
    pub(super) fn check_decoded(&self, secs: f64) -> Result<(), AudioError> {
        if secs > self.max_secs {
            return Err(AudioError::TooLarge(format!(
                "the audio goes on beyond {} s, which is the limit; send it in parts",
                self.max_secs
            )));
        }
        Ok(())
    }
}
