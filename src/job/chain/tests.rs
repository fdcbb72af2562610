use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use linnet_features::audio::Media;
use linnet_proto::generate::{
    Chat, Choice, Content, ContentPart, Delta, GenerateInput, GenerateRequest, Generated, InputAudio, Message,
};
use linnet_proto::text::{AnswerRequest, SummarizeRequest};
use linnet_proto::translate::{DetectRequest, Detected, DetectedLanguage, TranslateRequest, Translated, Translation};
use linnet_proto::{ErrorCode, Segment, TranscribeOptions, Transcript, WireError};

use super::*;
use crate::job::{Answer, Offer, Part, Priority, TaskRequest, TranscribeRequest};

/// Models that answer at once, in a way that a test can foresee: a translation of `x` by `m` is `m(x)`, speech says its own bytes.
#[derive(Default)]
struct Models {
    offers: Arc<Offers>,
    /// Task, model and id of every job.
    asked: Mutex<Vec<String>>,
    full: Mutex<usize>,
}

/// Name, tasks, languages and pairs.
type Described<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [(&'a str, &'a str)]);

impl Models {
    fn of(models: &[Described<'_>]) -> Arc<Self> {
        let owned = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect();
        let offers = models.iter().map(|(name, tasks, languages, pairs)| Offer {
            name: (*name).to_owned(),
            aliases: Vec::new(),
            tasks: owned(tasks),
            languages: owned(languages),
            pairs: pairs.iter().map(|(s, t)| ((*s).to_owned(), (*t).to_owned())).collect(),
        });
        let offers = Arc::new(Offers { models: offers.collect(), ..Offers::default() });
        Arc::new(Self { offers, ..Self::default() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn language_of(text: &str) -> DetectedLanguage {
    DetectedLanguage { language: text.split(':').next().unwrap_or_default().to_owned(), confidence: 0.9 }
}

impl Admit for Models {
    fn admit(&self, request: Request) -> Result<Reply, WireError> {
        let task = request.task.name();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if *full > 0 && !asked.is_empty() {
            *full -= 1;
            return Err(WireError::new(ErrorCode::Overloaded, "full").with_retry_after_ms(1));
        }
        let Some(model) = self.offers.pick(task, request.task.model()).map(|m| m.name.clone()) else {
            return Err(WireError::new(ErrorCode::UnsupportedTask, format!("no model here does {task}")));
        };
        asked.push(format!("{task} {model} {}", request.id));
        let (parts, _, reply) = Reply::channel(8);
        let send = |part| parts.try_send(Ok(part)).expect("a place");
        send(Part::Done(match request.task {
            TaskRequest::Transcribe(asked) => {
                let text = String::from_utf8(asked.audio.to_vec()).expect("text");
                let segment = |(id, text): (u32, &str)| Segment {
                    id,
                    start: f64::from(id),
                    end: f64::from(id + 1),
                    text: text.to_owned(),
                    avg_logprob: -0.1,
                    words: Vec::new(),
                    ..Segment::default()
                };
                Answer::Transcript(Transcript {
                    segments: (0..).zip(text.split('|')).map(segment).collect(),
                    text: text.replace('|', " "),
                    words: Vec::new(),
                    model,
                    language: self.offers.models[0].languages[0].clone(),
                    duration_secs: 2.0,
                    rtf: 0.1,
                    queue_ms: 0.0,
                    inference_ms: 1.0,
                })
            }
            TaskRequest::Translate(asked) => {
                let by = |text: String| Translation { text: format!("{model}({text})"), ..Translation::default() };
                let translations = asked.texts.into_iter().map(by).collect();
                Answer::Translated(Translated {
                    translations,
                    models: vec![model.clone()],
                    inference_ms: 1.0,
                    explanation: asked.explain.then(|| "a step for each token".to_owned()),
                })
            }
            TaskRequest::Detect(asked) => {
                let results = asked.texts.iter().map(|text| vec![language_of(text)]).collect();
                Answer::Detected(Detected { results, model })
            }
            TaskRequest::Generate(asked) => {
                let GenerateInput::Chat(chat) = asked.input else { panic!("a chat") };
                let text = |message: &Message| match &message.content {
                    Content::Text(text) => text.clone(),
                    Content::Parts(parts) => parts
                        .iter()
                        .map(|part| match part {
                            ContentPart::Text { text } => text.as_str(),
                            ContentPart::InputAudio { .. } => "[speech]",
                        })
                        .collect(),
                    Content::Empty => String::new(),
                };
                let last = chat.messages.last().map(text).unwrap_or_default();
                let text = match last.rsplit_once("Question: ") {
                    Some((_, "who")) => "Zoë.".to_owned(),
                    Some(_) => "None".to_owned(),
                    None => last.split("\n\n").last().unwrap_or_default().chars().take(20).collect(),
                };
                send(Part::Delta(Delta { text: text.clone(), ..Delta::default() }));
                let choices = vec![Choice { text, ..Choice::default() }];
                Answer::Generated(Generated { choices, model, ..Generated::default() })
            }
            other => panic!("no answer to {}", other.name()),
        }));
        Ok(reply)
    }

    fn offers(&self) -> Arc<Offers> {
        Arc::clone(&self.offers)
    }
}

fn request(task: TaskRequest) -> Request {
    Request { id: "r".into(), origin: Origin::Http, task, timeout: Duration::from_secs(20), priority: Priority::Normal }
}

async fn ask(models: &Arc<Models>, task: TaskRequest) -> Result<Answer, WireError> {
    Chains::new(Arc::clone(models) as _).admit(request(task))?.answer().await
}

fn translation(texts: &[&str], source: &str, target: &str) -> TaskRequest {
    let texts = texts.iter().map(|&t| t.to_owned()).collect();
    TaskRequest::Translate(TranslateRequest {
        texts,
        source: source.to_owned(),
        target: target.to_owned(),
        ..TranslateRequest::default()
    })
}

fn texts(answer: Result<Answer, WireError>) -> Vec<String> {
    match answer {
        Ok(Answer::Translated(answer)) => answer.translations.into_iter().map(|t| t.text).collect(),
        other => panic!("{other:?}"),
    }
}

fn translators() -> Arc<Models> {
    Models::of(&[
        ("de-en", &["translate"], &["de", "en"], &[("de", "en")]),
        ("en-fr", &["translate"], &["en", "fr"], &[("en", "fr")]),
        ("lang-id", &["detect"], &["de", "en", "fr"], &[]),
    ])
}

#[tokio::test]
async fn a_translation_takes_the_model_of_its_pair_or_two_over_a_third_language() {
    let models = translators();
    assert_eq!(texts(ask(&models, translation(&["a"], "de-AT", "en")).await), ["de-en(a)"]);
    assert_eq!(texts(ask(&models, translation(&["a", "b"], "de", "fr")).await), ["en-fr(de-en(a))", "en-fr(de-en(b))"]);
    assert_eq!(models.asked()[1..], ["translate de-en r", "translate en-fr r.1"]);
    let e = ask(&models, translation(&["a"], "fr", "de")).await.expect_err("no way");
    assert_eq!((e.code, e.param.as_deref()), (ErrorCode::UnsupportedTask, Some("target")));
    assert!(e.message.contains("de to en, en to fr"), "{e}");
}

#[tokio::test]
async fn an_alignment_is_of_one_model_and_its_absence_is_told() {
    let models = translators();
    for (source, text, target, why) in [
        ("de", "a", "en", "a step for each token"),
        ("de", "a", "fr", "two models"),
        ("auto", "en:a", "fr", "a step for each token"),
        ("auto", "de:a", "fr", "two models"),
    ] {
        let TaskRequest::Translate(mut asked) = translation(&[text], source, target) else { panic!("a translation") };
        asked.explain = true;
        let answer = ask(&models, TaskRequest::Translate(asked)).await;
        let Ok(Answer::Translated(answer)) = answer else { panic!("{answer:?}") };
        assert!(answer.explanation.as_deref().is_some_and(|e| e.contains(why)), "{source}: {:?}", answer.explanation);
    }
    let Ok(Answer::Translated(plain)) = ask(&models, translation(&["a"], "de", "fr")).await else { panic!("words") };
    assert_eq!(plain.explanation, None);
}

#[tokio::test]
async fn a_text_that_is_in_the_language_already_stays_as_it_is() {
    let models = translators();
    assert_eq!(texts(ask(&models, translation(&["a"], "fr", "fr")).await), ["a"]);
    assert!(models.asked().is_empty());
}

#[tokio::test]
async fn texts_of_unknown_languages_are_translated_each_from_its_own() {
    let models = translators();
    let answer = ask(&models, translation(&["de:x", "fr:y", "en:z"], "auto", "fr")).await;
    let Ok(Answer::Translated(answer)) = answer else { panic!("{answer:?}") };
    let texts: Vec<_> = answer.translations.iter().map(|t| t.text.as_str()).collect();
    assert_eq!(texts, ["en-fr(de-en(de:x))", "fr:y", "en-fr(en:z)"]);
    let found = |at: usize| answer.translations[at].detected.as_ref().map(|d| d.language.as_str());
    assert_eq!((found(0), found(1), found(2)), (Some("de"), Some("fr"), Some("en")));
    assert_eq!(answer.models, ["lang-id", "de-en", "en-fr"]);
    let e = ask(&models, translation(&["ja:x"], "auto", "fr")).await.expect_err("no way");
    assert!(e.message.contains("ja to fr"), "{e}");
}

#[tokio::test]
async fn without_a_model_that_finds_languages_auto_is_refused_with_the_way_out() {
    let models = Models::of(&[("de-en", &["translate"], &["de", "en"], &[("de", "en")])]);
    let e = ask(&models, translation(&["x"], "auto", "en")).await.expect_err("nothing finds it");
    assert_eq!(e.param.as_deref(), Some("source"));
    let TaskRequest::Translate(mut named) = translation(&["x"], "auto", "en") else { panic!("a translation") };
    named.model = Some("de-en".into());
    assert_eq!(texts(ask(&models, TaskRequest::Translate(named)).await), ["de-en(x)"]);
}

#[tokio::test]
async fn a_further_job_waits_for_a_place_and_the_first_does_not() {
    let models = translators();
    *models.full.lock().expect("no panic") = 3;
    assert_eq!(texts(ask(&models, translation(&["a"], "de", "fr")).await), ["en-fr(de-en(a))"]);
    *models.full.lock().expect("no panic") = 1;
    let e = ask(&models, translation(&["a"], "de", "fr")).await.expect_err("full");
    assert_eq!(e.code, ErrorCode::Overloaded);
}

fn speech(bytes: &'static [u8], translate: bool, language: Option<&str>) -> TaskRequest {
    let options = TranscribeOptions { language: language.map(str::to_owned), ..TranscribeOptions::default() };
    let audio = Bytes::from_static(bytes);
    TaskRequest::Transcribe(TranscribeRequest { audio, media: Media::Detect, options, translate })
}

#[tokio::test]
async fn speech_is_translated_by_one_model_that_can_or_by_two() {
    let two = Models::of(&[
        ("stt-de", &["transcribe"], &["de"], &[]),
        ("de-en", &["translate"], &["de", "en"], &[("de", "en")]),
    ]);
    let answer = ask(&two, speech(b"eins|zwei", true, None)).await;
    let Ok(Answer::Transcript(heard)) = answer else { panic!("{answer:?}") };
    assert_eq!((heard.text.as_str(), heard.language.as_str()), ("de-en(eins) de-en(zwei)", "en"));
    assert_eq!(heard.segments[1].text, "de-en(zwei)");
    assert_eq!(heard.segments[1].start, 1.0, "the times stay");

    let whisper = Models::of(&[("whisper", &["transcribe", "translate-speech"], &["de", "en"], &[])]);
    ask(&whisper, speech(b"eins", true, None)).await.expect("an answer");
    assert_eq!(whisper.asked(), ["translate-speech whisper r"]);

    let deaf = Models::of(&[("stt-de", &["transcribe"], &["de"], &[])]);
    let e = ask(&deaf, speech(b"eins", true, None)).await.expect_err("nothing translates");
    assert_eq!(e.code, ErrorCode::UnsupportedTask);
}

#[tokio::test]
async fn speech_goes_to_the_model_of_its_language() {
    let models = Models::of(&[("en", &["transcribe"], &["en"], &[]), ("de", &["transcribe"], &["de"], &[])]);
    ask(&models, speech(b"x", false, Some("de"))).await.expect("an answer");
    ask(&models, speech(b"x", false, None)).await.expect("an answer");
    assert_eq!(models.asked(), ["transcribe de r", "transcribe en r"]);
}

#[tokio::test]
async fn speech_in_a_chat_is_heard_before_it_is_answered() {
    let models = Models::of(&[("stt", &["transcribe"], &["en"], &[]), ("lm", &["generate", "chat"], &["en"], &[])]);
    let recording = |bytes: &[u8]| ContentPart::InputAudio {
        input_audio: InputAudio { data: base64::engine::general_purpose::STANDARD.encode(bytes), format: "wav".into() },
    };
    let say = |parts| {
        let message = Message { role: "user".into(), content: Content::Parts(parts), ..Message::default() };
        let chat = Chat { messages: vec![message], ..Chat::default() };
        let mut asked = GenerateRequest::new(GenerateInput::Chat(chat));
        asked.stream = true;
        TaskRequest::Generate(asked)
    };
    let parts = vec![recording(b"one "), ContentPart::Text { text: "and ".into() }, recording(b"two")];
    let mut reply = Chains::new(Arc::clone(&models) as _).admit(request(say(parts))).expect("admitted");
    assert_eq!(reply.model(), "lm");
    let first = reply.next().await;
    assert!(matches!(&first, Some(Ok(Part::Delta(delta))) if delta.text == "one and two"), "{first:?}");
    reply.answer().await.expect("an answer");
    assert_eq!(models.asked(), ["transcribe stt r", "transcribe stt r.1", "chat lm r.2"]);

    let e = ask(
        &models,
        say(vec![ContentPart::InputAudio {
            input_audio: InputAudio { data: "not base64!".into(), format: String::new() },
        }]),
    )
    .await
    .expect_err("no base64");
    assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidRequest, Some("input_audio")));
    let e = ask(&models, say((0..17).map(|_| recording(b"x")).collect())).await.expect_err("too many");
    assert_eq!(e.code, ErrorCode::InvalidOption);
    let mute = Models::of(&[("lm", &["chat"], &["en"], &[])]);
    let e = ask(&mute, say(vec![recording(b"x")])).await.expect_err("nothing hears");
    assert_eq!(e.code, ErrorCode::UnsupportedTask);
}

#[tokio::test]
async fn what_no_model_is_made_for_is_asked_of_one_that_chats() {
    let models = Models::of(&[("lm", &["generate", "chat"], &["en"], &[])]);
    let long = "a sentence of a long text. ".repeat(1000);
    let asked = SummarizeRequest { input: long, ..SummarizeRequest::default() };
    let answer = ask(&models, TaskRequest::Summarize(asked)).await;
    let Ok(Answer::Summary(summary)) = answer else { panic!("{answer:?}") };
    assert_eq!((summary.sections, summary.model.as_str()), (4, "lm"));
    assert!(!summary.summary.is_empty());
    assert_eq!(models.asked().len(), 5, "four sections, and their summaries together");

    let answer = |question: &str, allow_no_answer| {
        let question = question.to_owned();
        let context = "It was Zoë who called".to_owned();
        let asked = AnswerRequest { question, context, allow_no_answer, ..AnswerRequest::default() };
        ask(&models, TaskRequest::Answer(asked))
    };
    let Ok(Answer::Answered(found)) = answer("who", false).await else { panic!("an answer") };
    let span = &found.results[0];
    assert_eq!((span.answer.as_str(), span.start, span.end), ("Zoë", 7, 10));
    let Ok(Answer::Answered(none)) = answer("why", true).await else { panic!("an answer") };
    assert_eq!(none.results[0].answer, "");
    let Ok(Answer::Answered(none)) = answer("why", false).await else { panic!("an answer") };
    assert!(none.results.is_empty());
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_chain_along() {
    struct Slow(Arc<Models>, Mutex<Vec<tokio::sync::mpsc::Sender<Result<Part, WireError>>>>);
    impl Admit for Slow {
        fn admit(&self, request: Request) -> Result<Reply, WireError> {
            let (parts, _, reply) = Reply::channel(2);
            assert_eq!(request.task.name(), "translate");
            self.1.lock().expect("no panic").push(parts);
            Ok(reply)
        }

        fn offers(&self) -> Arc<Offers> {
            self.0.offers()
        }
    }
    let slow = Arc::new(Slow(translators(), Mutex::default()));
    let reply = Chains::new(Arc::clone(&slow) as _).admit(request(translation(&["a"], "de", "fr"))).expect("admitted");
    let first = slow.1.lock().expect("no panic").remove(0);
    assert!(!first.is_closed());
    drop(reply);
    tokio::time::timeout(Duration::from_secs(20), first.closed()).await.expect("the job is cancelled");
}

#[test]
fn a_detection_and_everything_else_pass_through() {
    let task = TaskRequest::Detect(DetectRequest::default());
    assert!(matches!(plan::of(task, &Offers::default()), Ok(Plan::Direct(_))));
}
