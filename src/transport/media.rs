//! What a `Content-Type` or a file name says of audio: a [`Media`] for the decoder, the same for every transport.

use linnet_features::audio::Media;
use linnet_proto::{ErrorCode, WireError};

/// Types that say nothing about what is inside.
const OPAQUE: &[&str] = &["application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded"];

/// Longest `Content-Type` that is looked at, bytes.
const MAX_TYPE_BYTES: usize = 256;

/// Reads a `Content-Type` of audio. `audio/l16;rate=…;channels=…` is raw PCM ([RFC 2586]); it is taken as little-endian,
/// which is what people send, unless `endian=big` says otherwise. Any other `audio/…`, `video/…` (WebM, MP4) or
/// `application/ogg` is a hint, and an opaque type leaves it to the bytes.
///
/// [RFC 2586]: https://www.rfc-editor.org/rfc/rfc2586
pub fn media_of_content_type(content_type: &str) -> Result<Media, WireError> {
    if content_type.len() > MAX_TYPE_BYTES {
        return Err(unsupported(format!("the content type is longer than {MAX_TYPE_BYTES} bytes")));
    }
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    match essence.as_str() {
        "audio/l16" => l16(parts),
        "application/ogg" => Ok(Media::Hint(essence)),
        opaque if opaque.is_empty() || OPAQUE.contains(&opaque) => Ok(Media::Detect),
        known if is_media(known) => Ok(Media::Hint(essence)),
        other => Err(unsupported(format!(
            "the content type {other:?} is not audio; send audio/wav, audio/flac, audio/mpeg, audio/ogg, audio/webm, \
             audio/mp4, audio/l16;rate=…;channels=…, or application/octet-stream to let the bytes decide"
        ))),
    }
}

/// What a form's file is: raw PCM when its type says so, else its name's extension, else its type. Both are hints, so a
/// type that is not audio at all (browsers guess) is passed over, never refused.
pub fn media_of_file(content_type: Option<&str>, file_name: Option<&str>) -> Result<Media, WireError> {
    let declared = match content_type {
        Some(t) if is_l16(t) => return media_of_content_type(t),
        Some(t) => media_of_content_type(t).unwrap_or(Media::Detect),
        None => Media::Detect,
    };
    Ok(file_name.and_then(extension).map_or(declared, Media::Hint))
}

fn is_l16(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("audio/l16"))
}

fn is_media(essence: &str) -> bool {
    ["audio/", "video/"].iter().any(|p| essence.strip_prefix(p).is_some_and(|subtype| !subtype.is_empty()))
}

/// A short alphanumeric extension in lower case.
fn extension(file_name: &str) -> Option<String> {
    let (_, extension) = file_name.rsplit_once('.')?;
    let plain = (1..=8).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| extension.to_ascii_lowercase())
}

fn l16<'a>(parameters: impl Iterator<Item = &'a str>) -> Result<Media, WireError> {
    let (mut rate, mut channels, mut big_endian) = (None, 1, false);
    for parameter in parameters.filter(|p| !p.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "rate" => rate = Some(value.parse().map_err(|_| not_a_number("rate", value, u32::MAX.into()))?),
            "channels" => channels = value.parse().map_err(|_| not_a_number("channels", value, u16::MAX.into()))?,
            "endian" => {
                big_endian = match value.to_ascii_lowercase().as_str() {
                    "big" => true,
                    "little" => false,
                    _ => {
                        let message = format!("audio/l16 says endian={value:?}; it must be little or big");
                        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("endian"));
                    }
                }
            }
            _ => {}
        }
    }
    let rate = rate.ok_or_else(|| {
        let message = "audio/l16 does not say its rate; send audio/l16;rate=16000;channels=1";
        WireError::new(ErrorCode::InvalidOption, message).with_param("rate")
    })?;
    Ok(Media::L16 { rate, channels, big_endian })
}

fn not_a_number(name: &str, value: &str, max: u64) -> WireError {
    let message = format!("audio/l16 says {name}={value:?}; it must be a whole number from 0 to {max}");
    WireError::new(ErrorCode::InvalidOption, message).with_param(name)
}

fn unsupported(message: String) -> WireError {
    WireError::new(ErrorCode::UnsupportedMedia, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_pcm_is_little_endian_mono_unless_it_says_otherwise() {
        let read = |t| media_of_content_type(t).expect(t);
        assert_eq!(read("audio/l16;rate=16000"), Media::L16 { rate: 16_000, channels: 1, big_endian: false });
        assert_eq!(
            read("Audio/L16; Rate=\"8000\"; channels = 2 ; endian=big; x=y"),
            Media::L16 { rate: 8_000, channels: 2, big_endian: true }
        );
        assert_eq!(
            read("audio/l16;rate=4000000000"),
            Media::L16 { rate: 4_000_000_000, channels: 1, big_endian: false }
        );
    }

    #[test]
    fn raw_pcm_that_does_not_describe_itself_is_refused_by_parameter() {
        for (content_type, param) in [
            ("audio/l16", "rate"),
            ("audio/l16;rate=", "rate"),
            ("audio/l16;rate=-1", "rate"),
            ("audio/l16;rate=99999999999", "rate"),
            ("audio/l16;rate=16000;channels=65536", "channels"),
            ("audio/l16;rate=16000;endian=middle", "endian"),
        ] {
            let e = media_of_content_type(content_type).expect_err(content_type);
            assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidOption, Some(param)), "{content_type}");
        }
    }

    #[test]
    fn containers_are_hints_and_opaque_bytes_decide_themselves() {
        assert_eq!(media_of_content_type("audio/ogg; codecs=opus"), Ok(Media::Hint("audio/ogg".into())));
        assert_eq!(media_of_content_type("video/webm"), Ok(Media::Hint("video/webm".into())));
        assert_eq!(media_of_content_type("application/octet-stream"), Ok(Media::Detect));
        for refused in ["text/plain", "application/json", "audio/", "image/png"] {
            let e = media_of_content_type(refused).expect_err(refused);
            assert_eq!(e.code, ErrorCode::UnsupportedMedia, "{refused}");
        }
    }

    #[test]
    fn a_file_is_known_by_raw_type_then_extension_then_type() {
        let l16 = Media::L16 { rate: 8_000, channels: 1, big_endian: false };
        assert_eq!(media_of_file(Some("audio/l16;rate=8000"), Some("a.wav")), Ok(l16));
        assert_eq!(media_of_file(Some("audio/mpeg"), Some("a.FLAC")), Ok(Media::Hint("flac".into())));
        assert_eq!(media_of_file(Some("audio/mpeg"), Some("noname")), Ok(Media::Hint("audio/mpeg".into())));
        assert_eq!(media_of_file(Some("text/plain"), None), Ok(Media::Detect));
        assert_eq!(media_of_file(None, Some("../../etc/passwd")), Ok(Media::Detect));
    }
}
