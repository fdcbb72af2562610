//! Answers that match a JSON schema, a regular expression, a grammar or one of several texts: `llguidance` says at each step
//! which tokens may come, and an answer that ends by itself matches.
//!
//! `lenient` and `coerce_one_of`, by which the library would take a schema that it cannot hold, are off, and a schema cannot turn
//! them on. Numbers have at most 15 digits ([`numbers`]), and whitespace is one space, or a line break with indentation, so that
//! nothing runs on for ever between two values.

mod lark;
mod numbers;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use linnet_proto::generate::Constraint;
use linnet_proto::{ErrorCode, WireError};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory, panic_utils};
use serde_json::{Value, json};

use self::numbers::Place;
use super::bounds::{COMPILER_STACK_BYTES, KEPT_CONSTRAINTS};
use super::vocabulary::Vocabulary;

/// Longest token that a constraint can use, bytes; longer ones (a thousand spaces) are left out of the choice.
const MAX_TOKEN_BYTES: usize = 1000;

/// Whitespace between the parts of JSON.
const WHITESPACE: &str = r"\x20|\x0A(?:\x20{0,16}|\x09{0,4})";

/// Compiles constraints for one vocabulary.
pub struct Grammars {
    factory: Arc<ParserFactory>,
    /// Tokens by which the library says that an answer may end.
    ends: Vec<u32>,
    /// Constraints that were compiled, the latest last.
    kept: Mutex<Vec<(String, Matcher)>>,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammars").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Grammars {
    /// Builds the tree of all tokens' bytes. Takes some hundred nanoseconds for each token.
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, String> {
        let mut words: Vec<Vec<u8>> = (0..vocabulary.size() as u32)
            .map(|id| match vocabulary.piece(id) {
                // The marker keeps control tokens apart from text that spells their name.
                Some(piece) if piece.special => [&[TokTrie::SPECIAL_TOKEN_MARKER], piece.bytes.as_slice()].concat(),
                Some(piece) => piece.bytes,
                None => Vec::new(),
            })
            .map(|bytes| if bytes.len() > MAX_TOKEN_BYTES { Vec::new() } else { bytes })
            .collect();
        let mut ends = vocabulary.ends().to_vec();
        if ends.is_empty() {
            // The library needs a token to say "it may end" by; this one is beyond the vocabulary.
            ends.push(words.len() as u32);
            words.push(b"\xFF<end>".to_vec());
        }
        for end in &ends {
            // An end token that is text in the tokenizer still ends, and is never a part of an answer.
            words[*end as usize] = format!("\u{0}<end {end}>").into_bytes();
            words[*end as usize][0] = TokTrie::SPECIAL_TOKEN_MARKER;
        }
        panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let info = TokRxInfo::new(words.len() as u32, ends[0]);
            let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
            let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let slices = llguidance::earley::SlicedBiasComputer::general_slices();
            let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)?;
            factory.quiet().limits_mut().verbose_errors = false;
            Ok(factory)
        }))
        .map(|factory| Self { factory: Arc::new(factory), ends, kept: Mutex::default() })
        .map_err(|error| one_line(&error))
    }

    /// Compiles `constraint`, or refuses it in bounded time and says why.
    pub fn compile(&self, constraint: &Constraint) -> Result<Guide, WireError> {
        constraint.check()?;
        let json = matches!(constraint, Constraint::JsonObject | Constraint::JsonSchema(_));
        let guide = |matcher| Guide { matcher, place: json.then_some(Place::Outside), ends: self.ends.clone() };
        let grammar = grammar_of(constraint)?;
        let key = serde_json::to_string(&grammar).unwrap_or_default();
        if let Some(matcher) = self.kept(&key) {
            return Ok(guide(matcher));
        }
        let factory = Arc::clone(&self.factory);
        let compiler = std::thread::Builder::new().name("linnet-grammar".into()).stack_size(COMPILER_STACK_BYTES);
        let compiled = compiler
            .spawn(move || {
                let mut matcher = Matcher::new(factory.create_parser(grammar));
                // The first mask finds out whether there is any way to begin.
                let mask = matcher.compute_mask_or_eos();
                (matcher, mask.map(|_| ()).map_err(|error| one_line(&error)))
            })
            .map_err(|error| internal(format!("no thread to compile the constraint: {error}")))?
            .join()
            .map_err(|_| internal("the constraint's compiler panicked".into()))?;
        let (matcher, begins) = compiled;
        begins.map_err(|error| {
            let kind = constraint.name();
            refused(kind, format!("the {kind} is refused: {}", reason_of(&error)))
        })?;
        self.keep(key, &matcher);
        Ok(guide(matcher))
    }

    fn kept(&self, key: &str) -> Option<Matcher> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(other, _)| other == key)?;
        let found = kept.remove(at);
        let matcher = found.1.deep_clone();
        kept.push(found);
        Some(matcher)
    }

    fn keep(&self, key: String, matcher: &Matcher) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_CONSTRAINTS {
            kept.remove(0);
        }
        kept.push((key, matcher.deep_clone()));
    }
}

fn grammar_of(constraint: &Constraint) -> Result<TopLevelGrammar, WireError> {
    Ok(match constraint {
        Constraint::JsonObject => TopLevelGrammar::from_json_schema(with_options(json!({"type": "object"}))),
        Constraint::JsonSchema(schema) => {
            schema::check(schema)?;
            match schema {
                Value::Bool(false) => {
                    let message = "the schema is false: nothing matches it";
                    return Err(refused("json_schema", message.into()));
                }
                Value::Bool(true) => TopLevelGrammar::from_json_schema(with_options(json!({}))),
                schema => TopLevelGrammar::from_json_schema(with_options(schema::simplified(schema))),
            }
        }
        Constraint::Regex(regex) if regex.is_empty() => {
            return Err(refused("regex", "the regular expression is empty, and so would be the answer".into()));
        }
        Constraint::Regex(regex) => TopLevelGrammar::from_regex(regex),
        Constraint::Grammar(grammar) => {
            lark::check(grammar)?;
            TopLevelGrammar::from_lark(grammar.clone())
        }
        Constraint::Choice(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| lark::literal(text)).collect();
            TopLevelGrammar::from_regex(&format!("({})", texts.join("|")))
        }
    })
}

/// The schema with the compiler's options, which take the place of any that came with it.
fn with_options(mut schema: Value) -> Value {
    let options = JsonCompileOptions {
        whitespace_pattern: Some(WHITESPACE.to_owned()),
        // No `\u`: a name could be written a second time in another spelling, and readers keep the last.
        json_allowed_escapes: Some("nrbtf\\\"".to_owned()),
        lenient: false,
        coerce_one_of: false,
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    schema
}

/// One answer's way through a constraint.
#[derive(Clone)]
pub struct Guide {
    matcher: Matcher,
    /// Where the text is, when it is JSON.
    place: Option<Place>,
    ends: Vec<u32>,
}

impl std::fmt::Debug for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guide").field("complete", &self.is_complete()).finish_non_exhaustive()
    }
}

impl Guide {
    /// The tokens that may come next. Its cost: `docs/generation.md`.
    pub fn mask(&mut self, vocabulary: &Vocabulary) -> Result<Mask, WireError> {
        let mut mask = self.matcher.compute_mask_or_eos().map_err(|error| dead_end(&one_line(&error)))?;
        if let Some(place) = self.place.filter(|place| !matches!(place, Place::Text | Place::Escape)) {
            let long: Vec<u32> = mask.iter().filter(|id| place.overflows_with(vocabulary.text_bytes(*id))).collect();
            // A number that has to be long (`minimum: 1e20`) may be.
            if !long.is_empty() && long.len() < mask.num_set() {
                long.iter().for_each(|id| mask.disallow_token(*id));
            }
        }
        Ok(Mask(mask))
    }

    /// Takes the token that was chosen.
    pub fn take(&mut self, id: u32, vocabulary: &Vocabulary) -> Result<(), WireError> {
        if self.is_complete() {
            return Ok(());
        }
        self.matcher.consume_token(id).map_err(|error| dead_end(&one_line(&error)))?;
        if let Some(place) = &mut self.place {
            *place = place.after(vocabulary.text_bytes(id));
        }
        Ok(())
    }

    /// Whether nothing may follow: the answer is whole.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.is_complete() || self.matcher.is_accepting().unwrap_or(false)
    }

    /// Whether `text`, from here, would be a whole answer.
    pub fn accepts(&self, text: &str) -> bool {
        let mut matcher = self.matcher.deep_clone();
        let Ok(tokens) = matcher.tok_env() else { return false };
        let ids = tokens.tok_trie().greedy_tokenize(text.as_bytes());
        if tokens.tok_trie().decode_raw(&ids) != text.as_bytes() {
            return false;
        }
        matcher.try_consume_tokens(&ids).is_ok_and(|taken| taken == ids.len())
            && (matcher.is_stopped() || matcher.is_accepting().unwrap_or(false))
    }

    /// Tokens by which an answer ends under this constraint.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }
}

/// Tokens that may come next.
#[derive(Debug, Clone)]
pub struct Mask(SimpleVob);

impl Mask {
    /// Bans all others.
    pub fn apply(&self, scores: &mut [f32]) {
        self.0.iter_unset_entries(|id| {
            if let Some(score) = scores.get_mut(id) {
                *score = f32::NEG_INFINITY;
            }
        });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.num_set()
    }
}

/// A refusal of a constraint, named by its kind.
fn refused(kind: &str, message: String) -> WireError {
    WireError::new(ErrorCode::InvalidOption, message).with_param(kind)
}

fn internal(message: String) -> WireError {
    WireError::new(ErrorCode::Internal, message)
}

/// The answer came to where no token leads on.
fn dead_end(error: &str) -> WireError {
    let message = format!(
        "the constraint led to where no token of the model's vocabulary goes on ({}); it contradicts itself, or asks for \
         what the vocabulary cannot write",
        reason_of(error)
    );
    refused("constraint", message)
}

/// The library's reason as one sentence. Its panics are told apart from its refusals, and never quoted.
fn reason_of(error: &str) -> String {
    match error {
        panicked if panicked.starts_with("panic:") => "it is beyond what the grammar's compiler takes".to_owned(),
        "" | "NoExtensionBias" => "nothing matches it, or nothing that the model's vocabulary can write".to_owned(),
        reason => reason.to_owned(),
    }
}

/// The first line of an error.
fn one_line(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim().chars().take(300).collect()
}
