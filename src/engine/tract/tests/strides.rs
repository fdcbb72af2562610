//! Every second of what another operator gave.

use tract_onnx::pb::NodeProto;

use super::*;

const TAPS: [f32; 3] = [1.0, 10.0, 100.0];

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 7, ints: ints.to_vec(), ..AttributeProto::default() }
}

fn auto_pad(rule: &str) -> AttributeProto {
    AttributeProto { name: "auto_pad".into(), r#type: 3, s: rule.into(), ..AttributeProto::default() }
}

/// A convolution by [`TAPS`], padded by `rule` and with a stride, then what `sampling` makes of it, `y` `[1, 1, n]` of `x` `[1, 1, size]`.
fn graph(rule: &str, stride: i64, size: i64, between: &[&str], sampling: NodeProto) -> GraphProto {
    let mut nodes = vec![node("Conv", &["x", "taps"], "c0", vec![auto_pad(rule), ints("strides", &[stride])])];
    for (i, op) in between.iter().enumerate() {
        nodes.push(node(op, &[&format!("c{i}")], &format!("c{}", i + 1), Vec::new()));
    }
    nodes.push(node("Identity", &[&format!("c{}", between.len())], "c", Vec::new()));
    nodes.push(sampling);
    GraphProto {
        name: "sampled".into(),
        node: nodes,
        initializer: vec![
            floats("taps", &[1, 1, 3], &TAPS),
            floats("one", &[1, 1, 1], &[1.0]),
            integers("begin", &[1]),
            integers("end", &[1000]),
            integers("axis", &[2]),
            integers("step", &[2]),
        ],
        input: vec![value("x", F32, &[1, 1, size])],
        output: vec![value("y", F32, &[1, 1, -1])],
        ..GraphProto::default()
    }
}

/// What ONNX says of `auto_pad` (<https://onnx.ai/onnx/operators/onnx__Conv.html>).
fn convolved(x: &[f32], rule: &str, stride: usize) -> Vec<f32> {
    let (size, taps) = (x.len() as isize, TAPS.len() as isize);
    let outputs = x.len().div_ceil(stride);
    let missing = ((outputs as isize - 1) * stride as isize + taps - size).max(0);
    let before = if rule == "SAME_LOWER" { (missing + 1) / 2 } else { missing / 2 };
    let tap = |at: isize, tap: f32| if (0..size).contains(&at) { x[at as usize] * tap } else { 0.0 };
    let output = |o: usize| (0..).zip(TAPS).map(|(i, t)| tap((o * stride) as isize + i - before, t)).sum();
    (0..outputs).map(output).collect()
}

fn assert_gives(graph: GraphProto, sizes: &[usize], wanted: impl Fn(&[f32]) -> Vec<f32>, case: &str) {
    let loaded = load(package(&model(17, graph)).path()).expect("a good graph");
    let mut session = loaded.open().expect("a session");
    for size in sizes {
        let x: Vec<f32> = (1..=*size).map(|i| i as f32).collect();
        let wanted = wanted(&x);
        let given = session.run(&[("x", Tensor::f32([1, 1, *size], x))]).expect("runs").remove(0).1;
        assert_eq!(
            (&given.shape[..], given.as_f32()),
            (&[1, 1, wanted.len()][..], Some(&wanted[..])),
            "{case}, {size}"
        );
    }
}

#[test]
fn a_padding_that_follows_from_its_stride_stays_where_every_second_of_it_is_taken() {
    for rule in ["SAME_UPPER", "SAME_LOWER"] {
        for stride in [1, 2] {
            for between in [&[][..], &["Relu"]] {
                for (size, sizes) in [(-1, &[16, 15, 9, 1][..]), (16, &[16])] {
                    let every_second = node("Conv", &["c", "one"], "y", vec![ints("strides", &[2])]);
                    let graph = graph(rule, stride, size, between, every_second);
                    let wanted =
                        |x: &[f32]| convolved(x, rule, stride as usize).into_iter().step_by(2).collect::<Vec<_>>();
                    assert_gives(graph, sizes, wanted, &format!("{rule}, {stride}, {between:?}"));
                }
            }
            let sliced = node("Slice", &["c", "begin", "end", "axis", "step"], "y", Vec::new());
            let wanted = |x: &[f32]| convolved(x, rule, stride as usize).into_iter().skip(1).step_by(2).collect();
            assert_gives(graph(rule, stride, 16, &[], sliced), &[16], wanted, &format!("{rule}, {stride}, sliced"));
        }
    }
}

/// A constant that is spread over as many places as `x` has.
#[test]
fn every_second_of_a_spread_constant_are_half_as_many() {
    let graph = GraphProto {
        name: "spread".into(),
        node: vec![
            node("Shape", &["x"], "shape", Vec::new()),
            node("Expand", &["seven", "shape"], "spread", Vec::new()),
            node("Conv", &["spread", "one"], "y", vec![ints("strides", &[2])]),
        ],
        initializer: vec![floats("seven", &[1, 1, 1], &[7.0]), floats("one", &[1, 1, 1], &[1.0])],
        input: vec![value("x", F32, &[1, 1, -1])],
        output: vec![value("y", F32, &[1, 1, -1])],
        ..GraphProto::default()
    };
    assert_gives(graph, &[8, 7, 1], |x| vec![7.0; x.len().div_ceil(2)], "spread");
}
