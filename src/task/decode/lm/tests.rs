use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const UNKNOWN_WORDS: u32 = 1000;

fn counts(order: usize, sentences: &[Vec<&str>], vocabulary: &[&str]) -> Counts {
    let mut counts = Counts::new(order, vocabulary).expect("a small vocabulary");
    for sentence in sentences {
        counts.add_sentence(sentence.iter().copied());
    }
    counts
}

fn lines(text: &'static str) -> Vec<Vec<&'static str>> {
    text.lines().map(|l| l.split_whitespace().collect()).collect()
}

const TEXT: &str = "turn on the light\nturn off the light\nturn on the radio\nwhat time is it\nwhat is the time
is the light on\nplay the radio\nturn it off\nplay it\nwhat is on the radio\nset the time";

const WORDS: [&str; 12] = ["turn", "on", "off", "the", "light", "radio", "what", "time", "is", "it", "play", "never"];

fn small(order: usize) -> NgramLm {
    counts(order, &lines(TEXT), &WORDS).estimate(&Pruning(vec![1]), UNKNOWN_WORDS).expect("counted")
}

/// Sum of the probabilities of everything that may follow `state`.
fn mass(lm: &NgramLm, state: LmState) -> f64 {
    let ids = FIRST_WORD..FIRST_WORD + lm.vocabulary().len() as u16;
    let known: f64 = ids.map(|id| lm.score(state, id).0.exp()).sum();
    known + lm.score_end(state).exp() + f64::from(UNKNOWN_WORDS) * lm.score(state, UNKNOWN).0.exp()
}

#[test]
fn what_was_read_often_is_likelier_than_what_was_not() {
    let lm = small(3);
    let score = |text: &str| lm.score_sentence(text.split(' '));
    assert!(score("turn on the light") > score("turn on the time"));
    assert!(score("turn on the time") > score("the on turn time"));
    assert!(score("turn on the never") > score("turn on the zyzzyva"));
}

#[test]
fn a_bigram_is_what_kneser_and_ney_say() {
    // Two sentences "a b", one "a c": counts a b 2, a c 1, <s> a 3, b </s> 2, c </s> 1; counts of counts
    // n1 = 2, n2 = 2, n3 = 1, n4 = 0: y = 1/3, d1 = 1 - 2y = 1/3, d2 = 2 - 3y/2 = 1.5, d3 = d2.
    // Continuations: a 1, b 1, c 1, </s> 2 of 5; there n1 = 3, n2 = 1: y = 0.6, d1 = 0.6, d2 = y = 0.6;
    // even share: (1 - (3 * 0.4 + 1.4) / 5) / 5 = 0.096.
    let lm = counts(2, &lines("a b\na b\na c"), &["a", "b", "c"])
        .estimate(&Pruning(vec![1]), UNKNOWN_WORDS)
        .expect("counted");
    let unigram_b = 0.4 / 5.0 + 0.096;
    let (used_b, used_c) = (2.0 - 1.5, 1.0 - 1.0 / 3.0);
    let expected = used_b / 3.0 + (1.0 - (used_b + used_c) / 3.0) * unigram_b;
    let state = lm.score(lm.begin(), lm.id("a")).1;
    let found = lm.score(state, lm.id("b")).0.exp();
    assert!((found - expected).abs() < 2e-3, "{found} {expected}");
}

#[test]
fn probabilities_after_any_state_sum_to_almost_one() {
    for order in 1..=MAX_ORDER {
        let lm = small(order);
        let mut state = lm.begin();
        for word in ["turn", "on", "the", "zyzzyva", "it", "is"] {
            let sum = mass(&lm, state);
            assert!(sum <= 1.0 + 1e-9 && sum > 0.98, "order {order} before {word}: {sum}");
            state = lm.score(state, lm.id(word)).1;
        }
    }
}

#[test]
fn a_file_gives_back_the_model() {
    for order in 1..=MAX_ORDER {
        let lm = small(order);
        let bytes = lm.to_bytes();
        assert_eq!(bytes.len(), lm.file_bytes());
        assert_eq!(NgramLm::read(&bytes), Ok(lm));
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = small(3).to_bytes();
    for len in 0..bytes.len() {
        assert!(NgramLm::read(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(NgramLm::read(&longer).expect_err("a byte too many").to_string().contains("1 bytes follow"));
}

#[test]
fn a_foreign_file_is_named_as_such() {
    assert_eq!(NgramLm::read(b"GGUF____"), Err(LmError::Magic(*b"GGUF")));
    let mut newer = small(2).to_bytes();
    newer[4] = 9;
    assert_eq!(NgramLm::read(&newer), Err(LmError::Version(9)));
    assert_eq!(NgramLm::read(&vec![0; MAX_FILE_BYTES + 1]), Err(LmError::TooLarge(MAX_FILE_BYTES + 1)));
}

#[test]
fn a_bound_on_bytes_is_kept_by_pruning() {
    let all = counts(3, &lines(TEXT), &WORDS);
    let whole = all.estimate(&Pruning(vec![1]), UNKNOWN_WORDS).expect("counted").file_bytes();
    let bound = whole * 2 / 3;
    let pruned = all.estimate_within(bound, UNKNOWN_WORDS).expect("fits");
    assert!(pruned.file_bytes() <= bound);
    assert!(mass(&pruned, pruned.begin()) > 0.98);
    let error = all.estimate_within(100, UNKNOWN_WORDS).expect_err("not even the words fit");
    assert!(matches!(error, EstimateError::TooLarge { wanted: 100, .. }));
}

#[test]
fn counts_refuse_what_the_format_cannot_hold() {
    assert_eq!(Counts::new(6, ["a"]).expect_err("order"), EstimateError::Order(6));
    assert_eq!(Counts::new(2, [""]).expect_err("empty word"), EstimateError::Word(0));
    assert_eq!(Counts::new(2, ["x".repeat(256)]).expect_err("long word"), EstimateError::Word(256));
    let many = (0..=MAX_WORDS).map(|i| i.to_string());
    assert_eq!(Counts::new(2, many).expect_err("many words"), EstimateError::Vocabulary(MAX_WORDS + 1));
    let none = Counts::new(2, ["a"]).expect("small").estimate(&Pruning(vec![1]), 1);
    assert_eq!(none.expect_err("no text"), EstimateError::Empty);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_a_model_that_is_a_distribution(
        text in vec(vec(0usize..9, 1..8), 1..40),
        order in 1usize..=4,
        least in 1u32..4,
        history in vec(0usize..9, 0..5),
    ) {
        let words: Vec<String> = (0..8).map(|i| format!("w{i}")).collect();
        let mut counts = Counts::new(order, &words).expect("small");
        for sentence in &text {
            // Word 8 is in no vocabulary.
            counts.add_sentence(sentence.iter().map(|&w| words.get(w).map_or("other", String::as_str)));
        }
        let lm = counts.estimate(&Pruning(vec![1, least]), UNKNOWN_WORDS).expect("counted");
        let mut state = lm.begin();
        for &word in &history {
            state = lm.score(state, words.get(word).map_or(UNKNOWN, |w| lm.id(w))).1;
        }
        let sum = mass(&lm, state);
        prop_assert!(sum <= 1.0 + 1e-9 && sum > 0.97, "{}", sum);
        prop_assert_eq!(NgramLm::read(&lm.to_bytes()), Ok(lm));
    }

    #[test]
    fn any_damage_is_refused_or_harmless(at in 0usize..4000, value in any::<u8>()) {
        let mut bytes = small(3).to_bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(lm) = NgramLm::read(&bytes) {
            prop_assert!(lm.score_sentence(["turn", "on", "the", "light"]).is_finite());
        }
    }
}
