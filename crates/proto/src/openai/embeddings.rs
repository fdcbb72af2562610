//! `POST /v1/embeddings` (<https://platform.openai.com/docs/api-reference/embeddings>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::usage::Usage;
use crate::fields::{Fields, ids, wrong};
use crate::text::{EmbedRequest, Embedded, Inputs};
use crate::{ErrorCode, WireError};

/// A request, read.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsRequest {
    /// The job.
    pub job: EmbedRequest,
    /// Vectors as base64 of little-endian 32-bit numbers.
    pub base64: bool,
    /// Members that did nothing.
    pub without_effect: Vec<&'static str>,
}

/// Reads a body.
pub fn read(body: Map<String, Value>) -> Result<EmbeddingsRequest, WireError> {
    let mut fields = Fields::new(body);
    let model = fields.text("model")?;
    let (input, tokens) = input(&mut fields)?;
    let base64 = fields.word("encoding_format", &["float", "base64"])? == Some("base64");
    let job = EmbedRequest {
        model,
        input,
        tokens,
        dimensions: fields.whole_u32("dimensions")?,
        prompt_name: fields.text("prompt_name")?,
        pooling: fields.text("pooling")?,
        normalize: fields.switch("normalize")?,
    };
    fields.pass_over(&["user"]);
    let without_effect = fields.finish()?;
    job.check()?;
    Ok(EmbeddingsRequest { job, base64, without_effect })
}

fn input(fields: &mut Fields) -> Result<(Inputs, Vec<Vec<u32>>), WireError> {
    const EXPECTED: &str = "a text, a list of texts, a list of token ids, or a list of lists of token ids";
    let none = || Inputs::Many(Vec::new());
    match fields.take("input") {
        None => Err(fields.missing("input")),
        Some(Value::String(text)) => Ok((Inputs::One(text), Vec::new())),
        Some(Value::Array(items)) => match items.first() {
            None => Err(WireError::new(ErrorCode::InvalidRequest, "input is an empty list").with_param("input")),
            Some(Value::Number(_)) => Ok((none(), vec![ids("input", &items)?])),
            Some(Value::Array(_)) => {
                let each = items.iter().map(|item| match item {
                    Value::Array(items) => ids("input", items),
                    other => Err(wrong("input", other, EXPECTED)),
                });
                Ok((none(), each.collect::<Result<_, _>>()?))
            }
            Some(_) => {
                let each = items.into_iter().map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong("input", &other, EXPECTED)),
                });
                Ok((Inputs::Many(each.collect::<Result<_, _>>()?), Vec::new()))
            }
        },
        Some(other) => Err(wrong("input", &other, EXPECTED)),
    }
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// Always `list`.
    pub object: String,
    /// The vectors, in the order of the inputs.
    pub data: Vec<Embedding>,
    /// The model that answered.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
}

/// One vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: String,
    /// From 0.
    pub index: usize,
    /// The vector.
    pub embedding: Vector,
}

/// A vector's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Vector {
    /// As numbers.
    Floats(Vec<f32>),
    /// As base64 of little-endian 32-bit numbers.
    Base64(String),
}

impl Embeddings {
    /// The answer in OpenAI's shape.
    pub fn of(answer: Embedded, base64: bool) -> Self {
        let vector = |numbers: Vec<f32>| {
            if base64 {
                let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
                Vector::Base64(STANDARD.encode(bytes))
            } else {
                Vector::Floats(numbers)
            }
        };
        let data = answer.vectors.into_iter().enumerate();
        let data = data.map(|(index, v)| Embedding { object: "embedding".to_owned(), index, embedding: vector(v) });
        Self {
            object: "list".to_owned(),
            data: data.collect(),
            model: answer.model,
            usage: Usage::of_input(answer.tokens),
        }
    }
}
