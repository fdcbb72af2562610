//! The least rate of a source, over many pieces.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Pace, Source, SourceFault};

/// Bytes over which the least rate is held: a fast beginning buys no endless drip after it.
const WINDOW_BYTES: u64 = 1 << 20;

/// Holds the least rate over short pieces, each of which would be in time. One for each source that is fetched from. What the device does between
/// two pieces (writes to its disk, looks for news) is not the source's time.
#[derive(Debug)]
pub struct LeastRate {
    pace: Pace,
    /// What the source took for `bytes`.
    took: Duration,
    bytes: u64,
}

impl LeastRate {
    /// Nothing has come yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, took: Duration::ZERO, bytes: 0 }
    }

    /// A piece as [`Source::piece`] gives it, cut off when it is too slow by itself or together with those before it.
    pub async fn piece(
        &mut self,
        source: &dyn Source,
        path: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Bytes, SourceFault> {
        let began = Instant::now();
        let piece = self.pace.hold(bytes, source.piece(path, offset, bytes)).await?;
        self.count(piece.len() as u64, began.elapsed())?;
        Ok(piece)
    }

    fn count(&mut self, piece: u64, took: Duration) -> Result<(), SourceFault> {
        self.bytes = self.bytes.saturating_add(piece);
        self.took = self.took.saturating_add(took);
        if self.took > self.pace.deadline(self.bytes) {
            let said = format!(
                "{} bytes took {} s; at least {} a second are asked for",
                self.bytes,
                self.took.as_secs(),
                self.pace.least_bytes_per_sec
            );
            return Err(SourceFault::TooSlow(said));
        }
        if self.bytes >= WINDOW_BYTES {
            *self = Self::new(self.pace);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::async_trait;

    /// Gives one byte after this long.
    struct Slow(Duration);

    #[async_trait]
    impl Source for Slow {
        fn name(&self) -> String {
            "slow".into()
        }

        async fn metadata(&self, _: &str, _: u64) -> Result<Bytes, SourceFault> {
            Err(SourceFault::NotThere)
        }

        async fn piece(&self, _: &str, _: u64, _: u64) -> Result<Bytes, SourceFault> {
            tokio::time::sleep(self.0).await;
            Ok(Bytes::from_static(b"x"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_between_two_pieces_is_not_the_sources_time() {
        let (second, mut rate) = (Duration::from_secs(1), LeastRate::new(Pace::default()));
        for n in 0..30 {
            rate.piece(&Slow(second), "files/a", n, 1).await.expect("in time");
            tokio::time::sleep(60 * second).await;
        }
        let e = rate.piece(&Slow(second), "files/a", 30, 1).await.expect_err("31 bytes in 31 seconds");
        assert!(matches!(&e, SourceFault::TooSlow(said) if said.contains("31 bytes took 31 s")), "{e}");
    }
}
