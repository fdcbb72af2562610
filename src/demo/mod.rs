//! `linnetd demo`: a broker, a daemon, one recording, both transports, and what was heard, translated and written, in a few lines.
//!
//! Nothing is shortened for the show: the daemon is this same binary as a child process with a configuration of its own, and the
//! recording goes through the local socket's HTTP and through a real MQTT broker.

mod broker;
mod daemon;
mod over_http;
mod over_mqtt;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linnet_proto::Transcript;

/// The recording that is bundled: synthesized by the project itself (`tests/data/audio/README.md`).
const SAMPLE: &[u8] = include_bytes!("../../tests/data/audio/sample.wav");
/// What was spoken in it.
const SAMPLE_TEXT: &str = include_str!("../../tests/data/audio/sample.txt");
/// What the bundled translator is shown.
const TO_TRANSLATE: [&str; 3] = [
    "The weather is very nice today.",
    "I would like to have a cup of coffee.",
    "We live in a small house near the river.",
];
/// How the bundled writer's story begins.
const STORY: &str = "Once upon a time, there was a little girl named Lily. One day,";
/// Tokens of the story.
const STORY_TOKENS: u32 = 60;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The user's file cannot be read.
    #[error("{path}: {source}; give an audio file: linnetd demo --file recording.wav")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The temporary directory, the broker or the daemon did not start.
    #[error("{0}")]
    Start(String),
    /// A transport gave no answer.
    #[error("no answer over {transport}: {reason}")]
    Answer {
        /// `the socket` or `MQTT`.
        transport: &'static str,
        /// The cause.
        reason: String,
    },
    /// What was heard cannot be told.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// Ctrl-C.
    #[error("interrupted; the daemon and the broker are stopped and their directory is removed")]
    Interrupted,
}

/// What the demo was asked for.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    /// The user's own recording.
    pub file: Option<PathBuf>,
    /// Packages to load instead of the bundled ones.
    pub models: Option<PathBuf>,
}

/// Runs the demo on a runtime of its own and tells it on `out`.
pub fn run(options: &DemoOptions, out: &mut impl Write) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| DemoError::Start(format!("the demo's runtime did not start: {e}")))?;
    runtime.block_on(async {
        tokio::select! {
            done = show(options, out) => done,
            _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
        }
    })
}

async fn show(options: &DemoOptions, out: &mut impl Write) -> Result<(), DemoError> {
    let (audio, name) = match &options.file {
        Some(path) => (
            tokio::fs::read(path).await.map_err(|source| DemoError::File { path: path.clone(), source })?,
            path.display().to_string(),
        ),
        None => (SAMPLE.to_vec(), "the bundled sample".to_owned()),
    };
    let home = tempfile::Builder::new()
        .prefix("linnet-demo-")
        .tempdir()
        .map_err(|e| DemoError::Start(format!("no temporary directory for the demo: {e}; set TMPDIR")))?;

    writeln!(out, "Linnet hears {name}.\n")?;
    let port = broker::start()?;
    let started = Instant::now();
    let mut daemon = daemon::start(home.path(), port, options.models.as_deref()).await?;
    writeln!(
        out,
        "  linnetd        ready after {} ms (socket and MQTT broker on this machine only)",
        started.elapsed().as_millis()
    )?;
    if options.file.is_none() {
        writeln!(out, "  spoken         {}", SAMPLE_TEXT.trim())?;
    }

    let asked = Instant::now();
    let heard = over_http::transcribe(daemon.socket(), audio.clone()).await?;
    print_answer(out, "socket", &heard, asked.elapsed())?;

    let asked = Instant::now();
    let heard_again = over_mqtt::transcribe(port, audio).await?;
    print_answer(out, "MQTT", &heard_again, asked.elapsed())?;

    print_words(out, &heard)?;
    let models = over_http::models(daemon.socket()).await?;
    if models.iter().any(|model| model == over_http::TRANSLATOR) {
        let asked = Instant::now();
        let translated = over_http::translate(daemon.socket(), &TO_TRANSLATE).await?;
        writeln!(
            out,
            "\n  translated     {} sentences in {} ms; model {}",
            translated.len(),
            asked.elapsed().as_millis(),
            over_http::TRANSLATOR
        )?;
        for (english, german) in TO_TRANSLATE.iter().zip(&translated) {
            writeln!(out, "    {english}\n      {german}")?;
        }
    }
    if models.iter().any(|model| model == over_http::WRITER) {
        let asked = Instant::now();
        let story = over_http::write(daemon.socket(), STORY, STORY_TOKENS).await?;
        writeln!(out, "\n  written        in {} ms; model {}", asked.elapsed().as_millis(), over_http::WRITER)?;
        print_wrapped(out, &format!("{STORY}{story}"))?;
    }
    daemon.stop().await;
    Ok(print_next_steps(out, options.file.as_deref())?)
}

fn print_answer(out: &mut impl Write, transport: &str, heard: &Transcript, took: Duration) -> io::Result<()> {
    let text = if heard.text.is_empty() { "(no speech)" } else { heard.text.as_str() };
    writeln!(out, "  over {transport:<9} {text}")?;
    writeln!(
        out,
        "                 {:.1} s of audio in {:.0} ms; real-time factor {:.3}; model {}",
        heard.duration_secs,
        took.as_secs_f64() * 1e3,
        heard.rtf,
        heard.model,
    )
}

fn print_words(out: &mut impl Write, heard: &Transcript) -> io::Result<()> {
    if heard.words.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n  words          from      to  confidence")?;
    const SHOWN: usize = 12;
    for word in heard.words.iter().take(SHOWN) {
        writeln!(
            out,
            "  {:<13} {:>5.2} s {:>5.2} s  {:>9.0} %",
            word.word,
            word.start,
            word.end,
            word.confidence * 100.0
        )?;
    }
    if heard.words.len() > SHOWN {
        writeln!(out, "  … and {} more", heard.words.len() - SHOWN)?;
    }
    Ok(())
}

/// A text in lines of a readable width.
fn print_wrapped(out: &mut impl Write, text: &str) -> io::Result<()> {
    const WIDTH: usize = 72;
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= WIDTH {
            writeln!(out, "    {line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "    {line} …")
}

fn print_next_steps(out: &mut impl Write, file: Option<&Path>) -> io::Result<()> {
    writeln!(out, "\nTry your own:")?;
    if file.is_none() {
        writeln!(out, "  cargo run --release -- demo --file my.wav")?;
    }
    // On lines of their own: `build && linnetd &` would put the build into the background, too.
    writeln!(out, "  cargo build --release --workspace")?;
    writeln!(out, "  target/release/linnetd & sleep 2")?;
    writeln!(out, "  target/release/linnet transcribe my.wav")?;
    writeln!(out, "  target/release/linnet translate --from en --to de 'The train is late.'")?;
    writeln!(
        out,
        "  arecord -f S16_LE -r 16000 -d 5 | target/release/linnet transcribe -     # your microphone, five seconds"
    )
}
