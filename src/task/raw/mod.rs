//! Graphs that nothing else is known of: named tensors in, named tensors out.

mod tensors;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use linnet_proto::manifest::{Canary, CanaryStatus, OutputsCanary};
use linnet_proto::text::{RawAnswer, RawRequest};
use linnet_proto::{ErrorCode, WireError};

use super::{Execute, Pipeline, TaskContext, wrong_task};
use crate::engine::{Datum, Engine, Model, Port, Session, Tensor, TensorData};
use crate::job::{Answer, Job, TaskRequest};
use crate::store::{Package, PackageError, layout};

/// Most graphs of one package.
const MAX_GRAPHS: usize = 16;
/// What a size is where the graph takes any, in a canary's inputs.
const CANARY_SIZE: usize = 4;
/// Largest relative difference of an output's root mean square that a canary accepts.
const TOLERANCE: f64 = 1e-3;

/// A package of graphs.
#[derive(Debug, Clone)]
pub struct RawPipeline(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    /// By the file's name without its ending.
    graphs: Vec<(String, Arc<dyn Model>)>,
}

impl RawPipeline {
    /// Loads every graph of a package.
    pub fn load(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        package.check_memory(crate::store::memory::memory())?;
        let files = layout::onnx_files(&package.dir);
        if files.is_empty() || files.len() > MAX_GRAPHS {
            let reason = format!("it holds {} graphs; a raw package has 1 to {MAX_GRAPHS}", files.len());
            return Err(PackageError::invalid(&package.dir, reason));
        }
        let graphs = files
            .iter()
            .map(|file| Ok((stem(file), engine.load(&package.dir, file)?)))
            .collect::<Result<_, PackageError>>()?;
        Ok(Self(Arc::new(Shared { name: package.manifest.name.clone(), graphs })))
    }

    fn outputs(&self) -> Result<BTreeMap<String, f64>, String> {
        let mut rms = BTreeMap::new();
        for (name, model) in &self.0.graphs {
            let inputs: Vec<(String, Tensor)> = model
                .inputs()
                .iter()
                .map(|port| Ok((port.name.clone(), made(port)?)))
                .collect::<Result<_, String>>()?;
            let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
            let mut session = model.session().map_err(|e| e.to_string())?;
            for (output, tensor) in session.run(&inputs).map_err(|e| format!("{name}: {e}"))? {
                rms.insert(format!("{name}/{output}"), root_mean_square(&tensor));
            }
        }
        Ok(rms)
    }
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// An input made from its port alone: numbers that repeat.
pub(crate) fn made(port: &Port) -> Result<Tensor, String> {
    let shape: Vec<usize> = port.shape.iter().map(|size| size.unwrap_or(CANARY_SIZE)).collect();
    let count: usize = shape.iter().product();
    // Ids and types alike: 0 and 1 are in every table.
    let number = |i: usize| (i % 2) as i64;
    let real = |i: usize| (i % 13) as f32 / 13.0 - 0.5;
    let data = match port.datum {
        Datum::F32 => TensorData::F32((0..count).map(real).collect()),
        Datum::F16 => TensorData::F16((0..count).map(|i| half::f16::from_f32(real(i))).collect()),
        Datum::I64 => TensorData::I64((0..count).map(number).collect()),
        Datum::I32 => TensorData::I32((0..count).map(|i| number(i) as i32).collect()),
        Datum::I8 => TensorData::I8((0..count).map(|i| number(i) as i8).collect()),
        Datum::U8 => TensorData::U8((0..count).map(|i| number(i) as u8).collect()),
        Datum::Bool => TensorData::Bool((0..count).map(|i| i % 2 == 0).collect()),
        Datum::Other => return Err(format!("its input `{}` is of a type that cannot be made", port.name)),
    };
    Ok(Tensor { shape, data })
}

/// The root mean square of a tensor's elements; 0 for an empty one.
pub(crate) fn root_mean_square(tensor: &Tensor) -> f64 {
    let mean = |sum: f64, count: usize| if count == 0 { 0.0 } else { (sum / count as f64).sqrt() };
    match &tensor.data {
        TensorData::F32(v) => mean(v.iter().map(|x| f64::from(*x).powi(2)).sum(), v.len()),
        TensorData::F16(v) => mean(v.iter().map(|x| x.to_f64().powi(2)).sum(), v.len()),
        TensorData::I64(v) => mean(v.iter().map(|x| (*x as f64).powi(2)).sum(), v.len()),
        TensorData::I32(v) => mean(v.iter().map(|x| f64::from(*x).powi(2)).sum(), v.len()),
        TensorData::I8(v) => mean(v.iter().map(|x| f64::from(*x).powi(2)).sum(), v.len()),
        TensorData::U8(v) => mean(v.iter().map(|x| f64::from(*x).powi(2)).sum(), v.len()),
        TensorData::Bool(v) => mean(v.iter().map(|x| f64::from(u8::from(*x))).sum(), v.len()),
    }
}

/// A canary of outputs that were seen.
pub(crate) fn outputs_canary(input: Vec<u32>, rms: BTreeMap<String, f64>) -> Result<Canary, String> {
    if let Some((name, rms)) = rms.iter().find(|(_, rms)| !rms.is_finite()) {
        return Err(format!("its output `{name}` has the root mean square {rms}"));
    }
    Ok(Canary::Outputs(OutputsCanary { status: CanaryStatus::Recorded, input, rms, tolerance: TOLERANCE }))
}

/// Compares outputs with those of a canary.
pub(crate) fn prove_outputs(canary: &OutputsCanary, rms: &BTreeMap<String, f64>) -> Result<(), String> {
    for (name, wanted) in &canary.rms {
        let Some(found) = rms.get(name) else { return Err(format!("its canary's output `{name}` is gone")) };
        let off = (found - wanted).abs();
        // A difference that is no number is not within anything.
        if off.is_nan() || off > canary.tolerance * wanted.abs().max(1e-6) {
            return Err(format!(
                "its canary's output `{name}` has the root mean square {found:.6} instead of {wanted:.6} (within {} of it); the weights are \
                 damaged, or this machine computes otherwise",
                canary.tolerance
            ));
        }
    }
    Ok(())
}

impl Pipeline for RawPipeline {
    fn memory_bytes(&self) -> u64 {
        self.0.graphs.iter().map(|(_, model)| model.memory_bytes()).sum()
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        let sessions =
            self.0.graphs.iter().map(|(name, model)| Ok((name.clone(), Arc::clone(model), model.session()?)));
        let sessions = sessions
            .collect::<Result<_, crate::engine::EngineError>>()
            .map_err(|e| WireError::new(ErrorCode::Internal, e.to_string()))?;
        Ok(Box::new(Raw { name: self.0.name.clone(), sessions }))
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        match canary {
            Canary::Outputs(canary) => prove_outputs(canary, &self.outputs()?),
            _ => Err("its canary is not one of outputs, which a raw package needs".into()),
        }
    }

    fn record(&self) -> Result<Canary, String> {
        outputs_canary(Vec::new(), self.outputs()?)
    }
}

/// A graph's name, what it is and what runs it.
type Graph = (String, Arc<dyn Model>, Box<dyn Session>);

/// One worker's sessions.
struct Raw {
    name: String,
    sessions: Vec<Graph>,
}

impl Execute for Raw {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        let TaskRequest::Raw(request) = &job.request.task else { return Err(wrong_task(&job.request.task)) };
        ctx.checkpoint()?;
        self.run(request).map(Answer::Raw)
    }
}

impl Raw {
    fn run(&mut self, request: &RawRequest) -> Result<RawAnswer, WireError> {
        let names = self.sessions.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(", ");
        let place = match &request.graph {
            Some(graph) => self.sessions.iter().position(|(name, ..)| name == graph),
            None if self.sessions.len() == 1 => Some(0),
            None => None,
        };
        let Some(place) = place else {
            let message = match &request.graph {
                Some(graph) => format!("the model {} has no graph {graph:?}; it has {names}", self.name),
                None => format!("the model {} has several graphs; name one as `graph`: {names}", self.name),
            };
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("graph"));
        };
        let (_, model, session) = &mut self.sessions[place];
        let mut inputs = Vec::with_capacity(request.inputs.len());
        for (name, tensor) in &request.inputs {
            let port = model.inputs().iter().find(|port| port.name == *name).ok_or_else(|| {
                let known = model.inputs().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
                refused(&format!("inputs.{name}"), &format!("the graph has no such input; it has {known}"))
            })?;
            inputs.push((name.as_str(), tensors::read(name, tensor, port.datum)?));
        }
        if let Some(unknown) =
            request.outputs.iter().find(|name| !model.outputs().iter().any(|port| port.name == **name))
        {
            let known = model.outputs().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(refused("outputs", &format!("the graph has no output {unknown:?}; it has {known}")));
        }
        let outputs = session.run(&inputs).map_err(|e| refused("inputs", &e.to_string()))?;
        let wanted = |name: &String| request.outputs.is_empty() || request.outputs.contains(name);
        let outputs = outputs.into_iter().filter(|(name, _)| wanted(name)).map(|(name, t)| (name, tensors::write(t)));
        Ok(RawAnswer { outputs: outputs.collect(), model: self.name.clone() })
    }
}

fn refused(param: &str, message: &str) -> WireError {
    WireError::new(ErrorCode::InvalidOption, format!("{param}: {message}")).with_param(param)
}

#[cfg(test)]
mod tests;
