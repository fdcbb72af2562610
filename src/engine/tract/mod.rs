//! The engine on tract: the only place, beside `crates/kernels`, that names it.
//!
//! An ONNX file becomes one optimised plan, held by [`TractModel`] in an `Arc`. A session is tract's `SimpleState`
//! on that plan: it holds the values of one run, and its constants are clones of the plan's `Arc`s, so that weights
//! are in memory once however many workers there are (tested). tract may panic on a graph that it does not
//! understand; a panic here becomes an [`EngineError`], and the session goes on with a fresh state.

mod cache;
mod cpu;
#[cfg(test)]
pub(crate) mod edit;
mod fold;
mod graph;
mod head;
mod inspect;
mod ops;
mod ports;
mod session;
mod sizes;
mod specialized;
mod state;
mod strides;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{InferenceModelExt, TractResult, TypedModel};

use super::{Engine, EngineError, LoadOptions, Model, Port, Size, Slot};
pub use cache::TractCache;
pub use cpu::{CpuReport, KernelChoice, cpu_report};
pub use inspect::{MAX_OPSET, MAX_TENSOR_BYTES, MIN_OPSET};
pub use session::{TractModel, TractSession};
pub use specialized::{MAX_SPECIAL_PLANS, SpecializedModel};

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
        let (head, file) = self.read(package, onnx)?;
        // What is chosen by sizes is planned by sizes, where it cannot be planned for all.
        // Plans for sizes that came need no bounds of sizes.
        let plain = LoadOptions { sizes: Vec::new(), name_sizes: false, ..options.clone() } == LoadOptions::default();
        let choice = (specialized::chooses(&head) && plain).then(|| head.clone());
        match (self.assemble_safely(head, &file.directory, options), choice) {
            (Ok(model), _) => Ok(Arc::new(model)),
            (Err(_), Some(head)) => Ok(Arc::new(SpecializedModel::new(*self, head, file.directory, file.name))),
            (Err(reason), None) => Err(file.refuse(reason)),
        }
    }

    fn ports(&self, package: &Path, onnx: &Path) -> Result<(Vec<Port>, Vec<Port>), EngineError> {
        let mut file = File::open(package, onnx)?;
        let proto = file.head().map_err(|reason| file.refuse(reason))?;
        let graph = proto.graph.ok_or_else(|| file.refuse("the file holds no graph".into()))?;
        Ok(ports::of_graph(&graph))
    }
}

/// An ONNX file that lies in its package.
struct File {
    /// Taken by [`File::head`].
    open: Option<std::fs::File>,
    /// Its name in its directory.
    own_name: String,
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
        let open = Some(std::fs::File::open(&real).map_err(read)?);
        let own_name =
            real.file_name().and_then(|name| name.to_str()).ok_or_else(|| refuse("its name is not UTF-8".into()))?;
        let directory = real.parent().unwrap_or(&package).to_owned();
        Ok(Self { open, own_name: own_name.to_owned(), package, directory, name })
    }

    /// Everything but the large tensors, which become external data in the file itself.
    fn head(&mut self) -> Result<ModelProto, String> {
        head::read(self.open.take().ok_or("the file was read already")?, &self.own_name)
    }

    fn refuse(&self, reason: String) -> EngineError {
        EngineError::Load { path: self.name.clone(), reason }
    }
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
        let (head, file) = self.read(package, onnx)?;
        self.assemble_safely(head, &file.directory, options).map(Arc::new).map_err(|reason| file.refuse(reason))
    }

    /// The head of a file, checked.
    fn read(self, package: &Path, onnx: &Path) -> Result<(ModelProto, File), EngineError> {
        let mut file = File::open(package, onnx)?;
        let head = file.head().map_err(|reason| file.refuse(reason))?;
        let reader = ops::onnx();
        inspect::check(&head, &|op| ops::is_known(&reader, op), &file.package, &file.directory)
            .map_err(|reason| file.refuse(reason))?;
        Ok((head, file))
    }

    /// [`TractEngine::assemble`], where a panic is a reason, too.
    fn assemble_safely(self, head: ModelProto, directory: &Path, options: &LoadOptions) -> Result<TractModel, String> {
        catch_unwind(AssertUnwindSafe(|| self.assemble(head, directory, options)))
            .unwrap_or_else(|panic| Err(format!("the engine cannot take this graph: {}", panic_text(&*panic))))
    }

    /// Rewrites, reads and plans a graph whose weights lie beside `directory`.
    fn assemble(self, mut proto: ModelProto, directory: &Path, options: &LoadOptions) -> Result<TractModel, String> {
        let opset =
            proto.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map_or(0, |o| o.version);
        let graph = proto.graph.as_mut().ok_or("the file holds no graph")?;
        graph::take_part(graph, options.part)?;
        graph::prune(graph, &options.outputs)?;
        graph::simplify(graph, opset, &options.slots)?;
        graph::prune(graph, &options.outputs)?;
        if let Some(model) = self.with_named_sizes(&proto, directory, options) {
            return Ok(model);
        }
        let unnamed = proto.clone();
        let error = match self.named(proto, directory, options, graph::Names::OfFile) {
            Ok(model) => return Ok(model),
            Err(error) => error,
        };
        self.named(unnamed, directory, options, graph::Names::Own).map_err(|_| error)
    }

    /// With names for what strides leave of sizes; `None` where that is not wished, there are none, or the graph does not plan so.
    fn with_named_sizes(self, proto: &ModelProto, directory: &Path, options: &LoadOptions) -> Option<TractModel> {
        if !options.name_sizes {
            return None;
        }
        let mut proto = proto.clone();
        if !graph::name_behind_strides(proto.graph.as_mut()?) {
            return None;
        }
        let named = || self.named(proto, directory, options, graph::Names::OfFile);
        match catch_unwind(AssertUnwindSafe(named)).unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            Ok(model) => Some(model),
            Err(reason) => {
                log::debug!("planned without names for sizes: {reason}");
                None
            }
        }
    }

    /// Reads and plans a rewritten graph.
    fn named(
        self,
        mut proto: ModelProto,
        directory: &Path,
        options: &LoadOptions,
        names: graph::Names,
    ) -> Result<TractModel, String> {
        let onnx = ops::onnx();
        let graph = proto.graph.as_mut().ok_or("the file holds no graph")?;
        graph::name_dimensions(graph, &options.slots, &options.sizes, names);
        let directory = directory.to_str().ok_or("the path of its directory is not UTF-8")?;
        let parsed = onnx.parse(&proto, Some(directory)).map_err(|e| one_line(&e))?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            return Err(format!("the graph uses `{name}`, which nothing in it computes"));
        }
        for Size { input, axis, least, most } in options.sizes.iter().filter(|size| size.least < size.most) {
            let symbol = graph::own_symbol(input, *axis);
            for bound in [format!("{symbol} >= {least}"), format!("{symbol} <= {most}")] {
                parsed.model.symbols.add_assertion(bound).map_err(|e| one_line(&e))?;
            }
        }
        let outputs = proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name.clone()).collect();
        drop(proto);
        let mut typed = parsed.model.into_typed().map_err(|e| one_line(&e))?;
        state::forget_between_runs(&mut typed);
        strides::sample_in_place(&mut typed).map_err(|e| one_line(&e))?;
        self.plan(typed, outputs, &options.slots).map_err(|e| one_line(&e))
    }

    fn plan(self, mut typed: TypedModel, outputs: Vec<String>, slots: &[Slot]) -> TractResult<TractModel> {
        let slots = slots.to_vec();
        let names = sizes::Names::of(&typed)?;
        fold::declutter(&mut typed)?;
        // Weighed now: packing takes the weights into the operators, out of sight, at nearly the same size.
        let memory_bytes = session::constant_bytes(&typed);
        let sizes = sizes::Sizes::of(&typed, names);
        if !self.plain {
            fold::optimize(&mut typed)?;
        }
        TractModel::new(typed, outputs, slots, sizes, memory_bytes)
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
