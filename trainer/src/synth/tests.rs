use super::*;
use crate::heldout;
use crate::manifest::read_guarded;
use crate::skips;

const TEXT: &str = "Turn on the light.\nwhat time is it\nplease close the window\nSecret sentence!\nat \u{43f}\nopen the door\n\
    set a timer for ten minutes\ndon't stop the music\n";

fn lists() -> HeldOut {
    HeldOut::parse("espeak:en-us+f4\nespeak:en-gb+m3", &hex::encode(heldout::digest("secret sentence")))
}

fn arguments(dir: &Path, name: &str) -> SynthArgs {
    let text = dir.join("text.txt");
    std::fs::write(&text, TEXT).expect("written");
    SynthArgs {
        text: vec![text],
        manifest: Vec::new(),
        out: dir.join(name),
        hours: 0.008,
        seed: 7,
        workers: 2,
        programs: vec![Program::Espeak],
        effects: Effects::Full,
        held_out: false,
        on_bad: OnBad::Stop,
    }
}

fn content(dir: &Path) -> (String, String) {
    let manifest = std::fs::read_to_string(dir.join("manifest.jsonl")).expect("a manifest");
    let mut hash = Sha256::new();
    for row in manifest.lines() {
        let row: manifest::Row = serde_json::from_str(row).expect("a row");
        hash.update(std::fs::read(dir.join(row.audio)).expect("its audio"));
    }
    (manifest, hex::encode(hash.finalize()))
}

fn speaks(test: &str) -> bool {
    skips::has_program("espeak-ng", test)
}

#[test]
fn a_corpus_is_the_same_for_any_number_of_workers_and_for_any_stop() {
    if !speaks("a_corpus_is_the_same_for_any_number_of_workers_and_for_any_stop") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (alone, together, in_pieces) =
        (arguments(dir.path(), "a"), arguments(dir.path(), "b"), arguments(dir.path(), "c"));
    run_guarded(SynthArgs { workers: 1, ..alone.clone() }, &lists()).expect("made");
    run_guarded(SynthArgs { workers: 3, ..together.clone() }, &lists()).expect("made");
    for hours in [0.002, 0.004, 0.008] {
        run_guarded(SynthArgs { hours, ..in_pieces.clone() }, &lists()).expect("made");
        // As a kill in the middle of a row leaves it.
        let path = in_pieces.out.join("manifest.jsonl");
        let rows = std::fs::read(&path).expect("read");
        std::fs::write(&path, &rows[..rows.len() - 9]).expect("written");
    }
    run_guarded(in_pieces.clone(), &lists()).expect("made");
    let wanted = content(&alone.out);
    assert_eq!(content(&together.out), wanted);
    assert_eq!(content(&in_pieces.out), wanted);
    let other = SynthArgs { seed: 8, ..arguments(dir.path(), "d") };
    run_guarded(other.clone(), &lists()).expect("made");
    assert_ne!(content(&other.out), wanted);
    let files = std::fs::read_dir(alone.out.join("wav/000")).expect("listed").count();
    assert_eq!(files, wanted.0.lines().count(), "nothing beyond the manifest is left");
}

#[test]
fn training_and_evaluation_sets_share_neither_voice_nor_sentence() {
    if !speaks("training_and_evaluation_sets_share_neither_voice_nor_sentence") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let training = arguments(dir.path(), "train");
    let evaluation = SynthArgs { held_out: true, effects: Effects::Clean, ..arguments(dir.path(), "eval") };
    let mut sets = Vec::new();
    for args in [training, evaluation] {
        run_guarded(args.clone(), &lists()).expect("made");
        let path = args.out.join("manifest.jsonl");
        let mut bad = BadRows::new(OnBad::Stop);
        sets.push(read_guarded(&path, Purpose::Evaluation, &lists(), &mut bad).expect("whole").utterances);
    }
    let lists = lists();
    assert!(sets[0].iter().all(|u| u.text != "secret sentence" && !lists.hides_voice(&u.speaker)));
    assert!(sets[1].iter().all(|u| u.text == "secret sentence" && lists.hides_voice(&u.speaker)));
    assert!(sets.iter().all(|set| set.iter().map(|u| u.seconds).sum::<f64>() >= 0.008 * 3600.0));
}

#[test]
fn another_text_in_the_same_directory_is_refused() {
    if !speaks("another_text_in_the_same_directory_is_refused") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let args = SynthArgs { hours: 0.001, ..arguments(dir.path(), "a") };
    run_guarded(args.clone(), &lists()).expect("made");
    std::fs::write(&args.text[0], "quite another text\n").expect("written");
    let error = run_guarded(args, &lists()).expect_err("refused");
    assert!(error.to_string().contains("another text"), "{error}");
}

#[test]
fn wishes_outside_the_rules_are_refused_before_any_work() {
    let dir = tempfile::tempdir().expect("a directory");
    let wishes: [fn(&mut SynthArgs); 5] = [
        |a| a.workers = 0,
        |a| a.hours = f64::NAN,
        |a| a.hours = -1.0,
        |a| a.programs.clear(),
        |a| a.text = vec!["no/such.txt".into()],
    ];
    for wish in wishes {
        let mut args = arguments(dir.path(), "never");
        wish(&mut args);
        run_guarded(args, &lists()).expect_err("refused");
        assert!(!dir.path().join("never").exists());
    }
}
