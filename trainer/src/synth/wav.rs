//! WAV files of the voice programs in, 16-bit mono WAV files out.

use std::path::Path;

use linnet_features::audio::SAMPLE_RATE;

/// Mono samples in `[-1, 1]` and their rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// Samples per second.
    pub rate: u32,
    /// Samples.
    pub samples: Vec<f32>,
}

/// Reads the bytes of a 16-bit PCM mono WAV file. A declared length beyond the end is that of a program that wrote to a
/// pipe: what is there counts.
pub fn parse(bytes: &[u8]) -> Result<Sound, String> {
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err("no WAV file came".into());
    }
    let (mut rest, mut rate) = (&bytes[12..], 0);
    while let Some((head, body)) = rest.split_at_checked(8) {
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let body_len = size.min(body.len());
        match &head[..4] {
            b"fmt " if body_len >= 16 => {
                let field = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]);
                if (field(0), field(2), field(14)) != (1, 1, 16) {
                    return Err("the WAV file is not 16-bit PCM mono".into());
                }
                rate = u32::from_le_bytes([body[4], body[5], body[6], body[7]]);
            }
            b"data" if rate > 0 => {
                let samples = body[..body_len].chunks_exact(2);
                let samples = samples.map(|s| f32::from(i16::from_le_bytes([s[0], s[1]])) / 32768.0).collect();
                return Ok(Sound { rate, samples });
            }
            _ => {}
        }
        rest = body.get(size + size % 2..).unwrap_or(&[]);
    }
    Err("the WAV file has no samples".into())
}

/// The bytes of a 16-bit mono WAV file of 16 kHz samples; what is beyond `[-1, 1]` clips.
pub fn to_bytes(samples: &[f32]) -> Vec<u8> {
    let data_bytes = 2 * samples.len() as u32;
    let mut out = Vec::with_capacity(44 + data_bytes as usize);
    out.extend(b"RIFF");
    out.extend((36 + data_bytes).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(1u16.to_le_bytes());
    out.extend(1u16.to_le_bytes());
    out.extend(SAMPLE_RATE.to_le_bytes());
    out.extend((2 * SAMPLE_RATE).to_le_bytes());
    out.extend(2u16.to_le_bytes());
    out.extend(16u16.to_le_bytes());
    out.extend(b"data");
    out.extend(data_bytes.to_le_bytes());
    // `as` saturates.
    out.extend(samples.iter().flat_map(|s| ((s * 32767.0).round() as i16).to_le_bytes()));
    out
}

/// Writes [`to_bytes`] beside `path` and moves it there, so that a file that exists is whole.
pub fn write(path: &Path, samples: &[f32]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, to_bytes(samples))?;
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let samples: Vec<f32> = (-50..50).map(|i| i as f32 / 50.0).collect();
        let sound = parse(&to_bytes(&samples)).expect("a WAV file");
        assert_eq!((sound.rate, sound.samples.len()), (16_000, 100));
        assert!(sound.samples.iter().zip(&samples).all(|(a, b)| (a - b).abs() < 1e-4));
        let loud = parse(&to_bytes(&[7.0, -7.0])).expect("a WAV file");
        assert!(loud.samples[0] > 0.99 && loud.samples[1] < -0.99);
    }

    #[test]
    fn any_cut_of_a_file_is_refused_or_shorter() {
        let bytes = to_bytes(&[0.5; 20]);
        for len in 0..bytes.len() {
            match parse(&bytes[..len]) {
                Ok(sound) => assert!(len >= 44 && sound.samples.len() < 20),
                Err(_) => assert!(len < 44),
            }
        }
        assert!(parse(b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff").is_err());
    }
}
