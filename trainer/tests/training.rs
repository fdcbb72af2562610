//! The whole loop on a small made-up corpus of tones: it learns, stops, resumes, and survives what goes wrong.

use std::path::{Path, PathBuf};

use clap::Parser;
use linnet_train::cli::{self, Cli};
use linnet_train::error::{Failure, Kind};
use linnet_train::model::EncoderConfig;
use linnet_train::units::Units;

const RATE: usize = 16_000;

/// Writes a WAV file in which each letter is a tone of its own.
fn tones(path: &Path, text: &str) {
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

struct Corpus {
    dir: tempfile::TempDir,
}

impl Corpus {
    fn new(rows: usize) -> Self {
        let corpus = Self { dir: tempfile::tempdir().unwrap() };
        Units::characters().unwrap().save(&corpus.path("tokenizer.json")).unwrap();
        corpus.manifest("train.jsonl", rows);
        corpus.manifest("valid.jsonl", 3);
        corpus
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `rows` rows of words from a few letters.
    fn manifest(&self, name: &str, rows: usize) {
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

    fn train(&self, run: &str, options: &str) -> Result<(), Failure> {
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
        let shape = "--conv-channels 4 --d-model 16 --layers 1 --heads 2 --ff-mult 2 --conv-kernel 5 --batch-secs 6 --warmup-steps 5";
        words.extend(shape.split(' ').map(String::from));
        cli::run(Cli::parse_from(words))
    }

    fn checkpoint(&self, run: &str) -> Vec<u8> {
        std::fs::read(self.path(run).join("last/checkpoint.safetensors")).unwrap()
    }
}

/// The checkpoint's tensors without its header, which holds the time that training took.
fn tensors(checkpoint: &[u8]) -> &[u8] {
    let header = u64::from_le_bytes(checkpoint[..8].try_into().unwrap()) as usize;
    &checkpoint[8 + header..]
}

#[test]
fn a_stopped_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit() {
    let corpus = Corpus::new(10);
    // Masks, speeds, dropout, both orders of epochs: all that is random takes part.
    let options = "--epochs 4 --sorted-epochs 1 --unmasked-epochs 1 --dropout 0.2";
    corpus.train("straight", &format!("{options} --max-steps 6")).unwrap();
    corpus.train("halved", &format!("{options} --max-steps 3 --final-lr 1")).unwrap();
    corpus.train("halved", &format!("{options} --max-steps 6 --final-lr 1 --resume")).unwrap();
    corpus.train("level", &format!("{options} --max-steps 6 --final-lr 1")).unwrap();
    assert_eq!(tensors(&corpus.checkpoint("halved")), tensors(&corpus.checkpoint("level")));
    // With another schedule the weights are others: the comparison can fail.
    assert_ne!(tensors(&corpus.checkpoint("straight")), tensors(&corpus.checkpoint("level")));
}

#[test]
fn training_lowers_the_loss_and_leaves_a_model_that_can_be_read() {
    let corpus = Corpus::new(8);
    corpus.train("run", "--epochs 30 --lr 5e-3 --dropout 0 --speed 0 --ema 0.5").unwrap();
    let log = std::fs::read_to_string(corpus.path("run/log.jsonl")).unwrap();
    let losses: Vec<f64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["event"] == "epoch")
        .map(|event| event["loss"].as_f64().unwrap())
        .collect();
    assert_eq!(losses.len(), 30);
    assert!(losses[29] < 0.7 * losses[0], "{losses:?}");
    for file in ["best/model.safetensors", "best/model.json", "best/tokenizer.json", "last/model.safetensors"] {
        assert!(corpus.path("run").join(file).exists(), "{file}");
    }
    // And another run can begin with it.
    let words = [
        "linnet-train",
        "finetune",
        "ctc",
        "--from",
        "FROM",
        "--data",
        "D",
        "--valid",
        "V",
        "--run",
        "R",
        "--max-steps",
        "1",
    ];
    let place = |word: &str| match word {
        "FROM" => corpus.path("run/best").display().to_string(),
        "D" => corpus.path("train.jsonl").display().to_string(),
        "V" => corpus.path("valid.jsonl").display().to_string(),
        "R" => corpus.path("tuned").display().to_string(),
        word => word.to_owned(),
    };
    cli::run(Cli::parse_from(words.map(place))).unwrap();
}

#[test]
fn a_run_that_exists_is_not_overwritten_and_other_data_are_noticed() {
    let corpus = Corpus::new(4);
    corpus.train("run", "--max-steps 1").unwrap();
    let again = corpus.train("run", "--max-steps 2").unwrap_err();
    assert_eq!(again.kind(), Kind::Usage);
    assert!(again.to_string().contains("--resume goes on with it"), "{again}");
    let other = corpus.train("run", "--max-steps 2 --resume --subsampling 8").unwrap_err();
    assert!(other.to_string().contains("another shape"), "{other}");
    corpus.manifest("train.jsonl", 6);
    let changed = corpus.train("run", "--max-steps 2 --resume").unwrap_err();
    assert!(changed.to_string().contains("--allow-new-data goes on"), "{changed}");
    corpus.train("run", "--max-steps 2 --resume --allow-new-data").unwrap();
}

#[test]
fn bad_rows_are_left_out_or_stopped_at() {
    let corpus = Corpus::new(4);
    let path = corpus.path("train.jsonl");
    let good = std::fs::read_to_string(&path).unwrap();
    tones(&corpus.path("short.wav"), "ab");
    let long = "a".repeat(200);
    let bad =
        format!("{{\"audio\": \"short.wav\", \"text\": \"{long}\"}}\n{{\"audio\": \"absent.wav\", \"text\": \"a\"}}\n");
    std::fs::write(&path, format!("{bad}{good}")).unwrap();
    corpus.train("skipped", "--max-steps 1").unwrap();
    let stopped = corpus.train("stopped", "--max-steps 1 --on-bad stop").unwrap_err();
    assert_eq!(stopped.kind(), Kind::Data);
    assert!(stopped.to_string().contains("train.jsonl:"), "{stopped}");
}

#[test]
fn patience_ends_a_run_that_gets_no_better() {
    let corpus = Corpus::new(4);
    // A rate this small changes no word.
    corpus.train("run", "--epochs 50 --patience 2 --lr 1e-12").unwrap();
    let log = std::fs::read_to_string(corpus.path("run/log.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("\"event\":\"epoch\"")).count(), 3);
    assert!(log.contains("nothing got better any more"));
}

#[test]
fn a_full_disk_is_one_error_and_leaves_the_checkpoint_before() {
    // A directory in the place of the file is what a test can make of "cannot be written" without a mount of its own.
    let corpus = Corpus::new(4);
    corpus.train("run", "--max-steps 1").unwrap();
    let before = corpus.checkpoint("run");
    let model = corpus.path("run/last/model.safetensors");
    std::fs::remove_file(&model).unwrap();
    std::fs::create_dir(&model).unwrap();
    let error = corpus.train("run", "--max-steps 2 --resume").unwrap_err();
    assert_eq!(error.kind(), Kind::CantCreate);
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    let read = linnet_train::train::checkpoint::read::<EncoderConfig>(&corpus.path("run/last/checkpoint.safetensors"))
        .unwrap();
    assert!(read.0.steps >= 1 && !before.is_empty());
}
