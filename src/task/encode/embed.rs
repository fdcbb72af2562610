//! Vectors of texts, as sentence-transformers makes them.

use linnet_proto::text::{EmbedRequest, Embedded};
use linnet_proto::{ErrorCode, WireError};

use super::config::Pooling;
use super::graph::{Encoder, Rows};
use crate::task::TaskContext;
use crate::task::tokenizer::{Encoded, Origin};

pub(super) fn embed(encoder: &mut Encoder, request: &EmbedRequest, ctx: &TaskContext) -> Result<Embedded, WireError> {
    let invalid = |param: &str, message: String| WireError::new(ErrorCode::InvalidOption, message).with_param(param);
    let config = &encoder.shared.config;
    let pooling = match request.pooling.as_deref() {
        None => config.pooling,
        Some(name) => Pooling::parse(name).ok_or_else(|| {
            invalid("pooling", format!("pooling is {name:?}; it must be one of mean, cls, last, max"))
        })?,
    };
    let normalize = request.normalize.unwrap_or(config.normalize);
    let prompt = match request.prompt_name.as_ref().or(config.default_prompt.as_ref()) {
        None => String::new(),
        Some(name) => config.prompts.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = config.prompts.keys().map(String::as_str).collect();
            let has = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            invalid("prompt_name", format!("the model has no prompt {name:?}; {has}"))
        })?,
    };
    let mut vectors = Vec::new();
    let mut tokens = 0;
    let texts: &[String] = if request.tokens.is_empty() { request.input.texts() } else { &[] };
    let inputs = texts.iter().map(|text| Input::Text(text)).chain(request.tokens.iter().map(|ids| Input::Tokens(ids)));
    for input in inputs {
        ctx.checkpoint()?;
        let encoded = match input {
            Input::Text(text) if prompt.is_empty() => encoder.encode(text)?,
            Input::Text(text) => encoder.encode(&format!("{prompt}{text}"))?,
            Input::Tokens(ids) => given(ids, encoder.shared.config.max_tokens)?,
        };
        tokens += encoded.len() as u64;
        let mut vector = vector(encoder, &encoded, pooling)?;
        if let Some(wanted) = request.dimensions {
            let wanted = wanted as usize;
            if wanted > vector.len() {
                let message = format!("dimensions is {wanted}; the model's vectors have {}", vector.len());
                return Err(invalid("dimensions", message));
            }
            vector.truncate(wanted);
        }
        if normalize {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vectors.push(vector);
    }
    Ok(Embedded { vectors, tokens, model: encoder.shared.name.clone() })
}

enum Input<'a> {
    Text(&'a str),
    Tokens(&'a [u32]),
}

fn given(ids: &[u32], most: usize) -> Result<Encoded, WireError> {
    if ids.len() > most {
        let message = format!("the input has {} tokens; at most {most} are taken", ids.len());
        return Err(WireError::new(ErrorCode::TooLarge, message).with_param("input"));
    }
    Ok(Encoded {
        ids: ids.to_vec(),
        offsets: vec![(0, 0); ids.len()],
        origins: vec![Origin::First; ids.len()],
        type_ids: vec![0; ids.len()],
    })
}

/// One vector of all tokens.
pub(super) fn vector(encoder: &mut Encoder, input: &Encoded, pooling: Pooling) -> Result<Vec<f32>, WireError> {
    let outputs = encoder.run(input)?;
    let find = |name: &str| outputs.iter().find(|(own, _)| own == name).map(|(_, rows)| rows);
    // Exports of sentence-transformers pool in the graph.
    if let Some(whole) = find("sentence_embedding") {
        return Ok(whole.data.clone());
    }
    let states =
        ["last_hidden_state", "token_embeddings", "hidden_states"].into_iter().find_map(find).ok_or_else(|| {
            let names: Vec<_> = outputs.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!(
                "the graph gives no last_hidden_state, only {}; was it exported for feature-extraction?",
                names.join(", ")
            );
            WireError::new(ErrorCode::ModelFailed, message)
        })?;
    Ok(pool(states, pooling))
}

fn pool(states: &Rows, pooling: Pooling) -> Vec<f32> {
    let positions = states.positions();
    match pooling {
        Pooling::Cls => states.at(0).to_vec(),
        Pooling::Last => states.at(positions - 1).to_vec(),
        Pooling::Mean | Pooling::Max => {
            let mut pooled = states.at(0).to_vec();
            for position in 1..positions {
                for (own, x) in pooled.iter_mut().zip(states.at(position)) {
                    if pooling == Pooling::Max { *own = own.max(*x) } else { *own += x }
                }
            }
            if pooling == Pooling::Mean {
                pooled.iter_mut().for_each(|x| *x /= positions as f32);
            }
            pooled
        }
    }
}
