//! Accept loops, connections, reload and drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bounds::{ACCEPT_LINE_EVERY, ACCEPT_PAUSE, MAX_CONNECTION_BUFFER_BYTES};
use super::front::{self, Peer};
use super::patience::PatientWrites;
use super::state::{Live, Shared};
use super::{HttpStartError, routes};
use crate::config::transport::{HttpSettings, HttpTcpSettings, IntakeSettings};
use crate::job::Admit;
use crate::logging::Seldom;
use crate::status::StatusSource;
use crate::sys::liveness::{Beat, Loops, Watch};

/// Bound and listening. The daemon makes the Unix listener, since it knows whether another daemon lives behind the path.
pub struct Listeners {
    /// The local socket, with its mode and group set.
    pub unix: UnixListener,
    /// TCP, where configured ([`Listeners::bind_tcp`]).
    pub tcp: Option<TcpListener>,
}

impl Listeners {
    /// Binds the TCP listener of `settings`, when there is one.
    pub async fn bind_tcp(settings: Option<&HttpTcpSettings>) -> Result<Option<TcpListener>, HttpStartError> {
        let Some(tcp) = settings else { return Ok(None) };
        let bind = TcpListener::bind(tcp.address).await;
        bind.map(Some).map_err(|source| HttpStartError::Bind { address: tcp.address, source })
    }
}

/// HTTP while it serves. Dropping it closes every connection at once; [`HttpServer::drain`] is the gentle way.
pub struct HttpServer {
    shared: Arc<Shared>,
    tcp_address: Option<SocketAddr>,
    tasks: TaskTracker,
    /// The accept loops, which must never stand still.
    watches: Vec<Watch>,
    /// No new connections; running requests end.
    stop: CancellationToken,
    /// Everything ends now.
    cut: CancellationToken,
}

impl HttpServer {
    /// Serves on `listeners` from now on, each of them by one of `loops`. Must be called on a tokio runtime.
    pub fn start(
        http: HttpSettings,
        intake: IntakeSettings,
        listeners: Listeners,
        admit: Arc<dyn Admit>,
        status: Arc<dyn StatusSource>,
        loops: &Loops,
    ) -> Result<Self, HttpStartError> {
        let shared = Arc::new(Shared::new(Live::load(http, intake)?, admit, status));
        let mut server = Self {
            tcp_address: listeners.tcp.as_ref().and_then(|l| l.local_addr().ok()),
            tasks: TaskTracker::new(),
            watches: Vec::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            shared,
        };
        let router = routes::router(Arc::clone(&server.shared));
        server.listen(Listener::Unix(listeners.unix), router.clone(), loops.watch("the accept loop of the socket"));
        if let Some(tcp) = listeners.tcp {
            server.listen(Listener::Tcp(tcp), router, loops.watch("the accept loop of http.tcp"));
        }
        Ok(server)
    }

    /// Where TCP listens; tells the port when the configured one was 0.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp_address
    }

    /// Takes new limits, and reads token and certificates again, for requests and connections from now on. On an error
    /// everything stays as it was.
    pub fn reload(&self, http: HttpSettings, intake: IntakeSettings) -> Result<(), HttpStartError> {
        let address = |settings: &HttpSettings| settings.tcp.as_ref().map(|t| t.address);
        if address(&http) != address(&self.shared.live().http) {
            return Err(HttpStartError::ListenerMoved);
        }
        self.shared.replace(Live::load(http, intake)?);
        Ok(())
    }

    /// Takes no new connection, lets running requests end for at most `grace`, then closes what is left and says how many
    /// connections that were.
    pub async fn drain(mut self, grace: Duration) -> usize {
        self.watches.clear();
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.cut.cancel();
        self.tasks.wait().await;
        left
    }

    fn listen(&mut self, listener: Listener, router: Router, watch: Watch) {
        let beat = watch.beat();
        self.watches.push(watch);
        let door = Door {
            shared: Arc::clone(&self.shared),
            router,
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
            cut: self.cut.clone(),
        };
        self.tasks.spawn(async move {
            let stop = door.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept(listener, door, beat) => {}
            }
        });
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut.cancel();
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What a connection needs; cheap to clone.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

/// Accepts for ever. A permit comes first, so that a connection beyond the bound waits in the kernel's backlog.
async fn accept(listener: Listener, door: Door, beat: Beat) {
    let mut refusals = Seldom::new(ACCEPT_LINE_EVERY);
    loop {
        let permit = beat.keep(door.shared.connections.one()).await;
        let accepted = match &listener {
            Listener::Unix(unix) => beat.keep(unix.accept()).await.map(|(stream, _)| {
                door.tasks.spawn(serve(stream, Peer::Unix, door.clone(), permit));
            }),
            Listener::Tcp(tcp) => beat.keep(tcp.accept()).await.map(|(stream, _)| {
                door.tasks.spawn(serve_tcp(stream, door.clone(), permit));
            }),
        };
        if let Err(error) = accepted {
            // Want of descriptors or memory, or a client that was gone at once: none of them ends the loop.
            match refusals.count(Instant::now()) {
                Some(1) => log::warn!("http: a connection was not accepted: {error}; linnetd goes on trying"),
                Some(times) => {
                    log::warn!("http: connections were not accepted, {times} times since the last such line: {error}")
                }
                None => {}
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn serve_tcp(stream: TcpStream, door: Door, permit: OwnedSemaphorePermit) {
    // Answers are small and awaited: never hold one back to fill a packet.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let live = door.shared.live();
    let Some(tls) = &live.tls else { return serve(stream, Peer::Tcp, door, permit).await };
    let handshake = tokio::select! {
        () = door.stop.cancelled() => return,
        handshake = tokio::time::timeout(live.http.header_timeout, tls.accept(stream)) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => serve(stream, Peer::Tcp, door, permit).await,
        Ok(Err(error)) => log::debug!("http: TLS handshake: {error}"),
        Err(_) => log::debug!("http: TLS handshake: too slow"),
    }
}

/// Serves one connection until it ends, idles, or the daemon drains.
async fn serve<S>(stream: S, peer: Peer, door: Door, _permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Door { shared, router, stop, cut, .. } = door;
    let live = shared.live();
    let io = TokioIo::new(PatientWrites::new(stream, live.http.idle_timeout));
    let service = service_fn(move |request| front::serve(Arc::clone(&shared), router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(live.http.header_timeout)
        .max_buf_size(MAX_CONNECTION_BUFFER_BYTES)
        .serve_connection(io, service);
    drop(live);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cut.cancelled() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        log::debug!("http: connection: {error}");
    }
}
