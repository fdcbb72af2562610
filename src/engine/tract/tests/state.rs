//! What one run leaves behind for the next.

use super::*;

/// `y` `[T, 1, 1, 1]` of `x` `[T, 1, 1]`, by a recurrent operator with one cell.
fn recurrent(op: &str, gates: i64) -> GraphProto {
    let hidden = AttributeProto { name: "hidden_size".into(), r#type: 2, i: 1, ..AttributeProto::default() };
    let weights = |name| floats(name, &[1, gates, 1], &vec![0.5; gates as usize]);
    GraphProto {
        name: "recurrent".into(),
        node: vec![node(op, &["x", "w", "r"], "y", vec![hidden])],
        initializer: vec![weights("w"), weights("r")],
        input: vec![value("x", F32, &[-1, 1, 1])],
        output: vec![value("y", F32, &[-1, 1, 1, 1])],
        ..GraphProto::default()
    }
}

#[test]
fn a_recurrent_operator_begins_anew_in_each_run() {
    for (op, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let loaded = load(package(&model(17, recurrent(op, gates))).path()).expect("a good graph");
        let run = |session: &mut TractSession, x: &[f32]| {
            let x = Tensor::f32([x.len(), 1, 1], x.to_vec());
            session.run(&[("x", x)]).expect("runs").remove(0).1.as_f32().expect("floats").to_vec()
        };
        let mut session = loaded.open().expect("a session");
        let first = run(&mut session, &[1.0, 1.0, 1.0]);
        assert!(first[0] != first[1] && first[1] != first[2], "{op}: within a run it goes on: {first:?}");
        run(&mut session, &[-3.0]);
        assert_eq!(run(&mut session, &[1.0, 1.0, 1.0]), first, "{op}: another's run was before");
    }
}
