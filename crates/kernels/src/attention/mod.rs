//! Attention over keys and values of any length, and the rotation of positions that goes before it.
//!
//! Scores of a few queries at a time are computed, capped, masked and made probabilities in one buffer, so that the memory it
//! takes grows with the keys and not with their square. Heads that share keys (grouped queries) read them once.

mod exp;
mod operator;
mod rotate;

pub use operator::Attend;
pub use rotate::Rotate;

use crate::rows::{Single, tiles};

/// Queries whose scores are held at once.
const QUERIES: usize = 16;

/// What is asked, apart from the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// By what scores are multiplied.
    pub scale: f32,
    /// Whether a query sees only keys up to its own position; the last query stands at the last key.
    pub causal: bool,
    /// How many keys up to its own position a query sees; all when none.
    pub window: Option<usize>,
    /// `cap · tanh(score / cap)` in place of the score.
    pub cap: Option<f32>,
}

/// Sizes of one attention: `queries [batch, heads, positions, width]`, `keys [batch, groups, length, width]`, `values [batch,
/// groups, length, depth]`, all row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Heads of queries, a multiple of `groups`.
    pub heads: usize,
    /// Heads of keys and values.
    pub groups: usize,
    /// Queries of each.
    pub positions: usize,
    /// Keys of each.
    pub length: usize,
    /// Width of a query and a key.
    pub width: usize,
    /// Width of a value.
    pub depth: usize,
}

/// A mask that is added to scores: `[batch, heads, positions, length]`, where a size may be 1 and then counts for all.
#[derive(Debug, Clone, Copy)]
pub struct Mask<'a> {
    /// Row-major.
    pub values: &'a [f32],
    /// Its sizes.
    pub shape: [usize; 4],
}

impl<'a> Mask<'a> {
    /// What is added to the scores of one query; of one element where it counts for all keys.
    fn row(self, batch: usize, head: usize, position: usize) -> &'a [f32] {
        let [b, h, p, length] = self.shape;
        let pick = |size: usize, at: usize| if size == 1 { 0 } else { at };
        let at = ((pick(b, batch) * h + pick(h, head)) * p + pick(p, position)) * length;
        &self.values[at..at + length]
    }
}

/// Writes the attention to `out`, `[batch, heads, positions, depth]`. A query that sees no key gets zeros.
///
/// # Panics
/// Where a slice is not of its size.
pub fn attend(
    rule: &Rule,
    sizes: Sizes,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    mask: Option<Mask<'_>>,
    out: &mut [f32],
) {
    let Sizes { batch, heads, groups, positions, length, width, depth } = sizes;
    assert!(groups > 0 && heads.is_multiple_of(groups), "{heads} heads of queries for {groups} of keys");
    assert_eq!(queries.len(), batch * heads * positions * width);
    assert_eq!(keys.len(), batch * groups * length * width);
    assert_eq!(values.len(), batch * groups * length * depth);
    assert_eq!(out.len(), batch * heads * positions * depth);
    let all = All { rule, sizes, queries, keys, values, mask };
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: the machine has both.
        unsafe { attend_avx2(&all, out) };
        return;
    }
    run::<{ cfg!(target_arch = "aarch64") }>(&all, out);
}

struct All<'a> {
    rule: &'a Rule,
    sizes: Sizes,
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    mask: Option<Mask<'a>>,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn attend_avx2(all: &All<'_>, out: &mut [f32]) {
    run::<true>(all, out);
}

#[inline(always)]
fn run<const FUSED: bool>(all: &All<'_>, out: &mut [f32]) {
    let Sizes { batch, heads, groups, positions, length, width, depth } = all.sizes;
    let sharing = heads / groups;
    let mut scores = vec![0f32; QUERIES * length];
    for b in 0..batch {
        for g in 0..groups {
            let keys = &all.keys[(b * groups + g) * length * width..][..length * width];
            let values = &all.values[(b * groups + g) * length * depth..][..length * depth];
            // The heads that share these keys stand one behind the other: so many queries, head by head.
            let first = (b * heads + g * sharing) * positions;
            for start in (0..sharing * positions).step_by(QUERIES) {
                let count = QUERIES.min(sharing * positions - start);
                let queries = &all.queries[(first + start) * width..][..count * width];
                let scores = &mut scores[..count * length];
                if width > 0 && length > 0 {
                    tiles::<_, FUSED>(queries, &Single { weights: keys, columns: width }, scores);
                }
                for (i, scores) in scores.chunks_exact_mut(length.max(1)).enumerate() {
                    let (head, position) = (g * sharing + (start + i) / positions, (start + i) % positions);
                    let seen = all.seen(position);
                    let mask = all.mask.map(|mask| mask.row(b, head, position));
                    let total = probabilities(all.rule, &mut scores[seen.clone()], mask, seen.start);
                    let out = &mut out[(first + start + i) * depth..][..depth];
                    mix::<FUSED>(&scores[seen.clone()], &values[seen.start * depth..seen.end * depth], total, out);
                }
            }
        }
    }
}

impl All<'_> {
    /// The keys that a query sees.
    fn seen(&self, position: usize) -> std::ops::Range<usize> {
        let Sizes { positions, length, .. } = self.sizes;
        if !self.rule.causal {
            return 0..length;
        }
        let end = (length + position + 1).saturating_sub(positions).min(length);
        end.saturating_sub(self.rule.window.unwrap_or(end))..end
    }
}

/// Makes scores of keys from `start` on probabilities that are not yet divided by their sum, which is given.
#[inline(always)]
fn probabilities(rule: &Rule, scores: &mut [f32], mask: Option<&[f32]>, start: usize) -> f32 {
    match rule.cap {
        Some(cap) => scores.iter_mut().for_each(|score| *score = cap * (*score * rule.scale / cap).tanh()),
        None => scores.iter_mut().for_each(|score| *score *= rule.scale),
    }
    match mask {
        Some([one]) => scores.iter_mut().for_each(|score| *score += one),
        Some(mask) => scores.iter_mut().zip(&mask[start..]).for_each(|(score, mask)| *score += mask),
        None => {}
    }
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY {
        scores.fill(0.0);
        return 0.0;
    }
    exp::exp_all(scores, most);
    scores.iter().sum()
}

/// The values weighed by probabilities.
#[inline(always)]
fn mix<const FUSED: bool>(probabilities: &[f32], values: &[f32], total: f32, out: &mut [f32]) {
    out.fill(0.0);
    if total == 0.0 || out.is_empty() {
        return;
    }
    for (p, value) in probabilities.iter().zip(values.chunks_exact(out.len())) {
        for (out, value) in out.iter_mut().zip(value) {
            *out = if FUSED { p.mul_add(*value, *out) } else { p * value + *out };
        }
    }
    out.iter_mut().for_each(|out| *out /= total);
}

/// [`attend`] as it is defined, in double precision.
pub fn scalar(
    rule: &Rule,
    sizes: Sizes,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    mask: Option<Mask<'_>>,
    out: &mut [f32],
) {
    let Sizes { batch, heads, groups, positions, length, width, depth } = sizes;
    for (b, h, p) in (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..positions).map(move |p| (b, h, p)))) {
        let at = (b * heads + h) * positions + p;
        let g = b * groups + h / (heads / groups);
        let here = length as i64 - positions as i64 + p as i64;
        let scores: Vec<f64> = (0..length)
            .map(|j| {
                let dot = (0..width)
                    .map(|c| f64::from(queries[at * width + c]) * f64::from(keys[(g * length + j) * width + c]))
                    .sum::<f64>();
                let score = dot * f64::from(rule.scale);
                let score = rule.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                let added = mask.map_or(0.0, |mask| {
                    let row = mask.row(b, h, p);
                    f64::from(row[if row.len() == 1 { 0 } else { j }])
                });
                let behind = here - j as i64;
                let seen = !rule.causal || behind >= 0 && rule.window.is_none_or(|window| behind < window as i64);
                if seen { score + added } else { f64::NEG_INFINITY }
            })
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> =
            scores.iter().map(|s| if most == f64::NEG_INFINITY { 0.0 } else { (s - most).exp() }).collect();
        let total: f64 = weights.iter().sum();
        for c in 0..depth {
            let sum: f64 = (0..length).map(|j| weights[j] * f64::from(values[(g * length + j) * depth + c])).sum();
            out[at * depth + c] = if total == 0.0 { 0.0 } else { (sum / total) as f32 };
        }
    }
}

#[cfg(test)]
mod tests;
