//! Which words of a translation come from which: by `marian-attention`, whose decoder gives its cross-attention, against the attention of
//! `transformers`, and by models that follow a script.

use linnet_proto::translate::{Aligned, Translation};

use super::writer::Asked;
use super::*;
use crate::engine::{Positions, Tensor};
use crate::task::model::fake::FakeLanguageModel;
use crate::task::model::{LanguageModel, Logits, Sequences};

/// The golden whose decoder gives its cross-attention.
const ATTENTIVE: &str = "marian-attention";

fn explained(executor: &mut dyn Execute, text: &str) -> (Translation, String) {
    let request = TranslateRequest {
        texts: vec![text.into()],
        source: "en".into(),
        target: "de".into(),
        explain: true,
        ..TranslateRequest::default()
    };
    let mut answer = translate(executor, request).expect("it translates");
    (answer.translations.remove(0), answer.explanation.expect("it was asked for"))
}

/// The cases with a text: there are four.
fn texts() -> Vec<Value> {
    let golden = golden(ATTENTIVE);
    let cases = golden["runs"][0]["cases"].as_array().expect("cases");
    let texts: Vec<_> = cases.iter().filter(|case| case["text"].is_string()).cloned().collect();
    assert!(texts.len() >= 4, "{} texts", texts.len());
    texts
}

/// An array of a golden.
fn array(value: &Value) -> Vec<f32> {
    match value["file"].as_str() {
        Some(file) => {
            let bytes = std::fs::read(families().join(ATTENTIVE).join(file)).expect("it is there");
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        None => value["values"].as_array().into_iter().flatten().filter_map(Value::as_f64).map(|x| x as f32).collect(),
    }
}

/// The words of a text between blanks, as bytes.
fn words(text: &str) -> Vec<(usize, usize)> {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| (start(word), start(word) + word.len())).collect()
}

fn near(link: &Aligned, other: &Aligned) -> bool {
    (link.source, link.target) == (other.source, other.target) && (link.weight - other.weight).abs() < 1e-4
}

#[test]
fn a_decoders_cross_attention_is_that_of_the_reference() {
    let pipeline = load(ATTENTIVE);
    let mut writer = Writer::open(std::sync::Arc::clone(&pipeline.0)).expect("a worker");
    assert!(writer.gives_attention());
    for case in texts() {
        let (heard, written) = (ids(&case["input_ids"]), ids(&case["ids"]));
        let options = by_ids(written.len());
        writer.write(&heard, Asked::with(&options), &(), &mut |_| Ok(())).expect("it writes");
        let rows = writer.attend(&[], &written, &()).expect("it listens");
        let shape: Vec<usize> = ids(&case["cross_attentions"]["shape"]).iter().map(|n| *n as usize).collect();
        let (heads, steps, positions) = (shape[0] * shape[1], shape[2], shape[3]);
        assert_eq!((rows.len() + 1, heard.len()), (steps, positions), "a row for each id that is read, but the start");
        let golden = array(&case["cross_attentions"]);
        for (step, row) in rows.iter().enumerate() {
            for (position, own) in row.iter().enumerate() {
                let of = |head: usize| golden[(head * steps + step + 1) * positions + position];
                let mean = (0..heads).map(of).sum::<f32>() / heads as f32;
                assert!((own - mean).abs() < 1e-5, "{}: {step}, {position}: {own} is {mean}", case["text"]);
            }
        }
    }
}

#[test]
fn a_translation_is_aligned_as_the_references_attention_says() {
    let mut executor = load(ATTENTIVE).executor().expect("a worker");
    let mut crossed = 0;
    for case in texts() {
        let text = case["text"].as_str().expect("a text");
        let (translation, explanation) = explained(&mut *executor, text);
        assert_eq!(translation.text, case["answer"].as_str().expect("an answer"), "{text}");
        assert!(explanation.contains("cross-attention") && explanation.contains("one more step"), "{explanation}");
        let (from, to) = (words(text), words(&translation.text));
        let wanted = case["alignment"].as_array().expect("an alignment").iter().map(|link| Aligned {
            source: from[link[1].as_u64().expect("a word") as usize],
            target: to[link[0].as_u64().expect("a word") as usize],
            weight: link[2].as_f64().expect("a share") as f32,
        });
        let wanted: Vec<_> = wanted.collect();
        let links = &translation.alignment;
        let alike = links.len() == wanted.len() && links.iter().zip(&wanted).all(|(a, b)| near(a, b));
        assert!(alike, "{text}: {links:?} instead of {wanted:?}");
        // What was taught reverses the order of words.
        let heard = |word| links.iter().filter(|link| link.target == word).max_by(|a, b| a.weight.total_cmp(&b.weight));
        crossed += usize::from(heard(to[0]).map(|link| link.source) > heard(to[to.len() - 1]).map(|link| link.source));
    }
    assert!(crossed >= 3, "{crossed} texts with another order of words");
}

#[test]
fn lines_of_a_text_are_aligned_each_for_itself_and_in_their_places() {
    let mut executor = load(ATTENTIVE).executor().expect("a worker");
    let cases = texts();
    let [first, second] = [0, 1].map(|i| cases[i]["text"].as_str().expect("a text"));
    let [alone, below] = [first, second].map(|text| explained(&mut *executor, text).0);
    let both = explained(&mut *executor, &format!("{first}\n\n{second}")).0;
    assert_eq!(both.text, format!("{}\n\n{}", alone.text, below.text));
    let moved = |(start, end): (usize, usize), by: usize| (start + by, end + by);
    let below = below.alignment.iter().map(|link| Aligned {
        source: moved(link.source, first.len() + 2),
        target: moved(link.target, alone.text.len() + 2),
        weight: link.weight,
    });
    let wanted: Vec<_> = alone.alignment.iter().cloned().chain(below).collect();
    assert!(both.alignment.len() == wanted.len() && both.alignment.iter().zip(&wanted).all(|(a, b)| near(a, b)));
}

#[test]
fn the_absence_of_an_alignment_is_explained() {
    let pipeline = load("marian");
    let mut executor = pipeline.executor().expect("a worker");
    let mut why = |format, explain| {
        let request = TranslateRequest {
            texts: vec!["the bird sings".into()],
            source: "en".into(),
            target: "de".into(),
            format,
            explain,
            ..TranslateRequest::default()
        };
        let answer = translate(&mut *executor, request).expect("it translates");
        assert!(answer.translations[0].alignment.is_empty(), "the golden's graph gives no cross-attention");
        answer.explanation.unwrap_or_default()
    };
    assert_eq!(why(TextFormat::Text, false), "");
    assert!(why(TextFormat::Text, true).contains("cross_attentions"));
    assert!(why(TextFormat::Html, true).contains("HTML"));
}

/// A model that listens, with one of two heads, to the place that is the last id, and with the other everywhere alike.
struct Listening {
    model: FakeLanguageModel,
    attention: Vec<Tensor>,
}

impl LanguageModel for Listening {
    fn vocabulary(&self) -> usize {
        self.model.vocabulary()
    }

    fn context(&self) -> Option<usize> {
        None
    }

    fn begin(&mut self) -> Result<Sequences, EngineError> {
        self.model.begin()
    }

    fn step(
        &mut self,
        sequences: &mut Sequences,
        ids: &[Vec<u32>],
        positions: Positions,
    ) -> Result<Logits, EngineError> {
        let last = *ids[0].last().expect("an id") as usize;
        let mut heads = [[0.0, 0.0, 0.0, 0.0], [0.25; 4]];
        heads[0][last] = 1.0;
        self.attention = vec![Tensor::f32([1, 2, 1, 4], heads.concat()); 3];
        self.model.step(sequences, ids, positions)
    }

    fn attention(&self) -> &[Tensor] {
        &self.attention
    }
}

#[test]
fn attention_is_that_of_the_step_that_reads_each_id() {
    let mut model = Listening { model: FakeLanguageModel::hashed(4, 1), attention: Vec::new() };
    let rows = writer::attention(&mut model, &[0, 3], &[1, 2], &()).expect("it listens");
    assert_eq!(rows, [[0.125, 0.625, 0.125, 0.125], [0.125, 0.125, 0.625, 0.125]]);
    assert_eq!(model.model.positions(), 4, "one step for each id");
}
