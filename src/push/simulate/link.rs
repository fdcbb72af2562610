//! The link of one device: latency, rate, loss with repeats; and a repository behind it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use linnet_fleet::source::{Memory, Source, SourceFault, async_trait};

use super::bounds::{BYTES_PER_SEC, LATENCY, MOST_TRIES, OVERHEAD, REPEAT_AFTER};
use super::device::World;
use super::random::Random;
use super::reach::{Passage, Reach, Whose};
use super::traffic::{Cause, Traffic};

/// Bytes of a question beside the name that it asks for.
const QUESTION_BYTES: usize = 60;

/// A device's link. Everything that is sent over it counts, in both directions, repeats and what was lost included; acknowledgements do not.
#[derive(Debug)]
pub(super) struct Link {
    latency_ms: u64,
    bytes_per_sec: u64,
    loss_millionths: u64,
    random: Random,
    traffic: Traffic,
}

/// Every try of a message was lost; it took so many milliseconds to find out.
#[derive(Debug)]
pub(super) struct GaveUp(u64);

impl Link {
    /// One whose properties come out of `random`.
    pub(super) fn new(loss_millionths: u64, mut random: Random) -> Self {
        let latency_ms = random.spread((LATENCY.0.as_millis() as u64, LATENCY.1.as_millis() as u64));
        let bytes_per_sec = random.spread(BYTES_PER_SEC);
        Self { latency_ms, bytes_per_sec, loss_millionths, random, traffic: Traffic::default() }
    }

    /// Sends a question of so many bytes and gets an answer of so many; how long it took, milliseconds.
    fn exchange(&mut self, cause: Cause, asked: usize, answered: usize) -> Result<u64, GaveUp> {
        let mut spent = 0;
        for tries in 0..MOST_TRIES {
            if self.arrives(cause, asked) && self.arrives(cause, answered) {
                return Ok(spent + 2 * self.latency_ms + self.transfer_ms(asked) + self.transfer_ms(answered));
            }
            spent += (REPEAT_AFTER.as_millis() as u64) << tries;
        }
        Err(GaveUp(spent))
    }

    /// Sends what is part of an update and is repeated until it arrives, as QoS 1 is; after how many milliseconds that is.
    pub(super) fn deliver(&mut self, bytes: usize) -> u64 {
        let mut spent = 0;
        // The loss is bounded, so that this ends.
        for tries in 0.. {
            if self.arrives(Cause::Update, bytes) {
                break;
            }
            spent += (REPEAT_AFTER.as_millis() as u64) << tries.min(MOST_TRIES);
        }
        spent + self.latency_ms + self.transfer_ms(bytes)
    }

    fn arrives(&mut self, cause: Cause, bytes: usize) -> bool {
        self.traffic.add(cause, bytes);
        !self.random.happens(self.loss_millionths)
    }

    fn transfer_ms(&self, bytes: usize) -> u64 {
        (bytes as u64 + OVERHEAD) * 1000 / self.bytes_per_sec
    }
}

/// A repository behind a link. Answers come at once; how long they would have taken is added up.
pub(super) struct Far<'a> {
    memory: &'a Memory,
    is_routine: bool,
    /// Which publication it is, where it is the operator's.
    publication: Option<u32>,
    on_the_way: Mutex<OnTheWay<'a>>,
}

/// What came of the questions so far.
struct OnTheWay<'a> {
    link: &'a mut Link,
    /// Milliseconds.
    spent_ms: u64,
    /// A question got no answer.
    broke: bool,
    /// The signed rollouts have arrived.
    rollouts: bool,
}

impl Far<'_> {
    fn carry(&self, cause: Cause, asked: &str, answer: Result<Bytes, SourceFault>) -> Result<Bytes, SourceFault> {
        let mut way = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = answer.as_ref().map_or(0, Bytes::len);
        match way.link.exchange(cause, QUESTION_BYTES + asked.len(), answered) {
            Ok(took) => {
                way.spent_ms += took;
                way.rollouts |= answer.is_ok() && asked.ends_with(".rollouts.json");
                answer
            }
            Err(GaveUp(took)) => {
                way.spent_ms += took;
                way.broke = true;
                Err(SourceFault::Unreachable(format!("nothing came back in {MOST_TRIES} tries")))
            }
        }
    }
}

impl Reach for Link {
    type Visit<'a> = Far<'a>;

    fn count_routine_look(&mut self) {
        self.traffic.routine_looks += 1;
    }

    fn visit<'a>(&'a mut self, whose: Whose, is_routine: bool, world: &'a World) -> Far<'a> {
        let (memory, publication) = match whose {
            Whose::Operator => (&world.origin.memory, Some(world.origin.number)),
            Whose::Forger => (&world.mirror.forged.memory, None),
            Whose::Hider => (&world.mirror.old.memory, None),
        };
        let on_the_way = Mutex::new(OnTheWay { link: self, spent_ms: 0, broke: false, rollouts: false });
        Far { memory, is_routine, publication, on_the_way }
    }

    fn end(visit: Far<'_>) -> Passage {
        let way = visit.on_the_way.into_inner().unwrap_or_else(PoisonError::into_inner);
        let reached = visit.publication.filter(|_| !way.broke);
        Passage { spent_ms: way.spent_ms, reached, seen: reached.filter(|_| way.rollouts) }
    }

    fn report(&mut self, payload: Vec<u8>) -> Option<u64> {
        Some(self.deliver(payload.len()))
    }

    fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

#[async_trait]
impl Source for Far<'_> {
    fn name(&self) -> String {
        "a simulated link".into()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        let answer = self.memory.metadata(name, cap).await;
        self.carry(Cause::of_metadata(name, self.is_routine), name, answer)
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        let answer = self.memory.piece(path, offset, bytes).await;
        self.carry(Cause::Update, path, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::simulate::traffic::Count;

    #[test]
    fn what_is_lost_is_sent_again_and_counts_again() {
        let mut sound = Link::new(0, Random::of(1, 1));
        let took = sound.exchange(Cause::Update, 10, 1000).expect("arrives");
        assert_eq!(sound.traffic().update, Count { messages: 2, bytes: 10 + 1000 + 2 * OVERHEAD });
        let mut lossy = Link::new(500_000, Random::of(1, 1));
        let outcomes: Vec<_> = (0..1000).map(|_| lossy.exchange(Cause::Idle, 10, 1000)).collect();
        assert!(lossy.traffic().idle.messages > 3000, "{:?}", lossy.traffic());
        let gave_up = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        // Three of four tries fail: (3/4)^6 is 18 %.
        assert!((120..240).contains(&gave_up), "{gave_up}");
        assert!(outcomes.iter().flatten().all(|ms| *ms >= took));
        assert!((0..1000).map(|_| lossy.deliver(10)).all(|ms| ms >= sound.latency_ms));
    }
}
