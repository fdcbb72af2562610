use linnet_proto::text::{RawData, RawTensor};

use super::*;

fn tensor(shape: &[usize], dtype: &str, data: RawData) -> RawTensor {
    RawTensor { shape: shape.to_vec(), dtype: dtype.to_owned(), data }
}

fn refusal(tensor: &RawTensor, wanted: Datum) -> String {
    tensors::read("x", tensor, wanted).expect_err("it must be refused").message
}

#[test]
fn numbers_and_base64_say_the_same() {
    let numbers = tensor(&[2, 2], "float32", RawData::Numbers(vec![0.5, -1.0, 2.0, 0.0]));
    let base64 = tensor(&[2, 2], "float32", RawData::Base64("AAAAPwAAgL8AAABAAAAAAA==".into()));
    let wanted = Tensor::f32([2, 2], vec![0.5, -1.0, 2.0, 0.0]);
    assert_eq!(tensors::read("x", &numbers, Datum::F32).expect("reads"), wanted);
    assert_eq!(tensors::read("x", &base64, Datum::F32).expect("reads"), wanted);
    assert_eq!(tensors::write(wanted), numbers);
}

#[test]
fn what_json_cannot_say_comes_as_base64() {
    let written = tensors::write(Tensor::f32([1], vec![f32::NAN]));
    assert!(matches!(written.data, RawData::Base64(_)));
    assert!(tensors::read("x", &written, Datum::F32).is_ok());
}

#[test]
fn a_tensor_that_lies_is_refused_by_its_name() {
    let numbers = |v: &[f64]| RawData::Numbers(v.to_vec());
    for (tensor, wanted, says) in [
        (tensor(&[3], "float32", numbers(&[1.0])), Datum::F32, "3 elements"),
        (tensor(&[usize::MAX, 2], "float32", numbers(&[1.0])), Datum::F32, "more than"),
        (tensor(&[1], "float64", numbers(&[1.0])), Datum::F32, "must be one of"),
        (tensor(&[1], "int64", numbers(&[1.0])), Datum::F32, "takes float32"),
        (tensor(&[1], "int64", numbers(&[1.5])), Datum::I64, "no whole number"),
        (tensor(&[1], "uint8", numbers(&[256.0])), Datum::U8, "no whole number"),
        (tensor(&[1], "int64", numbers(&[f64::NAN])), Datum::I64, "no whole number"),
        (tensor(&[1], "float32", RawData::Base64("AAA=".into())), Datum::F32, "no whole elements"),
        (tensor(&[1], "float32", RawData::Base64("*".into())), Datum::F32, "no base64"),
    ] {
        let message = refusal(&tensor, wanted);
        assert!(message.starts_with("inputs.x: ") && message.contains(says), "{message}");
    }
}

#[test]
fn a_canary_of_outputs_notices_a_change_and_passes_over_noise() {
    let seen = BTreeMap::from([("g/y".to_owned(), 2.0)]);
    let Canary::Outputs(canary) = outputs_canary(Vec::new(), seen.clone()).expect("finite") else { unreachable!() };
    assert_eq!(prove_outputs(&canary, &seen), Ok(()));
    assert_eq!(prove_outputs(&canary, &BTreeMap::from([("g/y".to_owned(), 2.001)])), Ok(()));
    assert!(prove_outputs(&canary, &BTreeMap::from([("g/y".to_owned(), 2.1)])).is_err());
    assert!(prove_outputs(&canary, &BTreeMap::from([("g/y".to_owned(), f64::NAN)])).is_err());
    assert!(prove_outputs(&canary, &BTreeMap::new()).expect_err("gone").contains("g/y"));
    assert!(outputs_canary(Vec::new(), BTreeMap::from([("g/y".to_owned(), f64::NAN)])).is_err());
}
