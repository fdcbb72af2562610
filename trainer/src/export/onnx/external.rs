//! Constants of several graphs in one file beside them, each once.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::proto::{EntryProto, ModelProto};

/// Smaller constants stay in their graph, bytes.
const LEAST_BYTES: usize = 256;
/// Constants begin at multiples of this, bytes.
const ALIGNMENT: usize = 64;

/// Moves the larger constants of `models` into one file, which is called `location` and lies in the directory of theirs; equal
/// ones lie there once. Gives the file.
pub fn externalize(models: &mut [ModelProto], location: &str) -> Vec<u8> {
    let mut file: Vec<u8> = Vec::new();
    let mut places: HashMap<[u8; 32], usize> = HashMap::new();
    let tensors = models.iter_mut().filter_map(|model| model.graph.as_mut()).flat_map(|graph| &mut graph.initializer);
    for tensor in tensors.filter(|tensor| tensor.raw_data.len() >= LEAST_BYTES) {
        let bytes = std::mem::take(&mut tensor.raw_data);
        let offset = *places.entry(Sha256::digest(&bytes).into()).or_insert_with(|| {
            file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
            let offset = file.len();
            file.extend_from_slice(&bytes);
            offset
        });
        let entry = |key: &str, value: String| EntryProto { key: key.into(), value };
        tensor.external_data = vec![
            entry("location", location.into()),
            entry("offset", offset.to_string()),
            entry("length", bytes.len().to_string()),
        ];
        tensor.data_location = Some(1);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::onnx::Graph;

    #[test]
    fn equal_constants_of_two_graphs_lie_in_the_file_once() {
        let model = |name: &str, other: f32| {
            let mut g = Graph::new(name);
            let x = g.input::<f32>("x", &[100.into()]);
            let shared = g.constant("shared", &[100], &[1f32; 100]).unwrap();
            let own = g.constant("own", &[100], &[other; 100]).unwrap();
            let small = g.constant("small", &[1], &[3f32]).unwrap();
            let y = g.add(&x, &shared).unwrap();
            let y = g.add(&y, &own).unwrap();
            let y = g.add(&y, &small).unwrap();
            g.output("y", y).unwrap();
            g.finish().unwrap()
        };
        let mut models = [model("a", 5.0), model("b", 6.0)];
        let file = externalize(&mut models, "model.onnx_data");
        assert_eq!(file.len(), 448 + 448 + 400);
        let tensors = |i: usize| models[i].graph.as_ref().unwrap().initializer.clone();
        let (a, b) = (tensors(0), tensors(1));
        assert_eq!(a[0].external_data, b[0].external_data);
        assert_ne!(a[1].external_data, b[1].external_data);
        assert_eq!((a[2].raw_data.len(), a[2].data_location), (4, None));
        assert_eq!((a[0].raw_data.len(), a[0].data_location), (0, Some(1)));
        let offset: usize = b[1].external_data[1].value.parse().unwrap();
        assert_eq!(file[offset..offset + 4], 6f32.to_le_bytes());
    }
}
