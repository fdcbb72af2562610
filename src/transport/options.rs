//! The options of a transcription as a form, a query or a message's user properties name them: one reading for all
//! transports; pure, so that it can be fuzzed.

use std::time::Duration;

use linnet_proto::format::{Granularities, ResponseFormat};
use linnet_proto::transcribe::MAX_PROMPT_BYTES;
use linnet_proto::{ErrorCode, TranscribeOptions, WireError};

use crate::job::Priority;

/// Most options that one request may name.
pub const MAX_FIELDS: usize = 64;

/// Longest value of an option that is not the prompt, bytes.
pub const MAX_FIELD_BYTES: usize = 1024;

/// OpenAI's options, then Linnet's own. Of these, the ones in [`WITHOUT_EFFECT`] are taken and do nothing.
pub const KNOWN: &[&str] = &[
    "model",
    "language",
    "prompt",
    "response_format",
    "timestamp_granularities[]",
    "temperature",
    "stream",
    "chunking_strategy",
    "include[]",
    "user",
    "hot_word_boost",
    "beam_width",
    "lm_weight",
    "punctuate",
    "seed",
    "condition_on_previous_text",
    "timeout_ms",
    "priority",
];

/// OpenAI's options that have nothing to act on here: Linnet always cuts at silences, always gives confidences, and knows no users. An
/// answer names those that its request held, and those that do nothing in the model that answers ([`crate::job::Reply::without_effect`]).
pub const WITHOUT_EFFECT: &[&str] = &["chunking_strategy", "include[]", "user"];

/// The options as MQTT names them, for messages: those of a form that have a meaning there. HTTP's own names are understood, too.
pub const KNOWN_OVER_MQTT: &[&str] = &[
    "model",
    "language",
    "prompt",
    "format",
    "timestamp_granularities",
    "temperature",
    "hot_word_boost",
    "beam_width",
    "lm_weight",
    "punctuate",
    "stream",
    "timeout_ms",
    "priority",
];

/// MQTT's short name of `response_format`.
const FORMAT: &str = "format";

/// Whose names a request uses, so that a refusal names what the caller can write.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// OpenAI's form and query.
    #[default]
    Http,
    /// User properties and keys of an object.
    Mqtt,
}

/// Options that may stand more than once.
const REPEATABLE: &[&str] = &["timestamp_granularities[]", "include[]"];

/// All that a request asks for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// For the task.
    pub options: TranscribeOptions,
    /// Shape of the answer.
    pub format: ResponseFormat,
    /// What `verbose_json` holds.
    pub granularities: Granularities,
    /// Deadline, where one is named.
    pub timeout: Option<Duration>,
    /// Who goes first.
    pub priority: Priority,
    /// Options that were given and do nothing, of [`WITHOUT_EFFECT`].
    pub without_effect: Vec<&'static str>,
}

/// Collects options one by one, in any order.
#[derive(Debug, Default)]
pub struct Fields {
    names: Names,
    options: TranscribeOptions,
    format: Option<ResponseFormat>,
    granularities: Option<Granularities>,
    timeout_ms: Option<u64>,
    priority: Option<Priority>,
    without_effect: Vec<&'static str>,
    seen: Vec<&'static str>,
}

/// Longest value of the option `name`, bytes.
pub fn max_value_bytes(name: &str) -> usize {
    if name == "prompt" { MAX_PROMPT_BYTES } else { MAX_FIELD_BYTES }
}

impl Fields {
    /// No option yet; they come by these `names`.
    pub fn named(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// The options of a query string, without its `?`.
    pub fn of_query(query: &str) -> Result<Self, WireError> {
        let uri = format!("/?{query}").parse().map_err(|_| broken("the query string is not valid"))?;
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
            .map_err(|_| broken("the query string is not valid: write it as name=value&name=value, percent-encoded"))?;
        let mut fields = Self::default();
        for (name, value) in &pairs.0 {
            fields.set(name, value)?;
        }
        Ok(fields)
    }

    /// Takes one option. An empty value counts as absent.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), WireError> {
        let by_mqtt = self.names == Names::Mqtt && name == FORMAT;
        let wire_name = if by_mqtt { "response_format" } else { name };
        // `timestamp_granularities` without brackets is what some clients send.
        let known = KNOWN.iter().find(|k| **k == wire_name || k.strip_suffix("[]") == Some(wire_name));
        let Some(name) = known.copied() else { return Err(unknown(name, self.names)) };
        let called = if by_mqtt { FORMAT } else { name };
        if value.len() > max_value_bytes(name) {
            let message = format!("{name} is {} bytes long; at most {} are taken", value.len(), max_value_bytes(name));
            return Err(WireError::new(ErrorCode::TooLarge, message).with_param(name));
        }
        if self.seen.len() >= MAX_FIELDS {
            return Err(broken(&format!("more than {MAX_FIELDS} options")));
        }
        if self.seen.contains(&name) && !REPEATABLE.contains(&name) {
            return Err(broken(&format!("{name} stands twice; send it once")).with_param(name));
        }
        self.seen.push(name);
        let value = value.trim();
        if value.is_empty() {
            return Ok(());
        }
        if WITHOUT_EFFECT.contains(&name) && !self.without_effect.contains(&name) {
            self.without_effect.push(name);
        }
        let options = &mut self.options;
        match name {
            "model" => options.model = Some(value.to_owned()),
            "language" => options.language = Some(value.to_owned()),
            "prompt" => options.prompt = Some(value.to_owned()),
            "temperature" => options.temperature = Some(number(name, value)?),
            "hot_word_boost" => options.hot_word_boost = Some(number(name, value)?),
            "lm_weight" => options.lm_weight = Some(number(name, value)?),
            "beam_width" => options.beam_width = Some(number(name, value)?),
            "seed" => options.seed = Some(number(name, value)?),
            "condition_on_previous_text" => options.condition_on_previous_text = Some(switch(name, value)?),
            "punctuate" => options.punctuate = Some(switch(name, value)?),
            "stream" => options.stream = switch(name, value)?,
            "timeout_ms" => self.timeout_ms = Some(number(name, value)?),
            "priority" => {
                let priority = Priority::parse(value);
                let names = Priority::ALL.map(Priority::as_str).join(", ");
                let wrong = || refused(name, format!("{name} is {:?}; it must be one of {names}", shown(value)));
                self.priority = Some(priority.ok_or_else(wrong)?);
            }
            "response_format" => {
                self.format = Some(value.parse().map_err(|e: linnet_proto::format::UnknownFormat| refused(called, e))?);
            }
            "timestamp_granularities[]" => {
                let asked = self.granularities.get_or_insert(Granularities { segment: false, word: false });
                match value {
                    "segment" => asked.segment = true,
                    "word" => asked.word = true,
                    _ => return Err(refused(name, format!("{name} is {value:?}; choose segment or word"))),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks all options together. No deadline beyond `max_timeout` is taken, and a request that names no format gets
    /// OpenAI's.
    pub fn finish(self, max_timeout: Duration) -> Result<Asked, WireError> {
        self.finish_as(ResponseFormat::default(), max_timeout)
    }

    /// As [`Fields::finish`], with another format where the request names none.
    pub fn finish_as(self, default: ResponseFormat, max_timeout: Duration) -> Result<Asked, WireError> {
        self.options.check()?;
        let format = self.format.unwrap_or(default);
        let streams = matches!(format, ResponseFormat::Json | ResponseFormat::Text | ResponseFormat::LinnetJson);
        if self.options.stream && !streams {
            let message = format!(
                "stream goes with response_format json, text or linnet_json; {} is only known whole at the end",
                format.as_str()
            );
            return Err(refused("stream", message));
        }
        let max_ms = u64::try_from(max_timeout.as_millis()).unwrap_or(u64::MAX);
        if let Some(ms) = self.timeout_ms.filter(|ms| !(1..=max_ms).contains(ms)) {
            return Err(refused("timeout_ms", format!("timeout_ms is {ms}; it must be from 1 to {max_ms}")));
        }
        Ok(Asked {
            options: self.options,
            format,
            granularities: self.granularities.unwrap_or_default(),
            timeout: self.timeout_ms.map(Duration::from_millis),
            priority: self.priority.unwrap_or_default(),
            without_effect: self.without_effect,
        })
    }
}

fn broken(message: &str) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, message)
}

fn refused(name: &str, message: impl ToString) -> WireError {
    WireError::new(ErrorCode::InvalidOption, message.to_string()).with_param(name)
}

/// Shows at most the beginning of what the caller sent.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn unknown(name: &str, names: Names) -> WireError {
    let known = match names {
        Names::Http => KNOWN,
        Names::Mqtt => KNOWN_OVER_MQTT,
    };
    let near = known.iter().map(|k| (strsim::jaro_winkler(k, name), k)).filter(|(score, _)| *score > 0.8);
    let hint = near
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(|| format!("the options are {}", known.join(", ")), |(_, known)| format!("did you mean {known}?"));
    refused(&shown(name), format!("there is no option {:?}; {hint}", shown(name)))
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, WireError> {
    let kind = if std::any::type_name::<T>().starts_with('f') { "a number" } else { "a whole number from 0 on" };
    value.parse().map_err(|_| refused(name, format!("{name} is {:?}; it must be {kind}", shown(value))))
}

fn switch(name: &str, value: &str) -> Result<bool, WireError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(refused(name, format!("{name} is {:?}; it must be true or false", shown(value)))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_TIMEOUT: Duration = Duration::from_secs(600);

    fn asked(query: &str) -> Result<Asked, WireError> {
        Fields::of_query(query)?.finish(MAX_TIMEOUT)
    }

    #[test]
    fn nothing_asked_is_openais_default() {
        let asked = asked("").expect("the defaults");
        assert_eq!(asked.options, TranscribeOptions::default());
        assert_eq!((asked.format, asked.timeout, asked.priority), (ResponseFormat::Json, None, Priority::Normal));
        assert!(asked.without_effect.is_empty());
        assert_eq!(asked.granularities, Granularities { segment: true, word: false });
    }

    #[test]
    fn every_option_arrives_where_it_belongs() {
        let asked = asked(
            "model=whisper-1&language=en&prompt=Linnet%2C+Kathleen&response_format=linnet_json&temperature=0.5&stream=True\
             &hot_word_boost=3&beam_width=8&lm_weight=0.7&punctuate=false&seed=7&condition_on_previous_text=true&timeout_ms=1500\
             &include[]=logprobs&user=x\
             &timestamp_granularities%5B%5D=word&timestamp_granularities[]=segment&chunking_strategy=auto&priority=high",
        )
        .expect("all are known");
        assert_eq!(
            asked.options,
            TranscribeOptions {
                model: Some("whisper-1".into()),
                language: Some("en".into()),
                prompt: Some("Linnet, Kathleen".into()),
                hot_word_boost: Some(3.0),
                beam_width: Some(8),
                lm_weight: Some(0.7),
                temperature: Some(0.5),
                punctuate: Some(false),
                seed: Some(7),
                condition_on_previous_text: Some(true),
                stream: true,
            }
        );
        assert_eq!(asked.format, ResponseFormat::LinnetJson);
        assert_eq!(asked.granularities, Granularities { segment: true, word: true });
        assert_eq!(asked.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(asked.priority, Priority::High);
        assert_eq!(asked.without_effect, ["include[]", "user", "chunking_strategy"]);
    }

    #[test]
    fn every_option_is_in_the_documentation_and_those_without_effect_are_called_so() {
        let page = include_str!("../../docs/http.md");
        let options = page.split("### Options").nth(1).and_then(|rest| rest.split("\n##").next()).expect("a section");
        let rows: Vec<&str> = options.lines().filter(|line| line.starts_with("| `")).collect();
        for name in KNOWN {
            let row = rows.iter().find(|row| row.split(" | ").next().is_some_and(|r| r.contains(&format!("`{name}`"))));
            let row = row.unwrap_or_else(|| panic!("docs/http.md has no row for {name}"));
            assert_eq!(row.contains("without effect"), WITHOUT_EFFECT.contains(name), "{row}");
        }
    }

    #[test]
    fn an_empty_option_without_effect_is_not_named() {
        assert!(asked("include[]=&user=+").expect("the defaults").without_effect.is_empty());
        let twice = asked("include[]=a&include[]=b").expect("it may stand twice").without_effect;
        assert_eq!(twice, ["include[]"]);
    }

    #[test]
    fn an_empty_value_is_an_absent_option() {
        assert_eq!(
            asked("language=&temperature=&model=+").expect("the defaults").options,
            TranscribeOptions::default()
        );
    }

    #[test]
    fn a_bad_option_is_refused_by_name() {
        for (query, code, param) in [
            ("temperature=warm", ErrorCode::InvalidOption, "temperature"),
            ("temperature=2", ErrorCode::InvalidOption, "temperature"),
            ("temperature=NaN", ErrorCode::InvalidOption, "temperature"),
            ("beam_width=-1", ErrorCode::InvalidOption, "beam_width"),
            ("beam_width=1000", ErrorCode::InvalidOption, "beam_width"),
            ("response_format=docx", ErrorCode::InvalidOption, "response_format"),
            ("timestamp_granularities[]=letter", ErrorCode::InvalidOption, "timestamp_granularities[]"),
            ("punctuate=maybe", ErrorCode::InvalidOption, "punctuate"),
            ("stream=true&response_format=srt", ErrorCode::InvalidOption, "stream"),
            ("priority=urgent", ErrorCode::InvalidOption, "priority"),
            ("priority=High", ErrorCode::InvalidOption, "priority"),
            ("priority=high&priority=high", ErrorCode::InvalidRequest, "priority"),
            ("timeout_ms=0", ErrorCode::InvalidOption, "timeout_ms"),
            ("timeout_ms=600001", ErrorCode::InvalidOption, "timeout_ms"),
            ("timeout_ms=1.5", ErrorCode::InvalidOption, "timeout_ms"),
            ("beam_widht=8", ErrorCode::InvalidOption, "beam_widht"),
            ("model=a&model=b", ErrorCode::InvalidRequest, "model"),
        ] {
            let e = asked(query).expect_err(query);
            assert_eq!((e.code, e.param.as_deref()), (code, Some(param)), "{query}: {e}");
        }
        let typo = asked("beam_widht=8").expect_err("a typo").message;
        assert!(typo.contains("did you mean beam_width?"), "{typo}");
        let long = asked(&format!("model={}", "m".repeat(2000))).expect_err("too long");
        assert_eq!((long.code, long.param.as_deref()), (ErrorCode::TooLarge, Some("model")));
    }

    proptest! {
        #[test]
        fn no_query_makes_the_parser_panic(query in "\\PC{0,200}") {
            let _ = asked(&query);
        }

        #[test]
        fn no_pair_makes_the_parser_panic(name in "[a-z_\\[\\]]{0,30}", value in "\\PC{0,100}", known in 0..KNOWN.len()) {
            let mut fields = Fields::default();
            let _ = fields.set(&name, &value);
            let _ = fields.set(KNOWN[known], &value);
            let _ = fields.finish(MAX_TIMEOUT);
        }
    }
}
