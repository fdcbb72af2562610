//! What every connection shares, and the part of it that a reload replaces.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use super::upload::Budget;
use super::{HttpStartError, Token, tls};
use crate::config::transport::{HttpSettings, HttpTcpSettings, IntakeSettings};
use crate::job::Admit;
use crate::status::StatusSource;
use crate::transport::places::Places;

/// Settings and what is made of them. A request keeps the one it began with; a reload puts another in its place.
pub(super) struct Live {
    pub(super) http: HttpSettings,
    pub(super) intake: IntakeSettings,
    /// TCP's bearer token; `None` while TCP is off.
    pub(super) token: Option<Token>,
    /// TCP's TLS; `None` means plain text.
    pub(super) tls: Option<TlsAcceptor>,
}

impl Live {
    /// Reads token and certificates, so it fails before anything changes.
    pub(super) fn load(http: HttpSettings, intake: IntakeSettings) -> Result<Self, HttpStartError> {
        let (token, tls) = match &http.tcp {
            Some(tcp) => guard_tcp(tcp)?,
            None => (None, None),
        };
        Ok(Self { http, intake, token, tls })
    }

    /// Whether `key` is TCP's token, which LibreTranslate's clients send as a member of the body.
    pub(super) fn knows_key(&self, key: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.admits(format!("Bearer {key}").as_bytes()))
    }

    /// The same for a query.
    pub(super) fn knows_key_of_query(&self, query: Option<&str>) -> bool {
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.any(|(name, value)| name == "api_key" && self.knows_key(&value))
    }

    /// How many connections there may be at once.
    fn connections(&self) -> u32 {
        u32::try_from(self.http.max_connections).unwrap_or(u32::MAX).max(1)
    }
}

/// The rule of TCP: always a token, and beyond loopback also TLS or the operator's word.
fn guard_tcp(tcp: &HttpTcpSettings) -> Result<(Option<Token>, Option<TlsAcceptor>), HttpStartError> {
    let exposed = !is_loopback(tcp.address);
    if exposed && tcp.tls.is_none() {
        if !tcp.insecure_plaintext {
            return Err(HttpStartError::Exposed(tcp.address));
        }
        log::warn!(
            "http.tcp listens on {} without TLS, as insecure_plaintext = true says: the bearer token and all speech \
             travel in plain text",
            tcp.address
        );
    }
    if std::fs::metadata(&tcp.token_file).is_ok_and(|m| m.mode() & 0o007 != 0) {
        log::warn!("{}: every user of this machine can read the bearer token; chmod 640 it", tcp.token_file.display());
    }
    let token = Token::read(&tcp.token_file)?;
    let tls = tcp.tls.as_ref().map(tls::acceptor).transpose()?;
    Ok((Some(token), tls))
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// What every connection shares.
pub(super) struct Shared {
    pub(super) admit: Arc<dyn Admit>,
    pub(super) status: Arc<dyn StatusSource>,
    live: RwLock<Arc<Live>>,
    /// Memory of all uploads together.
    pub(super) budget: Budget,
    /// One place for each connection.
    pub(super) connections: Places,
    /// Tells the ids of this run from those of another.
    run: u32,
    requests: AtomicU64,
}

impl Shared {
    pub(super) fn new(live: Live, admit: Arc<dyn Admit>, status: Arc<dyn StatusSource>) -> Self {
        Self {
            admit,
            status,
            budget: Budget::new(live.intake.max_upload_total_bytes),
            connections: Places::new(live.connections()),
            live: RwLock::new(Arc::new(live)),
            run: rand::random(),
            requests: AtomicU64::new(0),
        }
    }

    /// The settings of now.
    pub(super) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `next` in place for what comes from now on. Connections and uploads that are there keep their places and their
    /// memory, and count against the new bounds.
    pub(super) fn replace(&self, next: Live) {
        self.budget.resize(next.intake.max_upload_total_bytes);
        self.connections.resize(next.connections());
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// An id that no other request of this run has; it begins with the caller's own, so that both can be searched for.
    pub(super) fn request_id(&self, given: Option<&str>) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        match given {
            Some(given) => format!("{given}.{number:x}"),
            None => format!("h{:08x}.{number:x}", self.run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_seen_through_mapped_addresses() {
        for inside in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(inside.parse().expect(inside)), "{inside}");
        }
        for outside in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
            assert!(!is_loopback(outside.parse().expect(outside)), "{outside}");
        }
    }
}
