//! The bounded window of kept answers: a repeat of an answered request gets the same answer again.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::answer::Body;
use super::bounds::MAX_KEPT_BYTES;
use super::fingerprint::Fingerprint;

/// Answers that were given, the oldest first. Bounded in number, age and bytes.
#[derive(Debug)]
pub struct KeptAnswers {
    most: usize,
    kept_for: Duration,
    bytes: usize,
    by_request: HashMap<Fingerprint, (Instant, Body)>,
    /// Each kept request once, in the order of keeping.
    order: VecDeque<Fingerprint>,
}

impl KeptAnswers {
    /// Keeps at most `most` answers, each for `kept_for`.
    pub fn new(most: usize, kept_for: Duration) -> Self {
        Self { most, kept_for, bytes: 0, by_request: HashMap::new(), order: VecDeque::new() }
    }

    /// Takes new bounds.
    pub fn resize(&mut self, most: usize, kept_for: Duration) {
        (self.most, self.kept_for) = (most, kept_for);
    }

    /// Keeps `body`; what an earlier answer to the same request was is forgotten.
    pub fn keep(&mut self, request: Fingerprint, body: Body, now: Instant) {
        if self.by_request.contains_key(&request) {
            self.order.retain(|kept| *kept != request);
            self.forget(request);
        }
        self.bytes += body.payload.len();
        self.by_request.insert(request, (now, body));
        self.order.push_back(request);
        self.tidy(now);
    }

    /// The answer that was given to `request`, when it is still kept.
    pub fn find(&mut self, request: Fingerprint, now: Instant) -> Option<&Body> {
        self.tidy(now);
        self.by_request.get(&request).map(|(_, body)| body)
    }

    /// Answers that are kept.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.order.len()
    }

    fn tidy(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front().copied() {
            let stale = self
                .by_request
                .get(&oldest)
                .is_none_or(|(kept, _)| now.saturating_duration_since(*kept) >= self.kept_for);
            if !stale && self.order.len() <= self.most && self.bytes <= MAX_KEPT_BYTES {
                return;
            }
            self.order.pop_front();
            self.forget(oldest);
        }
    }

    fn forget(&mut self, request: Fingerprint) {
        if let Some((_, body)) = self.by_request.remove(&request) {
            self.bytes -= body.payload.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::Key;
    use super::*;

    fn request(n: usize) -> Fingerprint {
        Fingerprint::of(&Key::Id(n.to_string()), "transcribe", None, &[], b"")
    }

    fn body(text: &str) -> Body {
        Body { payload: text.to_owned().into(), content_type: "text/plain".into(), error: None }
    }

    #[test]
    fn an_answer_is_given_again_until_it_is_too_old() {
        let start = Instant::now();
        let mut kept = KeptAnswers::new(10, Duration::from_secs(60));
        kept.keep(request(1), body("one"), start);
        assert_eq!(kept.find(request(1), start + Duration::from_secs(59)), Some(&body("one")));
        assert_eq!(kept.find(request(2), start), None);
        assert_eq!(kept.find(request(1), start + Duration::from_secs(60)), None);
        assert_eq!(kept.len(), 0);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_or_too_large_ones() {
        let now = Instant::now();
        let mut kept = KeptAnswers::new(2, Duration::from_secs(60));
        for n in 0..3 {
            kept.keep(request(n), body("x"), now);
        }
        assert_eq!(kept.find(request(0), now), None);
        assert_eq!(kept.len(), 2);
        kept.resize(100, Duration::from_secs(60));
        for n in 0..20 {
            kept.keep(request(n), body(&"x".repeat(MAX_KEPT_BYTES / 8)), now);
        }
        assert!(kept.len() <= 8, "{}", kept.len());
        assert!(kept.find(request(19), now).is_some());
    }

    #[test]
    fn a_second_answer_takes_the_place_of_the_first() {
        let now = Instant::now();
        let mut kept = KeptAnswers::new(2, Duration::from_secs(60));
        kept.keep(request(1), body("old"), now);
        kept.keep(request(1), body("new"), now);
        assert_eq!(kept.find(request(1), now), Some(&body("new")));
        assert_eq!(kept.len(), 1);
        assert_eq!(KeptAnswers::new(0, Duration::from_secs(1)).find(request(1), now), None);
    }
}
