//! Clocks that are wrong, jump, or are not there.

use linnet_fleet::clock::{KnownTime, VirtualClock};
use linnet_fleet::trust::{Limits, Trusted, refresh};

use super::support::*;

/// A repository whose metadata expire a day after [`NOW`], and a device that has them.
async fn a_day() -> (Repo, Trusted) {
    let (mut repo, _) = Repo::begun();
    for role in ["timestamp", "snapshot"] {
        repo.role(role).expires = NOW + DAY;
    }
    repo.write();
    let trusted = accepted(&repo.device(), &repo).await;
    (repo, trusted)
}

async fn code(trusted: &Trusted, repo: &Repo, clock: &VirtualClock) -> &'static str {
    let refreshed = refresh(trusted, &repo.memory, clock, &Limits::default()).await;
    refreshed.map_or_else(|e| e.code(), |_| "accepted")
}

#[tokio::test]
async fn a_device_that_wakes_in_1970_begins_all_the_same() {
    let (repo, _) = a_day().await;
    let clock = VirtualClock::unsynchronised_at(0);
    let trusted = refresh(&repo.device(), &repo.memory, &clock, &Limits::default()).await.expect("accepted").trusted;
    assert_eq!(trusted.known_time(), KnownTime { secs: 0, root_version: 1 }, "nothing was learnt of the time");
}

#[tokio::test]
async fn a_device_that_wakes_in_1970_keeps_to_the_last_known_time() {
    let (mut repo, mut trusted) = a_day().await;
    let clock = VirtualClock::unsynchronised_at(0);
    assert_eq!(code(&trusted, &repo, &clock).await, "accepted", "nothing had expired when the time was last known");
    // The mark alone was written on a later day.
    trusted.note_time(&VirtualClock::at(NOW + 2 * DAY));
    let trusted = Trusted::parse(&trusted.to_json()).expect("reads");
    assert_eq!(code(&trusted, &repo, &clock).await, "expired", "it had expired by then");
    repo.role("timestamp").expires = NOW + 9 * DAY;
    repo.role("snapshot").expires = NOW + 9 * DAY;
    repo.publish(&["timestamp", "snapshot"]);
    assert_eq!(code(&trusted, &repo, &clock).await, "accepted");
}

#[tokio::test]
async fn an_unsynchronised_clock_says_nothing_however_it_jumps() {
    let (repo, trusted) = a_day().await;
    for secs in [0, 1, NOW - 9 * DAY, NOW + 9 * DAY, u64::MAX] {
        let clock = VirtualClock::unsynchronised_at(secs);
        let refreshed = refresh(&trusted, &repo.memory, &clock, &Limits::default()).await.expect("accepted");
        assert_eq!(refreshed.trusted.known_time(), trusted.known_time(), "{secs}");
    }
}

#[tokio::test]
async fn a_synchronised_clock_that_jumps_both_ways_is_believed_and_lowers_no_mark() {
    let (repo, trusted) = a_day().await;
    let clock = VirtualClock::at(NOW + 9 * DAY);
    assert_eq!(code(&trusted, &repo, &clock).await, "expired");
    clock.set(NOW - 9 * DAY);
    let refreshed = refresh(&trusted, &repo.memory, &clock, &Limits::default()).await.expect("accepted");
    assert_eq!(refreshed.trusted.known_time().secs, NOW, "the mark stays");
    clock.set(NOW + 60);
    let refreshed = refresh(&trusted, &repo.memory, &clock, &Limits::default()).await.expect("accepted");
    assert_eq!(refreshed.trusted.known_time().secs, NOW + 60, "and rises");
    clock.set(u64::MAX);
    assert_eq!(code(&trusted, &repo, &clock).await, "expired", "the end of time overflows nothing");
}

#[tokio::test]
async fn a_mark_in_the_future_harms_no_synchronised_device_and_is_reset_by_a_higher_root() {
    let (mut repo, mut trusted) = a_day().await;
    trusted.note_time(&VirtualClock::at(NOW + 5000 * DAY));
    assert_eq!(code(&trusted, &repo, &VirtualClock::at(NOW)).await, "accepted");
    let unsynchronised = VirtualClock::unsynchronised_at(NOW);
    assert_eq!(code(&trusted, &repo, &unsynchronised).await, "expired");
    repo.publish(&["root", "timestamp", "snapshot"]);
    let healed = refresh(&trusted, &repo.memory, &unsynchronised, &Limits::default()).await.expect("healed").trusted;
    assert_eq!(healed.known_time(), KnownTime { secs: 0, root_version: 2 });
    // The price: without a clock, nothing is known to have expired until the time is known again.
    repo.role("timestamp").expires = NOW - DAY;
    repo.publish(&["timestamp"]);
    assert_eq!(code(&healed, &repo, &unsynchronised).await, "accepted");
    assert_eq!(code(&healed, &repo, &VirtualClock::at(NOW)).await, "expired");
}

#[tokio::test]
async fn a_refused_refresh_moves_no_mark() {
    let (repo, trusted) = a_day().await;
    let before = trusted.to_json();
    assert_eq!(code(&trusted, &repo, &VirtualClock::at(NOW + 5000 * DAY)).await, "expired");
    assert_eq!(trusted.to_json(), before);
}

#[tokio::test]
async fn years_pass_in_virtual_time() {
    let (mut repo, mut trusted) = Repo::begun();
    let clock = VirtualClock::at(NOW);
    for _ in 0..100 {
        clock.advance(20 * DAY);
        for role in ROLES {
            repo.role(role).expires += 20 * DAY;
        }
        repo.publish(&["root", "timestamp", "snapshot", "targets", "releases", "rollouts"]);
        trusted = refresh(&trusted, &repo.memory, &clock, &Limits::default()).await.expect("accepted").trusted;
    }
    assert_eq!(trusted.known_time(), KnownTime { secs: NOW + 2000 * DAY, root_version: 101 });
}
