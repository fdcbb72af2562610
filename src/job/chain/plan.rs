//! Which way a request takes: one model alone, none at all, or several.

use std::sync::Arc;

use linnet_proto::WireError;

use super::super::offers::Offers;
use super::super::{Answer, Reply, TaskRequest};
use super::audio_chat::AudioChat;
use super::prompted::{PromptedAnswer, PromptedSummary};
use super::speech::SpokenTranslation;
use super::steps::{Parts, Steps};
use super::translation::{Found, Pivot};

/// The way of a request.
pub(super) enum Plan {
    /// One model does it.
    Direct(Box<TaskRequest>),
    /// There is nothing to run.
    Answered(Box<Answer>),
    /// Several jobs.
    Chain {
        /// The first job.
        first: Box<TaskRequest>,
        /// What comes after it.
        then: Box<Then>,
        /// The model that answers at last, where it is known.
        model: String,
    },
}

/// What a chain does with the answer of its first job.
#[expect(clippy::large_enum_variant, reason = "one stands in a box for each chain that runs")]
pub(super) enum Then {
    /// Puts words in the place of speech, then chats.
    AudioChat(AudioChat),
    /// Translates what was heard.
    Spoken(SpokenTranslation),
    /// Translates on.
    Pivot(Pivot),
    /// Translates from the language that was found.
    Found(Found),
    /// Summarizes the further sections.
    Summary(PromptedSummary),
    /// Reads an answer out of what was said.
    Answer(PromptedAnswer),
}

impl Then {
    pub(super) async fn run(
        self,
        steps: Steps,
        first: Reply,
        offers: Arc<Offers>,
        parts: &Parts,
    ) -> Result<Answer, WireError> {
        match self {
            Self::AudioChat(chain) => chain.run(steps, first, parts).await,
            Self::Spoken(chain) => chain.run(steps, first, &offers, parts).await,
            Self::Pivot(chain) => chain.run(steps, first, parts).await,
            Self::Found(chain) => chain.run(steps, first, &offers).await,
            Self::Summary(chain) => chain.run(steps, first).await,
            Self::Answer(chain) => chain.run(first).await,
        }
    }
}

impl Plan {
    pub(super) fn direct(task: TaskRequest) -> Self {
        Self::Direct(Box::new(task))
    }

    pub(super) fn chain(first: TaskRequest, then: Then, model: impl Into<String>) -> Self {
        Self::Chain { first: Box::new(first), then: Box::new(then), model: model.into() }
    }
}

/// The way of `task` among the models that serve.
pub(super) fn of(task: TaskRequest, offers: &Offers) -> Result<Plan, WireError> {
    match task {
        TaskRequest::Transcribe(request) => super::speech::plan(request, offers),
        TaskRequest::Generate(request) if super::audio_chat::has_audio(&request.input) => {
            super::audio_chat::plan(request, offers)
        }
        TaskRequest::Translate(request) => super::translation::plan(request, offers),
        TaskRequest::Summarize(request) => super::prompted::plan_summary(request, offers),
        TaskRequest::Answer(request) => super::prompted::plan_answer(request, offers),
        other => Ok(Plan::direct(other)),
    }
}
