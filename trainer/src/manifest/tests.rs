use super::*;
use crate::bad::OnBad;
use crate::heldout::digest;

/// A 16-bit mono WAV file of zeros.
fn wav(rate: u32, samples: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(b"RIFF");
    out.extend((36 + 2 * samples).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend([1, 0, 1, 0]);
    out.extend(rate.to_le_bytes());
    out.extend((2 * rate).to_le_bytes());
    out.extend([2, 0, 16, 0]);
    out.extend(b"data");
    out.extend((2 * samples).to_le_bytes());
    out.resize(out.len() + 2 * samples as usize, 0);
    out
}

fn directory(rows: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).expect("written");
    write("good.wav", &wav(16_000, 8_000));
    write("slow.wav", &wav(8_000, 8_000));
    write("cut.wav", &wav(16_000, 8_000)[..9_000]);
    write("empty.wav", &wav(16_000, 0));
    write("text.wav", b"RIFF but not really");
    write("m.jsonl", rows.as_bytes());
    let path = dir.path().join("m.jsonl");
    (dir, path)
}

#[test]
fn rows_are_read_with_the_shared_datas_keys_and_defaults() {
    let rows = r#"{"id": "x", "audio": "good.wav", "text": "Turn it OFF!", "dur": 9.0, "lang": "en"}

{"audio": "good.wav", "text": "don't", "speaker": "ann", "seconds": 0.5}"#;
    let (dir, path) = directory(rows);
    let manifest = read(&path, Purpose::Training, &mut BadRows::new(OnBad::Stop)).expect("good");
    let [first, second] = &manifest.utterances[..] else { panic!("two rows") };
    assert_eq!((first.text.as_str(), first.line, first.seconds), ("turn it off", 1, 0.5), "the file knows its length");
    assert_eq!(first.speaker, dir.path().file_name().expect("named").to_string_lossy());
    assert_eq!((second.text.as_str(), second.speaker.as_str(), second.line), ("don't", "ann", 3));
    assert!(first.audio.is_file());
    assert!((manifest.hours() - 1.0 / 3600.0).abs() < 1e-12);
}

#[test]
fn every_kind_of_bad_row_is_named_by_its_line_and_skipped() {
    let cases = [
        (r#"{"audio": "absent.wav", "text": "a"}"#, "missing audio files"),
        (r#"{"audio": "slow.wav", "text": "a"}"#, "wrong sample rates"),
        (r#"{"audio": "cut.wav", "text": "a"}"#, "unreadable audio files"),
        (r#"{"audio": "empty.wav", "text": "a"}"#, "unreadable audio files"),
        (r#"{"audio": "text.wav", "text": "a"}"#, "unreadable audio files"),
        (r#"{"audio": ".", "text": "a"}"#, "missing audio files"),
        (r#"{"audio": "good.wav", "text": " ... "}"#, "empty texts"),
        (r#"{"audio": "good.wav", "text": null}"#, "empty texts"),
        (r#"{"audio": "good.wav", "text": "это"}"#, "unknown characters"),
        (r#"{"text": "a"}"#, "unreadable rows"),
        ("[1, 2", "unreadable rows"),
    ];
    for (row, kind) in cases {
        let rows = format!("{{\"audio\": \"good.wav\", \"text\": \"fine\"}}\n{row}\n");
        let (_dir, path) = directory(&rows);
        let mut bad = BadRows::new(OnBad::Skip);
        let manifest = read(&path, Purpose::Training, &mut bad).expect("skips");
        assert_eq!((manifest.utterances.len(), bad.total(), bad.count(kind)), (1, 1, 1), "{row}");
        let error = read(&path, Purpose::Training, &mut BadRows::new(OnBad::Stop)).expect_err("stops");
        assert!(error.to_string().contains("m.jsonl:2: "), "{error}");
    }
}

#[test]
fn held_out_texts_and_voices_are_dropped_for_training_and_kept_for_evaluation() {
    let rows = r#"{"audio": "good.wav", "text": "Secret, sentence!"}
{"audio": "good.wav", "text": "a", "speaker": "flite:rms"}
{"audio": "good.wav", "text": "b", "speaker": "flite:slt"}"#;
    let (_dir, path) = directory(rows);
    let lists = HeldOut::parse("flite:rms", &hex::encode(digest("secret sentence")));
    let read = |purpose| read_guarded(&path, purpose, &lists, &mut BadRows::new(OnBad::Stop)).expect("good");
    let training = read(Purpose::Training);
    assert_eq!((training.utterances.len(), training.held_out), (1, 2));
    assert_eq!(training.utterances[0].text, "b");
    let evaluation = read(Purpose::Evaluation);
    assert_eq!((evaluation.utterances.len(), evaluation.held_out), (3, 0));
}

#[test]
fn an_absent_manifest_is_named() {
    let error =
        read(Path::new("no/such.jsonl"), Purpose::Training, &mut BadRows::new(OnBad::Skip)).expect_err("absent");
    assert!(error.to_string().contains("no/such.jsonl"), "{error}");
}
