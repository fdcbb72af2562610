//! One run of a golden.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::causal::{Causal, CausalGraph};
use super::super::seq2seq::{DecoderFiles, Encoded, Seq2Seq, Seq2SeqGraph};
use super::super::{LanguageModel, Logits, Sequences};
use crate::engine::tract::TractEngine;
use crate::engine::{Datum, Engine, LoadOptions, Model, Positions, Session, Size, Tensor, TensorData};

/// How far a run is from its reference.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Nothing is compared.
    ignored: bool,
    /// Ids that were chosen; 0 for what gives no ids.
    pub(super) steps: usize,
    /// Of them, those that are the reference's.
    pub(super) equal: usize,
    /// The largest difference, over the reference's largest.
    pub(super) worst: f32,
    /// The first id that is another although the reference was sure of its own: its margin over twice the error.
    wrong: Option<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} ids, off by {:.1e}", self.equal, self.steps, self.worst)
    }
}

/// Largest difference over the reference's largest that is accepted.
fn tolerance(dtype: &str) -> f32 {
    if dtype == "f32" { 2e-4 } else { 1e-2 }
}

/// How long a case took.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    /// Until the first logits, or until an encoder's answer.
    pub(super) reading: Duration,
    /// Each step after that.
    pub(super) steps: Vec<Duration>,
}

/// What this thread had of the processor: others that want it do not count.
fn spent() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl Outcome {
    /// One that compares nothing: for runs of which only time or memory counts.
    pub(super) fn ignored() -> Self {
        Self { ignored: true, ..Self::default() }
    }

    /// The reason why a run is too far from its reference.
    pub(super) fn within(&self, dtype: &str) -> Result<(), String> {
        if self.worst.is_nan() || self.worst > tolerance(dtype) {
            return Err(format!("off by {:.2e} of the largest", self.worst));
        }
        self.wrong.clone().map_or(Ok(()), Err)
    }

    /// Adds one step. `chosen` is the reference's id, which its logits need not prefer when it is `forced`; `all` are all of the
    /// reference's logits, where they are known.
    fn add(&mut self, place: &str, row: &[f32], step: &Value, all: Option<&[f32]>, chosen: u32, forced: bool) {
        if self.ignored {
            return;
        }
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN) as f32;
        let top = ids(&step["top_ids"]);
        let values: Vec<f32> = step["top_logits"].as_array().into_iter().flatten().map(number).collect();
        let max_abs = number(&step["max_abs"]);
        let off = match all {
            Some(all) if all.len() == row.len() => largest(row, all),
            Some(_) => f32::INFINITY,
            None => top.iter().zip(&values).map(|(id, v)| (row[*id as usize] - v).abs()).fold(0.0, f32::max),
        } / max_abs;
        // What is no number is not within any tolerance.
        self.worst = if off.is_nan() { f32::INFINITY } else { self.worst.max(off) };
        if forced {
            return;
        }
        self.steps += 1;
        let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as u32;
        if best == top[0] {
            self.equal += 1;
        } else if (values[0] - values[1]) / max_abs > 2.0 * off && self.wrong.is_none() {
            self.wrong = Some(format!("{place}: chose {best} instead of {chosen}"));
        }
    }

    /// Adds an output that holds nothing to choose from.
    fn add_output(&mut self, name: &str, ours: &Tensor, golden: &[f32]) -> Result<(), String> {
        let TensorData::F32(ours) = &ours.data else { return Err(format!("{name} holds no floats")) };
        if ours.len() != golden.len() {
            return Err(format!("{name} has {} values instead of {}", ours.len(), golden.len()));
        }
        let max = golden.iter().fold(0f32, |m, v| m.max(v.abs()));
        let off = largest(ours, golden) / max;
        self.worst = if off.is_nan() { f32::INFINITY } else { self.worst.max(off) };
        Ok(())
    }
}

/// Largest difference; NaN where one is.
fn largest(ours: &[f32], golden: &[f32]) -> f32 {
    let worse = |worst: f32, off: f32| if off.is_nan() { off } else { worst.max(off) };
    ours.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, worse)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|id| id as u32).collect()
}

/// Runs what a golden's run holds; `None` for kinds that are tested elsewhere.
pub(super) fn run(dir: &Path, golden: &Value, run: &Value, config: &Value) -> Option<Result<Outcome, String>> {
    let loaded = Loaded::load(dir, golden, run, config)?;
    let whole = in_one_piece(run["dtype"].as_str().unwrap_or("f32"));
    Some(loaded.and_then(|loaded| {
        let mut worker = loaded.open()?;
        let mut outcome = Outcome::default();
        for case in run["cases"].as_array().into_iter().flatten() {
            worker.case(case, whole, &mut outcome)?;
        }
        Ok(outcome)
    }))
}

/// What is quantized at run time is quantized over all positions of a step together: only a prompt in one piece gives what the
/// reference, which had it so, gives.
pub(super) fn in_one_piece(dtype: &str) -> bool {
    matches!(dtype, "int8" | "uint8")
}

/// A run's graphs.
pub(super) struct Loaded {
    dir: PathBuf,
    /// Whether the reference is transformers, which answers more than an export does.
    more: bool,
    graphs: Graphs,
}

enum Graphs {
    Decoder(CausalGraph),
    Seq2Seq(Arc<dyn Model>, Seq2SeqGraph),
    Encoder(Arc<dyn Model>),
    Transducer([Arc<dyn Model>; 3]),
}

/// Frames of a transducer's piece that its pipeline allows.
const FRAMES: std::ops::RangeInclusive<usize> = 16..=1810;

impl Loaded {
    /// Loads what a golden's run names; `None` for kinds that are tested elsewhere.
    pub(super) fn load(dir: &Path, golden: &Value, run: &Value, config: &Value) -> Option<Result<Self, String>> {
        let graphs = match golden["kind"].as_str().unwrap_or_default() {
            "decoder" => decoder(dir, run, config),
            "seq2seq" => seq2seq(dir, run, config),
            "encoder" => encoder(dir, run),
            "transducer" => transducer(dir, run),
            _ => return None,
        };
        let more = run["reference"] == "transformers";
        Some(graphs.map(|graphs| Self { dir: dir.to_owned(), more, graphs }))
    }

    /// A worker's own half.
    pub(super) fn open(&self) -> Result<Worker<'_>, String> {
        let session = |model: &Arc<dyn Model>| model.session().map_err(|e| e.to_string());
        let half = match &self.graphs {
            Graphs::Decoder(graph) => Half::Decoder(graph.open().map_err(|e| e.to_string())?),
            Graphs::Seq2Seq(encoder, graph) => {
                Half::Seq2Seq(encoder, session(encoder)?, graph.open().map_err(|e| e.to_string())?)
            }
            Graphs::Encoder(model) => Half::Encoder(model, session(model)?),
            Graphs::Transducer(models) => {
                let [encoder, decoder, joiner] = models;
                Half::Transducer(models, [session(encoder)?, session(decoder)?, session(joiner)?])
            }
        };
        Ok(Worker { loaded: self, half })
    }
}

fn decoder(dir: &Path, run: &Value, config: &Value) -> Result<Graphs, String> {
    let vocabulary =
        config["vocab_size"].as_u64().or(config["text_config"]["vocab_size"].as_u64()).ok_or("no vocab_size")?;
    let onnx = run["files"]["decoder"].as_str().ok_or("no decoder")?;
    let graph = CausalGraph::load(&TractEngine::default(), dir, Path::new(onnx), None, vocabulary as usize);
    graph.map(Graphs::Decoder).map_err(|e| e.to_string())
}

fn seq2seq(dir: &Path, run: &Value, config: &Value) -> Result<Graphs, String> {
    let vocabulary = config["decoder_vocab_size"].as_u64().or(config["vocab_size"].as_u64()).ok_or("no vocab_size")?;
    let path = |role: &str| run["files"][role].as_str().map(PathBuf::from);
    let decoder = path("decoder").ok_or("no decoder")?;
    let files = match path("decoder_with_past") {
        Some(with_past) => DecoderFiles { first: Some(decoder), with_past: Some(with_past), merged: None },
        None => DecoderFiles { merged: Some(decoder), ..DecoderFiles::default() },
    };
    let engine = TractEngine::default();
    let encoder = path("encoder").ok_or("no encoder")?;
    let encoder = engine.load(dir, &encoder).map_err(|e| e.to_string())?;
    let graph = Seq2SeqGraph::load(&engine, dir, &files, None, vocabulary as usize).map_err(|e| e.to_string())?;
    Ok(Graphs::Seq2Seq(encoder, graph))
}

fn encoder(dir: &Path, run: &Value) -> Result<Graphs, String> {
    let onnx = run["files"]["model"].as_str().ok_or("no model")?;
    TractEngine::default().load(dir, Path::new(onnx)).map(Graphs::Encoder).map_err(|e| e.to_string())
}

fn transducer(dir: &Path, run: &Value) -> Result<Graphs, String> {
    let engine = TractEngine::default();
    let path = |role: &str| run["files"][role].as_str().map(Path::new).ok_or_else(|| format!("no {role}"));
    // As the pipeline loads it: its table of positions has to be known to be long enough.
    let size = |input: &str, axis, least, most| Size { input: input.to_owned(), axis, least, most };
    let sizes = vec![size("x", 0, 1, 1), size("x_lens", 0, 1, 1), size("x", 1, *FRAMES.start(), *FRAMES.end())];
    let options = LoadOptions { sizes, ..LoadOptions::default() };
    let encoder = engine.load_with(dir, path("encoder")?, &options).map_err(|e| e.to_string())?;
    let decoder = engine.load(dir, path("decoder")?).map_err(|e| e.to_string())?;
    let joiner = engine.load(dir, path("joiner")?).map_err(|e| e.to_string())?;
    Ok(Graphs::Transducer([encoder, decoder, joiner]))
}

/// What runs cases, one after the other.
pub(super) struct Worker<'a> {
    loaded: &'a Loaded,
    half: Half<'a>,
}

enum Half<'a> {
    Decoder(Causal),
    Seq2Seq(&'a Arc<dyn Model>, Box<dyn Session>, Seq2Seq),
    Encoder(&'a Arc<dyn Model>, Box<dyn Session>),
    Transducer(&'a [Arc<dyn Model>; 3], [Box<dyn Session>; 3]),
}

impl Worker<'_> {
    /// Runs a case, a decoder's prompt at once when `whole`, and adds how far it is from the golden.
    pub(super) fn case(&mut self, case: &Value, whole: bool, outcome: &mut Outcome) -> Result<Times, String> {
        let dir = &self.loaded.dir;
        match &mut self.half {
            Half::Decoder(model) => decoder_case(dir, model, case, whole, outcome),
            Half::Seq2Seq(encoder, session, model) => {
                seq2seq_case(dir, encoder.as_ref(), &mut **session, model, case, outcome)
            }
            Half::Encoder(model, session) => {
                encoder_case(dir, model.as_ref(), &mut **session, self.loaded.more, case, outcome)
            }
            Half::Transducer(models, sessions) => transducer_case(dir, models, sessions, case, outcome),
        }
    }
}

/// All logits of a case, where the golden has them and somebody looks.
fn all_logits(dir: &Path, case: &Value, outcome: &Outcome) -> Option<Vec<f32>> {
    (!outcome.ignored && !case["logits"].is_null()).then(|| array(dir, &case["logits"]))
}

/// Steps of a golden, fed with its own ids from `fed` on; `began` is when the case began.
struct Walk<'a> {
    dir: &'a Path,
    case: &'a Value,
    place: String,
    forced: bool,
    began: Duration,
}

impl Walk<'_> {
    fn go(
        self,
        model: &mut dyn LanguageModel,
        mut sequences: Sequences,
        mut fed: Vec<u32>,
        outcome: &mut Outcome,
    ) -> Result<Times, String> {
        let all = all_logits(self.dir, self.case, outcome);
        let (chosen, width) = (ids(&self.case["ids"]), model.vocabulary());
        let (mut times, mut began) = (Times::default(), self.began);
        let steps = self.case["steps"].as_array().into_iter().flatten();
        for (i, (step, id)) in steps.zip(&chosen).enumerate() {
            let place = format!("{}, step {i}", self.place);
            let logits: Logits =
                model.step(&mut sequences, &[fed], Positions::Last).map_err(|e| format!("{place}: {e}"))?;
            match i {
                0 => times.reading = spent() - began,
                _ => times.steps.push(spent() - began),
            }
            let all = all.as_ref().and_then(|all| all.get(i * width..(i + 1) * width));
            outcome.add(&place, logits.last(0), step, all, *id, self.forced && i == 0);
            fed = vec![*id];
            began = spent();
        }
        Ok(times)
    }
}

fn decoder_case(
    dir: &Path,
    model: &mut Causal,
    case: &Value,
    whole: bool,
    outcome: &mut Outcome,
) -> Result<Times, String> {
    let prompt = ids(&case["prompt"]);
    let began = spent();
    let mut sequences = model.begin().map_err(|e| e.to_string())?;
    // In two pieces, as a long prompt is prefilled.
    let (head, tail) = prompt.split_at(if whole { 0 } else { prompt.len() / 2 });
    if !head.is_empty() {
        model.step(&mut sequences, &[head.to_vec()], Positions::Last).map_err(|e| e.to_string())?;
    }
    let walk = Walk { dir, case, place: format!("prompt of {}", prompt.len()), forced: false, began };
    walk.go(model, sequences, tail.to_vec(), outcome)
}

fn seq2seq_case(
    dir: &Path,
    encoder: &dyn Model,
    session: &mut dyn Session,
    model: &mut Seq2Seq,
    case: &Value,
    outcome: &mut Outcome,
) -> Result<Times, String> {
    let sound = case["inputs"].is_object();
    let given: Vec<i64> = ids(&case["input_ids"]).into_iter().map(i64::from).collect();
    let n = given.len();
    // Padded inputs say what is padding.
    let mask = match case["attention_mask"].as_array() {
        Some(mask) => mask.iter().filter_map(Value::as_i64).collect(),
        None => vec![1i64; n],
    };
    let mut inputs = Vec::new();
    for port in encoder.inputs() {
        let tensor = match port.name.as_str() {
            name if sound && !case["inputs"][name].is_null() => input(dir, &case["inputs"][name], port.datum),
            "input_ids" => Tensor::i64([1, n], given.clone()),
            "attention_mask" => Tensor::i64([1, n], mask.clone()),
            other => return Err(format!("the encoder takes {other}")),
        };
        inputs.push((port.name.as_str(), tensor));
    }
    let began = spent();
    let states = session.run(&inputs).map_err(|e| format!("encoder: {e}"))?.remove(0).1;
    let mask = if sound { vec![1; states.shape.get(1).copied().unwrap_or(0)] } else { mask };
    model.listen(Encoded { states, mask });
    let sequences = model.begin().map_err(|e| format!("cross: {e}"))?;
    let forced = case["forced_bos_token_id"].as_u64().is_some();
    let walk = Walk { dir, case, place: format!("input of {n}"), forced, began };
    walk.go(model, sequences, ids(&case["start"]), outcome)
}

/// The numbers of an array, which may lie in a file.
fn array(dir: &Path, value: &Value) -> Vec<f32> {
    match value["file"].as_str() {
        Some(file) => {
            let bytes = std::fs::read(dir.join(file)).expect("the golden's file is there");
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        None => {
            value["values"].as_array().into_iter().flatten().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect()
        }
    }
}

/// An input: rows of integers, or an array of floats.
fn input(dir: &Path, value: &Value, datum: Datum) -> Tensor {
    if let Some(rows) = value.as_array() {
        let data: Vec<i64> =
            rows.iter().flat_map(|row| row.as_array().into_iter().flatten()).filter_map(Value::as_i64).collect();
        let shape = [rows.len(), data.len() / rows.len().max(1)];
        return match datum {
            Datum::I32 => {
                Tensor { shape: shape.to_vec(), data: TensorData::I32(data.into_iter().map(|v| v as i32).collect()) }
            }
            _ => Tensor::i64(shape, data),
        };
    }
    let shape: Vec<usize> =
        value["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).map(|size| size as usize).collect();
    Tensor::f32(shape, array(dir, value))
}

fn encoder_case(
    dir: &Path,
    model: &dyn Model,
    session: &mut dyn Session,
    more: bool,
    case: &Value,
    outcome: &mut Outcome,
) -> Result<Times, String> {
    let mut inputs = Vec::new();
    for port in model.inputs() {
        let value = &case["inputs"][&port.name];
        if value.is_null() {
            return Err(format!("the golden has no {}", port.name));
        }
        inputs.push((port.name.as_str(), input(dir, value, port.datum)));
    }
    let began = spent();
    let outputs = session.run(&inputs).map_err(|e| e.to_string())?;
    let times = Times { reading: spent() - began, steps: Vec::new() };
    if outcome.ignored {
        return Ok(times);
    }
    let exported: HashSet<&str> = model.outputs().iter().map(|port| port.name.as_str()).collect();
    if !case["outputs"].as_object().is_some_and(|golden| golden.keys().any(|name| exported.contains(name.as_str()))) {
        return Err(format!("none of the golden's outputs is one of the graph's: {exported:?}"));
    }
    for (name, golden) in case["outputs"].as_object().into_iter().flatten() {
        if more && !exported.contains(name.as_str()) {
            continue;
        }
        let (_, ours) = outputs.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
        outcome.add_output(name, ours, &array(dir, golden))?;
    }
    Ok(times)
}

/// Frame after frame, behind the ids that the reference wrote.
fn transducer_case(
    dir: &Path,
    [_, decoder, joiner]: &[Arc<dyn Model>; 3],
    [encode, expect, join]: &mut [Box<dyn Session>; 3],
    case: &Value,
    outcome: &mut Outcome,
) -> Result<Times, String> {
    let x = input(dir, &case["inputs"]["x"], Datum::F32);
    let frames = x.shape.get(1).map_or(0, |frames| *frames as i64);
    let given = [("x", x), ("x_lens", Tensor::i64([1], vec![frames]))];
    let began = spent();
    let heard = encode.run(&given).map_err(|e| format!("encoder: {e}"))?.remove(0).1;
    let mut times = Times { reading: spent() - began, steps: Vec::new() };
    if !outcome.ignored {
        outcome.add_output("encoder_out", &heard, &array(dir, &case["outputs"]["encoder_out"]))?;
    }
    let all = all_logits(dir, case, outcome);
    let width = heard.shape.last().copied().unwrap_or(1);
    let frames = heard.as_f32().ok_or("the encoder gave no floats")?.chunks_exact(width);
    let (y, ports) = (&decoder.inputs()[0].name, joiner.inputs());
    let context = decoder.inputs()[0].shape.get(1).copied().flatten().unwrap_or(2);
    // 0 is the blank; −1 stands before the first.
    let mut written = vec![-1i64; context];
    written[context - 1] = 0;
    let mut expected: Option<Tensor> = None;
    let steps = case["steps"].as_array().into_iter().flatten();
    for (i, ((frame, step), id)) in frames.zip(steps).zip(ids(&case["ids"])).enumerate() {
        let began = spent();
        let known = match expected.take() {
            Some(known) => known,
            None => {
                let tokens = Tensor::i64([1, context], written[written.len() - context..].to_vec());
                expect.run(&[(y, tokens)]).map_err(|e| format!("decoder: {e}"))?.remove(0).1
            }
        };
        let pair = [(ports[0].name.as_str(), Tensor::f32([1, width], frame.to_vec())), (ports[1].name.as_str(), known)];
        let logits = join.run(&pair).map_err(|e| format!("joiner: {e}"))?.remove(0).1;
        times.steps.push(spent() - began);
        let row = logits.as_f32().ok_or("the joiner gave no floats")?;
        let all = all.as_ref().and_then(|all| all.get(i * row.len()..(i + 1) * row.len()));
        outcome.add(&format!("frame {i}"), row, step, all, id, false);
        match id {
            0 => expected = Some(pair.into_iter().nth(1).map(|(_, known)| known).ok_or("nothing was expected")?),
            id => written.push(i64::from(id)),
        }
    }
    Ok(times)
}
