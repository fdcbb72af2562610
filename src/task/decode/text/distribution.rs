//! Arithmetic on one position's logits, as `transformers` and PyTorch do it: 32-bit scores, sums in 64 bits.

/// Natural logarithm of the softmax. All of it is minus infinity where no score is finite.
pub fn log_softmax(scores: &[f32]) -> Vec<f32> {
    let max = maximum(scores);
    if max == f32::NEG_INFINITY {
        return vec![f32::NEG_INFINITY; scores.len()];
    }
    let sum: f64 = scores.iter().map(|score| f64::from((score - max).exp())).sum();
    let log_sum = sum.ln() as f32;
    scores.iter().map(|score| (score - max) - log_sum).collect()
}

/// Probabilities. All of them are 0 where no score is finite.
pub fn softmax(scores: &[f32]) -> Vec<f32> {
    let max = maximum(scores);
    if max == f32::NEG_INFINITY {
        return vec![0.0; scores.len()];
    }
    let exponentials: Vec<f32> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f64 = exponentials.iter().map(|e| f64::from(*e)).sum();
    exponentials.into_iter().map(|e| (f64::from(e) / sum) as f32).collect()
}

/// Entropy, nats, of a distribution given by the logarithms of its probabilities.
pub fn entropy(log_probs: &[f32]) -> f32 {
    let terms = log_probs.iter().filter(|log_prob| log_prob.is_finite());
    -terms.map(|log_prob| f64::from(*log_prob) * f64::from(log_prob.exp())).sum::<f64>() as f32
}

/// The highest score; minus infinity when there is none.
pub fn maximum(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Where the highest score stands, the first of several; `None` when none is above minus infinity.
pub fn best(scores: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (place, score) in scores.iter().enumerate() {
        if *score > best.map_or(f32::NEG_INFINITY, |at| scores[at]) {
            best = Some(place);
        }
    }
    best
}

/// The `count` highest scores with their places, best first; of equal ones the first comes first. Cheap while `count` is small.
pub fn top(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut kept: Vec<(usize, f32)> = Vec::with_capacity(count + 1);
    for (place, score) in scores.iter().copied().enumerate() {
        let full = kept.len() == count;
        if score.is_nan() || (full && kept.last().is_none_or(|(_, lowest)| score <= *lowest)) {
            continue;
        }
        let at = kept.partition_point(|(_, other)| *other >= score);
        kept.insert(at, (place, score));
        kept.truncate(count);
    }
    kept
}

/// Places of all scores above minus infinity, lowest score first.
pub fn ascending(scores: &[f32]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).filter(|place| scores[*place] > f32::NEG_INFINITY).collect();
    places.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    places
}

/// What a 32-bit option was written as: 0.9 stays 0.9, where a plain conversion would give 0.8999999761581421.
pub fn as_written(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_scores_are_those_that_sorting_gives(
            scores in proptest::collection::vec(-4_i8..4, 1..60), count in 1_usize..70
        ) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut sorted: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
            // Stable: of equal ones the first stays first.
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
            sorted.truncate(count);
            prop_assert_eq!(top(&scores, count), sorted.clone());
            prop_assert_eq!(best(&scores), sorted.first().map(|(place, _)| *place));
        }

        #[test]
        fn probabilities_sum_to_one(scores in proptest::collection::vec(-80.0_f32..80.0, 1..60)) {
            let sum: f32 = softmax(&scores).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
            let sum: f32 = log_softmax(&scores).iter().map(|log_prob| log_prob.exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn nothing_is_likely_where_nothing_is_possible() {
        let none = [f32::NEG_INFINITY; 3];
        assert_eq!(softmax(&none), [0.0; 3]);
        assert_eq!(best(&none), None);
        assert_eq!(log_softmax(&none), none);
    }

    #[test]
    fn entropy_is_highest_where_all_are_alike() {
        assert!((entropy(&log_softmax(&[1.0; 8])) - 8_f32.ln()).abs() < 1e-6);
        assert!(entropy(&log_softmax(&[100.0, 0.0])).abs() < 1e-6);
    }
}
