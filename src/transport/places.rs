//! A bound on what may be there at once, which a reload can move while it is in use.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places, each of which is free or held. Clones are one.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    total: Arc<AtomicU32>,
    /// One reload at a time.
    moving: Arc<Mutex<()>>,
}

impl Places {
    /// `total` places, all of them free.
    pub fn new(total: u32) -> Self {
        let free = Arc::new(Semaphore::new(total as usize));
        Self { free, total: Arc::new(AtomicU32::new(total)), moving: Arc::default() }
    }

    /// How many there are, free and held.
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Makes it `total` places. More are there at once, also for those who wait. Of fewer, the free ones go first, and the
    /// rest as they are given back: nobody loses the place that he holds, and nobody gets one before the new bound holds.
    /// Must be called on a tokio runtime.
    pub fn resize(&self, total: u32) {
        let _one_at_a_time = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.total.swap(total, Ordering::Relaxed);
        if total >= before {
            self.free.add_permits((total - before) as usize);
            return;
        }
        let surplus = before - total;
        let gone = self.free.forget_permits(surplus as usize);
        let owed = surplus - u32::try_from(gone).unwrap_or(surplus);
        if owed > 0 {
            let free = Arc::clone(&self.free);
            // It waits in line with the others: what is given back goes to it first, also what a later reload adds.
            tokio::spawn(async move {
                if let Ok(permit) = free.acquire_many_owned(owed).await {
                    permit.forget();
                }
            });
        }
    }

    /// Waits for a place.
    pub async fn one(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => permit,
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes `places` at once, or none.
    pub fn take(&self, places: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(places).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_places_reach_those_who_wait() {
        let places = Places::new(1);
        let held = places.one().await;
        let waiting = places.clone();
        let waits = tokio::spawn(async move { waiting.one().await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished() && places.take(1).is_none());
        places.resize(2);
        let second = waits.await.expect("no panic");
        assert!(places.take(1).is_none(), "two are held");
        drop((held, second));
        assert_eq!((places.free(), places.total()), (2, 2));
    }

    #[tokio::test]
    async fn fewer_places_hold_as_soon_as_they_are_given_back() {
        let places = Places::new(4);
        let mut held: Vec<_> = (0..3).map(|_| places.take(1).expect("free")).collect();
        places.resize(2);
        tokio::task::yield_now().await;
        assert!(places.take(1).is_none(), "three are held of two");
        held.pop();
        tokio::task::yield_now().await;
        assert!(places.take(1).is_none(), "two are held of two");
        held.pop();
        assert!(places.take(1).is_some());
        held.clear();
        assert_eq!((places.free(), places.total()), (2, 2));
    }

    #[tokio::test]
    async fn any_number_of_changes_leaves_as_many_places_as_the_last_one_said() {
        let places = Places::new(8);
        let held: Vec<_> = (0..8).map(|_| places.take(1).expect("free")).collect();
        for total in [3, 8, 1, 20, 5, 5, 9] {
            places.resize(total);
            tokio::task::yield_now().await;
        }
        drop(held);
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        assert_eq!((places.free(), places.total()), (9, 9));
    }
}
