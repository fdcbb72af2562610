//! Tensors as JSON carries them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use linnet_proto::text::{RawData, RawTensor};
use linnet_proto::{ErrorCode, WireError};

use crate::engine::{Datum, Tensor, TensorData};

/// Most elements of one tensor.
const MAX_ELEMENTS: usize = 64 << 20;

fn refused(name: &str, message: String) -> WireError {
    WireError::new(ErrorCode::InvalidOption, format!("inputs.{name}: {message}")).with_param(format!("inputs.{name}"))
}

/// Reads an input, of the type that the graph wants.
pub(super) fn read(name: &str, tensor: &RawTensor, wanted: Datum) -> Result<Tensor, WireError> {
    let count = tensor.shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size)).filter(|n| *n <= MAX_ELEMENTS);
    let Some(count) = count else {
        return Err(refused(name, format!("the shape {:?} has more than {MAX_ELEMENTS} elements", tensor.shape)));
    };
    let dtype = dtype_of(&tensor.dtype).ok_or_else(|| {
        let known = "float32, float16, int64, int32, int8, uint8, bool";
        refused(name, format!("dtype is {:?}; it must be one of {known}", tensor.dtype))
    })?;
    if dtype != wanted {
        return Err(refused(name, format!("dtype is {}, but the graph takes {}", tensor.dtype, name_of(wanted))));
    }
    let data = match &tensor.data {
        RawData::Base64(text) => {
            let bytes = STANDARD.decode(text).map_err(|e| refused(name, format!("data is no base64: {e}")))?;
            of_bytes(&bytes, dtype)
                .ok_or_else(|| refused(name, format!("{} bytes are no whole elements", bytes.len())))?
        }
        RawData::Numbers(numbers) => of_numbers(name, numbers, dtype)?,
    };
    let held = len(&data);
    if held != count {
        return Err(refused(name, format!("the shape {:?} has {count} elements, but data has {held}", tensor.shape)));
    }
    Ok(Tensor { shape: tensor.shape.clone(), data })
}

/// Writes an output: numbers where all are finite, else base64, which JSON's numbers cannot be.
pub(super) fn write(tensor: Tensor) -> RawTensor {
    let Tensor { shape, data } = tensor;
    let (dtype, data) = match data {
        TensorData::F32(v) if v.iter().all(|x| x.is_finite()) => {
            ("float32", RawData::Numbers(v.into_iter().map(f64::from).collect()))
        }
        TensorData::F32(v) => {
            ("float32", RawData::Base64(STANDARD.encode(v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())))
        }
        TensorData::F16(v) => ("float16", RawData::Numbers(v.into_iter().map(f16::to_f64).collect())),
        TensorData::I64(v) => ("int64", RawData::Numbers(v.into_iter().map(|x| x as f64).collect())),
        TensorData::I32(v) => ("int32", RawData::Numbers(v.into_iter().map(f64::from).collect())),
        TensorData::I8(v) => ("int8", RawData::Numbers(v.into_iter().map(f64::from).collect())),
        TensorData::U8(v) => ("uint8", RawData::Numbers(v.into_iter().map(f64::from).collect())),
        TensorData::Bool(v) => ("bool", RawData::Numbers(v.into_iter().map(|x| f64::from(u8::from(x))).collect())),
    };
    RawTensor { shape, dtype: dtype.to_owned(), data }
}

fn dtype_of(name: &str) -> Option<Datum> {
    Some(match name {
        "float32" => Datum::F32,
        "float16" => Datum::F16,
        "int64" => Datum::I64,
        "int32" => Datum::I32,
        "int8" => Datum::I8,
        "uint8" => Datum::U8,
        "bool" => Datum::Bool,
        _ => return None,
    })
}

fn name_of(datum: Datum) -> &'static str {
    match datum {
        Datum::F32 => "float32",
        Datum::F16 => "float16",
        Datum::I64 => "int64",
        Datum::I32 => "int32",
        Datum::I8 => "int8",
        Datum::U8 => "uint8",
        Datum::Bool => "bool",
        Datum::Other => "a type that cannot be sent",
    }
}

fn of_bytes(bytes: &[u8], dtype: Datum) -> Option<TensorData> {
    fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
        let (words, rest) = bytes.as_chunks::<N>();
        rest.is_empty().then(|| words.iter().map(|word| read(*word)).collect())
    }
    Some(match dtype {
        Datum::F32 => TensorData::F32(words(bytes, f32::from_le_bytes)?),
        Datum::F16 => TensorData::F16(words(bytes, f16::from_le_bytes)?),
        Datum::I64 => TensorData::I64(words(bytes, i64::from_le_bytes)?),
        Datum::I32 => TensorData::I32(words(bytes, i32::from_le_bytes)?),
        Datum::I8 => TensorData::I8(words(bytes, i8::from_le_bytes)?),
        Datum::U8 => TensorData::U8(bytes.to_vec()),
        Datum::Bool => TensorData::Bool(bytes.iter().map(|b| *b != 0).collect()),
        Datum::Other => return None,
    })
}

fn of_numbers(name: &str, numbers: &[f64], dtype: Datum) -> Result<TensorData, WireError> {
    let whole = |low: f64, high: f64| match numbers.iter().find(|x| x.fract() != 0.0 || !(low..=high).contains(*x)) {
        Some(x) => Err(refused(name, format!("data holds {x}, which is no whole number from {low} to {high}"))),
        None => Ok(()),
    };
    // Beyond 2⁵³ a JSON number is not exact any more; base64 is.
    let exact = 9_007_199_254_740_992.0;
    Ok(match dtype {
        Datum::F32 => TensorData::F32(numbers.iter().map(|x| *x as f32).collect()),
        Datum::F16 => TensorData::F16(numbers.iter().map(|x| f16::from_f64(*x)).collect()),
        Datum::I64 => {
            whole(-exact, exact)?;
            TensorData::I64(numbers.iter().map(|x| *x as i64).collect())
        }
        Datum::I32 => {
            whole(f64::from(i32::MIN), f64::from(i32::MAX))?;
            TensorData::I32(numbers.iter().map(|x| *x as i32).collect())
        }
        Datum::I8 => {
            whole(-128.0, 127.0)?;
            TensorData::I8(numbers.iter().map(|x| *x as i8).collect())
        }
        Datum::U8 => {
            whole(0.0, 255.0)?;
            TensorData::U8(numbers.iter().map(|x| *x as u8).collect())
        }
        Datum::Bool => {
            whole(0.0, 1.0)?;
            TensorData::Bool(numbers.iter().map(|x| *x != 0.0).collect())
        }
        Datum::Other => return Err(refused(name, "the graph takes a type that cannot be sent".into())),
    })
}

fn len(data: &TensorData) -> usize {
    match data {
        TensorData::F32(v) => v.len(),
        TensorData::F16(v) => v.len(),
        TensorData::I64(v) => v.len(),
        TensorData::I32(v) => v.len(),
        TensorData::I8(v) => v.len(),
        TensorData::U8(v) => v.len(),
        TensorData::Bool(v) => v.len(),
    }
}
