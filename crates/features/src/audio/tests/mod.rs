//! The reader as its callers see it.

mod bad;
mod goldens;
mod property;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;

use super::{AudioError, AudioLimits, AudioReader, Media};

/// A file beside `generate.py`.
fn golden(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/audio").join(name);
    Bytes::from(fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn hear(bytes: impl Into<Bytes>, media: &Media) -> Result<Vec<f32>, AudioError> {
    hear_within(bytes, media, &AudioLimits::default())
}

fn hear_within(bytes: impl Into<Bytes>, media: &Media, limits: &AudioLimits) -> Result<Vec<f32>, AudioError> {
    let mut reader = AudioReader::open(bytes.into(), media, limits)?;
    let mut out = Vec::new();
    while reader.read(&mut out)? {}
    Ok(out)
}

fn detect(bytes: impl Into<Bytes>) -> Result<Vec<f32>, AudioError> {
    hear(bytes, &Media::Detect)
}

/// A WAV of 16-bit samples, whatever `rate` and `channels` are.
fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    wav_of(1, rate, channels, 16, &data)
}

fn wav_of(tag: u16, rate: u32, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let align = channels.wrapping_mul(bits / 8);
    let mut out = b"RIFF".to_vec();
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0");
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend(rate.wrapping_mul(u32::from(align)).to_le_bytes());
    out.extend(align.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}
