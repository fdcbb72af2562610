//! What an operator keeps from run to run.
//!
//! tract 0.23.9's recurrent operators (`LSTM`, `GRU`, `RNN`, `Scan`) go on in the next run of a session where they ended in the last one, initial
//! state or not, as suits a stream that one caller feeds. ONNX's begin anew in each run (<https://onnx.ai/onnx/operators/onnx__LSTM.html>), and
//! here the next run is another's.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_hir::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_hir::tract_core::ops::scan::Scan;

/// Has every recurrent operator begin anew in each run, those within others, too.
pub(super) fn forget_between_runs(model: &mut TypedModel) {
    for node in &mut model.nodes {
        if let Some(scan) = node.op_as_mut::<Scan>() {
            scan.reset_every_turn = true;
            forget_between_runs(&mut scan.body);
        } else if let Some(gru) = node.op_as_mut::<GruSeq>() {
            gru.reset_every_turn = true;
        } else if let Some(choice) = node.op_as_mut::<IfThenElse>() {
            forget_between_runs(&mut choice.then_body);
            forget_between_runs(&mut choice.else_body);
        }
    }
}
