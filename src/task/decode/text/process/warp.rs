//! Warpers: what makes sampling narrower or wider. Each bans all but some tokens, and keeps at least `keep` of them.

use super::super::distribution::{ascending, entropy, log_softmax, maximum, softmax, top};
use super::{History, Process};

/// Divides scores.
#[derive(Debug)]
pub struct Temperature(pub f32);

impl Process for Temperature {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        scores.iter_mut().for_each(|score| *score /= self.0);
    }
}

/// Keeps the `count` highest, and what equals the last of them.
#[derive(Debug)]
pub struct TopK {
    /// How many.
    pub count: usize,
}

impl Process for TopK {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        let lowest = nth_highest(scores, self.count);
        ban_where(scores, |_, score| score < lowest);
    }
}

/// Keeps the likeliest that together reach `mass`.
#[derive(Debug)]
pub struct TopP {
    /// From 0 to 1.
    pub mass: f64,
    /// At least so many stay.
    pub keep: usize,
}

impl Process for TopP {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        let order = ascending(scores);
        let probabilities = softmax(scores);
        let removed_mass = (1.0 - self.mass) as f32;
        let mut sum = 0.0_f64;
        for place in &order[..order.len().saturating_sub(self.keep)] {
            sum += f64::from(probabilities[*place]);
            if sum as f32 > removed_mass {
                break;
            }
            scores[*place] = f32::NEG_INFINITY;
        }
    }
}

/// Keeps what has at least `share` of the likeliest one's probability.
#[derive(Debug)]
pub struct MinP {
    /// From 0 to 1.
    pub share: f64,
    /// At least so many stay.
    pub keep: usize,
}

impl Process for MinP {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        let probabilities = softmax(scores);
        let least = (self.share as f32) * maximum(&probabilities);
        let kept = top(scores, self.keep);
        ban_where(scores, |place, _| probabilities[place] < least && !kept.iter().any(|(other, _)| *other == place));
    }
}

/// Locally typical sampling (Meister and others, 2022): keeps those whose surprise is nearest to the entropy, until they
/// reach `mass`.
#[derive(Debug)]
pub struct Typical {
    /// From 0 to 1.
    pub mass: f64,
    /// At least so many stay.
    pub keep: usize,
}

impl Process for Typical {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        let log_probs = log_softmax(scores);
        let entropy = entropy(&log_probs);
        let distance = |place: usize| (-log_probs[place] - entropy).abs();
        let mut order = ascending(scores);
        order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        let mut sum = 0.0_f64;
        let mut last = 0;
        for place in &order {
            sum += f64::from(log_probs[*place].exp());
            if sum as f32 >= self.mass as f32 {
                break;
            }
            last += 1;
        }
        let Some(threshold) = order.get(last.min(order.len().saturating_sub(1))).map(|place| distance(*place)) else {
            return;
        };
        for place in order.iter().skip(self.keep).filter(|place| distance(**place) > threshold) {
            scores[*place] = f32::NEG_INFINITY;
        }
    }
}

/// Keeps what has at least a probability of `least` (Hewitt and others, 2022).
#[derive(Debug)]
pub struct Epsilon {
    /// From 0 to 1.
    pub least: f64,
    /// At least so many stay.
    pub keep: usize,
}

impl Process for Epsilon {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        ban_unlikely(scores, self.least as f32, self.keep);
    }
}

/// As [`Epsilon`], with a bound that falls as the entropy grows.
#[derive(Debug)]
pub struct Eta {
    /// From 0 to 1.
    pub least: f64,
    /// At least so many stay.
    pub keep: usize,
}

impl Process for Eta {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        let least = self.least as f32;
        let eta = least.min(least.sqrt() * (-entropy(&log_softmax(scores))).exp());
        ban_unlikely(scores, eta, self.keep);
    }
}

fn ban_unlikely(scores: &mut [f32], least: f32, keep: usize) {
    let probabilities = softmax(scores);
    let kept = nth_highest(scores, keep);
    ban_where(scores, |place, score| probabilities[place] < least && score < kept);
}

fn ban_where(scores: &mut [f32], banned: impl Fn(usize, f32) -> bool) {
    for (place, score) in scores.iter_mut().enumerate() {
        if banned(place, *score) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// The `count`th highest score; the lowest when there are fewer.
fn nth_highest(scores: &[f32], count: usize) -> f32 {
    let count = count.clamp(1, scores.len().max(1));
    // A few are found in one pass; many by partial sorting.
    if count <= 64 {
        return top(scores, count).last().map_or(f32::NEG_INFINITY, |(_, score)| *score);
    }
    let mut sorted = scores.to_vec();
    let (_, nth, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    *nth
}
