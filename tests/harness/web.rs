//! A web server on the loopback interface over a directory, as honest or as broken as a test has it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its path, without the first `/`.
    pub path: String,
    /// First and last byte.
    pub range: Option<(usize, usize)>,
}

/// What goes back, byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// The connection ends after it.
    pub close: bool,
    /// A pause after each byte of its body.
    pub pause: Duration,
    /// The last kilobyte goes out again and again.
    pub endless: bool,
}

/// Decides what goes back; `None` is the honest reply, which it is given.
type Answer = dyn Fn(&Asked, &Reply) -> Option<Reply> + Send + Sync;

/// The server; it ends when it is dropped.
pub struct Web {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    asked: Mutex<Vec<Asked>>,
    answer: Mutex<Arc<Answer>>,
    ended: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

impl Reply {
    /// A reply with a body of known length.
    pub fn new(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        Self { bytes: [head.as_bytes(), body].concat(), ..Self::default() }
    }

    /// Where its body begins.
    pub fn body(&self) -> usize {
        self.bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(self.bytes.len(), |at| at + 4)
    }
}

impl Web {
    /// Serves `dir`, honestly at first.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, None)
    }

    /// The same over TLS, by a certificate for `localhost` that [`authority`] has signed.
    pub fn start_tls(dir: &Path) -> Self {
        let file = |name: &str| super::root().join("tests/goldens/fleet/tls").join(name);
        let chain = CertificateDer::pem_file_iter(file("server.pem"))
            .and_then(Iterator::collect)
            .expect("the server's certificate");
        let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("the server's key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        Self::start_with(dir, Some(Arc::new(config)))
    }

    fn start_with(dir: &Path, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            asked: Mutex::default(),
            answer: Mutex::new(Arc::new(|_, _| None)),
            ended: AtomicBool::new(false),
            tls,
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                // Whoever hangs up in the middle has what he wanted.
                std::thread::spawn(move || drop(talk(stream, &shared)));
            }
        });
        Self { port, shared }
    }

    /// Its address.
    pub fn url(&self) -> String {
        match self.shared.tls {
            None => format!("http://127.0.0.1:{}", self.port),
            Some(_) => format!("https://localhost:{}", self.port),
        }
    }

    /// Answers so from now on.
    pub fn answers(&self, answer: impl Fn(&Asked, &Reply) -> Option<Reply> + Send + Sync + 'static) {
        *lock(&self.shared.answer) = Arc::new(answer);
    }

    /// Gives what lies in the directory, as it is.
    pub fn is_honest(&self) {
        self.answers(|_, _| None);
    }

    /// What was asked so far; it is forgotten.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *lock(&self.shared.asked))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next one.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The certificate of the authority behind [`Web::start_tls`], which no machine trusts by itself.
pub fn authority() -> PathBuf {
    super::root().join("tests/goldens/fleet/tls/ca.pem")
}

/// One connection, with or without TLS.
fn talk(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(super::PATIENCE))?;
    stream.set_write_timeout(Some(super::PATIENCE))?;
    stream.set_nodelay(true)?;
    let closes = stream.try_clone()?;
    match &shared.tls {
        None => answer(stream, shared)?,
        Some(tls) => {
            let session = ServerConnection::new(Arc::clone(tls)).map_err(std::io::Error::other)?;
            answer(StreamOwned::new(session, stream), shared)?;
        }
    }
    closes.shutdown(std::net::Shutdown::Both)
}

/// Request by request.
fn answer(stream: impl Read + Write, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push(line);
        }
        let first = head.first().map(String::as_str).unwrap_or_default();
        let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let range = head.iter().find_map(|line| {
            let line = line.to_ascii_lowercase();
            let (first, last) = line.trim_end().strip_prefix("range: bytes=")?.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let asked = Asked { path, range };
        lock(&shared.asked).push(asked.clone());
        let honest = honest(&shared.dir, &asked);
        let answer = Arc::clone(&lock(&shared.answer));
        let reply = answer(&asked, &honest).unwrap_or(honest);
        send(stream.get_mut(), &reply, &shared.ended)?;
        if reply.close {
            return Ok(());
        }
    }
}

fn send(stream: &mut impl Write, reply: &Reply, ended: &AtomicBool) -> std::io::Result<()> {
    if reply.pause.is_zero() {
        stream.write_all(&reply.bytes)?;
    } else {
        let (head, body) = reply.bytes.split_at(reply.body());
        stream.write_all(head)?;
        for byte in body {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            stream.write_all(&[*byte])?;
            stream.flush()?;
            std::thread::sleep(reply.pause);
        }
    }
    let last = &reply.bytes[reply.bytes.len().saturating_sub(1024)..];
    while reply.endless && !ended.load(Ordering::Relaxed) {
        stream.write_all(last)?;
    }
    stream.flush()
}

/// The file, or the range of it that was asked for.
fn honest(dir: &Path, asked: &Asked) -> Reply {
    let plain = !asked.path.split('/').any(|part| matches!(part, "" | "." | ".."));
    let Some(content) = plain.then(|| std::fs::read(dir.join(&asked.path)).ok()).flatten() else {
        return Reply::new("404 Not Found", "", b"no such file");
    };
    match asked.range {
        None => Reply::new("200 OK", "", &content),
        Some((first, _)) if first >= content.len() => Reply::new("416 Range Not Satisfiable", "", b""),
        Some((first, last)) => {
            let last = last.min(content.len() - 1);
            let range = format!("content-range: bytes {first}-{last}/{}\r\n", content.len());
            Reply::new("206 Partial Content", &range, &content[first..=last])
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
