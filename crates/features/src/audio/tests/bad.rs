//! Audio that is wrong in one way.

use super::*;

fn l16(rate: u32, channels: u16) -> Media {
    Media::L16 { rate, channels, big_endian: false }
}

fn refusal(bytes: impl Into<Bytes>, media: &Media) -> AudioError {
    hear(bytes, media).expect_err("a refusal")
}

fn assert_names(e: &AudioError, words: &[&str]) {
    for word in words {
        assert!(e.to_string().contains(word), "{e:?} does not name {word:?}");
    }
}

/// A FLAC with the number of samples in its header replaced.
fn flac_declaring(samples: u64) -> Vec<u8> {
    let mut bytes = golden("flac-16.flac").to_vec();
    // 36 bits that end 26 bytes into the file.
    bytes[21] = bytes[21] & 0xf0 | (samples >> 32) as u8;
    bytes[22..26].copy_from_slice(&(samples as u32).to_be_bytes());
    bytes
}

#[test]
fn nothing_is_empty_audio() {
    assert_eq!(refusal(Bytes::new(), &Media::Detect), AudioError::Empty);
    assert_eq!(refusal(Bytes::new(), &l16(16_000, 1)), AudioError::Empty);
    assert_eq!(refusal(wav(16_000, 1, &[]), &Media::Detect), AudioError::Empty);
    // Half a sample is none.
    assert_eq!(refusal(vec![0], &l16(16_000, 1)), AudioError::Empty);
    assert_eq!(refusal(vec![0; 3], &l16(16_000, 2)), AudioError::Empty);
}

#[test]
fn text_is_not_audio() {
    for text in ["hello, this is no audio\n", "{\"json\": true}", "żółw", "ID3 is the start of this text"] {
        let e = refusal(text.as_bytes().to_vec(), &Media::Hint("wav".into()));
        assert!(matches!(e, AudioError::Unsupported(_)), "{text:?}: {e:?}");
        assert_names(&e, &["text", "send WAV"]);
    }
    let e = refusal(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), &Media::Detect);
    assert_names(&e, &["[89, 50, 4e, 47]"]);
}

#[test]
fn rates_and_channels_are_checked_before_anything_is_decoded() {
    for rate in [0, 1, 3_999, 384_001, 4_000_000_000] {
        for e in [refusal(wav(rate, 1, &[1; 8]), &Media::Detect), refusal(vec![1; 8], &l16(rate, 1))] {
            assert!(matches!(e, AudioError::OutOfRange(_)), "{rate}: {e:?}");
            assert_names(&e, &[&format!("{rate} Hz"), "4000 and 384000"]);
        }
    }
    for channels in [0, 9, 64, u16::MAX] {
        for e in
            [refusal(wav(16_000, channels, &[1; 128]), &Media::Detect), refusal(vec![1; 128], &l16(16_000, channels))]
        {
            assert!(matches!(e, AudioError::OutOfRange(_)), "{channels}: {e:?}");
            assert_names(&e, &[&format!("{channels} channels"), "1 to 8"]);
        }
    }
}

#[test]
fn ten_hours_are_refused_from_the_header() {
    let mut long = wav(16_000, 1, &[0; 16]);
    long[40..44].copy_from_slice(&(10u32 * 3_600 * 16_000 * 2).to_le_bytes());
    for bytes in [long, flac_declaring(10 * 3_600 * 16_000)] {
        let e =
            AudioReader::open(Bytes::from(bytes), &Media::Detect, &AudioLimits::default()).err().expect("a refusal");
        assert!(matches!(e, AudioError::TooLarge(_)), "{e:?}");
        assert_names(&e, &["36000.0 s", "14400 s"]);
    }
}

#[test]
fn the_limit_holds_against_a_header_that_lies() {
    let limits = AudioLimits { max_secs: 0.2, ..AudioLimits::default() };
    // Streams declare nothing, the FLAC declares a tenth of what it holds; each holds 0.3 s.
    for (bytes, what) in [
        (golden("wav-streamed.wav"), "WAV"),
        (Bytes::from(flac_declaring(0)), "FLAC"),
        (golden("aac-adts.aac"), "AAC"),
        (golden("opus-in-webm.webm"), "WebM"),
    ] {
        let e = hear_within(bytes, &Media::Detect, &limits).expect_err(what);
        assert!(matches!(e, AudioError::TooLarge(_)), "{what}: {e:?}");
    }
}

#[test]
fn a_small_file_of_endless_silence_is_stopped() {
    let mut reader = AudioReader::open(
        golden("silence.flac"),
        &Media::Detect,
        &AudioLimits { max_secs: 60.0, ..AudioLimits::default() },
    )
    .expect("a header that declares no length");
    assert_eq!(reader.declared_secs(), None);
    let mut out = Vec::new();
    let e = loop {
        match reader.read(&mut out) {
            Ok(true) => assert!(out.len() <= 60 * 16_000, "{} samples", out.len()),
            Ok(false) => panic!("ten minutes were let through"),
            Err(e) => break e,
        }
    };
    assert!(matches!(e, AudioError::TooLarge(_)), "{e:?}");
    assert_names(&e, &["60 s"]);
}

#[test]
fn lengths_of_streaming_writers_are_taken_as_unknown() {
    let samples: Vec<i16> = (0..400).map(|i| (i * 50) as i16).collect();
    let whole = wav(16_000, 1, &samples);
    let heard = detect(whole.clone()).expect("a WAV");
    for (riff, data) in [(0, 0), (u32::MAX, u32::MAX), (u32::MAX, 0), (36, 0), (0x7fff_f024, 0x7fff_f000), (5, 800)] {
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&u32::to_le_bytes(riff));
        bytes[40..44].copy_from_slice(&u32::to_le_bytes(data));
        assert_eq!(detect(bytes), Ok(heard.clone()), "RIFF {riff:#x}, data {data:#x}");
    }
    // More than there is: what is there.
    let mut bytes = whole.clone();
    bytes[40..44].copy_from_slice(&10_000u32.to_le_bytes());
    assert_eq!(detect(bytes), Ok(heard.clone()));
    // Less: the rest is no audio.
    let mut bytes = whole.clone();
    bytes[40..44].copy_from_slice(&400u32.to_le_bytes());
    assert_eq!(detect(bytes), Ok(heard[..200].to_vec()));
    // A length that is odd, or beyond any file, of a chunk before the samples.
    for (size, readable) in [(5u32, true), (u32::MAX, false)] {
        let mut chunk = b"junk".to_vec();
        chunk.extend(size.to_le_bytes());
        chunk.extend([7; 6]);
        let bytes = [&whole[..36], &chunk, &whole[36..]].concat();
        match detect(bytes) {
            Ok(h) => assert!(readable && h == heard, "{size}"),
            Err(e) => assert!(!readable && matches!(e, AudioError::Malformed(_)), "{size}: {e:?}"),
        }
    }
}

#[test]
fn a_wav_that_ends_in_its_header_is_malformed() {
    let whole = wav(16_000, 1, &[1; 4]);
    for cut in 12..44 {
        let e = refusal(whole[..cut].to_vec(), &Media::Detect);
        assert!(matches!(e, AudioError::Malformed(_)), "cut to {cut}: {e:?}");
    }
}

#[test]
fn a_wav_of_a_format_that_is_not_read_names_it() {
    let e = refusal(wav_of(2, 16_000, 1, 4, &[0; 64]), &Media::Detect);
    assert!(matches!(e, AudioError::Unsupported(_)));
    assert_names(&e, &["0x0002", "save it as 16-bit PCM"]);
    let e = refusal(wav_of(1, 16_000, 1, 48, &[0; 64]), &Media::Detect);
    assert_names(&e, &["48 bits"]);
}

#[test]
fn a_sample_that_is_not_a_number_is_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let data: Vec<u8> = [0.0, 0.5, bad, 0.0].iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
        let e = refusal(wav_of(3, 16_000, 2, 32, &data), &Media::Detect);
        assert!(matches!(e, AudioError::Malformed(_)), "{e:?}");
        assert_names(&e, &["sample 1 of channel 1"]);
        let data: Vec<u8> = [0.0, f64::from(bad)].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
        assert_names(&refusal(wav_of(3, 16_000, 1, 64, &data), &Media::Detect), &["sample 1 of channel 1"]);
    }
}

#[test]
fn a_file_that_breaks_off_in_its_header_is_malformed() {
    for name in
        ["flac-16.flac", "vorbis-stereo-44100.ogg", "opus-speech.opus", "opus-in-webm.webm", "aac-fast-start.m4a"]
    {
        let e = refusal(golden(name).slice(..30), &Media::Detect);
        assert!(matches!(e, AudioError::Malformed(_)), "{name}: {e:?}");
    }
}

#[test]
fn a_reader_that_failed_gives_its_error_again() {
    let data: Vec<u8> = [f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes = Bytes::from(wav_of(3, 16_000, 1, 32, &data));
    let mut reader = AudioReader::open(bytes, &Media::Detect, &AudioLimits::default()).expect("a header");
    let mut out = Vec::new();
    let first = reader.read(&mut out).expect_err("a refusal");
    assert_eq!(reader.read(&mut out), Err(first));
    assert!(out.is_empty());
}

#[test]
fn raw_pcm_is_read_in_both_orders_of_bytes() {
    let little = hear(vec![0, 0x40, 0, 0xc0], &l16(16_000, 1));
    let big = hear(vec![0x40, 0, 0xc0, 0], &Media::L16 { rate: 16_000, channels: 1, big_endian: true });
    assert_eq!(little, Ok(vec![0.5, -0.5]));
    assert_eq!(big, little);
    assert_eq!(hear(vec![0, 0x40, 0, 0xc0], &l16(16_000, 2)), Ok(vec![0.0]));
}

#[test]
fn a_hint_that_is_wrong_does_not_matter() {
    let heard = detect(golden("flac-16.flac"));
    assert_eq!(hear(golden("flac-16.flac"), &Media::Hint("audio/mpeg".into())), heard);
}
