//! The exponential function on vectors.

/// Replaces each `x` by `e^(x − most)`, where no `x` is above `most`. Off by at most 2 units in the last place down to `e^-87`, and 0
/// below.
///
/// The argument is split into a multiple of ln 2 and a rest, whose exponential a polynomial gives (S. L. Moshier, Cephes,
/// `expf.c`).
#[inline(always)]
pub(super) fn exp_all(values: &mut [f32], most: f32) {
    for value in values {
        *value = exp(*value - most);
    }
}

#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.0;
    /// Adding it rounds to a whole number, for |x| < 2²².
    const ROUND: f32 = 12_582_912.0;
    // Not `max`, which would lose what is no number.
    let clamped = if x < LOWEST { LOWEST } else { x };
    let whole = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let rest = clamped - whole * 0.693_359_4;
    let rest = rest + whole * 2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for term in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + term;
    }
    let sum = sum * rest * rest + rest + 1.0;
    let power = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    if x < LOWEST { 0.0 } else { sum * power }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_exact_to_two_units_in_the_last_place() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let (have, want) = (super::exp(x), f64::from(x).exp() as f32);
            let off = have.to_bits().abs_diff(want.to_bits());
            assert!(off <= 2, "e^{x} is {want:e}, not {have:e}");
        }
        assert_eq!(super::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(super::exp(-200.0), 0.0);
        assert_eq!(super::exp(0.0), 1.0);
        assert!(super::exp(f32::NAN).is_nan());
    }
}
