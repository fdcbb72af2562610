//! Speech in a chat: each recording is transcribed, and its words take its place.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use linnet_features::audio::Media;
use linnet_proto::check::list_within;
use linnet_proto::generate::{Chat, Content, ContentPart, GenerateInput, GenerateRequest, InputAudio};
use linnet_proto::{ErrorCode, TranscribeOptions, WireError};

use super::super::offers::Offers;
use super::super::{Answer, Reply, TaskRequest, TranscribeRequest};
use super::other_task;
use super::plan::{Plan, Then};
use super::steps::{Parts, Steps, forward};

/// Most recordings of one conversation.
const MAX_RECORDINGS: usize = 16;

/// A chat whose first recording is being transcribed.
pub(super) struct AudioChat {
    request: GenerateRequest,
}

/// Whether a recording stands in `input`.
pub(super) fn has_audio(input: &GenerateInput) -> bool {
    matches!(input, GenerateInput::Chat(chat) if recordings(chat) > 0)
}

fn recordings(chat: &Chat) -> usize {
    let of = |content: &Content| match content {
        Content::Parts(parts) => parts.iter().filter(|p| matches!(p, ContentPart::InputAudio { .. })).count(),
        Content::Text(_) | Content::Empty => 0,
    };
    chat.messages.iter().map(|m| of(&m.content)).sum()
}

pub(super) fn plan(mut request: GenerateRequest, offers: &Offers) -> Result<Plan, WireError> {
    let GenerateInput::Chat(chat) = &mut request.input else { return Ok(Plan::direct(TaskRequest::Generate(request))) };
    list_within("messages", recordings(chat), MAX_RECORDINGS)?;
    if !offers.does("transcribe") {
        let message = "no model here transcribes, so a chat can hold no speech; send its words as text";
        return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("messages"));
    }
    let Some(first) = take_recording(chat) else { return Ok(Plan::direct(TaskRequest::Generate(request))) };
    let first = transcription(first)?;
    let model = offers.pick("chat", request.model.as_deref()).map(|m| m.name.clone()).unwrap_or_default();
    Ok(Plan::chain(first, Then::AudioChat(AudioChat { request }), model))
}

/// The place of the first recording, which waits there for its words.
fn first_recording(chat: &mut Chat) -> Option<&mut ContentPart> {
    let parts = chat.messages.iter_mut().filter_map(|message| match &mut message.content {
        Content::Parts(parts) => Some(parts),
        Content::Text(_) | Content::Empty => None,
    });
    parts.flatten().find(|part| matches!(part, ContentPart::InputAudio { .. }))
}

/// Takes the first recording out; an empty one marks its place.
fn take_recording(chat: &mut Chat) -> Option<InputAudio> {
    match first_recording(chat)? {
        ContentPart::InputAudio { input_audio } => {
            Some(std::mem::replace(input_audio, InputAudio { data: String::new(), format: String::new() }))
        }
        ContentPart::Text { .. } => None,
    }
}

fn transcription(recording: InputAudio) -> Result<TaskRequest, WireError> {
    let audio = STANDARD.decode(recording.data.as_bytes()).map_err(|e| {
        WireError::new(ErrorCode::InvalidRequest, format!("input_audio.data is not base64 (standard alphabet): {e}"))
            .with_param("input_audio")
    })?;
    if audio.is_empty() {
        let message = "input_audio.data is empty: not one byte";
        return Err(WireError::new(ErrorCode::EmptyAudio, message).with_param("input_audio"));
    }
    let media = match recording.format.as_str() {
        "" => Media::Detect,
        format => Media::Hint(format.chars().take(16).collect::<String>().to_ascii_lowercase()),
    };
    let (audio, options) = (Bytes::from(audio), TranscribeOptions::default());
    Ok(TaskRequest::Transcribe(TranscribeRequest { audio, media, options, translate: false }))
}

impl AudioChat {
    pub(super) async fn run(mut self, mut steps: Steps, first: Reply, parts: &Parts) -> Result<Answer, WireError> {
        let GenerateInput::Chat(chat) = &mut self.request.input else { return Err(other_task()) };
        let mut heard = first.answer().await?;
        loop {
            let Answer::Transcript(transcript) = heard else { return Err(other_task()) };
            if let Some(part) = first_recording(chat) {
                *part = ContentPart::Text { text: transcript.text };
            }
            let Some(recording) = take_recording(chat) else { break };
            heard = steps.ask(transcription(recording)?).await?;
        }
        forward(steps.next(TaskRequest::Generate(self.request)).await?, parts).await
    }
}
