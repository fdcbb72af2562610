//! Audio in: containers and codecs to 16 kHz mono `f32` in `[-1, 1]`.
//!
//! | container | codecs |
//! |---|---|
//! | WAV (RIFF, RF64) | PCM of 1 to 32 bits, float of 32 and 64, A-law, mu-law |
//! | FLAC | FLAC |
//! | MP3 | MPEG audio layer 3 |
//! | Ogg | Vorbis, Opus, FLAC |
//! | WebM, Matroska | Opus, Vorbis, FLAC, AAC-LC, MP3, PCM |
//! | M4A, MP4 | AAC-LC, FLAC, Opus, MP3, PCM |
//! | ADTS | AAC-LC |
//! | none ([`Media::L16`]) | PCM of 16 bits |
//!
//! The bytes decide what they are, a name or a type only helps. What a container says about itself is checked against
//! [`AudioLimits`] before anything is decoded, and what comes out is checked again. A file that breaks off yields what was
//! heard; one of which nothing can be heard is refused.

mod container;
mod error;
mod limits;
mod mix;
mod mp4_edits;
mod opus;
mod opus_packet;
mod pcm;
mod reader;
pub mod resample;
mod sniff;
mod source;
#[cfg(test)]
mod tests;
mod wav;

pub use error::AudioError;
pub use limits::AudioLimits;
pub use reader::AudioReader;

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
