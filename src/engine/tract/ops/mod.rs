//! ONNX operators that tract lacks or takes too narrowly, as expansions into tract's own. Each says why it is here;
//! `docs/upstream.md` lists what was offered to tract.

mod flatten;

use tract_onnx::Onnx;

/// tract's reader of ONNX with the operators of this engine.
pub(super) fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register.insert("Flatten", flatten::flatten);
    onnx
}
