//! The link of one device: latency, rate, loss with repeats; and a repository behind it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use linnet_fleet::source::{Memory, Source, SourceFault, async_trait};

use super::bounds::{BYTES_PER_SEC, LATENCY, MOST_TRIES, OVERHEAD, REPEAT_AFTER};
use super::random::Random;

/// Bytes of a question beside the name that it asks for.
const QUESTION_BYTES: usize = 60;

/// A device's link. Everything that is sent over it counts, in both directions, repeats and what was lost included; acknowledgements do not.
#[derive(Debug)]
pub(super) struct Link {
    latency_ms: u64,
    bytes_per_sec: u64,
    loss_millionths: u64,
    pub(super) random: Random,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Every try of a message was lost; it took so many milliseconds to find out.
#[derive(Debug)]
pub(super) struct GaveUp(u64);

impl Link {
    /// One whose properties come out of `random`.
    pub(super) fn new(loss_millionths: u64, mut random: Random) -> Self {
        let latency_ms = random.spread((LATENCY.0.as_millis() as u64, LATENCY.1.as_millis() as u64));
        let bytes_per_sec = random.spread(BYTES_PER_SEC);
        Self { latency_ms, bytes_per_sec, loss_millionths, random, messages: 0, bytes: 0 }
    }

    /// Sends a question of so many bytes and gets an answer of so many; how long it took, milliseconds.
    fn exchange(&mut self, asked: usize, answered: usize) -> Result<u64, GaveUp> {
        let mut spent = 0;
        for tries in 0..MOST_TRIES {
            if self.arrives(asked) && self.arrives(answered) {
                return Ok(spent + 2 * self.latency_ms + self.transfer_ms(asked) + self.transfer_ms(answered));
            }
            spent += (REPEAT_AFTER.as_millis() as u64) << tries;
        }
        Err(GaveUp(spent))
    }

    /// Sends what is repeated until it arrives, as QoS 1 is; after how many milliseconds that is.
    pub(super) fn deliver(&mut self, bytes: usize) -> u64 {
        let mut spent = 0;
        // The loss is bounded, so that this ends.
        for tries in 0.. {
            if self.arrives(bytes) {
                break;
            }
            spent += (REPEAT_AFTER.as_millis() as u64) << tries.min(MOST_TRIES);
        }
        spent + self.latency_ms + self.transfer_ms(bytes)
    }

    fn arrives(&mut self, bytes: usize) -> bool {
        self.messages += 1;
        self.bytes += bytes as u64 + OVERHEAD;
        !self.random.happens(self.loss_millionths)
    }

    fn transfer_ms(&self, bytes: usize) -> u64 {
        (bytes as u64 + OVERHEAD) * 1000 / self.bytes_per_sec
    }
}

/// A repository behind a link. Answers come at once; how long they would have taken is added up.
pub(super) struct Far<'a> {
    memory: &'a Memory,
    passage: Mutex<Passage<'a>>,
}

/// What came of the questions so far.
pub(super) struct Passage<'a> {
    link: &'a mut Link,
    /// Milliseconds.
    pub(super) spent_ms: u64,
    /// A question got no answer.
    pub(super) broke: bool,
    /// The signed rollouts have arrived.
    pub(super) rollouts: bool,
}

impl<'a> Far<'a> {
    pub(super) fn new(memory: &'a Memory, link: &'a mut Link) -> Self {
        Self { memory, passage: Mutex::new(Passage { link, spent_ms: 0, broke: false, rollouts: false }) }
    }

    /// What came of it all.
    pub(super) fn end(self) -> Passage<'a> {
        self.passage.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(&self, asked: &str, answer: Result<Bytes, SourceFault>) -> Result<Bytes, SourceFault> {
        let mut passage = self.passage.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = answer.as_ref().map_or(0, Bytes::len);
        match passage.link.exchange(QUESTION_BYTES + asked.len(), answered) {
            Ok(took) => {
                passage.spent_ms += took;
                passage.rollouts |= answer.is_ok() && asked.ends_with(".rollouts.json");
                answer
            }
            Err(GaveUp(took)) => {
                passage.spent_ms += took;
                passage.broke = true;
                Err(SourceFault::Unreachable(format!("nothing came back in {MOST_TRIES} tries")))
            }
        }
    }
}

#[async_trait]
impl Source for Far<'_> {
    fn name(&self) -> String {
        "a simulated link".into()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        let answer = self.memory.metadata(name, cap).await;
        self.carry(name, answer)
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        let answer = self.memory.piece(path, offset, bytes).await;
        self.carry(path, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_sent_again_and_counts_again() {
        let mut sound = Link::new(0, Random::of(1, 1));
        let took = sound.exchange(10, 1000).expect("arrives");
        assert_eq!((sound.messages, sound.bytes), (2, 10 + 1000 + 2 * OVERHEAD));
        let mut lossy = Link::new(500_000, Random::of(1, 1));
        let outcomes: Vec<_> = (0..1000).map(|_| lossy.exchange(10, 1000)).collect();
        assert!(lossy.messages > 3000, "{}", lossy.messages);
        let gave_up = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        // Three of four tries fail: (3/4)^6 is 18 %.
        assert!((120..240).contains(&gave_up), "{gave_up}");
        assert!(outcomes.iter().flatten().all(|ms| *ms >= took));
        assert!((0..1000).map(|_| lossy.deliver(10)).all(|ms| ms >= sound.latency_ms));
    }
}
