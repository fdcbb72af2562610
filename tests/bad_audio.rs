//! Audio that is no audio, or lies: one clear refusal, and the next request is answered.

mod harness;

use harness::{Answer, Daemon, audio, root, sample, wav};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// Sends `body`, then a good recording, which must be answered.
fn send(daemon: &Daemon, content_type: &str, body: &[u8]) -> Answer {
    let answer = daemon.post(TRANSCRIPTIONS, content_type, body);
    let next = daemon.post(TRANSCRIPTIONS, "audio/wav", &sample());
    assert_eq!(next.status, 200, "the next request after {content_type}: {}", next.text());
    answer
}

/// Asserts status and code, and that a person learns something from the message.
fn assert_refused(what: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{what}: {}", answer.text());
    let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.len() > 15 && !message.contains('\n'), "{what}: {message:?}");
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/goldens/audio").join(name)).expect(name)
}

/// A WAV whose header declares `data_bytes` and holds `samples` silent ones.
fn lying_wav(rate: u32, channels: u16, data_bytes: u32, samples: usize) -> Vec<u8> {
    let mut file = wav(rate.clamp(1, 48_000), channels.max(1), &vec![0; samples]);
    file[22..24].copy_from_slice(&channels.to_le_bytes());
    file[24..28].copy_from_slice(&rate.to_le_bytes());
    file[40..44].copy_from_slice(&data_bytes.to_le_bytes());
    file
}

#[test]
fn nothing_at_all_is_empty_audio() {
    let daemon = Daemon::start();
    assert_refused("an empty body", &send(&daemon, "audio/wav", b""), 422, "empty_audio");
    assert_refused("a WAV of 0 s", &send(&daemon, "audio/wav", &wav(16_000, 1, &[])), 422, "empty_audio");
    assert_refused("raw audio of 0 s", &send(&daemon, "audio/l16;rate=16000", b""), 422, "empty_audio");
}

#[test]
fn a_moment_of_sound_and_plain_silence_are_answered_with_no_words() {
    let daemon = Daemon::start();
    for samples in [1, 100, 16_000] {
        let answer = send(&daemon, "audio/wav", &wav(16_000, 1, &vec![0; samples]));
        assert_eq!(answer.status, 200, "{samples} samples: {}", answer.text());
        assert_eq!(answer.json()["text"], "", "{samples} samples");
    }
}

#[test]
fn ten_hours_are_refused_by_the_header_alone() {
    let daemon = Daemon::start();
    let ten_hours = 10 * 3600 * 16_000 * 2;
    let answer = send(&daemon, "audio/wav", &lying_wav(16_000, 1, ten_hours, 16_000));
    assert_refused("ten hours", &answer, 413, "too_large");
}

#[test]
fn impossible_rates_and_channels_are_refused_by_name() {
    let daemon = Daemon::start();
    for rate in [0, 1, 4_000_000_000] {
        let answer = send(&daemon, "audio/wav", &lying_wav(rate, 1, 3200, 1600));
        assert_refused(&format!("{rate} Hz"), &answer, 422, "invalid_audio");
        let raw = send(&daemon, &format!("audio/l16;rate={rate}"), &[0; 3200]);
        assert_refused(&format!("raw {rate} Hz"), &raw, 422, "invalid_audio");
    }
    for channels in [0, 64] {
        let answer = send(&daemon, "audio/wav", &lying_wav(16_000, channels, 3200, 1600));
        assert_refused(&format!("{channels} channels"), &answer, 422, "invalid_audio");
        let raw = send(&daemon, &format!("audio/l16;rate=16000;channels={channels}"), &[0; 3200]);
        assert_refused(&format!("raw {channels} channels"), &raw, 422, "invalid_audio");
    }
}

#[test]
fn a_length_that_lies_is_read_as_far_as_the_samples_go() {
    let daemon = Daemon::start();
    let true_length = daemon.transcribe(&sample());
    let honest = sample();
    let data = honest.windows(4).position(|w| w == b"data").expect("a data chunk");
    for lie in [0xFFFF_FFFF_u32, 0x7FFF_FFF0] {
        let mut file = honest.clone();
        file[data + 4..data + 8].copy_from_slice(&lie.to_le_bytes());
        file[4..8].copy_from_slice(&lie.to_le_bytes());
        // What writes to a pipe cannot know the length, and says so in one of these ways.
        assert_eq!(send(&daemon, "audio/wav", &file).json()["text"], true_length["text"], "{lie:#x}");
    }
}

#[test]
fn samples_that_are_no_numbers_are_refused() {
    let daemon = Daemon::start();
    for (what, value) in [("not a number", f32::NAN), ("infinite", f32::INFINITY)] {
        let mut file = golden("wav-f32.wav");
        let data = file.windows(4).position(|w| w == b"data").expect("a data chunk") + 8;
        file[data + 400..data + 404].copy_from_slice(&value.to_le_bytes());
        assert_refused(what, &send(&daemon, "audio/wav", &file), 422, "invalid_audio");
    }
}

#[test]
fn a_file_cut_in_its_header_is_refused_and_one_cut_later_is_heard_to_the_cut() {
    let daemon = Daemon::start();
    for name in ["flac-16.flac", "mp3-mono-22050.mp3", "vorbis-stereo-44100.ogg"] {
        let whole = golden(name);
        let header = send(&daemon, "application/octet-stream", &whole[..12]);
        assert!((400..500).contains(&header.status), "{name}: {}", header.text());
        let heard = send(&daemon, "application/octet-stream", &whole[..whole.len() - whole.len() / 10]);
        assert_eq!(heard.status, 200, "{name}: {}", heard.text());
    }
}

#[test]
fn what_is_not_audio_is_an_unsupported_medium() {
    let daemon = Daemon::start();
    let words = b"These are words about sounds, and no sounds. ".repeat(40);
    for (what, body) in
        [("text", words.as_slice()), ("zip", b"PK\x03\x04 and so on, as archives begin"), ("zeros", &[0; 5000])]
    {
        let answer = send(&daemon, "application/octet-stream", body);
        assert_refused(what, &answer, 415, "unsupported_media");
    }
    assert_refused("a picture's type", &send(&daemon, "image/png", &sample()), 415, "unsupported_media");
}

#[test]
fn every_container_that_is_promised_is_heard() {
    let daemon = Daemon::start();
    assert!(audio("sample.wav").is_file());
    for name in [
        "wav-u8.wav",
        "wav-s16.wav",
        "wav-s24-extensible.wav",
        "wav-s32-extensible.wav",
        "wav-f32.wav",
        "wav-alaw.wav",
        "wav-mulaw.wav",
        "flac-16.flac",
        "mp3-stereo-44100.mp3",
        "vorbis-stereo-44100.ogg",
        "opus-speech.opus",
        "opus-in-webm.webm",
        "aac-stereo-44100.m4a",
    ] {
        let answer = daemon.post(TRANSCRIPTIONS, "application/octet-stream", &golden(name));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
}
