//! Answers that stand in a text, as transformers' `question-answering` pipeline finds them.

use linnet_proto::text::{AnswerRequest, Results, SpanAnswer};
use linnet_proto::{ErrorCode, WireError};
use serde_json::json;

use super::graph::Encoder;
use super::refused;
use crate::task::TaskContext;
use crate::task::tokenizer::{Encode, Encoded, Origin};

/// Longest answer when nothing says, tokens.
const DEFAULT_ANSWER_TOKENS: u32 = 15;
/// Longest window that is read at once, tokens.
const MAX_WINDOW: usize = 384;
/// Tokens that two windows share.
const STRIDE: usize = 128;
/// Most windows that a long text is read in.
const MAX_WINDOWS: usize = 256;

/// One candidate: bytes of the context, and its probability.
struct Candidate {
    start: usize,
    end: usize,
    score: f32,
}

pub(super) fn answer(
    encoder: &mut Encoder,
    request: &AnswerRequest,
    ctx: &TaskContext,
) -> Result<Results<Vec<SpanAnswer>>, WireError> {
    let empty = |param: &str| {
        WireError::new(ErrorCode::InvalidRequest, format!("{param} is empty; there is nothing to answer"))
            .with_param(param)
    };
    if request.question.trim().is_empty() {
        return Err(empty("question"));
    }
    if request.context.trim().is_empty() {
        return Err(empty("context"));
    }
    let longest = request.max_answer_tokens.unwrap_or(DEFAULT_ANSWER_TOKENS) as usize;
    let top_k = request.top_k.unwrap_or(1) as usize;
    let mut candidates = Vec::new();
    let mut none = 1f32;
    let windows = windows(encoder, request)?;
    for input in &windows {
        ctx.checkpoint()?;
        // More than are wanted: several spans may be the same words.
        none = none.min(read(encoder, input, longest, top_k * 2 + 10, request.allow_no_answer, &mut candidates)?);
    }
    let count = candidates.len();
    let mut found: Vec<SpanAnswer> = Vec::new();
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    for candidate in candidates {
        let (start, end) = whole_words(&request.context, candidate.start, candidate.end);
        let answer = &request.context[start..end];
        // The same words of two windows, or of two cuts through a word, are one answer.
        match found.iter_mut().find(|own| own.answer == answer) {
            Some(own) => own.score += candidate.score,
            None => found.push(SpanAnswer {
                answer: answer.to_owned(),
                score: candidate.score,
                start: request.context[..start].chars().count(),
                end: request.context[..end].chars().count(),
            }),
        }
    }
    if request.allow_no_answer {
        found.push(SpanAnswer { score: none, ..SpanAnswer::default() });
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(top_k);
    let explanation = request.explain.then(|| {
        json!({ "windows": windows.len(), "candidates": count, "no_answer": none, "rule": "probability of start times that of end" })
    });
    Ok(Results { results: found, model: encoder.shared.name.clone(), explanation })
}

/// Question and context, the context cut into windows that overlap where it is too long for one.
fn windows(encoder: &Encoder, request: &AnswerRequest) -> Result<Vec<Encoded>, WireError> {
    let tokenizer = &encoder.shared.tokenizer;
    let bare = Encode { add_special: false, ..Encode::default() };
    let question = tokenizer.encode(&request.question, bare).map_err(|e| refused(&e))?;
    let context = tokenizer.encode(&request.context, bare).map_err(|e| refused(&e))?;
    let around = tokenizer.special_count(true, Encode::default()).map_err(|e| refused(&e))?;
    let most = encoder.shared.config.max_tokens.min(MAX_WINDOW);
    let room = most.saturating_sub(question.len() + around);
    if room < 8 {
        let message =
            format!("the question has {} tokens; with its context at most {most} are read at once", question.len());
        return Err(WireError::new(ErrorCode::TooLarge, message).with_param("question"));
    }
    let step = room.saturating_sub(STRIDE.min(room / 2)).max(1);
    let mut windows = Vec::new();
    let mut start = 0;
    loop {
        let end = (start + room).min(context.len());
        let part = slice(&context, start, end);
        windows.push(tokenizer.with_special(&question, Some(&part), Encode::default()).map_err(|e| refused(&e))?);
        if end >= context.len() {
            return Ok(windows);
        }
        if windows.len() >= MAX_WINDOWS {
            let message = format!("the context has {} tokens; at most {} are read", context.len(), step * MAX_WINDOWS);
            return Err(WireError::new(ErrorCode::TooLarge, message).with_param("context"));
        }
        start += step;
    }
}

fn slice(of: &Encoded, start: usize, end: usize) -> Encoded {
    Encoded {
        ids: of.ids[start..end].to_vec(),
        offsets: of.offsets[start..end].to_vec(),
        origins: of.origins[start..end].to_vec(),
        type_ids: of.type_ids[start..end].to_vec(),
    }
}

/// Reads one window: its best spans go to `candidates`. Gives the probability that it holds no answer.
fn read(
    encoder: &mut Encoder,
    input: &Encoded,
    longest: usize,
    top_k: usize,
    allow_none: bool,
    candidates: &mut Vec<Candidate>,
) -> Result<f32, WireError> {
    let outputs = encoder.run(input)?;
    let take = |name: &str| {
        let found = outputs.iter().find(|(own, _)| own == name).map(|(_, rows)| rows.data.clone());
        found.filter(|data| data.len() == input.len()).ok_or_else(|| {
            let message =
                format!("the graph gives no `{name}` for each token; was it exported for question-answering?");
            WireError::new(ErrorCode::ModelFailed, message)
        })
    };
    let (start, end) = (take("start_logits")?, take("end_logits")?);
    let cls = input.ids.iter().position(|id| Some(*id) == encoder.shared.tokenizer.special().cls).unwrap_or(0);
    // "No answer" has its share of the probability even where it is not allowed.
    let may_answer: Vec<bool> = (0..input.len()).map(|i| input.origins[i] == Origin::Second || i == cls).collect();
    let start = probabilities(&start, &may_answer);
    let end = probabilities(&end, &may_answer);
    let none = if allow_none { start[cls] * end[cls] } else { 0.0 };
    let mut best: Vec<(f32, usize, usize)> = Vec::new();
    for from in (0..input.len()).filter(|i| input.origins[*i] == Origin::Second) {
        let behind = input.origins.iter().zip(&end).enumerate().skip(from).take(longest);
        for (to, (_, likely)) in behind.take_while(|(_, (origin, _))| **origin == Origin::Second) {
            let score = start[from] * likely;
            if best.len() < top_k || score > best[best.len() - 1].0 {
                best.push((score, from, to));
                best.sort_by(|a, b| b.0.total_cmp(&a.0));
                best.truncate(top_k);
            }
        }
    }
    candidates.extend(best.into_iter().map(|(score, from, to)| Candidate {
        start: input.offsets[from].0 as usize,
        end: input.offsets[to].1 as usize,
        score,
    }));
    Ok(none)
}

/// Softmax over the places that may hold an answer.
fn probabilities(logits: &[f32], allowed: &[bool]) -> Vec<f32> {
    let masked: Vec<f32> = logits.iter().zip(allowed).map(|(x, ok)| if *ok { *x } else { -10_000.0 }).collect();
    super::softmax(&masked)
}

/// The words that a span lies in, whole. A word is a run of letters and digits; every other mark stands alone.
fn whole_words(text: &str, start: usize, end: usize) -> (usize, usize) {
    let inside = |c: char| c.is_alphanumeric();
    // A span that begins with blanks begins at its word.
    let blanks = text[start..end].len() - text[start..end].trim_start().len();
    let start = start + blanks;
    let begins_in_word = text[start..].chars().next().is_some_and(inside);
    let before = text[..start].len() - text[..start].trim_end_matches(inside).len();
    let ends_in_word = text[..end].chars().next_back().is_some_and(inside);
    let after = text[end..].len() - text[end..].trim_start_matches(inside).len();
    (start - if begins_in_word { before } else { 0 }, end + if ends_in_word { after } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::whole_words;

    #[test]
    fn a_span_within_words_is_widened_to_them() {
        let text = "near the sea. The doctor";
        assert_eq!(whole_words(text, 10, 11), (9, 12));
        assert_eq!(whole_words(text, 12, 13), (12, 13), "a mark stands alone");
        assert_eq!(whole_words(text, 8, 12), (9, 12), "blanks are no part of it");
    }
}
