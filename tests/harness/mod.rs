//! The harness of the black-box tests: a real `linnetd` on a temporary directory, HTTP over its socket, a real Mosquitto.
//!
//! ```ignore
//! let daemon = Daemon::start();
//! let answer = daemon.post("/v1/audio/transcriptions", "audio/wav", &sample());
//! assert_eq!(answer.status, 200);
//! ```
//!
//! Everything that is started is ended when its value is dropped. What a machine lacks is skipped loudly ([`skip`]), and is a
//! failure under `LINNET_TEST_REQUIRE=all`. Every wait has an end ([`PATIENCE`]); none of them is an assertion about speed.

// Each test file compiles the harness anew and uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod daemon;
pub mod http;
pub mod mosquitto;
pub mod notify_socket;
pub mod privacy;
pub mod strace;
pub mod tmpfs;
pub mod web;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use daemon::{Daemon, DaemonBuilder, Ended};
pub use http::{Answer, request};
pub use mosquitto::Mosquitto;
pub use notify_socket::NotifySocket;
pub use strace::Strace;
pub use tmpfs::Tmpfs;
pub use web::{Asked, Reply, Web, authority};

/// Longest wait for anything: a machine under load is slow, and a wait that ends is one that can be read.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The bundled model packages.
pub fn models() -> PathBuf {
    root().join("models")
}

/// A directory of models in `home` with the f32 files of `families` of `tests/goldens/families`, each under its own name.
pub fn models_of_families(home: &Path, families: &[&str]) -> PathBuf {
    let models = home.join("models");
    let other = ["_fp16.onnx", "_quantized.onnx", "_q4.onnx", "_q4f16.onnx"];
    for family in families {
        let from = root().join("tests/goldens/families").join(family);
        for part in ["", "onnx"] {
            let to = models.join(family).join(part);
            std::fs::create_dir_all(&to).expect("a directory");
            for entry in std::fs::read_dir(from.join(part)).expect("the goldens are part of the tree").flatten() {
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
                if path.is_file() && name != "golden.json" && !other.iter().any(|end| name.ends_with(end)) {
                    std::fs::copy(&path, to.join(&name)).expect("a copy");
                }
            }
        }
    }
    models
}

/// A file of `tests/data/audio`.
pub fn audio(name: &str) -> PathBuf {
    root().join("tests/data/audio").join(name)
}

/// The bundled recording.
pub fn sample() -> Vec<u8> {
    std::fs::read(audio("sample.wav")).expect("the bundled recording")
}

/// Says that `test` is not run for want of `missing`, and counts it. Under `LINNET_TEST_REQUIRE=all` it is a failure,
/// since CI installs everything.
pub fn skip(test: &str, missing: &str) {
    let line = format!("SKIPPED: {test}: {missing}");
    assert!(
        std::env::var_os("LINNET_TEST_REQUIRE").is_none_or(|v| v != "all"),
        "LINNET_TEST_REQUIRE=all, but {test} cannot run: {missing}"
    );
    count_skip(&line);
}

/// As [`skip`], for what is no part of the repository: required where `LINNET_SHARED_DATA` says that it is there, and nowhere else.
pub fn skip_without_shared_data(test: &str, missing: &str) {
    if let Some(folder) = std::env::var_os(SHARED_DATA) {
        panic!("{SHARED_DATA}={}, but {test} cannot run: {missing} is missing", folder.display());
    }
    count_skip(&format!("SKIPPED: {test}: {missing}"));
}

fn count_skip(line: &str) {
    // Not through `eprintln!`: libtest would capture it, and a skip must be seen.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
    if let Some(file) = std::env::var_os("LINNET_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        writeln!(file.expect("the file of skips"), "{line}").expect("the skip is counted");
    }
}

/// Names the folder of shared data.
pub const SHARED_DATA: &str = "LINNET_SHARED_DATA";

/// The folder of shared data, when there is one.
pub fn shared_data() -> Option<PathBuf> {
    let folder = match std::env::var_os(SHARED_DATA) {
        Some(folder) => PathBuf::from(folder),
        None => root().parent()?.join("shared/data"),
    };
    folder.is_dir().then_some(folder)
}

/// Waits until `done` gives something; fails with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Noise, which keeps a worker busy for about as long as speech does.
pub fn noise(secs: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let samples: Vec<i16> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 18) as i16
    })
    .take(16_000 * secs)
    .collect();
    wav(16_000, 1, &samples)
}

/// Minutes of speech, 16 kHz: the bundled recording again and again, with silence in between.
pub fn long_recording(minutes: usize) -> Vec<u8> {
    let sample = sample();
    let samples: Vec<i16> = sample[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let mut long = Vec::with_capacity(minutes * 60 * 16_000);
    while long.len() < minutes * 60 * 16_000 {
        long.extend(&samples);
        long.extend([0; 8000]);
    }
    wav(16_000, 1, &long)
}

/// A WAV file of 16-bit samples.
pub fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let bytes = u32::try_from(samples.len() * 2).expect("a small file");
    let frame = channels * 2;
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(1_u16.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(16_u16.to_le_bytes());
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    file
}
