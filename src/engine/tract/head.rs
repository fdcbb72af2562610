//! The head of an ONNX file: everything but its large tensors, whose bytes stay in the file.
//!
//! A file is mostly weights. Decoding it whole would hold them once more beside tract's tensors, so the walk here copies what
//! is small and turns each large `raw_data` into external data that lies in the file itself (`location`, `offset` and `length`, as
//! <https://onnx.ai/onnx/repo-docs/ExternalData.html> has them). tract then reads each tensor from its place, one at a time. Names
//! and shapes of a model of gigabytes are read in milliseconds.
//!
//! Wire format: <https://protobuf.dev/programming-guides/encoding/>; field numbers:
//! <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use std::io::{BufReader, Read};

use prost::Message;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{ModelProto, StringStringEntryProto, TensorProto};

/// Bytes of a tensor from which on they stay in the file.
const LARGE_BYTES: u64 = 4 << 10;
/// Deepest nesting of messages: a sub-graph takes four levels.
const MAX_DEPTH: usize = 64;

/// Which message the walk is in, as far as it matters to find tensors.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

impl Kind {
    /// The kind of the message that a field holds, when tensors may lie in it.
    fn of_field(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Node, 5) => Some(Self::Attribute),
            _ => None,
        }
    }
}

/// `raw_data` of `TensorProto`.
const RAW_DATA: u64 = 9;
/// `external_data` and `data_location` of `TensorProto`.
const WHERE: [u64; 2] = [13, 14];

/// Reads a model from `file`, which is known as `own_name` to tensors beside it. The error is one sentence.
pub(super) fn read(file: std::fs::File, own_name: &str) -> Result<ModelProto, String> {
    let bytes = file.metadata().map_err(|e| e.to_string())?.len();
    let mut walk = Walk { file: BufReader::with_capacity(1 << 16, file), at: 0, own_name };
    let mut head = Vec::new();
    walk.message(Kind::Model, bytes, 0, &mut head).map_err(|reason| not_whole(&reason))?;
    ModelProto::decode(head.as_slice()).map_err(|e| not_whole(&e.to_string()))
}

fn not_whole(reason: &str) -> String {
    format!("not a whole ONNX file, perhaps truncated ({reason}); fetch it again")
}

struct Walk<'a> {
    file: BufReader<std::fs::File>,
    /// Bytes from the start of the file.
    at: u64,
    own_name: &'a str,
}

impl Walk<'_> {
    /// Copies the message that ends at `end` to `head`, without large tensors.
    fn message(&mut self, kind: Kind, end: u64, depth: usize, head: &mut Vec<u8>) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("messages are nested too deep".into());
        }
        // What a tensor says of its place holds unless it is left in the file: then what is said here holds.
        let (mut place, mut left) = (Vec::new(), None);
        while self.at < end {
            let key = self.varint(end)?;
            let (field, wire) = (key >> 3, key & 7);
            let is_place = matches!(kind, Kind::Tensor) && WHERE.contains(&field);
            let out = if is_place { &mut place } else { &mut *head };
            let length = match wire {
                0 => {
                    let value = self.varint(end)?;
                    put_varint(out, key);
                    put_varint(out, value);
                    continue;
                }
                1 => 8,
                5 => 4,
                2 => self.varint(end)?,
                _ => return Err(format!("wire type {wire} at byte {}", self.at)),
            };
            let stop = self.at.checked_add(length).filter(|stop| *stop <= end);
            let stop = stop.ok_or_else(|| format!("{length} bytes are promised at byte {}", self.at))?;
            if wire == 2 && matches!(kind, Kind::Tensor) && field == RAW_DATA && length >= LARGE_BYTES {
                left = Some((self.at, length));
                self.file.seek_relative(length as i64).map_err(|e| e.to_string())?;
                self.at = stop;
                continue;
            }
            put_varint(out, key);
            match (wire, kind.of_field(field)) {
                (2, Some(inner)) => {
                    let mut part = Vec::new();
                    self.message(inner, stop, depth + 1, &mut part)?;
                    put_varint(out, part.len() as u64);
                    out.append(&mut part);
                }
                _ => {
                    if wire == 2 {
                        put_varint(out, length);
                    }
                    let copied = (&mut self.file).take(length).read_to_end(out).map_err(|e| e.to_string())?;
                    if copied as u64 != length {
                        return Err("it ends too early".into());
                    }
                    self.at = stop;
                }
            }
        }
        match left {
            Some((offset, length)) => {
                head.extend(in_the_file(self.own_name.to_owned(), offset, length).encode_to_vec());
            }
            None => head.append(&mut place),
        }
        Ok(())
    }

    fn varint(&mut self, end: u64) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if self.at >= end {
                return Err("it ends within a number".into());
            }
            let mut byte = [0];
            self.file.read_exact(&mut byte).map_err(|e| e.to_string())?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(format!("a number of more than 64 bits at byte {}", self.at))
    }
}

/// What stands in place of `raw_data`. Merged into its tensor by the decoder, as fields of one message are.
fn in_the_file(location: String, offset: u64, length: u64) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
    TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: vec![
            entry("location", location),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ],
        ..TensorProto::default()
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;
    use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

    /// Bytes of `tensor`, wherever they lie; `directory` is that of its file. For small tensors: the whole of it is read.
    fn bytes_of(tensor: &TensorProto, directory: &std::path::Path) -> Result<Vec<u8>, String> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(tensor.raw_data.clone());
        }
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let wrong = |e: &dyn std::fmt::Display| format!("the data of the tensor `{}` cannot be read: {e}", tensor.name);
        let location = entry("location").ok_or_else(|| wrong(&"it does not say where it lies"))?;
        let mut file = std::fs::File::open(directory.join(location)).map_err(|e| wrong(&e))?;
        let number = |key: &str| entry(key).and_then(|v| v.parse::<u64>().ok());
        file.seek(SeekFrom::Start(number("offset").unwrap_or(0))).map_err(|e| wrong(&e))?;
        let mut bytes = Vec::new();
        file.take(number("length").unwrap_or(u64::MAX)).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
        Ok(bytes)
    }

    fn tensor(name: &str, bytes: usize) -> TensorProto {
        TensorProto {
            name: name.into(),
            dims: vec![bytes as i64],
            data_type: 2,
            raw_data: (0..bytes).map(|i| i as u8).collect(),
            // Some exporters say so.
            data_location: Some(DataLocation::Default as i32),
            ..TensorProto::default()
        }
    }

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::fs::File) {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::write(dir.path().join("m.onnx"), bytes).expect("writes");
        let file = std::fs::File::open(dir.path().join("m.onnx")).expect("opens");
        (dir, file)
    }

    /// A large and a small tensor at the top, and a large one in a sub-graph.
    fn model() -> ModelProto {
        let inner = GraphProto { initializer: vec![tensor("inner", 9000)], ..GraphProto::default() };
        let branch = AttributeProto { name: "then_branch".into(), g: Some(inner), ..AttributeProto::default() };
        let value =
            AttributeProto { name: "value".into(), t: Some(tensor("value", 5000)), ..AttributeProto::default() };
        ModelProto {
            ir_version: 8,
            producer_name: "test".into(),
            graph: Some(GraphProto {
                name: "g".into(),
                node: vec![NodeProto { op_type: "If".into(), attribute: vec![branch, value], ..NodeProto::default() }],
                initializer: vec![tensor("large", 70_000), tensor("small", 100)],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    #[test]
    fn large_tensors_stay_in_the_file_and_all_else_is_as_it_was() {
        let mut whole = model();
        let (dir, file) = file(&whole.encode_to_vec());
        let mut head = read(file, "m.onnx").expect("a whole file");
        assert!(head.encoded_len() < 1500, "{}", head.encoded_len());
        let graph = head.graph.as_mut().expect("a graph");
        assert_eq!(graph.initializer[1], tensor("small", 100));
        for node in &mut graph.node {
            for attribute in &mut node.attribute {
                let inner = attribute.g.iter_mut().flat_map(|g| &mut g.initializer);
                for tensor in inner.chain(&mut attribute.t) {
                    assert!(tensor.raw_data.is_empty());
                    tensor.raw_data = bytes_of(tensor, dir.path()).expect("it is there");
                    tensor.data_location = Some(DataLocation::Default as i32);
                    tensor.external_data.clear();
                }
            }
        }
        for tensor in &mut graph.initializer {
            tensor.raw_data = bytes_of(tensor, dir.path()).expect("it is there");
            tensor.data_location = Some(DataLocation::Default as i32);
            tensor.external_data.clear();
        }
        whole.graph.as_mut().expect("a graph").name = "g".into();
        assert_eq!(head, whole);
    }

    #[test]
    fn a_file_that_is_cut_off_or_nested_without_end_is_refused() {
        let whole = model().encode_to_vec();
        for length in [1, 20, 1000, 30_000, whole.len() - 1] {
            let (_dir, file) = file(&whole[..length]);
            let error = read(file, "m.onnx").expect_err("cut off");
            assert!(error.contains("truncated"), "{length}: {error}");
        }
        let mut nested = GraphProto::default();
        for _ in 0..40 {
            let attribute = AttributeProto { g: Some(nested), ..AttributeProto::default() };
            let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
            nested = GraphProto { node: vec![node], ..GraphProto::default() };
        }
        let deep = ModelProto { graph: Some(nested), ..ModelProto::default() };
        let (_dir, file) = file(&deep.encode_to_vec());
        assert!(read(file, "m.onnx").expect_err("too deep").contains("nested too deep"));
    }
}
