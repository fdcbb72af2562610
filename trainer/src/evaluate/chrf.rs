//! chrF (Popović 2015): the F-score of character n-grams, over a whole corpus, as `sacrebleu` counts it (chrF2, no word
//! n-grams, white space left out).

use std::collections::HashMap;

/// Longest n-gram.
const ORDER: usize = 6;
/// How much more recall weighs than precision.
const BETA: f64 = 2.0;

/// Counts over a corpus.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chrf {
    /// N-grams of the hypotheses, of the references, and in both, for each length.
    counts: [[u64; 3]; ORDER],
}

fn grams(text: &[char], n: usize) -> HashMap<&[char], u64> {
    let mut counts = HashMap::new();
    for gram in text.windows(n) {
        *counts.entry(gram).or_insert(0) += 1;
    }
    counts
}

impl Chrf {
    /// Takes in one sentence.
    pub fn add(&mut self, hypothesis: &str, reference: &str) {
        let chars = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
        let (hypothesis, reference) = (chars(hypothesis), chars(reference));
        for (n, [in_hypothesis, in_reference, in_both]) in (1..).zip(&mut self.counts) {
            let (hypothesis, reference) = (grams(&hypothesis, n), grams(&reference, n));
            // As sacrebleu has it: n-grams that no reference could have are no mistake.
            if !reference.is_empty() {
                *in_hypothesis += hypothesis.values().sum::<u64>();
            }
            *in_reference += reference.values().sum::<u64>();
            *in_both += hypothesis.iter().map(|(gram, n)| reference.get(gram).map_or(0, |m| *n.min(m))).sum::<u64>();
        }
    }

    /// The score, 0 to 100.
    pub fn score(&self) -> f64 {
        let known = self.counts.iter().filter(|[hypothesis, reference, _]| *hypothesis > 0 && *reference > 0);
        let orders = known.clone().count().max(1) as f64;
        let mean = |of: usize| known.clone().map(|counts| counts[2] as f64 / counts[of] as f64).sum::<f64>() / orders;
        let (precision, recall) = (mean(0), mean(1));
        if precision + recall == 0.0 {
            return 0.0;
        }
        100.0 * (1.0 + BETA * BETA) * precision * recall / (BETA * BETA * precision + recall)
    }
}
