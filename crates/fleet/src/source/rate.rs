//! The least rate of a source, over many pieces.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Pace, Source, SourceFault};

/// Bytes over which the least rate is held: a fast beginning buys no endless drip after it.
const WINDOW_BYTES: u64 = 1 << 20;

/// Holds the least rate over short pieces, each of which would be in time. One for each source that is fetched from, and anew after a pause.
#[derive(Debug)]
pub struct LeastRate {
    pace: Pace,
    began: Instant,
    bytes: u64,
}

impl LeastRate {
    /// Begins now.
    pub fn new(pace: Pace) -> Self {
        Self { pace, began: Instant::now(), bytes: 0 }
    }

    /// A piece as [`Source::piece`] gives it, cut off when it is too slow by itself or together with those before it.
    pub async fn piece(
        &mut self,
        source: &dyn Source,
        path: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Bytes, SourceFault> {
        let piece = self.pace.hold(path, bytes, source.piece(path, offset, bytes)).await?;
        self.count(piece.len() as u64)?;
        Ok(piece)
    }

    fn count(&mut self, piece: u64) -> Result<(), SourceFault> {
        self.bytes = self.bytes.saturating_add(piece);
        let took = self.began.elapsed();
        if took > self.pace.deadline(self.bytes) {
            let said = format!(
                "{} bytes took {} s; at least {} a second are asked for",
                self.bytes,
                took.as_secs(),
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
