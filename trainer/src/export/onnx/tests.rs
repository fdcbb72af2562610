use super::*;

fn frames(halvings: u32) -> Dim {
    Dim::Frames { halvings }
}

#[test]
fn matrices_that_do_not_fit_are_refused_with_their_shapes() {
    let mut g = Graph::new("g");
    g.enter("blocks.0.attn");
    let x = g.input::<f32>("x", &[1.into(), Dim::FRAMES, 80.into()]);
    let w = g.constant("w", &[81, 4], &[0f32; 324]).expect("fits");
    let error = g.matmul(&x, &w).expect_err("80 is not 81").to_string();
    assert_eq!(
        error,
        "the graph is wrong at `blocks.0.attn.MatMul`: [1, frames, 80] and [81, 4] differ in the axis that is summed"
    );
}

#[test]
fn halved_twice_is_not_halved_once() {
    let mut g = Graph::new("g");
    let x = g.input::<f32>("x", &[1.into(), 1.into(), Dim::FRAMES, 80.into()]);
    let w = g.constant("w", &[2, 1, 3, 3], &[0f32; 18]).expect("fits");
    let b = g.constant("b", &[2], &[0f32; 2]).expect("fits");
    let time = Axis { kernel: 3, stride: 2, pads: (2, 0) };
    let mel = Axis { kernel: 3, stride: 2, pads: (1, 1) };
    let y = g.conv(&x, &w, &b, &[time, mel], 1).expect("fits");
    assert_eq!(y.shape(), [1.into(), 2.into(), frames(1), 40.into()]);
    let w = g.constant("w2", &[2, 1, 3, 3], &[0f32; 18]).expect("fits");
    let z = g.conv(&y, &w, &b, &[time, mel], 2).expect("fits");
    assert_eq!(z.shape(), [1.into(), 2.into(), frames(2), 20.into()]);
    assert!(g.add(&y, &z).is_err());
    let unpadded = Axis { pads: (0, 0), ..time };
    let error = g.conv(&y, &w, &b, &[unpadded, mel], 2).expect_err("the length would not be known").to_string();
    assert!(error.contains("ceil(frames/2)"), "{error}");
}

#[test]
fn an_open_length_may_stay_or_move_once() {
    let mut g = Graph::new("g");
    let x = g.input::<f32>("x", &[1.into(), Dim::FRAMES, 6.into()]);
    let y = g.reshape(&x, &[Dim::FRAMES, 2.into(), 3.into()]).expect("moves once");
    assert!(g.reshape(&y, &[Dim::FRAMES, 6.into()]).is_ok());
    assert!(g.reshape(&y, &[Dim::FRAMES, 5.into()]).is_err());
    assert!(g.reshape(&y, &[6.into()]).is_err());
    assert!(g.reshape(&y, &[frames(1), 6.into()]).is_err());
}

#[test]
fn parts_and_orders_are_checked() {
    let mut g = Graph::new("g");
    let x = g.input::<f32>("x", &[2.into(), Dim::FRAMES, 6.into()]);
    assert!(g.slice(&x, 2, 3, 7).is_err());
    assert!(g.slice(&x, 1, 0, 1).is_err());
    assert_eq!(g.slice(&x, 2, 3, 6).expect("is there").shape()[2], 3.into());
    assert!(g.transpose(&x, &[0, 1, 1]).is_err());
    assert!(g.constant("c", &[2, 2], &[0i8; 3]).is_err());
    let gain = g.constant("gain", &[5], &[0f32; 5]).expect("fits");
    assert!(g.rms_norm(&x, &gain, 1e-5).is_err());
}

#[test]
fn names_are_given_once() {
    let mut g = Graph::new("g");
    g.constant("w", &[1], &[0f32]).expect("fits");
    assert!(g.constant("w", &[1], &[0f32]).is_err());
    let x = g.input::<f32>("x", &[1.into()]);
    assert!(g.output("y", x).is_err());
    assert!(g.finish().is_err());
}
