//! Tasks of encoders: filling masks, labels, entities, answers from a text, embeddings, intents, summaries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::WireError;
use crate::check::{length_within, list_within, whole_within};
use crate::transcribe::MAX_NAME_BYTES;

/// Most inputs of one request.
pub const MAX_INPUTS: usize = 2048;
/// Most bytes of all inputs.
pub const MAX_INPUT_BYTES: usize = 4 << 20;
/// Most labels of a zero-shot classification.
pub const MAX_LABELS: usize = 256;

/// One text or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Inputs {
    /// One; its answer is not a list of lists.
    One(String),
    /// Several, answered in order.
    Many(Vec<String>),
}

impl Default for Inputs {
    fn default() -> Self {
        Self::One(String::new())
    }
}

impl Inputs {
    /// The texts in order.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }

    /// Checks number and size.
    pub fn check(&self) -> Result<(), WireError> {
        list_within("input", self.texts().len(), MAX_INPUTS)?;
        let bytes: usize = self.texts().iter().map(String::len).sum();
        whole_within("input", Some(bytes as u64), 0, MAX_INPUT_BYTES as u64)
    }
}

/// `POST /v1/fill-mask`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FillRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Text with the model's mask token, or with `[MASK]` or `<mask>`, which stand for it.
    pub input: Inputs,
    /// Candidates for each mask, 1 to 100; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only these words are scored; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Add what each choice was among.
    pub explain: bool,
}

/// One candidate for a mask.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FillCandidate {
    /// The token's text.
    pub token_str: String,
    /// Its id.
    pub token: u32,
    /// Its probability.
    pub score: f32,
    /// The text with the mask filled.
    pub sequence: String,
}

/// Candidates: a list, best first; a list of lists for several masks or inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Nested<T> {
    /// One list.
    One(Vec<T>),
    /// A list for each.
    Many(Vec<Nested<T>>),
}

/// An answer with results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results<T> {
    /// The results.
    pub results: T,
    /// The model that answered.
    pub model: String,
    /// Why, when `explain` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Value>,
}

/// `POST /v1/classify`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifyRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Text.
    pub input: Inputs,
    /// A second text, for models that judge pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<String>,
    /// Labels to choose among by an entailment model (zero-shot); the model's own when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The sentence that a label completes at `{}`, for zero-shot; `This example is {}.` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypothesis_template: Option<String>,
    /// Whether several labels may hold at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<bool>,
    /// Labels to give; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Add what each word did to the score (occlusion).
    pub explain: bool,
}

/// One label.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub label: String,
    /// Its probability.
    pub score: f32,
}

/// `POST /v1/tag`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TagRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Text.
    pub input: Inputs,
    /// How tokens become entities: `none`, `simple`, `first`, `average`, `max`, as in transformers; `simple` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<String>,
    /// Add each token's probabilities.
    pub explain: bool,
}

/// One entity or token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tagged {
    /// Kind, without `B-` and `I-` where tokens were merged.
    pub label: String,
    /// Probability.
    pub score: f32,
    /// The text.
    pub word: String,
    /// First character in the input, counted in characters (Unicode scalar values).
    pub start: usize,
    /// Behind the last character.
    pub end: usize,
}

/// `POST /v1/answer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The question.
    pub question: String,
    /// The text that holds the answer.
    pub context: String,
    /// Answers to give; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Longest answer, tokens; 15 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_answer_tokens: Option<u32>,
    /// Whether there may be none.
    pub allow_no_answer: bool,
    /// Add the scores of start and end.
    pub explain: bool,
}

/// One answer from a text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanAnswer {
    /// The answer; empty when the text has none.
    pub answer: String,
    /// Its probability.
    pub score: f32,
    /// First character in the context.
    pub start: usize,
    /// Behind the last character.
    pub end: usize,
}

/// `POST /v1/intent`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntentRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What was said.
    pub input: String,
    /// Intents to choose among by example sentences, for models that embed; the model's own when empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub intents: BTreeMap<String, Vec<String>>,
    /// Below this score it is out of scope, 0.0 to 1.0; the model's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Add the scores of all intents.
    pub explain: bool,
}

/// What somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Name of the intent; absent when out of scope.
    pub intent: Option<String>,
    /// Its probability.
    pub score: f32,
    /// Its slots.
    pub slots: Vec<Tagged>,
    /// Whether nothing that the model knows was meant.
    pub out_of_scope: bool,
    /// The model that answered.
    pub model: String,
    /// All intents, best first, when `explain` asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Label>,
}

/// `POST /v1/embeddings`, in Linnet's own shape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Texts.
    pub input: Inputs,
    /// Token ids instead of texts; used as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Vec<u32>>,
    /// Numbers of each vector to keep (the first ones, then normalised again); all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// Name of one of the model's prompts (`query`, `passage`), put in front of each text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_name: Option<String>,
    /// How token vectors become one: `mean`, `cls`, `last`; the model's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<String>,
    /// Whether vectors have length 1; the model's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
}

/// Vectors, in the order of the inputs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Embedded {
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens over all inputs.
    pub tokens: u64,
    /// The model that answered.
    pub model: String,
}

/// `POST /v1/words`: neighbours and analogies of word vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WordsRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Words added.
    pub positive: Vec<String>,
    /// Words subtracted.
    pub negative: Vec<String>,
    /// Neighbours to give; 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
}

/// `POST /v1/summarize`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SummarizeRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The text.
    pub input: String,
    /// Fewest tokens of the summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u64>,
    /// Most tokens of the summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Beam width; the model's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_beams: Option<u32>,
}

/// A summary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The summary.
    pub summary: String,
    /// Sections that the text was cut into.
    pub sections: u32,
    /// The model that answered.
    pub model: String,
}

/// `POST /v1/raw`: named tensors in, named tensors out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Which graph of the package, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    /// Inputs by name.
    pub inputs: BTreeMap<String, RawTensor>,
    /// Outputs to give; all when empty.
    pub outputs: Vec<String>,
}

/// A tensor as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RawTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// `float32`, `float16`, `int64`, `int32`, `int8`, `uint8`, `bool`.
    pub dtype: String,
    /// The elements, row-major, as a flat list of numbers or as base64 of little-endian bytes.
    pub data: RawData,
}

/// A tensor's elements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RawData {
    /// Base64 of little-endian bytes.
    Base64(String),
    /// Numbers (`NaN` and infinities need base64).
    Numbers(Vec<f64>),
}

/// The outputs of a graph.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RawAnswer {
    /// By name.
    pub outputs: BTreeMap<String, RawTensor>,
    /// The model that answered.
    pub model: String,
}

macro_rules! checks {
    ($($request:ident: $($field:ident),*;)*) => {$(
        impl $request {
            /// Checks every option against its rule.
            pub fn check(&self) -> Result<(), WireError> {
                length_within("model", self.model.as_deref(), MAX_NAME_BYTES)?;
                $(self.$field.check()?;)*
                self.check_own()
            }
        }
    )*};
}

checks! {
    FillRequest: input;
    ClassifyRequest: input;
    TagRequest: input;
    AnswerRequest:;
    IntentRequest:;
    EmbedRequest: input;
    WordsRequest:;
    SummarizeRequest:;
    RawRequest:;
}

impl FillRequest {
    fn check_own(&self) -> Result<(), WireError> {
        list_within("targets", self.targets.len(), MAX_LABELS)?;
        whole_within("top_k", self.top_k.map(u64::from), 1, 100)
    }
}

impl ClassifyRequest {
    fn check_own(&self) -> Result<(), WireError> {
        list_within("labels", self.labels.len(), MAX_LABELS)?;
        for label in &self.labels {
            length_within("labels", Some(label), 1024)?;
        }
        length_within("hypothesis_template", self.hypothesis_template.as_deref(), 1024)?;
        length_within("text_pair", self.text_pair.as_deref(), MAX_INPUT_BYTES)?;
        whole_within("top_k", self.top_k.map(u64::from), 1, 1 << 20)
    }
}

impl TagRequest {
    fn check_own(&self) -> Result<(), WireError> {
        length_within("aggregation", self.aggregation.as_deref(), MAX_NAME_BYTES)
    }
}

impl AnswerRequest {
    fn check_own(&self) -> Result<(), WireError> {
        length_within("question", Some(&self.question), 64 << 10)?;
        length_within("context", Some(&self.context), MAX_INPUT_BYTES)?;
        whole_within("top_k", self.top_k.map(u64::from), 1, 100)?;
        whole_within("max_answer_tokens", self.max_answer_tokens.map(u64::from), 1, 4096)
    }
}

impl IntentRequest {
    fn check_own(&self) -> Result<(), WireError> {
        length_within("input", Some(&self.input), 64 << 10)?;
        list_within("intents", self.intents.len(), MAX_LABELS)?;
        list_within("intents", self.intents.values().map(Vec::len).sum(), MAX_INPUTS)?;
        crate::check::number_within("threshold", self.threshold, 0.0, 1.0)
    }
}

impl EmbedRequest {
    fn check_own(&self) -> Result<(), WireError> {
        list_within("input", self.tokens.len(), MAX_INPUTS)?;
        list_within("input", self.tokens.iter().map(Vec::len).sum(), 1 << 20)?;
        whole_within("dimensions", self.dimensions.map(u64::from), 1, 1 << 16)?;
        length_within("prompt_name", self.prompt_name.as_deref(), MAX_NAME_BYTES)?;
        length_within("pooling", self.pooling.as_deref(), MAX_NAME_BYTES)
    }
}

impl WordsRequest {
    fn check_own(&self) -> Result<(), WireError> {
        list_within("positive", self.positive.len(), MAX_LABELS)?;
        list_within("negative", self.negative.len(), MAX_LABELS)?;
        for word in self.positive.iter().chain(&self.negative) {
            length_within("positive", Some(word), 1024)?;
        }
        whole_within("top_k", self.top_k.map(u64::from), 1, 1000)
    }
}

impl SummarizeRequest {
    fn check_own(&self) -> Result<(), WireError> {
        length_within("input", Some(&self.input), MAX_INPUT_BYTES)?;
        whole_within("num_beams", self.num_beams.map(u64::from), 1, crate::generate::MAX_BEAMS.into())
    }
}

impl RawRequest {
    fn check_own(&self) -> Result<(), WireError> {
        length_within("graph", self.graph.as_deref(), 1024)?;
        list_within("inputs", self.inputs.len(), 1024)?;
        list_within("outputs", self.outputs.len(), 1024)
    }
}
