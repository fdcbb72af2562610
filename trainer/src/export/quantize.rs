//! Weights as bytes: symmetric, one scale for each output channel.

/// A matrix or kernel in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// `round(weight / scale)`, −127 to 127, in the weight's own order.
    pub bytes: Vec<i8>,
    /// One for each output channel.
    pub scales: Vec<f32>,
}

/// Quantizes `weights` of `channels` output channels, where element `i` belongs to channel `channel(i)`. A channel of
/// zeros gets the scale 1. −128 is not used, so that a weight and its negative have the same error.
pub fn per_channel(weights: &[f32], channels: usize, channel: impl Fn(usize) -> usize) -> Quantized {
    let mut greatest = vec![0f32; channels];
    for (i, w) in weights.iter().enumerate() {
        let most = &mut greatest[channel(i)];
        *most = most.max(w.abs());
    }
    let scales: Vec<f32> = greatest.iter().map(|&m| if m > 0.0 { m / 127.0 } else { 1.0 }).collect();
    // `as` saturates, and there is no NaN: a trained holds finite numbers.
    let byte = |(i, w): (usize, &f32)| (w / scales[channel(i)]).round().clamp(-127.0, 127.0) as i8;
    let bytes = weights.iter().enumerate().map(byte).collect();
    Quantized { bytes, scales }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_uses_its_whole_range_and_errs_by_half_a_step() {
        // Two channels side by side (`[in, out]`), one a thousand times the other.
        let weights: Vec<f32> =
            (0..40).map(|i| (i as f32 * 0.7).sin() * if i % 2 == 0 { 1000.0 } else { 1.0 }).collect();
        let q = per_channel(&weights, 2, |i| i % 2);
        for channel in 0..2 {
            let most = q.bytes.iter().skip(channel).step_by(2).map(|b| b.unsigned_abs()).max();
            assert_eq!(most, Some(127));
        }
        for (i, (w, b)) in weights.iter().zip(&q.bytes).enumerate() {
            let scale = q.scales[i % 2];
            assert!((w - f32::from(*b) * scale).abs() <= scale * 0.5001, "{w} became {b} x {scale}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let q = per_channel(&[0.0, 2.0, 0.0, -4.0], 2, |i| i % 2);
        assert_eq!(q, Quantized { bytes: vec![0, 64, 0, -127], scales: vec![1.0, 4.0 / 127.0] });
    }
}
