//! More requests than the workers can answer.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use super::connection::Connection;

/// Connections that keep the queue full without filling it over: the default queue has 64 places.
const STEADY_CONNECTIONS: usize = 48;
/// How long the queue is filled before the count begins.
const STEADY_WARM_UP: Duration = Duration::from_secs(2);

/// What a client does that is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Sends its next request at once.
    None,
    /// Waits as long as `Retry-After` says, then sends its next request.
    RetryAfter,
}

impl Patience {
    pub fn in_words(self) -> &'static str {
        match self {
            Self::None => "clients that send their next request at once whatever they are told",
            Self::RetryAfter => "clients that wait as long as `Retry-After` says",
        }
    }
}

/// What became of a flood.
#[derive(Default)]
pub struct Flood {
    pub answered: usize,
    /// With status 429 and the code `overloaded`.
    pub refused: usize,
    /// No answer, or one that is neither.
    pub lost: usize,
    pub took: Duration,
}

/// Answers per second while the queue is full and nobody is refused.
pub async fn steady(socket: &Path, clip: &[u8], lasts: Duration) -> Result<f64, String> {
    let answered = Rc::new(Cell::new(0_usize));
    let began = Instant::now();
    let (counts_from, until) = (began + STEADY_WARM_UP, began + STEADY_WARM_UP + lasts);
    let local = LocalSet::new();
    let mut clients = Vec::new();
    for _ in 0..STEADY_CONNECTIONS {
        let (mut connection, clip, answered) = (Connection::new(socket), clip.to_vec(), Rc::clone(&answered));
        clients.push(local.spawn_local(async move {
            while Instant::now() < until {
                let answer = connection.transcribe(&clip).await?;
                if answer.status != 200 {
                    return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
                }
                if (counts_from..until).contains(&Instant::now()) {
                    answered.set(answered.get() + 1);
                }
            }
            Ok(())
        }));
    }
    local.await;
    for client in clients {
        client.await.map_err(|e| e.to_string())??;
    }
    Ok(answered.get() as f64 / lasts.as_secs_f64())
}

/// Sends `requests` over `connections` and counts what comes back.
pub async fn flood(
    socket: &Path,
    clip: &[u8],
    requests: usize,
    connections: usize,
    patience: Patience,
) -> Result<Flood, String> {
    let left = Rc::new(Cell::new(requests));
    let flood = Rc::new(Cell::new(Flood::default()));
    let began = Instant::now();
    let local = LocalSet::new();
    let clip: Rc<[u8]> = clip.into();
    for _ in 0..connections {
        let (mut connection, clip) = (Connection::new(socket), Rc::clone(&clip));
        let (left, flood) = (Rc::clone(&left), Rc::clone(&flood));
        local.spawn_local(async move {
            while let Some(now) = left.get().checked_sub(1) {
                left.set(now);
                let answer = connection.transcribe(&clip).await;
                let mut so_far = flood.take();
                let mut pause = None;
                match answer {
                    Ok(answer) if answer.status == 200 => so_far.answered += 1,
                    Ok(answer) if answer.status == 429 && is_overloaded(&answer.body) => {
                        so_far.refused += 1;
                        pause = answer.retry_after.filter(|_| patience == Patience::RetryAfter);
                    }
                    Ok(answer) => {
                        so_far.lost += 1;
                        eprintln!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                    }
                    Err(error) => {
                        so_far.lost += 1;
                        eprintln!("{error}");
                    }
                }
                flood.set(so_far);
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }
    local.await;
    let mut flood = flood.take();
    flood.took = began.elapsed();
    Ok(flood)
}

fn is_overloaded(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|v| v["error"]["code"] == "overloaded")
}
