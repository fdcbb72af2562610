use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};

use super::*;

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: outputs.iter().map(|s| (*s).to_owned()).collect(),
        ..NodeProto::default()
    }
}

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), ..ValueInfoProto::default() }
}

fn merged() -> GraphProto {
    let side = |op: &str, name: &str| AttributeProto {
        name: name.into(),
        g: Some(GraphProto {
            node: vec![node(op, &["x"], &["inner"])],
            output: vec![value("inner")],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    };
    let mut chosen = node("If", &[USE_CACHE], &["y"]);
    chosen.attribute = vec![side("Relu", "then_branch"), side("Neg", "else_branch")];
    GraphProto {
        node: vec![chosen, node("Abs", &["y"], &["z"]), node("Exp", &["x"], &["unwanted"])],
        input: vec![value("x"), value(USE_CACHE)],
        output: vec![value("z"), value("unwanted")],
        ..GraphProto::default()
    }
}

#[test]
fn a_side_of_a_merged_decoder_takes_the_place_of_its_if() {
    for (part, op) in [(Part::WithPast, "Relu"), (Part::First, "Neg")] {
        let mut graph = merged();
        take_part(&mut graph, part).expect("it is merged");
        prune(&mut graph, &["z".to_owned()]).expect("it is an output");
        let ops: Vec<&str> = graph.node.iter().map(|n| n.op_type.as_str()).collect();
        assert_eq!(ops, [op, "Identity", "Abs"]);
        assert_eq!(graph.input.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["x"], "nothing chooses any more");
    }
}

#[test]
fn a_mask_of_samples_becomes_one_of_positions() {
    let step = tract_onnx::pb::TensorProto {
        name: "stride".into(),
        dims: vec![1],
        data_type: 7,
        int64_data: vec![384],
        ..Default::default()
    };
    let mut graph = GraphProto {
        node: vec![
            node("Slice", &["encoder_attention_mask", "from", "to", "axis", "stride"], &["kept"]),
            node("Slice", &["kept", "from", "positions", "axis", "one"], &["cut"]),
            node("Unsqueeze", &["cut", "axes"], &["mask"]),
        ],
        initializer: vec![step],
        output: vec![value("mask")],
        ..GraphProto::default()
    };
    simplify(&mut graph, 14, &[]).expect("it can be written otherwise");
    prune(&mut graph, &[]).expect("all outputs are there");
    let left: Vec<_> = graph.node.iter().map(|n| (n.op_type.as_str(), n.input[0].as_str())).collect();
    assert_eq!(left, [("Unsqueeze", "encoder_attention_mask")]);
    // A slice of every position is somebody's own.
    let mut other = GraphProto {
        node: vec![node("Slice", &["encoder_attention_mask", "from", "to", "axis"], &["mask"])],
        output: vec![value("mask")],
        ..GraphProto::default()
    };
    simplify(&mut other, 14, &[]).expect("it can be written otherwise");
    assert_eq!(other.node[0].op_type, "Slice");
}

/// A scalar constant.
fn constant(name: &str, value: i64) -> tract_onnx::pb::TensorProto {
    tract_onnx::pb::TensorProto { name: name.into(), data_type: 7, int64_data: vec![value], ..Default::default() }
}

#[test]
fn a_range_that_counts_down_is_a_difference() {
    let mut graph = GraphProto {
        node: vec![node("Range", &["n", "limit", "step"], &["places"]), node("Range", &["zero", "n", "one"], &["up"])],
        initializer: vec![constant("limit", -1), constant("step", -1), constant("zero", 0), constant("one", 1)],
        output: vec![value("places"), value("up")],
        ..GraphProto::default()
    };
    simplify(&mut graph, 14, &[]).expect("it is written in another way");
    let ops: Vec<(&str, Vec<&str>)> =
        graph.node.iter().map(|n| (n.op_type.as_str(), n.input.iter().map(String::as_str).collect())).collect();
    assert_eq!(
        ops,
        [
            ("Sub", vec!["n", "limit"]),
            ("Range", vec!["places.zero", "places.span", "places.step"]),
            ("Sub", vec!["n", "places.up"]),
            ("Range", vec!["zero", "n", "one"]),
        ]
    );
    assert!(graph.initializer.iter().any(|t| t.name == "places.step" && t.int64_data == [1]));
}

#[test]
fn every_second_of_a_whole_axis_is_gathered() {
    let slice = |data: &str, to: &str, step: &str, out: &str| node("Slice", &[data, "zero", to, "axis", step], &[out]);
    let mut graph = GraphProto {
        node: vec![slice("x", "end", "two", "y"), slice("x", "end", "one", "z"), slice("x", "five", "two", "w")],
        initializer: vec![
            constant("zero", 0),
            constant("axis", 1),
            constant("one", 1),
            constant("two", 2),
            constant("five", 5),
            constant("end", i64::MAX),
        ],
        output: vec![value("y"), value("z"), value("w")],
        ..GraphProto::default()
    };
    simplify(&mut graph, 14, &[]).expect("it is written in another way");
    let ops: Vec<&str> = graph.node.iter().map(|n| n.op_type.as_str()).collect();
    assert_eq!(ops, ["Shape", "Gather", "Range", "Gather", "Slice", "Slice"], "others are tract's own affair");
    assert_eq!((graph.node[3].output[0].as_str(), graph.node[3].attribute[0].i), ("y", 1));
}

#[test]
fn a_graph_that_is_not_merged_and_an_output_that_is_not_there_are_named() {
    let mut graph = GraphProto { node: vec![node("If", &["c"], &["y"])], ..GraphProto::default() };
    assert!(take_part(&mut graph, Part::First).expect_err("another condition").contains("not a merged decoder"));
    assert!(prune(&mut merged(), &["w".to_owned()]).expect_err("no such output").contains("`w`"));
}

#[test]
fn names_of_dimensions_mean_the_same_in_every_input() {
    use tract_onnx::pb::{TypeProto, type_proto};
    let shaped = |name: &str, dims: &[&str]| ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: 1,
                shape: Some(TensorShapeProto {
                    dim: dims
                        .iter()
                        .map(|d| Dimension {
                            value: Some(d.parse().map_or_else(|_| Dim::DimParam((*d).to_owned()), Dim::DimValue)),
                            ..Dimension::default()
                        })
                        .collect(),
                }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    let mut graph = GraphProto {
        input: vec![
            shaped("input_ids", &["batch", "seq"]),
            shaped("attention_mask", &["batch", "past_sequence_length + 1"]),
            shaped("past_key_values.0.key", &["batch", "2", "T", "8"]),
            shaped("other", &["batch", "3", "T", "frames", "frames + 1"]),
        ],
        ..GraphProto::default()
    };
    let slot =
        Slot { input: Some("past_key_values.0.key".into()), output: Some("present.0.key".into()), grows: Some(2) };
    let dims = |graph: &mut GraphProto| -> Vec<Vec<String>> {
        let shapes = graph.input.iter_mut().map(|input| shape_mut(input).expect("it has a shape"));
        let text = |d: &Dimension| match &d.value {
            Some(Dim::DimParam(name)) => name.clone(),
            Some(Dim::DimValue(size)) => size.to_string(),
            None => String::new(),
        };
        shapes.map(|shape| shape.dim.iter().map(text).collect()).collect()
    };
    for (names, other) in [
        (Names::OfFile, ["B", "3", "P", "of_frames", "other_4"]),
        (Names::Own, ["other_0", "3", "other_2", "other_3", "other_4"]),
    ] {
        let mut graph = graph.clone();
        name_dimensions(&mut graph, std::slice::from_ref(&slot), &[], names);
        assert_eq!(dims(&mut graph), [vec!["B", "S"], vec!["B", "P+S"], vec!["B", "2", "P", "8"], other.to_vec()]);
    }
    // A size that the caller says is the only one.
    let one = Size { input: "other".into(), axis: 0, least: 1, most: 1 };
    let mut only = graph.clone();
    name_dimensions(&mut only, std::slice::from_ref(&slot), &[one], Names::Own);
    assert_eq!(dims(&mut only)[3][0], "1");
    // A cache that the caller hands in as any other input.
    graph.input.pop();
    name_dimensions(&mut graph, &[], &[], Names::OfFile);
    assert_eq!(dims(&mut graph), [vec!["B", "S"], vec!["B", "P+S"], vec!["B", "2", "P", "8"]]);
}

/// Bytes with a sign.
fn bytes(name: &str, dims: &[i64]) -> tract_onnx::pb::TensorProto {
    let raw_data = vec![1; dims.iter().product::<i64>() as usize];
    tract_onnx::pb::TensorProto { name: name.into(), dims: dims.to_vec(), data_type: 3, raw_data, ..Default::default() }
}

#[test]
fn quantized_activations_are_multiplied_with_rows_of_bytes_that_are_stored_once() {
    let mut graph = GraphProto {
        node: vec![
            node("DynamicQuantizeLinear", &["x"], &["codes", "scale", "zero"]),
            node("Gather", &["table", "ids"], &["looked_up"]),
            node("Transpose", &["table"], &["turned"]),
            node("MatMulInteger", &["codes", "turned", "zero", "zeros_of_5"], &["tied"]),
            node("MatMulInteger", &["codes", "w", "zero"], &["first"]),
            node("MatMulInteger", &["codes", "w", "zero"], &["second"]),
        ],
        initializer: vec![bytes("table", &[5, 4]), bytes("zeros_of_5", &[5]), bytes("w", &[4, 3])],
        output: ["tied", "first", "second", "looked_up"].map(value).to_vec(),
        ..GraphProto::default()
    };
    simplify(&mut graph, 14, &[]).expect("it is written in another way");
    prune(&mut graph, &[]).expect("all outputs are there");
    let mut ops: Vec<(&str, Vec<&str>)> =
        graph.node.iter().map(|n| (n.op_type.as_str(), n.input.iter().map(String::as_str).collect())).collect();
    ops.sort();
    assert_eq!(
        ops,
        [
            ("DynamicQuantizeLinear", vec!["x"]),
            ("Gather", vec!["table", "ids"]),
            ("linnet.BytesProduct", vec!["codes", "table", "zero", "zeros_of_5"]),
            ("linnet.BytesProduct", vec!["codes", "w", "zero", ""]),
            ("linnet.BytesProduct", vec!["codes", "w", "zero", ""]),
        ]
    );
    let has_rows = graph
        .node
        .iter()
        .filter(|n| n.op_type == "linnet.BytesProduct")
        .map(|n| (n.input[1].as_str(), n.attribute[0].i));
    assert_eq!(has_rows.collect::<Vec<_>>(), [("table", 1), ("w", 0), ("w", 0)]);
}

#[test]
fn bytes_with_zeros_of_other_shapes_are_left_to_the_engine() {
    for (zero, zeros) in
        [("zero_of_each_row", "one"), ("one", "of_each_column"), ("computed", "one"), ("one", "computed")]
    {
        let mut graph = GraphProto {
            node: vec![node("Neg", &["given"], &["computed"]), node("MatMulInteger", &["x", "w", zero, zeros], &["y"])],
            initializer: vec![
                bytes("w", &[4, 3]),
                bytes("one", &[]),
                bytes("zero_of_each_row", &[2, 1]),
                bytes("of_each_column", &[4, 1]),
            ],
            output: vec![value("y")],
            ..GraphProto::default()
        };
        simplify(&mut graph, 14, &[]).expect("it is written in another way");
        assert!(graph.node.iter().any(|n| n.op_type == "MatMulInteger"), "{zero}, {zeros}");
    }
}

#[test]
fn weights_that_only_one_product_turns_are_read_as_they_are() {
    let float = |name: &str| tract_onnx::pb::TensorProto { data_type: 1, ..bytes(name, &[5, 4]) };
    let mut graph = GraphProto {
        node: vec![
            node("Transpose", &["a"], &["a_turned"]),
            node("MatMul", &["x", "a_turned"], &["y"]),
            node("Transpose", &["b"], &["b_turned"]),
            node("MatMul", &["x", "b_turned"], &["z"]),
            node("Neg", &["b_turned"], &["w"]),
        ],
        initializer: vec![float("a"), float("b")],
        output: ["y", "z", "w"].map(value).to_vec(),
        ..GraphProto::default()
    };
    simplify(&mut graph, 14, &[]).expect("it is written in another way");
    let inputs = |output: &str| {
        let made = graph.node.iter().find(|n| n.output[0] == output).expect("it is made");
        (made.op_type.as_str(), made.input.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(inputs("y"), ("linnet.MatMul", vec!["x", "a"]));
    assert_eq!(inputs("z"), ("MatMul", vec!["x", "b_turned"]));
}
