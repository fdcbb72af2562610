//! Properties of whole generations, on models that follow a rule.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use linnet_proto::generate::{Choice, DecodeOptions, Delta, FinishReason, Overflow};
use linnet_proto::{ErrorCode, WireError};
use proptest::prelude::*;

use super::alphabet::{Alphabet, END, WORDS};
use super::bounds::PREFILL_CHUNK;
use super::generation::Checkpoint;
use super::*;
use crate::status::metrics::PrefixCounts;
use crate::task::model::fake::FakeLanguageModel;

/// A model with its tokenizer.
struct Bench {
    model: FakeLanguageModel,
    config: GenerationConfig,
    setting: Setting,
}

impl Bench {
    fn new(model: FakeLanguageModel, alphabet: Alphabet) -> Self {
        let config = GenerationConfig { eos_token_id: vec![END], ..GenerationConfig::default() };
        let vocabulary = Arc::new(Vocabulary::new(Box::new(alphabet.clone()), alphabet.size(), &[END]));
        Self { model, config, setting: Setting { vocabulary, prefixes: None, processors: Vec::new() } }
    }

    /// A model that writes random tokens.
    fn random(seed: u32) -> Self {
        let alphabet = Alphabet::new(&["the", " of", "ab", "ba", "ö", "€uro"]);
        Self::new(FakeLanguageModel::hashed(alphabet.size(), seed), alphabet)
    }

    /// A model that writes these ids behind a prompt of `prompt` ids.
    fn scripted(prompt: usize, path: Vec<u32>) -> Self {
        let alphabet = Alphabet::new(&["END", " wor", "ld"]);
        Self::new(FakeLanguageModel::scripted(alphabet.size(), prompt, path), alphabet)
    }

    fn generation(&self, prompt: &[u32], options: &DecodeOptions) -> Result<Generation, WireError> {
        let options = ResolvedOptions::resolve(&self.config, options, self.setting.vocabulary.size())?;
        let prompt = Prompt { ids: prompt.to_vec(), protected: 1, ..Prompt::default() };
        Generation::new(&self.model, self.setting.clone(), prompt, options)
    }

    fn run_with(
        &self,
        prompt: &[u32],
        options: &DecodeOptions,
        ctx: &dyn Checkpoint,
    ) -> Result<(Outcome, Vec<Delta>), WireError> {
        let mut deltas = Vec::new();
        let outcome = self.generation(prompt, options)?.run(&mut self.model.clone(), ctx, &mut |delta| {
            deltas.push(delta);
            Ok(())
        })?;
        Ok((outcome, deltas))
    }

    fn run(&self, prompt: &[u32], options: &DecodeOptions) -> (Outcome, Vec<Delta>) {
        self.run_with(prompt, options, &()).expect("runs")
    }

    fn choice(&self, prompt: &[u32], options: &DecodeOptions) -> Choice {
        self.run(prompt, options).0.choices.remove(0)
    }
}

fn most(max_tokens: u64) -> DecodeOptions {
    DecodeOptions { max_tokens: Some(max_tokens), return_token_ids: true, ..DecodeOptions::default() }
}

fn sampled(seed: u64, max_tokens: u64) -> DecodeOptions {
    DecodeOptions { temperature: Some(1.0), top_k: Some(0), seed: Some(seed), ..most(max_tokens) }
}

const PROMPT: [u32; 3] = [72, 105, 33];

#[test]
fn an_answer_ends_by_the_end_token_which_is_counted_but_not_shown() {
    let bench = Bench::scripted(3, [Alphabet::ids("hello"), vec![END, 65]].concat());
    let choice = bench.choice(&PROMPT, &most(50));
    assert_eq!((choice.text.as_str(), choice.finish_reason), ("hello", FinishReason::Stop));
    assert_eq!(choice.token_ids.expect("asked for"), [Alphabet::ids("hello"), vec![END]].concat());
    let ignoring = bench.choice(&PROMPT, &DecodeOptions { ignore_eos: true, ..most(8) });
    assert_eq!((ignoring.text.as_str(), ignoring.finish_reason), ("helloAA", FinishReason::Length));
    let shown = DecodeOptions { ignore_eos: true, keep_special_tokens: true, ..most(8) };
    assert_eq!(bench.choice(&PROMPT, &shown).text, "hello</s>AA");
}

#[test]
fn an_answer_ends_by_length() {
    let bench = Bench::scripted(3, Alphabet::ids("hello"));
    for length in [1, 2, 5] {
        let (outcome, _) = bench.run(&PROMPT, &most(length));
        assert_eq!(outcome.choices[0].text, "hello"[..length as usize]);
        assert_eq!(outcome.choices[0].finish_reason, FinishReason::Length);
        assert_eq!(outcome.completion_tokens, length);
    }
    let (outcome, deltas) = bench.run(&PROMPT, &most(0));
    assert_eq!((outcome.choices[0].text.as_str(), outcome.completion_tokens), ("", 0));
    assert_eq!(deltas.len(), 1, "its end is told: {deltas:?}");
}

#[test]
fn an_answer_ends_by_a_token_or_a_text_that_the_request_names() {
    let bench = Bench::scripted(3, [Alphabet::ids("say"), vec![WORDS + 1, WORDS + 2], Alphabet::ids("!")].concat());
    let token = DecodeOptions { stop_token_ids: vec![WORDS + 2], ..most(50) };
    assert_eq!(bench.choice(&PROMPT, &token).text, "say wor");
    // Over the border of " wor" and "ld".
    let text = DecodeOptions { stop: vec!["nothing".into(), "rld".into()], ..most(50) };
    let (outcome, deltas) = bench.run(&PROMPT, &text);
    let choice = &outcome.choices[0];
    assert_eq!((choice.text.as_str(), choice.finish_reason), ("say wo", FinishReason::Stop));
    assert_eq!(choice.token_ids.as_ref().expect("asked for").len(), 5, "the tokens that were written are all told");
    let streamed: String = deltas.iter().map(|delta| delta.text.as_str()).collect();
    assert_eq!(streamed, "say wo", "not one byte of the text to stop at is sent");
    let held = DecodeOptions { min_tokens: Some(5), ..text };
    assert_eq!(bench.choice(&PROMPT, &DecodeOptions { max_tokens: Some(6), ..held }).text, "say world!");
}

#[test]
fn the_fewest_tokens_come_before_any_end() {
    let alphabet = Alphabet::new(&[]);
    let likes_to_end = FakeLanguageModel::new(alphabet.size(), |ids| {
        let mut logits = vec![0.0; 258];
        logits[65 + ids.len() % 3] = 1.0;
        logits[END as usize] = 5.0;
        logits[90] = 4.0;
        logits
    });
    let bench = Bench::new(likes_to_end, alphabet);
    let options = DecodeOptions { min_tokens: Some(4), stop_token_ids: vec![90], ..most(10) };
    assert_eq!(bench.choice(&PROMPT, &options).text.len(), 4);
    assert_eq!(bench.choice(&PROMPT, &most(10)).text, "");
}

#[test]
fn text_streams_in_whole_characters_and_adds_up() {
    let written = "grüß €öß";
    let bench = Bench::scripted(3, [Alphabet::ids(written), vec![END]].concat());
    let (outcome, deltas) = bench.run(&PROMPT, &most(50));
    assert_eq!(outcome.choices[0].text, written);
    assert_eq!(deltas.iter().map(|delta| delta.text.as_str()).collect::<String>(), written);
    assert!(deltas.iter().all(|delta| !delta.text.contains('\u{FFFD}')), "{deltas:?}");
    let ids: Vec<u32> = deltas.iter().flat_map(|delta| delta.token_ids.clone()).collect();
    assert_eq!(Some(ids), outcome.choices[0].token_ids);
    assert_eq!(deltas.last().and_then(|delta| delta.finish_reason), Some(FinishReason::Stop));
    assert!(deltas[..deltas.len() - 1].iter().all(|delta| delta.finish_reason.is_none()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is asked for, what streams is what the answer holds, for each choice.
    #[test]
    fn what_streams_is_what_the_answer_holds(
        seed in 0_u32..1000, n in 1_u32..5, temperature in prop::sample::select(vec![0.0_f32, 0.7, 1.5]),
        stop in "[ab]{1,2}", beams in prop::sample::select(vec![1_u32, 1, 4]), logprobs in prop::option::of(0_u32..3)
    ) {
        let bench = Bench::random(seed);
        let options = DecodeOptions {
            temperature: Some(temperature), seed: Some(u64::from(seed)), n: Some(n.min(if beams > 1 { beams } else { n })),
            stop: vec![stop.clone()], num_beams: Some(beams), logprobs, explain: logprobs == Some(1), ..most(12)
        };
        let (outcome, deltas) = bench.run(&PROMPT, &options);
        prop_assert_eq!(outcome.choices.len(), options.n.unwrap_or(1) as usize);
        for choice in &outcome.choices {
            let own = || deltas.iter().filter(|delta| delta.index == choice.index);
            prop_assert_eq!(&own().map(|delta| delta.text.as_str()).collect::<String>(), &choice.text);
            let ids: Vec<u32> = own().flat_map(|delta| delta.token_ids.clone()).collect();
            prop_assert_eq!(Some(&ids), choice.token_ids.as_ref());
            let reported: Vec<u32> = own().flat_map(|delta| &delta.logprobs).map(|token| token.id).collect();
            if logprobs.is_some() {
                prop_assert_eq!(&reported, &ids);
                prop_assert_eq!(choice.logprobs.len(), ids.len());
            }
            prop_assert_eq!(own().filter(|delta| delta.finish_reason.is_some()).count(), 1);
            prop_assert!(!choice.text.contains(&stop), "{:?} holds {:?}", choice.text, stop);
        }
        let written: usize = outcome.choices.iter().map(|c| c.token_ids.as_ref().map_or(0, Vec::len)).sum();
        prop_assert_eq!(outcome.completion_tokens, written as u64);
    }

    #[test]
    fn a_bad_word_is_never_written_however_tokens_cut_it(
        seed in 0_u64..1000, words in prop::collection::vec("[abo]{1,3}", 1..4)
    ) {
        let alphabet = Alphabet::new(&["ab", "ba", "bab", "oa", "aoa", "oo"]);
        let size = alphabet.size();
        // Letters only, so that the words would come often.
        let letters = FakeLanguageModel::new(size, move |ids| {
            let mut logits = FakeLanguageModel::hashed_logits(3, ids, size);
            logits[..256].iter_mut().enumerate().for_each(|(id, logit)| if !b"abo ".contains(&(id as u8)) { *logit = -50.0 });
            logits
        });
        let bench = Bench::new(letters, alphabet);
        let options = DecodeOptions { bad_words: words.clone(), ..sampled(seed, 40) };
        let choice = bench.choice(&PROMPT, &options);
        prop_assert!(words.iter().all(|word| !choice.text.contains(word.as_str())), "{:?}", choice.text);
    }

    /// Taking turns changes nothing: the state is the generation's own.
    #[test]
    fn generations_that_take_turns_write_what_they_write_alone(seeds in prop::collection::vec(0_u64..1000, 2..5)) {
        let bench = Bench::random(5);
        let prompts: Vec<Vec<u32>> = seeds.iter().map(|seed| vec![(seed % 200) as u32; 70 + (*seed % 90) as usize]).collect();
        let options = |seed: u64| DecodeOptions { n: Some(1 + (seed % 3) as u32), ..sampled(seed, 8) };
        let alone: Vec<_> = seeds.iter().zip(&prompts).map(|(s, p)| bench.run(p, &options(*s)).0.choices).collect();
        let mut model = bench.model.clone();
        let mut together: Vec<(Generation, bool)> =
            seeds.iter().zip(&prompts).map(|(s, p)| (bench.generation(p, &options(*s)).expect("begins"), true)).collect();
        while together.iter().any(|(_, more)| *more) {
            for (generation, more) in &mut together {
                *more = *more && generation.step(&mut model, &mut |_| Ok(())).expect("steps");
            }
        }
        let together: Vec<_> = together.into_iter().map(|(generation, _)| generation.finish().choices).collect();
        prop_assert_eq!(together, alone);
    }
}

#[test]
fn the_same_seed_gives_the_same_text_on_any_number_of_threads() {
    let expected = Bench::random(9).run(&PROMPT, &DecodeOptions { n: Some(3), ..sampled(7, 24) }).0.choices;
    assert_ne!(expected[0].text, expected[1].text, "choices are independent");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| Bench::random(9).run(&PROMPT, &DecodeOptions { n: Some(3), ..sampled(7, 24) }).0.choices)
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("runs"), expected);
        }
    });
    // The first of three is the one that would come alone.
    assert_eq!(Bench::random(9).choice(&PROMPT, &sampled(7, 24)), expected[0]);
    assert_ne!(Bench::random(9).choice(&PROMPT, &sampled(8, 24)).text, expected[0].text);
    let unseeded = DecodeOptions { seed: None, ..sampled(0, 24) };
    assert_ne!(Bench::random(9).choice(&PROMPT, &unseeded), Bench::random(9).choice(&PROMPT, &unseeded));
}

#[test]
fn without_a_temperature_the_models_own_choice_counts() {
    let mut bench = Bench::random(4);
    let greedy = bench.choice(&PROMPT, &DecodeOptions { temperature: Some(0.0), ..most(16) });
    assert_eq!(bench.choice(&PROMPT, &most(16)), greedy, "greedy is the default");
    bench.config.do_sample = true;
    let own = |bench: &Bench, seed| bench.choice(&PROMPT, &DecodeOptions { seed: Some(seed), ..most(16) });
    assert_ne!(own(&bench, 1), own(&bench, 2), "the model's files ask for sampling");
    assert_eq!(bench.choice(&PROMPT, &DecodeOptions { temperature: Some(0.0), ..most(16) }), greedy);
    bench.config.top_k = 1;
    assert_eq!(own(&bench, 1), greedy, "and say how");
    let wider = DecodeOptions { top_k: Some(0), seed: Some(1), ..most(16) };
    assert_ne!(bench.choice(&PROMPT, &wider), greedy, "the request's own options win");
}

#[test]
fn greedy_answers_are_alike_and_cost_one() {
    let bench = Bench::random(2);
    let (outcome, deltas) = bench.run(&PROMPT, &DecodeOptions { n: Some(4), ..most(6) });
    let steps = bench.model.steps();
    assert!(outcome.choices.iter().all(|choice| choice.text == outcome.choices[0].text));
    assert_eq!(outcome.choices.iter().map(|choice| choice.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(deltas.iter().any(|delta| delta.index == 3));
    assert!(steps <= 6, "{steps} steps");
}

#[test]
fn probabilities_are_the_models_own() {
    let bench = Bench::random(6);
    let options = DecodeOptions { logprobs: Some(3), explain: true, ..sampled(1, 10) };
    let cold = DecodeOptions { temperature: Some(0.3), repetition_penalty: Some(1.5), ..options.clone() };
    for options in [options, cold] {
        let choice = bench.choice(&PROMPT, &options);
        let ids = choice.token_ids.expect("asked for");
        for (place, token) in choice.logprobs.iter().enumerate() {
            let history = [&PROMPT[..], &ids[..place]].concat();
            let logits = FakeLanguageModel::hashed_logits(6, &history, bench.setting.vocabulary.size());
            let log_probs = distribution::log_softmax(&logits);
            assert_eq!(token.id, ids[place]);
            assert_eq!(token.logprob, log_probs[token.id as usize]);
            assert_eq!(token.entropy, Some(distribution::entropy(&log_probs)));
            assert_eq!(token.rule.as_deref(), Some("sampled"));
            let best: Vec<usize> = distribution::top(&log_probs, 3).into_iter().map(|(id, _)| id).collect();
            assert_eq!(token.top.iter().map(|top| top.id as usize).collect::<Vec<_>>(), best);
        }
    }
}

#[test]
fn echo_puts_the_prompt_before_the_answer_and_scores_it() {
    let bench = Bench::random(8);
    let prompt: Vec<u32> = Alphabet::ids(&"some prompt ".repeat(12));
    assert!(prompt.len() > 2 * PREFILL_CHUNK);
    let options = DecodeOptions { echo: true, logprobs: Some(0), ..most(0) };
    let (outcome, deltas) = bench.run(&prompt, &options);
    assert_eq!(outcome.choices[0].text, "some prompt ".repeat(12));
    assert_eq!(deltas[0].text, outcome.choices[0].text);
    assert_eq!(outcome.prompt_logprobs.len(), prompt.len());
    assert!(outcome.prompt_logprobs[0].is_none(), "nothing precedes the first");
    for (place, token) in outcome.prompt_logprobs.iter().enumerate().skip(1) {
        let token = token.as_ref().expect("all others have one");
        let logits = FakeLanguageModel::hashed_logits(8, &prompt[..place], bench.setting.vocabulary.size());
        assert_eq!(
            (token.id, token.logprob),
            (prompt[place], distribution::log_softmax(&logits)[prompt[place] as usize])
        );
    }
}

#[test]
fn what_was_forced_or_left_no_choice_says_so() {
    let mut bench = Bench::random(1);
    bench.config.forced_eos_token_id = vec![END];
    let choice = bench.choice(&PROMPT, &DecodeOptions { explain: true, ..most(3) });
    let rules: Vec<&str> = choice.logprobs.iter().filter_map(|token| token.rule.as_deref()).collect();
    assert_eq!(rules, ["greedy", "greedy", "forced"]);
    assert_eq!(choice.finish_reason, FinishReason::Stop);
}

#[test]
fn a_prompt_is_run_in_pieces_and_whoever_leaves_stops_it() {
    struct LeavesAfter(Cell<usize>);
    impl Checkpoint for LeavesAfter {
        fn checkpoint(&self) -> Result<(), WireError> {
            match self.0.get() {
                0 => Err(WireError::new(ErrorCode::Cancelled, "the caller is gone")),
                left => {
                    self.0.set(left - 1);
                    Ok(())
                }
            }
        }
    }
    let prompt = vec![65; 10 * PREFILL_CHUNK];
    let bench = Bench::random(1);
    bench.run(&prompt, &most(1));
    assert_eq!((bench.model.steps(), bench.model.positions()), (10, prompt.len()), "no position is run twice");
    let bench = Bench::random(1);
    let gone = bench.run_with(&prompt, &most(1), &LeavesAfter(Cell::new(3))).expect_err("left");
    assert_eq!(gone.code, ErrorCode::Cancelled);
    assert_eq!(bench.model.positions(), 3 * PREFILL_CHUNK, "nothing runs for nobody");
    // And while writing.
    let bench = Bench::random(1);
    bench
        .run_with(&PROMPT, &DecodeOptions { ignore_eos: true, ..most(50) }, &LeavesAfter(Cell::new(6)))
        .expect_err("left");
    assert_eq!(bench.model.positions(), 3 + 5);
}

#[test]
fn a_reader_that_is_gone_ends_the_generation() {
    let bench = Bench::random(1);
    let taken = RefCell::new(0);
    let gone = || WireError::new(ErrorCode::Cancelled, "the caller is gone");
    let generation = bench.generation(&PROMPT, &DecodeOptions { ignore_eos: true, ..most(50) }).expect("begins");
    let mut model = bench.model.clone();
    let error = generation.run(&mut model, &(), &mut |_| {
        *taken.borrow_mut() += 1;
        if *taken.borrow() == 3 { Err(gone()) } else { Ok(()) }
    });
    assert_eq!(error.expect_err("gone").code, ErrorCode::Cancelled);
    assert_eq!(*taken.borrow(), 3);
}

#[test]
fn the_next_turn_runs_only_what_is_new() {
    let counts = PrefixCounts::default();
    let mut bench = Bench::random(3);
    bench.setting.prefixes = Some(Arc::new(PrefixCache::new(counts.clone())));
    let mut conversation = Alphabet::ids("You are a bird. What do you sing?");
    for turn in 0..4 {
        let before = bench.model.positions();
        let (outcome, _) = bench.run(&conversation, &DecodeOptions { ignore_eos: true, ..most(20) });
        let run = bench.model.positions() - before;
        if turn > 0 {
            assert_eq!(outcome.cached_tokens as usize, conversation.len() - 11, "turn {turn}");
            assert_eq!(run, 11 + 19, "turn {turn}: the last answer's last token, ten new ones, and the new answer");
        }
        let fresh = Bench::random(3).run(&conversation, &DecodeOptions { ignore_eos: true, ..most(20) }).0;
        assert_eq!(outcome.choices, fresh.choices, "what was kept changes nothing");
        conversation.extend(outcome.choices[0].token_ids.clone().expect("asked for"));
        conversation.extend(Alphabet::ids("And then??"));
    }
    assert_eq!((counts.hits(), counts.misses()), (3, 1));
}

#[test]
fn several_answers_leave_their_prompt_behind() {
    let mut bench = Bench::random(3);
    bench.setting.prefixes = Some(Arc::new(PrefixCache::new(PrefixCounts::default())));
    let prompt = Alphabet::ids("a prompt of some length");
    for options in [DecodeOptions { n: Some(3), ..sampled(1, 5) }, DecodeOptions { num_beams: Some(3), ..most(5) }] {
        let first = bench.run(&prompt, &options).0;
        let again = bench.run(&prompt, &options).0;
        assert_eq!(again.cached_tokens as usize, prompt.len() - 1);
        assert_eq!(again.choices, first.choices);
    }
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_with_both_numbers() {
    let mut bench = Bench::random(1);
    bench.model = bench.model.with_context(16);
    let error = bench.generation(&[65; 20], &most(4)).expect_err("too long");
    assert_eq!(error.code, ErrorCode::ContextLengthExceeded);
    assert!(error.message.contains("20 tokens") && error.message.contains("holds 16"), "{}", error.message);
    bench.generation(&[65; 16], &most(4)).expect_err("no room for a token");
    let (outcome, _) = bench.run(&[65; 12], &DecodeOptions { ignore_eos: true, ..most(50) });
    assert_eq!(outcome.completion_tokens, 4, "the context's end is the answer's");
    assert_eq!(outcome.choices[0].finish_reason, FinishReason::Length);
    bench.config.max_length = Some(10);
    let error = bench.generation(&[65; 12], &DecodeOptions::default()).expect_err("longer than max_length");
    assert!(error.message.contains("max_length to 10"), "{}", error.message);
}

#[test]
fn a_sliding_context_goes_on() {
    let mut bench = Bench::random(1);
    bench.model = bench.model.with_context(16);
    let slide = |n| DecodeOptions { overflow: Overflow::Slide, ignore_eos: true, n: Some(n), ..sampled(3, 60) };
    for prompt in [vec![65; 5], vec![66; 40]] {
        let (outcome, _) = bench.run(&prompt, &slide(1));
        assert_eq!(outcome.completion_tokens, 60);
        let (three, _) = bench.run(&prompt, &slide(3));
        assert_eq!(three.choices[0], outcome.choices[0], "each row has a window of its own");
        assert_ne!(three.choices[1].text, three.choices[0].text);
    }
}

#[test]
fn a_prompt_that_the_model_cannot_read_is_refused() {
    let bench = Bench::random(1);
    let refused = |prompt: &[u32]| bench.generation(prompt, &most(4)).expect_err("refused").message;
    assert!(refused(&[]).contains("holds no token"));
    assert!(refused(&[5, 9999]).contains("the token 9999, but the model's vocabulary ends at 263"));
    let bias = DecodeOptions { logit_bias: [(9999, 1.0)].into(), ..most(4) };
    assert!(bench.generation(&PROMPT, &bias).expect_err("refused").message.contains("9999"));
    let n = DecodeOptions { num_beams: Some(2), n: Some(3), ..most(4) };
    assert_eq!(bench.generation(&PROMPT, &n).expect_err("refused").param.as_deref(), Some("n"));
}

#[test]
fn a_model_that_gives_no_numbers_is_an_error_and_no_answer() {
    let alphabet = Alphabet::new(&[]);
    let broken = FakeLanguageModel::new(alphabet.size(), |_| vec![f32::NAN; 258]);
    let error = Bench::new(broken, alphabet).run_with(&PROMPT, &most(4), &()).expect_err("no numbers");
    assert_eq!(error.code, ErrorCode::Internal);
    let mut bench = Bench::random(1);
    bench.config.suppress_tokens = (0..bench.setting.vocabulary.size() as u32).collect();
    let error = bench.run_with(&PROMPT, &most(4), &()).expect_err("nothing is left");
    assert!(error.message.contains("every token"), "{}", error.message);
}

#[test]
fn penalties_and_biases_of_a_request_reach_the_scores() {
    let bench = Bench::random(7);
    let plain = bench.choice(&PROMPT, &most(12)).token_ids.expect("asked for");
    let first = plain[0];
    let banned = DecodeOptions { logit_bias: [(first, -100.0)].into(), ..most(12) };
    assert_ne!(bench.choice(&PROMPT, &banned).token_ids.expect("asked for")[0], first);
    let wanted = DecodeOptions { logit_bias: [(65, 100.0)].into(), ..most(3) };
    assert_eq!(bench.choice(&PROMPT, &wanted).text, "AAA");
    let alternating =
        DecodeOptions { frequency_penalty: Some(2.0), logit_bias: [(65, 9.0), (66, 9.0)].into(), ..most(12) };
    let text = bench.choice(&PROMPT, &alternating).text;
    assert!(text.contains('A') && text.contains('B'), "{text}");
    let once = DecodeOptions { presence_penalty: Some(2.0), logit_bias: [(65, 9.0), (66, 8.5)].into(), ..most(2) };
    assert_ne!(bench.choice(&PROMPT, &once).text, "AA");
    let unrepeated = DecodeOptions { no_repeat_ngram_size: Some(1), ..most(30) };
    let ids = bench.choice(&PROMPT, &unrepeated).token_ids.expect("asked for");
    let distinct: std::collections::BTreeSet<u32> = ids.iter().copied().chain(PROMPT).collect();
    assert_eq!(distinct.len(), ids.len() + 3);
}

#[test]
fn a_generation_may_move_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Generation>();
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Vocabulary>();
    assert_shared::<PrefixCache>();
}
