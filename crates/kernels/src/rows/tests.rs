use half::f16;

use super::*;
use crate::testing::Noise;

/// Sizes at and around the borders of lanes, tiles and chunks.
const COLUMNS: [usize; 9] = [1, 7, 8, 9, 31, 64, 512, 513, 1100];
const COUNTS: [usize; 4] = [1, 3, 4, 9];
const POSITIONS: [usize; 5] = [1, 2, 3, 6, 11];

#[track_caller]
fn check<R: Rows>(rows: &R) {
    for positions in POSITIONS {
        let x = Noise::new(3).floats(positions * rows.columns(), 1.0);
        let mut have = vec![f32::NAN; positions * rows.count()];
        let mut want = have.clone();
        product(&x, rows, &mut have);
        scalar(&x, rows, &mut want);
        let mut plain = vec![f32::NAN; have.len()];
        tiles::<R, false>(&x, rows, &mut plain);
        let most = want.iter().fold(1f32, |most, v| most.max(v.abs()));
        for ((have, plain), want) in have.iter().zip(&plain).zip(&want) {
            assert!((have - want).abs() < 1e-5 * most, "{have} instead of {want}");
            assert!((plain - want).abs() < 1e-5 * most, "{plain} instead of {want}");
        }
    }
}

#[test]
fn floats_of_both_widths() {
    let mut noise = Noise::new(1);
    for columns in COLUMNS {
        for count in COUNTS {
            let weights = noise.floats(count * columns, 1.0);
            check(&Single { weights: &weights, columns });
            let weights: Vec<f16> = weights.into_iter().map(f16::from_f32).collect();
            check(&Half { weights: &weights, columns });
        }
    }
}

#[test]
fn bytes_with_scale_and_zero_by_row_and_for_all() {
    let mut noise = Noise::new(2);
    for columns in COLUMNS {
        for count in COUNTS {
            let weights = noise.bytes(count * columns);
            for per_row in [1, count] {
                let (scales, zeros) = (noise.floats(per_row, 0.1), noise.bytes(per_row));
                for signed in [false, true] {
                    let zeros: Vec<f32> =
                        zeros.iter().map(|z| if signed { f32::from(*z as i8) } else { f32::from(*z) }).collect();
                    check(&Affine { weights: &weights, signed, columns, scales: &scales, zeros: &zeros });
                    check(&Affine { weights: &weights, signed, columns, scales: &scales, zeros: &[] });
                }
            }
        }
    }
}

#[test]
fn a_weight_of_bytes_is_scale_times_its_distance_from_zero() {
    let (scales, zeros) = ([0.5, 2.0], [1.0, -3.0]);
    let rows = Affine { weights: &[0, 1, 255, 128], signed: true, columns: 2, scales: &scales, zeros: &zeros };
    let mut y = [0.0; 4];
    product(&[1.0, 0.0, 0.0, 1.0], &rows, &mut y);
    assert_eq!(y, [-0.5, 2.0 * (-1.0 + 3.0), 0.0, 2.0 * (-128.0 + 3.0)]);
}

#[test]
fn blocks_of_4_and_8_bits_whatever_their_size() {
    let mut noise = Noise::new(4);
    for bits in [4, 8] {
        for block in [16, 32, 64, 128] {
            for columns in [16_usize, 32, 40, 130, 600] {
                for count in COUNTS {
                    let blocks = columns.div_ceil(block);
                    let codes = noise.bytes(count * blocks * block * bits / 8);
                    let scales = noise.floats(count * blocks, 0.1);
                    let halves: Vec<f16> = scales.iter().copied().map(f16::from_f32).collect();
                    let packed = noise.bytes(count * if bits == 4 { blocks.div_ceil(2) } else { blocks });
                    let zeros = noise.floats(count * blocks, 8.0);
                    for zeros in [Zeros::Middle, Zeros::Codes(&packed), Zeros::Floats(Floats::Single(&zeros))] {
                        for scales in [Floats::Single(&scales), Floats::Half(&halves)] {
                            check(&Blocks { codes: &codes, bits, block, count, columns, scales, zeros });
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_weight_of_a_block_is_scale_times_its_distance_from_zero() {
    // Two rows of three blocks of two: codes 0 to 15, low half first; zeros of a row begin at a byte.
    let codes = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba];
    let scales = [1.0, 10.0, 100.0, 1.0, 10.0, 100.0];
    let zeros = [0x21, 0x03, 0x54, 0x06];
    let rows = Blocks {
        codes: &codes,
        bits: 4,
        block: 2,
        count: 2,
        columns: 6,
        scales: Floats::Single(&scales),
        zeros: Zeros::Codes(&zeros),
    };
    let mut weights = [0.0; 12];
    rows.read(0, 0, &mut weights[..6]);
    rows.read(1, 0, &mut weights[6..]);
    assert_eq!(weights, [-1.0, 0.0, 0.0, 10.0, 100.0, 200.0, 2.0, 3.0, 30.0, 40.0, 400.0, 500.0]);
    // From an odd column on.
    let mut part = [0.0; 4];
    rows.read(1, 1, &mut part);
    assert_eq!(part, [3.0, 30.0, 40.0, 400.0]);
}
