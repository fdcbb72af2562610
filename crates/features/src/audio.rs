//! Audio in: containers and codecs to 16 kHz mono `f32` in `[-1, 1]`.

use bytes::Bytes;

/// The rate that every model here takes, samples per second.
pub const SAMPLE_RATE: u32 = 16_000;

/// What a caller says that the bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Media {
    /// Find out from the bytes themselves.
    #[default]
    Detect,
    /// A file name's extension or a MIME type (`wav`, `audio/ogg`): a hint, the bytes decide.
    Hint(String),
    /// Raw signed 16-bit PCM, interleaved (`audio/l16;rate=…;channels=…`).
    L16 {
        /// Samples per second and channel.
        rate: u32,
        /// Channels.
        channels: u16,
        /// RFC 2586 says network byte order; what people send is little-endian unless they say otherwise.
        big_endian: bool,
    },
}

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

/// Why audio was refused. Each names the thing, the rule and the way out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AudioError {
    /// Not a container or codec that Linnet reads.
    #[error("{0}")]
    Unsupported(String),
    /// The bytes are broken or the header lies.
    #[error("{0}")]
    Malformed(String),
    /// No samples.
    #[error("the audio holds no samples; send at least one")]
    Empty,
    /// A limit is exceeded.
    #[error("{0}")]
    TooLarge(String),
    /// A rate or a number of channels outside the rule.
    #[error("{0}")]
    OutOfRange(String),
}

/// Decodes, mixes to mono and resamples chunk by chunk, in bounded memory.
pub struct AudioReader {
    _private: (),
}

impl AudioReader {
    /// Probes the header and checks `limits` before anything is decoded.
    pub fn open(_bytes: Bytes, _media: &Media, _limits: &AudioLimits) -> Result<Self, AudioError> {
        Err(AudioError::Unsupported("not built yet".into()))
    }

    /// Length that the header declares, seconds.
    pub fn declared_secs(&self) -> Option<f64> {
        None
    }

    /// Appends the next 16 kHz mono samples to `out`; `false` at the end.
    pub fn read(&mut self, _out: &mut Vec<f32>) -> Result<bool, AudioError> {
        Ok(false)
    }
}
