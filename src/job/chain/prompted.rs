//! Summaries and answers by a model that only chats: it is asked for them in words.

use linnet_proto::WireError;
use linnet_proto::generate::{
    Chat, Choice, Content, DecodeOptions, GenerateInput, GenerateRequest, Generated, Message,
};
use linnet_proto::text::{AnswerRequest, Results, SpanAnswer, SummarizeRequest, Summary};

use super::super::offers::Offers;
use super::super::{Answer, Reply, TaskRequest};
use super::other_task;
use super::plan::{Plan, Then};
use super::steps::Steps;

/// Longest section that is summarized at once, bytes: about two thousand tokens, which every model that chats has room for.
const SECTION_BYTES: usize = 8 << 10;
/// Most tokens of a summary whose request names no bound.
const SUMMARY_TOKENS: u64 = 256;
/// Most tokens of an answer whose request names no bound.
const ANSWER_TOKENS: u64 = 48;
/// What a model says that finds no answer.
const NO_ANSWER: &str = "none";

/// A summary whose first section is being written.
pub(super) struct PromptedSummary {
    request: SummarizeRequest,
    model: String,
    /// What is left, in order.
    sections: Vec<String>,
}

/// An answer that is being written.
pub(super) struct PromptedAnswer {
    request: AnswerRequest,
}

/// A model that chats, for a task that none is made for. `None` where the task has one, or where nothing here chats.
fn chatting(task: &str, model: Option<&str>, offers: &Offers) -> Option<String> {
    match offers.pick(task, model) {
        Some(_) => None,
        None => offers.pick("chat", model).map(|m| m.name.clone()),
    }
}

pub(super) fn plan_summary(request: SummarizeRequest, offers: &Offers) -> Result<Plan, WireError> {
    let Some(model) = chatting("summarize", request.model.as_deref(), offers) else {
        return Ok(Plan::direct(TaskRequest::Summarize(request)));
    };
    let mut sections = sections(&request.input);
    let first = if sections.is_empty() { String::new() } else { sections.remove(0) };
    let first = summarize(&request, &model, &first);
    Ok(Plan::chain(first, Then::Summary(PromptedSummary { request, model: model.clone(), sections }), model))
}

pub(super) fn plan_answer(request: AnswerRequest, offers: &Offers) -> Result<Plan, WireError> {
    let Some(model) = chatting("answer", request.model.as_deref(), offers) else {
        return Ok(Plan::direct(TaskRequest::Answer(request)));
    };
    let system = format!(
        "You answer questions from a text. Give the words of the text that answer the question, and nothing else. If the text \
         does not hold the answer, say: {NO_ANSWER}"
    );
    let user = format!("Text:\n{}\n\nQuestion: {}", request.context, request.question);
    let options = DecodeOptions {
        max_tokens: Some(request.max_answer_tokens.map_or(ANSWER_TOKENS, u64::from)),
        temperature: Some(0.0),
        logprobs: Some(0),
        ..DecodeOptions::default()
    };
    let first = chat(&model, system, user, options);
    Ok(Plan::chain(first, Then::Answer(PromptedAnswer { request }), model))
}

fn chat(model: &str, system: String, user: String, options: DecodeOptions) -> TaskRequest {
    let said = |role: &str, text| Message { role: role.to_owned(), content: Content::Text(text), ..Message::default() };
    let messages = vec![said("system", system), said("user", user)];
    let input = GenerateInput::Chat(Chat { messages, ..Chat::default() });
    TaskRequest::Generate(GenerateRequest { model: Some(model.to_owned()), input, options, stream: false })
}

fn summarize(request: &SummarizeRequest, model: &str, section: &str) -> TaskRequest {
    let system = "You summarize texts. Give a short summary in the language of the text, and nothing else.".to_owned();
    let options = DecodeOptions {
        max_tokens: Some(request.max_tokens.unwrap_or(SUMMARY_TOKENS)),
        min_tokens: request.min_tokens,
        num_beams: request.num_beams,
        temperature: Some(0.0),
        ..DecodeOptions::default()
    };
    chat(model, system, format!("Summarize this text:\n\n{section}"), options)
}

/// The text in sections of at most [`SECTION_BYTES`], cut at paragraphs where there are some, else at lines, sentences, blanks.
fn sections(text: &str) -> Vec<String> {
    let mut sections = Vec::new();
    let mut rest = text.trim();
    while rest.len() > SECTION_BYTES {
        let mut most = SECTION_BYTES;
        while !rest.is_char_boundary(most) {
            most -= 1;
        }
        let head = &rest[..most];
        let border = ["\n\n", "\n", ". ", " "];
        let at = border.iter().find_map(|b| head.rfind(b).map(|at| at + b.len()).filter(|at| *at > most / 2));
        let (section, tail) = rest.split_at(at.unwrap_or(most));
        sections.push(section.trim().to_owned());
        rest = tail.trim_start();
    }
    if !rest.is_empty() {
        sections.push(rest.to_owned());
    }
    sections
}

fn said(answer: Answer) -> Result<(Choice, String), WireError> {
    let Answer::Generated(Generated { choices, model, .. }) = answer else { return Err(other_task()) };
    let choice = choices.into_iter().next().ok_or_else(other_task)?;
    Ok((choice, model))
}

impl PromptedSummary {
    pub(super) async fn run(self, mut steps: Steps, first: Reply) -> Result<Answer, WireError> {
        let count = u32::try_from(self.sections.len() + 1).unwrap_or(u32::MAX);
        let (choice, mut model) = said(first.answer().await?)?;
        let mut summaries = vec![choice.text.trim().to_owned()];
        for section in &self.sections {
            let (choice, by) = said(steps.ask(summarize(&self.request, &self.model, section)).await?)?;
            summaries.push(choice.text.trim().to_owned());
            model = by;
        }
        // The summaries of many sections are a text, too, and shorter each time.
        let mut whole = summaries.join("\n\n");
        if summaries.len() > 1 && whole.len() <= SECTION_BYTES {
            let (choice, _) = said(steps.ask(summarize(&self.request, &self.model, &whole)).await?)?;
            choice.text.trim().clone_into(&mut whole);
        }
        Ok(Answer::Summary(Summary { summary: whole, sections: count, model }))
    }
}

impl PromptedAnswer {
    pub(super) async fn run(self, first: Reply) -> Result<Answer, WireError> {
        let (choice, model) = said(first.answer().await?)?;
        let score = match choice.logprobs.len() {
            0 => 0.0,
            n => (choice.logprobs.iter().map(|t| t.logprob).sum::<f32>() / n as f32).exp(),
        };
        let said = choice.text.trim().trim_matches('"').trim_end_matches('.').trim();
        let none = said.is_empty() || said.eq_ignore_ascii_case(NO_ANSWER);
        let results = match (none, self.request.allow_no_answer) {
            (true, true) => vec![SpanAnswer { score, ..SpanAnswer::default() }],
            (true, false) => Vec::new(),
            (false, _) => {
                let context = &self.request.context;
                let characters = |bytes: usize| context[..bytes].chars().count();
                let (start, end) =
                    context.find(said).map_or((0, 0), |at| (characters(at), characters(at + said.len())));
                vec![SpanAnswer { answer: said.to_owned(), score, start, end }]
            }
        };
        Ok(Answer::Answered(Results { results, model, explanation: None }))
    }
}
