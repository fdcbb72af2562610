//! What a request's message says: the audio and the options. [`parse`] is pure, so that it can be fuzzed.
//!
//! Two forms. Either the payload is the audio, the content type says what it is, and user properties give the options; or
//! the payload is a JSON object with the audio in base64 and the options beside it, which a client that speaks MQTT 3.1.1
//! (no properties) needs. In both the options have the names and the rules of the HTTP endpoint.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use bytes::Bytes;
use linnet_features::audio::Media;
use linnet_proto::format::ResponseFormat;
use linnet_proto::{ErrorCode, WireError};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::bounds::MAX_USER_PROPERTY_BYTES;
use crate::transport::media::media_of_content_type;
use crate::transport::options::{Asked, Fields, MAX_FIELDS, Names};

/// The standard alphabet, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// User properties that carriers add and that say nothing to Linnet.
const PASSED_OVER: &[&str] = &["traceparent", "tracestate", "baggage"];

/// A transcription's message, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The encoded audio.
    pub audio: Bytes,
    /// What the audio is.
    pub media: Media,
    /// Options, format of the answer and deadline.
    pub asked: Asked,
}

/// The limits that [`parse`] applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseLimits {
    /// Largest audio after base64, bytes.
    pub max_audio_bytes: u64,
    /// Longest deadline that a request may name.
    pub max_timeout: Duration,
}

/// Reads the message of a transcription. Without a content type a payload that begins with `{` is JSON, and any other is
/// audio that says itself what it is.
pub fn parse(
    content_type: Option<&str>,
    user_properties: &[(String, String)],
    payload: Bytes,
    limits: ParseLimits,
) -> Result<Parsed, WireError> {
    let mut fields = of_user_properties(user_properties)?;
    let (audio, media) = if is_json(content_type, &payload) {
        let object = Object::read(&payload)?;
        for (name, value) in &object.options {
            fields.set(name, value)?;
        }
        let media = object.content_type.as_deref().map_or(Ok(Media::Detect), media_of_content_type)?;
        (decode(&object.audio, limits.max_audio_bytes)?, media)
    } else {
        (payload, content_type.map_or(Ok(Media::Detect), media_of_content_type)?)
    };
    let asked = fields.finish_as(ResponseFormat::LinnetJson, limits.max_timeout)?;
    if audio.is_empty() {
        return Err(WireError::new(ErrorCode::EmptyAudio, "the audio is empty: not one byte").with_param("audio"));
    }
    within(audio.len() as u64, limits.max_audio_bytes)?;
    Ok(Parsed { audio, media, asked })
}

fn is_json(content_type: Option<&str>, payload: &[u8]) -> bool {
    match content_type.map(|t| t.split(';').next().unwrap_or_default().trim()) {
        Some(essence) if !essence.is_empty() => essence.eq_ignore_ascii_case("application/json"),
        _ => payload.trim_ascii_start().first() == Some(&b'{'),
    }
}

fn of_user_properties(properties: &[(String, String)]) -> Result<Fields, WireError> {
    let bytes: usize = properties.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_USER_PROPERTY_BYTES {
        let message = format!("the user properties have {bytes} bytes; at most {MAX_USER_PROPERTY_BYTES} are taken");
        return Err(WireError::new(ErrorCode::TooLarge, message).with_param("user_properties"));
    }
    let mut fields = Fields::named(Names::Mqtt);
    for (name, value) in properties {
        if !is_foreign(name) {
            fields.set(name, value)?;
        }
    }
    Ok(fields)
}

/// Whether a user property says nothing to Linnet: bridges, rules of brokers and tracing add their own.
pub fn is_foreign(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with('$') || PASSED_OVER.contains(&name)
}

fn within(bytes: u64, max: u64) -> Result<(), WireError> {
    if bytes <= max {
        return Ok(());
    }
    let message = format!("the audio has {bytes} bytes; at most {max} are taken (limits.max_upload_mib)");
    Err(WireError::new(ErrorCode::TooLarge, message).with_param("audio"))
}

fn decode(text: &str, max_bytes: u64) -> Result<Bytes, WireError> {
    // Four characters hold three bytes; an estimate from above, before anything is allocated.
    within(text.len() as u64 / 4 * 3, max_bytes.saturating_add(2))?;
    let decoded = BASE64.decode(text).or_else(|_| {
        // Line breaks, as `base64` and MIME write them.
        let plain: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        general_purpose::STANDARD.decode(plain)
    });
    decoded.map(Bytes::from).map_err(|e| {
        let message = format!("audio is not base64 (standard alphabet): {e}");
        WireError::new(ErrorCode::InvalidRequest, message).with_param("audio")
    })
}

/// The JSON form, before its options are checked.
struct Object<'a> {
    audio: Cow<'a, str>,
    content_type: Option<String>,
    /// Names and values as text, in their order.
    options: Vec<(String, String)>,
}

impl<'a> Object<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, WireError> {
        serde_json::from_slice(payload).map_err(|e| {
            let message = format!("the payload is not the JSON object {{\"audio\": \"<base64>\", …}}: {e}");
            WireError::new(ErrorCode::InvalidRequest, message)
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `audio`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let (mut audio, mut content_type, mut options) = (None, None, Vec::new());
        while let Some(key) = map.next_key::<Name<'de>>()? {
            match key.0.as_ref() {
                "audio" => set_once(&mut audio, "audio", map.next_value::<Name<'de>>()?.0)?,
                "content_type" => set_once(&mut content_type, "content_type", map.next_value::<String>()?)?,
                name => {
                    for value in map.next_value::<Scalars>()?.0 {
                        if options.len() >= MAX_FIELDS {
                            return Err(A::Error::custom(format_args!("more than {MAX_FIELDS} options")));
                        }
                        options.push((name.to_owned(), value));
                    }
                }
            }
        }
        let audio = audio.ok_or_else(|| A::Error::missing_field("audio"))?;
        Ok(Object { audio, content_type, options })
    }
}

fn set_once<T, E: de::Error>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

/// A string that is borrowed where it holds no escape.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(v)))
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// An option's value as text: a string, a number, `true`, `false`; `null` is absent; a list of strings is several.
struct Scalars(Vec<String>);

impl<'de> Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an option is a string, a number, true, false, null or a list of strings")]
        enum Value {
            Nothing(()),
            Switch(bool),
            Number(serde_json::Number),
            Text(String),
            List(Vec<String>),
        }
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::Nothing(()) => Vec::new(),
            Value::Switch(on) => vec![on.to_string()],
            Value::Number(number) => vec![number.to_string()],
            Value::Text(text) => vec![text],
            Value::List(list) => list,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::options::KNOWN_OVER_MQTT;

    const LIMITS: ParseLimits = ParseLimits { max_audio_bytes: 1000, max_timeout: Duration::from_secs(60) };

    fn properties(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn read(content_type: Option<&str>, pairs: &[(&str, &str)], payload: &str) -> Result<Parsed, WireError> {
        parse(content_type, &properties(pairs), Bytes::copy_from_slice(payload.as_bytes()), LIMITS)
    }

    #[test]
    fn audio_with_its_type_and_options_in_user_properties() {
        let parsed = read(
            Some("audio/l16;rate=8000"),
            &[("language", "en"), ("format", "srt"), ("beam_width", "4"), ("timeout_ms", "1500"), ("x-bridge", "b")],
            "RIFF",
        )
        .expect("reads");
        assert_eq!(parsed.audio, "RIFF");
        assert_eq!(parsed.media, Media::L16 { rate: 8000, channels: 1, big_endian: false });
        assert_eq!(parsed.asked.options.language.as_deref(), Some("en"));
        assert_eq!(parsed.asked.options.beam_width, Some(4));
        assert_eq!(parsed.asked.format, ResponseFormat::Srt);
        assert_eq!(parsed.asked.timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn json_says_the_same_as_properties() {
        let parsed = read(
            None,
            &[],
            r#" {"audio": "UklG\nRg==", "content_type": "audio/wav", "language": "en", "beam_width": 4, "punctuate": true,
                 "format": "verbose_json", "timestamp_granularities": ["word", "segment"], "model": null}"#,
        )
        .expect("reads");
        assert_eq!(parsed.audio, "RIFF");
        assert_eq!(parsed.media, Media::Hint("audio/wav".into()));
        assert_eq!(parsed.asked.options.beam_width, Some(4));
        assert_eq!(parsed.asked.options.punctuate, Some(true));
        assert_eq!(parsed.asked.options.model, None);
        assert_eq!(parsed.asked.format, ResponseFormat::VerboseJson);
        assert!(parsed.asked.granularities.word && parsed.asked.granularities.segment);
    }

    #[test]
    fn nothing_said_is_linnets_own_answer_and_bytes_that_decide_themselves() {
        let parsed = read(None, &[], "OggS").expect("reads");
        assert_eq!((parsed.media, parsed.asked.format), (Media::Detect, ResponseFormat::LinnetJson));
        assert_eq!(
            read(Some("application/json; charset=utf-8"), &[], r#"{"audio":"UklGRg"}"#).expect("reads").audio,
            "RIFF"
        );
        // A content type of audio wins over a payload that looks like JSON.
        assert_eq!(read(Some("audio/wav"), &[], "{").expect("reads").audio, "{");
    }

    #[test]
    fn each_fault_is_one_typed_error_that_names_its_place() {
        use ErrorCode::*;
        for (content_type, pairs, payload, code, param) in [
            (None, &[][..], "", EmptyAudio, Some("audio")),
            (Some("text/plain"), &[], "x", UnsupportedMedia, None),
            (None, &[("langauge", "en")], "x", InvalidOption, Some("langauge")),
            (None, &[("beam_width", "99")], "x", InvalidOption, Some("beam_width")),
            (None, &[("format", "docx")], "x", InvalidOption, Some("format")),
            (None, &[("response_format", "docx")], "x", InvalidOption, Some("response_format")),
            (None, &[("format", "text"), ("response_format", "srt")], "x", InvalidRequest, Some("response_format")),
            (None, &[("stream", "perhaps")], "x", InvalidOption, Some("stream")),
            (None, &[("timeout_ms", "60001")], "x", InvalidOption, Some("timeout_ms")),
            (None, &[("model", "a"), ("model", "b")], "x", InvalidRequest, Some("model")),
            (None, &[], "{", InvalidRequest, None),
            (None, &[], "{}", InvalidRequest, None),
            (None, &[], r#"{"audio": 7}"#, InvalidRequest, None),
            (None, &[], r#"{"audio": "UklG", "audio": "UklG"}"#, InvalidRequest, None),
            (None, &[], r#"{"audio": "UklG", "model": {"a": 1}}"#, InvalidRequest, None),
            (None, &[], r#"{"audio": "UklG"} x"#, InvalidRequest, None),
            (None, &[], r#"{"audio": "*"}"#, InvalidRequest, Some("audio")),
            (None, &[], r#"{"audio": ""}"#, EmptyAudio, Some("audio")),
            (None, &[], r#"{"audio": "UklG", "content_type": "image/png"}"#, UnsupportedMedia, None),
            (None, &[], r#"{"audio": "UklG", "modle": "m"}"#, InvalidOption, Some("modle")),
            (Some("application/json"), &[], "RIFF", InvalidRequest, None),
        ] {
            let e = read(content_type, pairs, payload).expect_err(payload);
            assert_eq!((e.code, e.param.as_deref()), (code, param), "{payload}: {e}");
        }
    }

    #[test]
    fn a_refusal_names_options_as_mqtt_does_and_as_the_page_for_integrators_lists_them() {
        let page = include_str!("../../../docs/mqtt.md");
        let colour = read(None, &[("colour", "red")], "x").expect_err("no option").message;
        for name in KNOWN_OVER_MQTT {
            assert!(colour.contains(name) && page.contains(&format!("`{name}`")), "{name}: {colour}");
            let taken = read(None, &[(name, "")], "x");
            assert!(taken.is_ok(), "{name}: {taken:?}");
        }
        for of_http in ["response_format", "[]"] {
            assert!(!colour.contains(of_http), "{colour}");
        }
        let typo = read(None, &[], r#"{"audio": "UklG", "formta": "srt"}"#).expect_err("a typo").message;
        assert!(typo.contains("did you mean format?"), "{typo}");
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_decoded() {
        assert!(read(None, &[], &"x".repeat(1000)).is_ok());
        assert_eq!(read(None, &[], &"x".repeat(1001)).expect_err("too large").code, ErrorCode::TooLarge);
        let base64 = |bytes: usize| format!(r#"{{"audio": "{}"}}"#, general_purpose::STANDARD.encode(vec![0; bytes]));
        assert!(read(None, &[], &base64(1000)).is_ok());
        for bytes in [1001, 1_000_000] {
            let e = read(None, &[], &base64(bytes)).expect_err("too large");
            assert_eq!((e.code, e.param.as_deref()), (ErrorCode::TooLarge, Some("audio")));
        }
        let many = vec![("x-a".to_owned(), "v".repeat(1024)); 64];
        let e = parse(None, &many, Bytes::from_static(b"x"), LIMITS).expect_err("64 KiB of user properties");
        assert_eq!((e.code, e.param.as_deref()), (ErrorCode::TooLarge, Some("user_properties")));
    }

    proptest! {
        #[test]
        fn no_message_makes_the_parser_panic(
            content_type in proptest::option::of("\\PC{0,40}"),
            name in "\\PC{0,20}",
            value in "\\PC{0,40}",
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            text in "\\{(\"audio\":|\"model\":|\"[a-z]{0,6}\"|[0-9]|true|null|,|\\[|\\]){0,8}\\}?",
        ) {
            let properties = [(name, value)];
            let _ = parse(content_type.as_deref(), &properties, payload.into(), LIMITS);
            let _ = parse(None, &[], text.into_bytes().into(), LIMITS);
        }
    }
}
