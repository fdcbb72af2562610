//! The order in which jobs wait: priority, then age. Pure: time is passed in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::job::Priority;

/// A place in the queue; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    priority: Reverse<Priority>,
    number: u64,
}

/// Waiting jobs. The bound is the caller's to keep.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: BTreeMap<Place, (Instant, T)>,
    deadlines: BTreeSet<(Instant, Place)>,
    next: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), deadlines: BTreeSet::new(), next: 0 }
    }
}

impl<T> Queue<T> {
    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The place that the next job of `priority` will get; taken by [`Queue::put`].
    pub(super) fn place(&mut self, priority: Priority) -> Place {
        let number = self.next;
        self.next += 1;
        Place { priority: Reverse(priority), number }
    }

    /// Puts a job at its place.
    pub(super) fn put(&mut self, place: Place, deadline: Instant, job: T) {
        self.deadlines.insert((deadline, place));
        self.waiting.insert(place, (deadline, job));
    }

    /// Takes the job that goes first.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (place, (deadline, job)) = self.waiting.pop_first()?;
        self.deadlines.remove(&(deadline, place));
        Some(job)
    }

    /// Takes the job at `place`, when it still waits.
    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        let (deadline, job) = self.waiting.remove(&place)?;
        self.deadlines.remove(&(deadline, place));
        Some(job)
    }

    /// The jobs, in order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.waiting.values_mut().map(|(_, job)| job)
    }

    /// The earliest deadline of a waiting job.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes every job whose deadline has come.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((deadline, place)) = self.deadlines.first().copied()
            && deadline <= now
        {
            expired.extend(self.remove(place));
        }
        expired
    }

    /// Takes everything, in order.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        self.deadlines.clear();
        std::mem::take(&mut self.waiting).into_values().map(|(_, job)| job).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn push(queue: &mut Queue<u32>, priority: Priority, deadline: Instant, job: u32) -> Place {
        let place = queue.place(priority);
        queue.put(place, deadline, job);
        place
    }

    #[test]
    fn priority_goes_before_age_and_age_before_youth() {
        let mut queue = Queue::default();
        let later = Instant::now() + Duration::from_secs(9);
        for (job, priority) in
            [Priority::Normal, Priority::Low, Priority::High, Priority::Normal, Priority::High].into_iter().enumerate()
        {
            push(&mut queue, priority, later, job as u32);
        }
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [2, 4, 0, 3, 1]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8, u64),
        Pop,
        Remove(usize),
        Expire(u64),
        All,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u8..3, 0_u64..50).prop_map(|(p, d)| Step::Push(p, d)),
            3 => Just(Step::Pop),
            2 => (0_usize..40).prop_map(Step::Remove),
            1 => (0_u64..50).prop_map(Step::Expire),
            1 => Just(Step::All),
        ]
    }

    proptest! {
        /// Against the plainest model, a list that is sorted anew for every question.
        #[test]
        fn every_job_leaves_once_and_in_order(steps in prop::collection::vec(step(), 0..80)) {
            let start = Instant::now();
            let at = |s: u64| start + Duration::from_secs(s);
            let mut queue = Queue::default();
            let mut model: Vec<(Reverse<u8>, u32, u64)> = Vec::new();
            let mut places = Vec::new();
            for step in steps {
                match step {
                    Step::Push(p, deadline) => {
                        let job = places.len() as u32;
                        let priority = [Priority::Low, Priority::Normal, Priority::High][usize::from(p)];
                        places.push(push(&mut queue, priority, at(deadline), job));
                        model.push((Reverse(p), job, deadline));
                    }
                    Step::Pop => {
                        model.sort();
                        let first = (!model.is_empty()).then(|| model.remove(0).1);
                        prop_assert_eq!(queue.pop(), first);
                    }
                    Step::Remove(n) if n < places.len() => {
                        let found = model.iter().position(|(_, job, _)| *job as usize == n);
                        prop_assert_eq!(queue.remove(places[n]), found.map(|i| model.remove(i).1));
                    }
                    Step::Remove(_) => {}
                    Step::Expire(now) => {
                        let mut gone = queue.take_expired(at(now));
                        gone.sort_unstable();
                        let mut wanted: Vec<u32> = model.iter().filter(|m| m.2 <= now).map(|m| m.1).collect();
                        wanted.sort_unstable();
                        model.retain(|m| m.2 > now);
                        prop_assert_eq!(gone, wanted);
                    }
                    Step::All => {
                        model.sort();
                        let wanted: Vec<u32> = model.drain(..).map(|m| m.1).collect();
                        prop_assert_eq!(queue.take_all(), wanted);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.next_deadline(), model.iter().map(|m| at(m.2)).min());
            }
        }
    }
}
