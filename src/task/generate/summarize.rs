//! Shorter texts, by encoder-decoders trained to it (BART, T5) or by a model that talks. A long text is summarized section by section, and
//! the sections' summaries once more while they are too long.

use linnet_proto::generate::{Chat, Content, DecodeOptions, Message};
use linnet_proto::text::{SummarizeRequest, Summary};
use linnet_proto::{ErrorCode, WireError};

use super::translate::sentences;
use super::writer::{Asked, Writer};
use super::{chat, refused};
use crate::task::TaskContext;
use crate::task::tokenizer::Encode;

/// Most tokens of a summary when nothing says.
const DEFAULT_TOKENS: u64 = 128;
/// Most sections of a text.
const MAX_SECTIONS: usize = 512;
/// Share of a model's context that a section may take; the rest is the answer's.
const SECTION_SHARE: f64 = 0.75;
/// Most tokens of a section where the model has no limit.
const DEFAULT_SECTION: usize = 1024;
/// What a model that talks is told.
const INSTRUCTION: &str = "Summarize the following text in a few sentences. Write the summary alone.";

pub(super) fn summarize(
    writer: &mut Writer,
    request: &SummarizeRequest,
    ctx: &TaskContext,
) -> Result<Summary, WireError> {
    request.check()?;
    if request.input.trim().is_empty() {
        return Err(WireError::new(ErrorCode::InvalidRequest, "input is empty; there is nothing to summarize")
            .with_param("input"));
    }
    let options = DecodeOptions {
        max_tokens: Some(request.max_tokens.unwrap_or(DEFAULT_TOKENS)),
        min_tokens: request.min_tokens,
        num_beams: request.num_beams,
        ..DecodeOptions::default()
    };
    let mut sections = 0;
    let mut text = request.input.clone();
    loop {
        let parts = sections_of(writer, &text, options.max_tokens.unwrap_or(DEFAULT_TOKENS))?;
        sections += parts.len();
        if sections > MAX_SECTIONS {
            let message = format!("the text has more than {MAX_SECTIONS} sections for this model; send it in parts");
            return Err(WireError::new(ErrorCode::TooLarge, message).with_param("input"));
        }
        let mut summaries = Vec::with_capacity(parts.len());
        for part in &parts {
            ctx.checkpoint()?;
            summaries.push(one(writer, part, &options, ctx)?);
        }
        let joined = summaries.join(" ");
        // What does not become shorter is not summarized for ever.
        if summaries.len() == 1 || joined.len() >= text.len() {
            let model = writer.shared.name.clone();
            return Ok(Summary { summary: joined, sections: u32::try_from(sections).unwrap_or(u32::MAX), model });
        }
        text = joined;
    }
}

fn one(writer: &mut Writer, text: &str, options: &DecodeOptions, ctx: &TaskContext) -> Result<String, WireError> {
    let ids = if writer.shared.template.is_some() {
        let message = |role: &str, text: &str| Message {
            role: role.to_owned(),
            content: Content::Text(text.to_owned()),
            ..Message::default()
        };
        let messages = vec![message("user", &format!("{INSTRUCTION}\n\n{text}"))];
        chat::prompt(&writer.shared, &Chat { messages, ..Chat::default() })?.ids
    } else {
        let prefix = if writer.shared.family.ends_with("t5") { "summarize: " } else { "" };
        let text = format!("{prefix}{text}");
        writer.shared.tokenizer()?.encode(&text, Encode::default()).map_err(|e| refused(&e).with_param("input"))?.ids
    };
    let outcome = writer.write(&ids, Asked::with(options), ctx, &mut |_| Ok(()))?;
    Ok(outcome.choices.into_iter().next().map(|choice| choice.text.trim().to_owned()).unwrap_or_default())
}

/// Sentences in sections that the model can read at once.
fn sections_of(writer: &Writer, text: &str, answer: u64) -> Result<Vec<String>, WireError> {
    let shared = &writer.shared;
    let most = match (shared.config.is_encoder_decoder, shared.config.encoder_context, shared.config.context) {
        (true, most, _) => most.unwrap_or(DEFAULT_SECTION),
        (false, _, Some(context)) => context.saturating_sub(usize::try_from(answer).unwrap_or(context)),
        (false, _, None) => DEFAULT_SECTION,
    };
    let most = ((most as f64 * SECTION_SHARE) as usize).max(16);
    let tokenizer = shared.tokenizer()?;
    let mut sections: Vec<(String, usize)> = Vec::new();
    for sentence in sentences(text) {
        let bare = Encode { add_special: false, ..Encode::default() };
        let tokens = tokenizer.encode(sentence, bare).map_err(|e| refused(&e).with_param("input"))?.len();
        match sections.last_mut() {
            Some((section, count)) if *count + tokens <= most => {
                section.push(' ');
                section.push_str(sentence);
                *count += tokens;
            }
            _ => sections.push((sentence.to_owned(), tokens)),
        }
    }
    Ok(sections.into_iter().map(|(section, _)| section).collect())
}
