//! The HTTP source against a server on a socket that answers as each test tells it to.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use linnet_fleet::source::{Http, Pace, Progress, Source, SourceFault, Wanted, download};
use linnet_fleet::trust::{Limits, refresh};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::*;

/// A request as a test looks at it.
#[derive(Debug, Clone)]
struct Asked {
    path: String,
    range: Option<(usize, usize)>,
}

/// An answer; the connection is closed after it where `close` says so.
struct Answer {
    bytes: Vec<u8>,
    close: bool,
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Answer {
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Answer { bytes, close: false }
}

/// The file, or the range of it that was asked for.
fn serve(asked: &Asked, content: &[u8]) -> Answer {
    match asked.range {
        None => answer("200 OK", "", content),
        Some((first, _)) if first >= content.len() => answer("416 Range Not Satisfiable", "", b""),
        Some((first, last)) => {
            let last = last.min(content.len() - 1);
            let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
            answer("206 Partial Content", &range, &content[first..=last])
        }
    }
}

struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Respond = dyn Fn(&Asked) -> Answer + Send + Sync;

impl Server {
    async fn begin(tls: Option<TlsAcceptor>, respond: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Self { port, connections: Arc::default(), asked: Arc::default() };
        let (connections, asked, respond) =
            (server.connections.clone(), server.asked.clone(), Arc::new(respond) as Arc<Respond>);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (tls, asked, respond) = (tls.clone(), asked.clone(), respond.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, &asked, &respond).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, &asked, &respond).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn source(&self) -> Http {
        Http::new(&format!("http://127.0.0.1:{}/fleet", self.port), None).expect("a source")
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, asked: &Mutex<Vec<Asked>>, respond: &Arc<Respond>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            request.push(line);
        }
        let path = request[0].split(' ').nth(1).expect("a path").to_owned();
        let range =
            request.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let range = range.and_then(|range| {
            let (first, last) = range.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let this = Asked { path, range };
        asked.lock().expect("no panic").push(this.clone());
        let answer = respond(&this);
        if stream.write_all(&answer.bytes).await.is_err() || stream.flush().await.is_err() || answer.close {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

fn content() -> Vec<u8> {
    (0..3_000_000u32).map(|n| (n % 251) as u8).collect()
}

fn wanted(content: &[u8]) -> Wanted {
    let sha256 = sha256(content);
    Wanted { path: format!("files/{sha256}"), bytes: content.len() as u64, sha256 }
}

#[tokio::test]
async fn metadata_and_pieces_come_over_one_connection() {
    let file = content();
    let served = file.clone();
    let server = Server::begin(None, move |asked| match asked.path.as_str() {
        "/fleet/metadata/timestamp.json" => answer("200 OK", "", b"time"),
        path if path.starts_with("/fleet/files/") => serve(asked, &served),
        "/fleet/targets/generations/ab.1.json" => serve(asked, b"generation"),
        _ => answer("404 Not Found", "", b"no such thing"),
    })
    .await;
    let source = server.source();
    assert_eq!(source.metadata("timestamp.json", 4).await.expect("found"), "time");
    assert_eq!(source.metadata("2.root.json", 4).await, Err(SourceFault::NotThere));
    assert_eq!(source.piece("generations/ab.1.json", 3, 4).await.expect("found"), "erat");
    let mut sink = Vec::new();
    download(&source, &wanted(&file), &mut Progress::new(), &mut sink, &Pace::default()).await.expect("fetched");
    assert_eq!(sink, file);
    // The body of the 404 was not read: that connection is not used again.
    assert_eq!(server.connections.load(Ordering::Relaxed), 2);
    assert_eq!(source.metadata("timestamp.json", 3).await, Err(SourceFault::TooLarge { cap: 3 }));
}

#[tokio::test]
async fn a_whole_refresh_goes_over_http() {
    let (repo, trusted) = Repo::begun();
    let files: Vec<(String, Vec<u8>)> =
        ROLES.iter().map(|role| (format!("/fleet/metadata/{}", repo.name(role)), repo.file(role))).collect();
    let server = Server::begin(None, move |asked| match files.iter().find(|(name, _)| *name == asked.path) {
        Some((_, content)) => serve(asked, content),
        None => answer("404 Not Found", "", b""),
    })
    .await;
    let clock = linnet_fleet::clock::VirtualClock::at(NOW);
    let refreshed = refresh(&trusted, &server.source(), &clock, &Limits::default()).await.expect("accepted");
    assert_eq!(refreshed.contents.generations.len(), 1);
}

#[tokio::test]
async fn a_broken_connection_goes_on_where_it_stopped() {
    let file = content();
    let served = file.clone();
    let broken = AtomicUsize::new(0);
    let server = Server::begin(None, move |asked| {
        let mut answer = serve(asked, &served);
        // The second piece breaks off in its middle, once.
        if asked.range.is_some_and(|(first, _)| first > 0) && broken.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.bytes.truncate(500_000);
            answer.close = true;
        }
        answer
    })
    .await;
    let source = server.source();
    let (mut progress, mut sink) = (Progress::new(), Vec::new());
    let e = download(&source, &wanted(&file), &mut progress, &mut sink, &Pace::default()).await.expect_err("broken");
    assert_eq!(e.code(), "unreachable");
    assert!(progress.offset() > 0 && progress.offset() < file.len() as u64);
    let from = progress.offset() as usize;
    download(&source, &wanted(&file), &mut progress, &mut sink, &Pace::default()).await.expect("goes on");
    assert_eq!(sink, file);
    let asked = server.asked.lock().expect("no panic");
    assert!(asked.iter().skip(2).all(|asked| asked.range.is_some_and(|(first, _)| first >= from)), "{asked:?}");
}

#[tokio::test]
async fn a_server_that_closes_between_two_requests_is_connected_to_again() {
    let server = Server::begin(None, |asked| Answer { close: true, ..serve(asked, b"time") }).await;
    let source = server.source();
    for _ in 0..3 {
        assert_eq!(source.metadata("timestamp.json", 9).await.expect("found"), "time");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_a_server_may_not_answer_is_refused() {
    let head = |status: &'static str, headers: &'static str| {
        Server::begin(None, move |_| answer(status, headers, b"0123456789"))
    };
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect"] {
        let server = head(status, "Location: http://127.0.0.1:1/\r\n").await;
        match server.source().metadata("timestamp.json", 99).await {
            Err(SourceFault::Unreachable(why)) => assert!(why.contains("redirect"), "{why}"),
            other => panic!("{status}: {other:?}"),
        }
    }
    for status in ["403 Forbidden", "500 Internal Server Error", "503 Service Unavailable", "204 No Content"] {
        let fault = head(status, "").await.source().metadata("2.root.json", 99).await;
        assert!(matches!(fault, Err(SourceFault::Unreachable(_))), "{status}: a root that may well be there");
    }
    let coded = head("200 OK", "Content-Encoding: gzip\r\n").await.source().metadata("timestamp.json", 99).await;
    assert!(matches!(coded, Err(SourceFault::Unreachable(_))));
    // Ranges: another one, none at all where one is needed, and the whole file where that is the same.
    let other =
        head("206 Partial Content", "Content-Range: bytes 0-9/100\r\n").await.source().piece("files/a", 5, 10).await;
    assert!(matches!(other, Err(SourceFault::Lied(_))));
    match head("200 OK", "").await.source().piece("files/a", 5, 10).await {
        Err(SourceFault::Unreachable(why)) => assert!(why.contains("ranges"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(head("200 OK", "").await.source().piece("files/a", 0, 10).await.expect("all of it"), "0123456789");
    let longer =
        head("206 Partial Content", "Content-Range: bytes 5-14/100\r\n").await.source().piece("files/a", 5, 9).await;
    assert_eq!(longer, Err(SourceFault::TooLarge { cap: 9 }));
    let past = head("416 Range Not Satisfiable", "").await.source().piece("files/a", 5, 9).await;
    assert!(matches!(past, Err(SourceFault::Lied(_))));
}

#[tokio::test]
async fn a_fault_names_neither_the_server_nor_the_file_since_who_reports_it_does() {
    let heads = ["404 Not Found", "403 Forbidden", "302 Found", "204 No Content", "503 Service Unavailable", "200 OK"];
    let mut faults = Vec::new();
    for status in heads {
        let server = Server::begin(None, move |_| answer(status, "Content-Encoding: gzip\r\n", b"0123456789")).await;
        faults.push((server.port, server.source().metadata("timestamp.json", 99).await.expect_err(status)));
    }
    for bytes in ["", "\0\0\0\0 what is this?\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes."] {
        let server = Server::begin(None, move |_| Answer { bytes: bytes.into(), close: true }).await;
        faults.push((server.port, server.source().metadata("timestamp.json", 999).await.expect_err(bytes)));
    }
    let lies =
        Server::begin(None, |_| answer("206 Partial Content", "Content-Range: bytes 0-9/100\r\n", b"0123456789")).await;
    faults.push((lies.port, lies.source().piece("files/timestamp.json", 5, 10).await.expect_err("others")));
    for (port, fault) in &faults {
        let said = fault.to_string();
        assert!(!said.contains(&port.to_string()) && !said.contains("timestamp.json"), "{said}");
        assert!(!said.contains("hyper") && !said.is_empty(), "{said}");
    }
    // But for the port on which nobody listens, which is what is wrong.
    let nobody = Http::new("http://127.0.0.1:1/home/", None).expect("a source").metadata("timestamp.json", 99).await;
    assert_eq!(nobody, Err(SourceFault::Unreachable("nothing listens on port 1".into())));
    let nowhere =
        Http::new("http://nowhere.invalid/home/", None).expect("a source").metadata("timestamp.json", 99).await;
    let said = nowhere.expect_err("no such host").to_string();
    assert!(said.starts_with("nowhere.invalid has no address (") && said.matches("nowhere").count() == 1, "{said}");
}

#[tokio::test]
async fn endless_bodies_and_garbage_are_cut_off() {
    // No length is told, and it goes on and on.
    let endless = Server::begin(None, |_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..100 {
            bytes.extend_from_slice(b"400\r\n");
            bytes.extend_from_slice(&[b' '; 1024]);
            bytes.extend_from_slice(b"\r\n");
        }
        Answer { bytes, close: false }
    })
    .await;
    assert_eq!(endless.source().metadata("timestamp.json", 9000).await, Err(SourceFault::TooLarge { cap: 9000 }));
    for garbage in ["", "\0\0\0\0", "HTTP/1.1 9999 What\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"] {
        let server = Server::begin(None, move |_| Answer { bytes: garbage.into(), close: true }).await;
        let fault = server.source().metadata("2.root.json", 99).await;
        assert!(matches!(fault, Err(SourceFault::Unreachable(_))), "{garbage:?}: {fault:?}");
    }
    let nobody = Http::new("http://127.0.0.1:1/", None).expect("a source").metadata("2.root.json", 99).await;
    assert!(matches!(nobody, Err(SourceFault::Unreachable(_))));
}

fn tls(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/fleet/tls").join(name)
}

#[tokio::test]
async fn a_server_is_verified_by_the_given_authority_and_its_name() {
    let chain = CertificateDer::pem_file_iter(tls("server.pem")).and_then(Iterator::collect).expect("a chain");
    let key = PrivateKeyDer::from_pem_file(tls("server.key")).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::begin(Some(acceptor), |asked| serve(asked, b"time")).await;
    let url = |host: &str| format!("https://{host}:{}/fleet/", server.port);
    let source = Http::new(&url("localhost"), Some(&tls("ca.pem"))).expect("a source");
    assert_eq!(source.metadata("timestamp.json", 9).await.expect("found"), "time");
    // Another name, and another authority: the server's own certificate is none.
    for (host, authority) in [("127.0.0.1", "ca.pem"), ("localhost", "server.pem")] {
        let source = Http::new(&url(host), Some(&tls(authority))).expect("a source");
        let fault = source.metadata("timestamp.json", 9).await;
        assert!(matches!(fault, Err(SourceFault::Unreachable(_))), "{host}, {authority}: {fault:?}");
    }
    let e = Http::new(&url("localhost"), Some(&tls("server.key"))).expect_err("refused").to_string();
    assert!(e.contains("no certificate"), "{e}");
}
