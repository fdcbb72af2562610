//! The whole loop on a small made-up corpus of tones: it learns, stops, resumes, and survives what goes wrong.

// The workspace's own file system that can be full, and the trainer's own way to say what is skipped.
#[allow(dead_code)]
#[path = "../src/skips.rs"]
mod skips;
#[allow(dead_code)]
#[path = "../../tests/harness/tmpfs.rs"]
mod tmpfs;
mod tones;

use clap::Parser;
use half::f16;
use linnet_train::cli::{self, Cli};
use linnet_train::data::MEL_BINS;
use linnet_train::data::cache::{Cache, Key};
use linnet_train::error::Kind;
use linnet_train::model::{EncoderConfig, Weights};
use linnet_train::train::checkpoint::{self, State};
// Where `tmpfs` looks for it.
use skips::skip;
use tmpfs::Tmpfs;
use tones::{Corpus, tensors, tones};

/// Where a run stands, and its weights.
fn state(corpus: &Corpus, run: &str) -> (State<EncoderConfig>, Weights) {
    let (state, weights, _) = checkpoint::read(&corpus.path(run).join("last/checkpoint.safetensors")).unwrap();
    (state, weights)
}

/// Names of the files that the run keeps of its last checkpoint.
fn last(corpus: &Corpus, run: &str) -> Vec<String> {
    let files = std::fs::read_dir(corpus.path(run).join("last")).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const LAST: [&str; 4] = ["checkpoint.safetensors", "model.json", "model.safetensors", "tokenizer.json"];

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
fn bad_rows_are_left_out_and_counted_or_stopped_at() {
    let corpus = Corpus::new(4);
    let path = corpus.path("train.jsonl");
    let good = std::fs::read_to_string(&path).unwrap();
    tones(&corpus.path("short.wav"), "ab");
    let long = "a".repeat(200);
    let bad =
        format!("{{\"audio\": \"short.wav\", \"text\": \"{long}\"}}\n{{\"audio\": \"absent.wav\", \"text\": \"a\"}}\n");
    std::fs::write(&path, format!("{bad}{good}")).unwrap();
    let (status, said) = corpus.start("skipped", "--max-steps 1").end();
    assert!(status.success(), "{said}");
    for part in [
        "train.jsonl:1: the text needs 400 frames",
        "train.jsonl:2: the audio file",
        "train.jsonl: 4 rows",
        "2 bad rows skipped: 1 missing audio files, 1 texts longer than their audio\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let stopped = corpus.train("stopped", "--max-steps 1 --on-bad stop").unwrap_err();
    assert_eq!(stopped.kind(), Kind::Data);
    assert!(stopped.to_string().contains("train.jsonl:2: the audio file"), "{stopped}");
}

/// Lines of `train.jsonl` that a message names.
fn named(message: &str) -> Vec<usize> {
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    message.split("train.jsonl:").skip(1).filter_map(number).collect()
}

#[test]
fn a_loss_that_is_no_number_is_named_by_its_row_and_counted_or_stopped_at() {
    let corpus = Corpus::new(10);
    // After one step at this rate every logarithm is that of infinity.
    let options = "--epochs 1 --lr 1e30 --warmup-steps 1";
    let (status, said) = corpus.start("skipped", options).end();
    assert!(status.success(), "{said}");
    let (state, _) = state(&corpus, "skipped");
    assert!(state.moved == 1 && state.steps > 1, "{} of {} steps", state.moved, state.steps);
    let losses = said.lines().filter(|line| line.ends_with(": the loss is NaN"));
    let mut rows: Vec<usize> = losses.flat_map(named).collect();
    rows.sort_unstable();
    assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|row| (1..=10).contains(row)), "{said}");
    let skipped = said.matches(": a loss is no number; the step is skipped").count();
    assert_eq!(skipped as u64, state.steps - 1, "{said}");
    // Of those batches all rows, of the first none.
    assert!((skipped..10).contains(&rows.len()), "{said}");
    let summary = format!("{0} bad rows skipped: {0} losses that are no number\n", rows.len());
    assert!(said.contains(&summary), "{said}");

    let (status, said) = corpus.start("stopped", &format!("{options} --on-bad stop")).end();
    assert_eq!(status.code(), Some(65), "{said}");
    let end = ": the loss is NaN (--on-bad skip leaves such rows out)";
    assert!(said.lines().any(|line| line.ends_with(end) && named(line).len() == 1), "{said}");
}

#[test]
fn a_gradient_that_is_no_number_is_named_by_its_rows_and_counted_or_stopped_at() {
    let corpus = Corpus::new(10);
    // No audio file has such features: what is loud beyond bounds is bounded, and what is no number is refused. So they
    // are put where the run keeps those that it has made. The loss does not know of them: the first ReLU makes them 0.
    let spoil = |run: &str| {
        let dir = corpus.path(run);
        std::fs::create_dir(&dir).unwrap();
        let key = Key::of(&corpus.path("train.jsonl-4.wav")).unwrap();
        Cache::open(&dir.join("features.bin")).unwrap().append(key, &vec![f16::NAN; 100 * MEL_BINS]).unwrap();
    };
    let message = "the gradient's length is NaN; rows ";
    spoil("skipped");
    let (status, said) = corpus.start("skipped", "--epochs 2").end();
    assert!(status.success(), "{said}");
    let batches: Vec<Vec<usize>> = said.lines().filter(|line| line.contains(message)).map(named).collect();
    assert_eq!(batches.len(), 2, "{said}");
    assert!(batches.iter().all(|rows| rows.contains(&5) && rows.len() < 10), "{said}");
    assert!(said.contains("2 steps skipped: their gradient was no number\n"), "{said}");
    let (state, weights) = state(&corpus, "skipped");
    assert!(state.moved > 0 && state.moved == state.steps - 2, "{} of {} steps", state.moved, state.steps);
    assert!(weights.flat.iter().all(|weight| weight.is_finite()));

    spoil("stopped");
    let (status, said) = corpus.start("stopped", "--epochs 2 --on-bad stop").end();
    assert_eq!(status.code(), Some(65), "{said}");
    let stop = said.lines().find(|line| line.contains(message)).unwrap();
    assert!(stop.ends_with("(--on-bad skip leaves such steps out)") && named(stop).contains(&5), "{said}");
}

#[test]
fn a_run_that_is_told_to_stop_saves_and_goes_on_bit_for_bit() {
    for signal in ["INT", "TERM"] {
        let corpus = Corpus::new(10);
        // It has no end of its own, and its rate depends on none; an epoch has so many steps that it is stopped within one.
        let options = "--data DIR/train.jsonl*40 --epochs 100000 --final-lr 1 --dropout 0.2";
        let mut run = corpus.start("stopped", options);
        run.until("  step 1  loss ");
        run.signal(signal);
        let (status, said) = run.end();
        assert_eq!(status.code(), Some(75), "SIG{signal}: {said}");
        let steps = state(&corpus, "stopped").0.steps;
        assert!(steps > 0);
        let message =
            format!("stopped after step {steps} and saved; the same command with --resume goes on from there");
        assert!(said.contains(&message), "{said}");
        assert_eq!(last(&corpus, "stopped"), LAST);
        let more = format!("{options} --max-steps {}", steps + 3);
        corpus.train("stopped", &format!("{more} --resume")).unwrap();
        corpus.train("undisturbed", &more).unwrap();
        assert_eq!(state(&corpus, "stopped").0.steps, steps + 3);
        assert!(tensors(&corpus.checkpoint("stopped")) == tensors(&corpus.checkpoint("undisturbed")), "SIG{signal}");
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let corpus = Corpus::new(10);
    // A step takes a second or more: when the first signal is answered there is one in hand.
    let options = "--data DIR/train.jsonl*40 --batch-secs 120 --d-model 144 --layers 8 --heads 4";
    let mut run = corpus.start("run", options);
    run.until("  step 1  loss ");
    run.signal("INT");
    run.until("stopping after what is in hand; again to stop at once");
    run.signal("INT");
    let (status, said) = run.end();
    // 130, not a signal, which would leave a core behind.
    assert_eq!(status.code(), Some(130), "{status}: {said}");
    assert!(said.contains("stopped at once; what was not saved is lost"), "{said}");
    assert!(!said.contains("and saved"), "{said}");
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
    let Some(disk) = Tmpfs::mount("a_full_disk_is_one_error_and_leaves_the_checkpoint_before", 4096) else { return };
    let corpus = Corpus::new(4);
    let run = disk.path().join("run").display().to_string();
    let options = |steps: u64| format!("--final-lr 1 --max-steps {steps} --cache DIR/features.bin");
    corpus.train(&run, &options(1)).unwrap();
    let before = corpus.checkpoint(&run);
    // With nothing left, and with room for a part of it.
    for room in [0, 16 << 10] {
        let filler = disk.fill();
        let full = std::fs::metadata(&filler).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&filler).unwrap().set_len(full - room).unwrap();
        let error = corpus.train(&run, &format!("{} --resume", options(2))).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (Kind::CantCreate, 73), "{error}");
        let message = "checkpoint.safetensors: the disk is full; free some space and start the same command again";
        assert!(error.to_string().ends_with(message), "{room} bytes left: {error}");
        assert!(corpus.checkpoint(&run) == before, "{room} bytes left: the checkpoint is another");
        assert_eq!(last(&corpus, &run), LAST, "nothing half is left");
        assert_eq!(state(&corpus, &run).0.steps, 1);
        std::fs::remove_file(filler).unwrap();
    }
    corpus.train(&run, &format!("{} --resume", options(2))).unwrap();
    corpus.train("undisturbed", &options(2).replace("features", "others")).unwrap();
    assert_eq!(state(&corpus, &run).0.steps, 2);
    assert!(tensors(&corpus.checkpoint(&run)) == tensors(&corpus.checkpoint("undisturbed")));
}
