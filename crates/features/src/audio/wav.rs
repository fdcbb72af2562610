//! WAVE files: RIFF, and RF64 (EBU Tech 3306) for those beyond 4 GiB.
//!
//! Real writers are sloppy: a program that writes into a pipe cannot go back to fill in the lengths and leaves 0 or the
//! largest number there; others get `block_align` wrong. So the walk believes a length only where it can be true, and
//! the samples that are there decide.

use bytes::Bytes;

use super::AudioError;
use super::pcm::{Encoding, Pcm};
use super::source::Form;

/// From here on a length is what a streaming writer puts in place of one that it does not know (`0xFFFFFFFF` by ffmpeg,
/// `0x7FFFF000` by SoX, `0x80000000` less a header by arecord).
const UNKNOWN_BYTES: u32 = 0x7fff_0000;

/// Format tags of `mmreg.h`.
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// What follows the format tag in the identifier of an extensible format.
const SUBFORMAT_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// Whether the bytes start like a WAVE file.
pub(super) fn is_wav(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && matches!(&bytes[..4], b"RIFF" | b"RF64" | b"BW64") && &bytes[8..12] == b"WAVE"
}

/// The `fmt ` chunk.
struct Format {
    encoding: Encoding,
    /// Bytes of one sample with its padding.
    stride: usize,
    form: Form,
}

/// Reads the header. Lengths that run beyond the bytes are cut to what is there.
pub(super) fn open(bytes: Bytes) -> Result<Pcm, AudioError> {
    let riff_bytes = u32_at(&bytes, 4).unwrap_or(0);
    let mut format = None;
    let mut long_data_bytes = None;
    let mut at = 12usize;
    while let (Some(id), Some(size)) = (bytes.get(at..at + 4), u32_at(&bytes, at + 4)) {
        let start = at + 8;
        let there = bytes.len() - start;
        let body = bytes.slice(start..start + (size as usize).min(there));
        match id {
            b"fmt " => format = Some(read_format(&body)?),
            b"ds64" => long_data_bytes = body.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes),
            b"data" => {
                let format = format.ok_or_else(|| {
                    AudioError::Malformed("the WAV has its samples before its format (`fmt ` chunk)".to_owned())
                })?;
                let declared = match (size, long_data_bytes) {
                    (u32::MAX, Some(long)) => Some(long),
                    // An empty chunk is empty only where the file's own length agrees.
                    (0, _) if riff_bytes == 0 || riff_bytes >= UNKNOWN_BYTES || riff_bytes as usize <= start - 8 => {
                        None
                    }
                    (UNKNOWN_BYTES.., _) => None,
                    (size, _) => Some(u64::from(size)),
                };
                return Ok(samples(bytes.slice(start..), declared, &format));
            }
            _ => {}
        }
        let padded = (size as usize).saturating_add(size as usize & 1);
        at = start.saturating_add(padded).min(bytes.len());
    }
    Err(AudioError::Malformed(match format {
        Some(_) => "the WAV ends before its samples (`data` chunk)".to_owned(),
        None => "the WAV ends before its format (`fmt ` chunk)".to_owned(),
    }))
}

fn samples(rest: Bytes, declared_bytes: Option<u64>, format: &Format) -> Pcm {
    let there = declared_bytes.map_or(rest.len(), |d| usize::try_from(d).unwrap_or(usize::MAX).min(rest.len()));
    let Format { encoding, stride, form } = *format;
    let mut pcm = Pcm::with_stride(rest.slice(..there), encoding, stride, form);
    if let Some(bytes) = declared_bytes {
        pcm.declare(bytes / (stride as u64 * u64::from(form.channels)).max(1));
    }
    pcm
}

fn read_format(body: &[u8]) -> Result<Format, AudioError> {
    let short = || AudioError::Malformed("the WAV ends within its format (`fmt ` chunk)".to_owned());
    let mut tag = u16_at(body, 0).ok_or_else(short)?;
    let channels = u16_at(body, 2).ok_or_else(short)?;
    let rate = u32_at(body, 4).ok_or_else(short)?;
    let block_align = u16_at(body, 12).ok_or_else(short)?;
    let bits = u16_at(body, 14).ok_or_else(short)?;
    if tag == EXTENSIBLE {
        let identifier = body.get(24..40).ok_or_else(short)?;
        if identifier[2..] != SUBFORMAT_TAIL {
            return Err(AudioError::Unsupported(
                "the WAV has a format of its maker's own; save it as 16-bit PCM first".to_owned(),
            ));
        }
        tag = u16_at(identifier, 0).ok_or_else(short)?;
    }
    let encoding = match (tag, bits) {
        (PCM, 1..=8) => Encoding::U8,
        (PCM, 9..=16) => Encoding::S16,
        (PCM, 17..=24) => Encoding::S24,
        (PCM, 25..=32) => Encoding::S32,
        (FLOAT, 32) => Encoding::F32,
        (FLOAT, 64) => Encoding::F64,
        (A_LAW, 8) => Encoding::ALaw,
        (MU_LAW, 8) => Encoding::MuLaw,
        (PCM | FLOAT | A_LAW | MU_LAW, _) => {
            return Err(AudioError::Unsupported(format!(
                "the WAV has {bits} bits in a sample; PCM of 1 to 32 bits, float of 32 or 64, A-law and mu-law of 8 are read"
            )));
        }
        (other, _) => {
            return Err(AudioError::Unsupported(format!(
                "the WAV holds format {other:#06x}; PCM, float, A-law and mu-law are read; save it as 16-bit PCM first"
            )));
        }
    };
    // PCM may stand in more bytes than it needs.
    let stride = match usize::from(block_align).checked_div(usize::from(channels)) {
        Some(stride @ 1..=4) if tag == PCM && encoding != Encoding::U8 && stride > encoding.bytes() => stride,
        _ => encoding.bytes(),
    };
    Ok(Format { encoding, stride, form: Form { rate, channels } })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}
