use super::*;
use crate::testing::Noise;

/// Sizes at and around the borders of registers, tiles and chunks.
const COLUMNS: [usize; 10] = [1, 7, 15, 16, 17, 63, 64, 65, 512, 700];
const COUNTS: [usize; 4] = [1, 3, 4, 9];
const POSITIONS: [usize; 5] = [1, 2, 3, 4, 11];

/// The zeros that bytes of a kind can have.
fn zeros(noise: &mut Noise, count: usize, signed: bool) -> Vec<i32> {
    let bytes = noise.bytes(count);
    bytes.iter().map(|byte| if signed { i32::from(*byte as i8) } else { i32::from(*byte) }).collect()
}

#[test]
fn every_way_to_multiply_gives_what_one_element_after_the_other_does() {
    let mut noise = Noise::new(1);
    for (columns, count, positions) in COLUMNS
        .into_iter()
        .flat_map(|columns| COUNTS.map(|count| (columns, count)))
        .flat_map(|(columns, count)| POSITIONS.map(|positions| (columns, count, positions)))
    {
        let (x, weights) = (noise.bytes(positions * columns), noise.bytes(count * columns));
        for (x_signed, signed, per_row) in
            [(false, true, 1), (false, false, count), (true, true, count), (true, false, 1)]
        {
            let (x, rows) = (Bytes { bytes: &x, signed: x_signed }, Bytes { bytes: &weights, signed });
            let (x_zero, zeros) = (zeros(&mut noise, 1, x_signed)[0], zeros(&mut noise, per_row, signed));
            let mut want = vec![0; positions * count];
            scalar(x, x_zero, rows, &zeros, columns, &mut want);
            for way in [product, halves::product, halves::plain] {
                let mut have = vec![i32::MAX; want.len()];
                way(x, x_zero, rows, &zeros, columns, &mut have);
                assert_eq!(have, want, "{columns} columns, {count} rows, {positions} positions");
            }
        }
    }
}

#[test]
fn the_largest_bytes_do_not_saturate() {
    let (x, weights) = ([255u8; 640], [0x80u8; 640]);
    let rows = Bytes { bytes: &weights, signed: true };
    let x = Bytes { bytes: &x, signed: false };
    for way in [product, halves::product, halves::plain] {
        let mut y = [0];
        way(x, 0, rows, &[127], 640, &mut y);
        assert_eq!(y, [-640 * 255 * 255]);
    }
}

#[test]
fn a_product_is_that_of_distances_from_the_zeros() {
    let x = Bytes { bytes: &[10, 11, 8, 10], signed: false };
    let rows = Bytes { bytes: &[1, 2, 255, 3, 0, 4], signed: true };
    let mut y = [0; 6];
    product(x, 10, rows, &[1, -1, 0], 2, &mut y);
    assert_eq!(y, [1, 4, 4, 0, 0, 0]);
}
