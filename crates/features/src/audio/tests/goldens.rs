//! What ffmpeg hears in the same files (`tests/goldens/audio/generate.py`).

use super::*;

/// How far from ffmpeg a decode may be.
struct Tolerance {
    /// Largest difference of two samples.
    largest: f32,
    /// Root mean square of the differences.
    rms: f32,
    /// Difference of the lengths, samples.
    length: usize,
}

/// By name of file.
fn tolerance(name: &str) -> Tolerance {
    // What is rounded to 16 bits, perhaps twice.
    let exact = Tolerance { largest: 1e-4, rms: 3e-5, length: 0 };
    match name {
        // Half a step of 8 bits.
        "wav-u8.wav" => Tolerance { largest: 0.008, rms: 0.005, ..exact },
        // The resampler of the speech modes is not part of the standard.
        "opus-speech.opus" => Tolerance { largest: 2e-3, rms: 4e-4, ..exact },
        "opus-surround.opus" => Tolerance { largest: 4e-4, rms: 8e-5, ..exact },
        // What WebM notes of the padding in its last packet does not reach us: at most 20 ms more.
        "opus-in-webm.webm" => Tolerance { largest: 2e-3, rms: 4e-4, length: 320 },
        // ffmpeg leaves out what comes before the audio, but not the padding after it.
        "aac-stereo-44100.m4a" | "aac-fast-start.m4a" => Tolerance { largest: 3e-4, length: 320, ..exact },
        _ => exact,
    }
}

#[test]
fn every_format_is_heard_as_ffmpeg_hears_it() {
    let list = String::from_utf8(golden("goldens.txt").to_vec()).expect("text");
    let mut failures = Vec::new();
    let mut files = 0;
    for line in list.lines() {
        files += 1;
        let (file, wanted) = line.split_once(' ').expect("file and golden");
        let heard = match detect(golden(file)) {
            Ok(heard) => heard,
            Err(e) => {
                failures.push(format!("{file}: {e}"));
                continue;
            }
        };
        let wanted: Vec<f32> =
            golden(wanted).as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0).collect();
        let mut differences: Vec<f32> = heard.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).collect();
        if heard.len() != wanted.len() {
            // The shorter one rings where it ends.
            differences.truncate(differences.len().saturating_sub(160));
        }
        let largest = differences.iter().fold(0f32, |m, d| m.max(*d));
        let rms = (differences.iter().map(|d| d * d).sum::<f32>() / differences.len().max(1) as f32).sqrt();
        let Tolerance { largest: max_largest, rms: max_rms, length } = tolerance(file);
        let line = format!(
            "{file}: {} samples for {}, largest difference {largest:.5}, rms {rms:.6}",
            heard.len(),
            wanted.len()
        );
        eprintln!("{line}");
        if heard.len().abs_diff(wanted.len()) > length || largest > max_largest || rms > max_rms {
            failures.push(line);
        }
    }
    assert!(files >= 20, "goldens.txt lists {files} files");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
