use proptest::prelude::*;

use super::super::activity::DELAY_BLOCKS;
use super::*;

const RATE: usize = 16_000;

/// Noise of these amplitudes and lengths (ms), one after another.
fn noise(parts: &[(f32, usize)]) -> Vec<f32> {
    let mut state = 1u32;
    let mut sample = |amplitude: f32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as f32 / u32::MAX as f32 - 0.5) * 2.0 * amplitude
    };
    let mut samples = Vec::new();
    for &(amplitude, ms) in parts {
        samples.extend((0..ms * RATE / 1000).map(|_| sample(amplitude)));
    }
    samples
}

fn split(samples: &[f32], max_secs: f64, chunk: usize) -> Vec<Piece> {
    let mut splitter = Splitter::new(max_secs);
    let mut pieces = Vec::new();
    for chunk in samples.chunks(chunk) {
        splitter.push(chunk);
        pieces.extend(std::iter::from_fn(|| splitter.next()));
        let most = (max_secs * RATE as f64) as usize + (DELAY_BLOCKS + 2) * BLOCK_SAMPLES + chunk.len();
        assert!(splitter.held() <= most, "{} samples are held", splitter.held());
    }
    splitter.finish();
    pieces.extend(std::iter::from_fn(|| splitter.next()));
    assert_eq!(splitter.next(), None);
    pieces
}

/// Bursts of sound (ms, with 120 ms or more of it heard) between silences (ms), in noise of this amplitude.
fn any_audio() -> impl Strategy<Value = (f32, Vec<(usize, usize)>)> {
    let room = prop_oneof![Just(0.0f32), Just(0.0005), Just(0.002)];
    (room, prop::collection::vec((120usize..4000, 20usize..3000), 0..12))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_cover_all_speech_and_are_never_too_long((room, bursts) in any_audio(), max_secs in 2.0f64..12.0,
                                                      lead in 0usize..2500, chunk in 1usize..20_000) {
        let mut parts = vec![(room, lead)];
        let mut loud = Vec::new();
        let mut at = lead * RATE / 1000;
        for &(sound, silence) in &bursts {
            loud.push((at, at + sound * RATE / 1000));
            at += sound * RATE / 1000 + silence * RATE / 1000;
            parts.extend([(0.2, sound), (room, silence)]);
        }
        let samples = noise(&parts);
        let pieces = split(&samples, max_secs, chunk);
        prop_assert_eq!(&pieces, &split(&samples, max_secs, 4096), "chunks make a difference");
        let mut last_end = 0;
        for piece in &pieces {
            let (start, end) = (piece.start as usize, piece.end() as usize);
            prop_assert!(start >= last_end, "pieces overlap");
            prop_assert!(end - start <= (max_secs * RATE as f64) as usize, "too long");
            prop_assert_eq!(&piece.samples[..], &samples[start..end]);
            last_end = end;
        }
        for (start, end) in loud {
            let covered: usize = pieces
                .iter()
                .map(|p| (p.end() as usize).min(end).saturating_sub((p.start as usize).max(start)))
                .sum();
            prop_assert_eq!(covered, end - start, "of {}..{}", start, end);
        }
    }
}

#[test]
fn silence_gives_no_piece() {
    for amplitude in [0.0, 0.00005, 0.003] {
        assert_eq!(split(&noise(&[(amplitude, 60_000)]), 30.0, 4096), []);
    }
    assert_eq!(split(&[], 30.0, 1), []);
    assert_eq!(split(&[0.0; 3], 30.0, 1), []);
}

#[test]
fn a_click_gives_no_piece_and_a_short_word_does() {
    assert_eq!(split(&noise(&[(0.0005, 1000), (0.2, 10), (0.0005, 1000)]), 30.0, 4096), []);
    assert_eq!(split(&noise(&[(0.0005, 1000), (0.2, 80), (0.0005, 1000)]), 30.0, 4096).len(), 1);
}

#[test]
fn a_piece_keeps_a_margin_of_silence_and_no_more() {
    let pieces = split(&noise(&[(0.0005, 2000), (0.2, 1000), (0.0005, 3000)]), 30.0, 4096);
    let [piece] = &pieces[..] else { panic!("{} pieces", pieces.len()) };
    let (start, end) = (piece.start as f64 / RATE as f64, piece.end() as f64 / RATE as f64);
    assert!((start - 1.7).abs() < 0.05 && (end - 3.3).abs() < 0.05, "{start} {end}");
    assert!(piece.ends_in_pause);
}

#[test]
fn a_breath_does_not_part_a_short_sentence_and_a_pause_does() {
    let sentence = |pause| noise(&[(0.0005, 500), (0.2, 1500), (0.0005, pause), (0.2, 1500), (0.0005, 500)]);
    assert_eq!(split(&sentence(500), 30.0, 4096).len(), 1);
    assert_eq!(split(&sentence(1000), 30.0, 4096).len(), 2);
}

#[test]
fn endless_speech_is_cut_at_its_quietest_place() {
    let pieces = split(&noise(&[(0.2, 7000), (0.05, 150), (0.2, 6000)]), 10.0, 4096);
    assert_eq!(pieces.len(), 2);
    let cut = pieces[0].end() as f64 / RATE as f64;
    assert!((7.0..7.15).contains(&cut), "{cut}");
    assert!(!pieces[0].ends_in_pause && pieces[1].ends_in_pause);
    assert_eq!(pieces[1].start, pieces[0].end());
}

#[test]
fn an_hour_of_noise_is_never_held_whole() {
    let mut splitter = Splitter::new(30.0);
    let second = noise(&[(0.2, 1000)]);
    let (mut most, mut heard) = (0, 0);
    for _ in 0..3600 {
        splitter.push(&second);
        heard += std::iter::from_fn(|| splitter.next()).map(|p| p.samples.len()).sum::<usize>();
        most = most.max(splitter.held());
    }
    splitter.finish();
    heard += std::iter::from_fn(|| splitter.next()).map(|p| p.samples.len()).sum::<usize>();
    assert_eq!(heard, 3600 * RATE);
    assert!(most <= 33 * RATE, "{most}");
}
