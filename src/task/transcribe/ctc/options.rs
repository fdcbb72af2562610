//! A request's options on top of the model's defaults.

use linnet_features::text::normalize_text;
use linnet_proto::model_config::DecodingDefaults;
use linnet_proto::{TranscribeOptions, WireError};

use crate::task::decode::{HotWords, SearchParams};
use crate::task::transcribe::language;

/// Beam that hot words get where the model's default is greedy, which could not use them.
const LEAST_HOT_WORD_BEAM: usize = 8;

/// What one transcription does.
#[derive(Debug)]
pub(in crate::task::transcribe) struct Plan {
    pub(super) search: SearchParams,
    pub(super) hot_words: HotWords,
    pub(super) punctuate: bool,
    /// Primary tag.
    pub(super) language: String,
}

impl Plan {
    /// `languages` are those of the model `name`, the main one first.
    pub(super) fn new(
        options: &TranscribeOptions,
        defaults: &DecodingDefaults,
        name: &str,
        languages: &[String],
    ) -> Result<Self, WireError> {
        options.check()?;
        let language = language(options.language.as_deref(), name, languages)?;
        let mut search = SearchParams::from(defaults);
        if let Some(weight) = options.lm_weight {
            search.lm_weight = weight;
        }
        if let Some(boost) = options.hot_word_boost {
            search.hot_word_boost = boost;
        }
        let prompt = options.prompt.as_deref().unwrap_or_default();
        match options.beam_width {
            Some(width) => search.beam_width = width as usize,
            None if !prompt.trim().is_empty() => search.beam_width = search.beam_width.max(LEAST_HOT_WORD_BEAM),
            None => {}
        }
        Ok(Self {
            search,
            hot_words: hot_words(prompt, &language),
            punctuate: options.punctuate.unwrap_or(defaults.punctuate),
            language,
        })
    }
}

/// English hot words are spelled as the training texts were: without accents, numbers in words.
fn hot_words(prompt: &str, language: &str) -> HotWords {
    if language == "en" {
        HotWords::new(prompt.split([',', ';', '\n', '\r']).map(normalize_text))
    } else {
        HotWords::parse(prompt)
    }
}

#[cfg(test)]
mod tests {
    use linnet_proto::ErrorCode;

    use super::*;

    fn plan(options: &TranscribeOptions, beam_width: u32) -> Result<Plan, WireError> {
        let defaults =
            DecodingDefaults { beam_width, lm_weight: 0.7, hot_word_boost: 3.0, ..DecodingDefaults::default() };
        Plan::new(options, &defaults, "stt", &["en".to_owned(), "de".to_owned()])
    }

    #[test]
    fn what_is_not_asked_is_the_models_default() {
        let plan = plan(&TranscribeOptions::default(), 12).expect("the defaults are well");
        assert_eq!((plan.search.beam_width, plan.search.lm_weight, plan.search.hot_word_boost), (12, 0.7, 3.0));
        assert_eq!((plan.language.as_str(), plan.punctuate), ("en", false));
        assert!(plan.search.sentence_ends);
    }

    #[test]
    fn what_is_asked_wins() {
        let options = TranscribeOptions {
            beam_width: Some(2),
            lm_weight: Some(0.0),
            hot_word_boost: Some(9.0),
            punctuate: Some(true),
            language: Some("DE-at".into()),
            prompt: Some("Zürich".into()),
            ..TranscribeOptions::default()
        };
        let plan = plan(&options, 12).expect("all within their rules");
        assert_eq!((plan.search.beam_width, plan.search.lm_weight, plan.search.hot_word_boost), (2, 0.0, 9.0));
        assert_eq!((plan.language.as_str(), plan.punctuate), ("de", true));
    }

    #[test]
    fn hot_words_get_a_beam_unless_greedy_is_asked_for() {
        let with = |prompt: &str, beam_width| {
            let options = TranscribeOptions { prompt: Some(prompt.into()), beam_width, ..TranscribeOptions::default() };
            plan(&options, 1).expect("well").search.beam_width
        };
        assert_eq!(with("linnet", None), LEAST_HOT_WORD_BEAM);
        assert_eq!(with(" ", None), 1);
        assert_eq!(with("linnet", Some(1)), 1);
    }

    #[test]
    fn a_language_that_the_model_does_not_speak_is_refused_with_those_that_it_does() {
        let options = TranscribeOptions { language: Some("fr".into()), ..TranscribeOptions::default() };
        let error = plan(&options, 1).expect_err("no French");
        assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedTask, Some("language")));
        assert!(error.message.contains("en, de") && error.message.contains("\"fr\""), "{error}");
    }
}
