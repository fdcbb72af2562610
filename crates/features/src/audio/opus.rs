//! Opus in Ogg (RFC 7845) and in WebM: the identification header, the pre-skip, the gain, the trim at the end, and the
//! streams of which surround sound is made.

use rusty_opus::OpusDecoder;
use symphonia::core::packet::Packet;

use super::AudioError;
use super::opus_packet::split_first;
use super::source::Form;

/// Opus counts in samples of this rate whatever was recorded.
const RATE: u32 = 48_000;

/// Longest packet: 120 ms.
const MAX_PACKET_FRAMES: usize = 5_760;

/// One Opus track.
pub(super) struct Opus {
    /// The coupled ones, of two channels, come first.
    streams: Vec<Stream>,
    /// For each channel its decoded channel among those of all streams; none for silence.
    mapping: Vec<Option<usize>>,
    /// Frames at the start that are still to drop.
    skip: usize,
    gain: f32,
}

struct Stream {
    decoder: OpusDecoder,
    channels: usize,
    /// The samples of one packet, interleaved.
    pcm: Vec<f32>,
}

impl Opus {
    /// `head` is the identification header of RFC 7845, section 5.1.
    pub(super) fn new(head: &[u8]) -> Result<Self, AudioError> {
        if head.len() < 19 || !head.starts_with(b"OpusHead") {
            return Err(broken("it ends too early"));
        }
        let (version, channels, family) = (head[8], head[9], head[18]);
        if version >> 4 != 0 {
            return Err(AudioError::Unsupported(format!("the Opus audio has version {version}; version 1 is read")));
        }
        let skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
        let gain_db = f32::from(i16::from_le_bytes([head[16], head[17]])) / 256.0;
        let (streams, coupled, mapping) = match (family, channels) {
            (0, 1) => (1, 0, &[0][..]),
            (0, 2) => (1, 1, &[0, 1][..]),
            (1, 1..=8) | (255, 1..) => {
                let mapping = head.get(21..21 + usize::from(channels));
                let mapping = mapping.ok_or_else(|| broken("its channel mapping is cut off"))?;
                (head[19], head[20], mapping)
            }
            (0 | 1 | 255, _) => {
                return Err(broken(&format!("it has {channels} channels, which its mapping family {family} has not")));
            }
            _ => {
                return Err(AudioError::Unsupported(format!(
                    "the Opus audio has channel mapping family {family}; 0, 1 and 255 are read; mix it down first"
                )));
            }
        };
        let outputs = usize::from(streams) + usize::from(coupled);
        if streams == 0 || coupled > streams || outputs > 255 {
            return Err(broken(&format!("it has {streams} streams, {coupled} of them coupled")));
        }
        if let Some(output) = mapping.iter().find(|m| **m != 255 && usize::from(**m) >= outputs) {
            return Err(broken(&format!("a channel is the decoded channel {output} of {outputs}")));
        }
        Ok(Self {
            streams: (0..streams).map(|s| Stream::new(if s < coupled { 2 } else { 1 })).collect::<Result<_, _>>()?,
            mapping: mapping.iter().map(|m| (*m != 255).then_some(usize::from(*m))).collect(),
            skip,
            gain: 10f32.powf(gain_db / 20.0),
        })
    }

    /// Puts the packet's samples into `interleaved`, or says what is wrong with it.
    pub(super) fn decode(&mut self, packet: &Packet, interleaved: &mut Vec<f32>) -> Result<Form, String> {
        let frames = self.decode_streams(&packet.data)?;
        let end = frames.saturating_sub(usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX));
        let start = self.skip.min(end);
        self.skip -= self.skip.min(frames);
        let places: Vec<Option<(usize, usize)>> = self.mapping.iter().map(|m| m.map(|m| self.place(m))).collect();
        for frame in start..end {
            interleaved.extend(places.iter().map(|place| match *place {
                Some((stream, channel)) => {
                    let stream = &self.streams[stream];
                    stream.pcm[frame * stream.channels + channel] * self.gain
                }
                None => 0.0,
            }));
        }
        Ok(Form { rate: RATE, channels: places.len() as u16 })
    }

    /// Decodes every stream's part of the packet; the number of frames of each.
    fn decode_streams(&mut self, packet: &[u8]) -> Result<usize, String> {
        let mut rest = packet.to_vec();
        let mut frames = None;
        let last = self.streams.len() - 1;
        for (i, stream) in self.streams.iter_mut().enumerate() {
            let own = if i < last {
                let (own, others) = split_first(&rest).ok_or("a stream of the packet is cut off")?;
                rest = others.to_vec();
                own
            } else {
                std::mem::take(&mut rest)
            };
            if own.is_empty() {
                return Err("an empty packet".to_owned());
            }
            let decoded = stream.decoder.decode(&own, MAX_PACKET_FRAMES, &mut stream.pcm).map_err(|e| e.to_string())?;
            if *frames.get_or_insert(decoded) != decoded || decoded > MAX_PACKET_FRAMES {
                return Err("the streams of a packet differ in length".to_owned());
            }
        }
        Ok(frames.unwrap_or(0))
    }

    /// Stream and channel in it of a decoded channel.
    fn place(&self, output: usize) -> (usize, usize) {
        let coupled = self.streams.iter().filter(|s| s.channels == 2).count();
        if output < 2 * coupled { (output / 2, output % 2) } else { (output - coupled, 0) }
    }
}

impl Stream {
    fn new(channels: usize) -> Result<Self, AudioError> {
        let decoder = OpusDecoder::new(RATE as i32, channels).map_err(|e| broken(&e.to_string()))?;
        Ok(Self { decoder, channels, pcm: vec![0.0; MAX_PACKET_FRAMES * channels] })
    }
}

fn broken(what: &str) -> AudioError {
    AudioError::Malformed(format!("the header of the Opus audio is broken: {what}"))
}

#[cfg(test)]
mod tests {
    use symphonia::core::packet::PacketBuilder;
    use symphonia::core::units::{Duration, Timestamp};

    use super::*;

    /// An identification header; `mapping` is what stands behind the family.
    fn head(channels: u8, skip: u16, gain: i16, family: u8, mapping: &[u8]) -> Vec<u8> {
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        head.extend(skip.to_le_bytes());
        head.extend(48_000u32.to_le_bytes());
        head.extend(gain.to_le_bytes());
        head.push(family);
        head.extend(mapping);
        head
    }

    /// 20 ms of full-band CELT without sound.
    fn silence(trim_end: u64) -> Packet {
        PacketBuilder::new()
            .track_id(0)
            .pts(Timestamp::ZERO)
            .dur(Duration::new(960))
            .data(vec![0xf8, 0xff, 0xfe])
            .trim_end(Duration::new(trim_end))
            .build()
    }

    #[test]
    fn headers_that_describe_nothing_are_refused() {
        for (head, words) in [
            (head(1, 0, 0, 0, &[])[..18].to_vec(), "ends too early"),
            (head(0, 0, 0, 0, &[]), "0 channels"),
            (head(3, 0, 0, 0, &[]), "3 channels"),
            (head(9, 0, 0, 1, &[9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), "9 channels"),
            (head(2, 0, 0, 1, &[2, 0, 0]), "mapping is cut off"),
            (head(1, 0, 0, 1, &[1]), "mapping is cut off"),
            (head(1, 0, 0, 255, &[]), "mapping is cut off"),
            (head(2, 0, 0, 1, &[0, 0, 0, 1]), "0 streams"),
            (head(2, 0, 0, 1, &[1, 2, 0, 1]), "1 streams, 2 of them coupled"),
            (head(2, 0, 0, 1, &[2, 0, 0, 2]), "decoded channel 2 of 2"),
        ] {
            let e = Opus::new(&head).err().expect("a refusal");
            assert!(matches!(&e, AudioError::Malformed(m) if m.contains(words)), "{words}: {e:?}");
        }
        for head in [head(4, 0, 0, 2, &[4, 0, 0, 1, 2, 3]), [b"OpusHead\x11", &head(1, 0, 0, 0, &[])[9..]].concat()] {
            assert!(matches!(Opus::new(&head), Err(AudioError::Unsupported(_))));
        }
    }

    #[test]
    fn the_start_and_the_end_are_left_out_as_the_file_says() {
        let mut opus = Opus::new(&head(2, 1_000, 0, 0, &[])).expect("a header");
        let mut heard = Vec::new();
        for (trim_end, frames) in [(0, 0), (0, 920), (0, 960), (500, 460), (2_000, 0)] {
            heard.clear();
            let form = opus.decode(&silence(trim_end), &mut heard).expect("a packet");
            assert_eq!((form.rate, form.channels, heard.len()), (48_000, 2, 2 * frames));
        }
        assert!(opus.decode(&Packet::new(0, Timestamp::ZERO, Duration::ZERO, vec![]), &mut heard).is_err());
    }

    #[test]
    fn the_gain_is_in_steps_of_a_256th_of_a_decibel() {
        let gain = |g| Opus::new(&head(1, 0, g, 0, &[])).expect("a header").gain;
        assert_eq!(gain(0), 1.0);
        assert!((gain(256 * 6) - 1.995_262).abs() < 1e-5);
        assert!((gain(-256 * 20) - 0.1).abs() < 1e-6);
    }
}
