//! What holds of any bytes.

use proptest::prelude::*;

use super::*;

const FILES: [&str; 12] = [
    "wav-s24-extensible.wav",
    "wav-rf64.wav",
    "flac-24-stereo-44100.flac",
    "flac-in-ogg.ogg",
    "mp3-id3.mp3",
    "vorbis-stereo-44100.ogg",
    "vorbis-in-webm.webm",
    "opus-speech.opus",
    "opus-surround.opus",
    "opus-in-webm.webm",
    "aac-fast-start.m4a",
    "aac-adts.aac",
];

/// Whether a reader keeps its word: it ends, gives finite samples within the limit, and says why where it refuses.
fn hold(bytes: &[u8], media: &Media) {
    let limits = AudioLimits { max_secs: 20.0, ..AudioLimits::default() };
    match hear_within(Bytes::copy_from_slice(bytes), media, &limits) {
        Ok(heard) => {
            assert!(!heard.is_empty() && heard.len() <= 20 * 16_000 + 1, "{} samples", heard.len());
            assert!(heard.iter().all(|x| x.abs() < 2.0), "a sample beyond what resampling can overshoot");
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}

#[test]
fn a_file_cut_anywhere_is_heard_up_to_the_cut_or_refused() {
    for name in FILES {
        let whole = golden(name);
        let full = detect(whole.clone()).expect(name).len();
        // Every byte of the header, then steps that no frame is a multiple of.
        let mut cuts: Vec<usize> = (0..whole.len().min(200)).collect();
        cuts.extend((200..whole.len()).step_by(97));
        for cut in cuts {
            match detect(whole.slice(..cut)) {
                // A last packet without its note of how much is padding is heard to its end: 20 ms of Opus, 26 of MP3.
                Ok(heard) => assert!(!heard.is_empty() && heard.len() <= full + 1_200, "{name} cut to {cut} bytes"),
                Err(AudioError::Malformed(_) | AudioError::Unsupported(_) | AudioError::Empty) => {}
                Err(e) => panic!("{name} cut to {cut} bytes: {e}"),
            }
        }
    }
}

#[test]
fn the_longer_the_piece_the_more_is_heard() {
    for name in ["flac-24-stereo-44100.flac", "mp3-stereo-44100.mp3", "vorbis-stereo-44100.ogg", "aac-adts.aac"] {
        let whole = golden(name);
        let full = detect(whole.clone()).expect(name).len();
        let half = detect(whole.slice(..whole.len() * 3 / 4)).expect(name).len();
        assert!(half > full / 8 && half < full, "{name}: {half} of {full} samples in three quarters of the file");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        hold(&bytes, &Media::Detect);
        hold(&bytes, &Media::Hint("audio/mpeg".into()));
    }

    #[test]
    fn no_bytes_after_a_signature_panic(
        magic in proptest::sample::select(vec![
            &b"RIFF\0\0\0\0WAVEfmt "[..], b"RF64\xff\xff\xff\xffWAVEds64", b"fLaC\0\0\0\x22", b"OggS\0\x02",
            b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftypM4A ", b"ID3\x04\0\0\0\0\0\0\xff\xfb", b"\xff\xf1\x50\x80",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        hold(&[magic, &bytes].concat(), &Media::Detect);
    }

    #[test]
    fn no_damage_panics(
        name in proptest::sample::select(&FILES[..]),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = golden(name).to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        hold(&bytes, &Media::Detect);
    }

    #[test]
    fn raw_pcm_of_any_form_is_heard_or_refused(
        rate in prop_oneof![any::<u32>(), 0u32..400_000],
        channels in prop_oneof![any::<u16>(), 0u16..10],
        big_endian in any::<bool>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        hold(&bytes, &Media::L16 { rate, channels, big_endian });
    }
}
