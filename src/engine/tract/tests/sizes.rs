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

fn scalar(name: &str, value: i64) -> TensorProto {
    TensorProto { dims: Vec::new(), ..integers(name, &[value]) }
}

/// The length of `of` `[1, 1, n]`.
fn length(of: &str) -> [NodeProto; 2] {
    [node("Shape", &[of], "shape", Vec::new()), node("Gather", &["shape", "2"], "length", Vec::new())]
}

fn to_floats() -> AttributeProto {
    AttributeProto { name: "to".into(), r#type: 2, i: F32.into(), ..AttributeProto::default() }
}

/// As a graph is loaded that proves itself before it serves anybody.
fn load_named(graph: GraphProto) -> Arc<TractModel> {
    let options = LoadOptions { name_sizes: true, ..LoadOptions::default() };
    let dir = package(&model(17, graph));
    let loaded = TractEngine::default().load_model_with(dir.path(), std::path::Path::new("model.onnx"), &options);
    loaded.expect("a good graph")
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
    let nodes = length("half").into_iter().chain([
        node("Range", &["0", "length", "1"], "numbers", Vec::new()),
        node("Cast", &["numbers"], "positions", vec![to_floats()]),
        node("Add", &["half", "positions"], "y", Vec::new()),
    ]);
    let graph = graph(nodes.collect(), vec![scalar("0", 0), scalar("1", 1), scalar("2", 2)]);
    let loaded = load_named(graph);
    assert!(loaded.has_named_sizes(), "{:?}", loaded.operators());
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
    assert_gives(&load_named(graph), |i| 4.0 * i as f32);
}

#[test]
fn a_graph_that_cannot_be_planned_with_names_is_planned_without() {
    let axis = AttributeProto { name: "axis".into(), r#type: 2, i: 1, ..AttributeProto::default() };
    let graph = sliced(vec![node("Concat", &["half", "sliced"], "y", vec![axis])]);
    let loaded = load_named(graph);
    assert!(!loaded.has_named_sizes(), "{:?}", loaded.operators());
    let x = Tensor::f32([1, 1, 3], vec![0.0, 1.0, 2.0]);
    let given = loaded.open().expect("a session").run(&[("x", x)]).expect("runs").remove(0).1;
    assert_eq!((&given.shape[..], given.as_f32()), (&[1, 2, 2][..], Some(&[0.0, 2.0, 0.0, 2.0][..])));
}

/// Nothing reads the numbers that the convolution gives.
#[test]
fn a_size_of_which_only_the_shape_is_read_is_known_too() {
    let nodes = length("half").into_iter().chain([
        node("Range", &["0", "length", "1"], "numbers", Vec::new()),
        node("Cast", &["numbers"], "positions", vec![to_floats()]),
        node("Reshape", &["positions", "row"], "y", Vec::new()),
    ]);
    let constants = vec![scalar("0", 0), scalar("1", 1), scalar("2", 2), integers("row", &[1, 1, -1])];
    let loaded = load_named(graph(nodes.collect(), constants));
    assert_gives(&loaded, |i| i as f32);
}

/// How many numbers are above a half is seen when the graph runs.
#[test]
fn a_size_behind_a_stride_of_what_is_only_seen_in_a_run_has_no_name() {
    let axis = |axis| AttributeProto { name: "axis".into(), r#type: 2, i: axis, ..AttributeProto::default() };
    let (conv, weight) = every_second();
    let conv = NodeProto { input: vec!["late".into(), "one".into()], ..conv };
    let nodes = [
        node("Reshape", &["x", "flat"], "all", Vec::new()),
        node("Greater", &["all", "limit"], "above", Vec::new()),
        node("NonZero", &["above"], "found", Vec::new()),
        node("Squeeze", &["found", "first"], "places", Vec::new()),
        node("Gather", &["x", "places"], "late", vec![axis(2)]),
        conv,
    ];
    let counted = length("half").into_iter().chain([
        node("Range", &["0", "length", "1"], "numbers", Vec::new()),
        node("Cast", &["numbers"], "positions", vec![to_floats()]),
        node("Add", &["half", "positions"], "y", Vec::new()),
    ]);
    let graph = GraphProto {
        node: nodes.into_iter().chain(counted).collect(),
        initializer: vec![
            weight,
            scalar("0", 0),
            scalar("1", 1),
            scalar("2", 2),
            integers("flat", &[-1]),
            integers("first", &[0]),
            TensorProto { dims: Vec::new(), ..floats("limit", &[1], &[0.5]) },
        ],
        ..graph(Vec::new(), Vec::new())
    };
    let loaded = load_named(graph);
    assert!(!loaded.has_named_sizes());
    let x = Tensor::f32([1, 1, 6], vec![0.0, 7.0, 8.0, 0.0, 9.0, 6.0]);
    let given = loaded.open().expect("a session").run(&[("x", x)]).expect("runs").remove(0).1;
    assert_eq!(given.as_f32(), Some(&[7.0, 10.0][..]));
}

#[test]
fn a_graph_that_has_the_name_that_would_be_given_keeps_it() {
    let nodes = vec![node("Mul", &["half", "half.reckoned"], "y", Vec::new())];
    let graph = graph(nodes, vec![floats("half.reckoned", &[1, 1, 1], &[3.0])]);
    let loaded = load_named(graph);
    assert!(loaded.has_named_sizes());
    assert_gives(&loaded, |i| 6.0 * i as f32);
}

/// `y` of `x` `[1, 1, T, U]` under a kernel of 3 x 3. Two sizes of -1 have a product of 1.
#[test]
fn an_input_that_is_smaller_than_the_kernel_is_refused_and_the_session_goes_on() {
    let free = |name: &str, sizes: [&str; 2]| {
        let mut value = value(name, F32, &[1, 1, -1, -1]);
        let Some(tract_onnx::pb::TypeProto {
            value: Some(tract_onnx::pb::type_proto::Value::TensorType(tensor)), ..
        }) = &mut value.r#type
        else {
            panic!("a tensor")
        };
        let dims = &mut tensor.shape.as_mut().expect("a shape").dim;
        for (dim, size) in dims[2..].iter_mut().zip(sizes) {
            dim.value = Some(tract_onnx::pb::tensor_shape_proto::dimension::Value::DimParam(size.into()));
        }
        value
    };
    let graph = GraphProto {
        name: "kernel".into(),
        node: vec![node("Conv", &["x", "nine"], "y", Vec::new())],
        initializer: vec![floats("nine", &[1, 1, 3, 3], &[1.0; 9])],
        input: vec![free("x", ["T", "U"])],
        output: vec![free("y", ["V", "W"])],
        ..GraphProto::default()
    };
    let loaded = load(package(&model(17, graph)).path()).expect("a good graph");
    let mut session = loaded.open().expect("a session");
    let x = |t: usize, u: usize| Tensor::f32([1, 1, t, u], vec![1.0; t * u]);
    for (t, u) in [(1, 1), (0, 0), (1, 5)] {
        let refused = session.run(&[("x", x(t, u))]).expect_err("it is too small").to_string();
        assert!(
            refused.contains("smaller than what this graph lays on it") && refused.contains("would be -"),
            "{t} {u}: {refused}"
        );
        let given = session.run(&[("x", x(4, 3))]).expect("runs").remove(0).1;
        assert_eq!((&given.shape[..], given.as_f32()), (&[1, 1, 2, 1][..], Some(&[9.0, 9.0][..])));
    }
}
