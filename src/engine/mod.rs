//! Running graphs: [`Model`] is shared and immutable, [`Session`] belongs to one worker.
//!
//! Only `tract/` below names tract. `fake.rs` stands in for it in tests of everything above.

use std::path::Path;
use std::sync::Arc;

mod cache;
pub mod fake;
pub mod tract;

pub use cache::Cache;

/// A dense tensor that crosses the engine's border, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements; their number is the product of `shape`.
    pub data: TensorData,
}

/// Elements by type.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats.
    F16(Vec<half::f16>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 8-bit integers.
    I8(Vec<i8>),
    /// 8-bit integers without a sign.
    U8(Vec<u8>),
    /// Booleans.
    Bool(Vec<bool>),
}

impl Tensor {
    /// A float tensor.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data: TensorData::F32(data) }
    }

    /// A tensor of 64-bit integers.
    pub fn i64(shape: impl Into<Vec<usize>>, data: Vec<i64>) -> Self {
        let shape = shape.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data: TensorData::I64(data) }
    }

    /// The floats, when it holds floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Some(v),
            _ => None,
        }
    }
}

/// Why a model did not load or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The graph is not one that the engine can run.
    #[error("{path}: {reason}")]
    Load {
        /// The file.
        path: String,
        /// One sentence.
        reason: String,
    },
    /// A run failed.
    #[error("inference failed: {0}")]
    Run(String),
}

/// What an element of a graph's input or output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datum {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 8-bit integer.
    I8,
    /// 8-bit integer without a sign.
    U8,
    /// Boolean.
    Bool,
    /// What cannot cross the engine's border.
    Other,
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// Its elements.
    pub datum: Datum,
    /// Its sizes; `None` where any is taken.
    pub shape: Vec<Option<usize>>,
}

/// A loaded graph: weights held once, however many sessions there are.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// A new session on the shared weights.
    fn session(&self) -> Result<Box<dyn Session>, EngineError>;
    /// Memory that the weights take, bytes.
    fn memory_bytes(&self) -> u64;
    /// What a caller hands in, in the graph's order; what a cache holds is not among it.
    fn inputs(&self) -> &[Port];
    /// What a caller gets, in the graph's order; what goes into a cache is not among it.
    fn outputs(&self) -> &[Port];
    /// An empty cache for one sequence; `None` when the graph keeps no state.
    fn cache(&self) -> Option<Box<dyn Cache>> {
        None
    }
}

/// One worker's running state of a model.
pub trait Session: Send {
    /// Runs the graph once. `inputs` by name; outputs in the graph's order, with their names.
    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError>;

    /// Runs the graph once on `cache`: inputs that the cache has come from there, and outputs that it wants go there. An
    /// error leaves the cache as it was.
    fn step(
        &mut self,
        inputs: &[(&str, Tensor)],
        cache: &mut dyn Cache,
        positions: Positions,
    ) -> Result<Vec<(String, Tensor)>, EngineError>;
}

/// Which positions of a step's outputs (`[rows, positions, …]`) a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// All.
    All,
    /// The last one; a long prompt's logits are never copied.
    Last,
}

/// How a graph is to be loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// Which part of the file.
    pub part: Part,
    /// What the graph's state is; nothing is kept when empty.
    pub slots: Vec<Slot>,
    /// Outputs to compute; all when empty.
    pub outputs: Vec<String>,
    /// Sizes of inputs that are known to be within bounds, or one: graphs that cut a table by a size need to know that it is long enough.
    pub sizes: Vec<Size>,
    /// Sizes behind a stride may get names, which plans much sooner. For graphs that are run before they serve anybody: not every graph runs so.
    pub name_sizes: bool,
}

/// Bounds of an input's size along an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// The input.
    pub input: String,
    /// The axis.
    pub axis: usize,
    /// Smallest size that is ever handed in.
    pub least: usize,
    /// Largest size that is ever handed in.
    pub most: usize,
}

/// Which graph of a file that holds several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The side of a merged decoder's `If` that begins a sequence.
    First,
    /// The side of a merged decoder's `If` that goes on with a cache.
    WithPast,
}

/// One tensor of a graph's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The input that takes it; none where the graph only fills it.
    pub input: Option<String>,
    /// The output that gives its next value; none where it stays as it is.
    pub output: Option<String>,
    /// The axis along which it grows with each position; none for what is replaced or stays.
    pub grows: Option<usize>,
}

/// Loads graphs.
pub trait Engine: Send + Sync {
    /// Loads the ONNX file `onnx`, whose external data must lie under `package`.
    fn load(&self, package: &Path, onnx: &Path) -> Result<Arc<dyn Model>, EngineError> {
        self.load_with(package, onnx, &LoadOptions::default())
    }

    /// As [`Engine::load`], a part of the file, or with state.
    fn load_with(&self, package: &Path, onnx: &Path, options: &LoadOptions) -> Result<Arc<dyn Model>, EngineError>;

    /// Names and shapes of the inputs and outputs of `onnx`, from its head alone: weights are not loaded.
    fn ports(&self, package: &Path, onnx: &Path) -> Result<(Vec<Port>, Vec<Port>), EngineError>;
}
