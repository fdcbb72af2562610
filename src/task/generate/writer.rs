//! One worker's half of a writing model: prompts through the encoder where there is one, then through the decoder.

use std::sync::Arc;

use linnet_proto::generate::{DecodeOptions, Delta};
use linnet_proto::{ErrorCode, WireError};

use super::{Graph, Shared, failed};
use crate::engine::{EngineError, Model, Positions, Session};
use crate::task::decode::text::{Checkpoint, Generation, Outcome, Prompt, ResolvedOptions};
use crate::task::model::LanguageModel;
use crate::task::model::causal::{Causal, integers};
use crate::task::model::seq2seq::{Encoded, Seq2Seq};

/// Sessions on shared weights.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    model: Sessions,
}

enum Sessions {
    Causal(Causal),
    Seq2Seq { encoder: Arc<dyn Model>, session: Box<dyn Session>, decoder: Seq2Seq },
}

impl Writer {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, EngineError> {
        let model = match &shared.graph {
            Graph::Causal(graph) => Sessions::Causal(graph.open()?),
            Graph::Seq2Seq { encoder, decoder } => Sessions::Seq2Seq {
                encoder: Arc::clone(encoder),
                session: encoder.session()?,
                decoder: decoder.open()?,
            },
        };
        Ok(Self { shared, model })
    }

    /// Writes behind `ids`: a decoder's prompt, or an encoder's input.
    pub(super) fn write(
        &mut self,
        ids: &[u32],
        asked: Asked<'_>,
        ctx: &dyn Checkpoint,
        on_delta: &mut dyn FnMut(Delta) -> Result<(), WireError>,
    ) -> Result<Outcome, WireError> {
        let shared = Arc::clone(&self.shared);
        let options = ResolvedOptions::resolve(&shared.generation, asked.options, shared.config.vocabulary)?;
        let (model, prompt): (&mut dyn LanguageModel, Prompt) = match &mut self.model {
            Sessions::Causal(model) => {
                let ids =
                    if ids.is_empty() { shared.generation.bos_token_id.into_iter().collect() } else { ids.to_vec() };
                (model, Prompt { ids, heard: None, protected: asked.protected, text: asked.text })
            }
            Sessions::Seq2Seq { encoder, session, decoder } => {
                check_heard(ids, &shared)?;
                ctx.checkpoint()?;
                decoder.listen(encode(&**encoder, &mut **session, ids, padding(&shared))?);
                let prompt = Prompt {
                    ids: opening(&shared, &asked.options.forced_prefix),
                    heard: Some(ids.to_vec()),
                    protected: 1,
                    text: asked.text,
                };
                (decoder, prompt)
            }
        };
        Generation::new(model, shared.setting.clone(), prompt, options)?.run(model, ctx, on_delta)
    }

    /// Whether [`Writer::attend`] tells anything.
    pub(super) fn gives_attention(&self) -> bool {
        matches!(&self.model, Sessions::Seq2Seq { decoder, .. } if decoder.gives_attention())
    }

    /// How much each of `written` listens to each position of the input of the last [`Writer::write`], behind an answer that begins with
    /// `forced`; empty where the graph does not tell. It costs one step for each id: a search keeps no attention of the beams that it drops.
    pub(super) fn attend(
        &mut self,
        forced: &[u32],
        written: &[u32],
        ctx: &dyn Checkpoint,
    ) -> Result<Vec<Vec<f32>>, WireError> {
        let prefix = opening(&self.shared, forced);
        match &mut self.model {
            Sessions::Seq2Seq { decoder, .. } if decoder.gives_attention() => attention(decoder, &prefix, written, ctx),
            _ => Ok(Vec::new()),
        }
    }
}

/// What an encoder-decoder's answer begins with.
fn opening(shared: &Shared, forced: &[u32]) -> Vec<u32> {
    let start = shared.generation.decoder_start().or(shared.generation.pad_token_id).unwrap_or(0);
    [&[start], forced].concat()
}

/// For each of `written`, the attention of the step that reads it, the mean over layers and heads: a decoder that has read a word knows best
/// where it came from.
pub(super) fn attention(
    model: &mut dyn LanguageModel,
    prefix: &[u32],
    written: &[u32],
    ctx: &dyn Checkpoint,
) -> Result<Vec<Vec<f32>>, WireError> {
    let mut sequences = model.begin().map_err(failed)?;
    model.step(&mut sequences, &[prefix.to_vec()], Positions::Last).map_err(failed)?;
    let mut rows = Vec::with_capacity(written.len());
    for id in written {
        ctx.checkpoint()?;
        model.step(&mut sequences, &[vec![*id]], Positions::Last).map_err(failed)?;
        let (mut sum, mut heads) = (Vec::new(), 0);
        for layer in model.attention() {
            let (Some(values), Some(width)) = (layer.as_f32(), layer.shape.last().copied()) else { continue };
            sum.resize(width, 0.0);
            for head in values.chunks_exact(width.max(1)) {
                sum.iter_mut().zip(head).for_each(|(sum, value)| *sum += value);
                heads += 1;
            }
        }
        sum.iter_mut().for_each(|value| *value /= heads.max(1) as f32);
        rows.push(sum);
    }
    Ok(rows)
}

/// How a prompt is to be answered.
pub(super) struct Asked<'a> {
    pub(super) options: &'a DecodeOptions,
    /// First ids that a sliding context keeps.
    pub(super) protected: usize,
    /// The prompt as it was written, for `echo`.
    pub(super) text: Option<String>,
}

impl<'a> Asked<'a> {
    pub(super) fn with(options: &'a DecodeOptions) -> Self {
        Self { options, protected: 0, text: None }
    }
}

fn check_heard(ids: &[u32], shared: &Shared) -> Result<(), WireError> {
    if ids.is_empty() {
        let message = "the prompt holds no token; write something";
        return Err(WireError::new(ErrorCode::InvalidRequest, message).with_param("prompt"));
    }
    if let Some(most) = shared.config.encoder_context.filter(|most| ids.len() > *most) {
        let message =
            format!("the text has {} tokens, but the model reads at most {most}; send it in parts", ids.len());
        return Err(WireError::new(ErrorCode::ContextLengthExceeded, message).with_param("prompt"));
    }
    // Marian has a vocabulary for each side; T5 and others share one.
    Ok(())
}

/// The token that fills a batch, which transformers masks wherever it stands in an input, unless it ends texts as well.
fn padding(shared: &Shared) -> Option<u32> {
    shared.generation.pad_token_id.filter(|pad| !shared.generation.eos_token_id.contains(pad))
}

/// Runs the encoder.
fn encode(
    model: &dyn Model,
    session: &mut dyn Session,
    ids: &[u32],
    padding: Option<u32>,
) -> Result<Encoded, WireError> {
    let columns = ids.len();
    let mask: Vec<i64> = ids.iter().map(|id| i64::from(Some(*id) != padding)).collect();
    let mask = if mask.contains(&1) { mask } else { vec![1; columns] };
    let mut inputs = Vec::new();
    for port in model.inputs() {
        let values: Vec<i64> = match port.name.as_str() {
            "input_ids" => ids.iter().map(|id| i64::from(*id)).collect(),
            "attention_mask" => mask.clone(),
            other => {
                let message = format!("the encoder takes `{other}`, which no export of a text model does");
                return Err(WireError::new(ErrorCode::ModelFailed, message));
            }
        };
        inputs.push((port.name.as_str(), integers(port, vec![1, columns], values).map_err(failed)?));
    }
    let outputs = session.run(&inputs).map_err(failed)?;
    let states = outputs.into_iter().find(|(name, _)| name == "last_hidden_state" || name == "encoder_hidden_states");
    let Some((_, states)) = states else {
        let message = "the encoder gives no last_hidden_state; was it exported by Optimum?";
        return Err(WireError::new(ErrorCode::ModelFailed, message));
    };
    Ok(Encoded { states, mask })
}
