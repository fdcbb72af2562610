//! What the bytes are, from how they start.

use bytes::Bytes;

use super::container::{Container, Kind};
use super::pcm::{Encoding, Pcm};
use super::source::{Form, Source};
use super::{AudioError, Media, wav};

/// Opens what the bytes are.
pub(super) fn open(bytes: Bytes, media: &Media) -> Result<Box<dyn Source>, AudioError> {
    if bytes.is_empty() {
        return Err(AudioError::Empty);
    }
    if let Media::L16 { rate, channels, big_endian } = *media {
        let encoding = if big_endian { Encoding::S16Be } else { Encoding::S16 };
        return Ok(Box::new(Pcm::new(bytes, encoding, Form { rate, channels })));
    }
    if wav::is_wav(&bytes) {
        return Ok(Box::new(wav::open(bytes)?));
    }
    let bytes = without_id3(bytes);
    match kind(&bytes).or_else(|| said_to_be_mp3(media).then_some(Kind::Mpeg)) {
        Some(kind) => Ok(Box::new(Container::open(bytes, kind)?)),
        None => Err(unknown(&bytes)),
    }
}

fn kind(bytes: &[u8]) -> Option<Kind> {
    let at = |from: usize, magic: &[u8]| bytes.get(from..from + magic.len()) == Some(magic);
    if at(0, b"fLaC") {
        return Some(Kind::Flac);
    }
    if at(0, b"OggS") {
        return Some(Kind::Ogg);
    }
    if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
        return Some(Kind::Matroska);
    }
    if at(4, b"ftyp") {
        return Some(Kind::Mp4);
    }
    match *bytes {
        // Twelve bits of synchronisation; layer 0 is what ADTS has in place of an MPEG layer.
        [0xff, b, ..] if b & 0xf6 == 0xf0 => Some(Kind::Adts),
        // MPEG 1, 2 or 2.5; layer 1 to 3; a bit rate and a sampling rate that exist.
        [0xff, b, c, ..]
            if b & 0xe0 == 0xe0 && b & 0x18 != 0x08 && b & 0x06 != 0 && c >> 4 != 15 && c & 0x0c != 0x0c =>
        {
            Some(Kind::Mpeg)
        }
        _ => None,
    }
}

/// An MP3 that was cut out of a stream starts anywhere in a frame: taken at its word, it is searched for the next.
fn said_to_be_mp3(media: &Media) -> bool {
    matches!(media, Media::Hint(hint) if matches!(hint.as_str(), "mp3" | "audio/mpeg" | "audio/mp3"))
}

/// The bytes after an ID3v2 tag (or several), which players put before MP3, AAC and even FLAC.
fn without_id3(mut bytes: Bytes) -> Bytes {
    while let [b'I', b'D', b'3', 2..=4, _, flags, a @ 0..0x80, b @ 0..0x80, c @ 0..0x80, d @ 0..0x80, ..] = *bytes {
        // Seven bits in each byte of the length; a footer, where there is one, is as long as the header.
        let length = [a, b, c, d].iter().fold(0usize, |n, x| n << 7 | usize::from(*x));
        let tag = 10 + length + if flags & 0x10 == 0 { 0 } else { 10 };
        bytes = bytes.slice(tag.min(bytes.len())..);
    }
    bytes
}

fn unknown(bytes: &[u8]) -> AudioError {
    let start = &bytes[..bytes.len().min(64)];
    let is_text = std::str::from_utf8(start)
        .map_or_else(|e| e.valid_up_to() + 3 >= start.len() && e.error_len().is_none(), |_| true)
        && !start.iter().any(|b| b.is_ascii_control() && !b.is_ascii_whitespace());
    let what = if start.is_empty() {
        "nothing but a tag".to_owned()
    } else if is_text {
        "text".to_owned()
    } else {
        format!("something that starts with {:02x?}", &start[..start.len().min(4)])
    };
    AudioError::Unsupported(format!(
        "this is not audio that Linnet reads, but {what}; send WAV, FLAC, MP3, Ogg (Vorbis, Opus), WebM, M4A or AAC, or raw \
         16-bit PCM as audio/l16;rate=…"
    ))
}
