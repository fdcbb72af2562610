//! One encoder's graph on one worker: ids in, named outputs out.

use std::sync::Arc;

use linnet_proto::{ErrorCode, WireError};

use super::{Shared, failed, refused};
use crate::engine::{EngineError, Session, Tensor, TensorData};
use crate::task::model::causal::integers;
use crate::task::tokenizer::{Encode, Encoded};

/// A session with what all workers share.
pub(super) struct Encoder {
    pub(super) shared: Arc<Shared>,
    session: Box<dyn Session>,
}

/// An output, `[positions, width]`, or `[width]` where the graph gives one vector for the whole input.
pub(super) struct Rows {
    pub(super) width: usize,
    pub(super) data: Vec<f32>,
}

impl Rows {
    /// The vector of one position.
    pub(super) fn at(&self, position: usize) -> &[f32] {
        &self.data[position * self.width..(position + 1) * self.width]
    }

    /// How many positions there are.
    pub(super) fn positions(&self) -> usize {
        self.data.len() / self.width.max(1)
    }
}

impl Encoder {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, EngineError> {
        Ok(Self { session: shared.model.session()?, shared })
    }

    /// Ids of a text; refused when they are more than the model takes.
    pub(super) fn encode(&self, text: &str) -> Result<Encoded, WireError> {
        let how = Encode { max_tokens: self.shared.config.max_tokens, ..Encode::default() };
        self.shared.tokenizer.encode(text, how).map_err(|e| refused(&e))
    }

    /// Ids of two texts.
    pub(super) fn encode_pair(&self, first: &str, second: &str) -> Result<Encoded, WireError> {
        let how = Encode { max_tokens: self.shared.config.max_tokens, ..Encode::default() };
        self.shared.tokenizer.encode_pair(first, second, how).map_err(|e| refused(&e))
    }

    /// Runs the graph on one input and gives all outputs, each with the batch's axis taken off.
    pub(super) fn run(&mut self, input: &Encoded) -> Result<Vec<(String, Rows)>, WireError> {
        let columns = input.len();
        if columns == 0 {
            return Err(WireError::new(ErrorCode::InvalidRequest, "the input holds no token; write something")
                .with_param("input"));
        }
        let vocabulary = self.shared.config.vocabulary.unwrap_or(usize::MAX);
        if let Some(id) = input.ids.iter().find(|id| **id as usize >= vocabulary) {
            let message = format!("the token {id} is outside the model's vocabulary of {vocabulary} tokens");
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("input"));
        }
        let ports = self.shared.model.inputs();
        let mut inputs = Vec::with_capacity(ports.len());
        for port in ports {
            let values: Vec<i64> = match port.name.as_str() {
                "input_ids" => input.ids.iter().map(|id| i64::from(*id)).collect(),
                "attention_mask" => vec![1; columns],
                "token_type_ids" => input.type_ids.iter().map(|id| i64::from(*id)).collect(),
                "position_ids" => (0..columns as i64).collect(),
                other => {
                    let message = format!("the graph takes `{other}`, which no encoder's export does");
                    return Err(WireError::new(ErrorCode::ModelFailed, message));
                }
            };
            inputs.push((port.name.as_str(), integers(port, vec![1, columns], values).map_err(failed)?));
        }
        let outputs = self.session.run(&inputs).map_err(failed)?;
        Ok(outputs.into_iter().filter_map(|(name, tensor)| Some((name, rows(tensor)?))).collect())
    }

    /// Runs the graph and gives one output.
    pub(super) fn run_for(&mut self, input: &Encoded, output: &str) -> Result<Rows, WireError> {
        let outputs = self.run(input)?;
        let names: Vec<String> = outputs.iter().map(|(name, _)| name.clone()).collect();
        outputs.into_iter().find(|(name, _)| name == output).map(|(_, rows)| rows).ok_or_else(|| {
            let message =
                format!("the graph gives no `{output}`, only {}; was it exported for another task?", names.join(", "));
            WireError::new(ErrorCode::ModelFailed, message)
        })
    }
}

fn rows(tensor: Tensor) -> Option<Rows> {
    let TensorData::F32(data) = tensor.data else { return None };
    // A start's or end's logits are one number for each position.
    let width = match tensor.shape.as_slice() {
        [1, width] => *width,
        [1, _, width] => *width,
        _ => return None,
    };
    (width > 0).then_some(Rows { width, data })
}
