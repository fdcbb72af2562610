//! What stands between the bytes and the resampler.

use super::AudioError;

/// What a stream of samples is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Samples per second and channel.
    pub(super) rate: u32,
    /// Channels.
    pub(super) channels: u16,
}

/// Audio that can be read as mono samples at its own rate.
pub(super) trait Source: Send {
    /// The form of what [`Self::read`] gave last; before that, what the header says, if it does. It may change between two
    /// parts of a chained stream.
    fn form(&self) -> Option<Form>;

    /// Length that the header declares, seconds.
    fn declared_secs(&self) -> Option<f64>;

    /// Appends some more samples, all of one rate; `false` at the end.
    fn read(&mut self, mono: &mut Vec<f32>) -> Result<bool, AudioError>;
}
