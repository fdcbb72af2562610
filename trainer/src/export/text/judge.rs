//! How good a text model is: chrF and perplexity of pairs, perplexity of documents; and what rounding costs.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;

use super::{Kind, TextModel};
use crate::data::text::{self, Pair};
use crate::error::{Failure, Result};
use crate::evaluate::chrf::Chrf;
use crate::export::ExportArgs;
use crate::export::sets::TestSet;
use crate::heldout::HeldOut;
use crate::manifest::Purpose;
use crate::model::Bound;
use crate::train::device::device;
use crate::train::{causal, seq2seq};

/// Tokens of a batch.
const BATCH_TOKENS: usize = 4096;

/// What a model is judged on.
#[derive(Debug, Clone, PartialEq)]
pub enum Set {
    /// Sentence pairs.
    Pairs(Vec<Pair>),
    /// Documents.
    Documents(Vec<String>),
}

impl Set {
    /// Reads a file of what `kind` is judged on; only what is held out is taken.
    pub fn read(kind: &Kind, path: &Path) -> Result<Self> {
        let held_out = HeldOut::committed();
        let (set, len) = match kind {
            Kind::Seq2Seq(_) => {
                let pairs = text::pairs(path, Purpose::Evaluation, held_out)?.kept;
                let len = pairs.len();
                (Self::Pairs(pairs), len)
            }
            Kind::Causal(_) => {
                let documents = text::documents(path, Purpose::Evaluation, held_out)?.kept;
                let len = documents.len();
                (Self::Documents(documents), len)
            }
        };
        if len == 0 {
            let rule = "nothing in it is on the held-out lists, and what may have been trained on judges nothing";
            return Err(Failure::data(format!("{}: {rule}", path.display())));
        }
        Ok(set)
    }
}

/// The sets of an export.
pub struct Sets {
    /// What float and rounded weights are compared on.
    pub valid: Set,
    /// What the card's table shows, by title.
    pub tests: Vec<(String, Set)>,
}

impl Sets {
    /// Reads them all.
    pub fn read(model: &TextModel, valid: &Path, tests: &[TestSet]) -> Result<Self> {
        let test = |test: &TestSet| Ok((test.title.clone(), Set::read(&model.kind, &test.manifest)?));
        Ok(Self { valid: Set::read(&model.kind, valid)?, tests: tests.iter().map(test).collect::<Result<_>>()? })
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Pairs or documents.
    pub rows: usize,
    /// Tokens that were predicted, each given those before it.
    pub tokens: usize,
    /// Their mean loss, natural log.
    pub loss: f64,
    /// Bits for each character of documents.
    pub bits_per_char: Option<f64>,
    /// chrF of greedy translations of pairs.
    pub chrf: Option<f64>,
    /// Those translations.
    pub written: Vec<String>,
}

impl Judged {
    /// e to the loss.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// For people, one line.
    pub fn said(&self) -> String {
        let mut line = format!("perplexity {:.2} of {} tokens", self.perplexity(), self.tokens);
        if let Some(bits) = self.bits_per_char {
            let _ = write!(line, ", {bits:.3} bits a character");
        }
        if let Some(chrf) = self.chrf {
            let _ = write!(line, ", chrF {chrf:.2} (greedy)");
        }
        line
    }
}

/// Judges a model on a set, on the CPU.
pub fn judge(model: &TextModel, set: &Set) -> Result<Judged> {
    let device = cpu()?;
    let bound = Bound::new(&model.weights, &device);
    match (&model.kind, set) {
        (Kind::Seq2Seq(config), Set::Pairs(pairs)) => {
            let (loss, tokens) = seq2seq::loss(config, &bound, &model.vocabulary, pairs, BATCH_TOKENS)?;
            let sources: Vec<&str> = pairs.iter().map(|pair| pair.source.as_str()).collect();
            let written = seq2seq::translate(config, &bound, &model.vocabulary, &sources, BATCH_TOKENS)?;
            let mut chrf = Chrf::default();
            pairs.iter().zip(&written).for_each(|(pair, written)| chrf.add(written, &pair.target));
            let loss = loss / tokens.max(1) as f64;
            Ok(Judged { rows: pairs.len(), tokens, loss, bits_per_char: None, chrf: Some(chrf.score()), written })
        }
        (Kind::Causal(config), Set::Documents(documents)) => {
            let ids: Vec<Arc<[u32]>> = causal::tokens(config, &model.vocabulary, documents)?;
            let window = config.positions;
            let (loss, tokens) = causal::perplexity(config, &bound, &ids, window, BATCH_TOKENS);
            let chars: usize = documents.iter().map(|text| text.chars().count()).sum();
            let bits = loss / std::f64::consts::LN_2 / chars.max(1) as f64;
            let loss = loss / tokens.max(1) as f64;
            let rows = documents.len();
            Ok(Judged { rows, tokens, loss, bits_per_char: Some(bits), chrf: None, written: Vec::new() })
        }
        _ => Err(Failure::software("a set of another kind than the model")),
    }
}

/// The device that judges.
pub fn cpu() -> Result<Device> {
    device(crate::train::args::Backend::Flex)
}

/// Compares the float weights with those that go into the package; refuses a loss of more than `allowed` points of chrF, or so
/// many hundredths of the perplexity.
pub fn gate(float: &TextModel, packed: &TextModel, sets: &Sets, allowed: f64) -> Result<[Judged; 2]> {
    let (float, packed) = (judge(float, &sets.valid)?, judge(packed, &sets.valid)?);
    let lost = match (float.chrf, packed.chrf) {
        (Some(float), Some(packed)) => float - packed,
        _ => 100.0 * (packed.perplexity() / float.perplexity() - 1.0),
    };
    eprintln!("float weights: {}\npackage:       {}", float.said(), packed.said());
    if lost > allowed {
        return Err(Failure::refused(format!(
            "rounding costs {lost:.2} (chrF points, or hundredths of the perplexity), and --allow-loss allows {allowed}; \
             --precision f32 costs none"
        )));
    }
    Ok([float, packed])
}

/// Judges the test sets.
pub fn all(packed: &TextModel, sets: &Sets) -> Result<Vec<(String, Judged)>> {
    let one = |(title, set): &(String, Set)| {
        let judged = judge(packed, set)?;
        eprintln!("{title}: {}", judged.said());
        Ok((title.clone(), judged))
    };
    sets.tests.iter().map(one).collect()
}

/// What the card's names stand for.
pub fn facts(
    args: &ExportArgs,
    model: &TextModel,
    int8: bool,
    bytes: u64,
    gate: &[Judged; 2],
    results: &[(String, Judged)],
) -> Vec<(&'static str, String)> {
    let shape = match &model.kind {
        Kind::Seq2Seq(c) => format!(
            "{} encoder and {} decoder layers of width {}, {} heads, feed-forward parts of {}, {} tokens",
            c.encoder_layers, c.decoder_layers, c.d_model, c.heads, c.ffn, c.vocab
        ),
        Kind::Causal(c) => format!(
            "{} layers of width {}, {} heads, {} of keys and values, feed-forward parts of {}, {} tokens",
            c.layers, c.d_model, c.heads, c.kv_heads, c.ffn, c.vocab
        ),
    };
    let precision = if int8 { "8-bit integers with a scale for each output channel" } else { "32-bit floats" };
    let mut gated = format!("On the validation set the float weights have: {}", gate[0].said());
    if int8 {
        let _ = write!(gated, "; the package: {}", gate[1].said());
    }
    vec![
        ("name", args.name.clone()),
        ("version", args.version.clone()),
        ("description", args.description.clone()),
        ("license", args.license.clone()),
        ("languages", args.languages.join(", ")),
        ("parameters", format!("{:.1} million", model.parameters() as f64 / 1e6)),
        ("shape", shape),
        ("precision", precision.into()),
        ("size", format!("{:.1} MB", bytes as f64 / 1e6)),
        ("results", table(results)),
        ("gate", gated + "."),
    ]
}

fn table(results: &[(String, Judged)]) -> String {
    let Some((_, first)) = results.first() else { return "Not measured.".into() };
    let mut out = match first.chrf {
        Some(_) => "| set | pairs | tokens | chrF (greedy) | perplexity |\n|---|---|---|---|---|\n".to_owned(),
        None => "| set | documents | tokens | perplexity | bits a character |\n|---|---|---|---|---|\n".to_owned(),
    };
    for (title, judged) in results {
        let _ = match (judged.chrf, judged.bits_per_char) {
            (Some(chrf), _) => writeln!(
                out,
                "| {title} | {} | {} | **{chrf:.1}** | {:.2} |",
                judged.rows,
                judged.tokens,
                judged.perplexity()
            ),
            (None, bits) => writeln!(
                out,
                "| {title} | {} | {} | **{:.2}** | {:.3} |",
                judged.rows,
                judged.tokens,
                judged.perplexity(),
                bits.unwrap_or(f64::NAN)
            ),
        };
    }
    out.trim_end().to_owned()
}
