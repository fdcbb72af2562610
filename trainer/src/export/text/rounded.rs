//! Weights as the package holds them: rounded to bytes, for judging what that costs.

use crate::export::quantize::per_channel;
use crate::model::Weights;

/// Rounds matrices as the graphs store them: one scale for each output, and for the table of tokens (named `table`) one for each
/// token.
pub fn rounded(weights: &Weights, table: &str) -> Weights {
    let mut made = weights.clone();
    for place in weights.layout.places().iter().filter(|place| place.shape.len() == 2) {
        let values = &weights.flat[place.range.clone()];
        let (rows, columns) = (place.shape[0], place.shape[1]);
        let by_row = place.name == table;
        let channel = |i: usize| if by_row { i / columns } else { i % columns };
        let q = per_channel(values, if by_row { rows } else { columns }, channel);
        let back = q.bytes.iter().enumerate().map(|(i, byte)| f32::from(*byte) * q.scales[channel(i)]);
        made.flat.splice(place.range.clone(), back);
    }
    made
}
