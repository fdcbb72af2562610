//! Loops that the compiler turns into vector instructions of the CPU that it runs on.

/// Runs `work` compiled for the widest vectors that this CPU has. What it calls must be `#[inline(always)]`.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    macerator::AutoArch::new().dispatch(work)
}

/// Independent sums that a reduction keeps, so that it needs no reordering of one sum: fixed, so that results do not depend on the CPU.
const LANES: usize = 16;

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ aᵢ·bᵢ.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a * b;
    }
    total(lanes)
}

/// Σ aᵢ.
#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    for (lane, a) in lanes.iter_mut().zip(rest) {
        *lane += a;
    }
    total(lanes)
}

/// The largest aᵢ.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
        }
    }
    for (lane, a) in lanes.iter_mut().zip(rest) {
        *lane = if *a > *lane { *a } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// `to += factor · a`.
#[inline(always)]
pub fn add_scaled(to: &mut [f32], factor: f32, a: &[f32]) {
    for (to, a) in to.iter_mut().zip(a) {
        *to += factor * a;
    }
}

/// `to += a`.
#[inline(always)]
pub fn add(to: &mut [f32], a: &[f32]) {
    for (to, a) in to.iter_mut().zip(a) {
        *to += a;
    }
}

/// `to += a · b`, element by element.
#[inline(always)]
pub fn add_product(to: &mut [f32], a: &[f32], b: &[f32]) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to += a * b;
    }
}

/// eˣ to 2 units in the last place, without a branch. Below −87 the result is e⁻⁸⁷, above 88 it is e⁸⁸; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // x = n·ln 2 + r with |r| ≤ ½·ln 2: adding and taking away 1.5·2²³ rounds to an integer, whose bits are then the sum's low ones.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    // Cephes' minimax polynomial of (eʳ − 1 − r) / r².
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let fraction = (p * r * r + r) + 1.0;
    let exponent = shifted.to_bits().wrapping_add(127).wrapping_shl(23);
    fraction * f32::from_bits(exponent)
}

/// ln x of a positive normal number, to 2 units in the last place, without a branch.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // x = 2ᵉ·(1 + f) with 1 + f between √½ and √2.
    let bits = x.to_bits();
    let high = (bits & 0x007f_ffff) > 0x0035_04f3;
    let exponent = (bits >> 23) as i32 as f32 - if high { 126.0 } else { 127.0 };
    let fraction = f32::from_bits((bits & 0x007f_ffff) | if high { 0x3f00_0000 } else { 0x3f80_0000 });
    let f = fraction - 1.0;
    // Cephes' minimax polynomial.
    let p = 7.037_683_6e-2;
    let p = p * f - 1.151_461e-1;
    let p = p * f + 1.167_699_9e-1;
    let p = p * f - 1.242_014_1e-1;
    let p = p * f + 1.424_932_3e-1;
    let p = p * f - 1.666_805_7e-1;
    let p = p * f + 2.000_071_5e-1;
    let p = p * f - 2.499_999_4e-1;
    let p = p * f + 3.333_333e-1;
    let square = f * f;
    let y = f * square * p - exponent * 2.121_944_4e-4 - 0.5 * square;
    f + y + exponent * 0.693_359_4
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_a_few_units_in_the_last_place() {
        for i in -86_999..88_000 {
            let x = i as f32 * 1e-3;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 3e-7, "exp({x}) is off by {error:e}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn the_logarithm_is_exact_to_a_few_units_in_the_last_place() {
        for i in 1..40_000 {
            let x = i as f32 * 1e-3;
            let want = f64::from(x).ln();
            let error = (f64::from(ln(x)) - want).abs();
            assert!(error < 2e-7 * (1.0 + want.abs()), "ln({x}) is off by {error:e}");
        }
    }

    #[test]
    fn reductions_take_every_element_of_any_length() {
        for len in 0..50 {
            let a: Vec<f32> = (0..len).map(|i| i as f32 - 7.0).collect();
            let expected: f32 = a.iter().sum();
            assert_eq!(sum(&a), expected);
            assert_eq!(dot(&a, &vec![2.0; len]), 2.0 * expected);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
