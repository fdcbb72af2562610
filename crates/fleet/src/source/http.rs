//! A repository on a web server: HTTP/1.1, plain or over TLS (rustls with ring), ranges, one request at a time.
//!
//! Plain HTTP is no danger to trust, which comes from signatures; TLS hides what is fetched. A server must answer ranges
//! (status 206), as nginx, Caddy, Apache and every CDN do.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HOST, HeaderMap, RANGE, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tough::async_trait;
use url::Url;

use super::authorities::{Authorities, in_words};
use super::{Pace, Source, SourceFault, repository_path, require_plain};

/// Time to connect, TLS handshake included.
const CONNECT: Duration = Duration::from_secs(15);
/// Time until an answer begins, and between two parts of it.
const IDLE: Duration = Duration::from_secs(20);
/// Bytes of a piece: large enough that round trips do not count, small enough for a small device's memory.
const PIECE_BYTES: u64 = 1 << 20;
/// Longest URL of a source, bytes: servers take requests of four times as much, and the paths of files come behind it.
const MAX_URL_BYTES: usize = 2048;
/// Longest name of a host, bytes (RFC 1035, 2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// A web server's address, and the connection to it while there is one.
pub struct Http {
    base: Url,
    host: String,
    port: u16,
    tls: Option<Tls>,
    idle: Mutex<Option<SendRequest<Empty<Bytes>>>>,
}

/// What a connection over TLS needs.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// The file of authorities, where the configuration names one.
    ca: Option<PathBuf>,
}

/// Why a web server cannot be a source; found before anything is asked. Its sentence does not name the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HttpSetupError(String);

/// Says why `url` cannot be a source's: one sentence that holds neither the URL nor a password in it, with the way out; or nothing.
pub fn fault_of_url(url: &str) -> Option<String> {
    Address::parse(url).err()
}

/// A URL that keeps the rules, in parts.
struct Address {
    base: Url,
    /// Without the brackets of an IPv6 address, which stand in a URL only.
    host: String,
    port: u16,
}

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("{why}; write it as http://HOST/PATH or https://HOST:PORT/PATH"));
        if url.len() > MAX_URL_BYTES {
            return refuse(&format!("it has {} bytes, and at most {MAX_URL_BYTES} are taken", url.len()));
        }
        // A parser of URLs leaves out, or takes for something else, what somebody has mistyped.
        if let Some(odd) = url.chars().find(|c| c.is_whitespace() || c.is_control() || *c == '\\') {
            return refuse(&format!("it holds {odd:?}, which stands in no URL"));
        }
        let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        else {
            return refuse("it begins neither with http:// nor with https://");
        };
        if rest.contains(['@', '?', '#']) {
            return refuse("it holds a user, a password, a query or a fragment, none of which a source has");
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside of the brackets of an IPv6 address.
            Some((_, behind)) if behind.ends_with(']') => (authority, None),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if host.is_empty() {
            return refuse("it names no host");
        }
        let is_port = |port: &str| port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0);
        if port.is_some_and(|port| !is_port(port)) {
            return refuse("its port is no number from 1 to 65535");
        }
        let base = match Url::parse(url) {
            Ok(base) => base,
            Err(e) => return refuse(&format!("its host cannot be one ({e})")),
        };
        let Some(host) = base.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']').to_owned())
        else {
            return refuse("it names no host");
        };
        if host.len() > MAX_HOST_BYTES || ServerName::try_from(host.as_str()).is_err() {
            return refuse("its host is neither a name that DNS can have nor an address");
        }
        let port = base.port().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Ok(Self { base, host, port })
    }
}

impl Http {
    /// The repository below `url` (`http://` or `https://`). A server is verified by the certificates in `ca` (PEM, `fleet.ca_file` of
    /// a device) and by no others, or by the platform's where none is given.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, HttpSetupError> {
        let refuse = |why: &str| HttpSetupError(why.to_owned());
        let Address { mut base, host, port } = Address::parse(url).map_err(HttpSetupError)?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let tls = match base.scheme() {
            "https" => {
                let name = ServerName::try_from(host.clone()).map_err(|e| refuse(&format!("its host's name: {e}")))?;
                let authorities = Authorities::read(ca).map_err(HttpSetupError)?;
                let connector = authorities.connector().map_err(HttpSetupError)?;
                Some(Tls { connector, name, ca: authorities.own().map(Path::to_owned) })
            }
            _ => None,
        };
        Ok(Self { base, host, port, tls, idle: Mutex::new(None) })
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, SourceFault> {
        let connected = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|e| SourceFault::Unreachable(self.no_connection(&e)))?;
            match &self.tls {
                None => self.handshake(stream).await,
                Some(Tls { connector, name, ca }) => {
                    let shaken = connector.connect(name.clone(), stream).await;
                    let stream =
                        shaken.map_err(|e| SourceFault::Unreachable(in_words(&e, &self.host, ca.as_deref())))?;
                    self.handshake(stream).await
                }
            }
        };
        tokio::time::timeout(CONNECT, connected)
            .await
            .unwrap_or_else(|_| Err(SourceFault::Unreachable(format!("no connection within {} s", CONNECT.as_secs()))))
    }

    fn no_connection(&self, e: &std::io::Error) -> String {
        match e.kind() {
            ErrorKind::ConnectionRefused => format!("nothing listens on port {}", self.port),
            // What looks names up says which it did not find in words of its own.
            _ if e.raw_os_error().is_none() => format!("{} has no address ({e})", self.host),
            _ => format!("no connection: {e}"),
        }
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<Empty<Bytes>>, SourceFault>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| SourceFault::Unreachable(broken(&e)))?;
        // Ends when the sender and the last body are dropped. What fails in it, the request reports.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// Sends one request, over the idle connection where it still stands.
    async fn send(
        &self,
        url: &Url,
        range: Option<(u64, u64)>,
    ) -> Result<(SendRequest<Empty<Bytes>>, Response<Incoming>), SourceFault> {
        let idle = self.idle.lock().await.take();
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
            && let Ok(response) = self.ask(&mut sender, url, range).await
        {
            return Ok((sender, response));
        }
        // None there, or the server has closed it meanwhile.
        let mut sender = self.connect().await?;
        let response = self.ask(&mut sender, url, range).await?;
        Ok((sender, response))
    }

    async fn ask(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        url: &Url,
        range: Option<(u64, u64)>,
    ) -> Result<Response<Incoming>, SourceFault> {
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut request = Request::get(url.path())
            .header(HOST, host)
            .header(USER_AGENT, concat!("linnet/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT_ENCODING, "identity");
        if let Some((offset, bytes)) = range {
            let last = offset.saturating_add(bytes).saturating_sub(1);
            request = request.header(RANGE, format!("bytes={offset}-{last}"));
        }
        let request = request.body(Empty::new()).map_err(|e| SourceFault::Unreachable(e.to_string()))?;
        match tokio::time::timeout(IDLE, sender.send_request(request)).await {
            Ok(response) => response.map_err(|e| SourceFault::Unreachable(broken(&e))),
            Err(_) => Err(SourceFault::TooSlow(format!("no answer within {} s", IDLE.as_secs()))),
        }
    }

    /// The body of an answer, of at most `cap` bytes.
    async fn read(response: &mut Response<Incoming>, cap: u64) -> Result<Bytes, SourceFault> {
        if number(response.headers(), CONTENT_LENGTH.as_str()).is_some_and(|length| length > cap) {
            return Err(SourceFault::TooLarge { cap });
        }
        let body = response.body_mut();
        let mut content = BytesMut::new();
        let (began, pace) = (Instant::now(), Pace::default());
        loop {
            // A drip is given up when it has fallen behind the least rate, and not only when a whole file could have come.
            let left = pace.deadline(content.len() as u64).saturating_sub(began.elapsed());
            let frame = tokio::time::timeout(left.min(IDLE), body.frame()).await.map_err(|_| {
                let (bytes, secs) = (content.len(), began.elapsed().as_secs());
                SourceFault::TooSlow(match left < IDLE {
                    true => {
                        let least = pace.least_bytes_per_sec;
                        format!("{bytes} bytes took {secs} s; at least {least} a second are asked for")
                    }
                    false => format!("nothing more came within {} s", IDLE.as_secs()),
                })
            })?;
            let Some(frame) = frame else { return Ok(content.freeze()) };
            let frame = frame.map_err(|e| SourceFault::Unreachable(broken(&e)))?;
            if let Some(data) = frame.data_ref() {
                if content.len() as u64 + data.len() as u64 > cap {
                    return Err(SourceFault::TooLarge { cap });
                }
                content.extend_from_slice(data);
            }
        }
    }

    async fn get(&self, path: &str, range: Option<(u64, u64)>, cap: u64) -> Result<Bytes, SourceFault> {
        require_plain(path)?;
        let url = self.base.join(path).map_err(|e| SourceFault::Lied(format!("it has no URL: {e}")))?;
        let (sender, mut response) = self.send(&url, range).await?;
        judge(&response, range)?;
        let content = Self::read(&mut response, cap).await?;
        // Read to its end: the connection can carry another request.
        *self.idle.lock().await = Some(sender);
        Ok(content)
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for Http {
    fn name(&self) -> String {
        self.base.to_string()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        self.get(&format!("metadata/{name}"), None, cap).await
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        let piece = self.get(&repository_path(path), Some((offset, bytes)), bytes).await?;
        if piece.is_empty() {
            return Err(SourceFault::Lied(format!("it ends before byte {offset}")));
        }
        Ok(piece)
    }

    fn piece_bytes(&self) -> u64 {
        PIECE_BYTES
    }
}

/// What the head of an answer says, before its body is read.
fn judge<B>(response: &Response<B>, range: Option<(u64, u64)>) -> Result<(), SourceFault> {
    let status = response.status();
    let unreachable = |why: String| Err(SourceFault::Unreachable(why));
    if response.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return unreachable("the server sends it in a coding that was not asked for".into());
    }
    match (status, range) {
        (StatusCode::OK, None) => Ok(()),
        (StatusCode::PARTIAL_CONTENT, Some((offset, _))) => {
            let said = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            match said.and_then(first_byte) {
                Some(first) if first == offset => Ok(()),
                _ => Err(SourceFault::Lied(format!("asked for bytes from {offset}, the server gave others"))),
            }
        }
        // The whole file where the first piece of it was asked for: the same, if it is no longer than the piece.
        (StatusCode::OK, Some((0, bytes)))
            if number(response.headers(), CONTENT_LENGTH.as_str()).is_some_and(|length| length <= bytes) =>
        {
            Ok(())
        }
        (StatusCode::OK, Some(_)) => unreachable(
            "the server takes no ranges; serve the repository with one that does, such as nginx or Caddy".into(),
        ),
        (StatusCode::NOT_FOUND | StatusCode::GONE, _) => Err(SourceFault::NotThere),
        (StatusCode::RANGE_NOT_SATISFIABLE, Some((offset, _))) => {
            Err(SourceFault::Lied(format!("it ends before byte {offset}")))
        }
        (status, _) if status.is_redirection() => unreachable(format!(
            "the server answers with status {}; redirects are not followed, so name the address that it points to in fleet.sources",
            status.as_u16()
        )),
        (status, _) => unreachable(format!("the server answers with status {}", in_words_of_status(status))),
    }
}

/// `503 (Service Unavailable)`.
fn in_words_of_status(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} ({reason})", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// How a connection ended on which an answer was awaited.
fn broken(e: &hyper::Error) -> String {
    if e.is_parse() {
        return "what answers there does not speak HTTP".into();
    }
    if e.is_incomplete_message() || e.is_closed() || e.is_canceled() {
        return "the server closed the connection before the answer was whole".into();
    }
    // Its own sentence does not hold the cause.
    match std::error::Error::source(e) {
        Some(cause) => format!("the connection broke: {cause}"),
        None => format!("the connection broke: {e}"),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The first byte of `bytes 5-9/100`.
fn first_byte(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_a_source_is_refused_in_one_sentence_with_the_way_out_and_without_its_password() {
        let long = format!("http://h/{}", "x".repeat(200 << 10));
        let long_name = format!("http://{}/", "h.".repeat(150));
        for (url, says) in [
            ("ftp://host/", "neither with http://"),
            ("file:///x", "neither with http://"),
            ("host/x", "neither with http://"),
            ("mailto:x", "neither with http://"),
            ("http:/host/x", "neither with http://"),
            ("http://u:secret@host/", "a user, a password"),
            ("http://host/?q=secret", "a query"),
            ("http://host/#secret", "a fragment"),
            ("http://", "no host"),
            // Which a parser of URLs takes for the host x.
            ("http:///x", "no host"),
            ("http://:80/x", "no host"),
            ("https://h:99999/", "from 1 to 65535"),
            ("https://h:0/", "from 1 to 65535"),
            ("https://h:/", "from 1 to 65535"),
            ("https://h:+1/", "from 1 to 65535"),
            ("https://h:http/", "from 1 to 65535"),
            ("http://[::1", "its host"),
            ("http://[::1/", "its host"),
            ("http://[::g]:80/", "its host"),
            ("http://::1/", "its host"),
            ("http://1.2.3.999/", "its host"),
            ("http://a..b/", "its host"),
            ("http://a%00b/", "its host"),
            ("http://h<x>/", "its host"),
            (&long_name, "its host"),
            ("http://a b/", "holds ' '"),
            ("http://h/a b", "holds ' '"),
            (" http://h/", "holds ' '"),
            ("http://h/a\tb", "holds '\\t'"),
            ("http:\\\\h\\x", "holds '\\\\'"),
            (&long, "it has 204809 bytes"),
        ] {
            let e = fault_of_url(url).unwrap_or_else(|| panic!("{url} is taken"));
            assert!(e.contains(says) && e.contains("write it as http://HOST/PATH") && e.len() < 300, "{url}: {e}");
            assert!(!e.contains("secret"), "{e}");
            assert_eq!(Http::new(url, None).expect_err(url).to_string(), e);
        }
        for (url, host, port, name) in [
            ("http://[::1]:8080/fleet", "::1", 8080, "http://[::1]:8080/fleet/"),
            ("http://[fe80::1]", "fe80::1", 80, "http://[fe80::1]/"),
            ("http://192.0.2.7/a%20b", "192.0.2.7", 80, "http://192.0.2.7/a%20b/"),
            ("http://my_host:65535/", "my_host", 65_535, "http://my_host:65535/"),
            ("http://updates.example./", "updates.example.", 80, "http://updates.example./"),
        ] {
            let source = Http::new(url, None).expect("a source");
            assert_eq!((source.host.as_str(), source.port, source.name()), (host, port, name.into()));
        }
    }

    #[test]
    fn a_content_range_is_read() {
        assert_eq!(first_byte("bytes 5-9/100"), Some(5));
        for bad in ["", "bytes", "bytes */100", "5-9/100", "bytes -9/100", "bytes 99999999999999999999-9/1"] {
            assert_eq!(first_byte(bad), None, "{bad}");
        }
    }
}
