//! Running graphs: [`Model`] is shared and immutable, [`Session`] belongs to one worker.
//!
//! Only `tract/` below names tract. `fake.rs` stands in for it in tests of everything above.

use std::path::Path;
use std::sync::Arc;

pub mod fake;
pub mod tract;

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
    /// 64-bit integers.
    I64(Vec<i64>),
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

/// A loaded graph: weights held once, however many sessions there are.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// A new session on the shared weights.
    fn session(&self) -> Result<Box<dyn Session>, EngineError>;
    /// Memory that the weights take, bytes.
    fn memory_bytes(&self) -> u64;
}

/// One worker's running state of a model.
pub trait Session: Send {
    /// Runs the graph once. `inputs` by name; outputs in the graph's order, with their names.
    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError>;
}

/// Loads graphs.
pub trait Engine: Send + Sync {
    /// Loads the ONNX file `onnx`, whose external data must lie under `package`.
    fn load(&self, package: &Path, onnx: &Path) -> Result<Arc<dyn Model>, EngineError>;
}
