//! A typed builder of ONNX graphs.
//!
//! A [`Value`] knows its element type as a Rust type and its shape, in which the number of frames stays open; an
//! operator is a function from values to a value. So a graph that mixes types does not compile, and one whose shapes do
//! not fit is refused while it is built, with the node, the rule and the shapes. The file is ONNX operator set 17.

pub mod external;
pub mod graph;
pub mod ops;
pub mod proto;
pub mod value;

pub use graph::{Built, Graph, GraphError};
pub use ops::Axis;
pub use value::{Dim, Value};

#[cfg(test)]
mod tests;
