//! The engine on tract: the only place, beside `crates/kernels`, that names it.
//!
//! An ONNX file becomes one optimised plan, held by [`TractModel`] in an `Arc`. A session is tract's `SimpleState`
//! on that plan: it holds the values of one run, and its constants are clones of the plan's `Arc`s, so that weights
//! are in memory once however many workers there are (tested). tract may panic on a graph that it does not
//! understand; a panic here becomes an [`EngineError`], and the session goes on with a fresh state.

mod cache;
mod cpu;
mod graph;
mod inspect;
mod ops;
mod ports;
mod session;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{Framework, InferenceModelExt, TractResult, TypedModel};

use super::{Engine, EngineError, LoadOptions, Model, Port, Slot};
pub use cache::TractCache;
pub use cpu::{CpuReport, KernelChoice, cpu_report};
pub use inspect::{MAX_OPSET, MAX_TENSOR_BYTES, MIN_OPSET};
pub use session::{TractModel, TractSession};

/// Largest ONNX file that is read, bytes: protobuf's own limit. Larger weights lie in external data.
pub const MAX_ONNX_BYTES: u64 = 2 << 30;

/// Loads ONNX graphs with tract.
#[derive(Debug, Default, Clone, Copy)]
pub struct TractEngine {
    /// Only simplify the graph (without that a symbolic shape cannot be computed): no fusing for this machine, no packing of weights for
    /// the kernels. Slow; it answers whether an optimisation changed a result.
    pub plain: bool,
}

impl Engine for TractEngine {
    fn load_with(&self, package: &Path, onnx: &Path, options: &LoadOptions) -> Result<Arc<dyn Model>, EngineError> {
        self.load_model_with(package, onnx, options).map(|model| model as Arc<dyn Model>)
    }

    fn ports(&self, package: &Path, onnx: &Path) -> Result<(Vec<Port>, Vec<Port>), EngineError> {
        let file = File::open(package, onnx)?;
        let proto = decode(&file.bytes).map_err(|reason| file.refuse(reason))?;
        let graph = proto.graph.ok_or_else(|| file.refuse("the file holds no graph".into()))?;
        let initialized: std::collections::HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let inputs = graph.input.iter().filter(|i| !initialized.contains(i.name.as_str())).map(ports::of_value);
        Ok((inputs.collect(), graph.output.iter().map(ports::of_value).collect()))
    }
}

/// An ONNX file that lies in its package, read whole.
struct File {
    bytes: Vec<u8>,
    /// The canonical directory of the package.
    package: PathBuf,
    /// The directory of the file.
    directory: PathBuf,
    name: String,
}

impl File {
    fn open(package: &Path, onnx: &Path) -> Result<Self, EngineError> {
        let path = package.join(onnx);
        let name = path.display().to_string();
        let read = |source| EngineError::Read { path: name.clone(), source };
        let refuse = |reason: String| EngineError::Load { path: name.clone(), reason };
        let package = package.canonicalize().map_err(read)?;
        let real = path.canonicalize().map_err(read)?;
        if !real.starts_with(&package) {
            return Err(refuse("the file lies outside its package".into()));
        }
        let metadata = real.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(refuse("not a regular file".into()));
        }
        if metadata.len() > MAX_ONNX_BYTES {
            return Err(refuse(format!(
                "the file has {} MiB, more than the {} that an ONNX file may have; keep its weights as external data",
                metadata.len() >> 20,
                MAX_ONNX_BYTES >> 20
            )));
        }
        let bytes = std::fs::read(&real).map_err(read)?;
        let directory = real.parent().unwrap_or(&package).to_owned();
        Ok(Self { bytes, package, directory, name })
    }

    fn refuse(&self, reason: String) -> EngineError {
        EngineError::Load { path: self.name.clone(), reason }
    }
}

fn decode(bytes: &[u8]) -> Result<ModelProto, String> {
    tract_onnx::onnx()
        .proto_model_for_read(&mut &*bytes)
        .map_err(|e| format!("not a whole ONNX file, perhaps truncated ({}); fetch it again", one_line(&e)))
}

impl TractEngine {
    /// [`Engine::load`] with the concrete type. `onnx` is absolute or relative to `package`.
    pub fn load_model(&self, package: &Path, onnx: &Path) -> Result<Arc<TractModel>, EngineError> {
        self.load_model_with(package, onnx, &LoadOptions::default())
    }

    /// [`Engine::load_with`] with the concrete type.
    pub fn load_model_with(
        &self,
        package: &Path,
        onnx: &Path,
        options: &LoadOptions,
    ) -> Result<Arc<TractModel>, EngineError> {
        let mut file = File::open(package, onnx)?;
        let bytes = std::mem::take(&mut file.bytes);
        match catch_unwind(AssertUnwindSafe(|| self.build(bytes, &file, options))) {
            Ok(Ok(model)) => Ok(Arc::new(model)),
            Ok(Err(reason)) => Err(file.refuse(reason)),
            Err(panic) => Err(file.refuse(format!("the engine cannot take this graph: {}", panic_text(&*panic)))),
        }
    }

    fn build(self, bytes: Vec<u8>, file: &File, options: &LoadOptions) -> Result<TractModel, String> {
        let onnx = ops::onnx();
        let mut proto = decode(&bytes)?;
        drop(bytes);
        inspect::check(&proto, &|op| onnx.op_register.0.contains_key(op), &file.package, &file.directory)?;
        let opset =
            proto.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map_or(0, |o| o.version);
        let graph = proto.graph.as_mut().ok_or("the file holds no graph")?;
        graph::take_part(graph, options.part)?;
        graph::simplify(graph, opset);
        graph::prune(graph, &options.outputs)?;
        graph::name_dimensions(graph, &options.slots);
        let directory = file.directory.to_str().ok_or("the path of its directory is not UTF-8")?;
        let parsed = onnx.parse(&proto, Some(directory)).map_err(|e| one_line(&e))?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            return Err(format!("the graph uses `{name}`, which nothing in it computes"));
        }
        let outputs = proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name.clone()).collect();
        // The parsed file is as large as the weights: free it before tract packs them.
        drop(proto);
        let typed = parsed.model.into_typed().map_err(|e| one_line(&e))?;
        self.plan(typed, outputs, &options.slots).map_err(|e| one_line(&e))
    }

    fn plan(self, mut typed: TypedModel, outputs: Vec<String>, slots: &[Slot]) -> TractResult<TractModel> {
        let slots = slots.to_vec();
        typed.declutter()?;
        // Weighed now: packing takes the weights into the operators, out of sight, at nearly the same size.
        let memory_bytes = session::constant_bytes(&typed);
        if self.plain {
            return TractModel::new(typed, outputs, slots, memory_bytes);
        }
        typed.optimize()?;
        TractModel::new(typed, outputs, slots, memory_bytes)
    }
}

/// An error chain on one line of bounded length: tract's own errors quote whole nodes.
fn one_line(error: &tract_onnx::prelude::TractError) -> String {
    const MOST_CHARS: usize = 400;
    let mut line = String::new();
    for (i, word) in format!("{error:#}").split_whitespace().enumerate() {
        if i > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The text of a caught panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
