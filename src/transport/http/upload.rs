//! Reading a request's body: bounded in bytes, in time, and in the memory of all uploads together.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Frame;
use linnet_proto::{ErrorCode, WireError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::bounds::{
    BUDGET_STEP_BYTES, BUDGET_UNIT_BYTES, FORESEEN_FOR, MEMORY_LEFT_BYTES, MIN_BODY_BYTES_PER_SEC, SMALL_BODY_BYTES,
};
use crate::job::Foreseen;
use crate::transport::places::Places;

/// Capacity taken ahead for a body that declares its length, bytes; a longer one grows as it comes.
const MAX_CAPACITY_AHEAD_BYTES: usize = 1024 * 1024;

/// Memory that all uploads may hold at once. Nothing waits for it: what does not fit is refused.
#[derive(Debug, Clone)]
pub struct Budget(Places);

impl Budget {
    /// A budget of `total_bytes`.
    pub fn new(total_bytes: u64) -> Self {
        Self(Places::new(units(total_bytes)))
    }

    /// Makes it `total_bytes`; what uploads hold already counts. Must be called on a tokio runtime.
    pub fn resize(&self, total_bytes: u64) {
        self.0.resize(units(total_bytes));
    }

    /// All memory, held or not, bytes.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.0.total()) * BUDGET_UNIT_BYTES
    }

    /// Memory that nobody holds, bytes.
    pub fn free_bytes(&self) -> u64 {
        self.0.free() as u64 * BUDGET_UNIT_BYTES
    }

    /// The refusal of what does not fit; `more` follows on how much is held.
    fn spent(&self, more: &str) -> WireError {
        let (total, free) = (self.total_bytes(), self.free_bytes());
        let held = total.saturating_sub(free);
        let message = format!(
            "uploads hold {held} of their {total} bytes of memory (limits.max_upload_total_mib){more}; send it again later"
        );
        WireError::new(ErrorCode::Overloaded, message)
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX >> 1).min(u32::MAX >> 1)
}

/// A share of the [`Budget`], given back when the last holder is gone: the audio itself holds it, through the queue and
/// the worker.
#[derive(Debug)]
struct Reservation {
    budget: Budget,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Reservation {
    fn grow(&self, bytes: u64) -> Result<(), WireError> {
        let more = self.budget.0.take(units(bytes)).ok_or_else(|| self.budget.spent(""))?;
        match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// A share of the memory of all uploads, held as long as this is.
#[derive(Debug)]
pub(super) struct Share(#[expect(dead_code, reason = "held, not read")] Arc<Reservation>);

/// Bytes that hold their share of the budget as long as anybody holds them.
struct Held<T> {
    bytes: T,
    _reservation: Arc<Reservation>,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Awaits `upload`, which counts on a place for the first [`FORESEEN_FOR`]: without it everybody who comes while there is one
/// place would be read, and all but one turned away afterwards.
pub(super) async fn while_it_counts<T>(foreseen: Foreseen, upload: impl Future<Output = T>) -> T {
    let mut upload = pin!(upload);
    let in_time = timeout(FORESEEN_FOR, upload.as_mut()).await;
    drop(foreseen);
    match in_time {
        Ok(read) => read,
        Err(_) => upload.await,
    }
}

/// A body on its way in.
pub struct Upload {
    body: Body,
    max_bytes: u64,
    declared: Option<u64>,
    idle: Duration,
    began: Instant,
    received: u64,
    reserved: u64,
    reservation: Arc<Reservation>,
}

impl Upload {
    /// Checks what the head says before a byte of the body is asked for: a declared length above `max_bytes` is refused, and so
    /// is one for which there is no memory now. Memory is held for what has come and one step more, not for what is only
    /// announced: a client that drips takes nobody else's place.
    pub fn open(body: Body, max_bytes: u64, idle: Duration, budget: &Budget) -> Result<Self, WireError> {
        let max_bytes = max_bytes.min(budget.total_bytes());
        let declared = body.size_hint().exact();
        if let Some(length) = declared.filter(|l| *l > max_bytes) {
            return Err(too_large(&format!("the body is {length} bytes long"), max_bytes));
        }
        if let Some(length) = declared.filter(|l| *l > budget.free_bytes()) {
            return Err(budget.spent(&format!(", and the body is {length} bytes long")));
        }
        let reservation = Reservation { budget: budget.clone(), held: Mutex::default() };
        Ok(Self {
            body,
            max_bytes,
            declared,
            idle,
            began: Instant::now(),
            received: 0,
            reserved: 0,
            reservation: Arc::new(reservation),
        })
    }

    /// The next piece; `None` at the end. Refused: more than the limit, more memory than there is, a silence of `idle`, an
    /// average below [`MIN_BODY_BYTES_PER_SEC`] after the first `idle`, a body cut short.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            let frame = match self.frame().await? {
                None => return Ok(None),
                Some(Err(_)) => {
                    let message = "the body ended early or its chunks are broken; send all that the head declares";
                    return Err(WireError::new(ErrorCode::InvalidRequest, message));
                }
                Some(Ok(frame)) => frame,
            };
            // Trailers are no data.
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            self.received += data.len() as u64;
            if self.received > self.max_bytes {
                return Err(too_large("the body goes on", self.max_bytes));
            }
            if self.received > self.reserved {
                let wanted = self.received.next_multiple_of(BUDGET_STEP_BYTES);
                let wanted = self.declared.map_or(wanted, |length| wanted.min(length.max(self.received)));
                let step = wanted - self.reserved;
                self.reservation.grow(step)?;
                self.reserved += step;
            }
            return Ok(Some(data));
        }
    }

    /// The next frame in time. What is there already is taken without a timer.
    async fn frame(&mut self) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, WireError> {
        if let Some(frame) = self.body.frame().now_or_never() {
            return Ok(frame);
        }
        let earned = Duration::from_secs(self.received / MIN_BODY_BYTES_PER_SEC);
        let deadline = (Instant::now() + self.idle).min(self.began + self.idle + earned);
        timeout_at(deadline, self.body.frame()).await.map_err(|_| self.too_slow())
    }

    fn too_slow(&self) -> WireError {
        let message = format!(
            "the body came too slowly ({} bytes in {:.1} s); send at least {MIN_BODY_BYTES_PER_SEC} bytes a second and \
             pause for at most {:.1} s",
            self.received,
            self.began.elapsed().as_secs_f64(),
            self.idle.as_secs_f64()
        );
        WireError::new(ErrorCode::RequestTimeout, message)
    }

    /// The whole rest of the body.
    pub async fn collect(mut self) -> Result<Bytes, WireError> {
        let mut pieces = self.pieces();
        while let Some(piece) = self.next().await? {
            pieces.push(&piece)?;
        }
        Ok(pieces.join())
    }

    /// Holds this upload's memory beyond its bytes, for what is made of them.
    pub(super) fn share(&self) -> Share {
        Share(Arc::clone(&self.reservation))
    }

    /// Where pieces of this upload come together.
    pub(super) fn pieces(&self) -> Pieces {
        let ahead = usize::try_from(self.declared.unwrap_or(0)).unwrap_or(usize::MAX).min(MAX_CAPACITY_AHEAD_BYTES);
        Pieces { first: None, joined: Vec::new(), ahead, reservation: Arc::clone(&self.reservation) }
    }
}

/// Pieces of an upload. A single one is passed on as it is; several are copied together once.
pub(super) struct Pieces {
    first: Option<Bytes>,
    joined: Vec<u8>,
    ahead: usize,
    reservation: Arc<Reservation>,
}

impl Pieces {
    /// Refused where the machine has no memory for it, whatever the settings promise (a limit of the service or the shell).
    pub(super) fn push(&mut self, piece: &Bytes) -> Result<(), WireError> {
        if self.joined.is_empty() {
            match self.first.take() {
                None => {
                    self.first = Some(piece.clone());
                    return Ok(());
                }
                Some(first) => {
                    self.reserve(self.ahead.max(first.len() + piece.len()))?;
                    self.joined.extend_from_slice(&first);
                }
            }
        }
        self.reserve(piece.len())?;
        self.joined.extend_from_slice(piece);
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), WireError> {
        if self.joined.capacity() - self.joined.len() >= bytes {
            return Ok(());
        }
        // Whatever else asks for memory cannot be refused it: without any left the process would end. Asking costs a small body more
        // than reading it (the address space of every thread changes twice).
        let small = self.joined.len().saturating_add(bytes) <= SMALL_BODY_BYTES;
        let left = if small { Ok(()) } else { Vec::<u8>::new().try_reserve_exact(MEMORY_LEFT_BYTES) };
        self.joined.try_reserve(bytes).and(left).map_err(|_| {
            let message = format!(
                "this machine has no memory left for the body ({} bytes have come); send it again later, or compress it",
                self.joined.len()
            );
            WireError::new(ErrorCode::Overloaded, message)
        })
    }

    pub(super) fn join(self) -> Bytes {
        let _reservation = self.reservation;
        match self.first {
            Some(bytes) => Bytes::from_owner(Held { bytes, _reservation }),
            None if self.joined.is_empty() => Bytes::new(),
            None => Bytes::from_owner(Held { bytes: self.joined, _reservation }),
        }
    }
}

fn too_large(what: &str, max_bytes: u64) -> WireError {
    let message = format!("{what}; at most {max_bytes} bytes are taken (limits.max_upload_mib)");
    WireError::new(ErrorCode::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::{Stream, StreamExt, stream};
    use hyper::body::SizeHint;

    use super::*;

    /// A body that says how long it will be, whatever comes.
    struct Declared<S>(u64, S);

    impl<S: Stream<Item = Result<Bytes, Infallible>> + Send + Unpin + 'static> Declared<S> {
        fn body(length: u64, pieces: S) -> Body {
            Body::new(Self(length, pieces))
        }
    }

    impl<S: Stream<Item = Result<Bytes, Infallible>> + Unpin> HttpBody for Declared<S> {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.1.poll_next_unpin(cx).map_ok(Frame::data)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    const IDLE: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(40);

    fn chunked(pieces: Vec<Vec<u8>>) -> Body {
        Body::from_stream(stream::iter(pieces.into_iter().map(|p| Ok::<_, Infallible>(Bytes::from(p)))))
    }

    #[tokio::test]
    async fn a_declared_length_above_the_limit_is_refused_unread() {
        let budget = Budget::new(1 << 20);
        let e = Upload::open(Body::from(vec![0; 2000]), 1000, IDLE, &budget).err().expect("a refusal");
        assert_eq!(e.code, ErrorCode::TooLarge);
        assert_eq!(budget.free_bytes(), 1 << 20);
    }

    #[tokio::test]
    async fn an_undeclared_length_is_counted_as_it_comes() {
        let budget = Budget::new(1 << 20);
        let body = chunked(vec![vec![1; 600], vec![2; 600]]);
        let e = Upload::open(body, 1000, IDLE, &budget).expect("no length").collect().await.expect_err("a refusal");
        assert_eq!(e.code, ErrorCode::TooLarge);
        assert_eq!(budget.free_bytes(), 1 << 20);
    }

    #[tokio::test]
    async fn pieces_come_together_in_order_and_hold_their_memory_until_dropped() {
        let budget = Budget::new(1 << 20);
        let body = chunked(vec![b"ab".to_vec(), Vec::new(), b"c".to_vec(), b"de".to_vec()]);
        let upload = Upload::open(body, 1000, IDLE, &budget).expect("opens");
        let bytes = upload.collect().await.expect("a body");
        assert_eq!(&bytes[..], b"abcde");
        let slice = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(budget.free_bytes(), (1 << 20) - BUDGET_STEP_BYTES);
        drop(slice);
        assert_eq!(budget.free_bytes(), 1 << 20);
    }

    /// An upload of `bytes` that has come, and is held.
    async fn held(bytes: usize, budget: &Budget) -> Bytes {
        let upload = Upload::open(Body::from(vec![0; bytes]), 1 << 20, IDLE, budget).expect("fits");
        upload.collect().await.expect("a body")
    }

    #[tokio::test]
    async fn an_upload_that_does_not_fit_beside_others_is_refused_unread() {
        let budget = Budget::new(4096);
        let first = held(3000, &budget).await;
        let e = Upload::open(Body::from(vec![0; 3000]), 4096, IDLE, &budget).err().expect("does not fit");
        assert_eq!(e.code, ErrorCode::Overloaded);
        assert!(e.message.contains("3072 of their 4096 bytes") && e.message.contains("3000 bytes long"), "{e}");
        drop(first);
        assert!(Upload::open(Body::from(vec![0; 3000]), 4096, IDLE, &budget).is_ok());
    }

    #[tokio::test]
    async fn a_declared_length_that_does_not_come_takes_nobody_elses_memory() {
        let budget = Budget::new(1 << 20);
        // Each has sent a byte of a MiB.
        let mut slow: Vec<_> = (0..4)
            .map(|_| {
                let rest = stream::pending::<Result<Bytes, Infallible>>();
                let body = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"x"))]).chain(rest);
                Upload::open(Declared::body(1 << 20, body), 1 << 20, IDLE, &budget).expect("opens")
            })
            .collect();
        for upload in &mut slow {
            assert_eq!(upload.next().await.expect("a byte").as_deref(), Some(&b"x"[..]));
        }
        assert_eq!(budget.free_bytes(), (1 << 20) - 4 * BUDGET_STEP_BYTES);
        drop(held(512 * 1024, &budget).await);
        slow.clear();
        assert_eq!(budget.free_bytes(), 1 << 20);
    }

    #[tokio::test]
    async fn two_that_fit_one_by_one_but_not_together_are_told_apart_as_they_come() {
        let budget = Budget::new(256 * 1024);
        let open = || {
            let pieces = (0..20).map(|_| Ok::<_, Infallible>(Bytes::from(vec![0; 10 * 1024])));
            Upload::open(Declared::body(200 * 1024, stream::iter(pieces)), 1 << 20, IDLE, &budget).expect("fits alone")
        };
        let mut uploads = vec![open(), open()];
        let mut turn = 0;
        let refused = loop {
            match uploads[turn % 2].next().await {
                Ok(piece) => assert!(piece.is_some(), "both are whole"),
                Err(e) => break e,
            }
            turn += 1;
        };
        assert_eq!(refused.code, ErrorCode::Overloaded);
        drop(uploads.remove(turn % 2));
        let mut left = uploads.remove(0);
        assert!(left.received < 200 * 1024, "it was not whole either");
        while left.next().await.expect("there is room again").is_some() {}
        assert_eq!(left.received, 200 * 1024);
    }

    #[test]
    fn a_body_for_which_the_machine_has_no_memory_is_refused() {
        let reservation = Reservation { budget: Budget::new(1 << 20), held: Mutex::default() };
        let mut pieces =
            Pieces { first: None, joined: Vec::new(), ahead: isize::MAX as usize, reservation: Arc::new(reservation) };
        pieces.push(&Bytes::from_static(b"a")).expect("one piece is passed on as it is");
        let e = pieces.push(&Bytes::from_static(b"b")).expect_err("no machine has that much");
        assert_eq!(e.code, ErrorCode::Overloaded);
        assert!(e.message.contains("no memory left"), "{e}");
    }

    #[tokio::test]
    async fn a_smaller_or_larger_budget_counts_what_is_held_already() {
        let budget = Budget::new(4096);
        let fits = |bytes: usize| Upload::open(Body::from(vec![0; bytes]), 1 << 20, IDLE, &budget).is_ok();
        let held = held(3000, &budget).await;
        for _ in 0..3 {
            budget.resize(8192);
        }
        assert!(fits(4096) && !fits(6000), "three of eight KiB are held, however often it was read again");
        budget.resize(2048);
        tokio::task::yield_now().await;
        assert!(!fits(1024));
        drop(held);
        tokio::task::yield_now().await;
        assert!(fits(2048));
        assert_eq!((budget.free_bytes(), budget.total_bytes()), (2048, 2048));
    }

    #[tokio::test]
    async fn a_silent_body_is_given_up() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let mut upload = Upload::open(body, 1000, SHORT, &Budget::new(4096)).expect("opens");
        assert_eq!(upload.next().await.expect_err("silence").code, ErrorCode::RequestTimeout);
    }

    #[tokio::test]
    async fn a_body_that_drips_is_given_up_too() {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(SHORT / 4).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
        });
        let began = Instant::now();
        let upload = Upload::open(Body::from_stream(drops), 1000, SHORT, &Budget::new(1 << 20)).expect("opens");
        assert_eq!(upload.collect().await.expect_err("too slow").code, ErrorCode::RequestTimeout);
        assert!(began.elapsed() < 100 * SHORT, "each drop must not win another {SHORT:?}");
    }
}
