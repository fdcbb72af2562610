use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// The signal of `tests/goldens/features/generate.py`.
fn signal() -> Vec<f32> {
    let (mut state, mut phase) = (12_345i64, 0i64);
    let sample = |i: i64| {
        state = (1_103_515_245 * state + 12_345) % (1 << 31);
        let noise = (state >> 16) % 2001 - 1000;
        phase = (phase + 900 - i / 40) % 16_000;
        let value = (if phase < 8000 { 4000 } else { -4000 }) + (noise * i).div_euclid(24_000) + 37;
        let value = if (9600..12_000).contains(&i) { 0 } else { value };
        value as f32 / 32_768.0
    };
    (0..24_000).map(sample).collect()
}

#[derive(serde::Deserialize)]
struct Golden {
    frames: usize,
    rows: BTreeMap<usize, Vec<f32>>,
}

fn assert_golden(name: &str, features: &[f32], tolerance: f32) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/features").join(name);
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(path).expect("the golden is there")).expect("the golden is JSON");
    assert_eq!(features.len(), golden.frames * MEL_BINS);
    assert!(!golden.rows.is_empty());
    for (index, row) in &golden.rows {
        assert_eq!(row.len(), MEL_BINS);
        for (bin, (want, have)) in row.iter().zip(&features[index * MEL_BINS..]).enumerate() {
            assert!((want - have).abs() <= tolerance, "frame {index} bin {bin}: {have} instead of {want}");
        }
    }
}

#[test]
fn the_golden_signal_is_the_scripts() {
    let sum: i64 = signal().iter().map(|s| (s * 32_768.0) as i64).sum();
    let magnitudes: i64 = signal().iter().map(|s| (s * 32_768.0).abs() as i64).sum();
    assert_eq!((sum, magnitudes), (428_900, 86_373_232));
}

#[test]
fn filter_banks_equal_kaldis() {
    assert_golden("kaldi.json", &fbank(&signal()), 1e-3);
}

#[test]
fn filter_banks_with_mirrored_edges_equal_kaldis() {
    let mut features = Vec::new();
    let mut fbanks = KaldiFbank::with(FbankOptions::icefall());
    fbanks.push(&signal(), &mut features);
    fbanks.finish(&mut features);
    assert_golden("icefall.json", &features, 1e-3);
}

#[test]
fn the_spectrogram_equals_whispers_formulas() {
    let signal = signal();
    assert_golden("whisper.json", &WhisperMel::new().log_mel(&signal, signal.len()), 1e-4);
}

fn in_chunks(signal: &[f32], chunks: &[usize], mut push: impl FnMut(&[f32])) {
    let mut rest = signal;
    for &chunk in chunks.iter().cycle() {
        let (now, later) = rest.split_at(chunk.min(rest.len()));
        push(now);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

/// Lengths of signals around every edge, and of chunks that are not all empty.
fn any_cut() -> impl Strategy<Value = (usize, Vec<usize>)> {
    let length = prop_oneof![0usize..1000, Just(8192), 8000usize..24_000];
    let chunk = prop_oneof![0usize..5, 1usize..500, 1usize..10_000];
    (length, prop::collection::vec(chunk, 1..8).prop_filter("some samples", |c| c.iter().sum::<usize>() > 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_exactly_the_same_filter_banks((length, chunks) in any_cut()) {
        let signal = &signal()[..length];
        let (mut fbanks, mut streamed, mut frames) = (KaldiFbank::new(), Vec::new(), 0);
        // What was heard before a reset leaves no trace.
        fbanks.push(&[0.5; 777], &mut Vec::new());
        fbanks.reset();
        in_chunks(signal, &chunks, |chunk| frames += fbanks.push(chunk, &mut streamed));
        prop_assert_eq!(frames, frames_of(length));
        prop_assert_eq!(streamed, fbank(signal));
    }

    #[test]
    fn any_chunking_gives_exactly_the_same_mirrored_filter_banks((length, chunks) in any_cut()) {
        let signal = &signal()[..length];
        let options = FbankOptions::icefall();
        let (mut fbanks, mut streamed, mut whole) = (KaldiFbank::with(options), Vec::new(), Vec::new());
        // What was heard before the end of another signal leaves no trace.
        fbanks.push(&[0.5; 777], &mut whole);
        fbanks.finish(&mut whole);
        whole.clear();
        let frames = fbanks.push(signal, &mut whole) + fbanks.finish(&mut whole);
        prop_assert_eq!((frames, whole.len()), (options.frames_of(length), options.frames_of(length) * MEL_BINS));
        in_chunks(signal, &chunks, |chunk| {
            fbanks.push(chunk, &mut streamed);
        });
        fbanks.finish(&mut streamed);
        prop_assert_eq!(streamed, whole);
    }

    #[test]
    fn any_chunking_gives_exactly_the_same_spectrogram((length, chunks) in any_cut()) {
        let signal = &signal()[..length];
        let (mut mel, mut streamed) = (WhisperMel::new(), Vec::new());
        mel.push(&[0.5; 777], &mut streamed);
        mel.finish(&mut streamed);
        streamed.clear();
        in_chunks(signal, &chunks, |chunk| mel.push(chunk, &mut streamed));
        mel.finish(&mut streamed);
        prop_assert_eq!(streamed.len(), length / HOP_SAMPLES * MEL_BINS);
        WhisperMel::scale(&mut streamed);
        prop_assert_eq!(streamed, WhisperMel::new().log_mel(signal, length));
    }
}

#[test]
fn frames_count_whole_windows_only() {
    for (samples, frames) in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)] {
        assert_eq!(frames_of(samples), frames, "{samples}");
        assert_eq!(fbank(&vec![0.1; samples]).len(), frames * MEL_BINS, "{samples}");
    }
}

#[test]
fn samples_that_are_no_numbers_give_finite_features() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e30] {
        let mut signal = vec![0.01; 2000];
        signal[700] = bad;
        assert!(fbank(&signal).iter().all(|v| v.is_finite()), "{bad}");
        assert!(WhisperMel::new().log_mel(&signal, 2000).iter().all(|v| v.is_finite()), "{bad}");
    }
}

#[test]
fn a_long_push_keeps_only_what_the_next_frame_needs() {
    let mut fbanks = KaldiFbank::new();
    fbanks.push(&vec![0.0; 1_000_000], &mut Vec::new());
    assert!(fbanks.buffered() < 10_000, "{}", fbanks.buffered());
}
