//! Server-sent events of a streaming transcription (`stream=true`).
//!
//! OpenAI's events (`transcript.text.delta`, `transcript.text.done`), each with one addition that OpenAI's clients
//! pass over. An error in mid-stream is an [`crate::ErrorBody`] as the event's data.

use serde::{Deserialize, Serialize};

use crate::format::Usage;
use crate::{Segment, Transcript};

/// The `data:` of one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum StreamEvent {
    /// Text that follows what was sent before; all deltas together are the text.
    #[serde(rename = "transcript.text.delta")]
    Delta {
        /// The text, with a blank in front from the second segment on, in languages that have one.
        delta: String,
        /// The segment that it is: Linnet's addition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        segment: Option<Segment>,
    },
    /// The end.
    #[serde(rename = "transcript.text.done")]
    Done {
        /// The whole text.
        text: String,
        /// What the request cost, as OpenAI counts it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// The whole answer, with `response_format=linnet_json` only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transcript: Option<Transcript>,
    },
}

impl StreamEvent {
    /// The event for a finished segment. `first` is true for the first segment with text.
    pub fn delta(segment: Segment, first: bool) -> Self {
        let blank = if first || segment.text.is_empty() { "" } else { segment.blank() };
        Self::Delta { delta: format!("{blank}{}", segment.text), segment: Some(segment) }
    }

    /// The last event. `whole` adds the whole transcript.
    pub fn done(transcript: Transcript, whole: bool) -> Self {
        Self::Done {
            text: transcript.text.clone(),
            usage: Some(Usage::of(&transcript)),
            transcript: whole.then_some(transcript),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_openais_names() {
        let event = StreamEvent::Delta { delta: " on".into(), segment: None };
        let json = serde_json::to_string(&event).expect("serializes");
        assert_eq!(json, r#"{"type":"transcript.text.delta","delta":" on"}"#);
        assert_eq!(serde_json::from_str::<StreamEvent>(&json).expect("parses"), event);
    }
}
