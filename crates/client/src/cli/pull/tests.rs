//! Against a server on loopback that speaks the hub's paths.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one repository.
struct Hub {
    endpoint: String,
    seen: Arc<Mutex<Vec<String>>>,
    breaks: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Served {
    files: BTreeMap<String, Vec<u8>>,
    /// What the hub says instead of the truth.
    lie: Option<(String, String)>,
}

impl Hub {
    fn serve(files: &[(&str, &[u8])], lie: Option<(&str, &str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let served = Served {
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            lie: lie.map(|(name, digest)| (name.to_owned(), digest.to_owned())),
        };
        let (seen, breaks) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (log, left) = (Arc::clone(&seen), Arc::clone(&breaks));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, log, left) = (served.clone(), Arc::clone(&log), Arc::clone(&left));
                std::thread::spawn(move || answer(stream, &served, &log, &left));
            }
        });
        Self { endpoint, seen, breaks }
    }

    fn pull(&self, cache: &Path, dtype: Option<&str>, revision: &str) -> Result<Pulled, ClientError> {
        pull(&Pull {
            repository: "org/model".into(),
            revision: revision.into(),
            dtype: dtype.map(str::to_owned),
            endpoint: Some(self.endpoint.clone()),
            cache: Some(cache.to_owned()),
        })
    }
}

fn answer(stream: TcpStream, served: &Served, seen: &Mutex<Vec<String>>, breaks: &AtomicUsize) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut range = None;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 || header == "\r\n" {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
                let (from, to) = value.trim().split_once('-').unwrap_or((value, ""));
                range = Some((from.parse::<usize>().unwrap_or(0), to.parse::<usize>().ok()));
            }
        }
        seen.lock().expect("no panic").push(path.clone());
        let (status, headers, body) = respond(&path, range, served);
        let cut = path.contains("/resolve/") && body.len() > 64 && breaks.load(Ordering::SeqCst) > 0;
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        let _ = out.write_all(head.as_bytes());
        if cut {
            breaks.fetch_sub(1, Ordering::SeqCst);
            // Half of it, then the line goes dead.
            let _ = out.write_all(&body[..body.len() / 2]);
            let _ = out.shutdown(std::net::Shutdown::Both);
            return;
        }
        let _ = out.write_all(&body);
    }
}

fn respond(path: &str, range: Option<(usize, Option<usize>)>, served: &Served) -> (String, String, Vec<u8>) {
    let path = path.split('?').next().unwrap_or_default();
    if path == "/api/models/org/model/revision/main" || path == format!("/api/models/org/model/revision/{COMMIT}") {
        let siblings: Vec<_> = served
            .files
            .iter()
            .map(|(name, bytes)| {
                let digest = match &served.lie {
                    Some((file, digest)) if file == name => digest.clone(),
                    _ => hex::encode(Sha256::digest(bytes)),
                };
                serde_json::json!({ "rfilename": name, "size": bytes.len(), "lfs": { "sha256": digest } })
            })
            .collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes();
        return ("200 OK".into(), "content-type: application/json\r\n".into(), body);
    }
    let file = path.strip_prefix(&format!("/org/model/resolve/{COMMIT}/")).and_then(|name| served.files.get(name));
    let Some(bytes) = file else { return ("404 Not Found".into(), String::new(), b"no".to_vec()) };
    let etag = hex::encode(Sha256::digest(bytes));
    let (from, to) = range.unwrap_or((0, None));
    let to = to.map_or(bytes.len(), |to| (to + 1).min(bytes.len()));
    let headers = format!(
        "etag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\naccept-ranges: bytes\r\ncontent-range: bytes {from}-{}/{}\r\n",
        to.saturating_sub(1),
        bytes.len()
    );
    ("206 Partial Content".into(), headers, bytes.get(from..to).unwrap_or_default().to_vec())
}

const MODEL: &[(&str, &[u8])] = &[
    ("config.json", b"{\"model_type\": \"bert\"}"),
    ("tokenizer.json", b"{}"),
    ("README.md", b"# a model"),
    ("pytorch_model.bin", b"not wanted"),
    ("onnx/model.onnx", &[7; 4000]),
    ("onnx/model_quantized.onnx", &[8; 3000]),
    ("onnx/model_quantized.onnx_data", &[9; 2000]),
];

#[test]
fn the_files_of_one_type_are_fetched_at_one_commit() {
    let (hub, cache) = (Hub::serve(MODEL, None), tempfile::tempdir().expect("a directory"));
    let pulled = hub.pull(cache.path(), None, "main").expect("it is fetched");
    assert_eq!((pulled.commit.as_str(), pulled.dtype.as_deref()), (COMMIT, Some("int8")));
    let has = |name: &str| pulled.dir.join(name).is_file();
    assert!(has("config.json") && has("onnx/model_quantized.onnx") && has("onnx/model_quantized.onnx_data"));
    assert!(!has("onnx/model.onnx") && !has("pytorch_model.bin"));
    let seen = hub.seen.lock().expect("no panic").clone();
    assert!(seen.iter().filter(|path| path.contains("/resolve/")).all(|path| path.contains(COMMIT)), "{seen:?}");
    let other = hub.pull(cache.path(), Some("f32"), COMMIT).expect("it is fetched");
    assert!(other.dir.join("onnx/model.onnx").is_file());
}

#[test]
fn a_file_that_breaks_off_is_resumed() {
    let (hub, cache) = (Hub::serve(MODEL, None), tempfile::tempdir().expect("a directory"));
    hub.breaks.store(2, Ordering::SeqCst);
    let pulled = hub.pull(cache.path(), None, "main").expect("it is fetched in spite of that");
    let bytes = std::fs::read(pulled.dir.join("onnx/model_quantized.onnx")).expect("reads");
    assert_eq!(bytes, vec![8; 3000]);
    assert_eq!(hub.breaks.load(Ordering::SeqCst), 0, "it did break off");
}

#[test]
fn what_is_not_what_the_hub_said_is_refused() {
    let wrong = "0".repeat(64);
    let hub = Hub::serve(MODEL, Some(("onnx/model_quantized.onnx", &wrong)));
    let cache = tempfile::tempdir().expect("a directory");
    let error = hub.pull(cache.path(), None, "main").expect_err("another digest").to_string();
    assert!(error.contains("SHA-256") && error.contains("model_quantized.onnx"), "{error}");
}

#[test]
fn what_cannot_be_a_model_is_named() {
    let cache = tempfile::tempdir().expect("a directory");
    let empty = Hub::serve(&[("config.json", b"{}")], None);
    let error = empty.pull(cache.path(), None, "main").expect_err("no graphs").to_string();
    assert!(error.contains("no ONNX graphs"), "{error}");
    let outside = Hub::serve(&[("../../evil.json", b"{}"), ("onnx/model.onnx", b"x")], None);
    let error = outside.pull(cache.path(), None, "main").expect_err("outside").to_string();
    assert!(error.contains("outside of it") && !cache.path().join("../evil.json").exists(), "{error}");
    let hub = Hub::serve(MODEL, None);
    let error = hub.pull(cache.path(), None, "other").expect_err("no such revision").to_string();
    assert!(error.contains("404") && error.contains("revision"), "{error}");
    let error = hub.pull(cache.path(), Some("q4"), "main").expect_err("no such type").to_string();
    assert!(error.contains("dtype q4"), "{error}");
    for repository in ["model", "../x/y", "a/b/c", "a/..", ""] {
        let asked = Pull {
            repository: repository.into(),
            revision: "main".into(),
            dtype: None,
            endpoint: Some(hub.endpoint.clone()),
            cache: Some(cache.path().to_owned()),
        };
        assert!(pull(&asked).expect_err("no repository").to_string().contains("ORG/NAME"), "{repository}");
    }
}
