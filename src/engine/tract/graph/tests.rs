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
            shaped("other", &["batch", "3"]),
        ],
        ..GraphProto::default()
    };
    let slot =
        Slot { input: Some("past_key_values.0.key".into()), output: Some("present.0.key".into()), grows: Some(2) };
    name_dimensions(&mut graph, &[slot]);
    let dims: Vec<Vec<String>> = graph
        .input
        .iter_mut()
        .map(|input| {
            let shape = shape_mut(input).expect("it has a shape");
            shape
                .dim
                .iter()
                .map(|d| match &d.value {
                    Some(Dim::DimParam(name)) => name.clone(),
                    Some(Dim::DimValue(size)) => size.to_string(),
                    None => String::new(),
                })
                .collect()
        })
        .collect();
    assert_eq!(dims, [vec!["B", "S"], vec!["B", "P+S"], vec!["B", "2", "P", "8"], vec!["other_0", "3"]]);
}
