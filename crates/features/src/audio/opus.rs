//! Opus in Ogg (RFC 7845) and in WebM: the identification header, the pre-skip, the gain and the trim at the end.

use opus_decoder::{OpusDecoder, OpusMultistreamDecoder};
use symphonia::core::packet::Packet;

use super::AudioError;
use super::source::Form;

/// Opus counts in samples of this rate whatever was recorded.
const RATE: u32 = 48_000;

/// Longest packet: 120 ms.
const MAX_PACKET_FRAMES: usize = 5_760;

/// One Opus track.
pub(super) struct Opus {
    streams: Streams,
    channels: u16,
    /// Frames at the start that are still to drop.
    skip: usize,
    gain: f32,
    pcm: Vec<f32>,
}

enum Streams {
    One(Box<OpusDecoder>),
    Many(Box<OpusMultistreamDecoder>),
}

impl Opus {
    /// `head` is the identification header of RFC 7845, section 5.1.
    pub(super) fn new(head: &[u8]) -> Result<Self, AudioError> {
        let broken = |what: &str| AudioError::Malformed(format!("the header of the Opus audio is broken: {what}"));
        if head.len() < 19 || !head.starts_with(b"OpusHead") {
            return Err(broken("it ends too early"));
        }
        let (version, channels, family) = (head[8], head[9], head[18]);
        if version >> 4 != 0 {
            return Err(AudioError::Unsupported(format!("the Opus audio has version {version}; version 1 is read")));
        }
        if channels == 0 {
            return Err(broken("it has 0 channels"));
        }
        let skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
        let gain_db = f32::from(i16::from_le_bytes([head[16], head[17]])) / 256.0;
        let streams = match family {
            0 if channels <= 2 => Streams::One(Box::new(
                OpusDecoder::new(RATE, usize::from(channels)).map_err(|e| broken(&e.to_string()))?,
            )),
            0 => return Err(broken(&format!("it has {channels} channels where its family has 1 or 2"))),
            1 if channels > 8 => {
                return Err(broken(&format!("it has {channels} channels where its family has 1 to 8")));
            }
            1 | 255 => {
                let mapping =
                    head.get(21..21 + usize::from(channels)).ok_or_else(|| broken("its channel mapping is cut off"))?;
                let (streams, coupled) = (usize::from(head[19]), usize::from(head[20]));
                let outputs = streams + coupled;
                if streams == 0 || coupled > streams || outputs > 255 {
                    return Err(broken(&format!("it has {streams} streams, {coupled} of them coupled")));
                }
                if let Some(out) = mapping.iter().find(|m| **m != 255 && usize::from(**m) >= outputs) {
                    return Err(broken(&format!("a channel comes from output {out} of {outputs}")));
                }
                let decoder = OpusMultistreamDecoder::new(RATE, usize::from(channels), streams, coupled, mapping)
                    .map_err(|e| broken(&e.to_string()))?;
                Streams::Many(Box::new(decoder))
            }
            other => {
                return Err(AudioError::Unsupported(format!(
                    "the Opus audio has channel mapping family {other}; 0, 1 and 255 are read; mix it down first"
                )));
            }
        };
        let channels = u16::from(channels);
        let pcm = vec![0.0; MAX_PACKET_FRAMES * usize::from(channels)];
        Ok(Self { streams, channels, skip, gain: 10f32.powf(gain_db / 20.0), pcm })
    }

    /// Puts the packet's samples into `interleaved`, or says what is wrong with it.
    pub(super) fn decode(&mut self, packet: &Packet, interleaved: &mut Vec<f32>) -> Result<Form, String> {
        let frames = match &mut self.streams {
            Streams::One(decoder) => decoder.decode_float(&packet.data, &mut self.pcm, false),
            Streams::Many(decoder) => decoder.decode_float(&packet.data, &mut self.pcm, false),
        }
        .map_err(|e| e.to_string())?;
        let end = frames.saturating_sub(usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX));
        let start = self.skip.min(end);
        self.skip -= self.skip.min(frames);
        let channels = usize::from(self.channels);
        interleaved.extend(self.pcm[start * channels..end * channels].iter().map(|x| x * self.gain));
        Ok(Form { rate: RATE, channels: self.channels })
    }
}
