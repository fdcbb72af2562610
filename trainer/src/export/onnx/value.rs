//! Typed values of a graph under construction: the element type is a Rust type, the shape is checked while building.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::proto::{DimensionProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto};

/// A type of elements.
pub trait Element: Copy {
    /// `TensorProto.DataType`.
    const ONNX: i32;
    /// Little-endian bytes.
    fn bytes(self, out: &mut Vec<u8>);
}

macro_rules! element {
    ($($rust:ty => $onnx:literal),*) => {$(
        impl Element for $rust {
            const ONNX: i32 = $onnx;
            fn bytes(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

element!(f32 => 1, u8 => 2, i8 => 3, i32 => 6, i64 => 7);

impl Element for bool {
    const ONNX: i32 = 9;
    fn bytes(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }
}

/// One size of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// Known while building.
    Known(usize),
    /// `ceil(frames / 2^halvings)`, where `frames` is the length of the graph's input.
    Frames {
        /// How often the time was halved.
        halvings: u32,
    },
    /// A length that a run decides, by its name. Two of the same name are equal.
    Named(&'static str),
}

impl Dim {
    /// Whether the size is known while building.
    pub fn is_known(self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// The length of the graph's input.
    pub const FRAMES: Self = Self::Frames { halvings: 0 };

    fn proto(self) -> DimensionProto {
        match self {
            Self::Known(n) => DimensionProto { dim_value: Some(n as i64), dim_param: None },
            Self::Frames { .. } | Self::Named(_) => {
                DimensionProto { dim_value: None, dim_param: Some(self.to_string()) }
            }
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(n) => write!(f, "{n}"),
            Self::Frames { halvings: 0 } => f.write_str("frames"),
            Self::Frames { halvings } => write!(f, "ceil(frames/{})", 1u64 << halvings),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Self::Known(n)
    }
}

/// A shape as people write it: `[1, frames, 80]`.
pub fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

/// A value that some node gives, with elements of type `T`.
#[derive(Debug)]
pub struct Value<T> {
    pub(super) name: Arc<str>,
    pub(super) shape: Arc<[Dim]>,
    element: PhantomData<T>,
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), shape: Arc::clone(&self.shape), element: PhantomData }
    }
}

impl<T: Element> Value<T> {
    pub(super) fn new(name: impl Into<Arc<str>>, shape: impl Into<Arc<[Dim]>>) -> Self {
        Self { name: name.into(), shape: shape.into(), element: PhantomData }
    }

    /// Its shape.
    pub fn shape(&self) -> &[Dim] {
        &self.shape
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn info(&self) -> ValueInfoProto {
        let dim = self.shape.iter().map(|d| d.proto()).collect();
        let tensor = TensorTypeProto { elem_type: T::ONNX, shape: Some(TensorShapeProto { dim }) };
        ValueInfoProto { name: self.name.to_string(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
    }
}
