//! What `--explain` prints for people: lines that begin with a tab, behind the results that they explain.

use serde_json::Value;

use super::score;

/// What is said where an answer explains nothing: a model that chats stands in for one that does the task.
const UNTOLD: &str = "\tno explanation: the model that answered gives none\n";

/// Each mask's entropy, of `linnet fill`.
pub(super) fn fill(answer: &Value) -> String {
    told(answer, |one| {
        let masks = list(one);
        masks.iter().fold(String::new(), |text, mask| {
            let (at, entropy, rule) = (&mask["mask"], score(&mask["entropy"]), word(mask, "rule"));
            text + &format!("\ttoken {at}\tentropy {entropy} nats\t{rule}\n")
        })
    })
}

/// What each word does to the best label, of `linnet classify`.
pub(super) fn classify(answer: &Value) -> String {
    told(answer, |one| {
        let (label, method) = (word(one, "label"), word(one, "method"));
        let words = list(&one["words"]);
        let which = if one["complete"] == false {
            format!("each of the first {} words", words.len())
        } else {
            "each word".into()
        };
        let head = format!("\twhat {label} gains by {which} ({method}, runs: {})\n", one["runs"]);
        words.iter().fold(head, |text, of| text + &format!("\t{}\t{}\n", gain(&of["change"]), word(of, "word")))
    })
}

/// The likeliest labels of each word, of `linnet tag`.
pub(super) fn tag(answer: &Value) -> String {
    told(answer, |one| {
        list(one).iter().fold(String::new(), |text, of| {
            let label = |top: &Value| format!("{} {}", word(top, "label"), score(&top["score"]));
            let top: Vec<_> = list(&of["top"]).iter().map(label).collect();
            text + &format!("\t{}\t{}\n", word(of, "word"), top.join(", "))
        })
    })
}

/// What an answer was chosen among, of `linnet answer`.
pub(super) fn answer(answer: &Value) -> String {
    let Some(one) = answer.get("explanation") else { return UNTOLD.to_owned() };
    let (none, rule) = (score(&one["no_answer"]), word(one, "rule"));
    format!("\tcandidates {}\twindows {}\tno answer {none}\t{rule}\n", one["candidates"], one["windows"])
}

/// Every intent with its score, of `linnet intent`.
pub(super) fn intent(answer: &Value) -> String {
    match list(&answer["candidates"]) {
        [] => UNTOLD.to_owned(),
        all => all
            .iter()
            .fold(String::new(), |text, of| text + &format!("\t{}\t{}\n", score(&of["score"]), word(of, "label"))),
    }
}

/// Which words of a translation come from which of `source`: share of attention, word, word that it comes from. Where there is none,
/// nothing: the answer's `explanation` says why.
pub(super) fn alignment(source: &str, line: &Value) -> String {
    let translation = line["translatedText"].as_str().unwrap_or_default();
    list(&line["alignment"]).iter().fold(String::new(), |text, link| {
        let (from, to) = (part(source, &link["source"]), part(translation, &link["target"]));
        text + &format!("\t{}\t{to}\t{from}\n", score(&link["weight"]))
    })
}

/// The tokens of an answer that is written, gathered from its events.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    lines: String,
}

impl Tokens {
    /// Takes the tokens of an event, or of a whole answer. Over MQTT the last message holds all of them again.
    pub(super) fn take(&mut self, event: &Value) {
        if event["final"] == true {
            self.lines.clear();
        }
        let probabilities = &event["choices"][0]["logprobs"];
        for of in list(&probabilities["content"]) {
            self.add(&of["logprob"], &of["entropy"], &of["rule"], &of["token"]);
        }
        // A completion has lists that run in parallel.
        for (at, token) in list(&probabilities["tokens"]).iter().enumerate() {
            let [logprob, entropy, rule] = ["token_logprobs", "entropy", "rule"].map(|name| &probabilities[name][at]);
            self.add(logprob, entropy, rule, token);
        }
    }

    fn add(&mut self, logprob: &Value, entropy: &Value, rule: &Value, token: &Value) {
        let rule = rule.as_str().unwrap_or_default();
        // As JSON, so that line ends in it are seen and break nothing.
        self.lines += &format!("\t{}\tentropy {} nats\t{rule}\t{token}\n", score(logprob), score(entropy));
    }

    /// A line for each: log-probability, entropy, rule, text.
    pub(super) fn lines(&self) -> &str {
        if self.lines.is_empty() { UNTOLD } else { &self.lines }
    }
}

/// The explanation of the one text that was asked about.
fn told(answer: &Value, lines: impl Fn(&Value) -> String) -> String {
    match &answer["explanation"][0] {
        Value::Null => UNTOLD.to_owned(),
        one => lines(one),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A change of a score with its sign.
fn gain(value: &Value) -> String {
    format!("{:+.4}", value.as_f64().unwrap_or_default())
}

/// What stands from one byte of `text` to another; nothing where they are none of its borders.
fn part<'a>(text: &'a str, range: &Value) -> &'a str {
    let end = |i: usize| range[i].as_u64().and_then(|at| usize::try_from(at).ok());
    end(0).zip(end(1)).and_then(|(from, to)| text.get(from..to)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_explains_nothing_says_so_and_what_makes_no_sense_breaks_nothing() {
        for answer in [json!({}), json!({ "explanation": null }), json!({ "explanation": [] }), json!([1])] {
            for lines in [fill, classify, tag, intent] {
                assert_eq!(lines(&answer), UNTOLD, "{answer}");
            }
        }
        assert_eq!(super::answer(&json!({})), UNTOLD);
        assert_eq!(alignment("a", &json!({ "translatedText": "b" })), "");
        let outside =
            json!({ "translatedText": "b", "alignment": [{ "source": [0, 9], "target": [1], "weight": "x" }] });
        assert_eq!(alignment("\u{e4}", &outside), "\t0.0000\t\t\n");
    }

    #[test]
    fn tokens_of_pieces_are_told_once_and_a_line_end_in_one_breaks_none() {
        let piece = |text: &str| {
            let of = json!({ "token": text, "logprob": -0.5, "entropy": 1.25, "rule": "sampled" });
            json!({ "final": false, "choices": [{ "logprobs": { "content": [of] } }] })
        };
        let mut tokens = Tokens::default();
        tokens.take(&piece("a"));
        tokens.take(&piece("\n"));
        let both = "\t-0.5000\tentropy 1.2500 nats\tsampled\t\"a\"\n\t-0.5000\tentropy 1.2500 nats\tsampled\t\"\\n\"\n";
        assert_eq!(tokens.lines(), both);
        let lists = json!({ "tokens": ["a"], "token_logprobs": [null], "entropy": [0.5], "rule": ["greedy"] });
        tokens.take(&json!({ "final": true, "choices": [{ "logprobs": lists }] }));
        assert_eq!(tokens.lines(), "\t0.0000\tentropy 0.5000 nats\tgreedy\t\"a\"\n");
        assert_eq!(Tokens::default().lines(), UNTOLD);
    }
}
