//! Whisper's own log-mel of a real clip, from the shared data set, which is no part of the repository.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_features::logmel::{MEL_BINS, WhisperMel};

/// Samples of the 30 s that Whisper takes at once.
const WINDOW_SAMPLES: usize = 480_000;

#[test]
fn the_spectrogram_of_a_real_clip_is_whispers() {
    let data = std::env::var_os("LINNET_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let (clip, archive) = (data.join("speech/samples/jfk/flac16k/jfk.flac"), data.join("tokenizers/whisper.tar.gz"));
    if let Some(missing) = [&clip, &archive].into_iter().find(|path| !path.exists()) {
        return skip("the_spectrogram_of_a_real_clip_is_whispers", &format!("shared data {}", missing.display()));
    }

    let bytes = std::fs::read(clip).expect("the clip is readable").into();
    let mut reader = AudioReader::open(bytes, &Media::Detect, &AudioLimits::default()).expect("the clip is FLAC");
    let mut samples = Vec::new();
    while reader.read(&mut samples).expect("the clip decodes") {}
    let features = WhisperMel::new().log_mel(&samples, WINDOW_SAMPLES);

    let golden = golden(&archive);
    let frames = features.len() / MEL_BINS;
    assert_eq!((frames, golden.len()), (3000, features.len()));
    let mut worst = 0.0f32;
    for (frame, row) in features.chunks_exact(MEL_BINS).enumerate() {
        for (bin, value) in row.iter().enumerate() {
            // Whisper's array is [bins, frames].
            worst = worst.max((value - golden[bin * frames + frame]).abs());
        }
    }
    assert!(worst < 1e-4, "{worst}");
}

/// The array of `golden_jfk_logmel_80x3000.npy` in the archive.
fn golden(archive: &Path) -> Vec<f32> {
    let name = "tokenizers/whisper/golden_jfk_logmel_80x3000.npy";
    let out = Command::new("tar").arg("-xzOf").arg(archive).arg(name).output().expect("tar runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let npy = out.stdout;
    assert_eq!(&npy[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let header = String::from_utf8_lossy(&npy[10..start]);
    assert!(header.contains("'<f4'") && header.contains("False") && header.contains("(80, 3000)"), "{header}");
    npy[start..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Says loudly that a test did not run, and has it counted; where the folder is named it must hold everything.
fn skip(test: &str, missing: &str) {
    assert!(std::env::var_os("LINNET_SHARED_DATA").is_none(), "{test} cannot run: {missing} is missing");
    let line = format!("SKIPPED: {test}: {missing}");
    eprintln!("{line}");
    if let Some(list) = std::env::var_os("LINNET_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
        writeln!(file.expect("the list of skips opens"), "{line}").expect("the list of skips is writable");
    }
}
