//! A [`Transcript`] in the formats that people already read: plain text, SubRip, WebVTT and OpenAI's JSON.
//!
//! Every function here is pure and total: any transcript gives a well-formed document.

mod cue;
mod srt;
mod verbose_json;
mod vtt;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Transcript;

pub use cue::{Cue, MAX_CUE_CHARS, MAX_CUE_SECS, cues};
pub use srt::srt;
pub use verbose_json::{Granularities, Usage, VerboseSegment, VerboseTranscript, VerboseWord, verbose_json};
pub use vtt::vtt;

/// `response_format` of the HTTP endpoint and `--format` of the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ResponseFormat {
    /// `{"text": …}`, OpenAI's default.
    #[default]
    Json,
    /// The text alone.
    Text,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// OpenAI's JSON with segments and, where asked for, words.
    VerboseJson,
    /// [`Transcript`] as it is: Linnet's own.
    LinnetJson,
}

impl ResponseFormat {
    /// Every format, in the order in which messages name them.
    pub const ALL: [Self; 6] = [Self::Json, Self::Text, Self::Srt, Self::Vtt, Self::VerboseJson, Self::LinnetJson];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
            Self::VerboseJson => "verbose_json",
            Self::LinnetJson => "linnet_json",
        }
    }

    /// MIME type of a body in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::VerboseJson | Self::LinnetJson => "application/json",
            Self::Text | Self::Srt => "text/plain; charset=utf-8",
            Self::Vtt => "text/vtt; charset=utf-8",
        }
    }
}

/// A name that is no [`ResponseFormat`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no response format is called `{0}`; choose one of json, text, srt, vtt, verbose_json, linnet_json")]
pub struct UnknownFormat(pub String);

impl FromStr for ResponseFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let shown = || UnknownFormat(name.chars().take(40).collect());
        Self::ALL.into_iter().find(|f| f.as_str() == name).ok_or_else(shown)
    }
}

/// OpenAI's `json` answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextOnly {
    /// The whole text.
    pub text: String,
    /// What the request cost, as OpenAI counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// OpenAI's `json` answer to `transcript`.
pub fn text_only(transcript: &Transcript) -> TextOnly {
    TextOnly { text: transcript.text.clone(), usage: Some(Usage::of(transcript)) }
}

/// The text with a line end, so that two answers in one file stay apart.
pub fn text(transcript: &Transcript) -> String {
    let mut out = transcript.text.clone();
    out.push('\n');
    out
}

/// `transcript` as a whole body of `format`. `granularities` matters to `verbose_json` only.
pub fn render(
    transcript: &Transcript,
    format: ResponseFormat,
    granularities: Granularities,
) -> Result<String, serde_json::Error> {
    render_as(transcript, format, granularities, "transcribe")
}

/// As [`render`], with what `verbose_json` calls the task: `transcribe` or `translate`.
pub fn render_as(
    transcript: &Transcript,
    format: ResponseFormat,
    granularities: Granularities,
    task: &str,
) -> Result<String, serde_json::Error> {
    match format {
        ResponseFormat::Json => serde_json::to_string(&text_only(transcript)),
        ResponseFormat::Text => Ok(text(transcript)),
        ResponseFormat::Srt => Ok(srt(transcript)),
        ResponseFormat::Vtt => Ok(vtt(transcript)),
        ResponseFormat::VerboseJson => {
            let verbose = VerboseTranscript { task: task.to_owned(), ..verbose_json(transcript, granularities) };
            serde_json::to_string(&verbose)
        }
        ResponseFormat::LinnetJson => serde_json::to_string(transcript),
    }
}

#[cfg(test)]
mod tests;
