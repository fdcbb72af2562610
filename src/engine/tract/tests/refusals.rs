//! Files that must not load, each with the reason that is given.

use super::*;

/// The reason why a model does not load; it must name the file and stand on one line.
fn refusal(dir: &std::path::Path) -> String {
    let error = load(dir).expect_err("must not load").to_string();
    assert!(error.contains("model.onnx") && !error.contains('\n') && error.len() < 1000, "{error}");
    error
}

#[track_caller]
fn assert_refused(graph: GraphProto, reason: &str) {
    let error = refusal(package(&model(17, graph)).path());
    assert!(error.contains(reason), "{error}");
}

#[test]
fn operators_that_the_engine_does_not_have() {
    let mut graph = ctc(weight());
    graph.node[0].op_type = "MatMulOfTomorrow".into();
    assert_refused(graph, "the operator `MatMulOfTomorrow`");
    let mut graph = ctc(weight());
    graph.node[1].domain = "com.example".into();
    assert_refused(graph, "`LogSoftmax` of `com.example`");
    // One that hides in a branch.
    let branch = |op: &str| AttributeProto {
        name: format!("{}_branch", if op == "Neg" { "then" } else { "else" }),
        r#type: 5,
        g: Some(GraphProto {
            name: op.into(),
            node: vec![node(op, &["features"], "z", vec![])],
            output: vec![value("z", F32, &[1, -1, 2])],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    };
    let mut graph = ctc(weight());
    graph.input.push(value("which", 9, &[]));
    graph.node.push(node("If", &["which"], "y", vec![branch("Neg"), branch("Hidden")]));
    assert_refused(graph, "the operator `Hidden`");
}

#[test]
fn operator_sets_that_are_too_old_too_new_or_absent() {
    for opset in [-1, 0, MIN_OPSET - 1, MAX_OPSET + 1, i64::MAX] {
        let error = refusal(package(&model(opset, ctc(weight()))).path());
        assert!(error.contains(&format!("operator set {opset},")) && error.contains("9 to 21"), "{error}");
    }
    let mut none = model(17, ctc(weight()));
    none.opset_import.clear();
    assert!(refusal(package(&none).path()).contains("names no ONNX operator set"));
}

#[test]
fn tensors_that_declare_what_nobody_can_hold() {
    for dims in [&[1 << 40][..], &[i64::MAX, i64::MAX], &[1 << 20, 1 << 20], &[0, i64::MAX, 4]] {
        assert_refused(ctc(floats("weight", dims, &WEIGHT)), "more than the 2048 MiB");
        let mut graph = ctc(weight());
        graph.input.push(value("more", F32, dims));
        assert_refused(graph, "`more` declares the shape");
    }
    assert_refused(ctc(floats("weight", &[-2, -3], &WEIGHT)), "negative size -2");
    let mut graph = ctc(weight());
    graph.initializer.push(integers("shape", &[1 << 20, 1 << 20]));
    graph.node.push(node("ConstantOfShape", &["shape"], "zeros", vec![]));
    assert_refused(graph, "the output of `ConstantOfShape of zeros`");
}

#[test]
fn tensors_that_hold_other_than_they_declare() {
    assert_refused(ctc(floats("weight", &[2, 4], &WEIGHT)), "declares 32 bytes but holds 24");
    assert_refused(ctc(floats("weight", &[2, 3], &[])), "declares 6 elements but holds 0");
    let mut odd = weight();
    odd.raw_data.pop();
    assert_refused(ctc(odd), "holds 23");
    let mut unknown = weight();
    unknown.data_type = 77;
    assert_refused(ctc(unknown), "ONNX type 77");
}

#[test]
fn graphs_that_do_not_hang_together() {
    let mut graph = ctc(weight());
    graph.initializer.clear();
    assert_refused(graph, "`weight`");
    let mut graph = ctc(weight());
    graph.output.clear();
    assert_refused(graph, "no outputs");
    assert_refused(ctc(floats("weight", &[3, 2], &WEIGHT)), "model.onnx");
}

#[test]
fn graphs_that_run_in_a_circle() {
    let mut graph = ctc(weight());
    graph.node.push(node("Add", &["features", "b"], "a", vec![]));
    graph.node.push(node("Neg", &["a"], "b", vec![]));
    assert_refused(graph, "waits for its own result");
    let mut graph = ctc(weight());
    graph.node[0].input[0] = "log_probs".into();
    assert_refused(graph, "in a circle");
    let mut graph = ctc(weight());
    graph.node.push(node("Identity", &["itself"], "itself", vec![]));
    assert_refused(graph, "`Identity of itself`");
}

#[test]
fn operators_that_only_the_engine_puts_in() {
    let mut graph = ctc(weight());
    graph.node[0].op_type = "linnet.RowsProduct".into();
    assert_refused(graph, "the operator `linnet.RowsProduct`");
}

#[test]
fn external_data_outside_the_package() {
    let bytes: Vec<u8> = WEIGHT.iter().flat_map(|v| v.to_le_bytes()).collect();
    let outer = tempfile::tempdir().expect("temporary directory");
    let dir = outer.path().join("package");
    std::fs::create_dir_all(dir.join("sub")).expect("creates");
    let secret = outer.path().join("secret.bin");
    std::fs::write(&secret, &bytes).expect("writes");
    std::os::unix::fs::symlink(&secret, dir.join("link.bin")).expect("links");
    std::os::unix::fs::symlink(outer.path(), dir.join("up")).expect("links");
    let absolute = secret.to_str().expect("UTF-8");
    for location in ["../secret.bin", absolute, "sub/../../secret.bin", "link.bin", "up/secret.bin", ".", ""] {
        let weight = external("weight", &[2, 3], &[("location", location), ("length", "24")]);
        std::fs::write(onnx(&dir), model(17, ctc(weight)).encode_to_vec()).expect("writes");
        let error = refusal(&dir);
        assert!(error.contains("tensor `weight`") && error.contains("external data") || location == ".", "{error}");
        assert!(error.contains("outside its package") || location == ".", "{location}: {error}");
    }
}

#[test]
fn external_data_that_is_missing_short_or_badly_described() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("weights.bin"), [0; 24]).expect("writes");
    for (entries, reason) in [
        (&[("location", "gone.bin")][..], "cannot be read"),
        (&[("offset", "0")], "does not say where"),
        (&[("location", "weights.bin"), ("offset", "8"), ("length", "24")], "only 24"),
        (&[("location", "weights.bin"), ("offset", "8")], "declares 24 bytes but holds 16"),
        (&[("location", "weights.bin"), ("offset", "18446744073709551615"), ("length", "24")], "only 24"),
        (&[("location", "weights.bin"), ("length", "many")], "not a number"),
        (&[("location", "weights.bin"), ("length", "-24")], "not a number"),
        (&[("location", "weights.bin"), ("length", "23")], "holds 23"),
    ] {
        let graph = ctc(external("weight", &[2, 3], entries));
        std::fs::write(onnx(dir.path()), model(17, graph).encode_to_vec()).expect("writes");
        let error = refusal(dir.path());
        assert!(error.contains(reason), "{entries:?}: {error}");
    }
}

#[test]
fn files_that_are_cut_off_anywhere() {
    let whole = model(17, ctc(weight())).encode_to_vec();
    for length in 0..whole.len() {
        refusal(package_of(&whole[..length]).path());
    }
    load(package_of(&whole).path()).expect("the whole file loads");
}

#[test]
fn files_that_are_no_graphs() {
    let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [&b"To be, or not to be"[..], &[0; 100], &[0xff; 100], &noise] {
        refusal(package_of(bytes).path());
    }
}

#[test]
fn files_that_are_not_there_or_lie_elsewhere() {
    let outer = tempfile::tempdir().expect("temporary directory");
    let dir = outer.path().join("package");
    std::fs::create_dir(&dir).expect("creates");
    std::fs::write(outer.path().join("other.onnx"), model(17, ctc(weight())).encode_to_vec()).expect("writes");
    let load = |path: &str| TractEngine::default().load_model(&dir, std::path::Path::new(path));
    assert!(matches!(load("model.onnx"), Err(EngineError::Read { path, .. }) if path.ends_with("package/model.onnx")));
    for path in ["../other.onnx", "link.onnx"] {
        let _ = std::os::unix::fs::symlink("../other.onnx", dir.join("link.onnx"));
        let error = load(path).expect_err("outside").to_string();
        assert!(error.contains("outside its package"), "{path}: {error}");
    }
    std::fs::create_dir(dir.join("model.onnx")).expect("creates");
    assert!(load("model.onnx").expect_err("a directory").to_string().contains("not a regular file"));
}
