mod graph;
mod operators;
mod refusals;
mod sizes;
mod state;
mod strides;

use graph::*;
use prost::Message;
use tract_onnx::pb::{AttributeProto, GraphProto, TensorProto};

use super::*;
use crate::engine::{Session, Tensor};

fn load(dir: &std::path::Path) -> Result<Arc<TractModel>, EngineError> {
    TractEngine::default().load_model(dir, std::path::Path::new("model.onnx"))
}

/// What [`ctc`] computes, in double precision.
fn expected(features: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    for x in features.chunks(2) {
        let score = |u: usize| (0..2).map(|i| f64::from(x[i]) * f64::from(WEIGHT[i * 3 + u])).sum::<f64>();
        let norm = (0..3).map(|u| score(u).exp()).sum::<f64>().ln();
        out.extend((0..3).map(|u| (score(u) - norm) as f32));
    }
    out
}

fn features(frames: usize) -> Vec<f32> {
    (0..2 * frames).map(|i| (i as f32 * 0.7).sin() * 3.0).collect()
}

fn assert_close(have: &[f32], want: &[f32]) {
    assert_eq!(have.len(), want.len());
    for (have, want) in have.iter().zip(want) {
        assert!((have - want).abs() < 1e-5, "{have} instead of {want}");
    }
}

#[test]
fn a_graph_gives_what_it_says_for_any_number_of_frames_optimised_or_not() {
    let dir = package(&model(17, ctc(weight())));
    for plain in [false, true] {
        let engine = TractEngine { plain };
        let loaded = engine.load_model(dir.path(), std::path::Path::new("model.onnx")).expect("a good graph");
        let names = |ports: &[Port]| ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(loaded.inputs()), names(loaded.outputs())),
            (vec!["features".to_owned()], vec!["log_probs".to_owned()])
        );
        assert!(!loaded.operators().is_empty());
        let mut session = loaded.open().expect("a session");
        for frames in [1, 7, 64, 2] {
            let input = features(frames);
            let outputs = session.run(&[("features", Tensor::f32([1, frames, 2], input.clone()))]).expect("runs");
            assert_eq!((outputs.len(), outputs[0].0.as_str()), (1, "log_probs"));
            assert_eq!(outputs[0].1.shape, [1, frames, 3]);
            assert_close(outputs[0].1.as_f32().expect("floats"), &expected(&input));
        }
    }
}

/// `x` `[1, T, T]` plus the mask of the positions behind each.
#[test]
fn a_mask_of_positions_has_a_row_for_each() {
    let scalar = |name: &str, value: i64| TensorProto { dims: Vec::new(), ..integers(name, &[value]) };
    let level = |name: &str, value: f32| TensorProto { dims: Vec::new(), ..floats(name, &[1], &[value]) };
    let graph = GraphProto {
        name: "mask".into(),
        node: vec![
            node("Shape", &["x"], "shape", Vec::new()),
            node("Gather", &["shape", "1"], "length", Vec::new()),
            node("Range", &["0", "length", "1"], "keys", Vec::new()),
            node("Reshape", &["keys", "column"], "rows", Vec::new()),
            node("LessOrEqual", &["keys", "rows"], "seen", Vec::new()),
            node("Where", &["seen", "nothing", "unseen"], "mask", Vec::new()),
            node("Add", &["x", "mask"], "y", Vec::new()),
        ],
        initializer: vec![
            scalar("0", 0),
            scalar("1", 1),
            integers("column", &[-1, 1]),
            level("nothing", 0.0),
            level("unseen", -9.0),
        ],
        input: vec![value("x", F32, &[1, -1, -1])],
        output: vec![value("y", F32, &[1, -1, -1])],
        ..GraphProto::default()
    };
    let loaded = load(package(&model(17, graph)).path()).expect("a good graph");
    for length in [1, 3] {
        let x = Tensor::f32([1, length, length], vec![1.0; length * length]);
        let y = loaded.open().expect("a session").run(&[("x", x)]).expect("runs").remove(0).1;
        let wanted = (0..length * length).map(|i| if i % length <= i / length { 1.0 } else { -8.0 });
        assert_eq!((&y.shape[..], y.as_f32()), (&[1, length, length][..], Some(&wanted.collect::<Vec<f32>>()[..])));
    }
}

#[test]
fn every_supported_operator_set_loads() {
    for opset in [MIN_OPSET, 11, 13, 17, 18, MAX_OPSET] {
        load(package(&model(opset, ctc(weight()))).path()).unwrap_or_else(|e| panic!("{opset}: {e}"));
    }
}

#[test]
fn weights_may_lie_in_other_files_of_the_package() {
    let bytes: Vec<u8> = WEIGHT.iter().flat_map(|v| v.to_le_bytes()).collect();
    let padded: Vec<u8> = [0; 64].into_iter().chain(bytes).collect();
    for entries in [
        &[("location", "weights.bin"), ("offset", "64"), ("length", "24")][..],
        &[("location", "./weights.bin"), ("offset", "64")],
        &[("location", "more/link.bin"), ("offset", "64"), ("length", "24")],
    ] {
        let dir = package(&model(17, ctc(external("weight", &[2, 3], entries))));
        std::fs::write(dir.path().join("weights.bin"), &padded).expect("writes");
        std::fs::create_dir(dir.path().join("more")).expect("creates");
        std::os::unix::fs::symlink("../weights.bin", dir.path().join("more/link.bin")).expect("links");
        let mut session = load(dir.path()).unwrap_or_else(|e| panic!("{entries:?}: {e}")).open().expect("a session");
        let outputs = session.run(&[("features", Tensor::f32([1, 3, 2], features(3)))]).expect("runs");
        assert_close(outputs[0].1.as_f32().expect("floats"), &expected(&features(3)));
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    4096 * statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages")
}

#[test]
fn sessions_share_their_weights_and_run_side_by_side() {
    const SIZE: i64 = 2048;
    let weight: Vec<f32> = (0..SIZE * SIZE).map(|i| if i / SIZE == i % SIZE { 2.0 } else { 0.0 }).collect();
    let graph = GraphProto {
        node: vec![node("MatMul", &["x", "weight"], "y", vec![])],
        initializer: vec![floats("weight", &[SIZE, SIZE], &weight)],
        input: vec![value("x", F32, &[1, SIZE])],
        output: vec![value("y", F32, &[1, SIZE])],
        ..GraphProto::default()
    };
    let dir = package(&model(17, graph));
    let loaded = load(dir.path()).expect("a good graph");
    let weights = (4 * SIZE * SIZE) as u64;
    assert!((weights..weights + weights / 8).contains(&loaded.memory_bytes()), "{}", loaded.memory_bytes());
    let before = resident_bytes();
    let mut sessions: Vec<_> = (0..48).map(|_| loaded.open().expect("a session")).collect();
    std::thread::scope(|scope| {
        for (index, session) in sessions.iter_mut().enumerate() {
            scope.spawn(move || {
                let x = vec![index as f32; SIZE as usize];
                let outputs = session.run(&[("x", Tensor::f32([1, SIZE as usize], x))]).expect("runs");
                assert_eq!(outputs[0].1.as_f32().expect("floats"), vec![2.0 * index as f32; SIZE as usize]);
            });
        }
    });
    // Copies would be 768 MiB. Tests that run beside this one take some memory, too.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 384 << 20, "48 sessions took {} MiB", grown >> 20);
}

#[test]
fn inputs_that_the_graph_does_not_take_are_named() {
    let loaded = load(package(&model(17, ctc(weight()))).path()).expect("a good graph");
    let mut session = loaded.open().expect("a session");
    let good = || Tensor::f32([1, 2, 2], features(2));
    let integers = Tensor { shape: vec![1, 2, 2], data: crate::engine::TensorData::I64(vec![0; 4]) };
    let short = Tensor { shape: vec![1, 2, 2], data: crate::engine::TensorData::F32(vec![0.0; 3]) };
    for (inputs, reason) in [
        (vec![], "`features` is missing"),
        (vec![("feature", good())], "`features` is missing"),
        (vec![("features", good()), ("length", good())], "no input `length`"),
        (vec![("features", Tensor::f32([1, 2, 3], vec![0.0; 6]))], "[1, 2, 3]"),
        (vec![("features", Tensor::f32([4], vec![0.0; 4]))], "[4]"),
        (vec![("features", integers)], "is i64"),
        (vec![("features", short)], "holds 3 elements"),
    ] {
        let error = session.run(&inputs).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    session.run(&[("features", good())]).expect("a refused input harms nothing");
}

#[test]
fn a_panic_of_the_engine_is_an_error_and_the_session_goes_on() {
    // Nobody guards a division of integers by 0.
    let graph = GraphProto {
        node: vec![node("Div", &["a", "b"], "y", vec![])],
        input: vec![value("a", I64, &[-1]), value("b", I64, &[-1])],
        output: vec![value("y", I64, &[-1])],
        ..GraphProto::default()
    };
    let loaded = load(package(&model(17, graph)).path()).expect("a good graph");
    let mut session = loaded.open().expect("a session");
    let tensor = |v: i64| Tensor { shape: vec![1], data: crate::engine::TensorData::I64(vec![v]) };
    for _ in 0..2 {
        let error = session.run(&[("a", tensor(6)), ("b", tensor(0))]).expect_err("no number").to_string();
        assert!(error.contains("the engine panicked"), "{error}");
        let outputs = session.run(&[("a", tensor(6)), ("b", tensor(3))]).expect("the next run is well");
        assert_eq!(outputs[0].1, tensor(2));
    }
}
