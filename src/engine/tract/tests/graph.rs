//! Small ONNX files.

use std::path::{Path, PathBuf};

use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

pub(super) const F32: i32 = 1;
pub(super) const I64: i32 = 7;

/// A size of `-1` is a free one.
pub(super) fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| {
        let value = if size == -1 { dimension::Value::DimParam("T".into()) } else { dimension::Value::DimValue(size) };
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type, shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..ValueInfoProto::default() }
}

pub(super) fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: format!("{op} of {output}"),
        op_type: op.into(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

pub(super) fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: F32,
        raw_data: data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

pub(super) fn integers(name: &str, data: &[i64]) -> TensorProto {
    let (dims, int64_data) = (vec![data.len() as i64], data.to_vec());
    TensorProto { name: name.into(), dims, data_type: I64, int64_data, ..TensorProto::default() }
}

/// A float tensor whose data lies in another file.
pub(super) fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto { key: (*key).into(), value: (*value).into() };
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: F32,
        data_location: Some(DataLocation::External as i32),
        external_data: entries.iter().map(entry).collect(),
        ..TensorProto::default()
    }
}

pub(super) fn model(opset: i64, graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { version: opset, ..OperatorSetIdProto::default() }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// `log_probs` `[1, T, 3]` = log-softmax of `features` `[1, T, 2]` times `weight`.
pub(super) fn ctc(weight: TensorProto) -> GraphProto {
    let axis = AttributeProto { name: "axis".into(), r#type: 2, i: 2, ..AttributeProto::default() };
    GraphProto {
        name: "ctc".into(),
        node: vec![
            node("MatMul", &["features", "weight"], "scores", vec![]),
            node("LogSoftmax", &["scores"], "log_probs", vec![axis]),
        ],
        initializer: vec![weight],
        input: vec![value("features", F32, &[1, -1, 2])],
        output: vec![value("log_probs", F32, &[1, -1, 3])],
        ..GraphProto::default()
    }
}

pub(super) const WEIGHT: [f32; 6] = [1.0, 0.0, -1.0, 0.5, 2.0, 0.25];

pub(super) fn weight() -> TensorProto {
    floats("weight", &[2, 3], &WEIGHT)
}

/// A package directory that holds `model.onnx`.
pub(super) fn package(model: &ModelProto) -> TempDir {
    package_of(&model.encode_to_vec())
}

pub(super) fn package_of(bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(onnx(dir.path()), bytes).expect("writes");
    dir
}

pub(super) fn onnx(dir: &Path) -> PathBuf {
    dir.join("model.onnx")
}
