//! Rate and length of WAV and FLAC files from their first bytes, so that a bad file is found before training begins.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::bad::Fault;

/// Most bytes of a WAV file that are searched for its `data` chunk.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Header {
    /// Samples per second.
    pub rate: u32,
    /// Length, seconds.
    pub seconds: f64,
}

/// The header of a WAV (RIFF) or FLAC (RFC 9639) file; `None` for other containers, which only the decoder can judge.
/// A rate other than 16 kHz is a [`Fault::Rate`].
pub fn read(path: &Path) -> Result<Option<Header>, Fault> {
    let missing = |e: std::io::Error| Fault::MissingAudio(path.to_owned(), e.to_string());
    let file = File::open(path).map_err(missing)?;
    let metadata = file.metadata().map_err(missing)?;
    if !metadata.is_file() {
        return Err(Fault::MissingAudio(path.to_owned(), "it is not a file".into()));
    }
    let mut reader = BufReader::with_capacity(512, file.take(MAX_HEADER_BYTES));
    let found = parse(&mut reader, metadata.len());
    let header = found.map_err(|reason| Fault::Audio(path.to_owned(), reason))?;
    match header {
        Some(header) if header.rate != linnet_features::audio::SAMPLE_RATE => {
            Err(Fault::Rate(path.to_owned(), header.rate))
        }
        header => Ok(header),
    }
}

fn parse(reader: &mut impl Read, file_bytes: u64) -> Result<Option<Header>, String> {
    let magic: [u8; 4] = bytes(reader)?;
    match &magic {
        b"RIFF" => wav(reader, file_bytes).map(Some),
        b"fLaC" => flac(reader).map(Some),
        _ => Ok(None),
    }
}

fn wav(reader: &mut impl Read, file_bytes: u64) -> Result<Header, String> {
    let _riff_size: [u8; 4] = bytes(reader)?;
    if &bytes::<4>(reader)? != b"WAVE" {
        return Err("it is RIFF but not WAVE".into());
    }
    let (mut at, mut rate, mut bytes_per_second) = (12u64, 0u32, 0u32);
    loop {
        let id: [u8; 4] = bytes(reader)?;
        let size = u32::from_le_bytes(bytes(reader)?);
        at += 8;
        match &id {
            b"fmt " if size >= 16 => {
                let format: [u8; 16] = bytes(reader)?;
                rate = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
                bytes_per_second = u32::from_le_bytes([format[8], format[9], format[10], format[11]]);
                skip(reader, u64::from(size - 16 + size % 2))?;
            }
            b"data" => {
                if rate == 0 || bytes_per_second == 0 {
                    return Err("its data come before its format, or the rate is 0".into());
                }
                // A stream's size is often wrong; the file's is not.
                let data = u64::from(size).min(file_bytes.saturating_sub(at));
                if data < u64::from(size) && size != u32::MAX {
                    return Err(format!("it is cut short: {size} bytes of samples are declared, {data} are there"));
                }
                return Ok(Header { rate, seconds: data as f64 / f64::from(bytes_per_second) });
            }
            _ => skip(reader, u64::from(size) + u64::from(size % 2))?,
        }
        at += u64::from(size) + u64::from(size % 2);
    }
}

fn flac(reader: &mut impl Read) -> Result<Header, String> {
    let block: [u8; 4] = bytes(reader)?;
    if block[0] & 0x7f != 0 {
        return Err("its first block is no STREAMINFO".into());
    }
    let info: [u8; 18] = bytes(reader)?;
    let packed = u64::from_be_bytes([info[10], info[11], info[12], info[13], info[14], info[15], info[16], info[17]]);
    let rate = (packed >> 44) as u32;
    let samples = packed & 0xf_ffff_ffff;
    if rate == 0 {
        return Err("its rate is 0".into());
    }
    Ok(Header { rate, seconds: samples as f64 / f64::from(rate) })
}

fn bytes<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], String> {
    let mut buffer = [0; N];
    reader.read_exact(&mut buffer).map_err(|_| "it ends before its samples".to_owned())?;
    Ok(buffer)
}

fn skip(reader: &mut impl Read, count: u64) -> Result<(), String> {
    let skipped = std::io::copy(&mut reader.take(count), &mut std::io::sink()).map_err(|e| e.to_string())?;
    if skipped == count { Ok(()) } else { Err("it ends before its samples".into()) }
}
