//! Compressed audio: `symphonia` takes the packets out of their container and decodes them, [`opus`](super::opus) decodes
//! what it does not.
//!
//! Of a file that breaks off or is damaged, what can be decoded is heard; only when nothing can is the file refused.

use std::io::{Cursor, ErrorKind};
use std::ops::Range;

use bytes::Bytes;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::packet::Packet;
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MkvReader, MpaReader, OggReader};

use super::AudioError;
use super::mix::mix;
use super::mp4_edits::{Presented, has_header, presented};
use super::opus::Opus;
use super::source::{Form, Source};

/// Parts of a chained stream (a recorded web radio) that are read.
const MAX_PARTS: u32 = 10_000;

/// The containers that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// RFC 9639.
    Flac,
    /// RFC 3533.
    Ogg,
    /// Matroska and WebM, RFC 9559.
    Matroska,
    /// ISO/IEC 14496-12: MP4, M4A.
    Mp4,
    /// MPEG audio frames one after another: MP3.
    Mpeg,
    /// AAC in ADTS frames, ISO/IEC 13818-7.
    Adts,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Flac => "FLAC",
            Self::Ogg => "Ogg",
            Self::Matroska => "WebM",
            Self::Mp4 => "MP4",
            Self::Mpeg => "MP3",
            Self::Adts => "AAC",
        }
    }

    fn open(self, bytes: Bytes) -> Result<Box<dyn FormatReader>, Error> {
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let options = FormatOptions::default();
        Ok(match self {
            Self::Flac => Box::new(FlacReader::try_new(stream, options)?),
            Self::Ogg => Box::new(OggReader::try_new(stream, options)?),
            Self::Matroska => Box::new(MkvReader::try_new(stream, options)?),
            Self::Mp4 => Box::new(IsoMp4Reader::try_new(stream, options)?),
            Self::Mpeg => Box::new(MpaReader::try_new(stream, options)?),
            Self::Adts => Box::new(AdtsReader::try_new(stream, options)?),
        })
    }
}

/// A decoder of one track.
enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Opus),
}

/// The audio track of a container.
pub(super) struct Container {
    kind: Kind,
    format: Box<dyn FormatReader>,
    track: u32,
    decoder: Decoder,
    form: Option<Form>,
    declared_secs: Option<f64>,
    frames_read: u64,
    parts: u32,
    /// The part that is to be heard, until the first samples say their rate.
    presented: Option<Presented>,
    /// Frames that are still to drop.
    skip: u64,
    /// Frames that are still to be heard.
    rest: u64,
    interleaved: Vec<f32>,
    /// What went wrong last.
    failure: Option<String>,
}

impl Container {
    pub(super) fn open(bytes: Bytes, kind: Kind) -> Result<Self, AudioError> {
        if kind == Kind::Mp4 && !has_header(&bytes) {
            return Err(AudioError::Malformed("the MP4 ends before its header (`moov`) or within it".to_owned()));
        }
        let format = kind.open(bytes.clone()).map_err(|e| refused(kind, &e))?;
        let track = audio_track(kind, format.as_ref())?;
        let params = audio_params(kind, track)?;
        let decoder = decoder(kind, params)?;
        let declared_secs = declared_secs(track, params);
        let (track, form) = (track.id, form(params));
        let presented = if kind == Kind::Mp4 { presented(&bytes, track) } else { None };
        Ok(Self {
            kind,
            format,
            track,
            decoder,
            form,
            declared_secs,
            frames_read: 0,
            parts: 1,
            presented,
            skip: 0,
            rest: u64::MAX,
            interleaved: Vec::new(),
            failure: None,
        })
    }

    /// Goes on with the next part of a chained stream.
    fn next_part(&mut self) -> Result<(), AudioError> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(AudioError::TooLarge(format!("the {} has more than {MAX_PARTS} parts", self.kind.name())));
        }
        let track = audio_track(self.kind, self.format.as_ref())?;
        self.decoder = decoder(self.kind, audio_params(self.kind, track)?)?;
        self.track = track.id;
        Ok(())
    }

    /// Which of the decoded frames are to be heard.
    fn trim(&mut self, form: Form) -> Range<usize> {
        if let Some(Presented { skip_secs, secs }) = self.presented.take() {
            let rate = f64::from(form.rate);
            self.skip = (skip_secs * rate).round() as u64;
            self.rest = secs.map_or(u64::MAX, |secs| (secs * rate).round() as u64);
        }
        let there = self.interleaved.len() / usize::from(form.channels).max(1);
        let start = there.min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        let end = start + (there - start).min(usize::try_from(self.rest).unwrap_or(usize::MAX));
        self.skip -= start as u64;
        self.rest -= (end - start) as u64;
        start..end
    }

    /// The end, unless nothing was heard and something went wrong.
    fn end(&self) -> Result<bool, AudioError> {
        match &self.failure {
            Some(cause) if self.frames_read == 0 => Err(AudioError::Malformed(format!(
                "nothing in the {} can be decoded: {cause}; check that the file plays elsewhere",
                self.kind.name()
            ))),
            _ => Ok(false),
        }
    }
}

impl Source for Container {
    fn form(&self) -> Option<Form> {
        self.form
    }

    fn declared_secs(&self) -> Option<f64> {
        self.declared_secs
    }

    fn read(&mut self, mono: &mut Vec<f32>) -> Result<bool, AudioError> {
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => continue,
                Ok(None) => return self.end(),
                Err(Error::ResetRequired) => {
                    self.next_part()?;
                    continue;
                }
                Err(e) => {
                    self.failure = Some(cause(&e));
                    return self.end();
                }
            };
            let form = match self.decoder.decode(&packet, &mut self.interleaved) {
                Ok(form) => form,
                Err(cause) => {
                    self.failure = Some(cause);
                    continue;
                }
            };
            let heard = self.trim(form);
            self.form = Some(form);
            let frames = heard.len() as u64;
            if frames == 0 {
                continue;
            }
            let channels = usize::from(form.channels);
            let samples = &self.interleaved[heard.start * channels..heard.end * channels];
            mix(samples, form.channels, self.frames_read, mono)?;
            self.frames_read += frames;
            return Ok(true);
        }
    }
}

impl Decoder {
    /// Puts the packet's samples into `interleaved`, or says what is wrong with the packet.
    fn decode(&mut self, packet: &Packet, interleaved: &mut Vec<f32>) -> Result<Form, String> {
        interleaved.clear();
        match self {
            Self::Opus(opus) => opus.decode(packet, interleaved),
            Self::Symphonia(decoder) => {
                let decoded = decoder.decode(packet).map_err(|e| cause(&e))?;
                let spec = decoded.spec();
                let form = Form { rate: spec.rate(), channels: channel_count(spec.channels().count()) };
                decoded.copy_to_vec_interleaved(interleaved);
                Ok(form)
            }
        }
    }
}

fn audio_track(kind: Kind, format: &dyn FormatReader) -> Result<&Track, AudioError> {
    format
        .default_track(TrackType::Audio)
        .ok_or_else(|| AudioError::Unsupported(format!("the {} holds no audio that Linnet can read", kind.name())))
}

fn audio_params(kind: Kind, track: &Track) -> Result<&AudioCodecParameters, AudioError> {
    track
        .codec_params
        .as_ref()
        .and_then(CodecParameters::audio)
        .ok_or_else(|| AudioError::Malformed(format!("the {} does not describe its audio", kind.name())))
}

fn decoder(kind: Kind, params: &AudioCodecParameters) -> Result<Decoder, AudioError> {
    if params.codec == CODEC_ID_OPUS {
        let head = params.extra_data.as_deref().unwrap_or_default();
        return Opus::new(head).map(Decoder::Opus);
    }
    symphonia::default::get_codecs()
        .make_audio_decoder(params, &AudioDecoderOptions::default())
        .map(Decoder::Symphonia)
        .map_err(|e| refused(kind, &e))
}

fn form(params: &AudioCodecParameters) -> Option<Form> {
    Some(Form { rate: params.sample_rate?, channels: channel_count(params.channels.as_ref()?.count()) })
}

fn channel_count(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// What the header says, not what is guessed from it: of an MP3, only the length that its encoder noted.
fn declared_secs(track: &Track, params: &AudioCodecParameters) -> Option<f64> {
    let by_frames = || Some(track.num_frames? as f64 / f64::from(params.sample_rate.filter(|r| *r > 0)?));
    let by_time = || Some(track.time_base?.calc_duration_saturating(track.duration?).as_secs_f64());
    by_frames().or_else(by_time).filter(|secs| *secs > 0.0)
}

/// A file that cannot be opened.
fn refused(kind: Kind, error: &Error) -> AudioError {
    let name = kind.name();
    match error {
        Error::Unsupported(feature) => AudioError::Unsupported(format!(
            "the {name} uses what Linnet does not read ({feature}); convert it to FLAC or 16-bit WAV first"
        )),
        Error::LimitError(limit) => AudioError::TooLarge(format!("the header of the {name} is too large ({limit})")),
        other => AudioError::Malformed(format!("the header of the {name} is broken: {}", cause(other))),
    }
}

fn cause(error: &Error) -> String {
    match error {
        Error::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        Error::IoError(e) => e.to_string(),
        Error::DecodeError(what) | Error::Unsupported(what) | Error::LimitError(what) => (*what).to_owned(),
        other => other.to_string(),
    }
}
