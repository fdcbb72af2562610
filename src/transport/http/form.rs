//! `multipart/form-data` of a transcription: a file and options, in any order. [`parse`] is pure, so that it can be
//! fuzzed; the server runs the same code on a body that is still coming.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use linnet_features::audio::Media;
use linnet_proto::{ErrorCode, WireError};

use super::upload::{Budget, Upload};
use crate::transport::media::media_of_file;
use crate::transport::options::{Fields, MAX_FIELDS, max_value_bytes};

/// A form that was read to its end.
#[derive(Debug)]
pub struct Form {
    /// The file's content.
    pub audio: Bytes,
    /// What its headers say that it is.
    pub media: Media,
    /// The options.
    pub fields: Fields,
}

/// Parses a whole body in memory under its `Content-Type`.
pub fn parse(content_type: &str, body: Bytes) -> Result<Form, WireError> {
    let length = (body.len() as u64).max(1);
    let header =
        HeaderValue::from_str(content_type).map_err(|_| broken("the content type holds control characters"))?;
    let upload = Upload::open(Body::from(body), length, Duration::ZERO, &Budget::new(length))?;
    // The body is in memory: nothing is waited for.
    read(&header, upload, Fields::default())
        .now_or_never()
        .unwrap_or_else(|| Err(broken("the form does not end where its body ends")))
}

/// Reads the form from `upload`; `fields` are what the query has set.
pub(super) async fn read(content_type: &HeaderValue, upload: Upload, mut fields: Fields) -> Result<Form, WireError> {
    let pieces = upload.pieces();
    let body = stream::unfold(Some(upload), |upload| async {
        let mut upload = upload?;
        match upload.next().await {
            Ok(piece) => piece.map(|p| (Ok(p), Some(upload))),
            Err(e) => Some((Err(e), None)),
        }
    });
    let mut request = Request::new(Body::from_stream(body));
    request.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    // The upload counts for itself.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| broken("multipart/form-data without a boundary; let the HTTP client write that header"))?;

    let mut pieces = Some(pieces);
    let mut file = None;
    let mut count = 0;
    while let Some(mut field) = form.next_field().await.map_err(cause)? {
        count += 1;
        if count > MAX_FIELDS {
            return Err(broken(&format!("the form has more than {MAX_FIELDS} fields")));
        }
        let name = field.name().ok_or_else(|| broken("a field of the form has no name"))?.to_owned();
        if name == "file" {
            let Some(mut pieces) = pieces.take() else {
                return Err(broken("the form holds two files; send one request for each").with_param("file"));
            };
            let media = media_of_file(field.content_type(), field.file_name())?;
            while let Some(piece) = field.chunk().await.map_err(cause)? {
                if !piece.is_empty() {
                    pieces.push(&piece)?;
                }
            }
            file = Some((pieces.join(), media));
        } else {
            let value = text(field, &name).await?;
            fields.set(&name, &value)?;
        }
    }
    let (audio, media) = file.ok_or_else(|| {
        broken("the form has no field `file`; send the audio in it (curl -F file=@clip.wav)").with_param("file")
    })?;
    Ok(Form { audio, media, fields })
}

/// The text of a field, refused before it takes more memory than its option may.
async fn text(mut field: Field<'_>, name: &str) -> Result<String, WireError> {
    let max_bytes = max_value_bytes(name);
    let mut value = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(cause)? {
        if value.len() + piece.len() > max_bytes {
            let name: String = name.chars().take(40).collect();
            let message = format!("the field {name:?} is longer than {max_bytes} bytes");
            return Err(WireError::new(ErrorCode::TooLarge, message).with_param(name));
        }
        value.extend_from_slice(&piece);
    }
    String::from_utf8(value).map_err(|_| broken("the field is not UTF-8").with_param(name))
}

/// The upload's own refusal where there is one, else what is wrong with the form.
fn cause(error: MultipartError) -> WireError {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(e) = source {
        if let Some(refusal) = e.downcast_ref::<WireError>() {
            return refusal.clone();
        }
        source = e.source();
    }
    broken(&format!("the form is broken: {}", error.body_text()))
}

fn broken(message: &str) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=XX";

    fn part(name: &str, extra: &str, value: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{extra}\r\n\r\n{value}\r\n")
    }

    fn form(parts: &[String]) -> Result<Form, WireError> {
        parse(TYPE, Bytes::from(format!("{}--XX--\r\n", parts.concat())))
    }

    fn file() -> String {
        part("file", "; filename=\"a.wav\"\r\nContent-Type: audio/wav", "RIFF\r\n--X")
    }

    #[test]
    fn fields_may_come_in_any_order() {
        let fields = [file(), part("model", "", "whisper-1"), part("language", "", "en")];
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let form = form(&order.map(|i| fields[i].clone())).expect("a form");
            assert_eq!(&form.audio[..], b"RIFF\r\n--X");
            assert_eq!(form.media, Media::Hint("wav".into()));
            let asked = form.fields.finish(Duration::from_secs(1)).expect("options");
            assert_eq!(asked.options.model.as_deref(), Some("whisper-1"));
            assert_eq!(asked.options.language.as_deref(), Some("en"));
        }
    }

    #[test]
    fn a_form_that_breaks_a_rule_is_refused_by_field() {
        for (parts, code, param) in [
            (vec![part("model", "", "m")], ErrorCode::InvalidRequest, Some("file")),
            (vec![file(), file()], ErrorCode::InvalidRequest, Some("file")),
            (vec![file(), part("prompt", "", &"x".repeat(17_000))], ErrorCode::TooLarge, Some("prompt")),
            (vec![file(), part("modle", "", "m")], ErrorCode::InvalidOption, Some("modle")),
            (vec![file(), part("beam_width", "", "two")], ErrorCode::InvalidOption, Some("beam_width")),
            (vec![part("include[]", "", "logprobs"); 65], ErrorCode::InvalidRequest, None),
            (vec!["--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n".into()], ErrorCode::InvalidRequest, None),
        ] {
            let e = form(&parts).expect_err("a refusal");
            assert_eq!((e.code, e.param.as_deref()), (code, param), "{e}");
        }
    }

    #[test]
    fn a_broken_form_is_refused_as_such() {
        let whole = format!("{}--XX--\r\n", file());
        for broken in
            ["", "no boundary at all", "--XX", "--XX\r\n", &whole[..whole.len() - 8], &whole[..40], "--XX--\r\n"]
        {
            let e = parse(TYPE, Bytes::from(broken.to_owned())).expect_err(broken);
            assert_eq!(e.code, ErrorCode::InvalidRequest, "{broken:?}: {e}");
        }
        let e = parse("multipart/form-data", Bytes::from(whole)).expect_err("no boundary");
        assert!(e.message.contains("boundary"), "{e}");
    }

    #[test]
    fn a_field_that_is_not_utf8_is_refused() {
        let mut body = file().into_bytes();
        body.extend_from_slice(
            b"--XX\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\n\xff\xfe\r\n--XX--\r\n",
        );
        let e = parse(TYPE, Bytes::from(body)).expect_err("a refusal");
        assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidRequest, Some("language")));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic_or_wait(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(TYPE, Bytes::from(body));
        }

        #[test]
        fn no_cut_makes_the_parser_panic_or_give_half_a_file(cut in 0usize..400) {
            let whole = format!("{}{}--XX--\r\n", part("model", "", "m"), file());
            let cut = cut.min(whole.len() - 4);
            prop_assert!(parse(TYPE, Bytes::from(whole[..cut].to_owned())).is_err());
        }
    }
}
