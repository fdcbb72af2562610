//! Sizes behind a stride, which have names while a graph is planned.

use tract_onnx::pb::NodeProto;

use super::*;

/// `half` `[1, 1, ⌈T/2⌉]`: every second of `x` `[1, 1, T]`.
fn every_second() -> (NodeProto, TensorProto) {
    let strides = AttributeProto { name: "strides".into(), r#type: 7, ints: vec![2], ..AttributeProto::default() };
    (node("Conv", &["x", "one"], "half", vec![strides]), floats("one", &[1, 1, 1], &[1.0]))
}

fn graph(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> GraphProto {
    let (conv, weight) = every_second();
    GraphProto {
        name: "strides".into(),
        node: std::iter::once(conv).chain(nodes).collect(),
        initializer: std::iter::once(weight).chain(constants).collect(),
        input: vec![value("x", F32, &[1, 1, -1])],
        output: vec![value("y", F32, &[1, 1, -1])],
        ..GraphProto::default()
    }
}

fn names_sizes(model: &TractModel) -> bool {
    model.operators().iter().any(|(name, _)| name == "NamedSizes")
}

/// One session for all lengths: what a name stood for in a run is forgotten in the next.
fn assert_gives(model: &TractModel, y: impl Fn(usize) -> f32) {
    let mut session = model.open().expect("a session");
    for length in [1, 2, 7, 8, 3] {
        let x = Tensor::f32([1, 1, length], (0..length).map(|i| i as f32).collect());
        let given = session.run(&[("x", x)]).expect("runs").remove(0).1;
        let wanted: Vec<f32> = (0..length.div_ceil(2)).map(&y).collect();
        assert_eq!((&given.shape[..], given.as_f32()), (&[1, 1, wanted.len()][..], Some(&wanted[..])), "{length}");
    }
}

/// Positions are counted by the size alone, so that they may be reckoned before the convolution has run.
#[test]
fn a_size_behind_a_stride_has_a_name_and_its_value_in_each_run() {
    let scalar = |name: &str, value: i64| TensorProto { dims: Vec::new(), ..integers(name, &[value]) };
    let to = AttributeProto { name: "to".into(), r#type: 2, i: F32.into(), ..AttributeProto::default() };
    let nodes = vec![
        node("Shape", &["half"], "shape", Vec::new()),
        node("Gather", &["shape", "2"], "length", Vec::new()),
        node("Range", &["0", "length", "1"], "numbers", Vec::new()),
        node("Cast", &["numbers"], "positions", vec![to]),
        node("Add", &["half", "positions"], "y", Vec::new()),
    ];
    let graph = graph(nodes, vec![scalar("0", 0), scalar("1", 1), scalar("2", 2)]);
    let loaded = load(package(&model(17, graph)).path()).expect("a good graph");
    assert!(names_sizes(&loaded), "{:?}", loaded.operators());
    assert_gives(&loaded, |i| 3.0 * i as f32);
}

/// `sliced` is `half` by another way, whose size has no name.
fn sliced(nodes: Vec<NodeProto>) -> GraphProto {
    let slice = node("Slice", &["x", "begin", "end", "axis", "step"], "sliced", Vec::new());
    let constants =
        vec![integers("begin", &[0]), integers("end", &[i64::MAX]), integers("axis", &[2]), integers("step", &[2])];
    graph(std::iter::once(slice).chain(nodes).collect(), constants)
}

#[test]
fn a_size_with_a_name_meets_the_same_size_without_one() {
    let graph = sliced(vec![node("Add", &["half", "sliced"], "y", Vec::new())]);
    assert_gives(&*load(package(&model(17, graph)).path()).expect("a good graph"), |i| 4.0 * i as f32);
}

#[test]
fn a_graph_that_cannot_be_planned_with_names_is_planned_without() {
    let axis = AttributeProto { name: "axis".into(), r#type: 2, i: 1, ..AttributeProto::default() };
    let graph = sliced(vec![node("Concat", &["half", "sliced"], "y", vec![axis])]);
    let loaded = load(package(&model(17, graph)).path()).expect("a good graph");
    assert!(!names_sizes(&loaded), "{:?}", loaded.operators());
    let x = Tensor::f32([1, 1, 3], vec![0.0, 1.0, 2.0]);
    let given = loaded.open().expect("a session").run(&[("x", x)]).expect("runs").remove(0).1;
    assert_eq!((&given.shape[..], given.as_f32()), (&[1, 2, 2][..], Some(&[0.0, 2.0, 0.0, 2.0][..])));
}
