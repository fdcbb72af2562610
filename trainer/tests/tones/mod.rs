//! A small made-up corpus in which each letter is a tone, and training on it: in this process, or by the program itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use clap::Parser;
use linnet_train::cli::{self, Cli};
use linnet_train::error::Failure;
use linnet_train::units::Units;

const RATE: usize = 16_000;
/// Longest wait for a line: a machine under load is slow, and a wait that ends is one that can be read.
const PATIENCE: Duration = Duration::from_secs(300);
/// A model that a step takes milliseconds for.
const SHAPE: &str = "--conv-channels 4 --d-model 16 --layers 1 --heads 2 --ff-mult 2 --conv-kernel 5 --batch-secs 6";

/// Writes a WAV file in which each letter is a tone of its own.
pub fn tones(path: &Path, text: &str) {
    let per_letter = RATE / 5;
    let samples: Vec<i16> = text
        .bytes()
        .flat_map(|letter| {
            let hz = if letter == b' ' { 0.0 } else { 300.0 + 230.0 * f64::from(letter - b'a') };
            (0..per_letter).map(move |i| {
                let fade = (i.min(per_letter - i) as f64 / 400.0).min(1.0);
                let phase = std::f64::consts::TAU * hz * i as f64 / RATE as f64;
                (phase.sin() * fade * 9000.0) as i16 + ((i * 7919) % 61) as i16
            })
        })
        .collect();
    let bytes = samples.len() as u32 * 2;
    let mut wav = Vec::new();
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&(RATE as u32).to_le_bytes());
    wav.extend_from_slice(&(RATE as u32 * 2).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    std::fs::write(path, wav).unwrap();
}

/// Manifests, recordings and units in a directory of their own.
pub struct Corpus {
    dir: tempfile::TempDir,
}

impl Corpus {
    pub fn new(rows: usize) -> Self {
        let corpus = Self { dir: tempfile::tempdir().unwrap() };
        Units::characters().unwrap().save(&corpus.path("tokenizer.json")).unwrap();
        corpus.manifest("train.jsonl", rows);
        corpus.manifest("valid.jsonl", 3);
        corpus
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `rows` rows of words from a few letters.
    pub fn manifest(&self, name: &str, rows: usize) {
        let mut lines = String::new();
        for row in 0..rows {
            let text: String = (0..5 + row % 4)
                .map(|i| if i == 3 { ' ' } else { (b'a' + ((row * 5 + i * 3) % 7) as u8) as char })
                .collect();
            let audio = format!("{name}-{row}.wav");
            tones(&self.path(&audio), &text);
            lines += &format!("{{\"audio\": \"{audio}\", \"text\": \"{text}\", \"speaker\": \"tones\"}}\n");
        }
        std::fs::write(self.path(name), lines).unwrap();
    }

    /// The words of `pretrain ctc`: what `options` say, and the rest as is best for a test. `DIR` is the corpus's directory, and
    /// `run` a directory in it, or an absolute one.
    fn words(&self, run: &str, options: &str) -> Vec<String> {
        let text = |name: &str| self.path(name).display().to_string();
        let mut words: Vec<String> = "linnet-train pretrain ctc".split(' ').map(String::from).collect();
        words.extend(["--units".into(), text("tokenizer.json"), "--valid".into(), text("valid.jsonl")]);
        words.extend(["--run".into(), text(run)]);
        if !options.contains("--data ") {
            words.extend(["--data".into(), text("train.jsonl")]);
        }
        words.extend(
            options.replace("DIR", &self.dir.path().display().to_string()).split_whitespace().map(String::from),
        );
        if !options.contains("--d-model ") {
            words.extend(SHAPE.split(' ').map(String::from));
        }
        if !options.contains("--warmup-steps ") {
            words.extend(["--warmup-steps".into(), "5".into()]);
        }
        words
    }

    /// Trains in this process.
    pub fn train(&self, run: &str, options: &str) -> Result<(), Failure> {
        cli::run(Cli::parse_from(self.words(run, options)))
    }

    /// Trains in a process of its own.
    pub fn start(&self, run: &str, options: &str) -> Running {
        Running::start(&self.words(run, options)[1..])
    }

    pub fn checkpoint(&self, run: &str) -> Vec<u8> {
        std::fs::read(self.path(run).join("last/checkpoint.safetensors")).unwrap()
    }
}

/// The trainer in a process of its own; ended when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Running {
    fn start(words: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_linnet-train"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(1 << 10);
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, lines, said: String::new() }
    }

    /// The next line that it says; `None` at its end.
    fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.said += &format!("{line}\n");
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited {PATIENCE:?} for a line after {}", self.said),
        }
    }

    /// Waits until it says a line that holds `part`.
    pub fn until(&mut self, part: &str) {
        while let Some(line) = self.line() {
            if line.contains(part) {
                return;
            }
        }
        panic!("it ended without {part:?}: {}", self.said);
    }

    /// Sends a signal by its name (`INT`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; gives how it ended and all that it said on standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        while self.line().is_some() {}
        (self.child.wait().unwrap(), std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The checkpoint's tensors without its header, which holds the time that training took.
pub fn tensors(checkpoint: &[u8]) -> &[u8] {
    let header = u64::from_le_bytes(checkpoint[..8].try_into().unwrap()) as usize;
    &checkpoint[8 + header..]
}
