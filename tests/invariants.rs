//! The invariants of `docs/ARCHITECTURE.md`, held over the source text, so that a breach fails with file and line.

use std::fs;
use std::path::{Path, PathBuf};

/// One line of code: file, number, text without its comment.
struct Line {
    file: String,
    number: usize,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !matches!(path.file_name().and_then(|n| n.to_str()), Some("target" | "corpus" | "artifacts")) {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every line of code under `places`, comments cut off.
fn lines_of(places: &[&str]) -> Vec<Line> {
    let mut files = Vec::new();
    for place in places {
        let path = root().join(place);
        if path.is_dir() { rust_files(&path, &mut files) } else { files.push(path) }
    }
    assert!(!files.is_empty(), "no Rust file under {places:?}: the invariant would hold of nothing");
    let mut lines = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = path.strip_prefix(root()).expect("under the root").display().to_string();
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !code.trim().is_empty() {
                lines.push(Line { file: file.clone(), number: index + 1, text: code.to_owned() });
            }
        }
    }
    lines
}

/// Whether `word` stands in `text` as a whole identifier.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(is_part)
            && !text[at + word.len()..].chars().next().is_some_and(is_part)
    })
}

fn assert_none(lines: &[Line], rule: &str, breaks: impl Fn(&Line) -> bool) {
    let broken: Vec<String> =
        lines.iter().filter(|l| breaks(l)).map(|l| format!("{}:{}: {}", l.file, l.number, l.text.trim())).collect();
    assert!(broken.is_empty(), "{rule}; broken at\n{}", broken.join("\n"));
}

const OWN_CODE: &[&str] = &["src", "crates", "trainer/src"];

#[test]
fn the_search_sees_a_word_but_not_a_part_of_one() {
    assert!(has_word("use tract_onnx::prelude;", "tract_onnx"));
    assert!(!has_word("fn extract_onnx()", "tract_onnx"));
    assert!(has_word("unsafe { x }", "unsafe"));
    assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
}

#[test]
fn transports_never_import_the_engine() {
    assert_none(&lines_of(&["src/transport"]), "transports know jobs and status, not engine, tasks or models", |l| {
        // base64 has an engine, too.
        has_word(&l.text.replace("base64::engine", ""), "engine") && l.text.contains("::")
            || l.text.contains("crate::task")
            || l.text.contains("crate::models")
            || l.text.contains("linnet::task")
    });
}

#[test]
fn only_the_tract_engine_and_the_kernels_name_tract() {
    assert_none(&lines_of(OWN_CODE), "tract is named under src/engine/tract and crates/kernels only", |l| {
        let allowed = l.file.starts_with("src/engine/tract") || l.file.starts_with("crates/kernels");
        !allowed && ["tract_onnx", "tract_core", "tract_linalg", "tract_hir"].iter().any(|w| has_word(&l.text, w))
    });
}

#[test]
fn proto_does_no_input_or_output() {
    let banned = ["std::fs", "std::net", "std::io", "std::process", "std::env", "tokio", "SystemTime", "Instant"];
    assert_none(&lines_of(&["crates/proto/src"]), "proto is data: no files, sockets, environment or clocks", |l| {
        banned.iter().any(|b| l.text.contains(b))
    });
}

#[test]
fn no_channel_is_unbounded() {
    let banned = ["unbounded_channel", "mpsc::channel()", "mpsc::channel::<", "unbounded()", "UnboundedSender"];
    assert_none(&lines_of(OWN_CODE), "every queue is bounded", |l| {
        // tokio's `mpsc::channel::<T>(capacity)` is bounded: only the empty call is not.
        let is_bounded = l.text.contains("mpsc::channel::<") && !l.text.contains(">()");
        !is_bounded && banned.iter().any(|b| l.text.contains(b))
    });
}

#[test]
fn unsafe_stands_only_in_the_kernels() {
    assert_none(&lines_of(&["src", "crates", "trainer/src", "tests"]), "unsafe belongs to crates/kernels", |l| {
        !l.file.starts_with("crates/kernels") && !l.file.ends_with("invariants.rs") && has_word(&l.text, "unsafe")
    });
}

/// The words by which code asks what the time of day is.
const WALL_CLOCK: &[&str] =
    &["SystemTime::now", "UNIX_EPOCH.elapsed", "ClockId::Realtime", "CLOCK_REALTIME", "Utc::now", "now_utc"];

#[test]
fn the_wall_clock_is_read_in_one_place_of_each_program() {
    let clocks = ["src/sys/clock.rs", "crates/client/src/clock.rs"];
    let lines = lines_of(&["src", "crates", "trainer/src"]);
    for clock in clocks {
        assert!(lines.iter().any(|l| l.file == clock && l.text.contains("SystemTime::now")), "{clock} reads no clock");
    }
    assert_none(&lines, "the time of day enters through src/sys/clock.rs and the client's clock.rs", |l| {
        !clocks.contains(&l.file.as_str()) && WALL_CLOCK.iter().any(|word| l.text.contains(word))
    });
}

/// Whether a file is a test of its room, by its name.
fn is_test(line: &Line) -> bool {
    line.file.ends_with("/tests.rs") || line.file.contains("/tests/")
}

#[test]
fn no_model_is_called_on_a_thread_of_tokio() {
    // What runs graphs waits for nothing but them...
    let rooms = ["src/engine", "src/task", "src/scheduler", "src/store"];
    assert_none(&lines_of(&rooms), "what runs models is not async", |l| {
        let is_async = has_word(&l.text, "async") || l.text.contains(".await");
        !is_test(l) && (is_async || ["tokio::spawn", "tokio::task"].iter().any(|w| l.text.contains(w)))
    });
    // ...and nobody else does, but the command that measures, which has no runtime.
    assert_none(
        &lines_of(&["src"]),
        "sessions are opened and run under src/engine, src/task, src/scheduler and src/store",
        |l| {
            let is_run = [".session()", ".executor()", ".execute("].iter().any(|call| l.text.contains(call));
            is_run && !rooms.iter().any(|room| l.file.starts_with(room)) && l.file != "src/bench.rs"
        },
    );
}

#[test]
fn the_client_does_not_depend_on_the_engine() {
    let manifest = fs::read_to_string(root().join("crates/client/Cargo.toml")).expect("the client's manifest");
    for banned in ["tract", "linnet-kernels", "linnet-features", "path = \"../..\""] {
        assert!(!manifest.contains(banned), "crates/client/Cargo.toml names {banned}");
    }
}

#[test]
fn the_daemon_does_not_depend_on_the_trainer() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    // The crate `cmake` stands there for aws-lc-sys, which calls it on no target of ours: CI builds with CMAKE=/bin/false.
    for banned in ["name = \"linnet-train\"", "name = \"burn\"", "name = \"openssl-sys\""] {
        assert!(!lock.contains(banned), "Cargo.lock holds {banned}");
    }
}

#[test]
fn no_work_is_left_as_a_stub() {
    assert_none(&lines_of(&["src", "crates", "trainer/src"]), "no stubs", |l| {
        ["todo!(", "unimplemented!("].iter().any(|b| l.text.contains(b))
    });
}

/// Paths that the documents name with backticks and a slash exist, and so do the files that they link to.
#[test]
fn the_documents_name_files_that_exist() {
    let mut documents = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for dir in ["docs", "docs/decisions"] {
        for entry in fs::read_dir(root().join(dir)).expect("docs").flatten() {
            if entry.path().extension().is_some_and(|e| e == "md") {
                documents.push(entry.path());
            }
        }
    }
    let mut missing = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|e| panic!("{}: {e}", document.display()));
        for quoted in text.split('`').skip(1).step_by(2) {
            let looks_like_path = ["src/", "crates/", "config/", "systemd/", "tests/", "docs/", "trainer/", "models/"]
                .iter()
                .any(|p| quoted.starts_with(p));
            let plain = !quoted.contains(['*', '{', '<', ' ', '$', '…', '\n', '|']);
            if looks_like_path && plain && !root().join(quoted.split(':').next().unwrap_or(quoted)).exists() {
                missing.push(format!("{}: {quoted}", document.display()));
            }
        }
        let beside = document.parent().expect("a directory");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") && !beside.join(link).exists() {
                missing.push(format!("{}: the link {link}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "documents name files that do not exist:\n{}", missing.join("\n"));
}
