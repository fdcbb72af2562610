use super::*;
use crate::testing::Noise;

#[track_caller]
fn check(rule: Rule, sizes: Sizes, mask: Option<[usize; 4]>) {
    let Sizes { batch, heads, groups, positions, length, width, depth } = sizes;
    let mut noise = Noise::new(7);
    let queries = noise.floats(batch * heads * positions * width, 1.0);
    let keys = noise.floats(batch * groups * length * width, 1.0);
    let values = noise.floats(batch * groups * length * depth, 1.0);
    let mask_values = mask.map(|shape| noise.floats(shape.iter().product(), 3.0));
    let mask = mask.zip(mask_values.as_ref()).map(|(shape, values)| Mask { values, shape });
    let mut have = vec![f32::NAN; batch * heads * positions * depth];
    let mut want = have.clone();
    attend(&rule, sizes, &queries, &keys, &values, mask, &mut have);
    scalar(&rule, sizes, &queries, &keys, &values, mask, &mut want);
    for (have, want) in have.iter().zip(&want) {
        assert!((have - want).abs() < 1e-5, "{have} instead of {want}: {rule:?} {sizes:?}");
    }
}

const RULE: Rule = Rule { scale: 0.3, causal: true, window: None, cap: None };

#[test]
fn it_is_as_defined_at_all_lengths_and_groups() {
    for (heads, groups) in [(1, 1), (4, 4), (4, 2), (6, 1)] {
        for (positions, length) in [(1, 1), (1, 9), (2, 7), (5, 5), (17, 33), (40, 40)] {
            for (width, depth) in [(1, 1), (8, 8), (19, 5), (64, 64)] {
                let sizes = Sizes { batch: 2, heads, groups, positions, length, width, depth };
                for causal in [false, true] {
                    check(Rule { causal, ..RULE }, sizes, None);
                }
            }
        }
    }
}

#[test]
fn windows_caps_and_masks_count() {
    let sizes = Sizes { batch: 2, heads: 4, groups: 2, positions: 6, length: 21, width: 16, depth: 16 };
    for window in [1, 2, 5, 21, 100] {
        check(Rule { window: Some(window), ..RULE }, sizes, None);
    }
    check(Rule { cap: Some(2.0), ..RULE }, sizes, None);
    for shape in [[1, 1, 1, 1], [1, 1, 1, 21], [2, 1, 6, 21], [1, 4, 6, 21], [2, 4, 6, 21], [2, 4, 1, 21]] {
        check(RULE, sizes, Some(shape));
        check(Rule { causal: false, window: None, ..RULE }, sizes, Some(shape));
    }
}

#[test]
fn a_query_that_sees_nothing_gets_zeros() {
    let sizes = Sizes { batch: 1, heads: 1, groups: 1, positions: 1, length: 3, width: 2, depth: 2 };
    let mask = Mask { values: &[f32::NEG_INFINITY; 3], shape: [1, 1, 1, 3] };
    let mut out = [f32::NAN; 2];
    attend(&RULE, sizes, &[1.0; 2], &[1.0; 6], &[1.0; 6], Some(mask), &mut out);
    assert_eq!(out, [0.0; 2]);
}
