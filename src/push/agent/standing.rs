//! How each source stands: when it last gave what could be trusted, why it last did not, and whether others are asked before it.
//!
//! A source can drip its metadata or its files, or hold wrong ones. Asked first for each file, and at each look, it would cost each
//! time what it takes to give it up. So it goes behind the others, for both: for the rest of the update that it harmed, and for a
//! time that doubles; one that was only away when a file was asked of it comes back soon. One that is away at a look stays where it is: that costs a
//! few seconds, and what is new is looked for where the configuration says. Where there is no other it is asked all the same. In memory alone: a
//! restart forgives.

use std::time::Duration;

use linnet_proto::fleet::Attempt;
use linnet_proto::status::{SourceFailure, SourceStatus};

use crate::push::Moment;
use crate::push::bounds::{AWAY_FIRST, AWAY_MOST, MAX_REASON_BYTES, MAX_TOLD_SOURCES, SET_BACK_FIRST, SET_BACK_MOST};
use crate::push::machine::Fault;

/// What a source did that sets it back; the worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blame {
    /// It could not be reached, or had no such file: a copy may be under way.
    Away,
    /// It dripped, or gave what it should not.
    Harmful,
}

/// How many files of one update a source may have given wrongly, and still be asked.
const MAX_LIES: u32 = 2;

/// What a source was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskedFor {
    Metadata,
    File,
}

/// All of them, by their places in the configuration.
#[derive(Debug, Default)]
pub(super) struct Standings {
    sources: Vec<Standing>,
    /// The source that answered a look last: it is asked first for files.
    first: usize,
    /// The update that is under way.
    update: Option<(String, Attempt)>,
}

#[derive(Debug, Default, Clone)]
struct Standing {
    name: String,
    succeeded_secs: Option<u64>,
    failed: Option<SourceFailure>,
    /// It failed when it was asked for metadata last.
    fails_metadata: bool,
    /// The same for a file; forgotten with the update, unless its time is not over.
    fails_files: bool,
    /// It harmed the update that is under way.
    is_harmful: bool,
    /// Files of that update which it gave, or pieces of them, and which were others than are signed.
    lies: u32,
    /// For what it did with metadata, and with files. Good ones of one kind do not make up for bad ones of the other.
    of_metadata: SetBack,
    of_files: SetBack,
}

/// Others are asked before a source.
#[derive(Debug, Default, Clone, Copy)]
struct SetBack {
    /// Until then, by the monotonic clock.
    until: Duration,
    /// The worst that it did in this time.
    blame: Option<Blame>,
    /// How often in a row it was set back.
    times: u32,
}

impl SetBack {
    fn is_on(&self, now: Moment) -> bool {
        self.until > now.monotonic
    }

    fn add(&mut self, blame: Blame, now: Moment) {
        let (first, most) = match blame {
            Blame::Away => (AWAY_FIRST, AWAY_MOST),
            Blame::Harmful => (SET_BACK_FIRST, SET_BACK_MOST),
        };
        let pause = first.saturating_mul(1 << self.times.min(16)).min(most);
        let before = self.blame.filter(|_| self.is_on(now));
        self.blame = before.max(Some(blame));
        self.times = self.times.saturating_add(1);
        self.until = self.until.max(now.monotonic.saturating_add(pause));
    }

    /// It has given what it should. Who is set back stays so until its time is over.
    fn forgive(&mut self, now: Moment) {
        if !self.is_on(now) {
            self.times = 0;
        }
    }
}

impl Standings {
    /// Of sources with these names.
    pub(super) fn of(names: impl IntoIterator<Item = String>) -> Self {
        let sources = names.into_iter().map(|name| Standing { name, ..Standing::default() }).collect();
        Self { sources, ..Self::default() }
    }

    /// What harmed an earlier update does not count for this one, beyond its time.
    pub(super) fn begin(&mut self, sha256: &str, attempt: Attempt, now: Moment) {
        if self.update.as_ref().is_some_and(|(known, tried)| known == sha256 && *tried == attempt) {
            return;
        }
        self.update = Some((sha256.to_owned(), attempt));
        for source in &mut self.sources {
            source.is_harmful = false;
            source.lies = 0;
            source.fails_files &= source.is_behind(now);
        }
    }

    /// The update is over, however it ended: nothing is asked of them for it any more.
    pub(super) fn end(&mut self) {
        self.update = None;
        for source in &mut self.sources {
            source.is_harmful = false;
        }
    }

    /// It gave a file of this update, or a piece of it, that is another than is signed.
    pub(super) fn lied(&mut self, place: usize) {
        if let Some(source) = self.sources.get_mut(place) {
            source.lies = source.lies.saturating_add(1);
        }
    }

    /// Whether nobody is left who may be asked for a file of this update. One that is only away is waited for.
    pub(super) fn all_lie(&self) -> bool {
        self.sources.iter().all(Standing::is_liar)
    }

    /// It has given metadata that are trusted.
    pub(super) fn answered(&mut self, place: usize, now: Moment) {
        self.first = place;
        let Some(source) = self.sources.get_mut(place) else { return };
        source.succeeded_secs = Some(now.since_epoch_secs);
        source.fails_metadata = false;
        source.of_metadata.forgive(now);
    }

    /// It has given a file that is the right one.
    pub(super) fn gave(&mut self, place: usize, now: Moment) {
        let Some(source) = self.sources.get_mut(place) else { return };
        source.succeeded_secs = Some(now.since_epoch_secs);
        source.fails_files = false;
        source.of_files.forgive(now);
    }

    /// It was asked, and this came of it.
    pub(super) fn failed(&mut self, place: usize, asked_for: AskedFor, fault: &Fault, now: Moment) {
        let Some(source) = self.sources.get_mut(place) else { return };
        let mut reason = fault.reason.clone();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        source.failed = Some(SourceFailure { secs: now.since_epoch_secs, code: fault.code.clone(), reason });
        match asked_for {
            AskedFor::Metadata => source.fails_metadata = true,
            AskedFor::File => source.fails_files = true,
        }
    }

    /// It failed: others, where there are any, are asked before it for the time that this gives.
    pub(super) fn set_back(&mut self, place: usize, asked_for: AskedFor, blame: Blame, now: Moment) -> Duration {
        let (is_alone, is_under_way) = (self.sources.len() < 2, self.update.is_some());
        let Some(source) = self.sources.get_mut(place).filter(|_| !is_alone) else { return Duration::ZERO };
        source.is_harmful |= is_under_way && blame == Blame::Harmful;
        match asked_for {
            AskedFor::Metadata => source.of_metadata.add(blame, now),
            AskedFor::File => source.of_files.add(blame, now),
        }
        source.behind_until().saturating_sub(now.monotonic)
    }

    /// Places in the order in which they are asked for metadata: that of the configuration; those that are set back last, and of these the
    /// one first that did least harm.
    pub(super) fn for_metadata(&self, now: Moment) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.sources.len()).collect();
        places.sort_by_key(|place| self.sources[*place].is_behind(now).then(|| self.sources[*place].harm(now)));
        places
    }

    /// Places in the order in which they are asked for files: the one that answered the look first, those that `is_dear` holds for after the
    /// others; those that are set back last, and of these the one first that did least harm. Whoever has lied too often is not asked: what it
    /// gives is written for nothing.
    pub(super) fn for_files(&self, now: Moment, is_dear: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.sources.len()).collect();
        places.rotate_left(self.first.min(self.sources.len().saturating_sub(1)));
        places.retain(|place| !self.sources[*place].is_liar());
        places.sort_by_key(|place| {
            let source = &self.sources[*place];
            (source.is_set_back(now).then(|| source.harm(now)), is_dear(*place))
        });
        places
    }

    /// What the configuration calls it.
    pub(super) fn name(&self, place: usize) -> &str {
        self.sources.get(place).map_or("", |source| &source.name)
    }

    /// Whether others are asked for files before it.
    pub(super) fn is_set_back(&self, place: usize, now: Moment) -> bool {
        self.sources.get(place).is_some_and(|source| source.is_set_back(now))
    }

    /// As `/v1/status` tells it.
    pub(super) fn told(&self, now: Moment) -> Vec<SourceStatus> {
        let is_under_way = self.update.is_some();
        self.sources.iter().take(MAX_TOLD_SOURCES).map(|source| source.told(now, is_under_way)).collect()
    }
}

impl Standing {
    fn behind_until(&self) -> Duration {
        self.of_metadata.until.max(self.of_files.until)
    }

    fn is_behind(&self, now: Moment) -> bool {
        self.behind_until() > now.monotonic
    }

    fn is_set_back(&self, now: Moment) -> bool {
        self.is_harmful || self.is_behind(now)
    }

    /// How much it did for which it is set back: whether it was more than being away, and how often.
    fn harm(&self, now: Moment) -> (bool, u32) {
        let reasons = [&self.of_metadata, &self.of_files];
        let worst = reasons.iter().filter(|reason| reason.is_on(now)).filter_map(|reason| reason.blame).max();
        let times = reasons.map(|reason| reason.times).into_iter().fold(0, u32::saturating_add);
        (self.is_harmful || worst == Some(Blame::Harmful), times)
    }

    fn is_liar(&self) -> bool {
        self.lies > MAX_LIES
    }

    fn told(&self, now: Moment, is_under_way: bool) -> SourceStatus {
        let left = self.behind_until().saturating_sub(now.monotonic).as_secs();
        SourceStatus {
            source: self.name.clone(),
            failing: self.fails_metadata || (self.fails_files && (is_under_way || self.is_behind(now))),
            succeeded_secs: self.succeeded_secs,
            failed: self.failed.clone(),
            set_back_until_secs: self.is_behind(now).then(|| now.since_epoch_secs.saturating_add(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AskedFor::{File, Metadata};
    use super::Blame::{Away, Harmful};
    use super::*;

    const HOUR: u64 = 3600;

    fn at(secs: u64) -> Moment {
        Moment { since_epoch_secs: 1_800_000_000 + secs, monotonic: Duration::from_secs(secs) }
    }

    fn three() -> Standings {
        Standings::of(["a", "b", "c"].map(str::to_owned))
    }

    fn files(standings: &Standings, secs: u64) -> Vec<usize> {
        standings.for_files(at(secs), |_| false)
    }

    #[test]
    fn the_order_of_the_configuration_counts_and_for_files_who_answered_comes_first() {
        let mut standings = three();
        assert_eq!((standings.for_metadata(at(0)), files(&standings, 0)), (vec![0, 1, 2], vec![0, 1, 2]));
        standings.answered(1, at(1));
        assert_eq!((standings.for_metadata(at(1)), files(&standings, 1)), (vec![0, 1, 2], vec![1, 2, 0]));
        // A broker carries files after whatever else has them, and before what has failed.
        assert_eq!(standings.for_files(at(1), |place| place == 1), [2, 0, 1]);
        standings.set_back(2, File, Away, at(1));
        assert_eq!(standings.for_files(at(2), |place| place == 1), [0, 1, 2]);
    }

    #[test]
    fn who_drips_is_behind_for_the_rest_of_the_update_and_for_a_time_that_doubles() {
        let mut standings = three();
        standings.begin("one", 1, at(0));
        standings.answered(0, at(0));
        assert_eq!(standings.set_back(0, File, Harmful, at(0)), Duration::from_secs(HOUR));
        assert_eq!((files(&standings, 1), standings.for_metadata(at(1))), (vec![1, 2, 0], vec![1, 2, 0]));
        // Its time is over, the update is not: for files it stays behind, and a look may ask it first again.
        assert_eq!((files(&standings, HOUR), standings.for_metadata(at(HOUR))), (vec![1, 2, 0], vec![0, 1, 2]));
        standings.begin("one", 1, at(0));
        assert_eq!(files(&standings, HOUR), [1, 2, 0], "the same update");
        standings.begin("one", 2, at(0));
        assert_eq!(files(&standings, HOUR), [0, 1, 2], "another attempt is another update");
        assert_eq!(standings.set_back(0, File, Harmful, at(HOUR)), Duration::from_secs(2 * HOUR));
        standings.begin("two", 1, at(0));
        assert_eq!(files(&standings, HOUR + 1), [1, 2, 0], "its time is not over");
        let mut now = HOUR;
        for _ in 0..40 {
            now += standings.set_back(0, File, Harmful, at(now)).as_secs();
        }
        assert_eq!(
            standings.set_back(0, File, Harmful, at(now)),
            Duration::from_secs(24 * HOUR),
            "it is never set back for ever"
        );
    }

    #[test]
    fn who_was_only_away_comes_back_soon_and_is_forgiven_by_a_file() {
        let mut standings = three();
        standings.begin("one", 1, at(0));
        let minute = Duration::from_secs(60);
        assert_eq!(standings.set_back(0, File, Away, at(0)), minute);
        assert_eq!((files(&standings, 59), files(&standings, 60)), (vec![1, 2, 0], vec![0, 1, 2]));
        assert_eq!(standings.set_back(0, File, Away, at(60)), 2 * minute);
        standings.gave(0, at(200));
        assert_eq!(standings.set_back(0, File, Away, at(200)), minute, "it had given a file since");
        // One that is set back gives files, too, where the others fail, and is not first again for that.
        standings.gave(0, at(201));
        assert_eq!(files(&standings, 202), [1, 2, 0]);
    }

    #[test]
    fn all_that_fail_are_asked_all_the_same_and_those_who_did_least_harm_first() {
        let mut standings = three();
        standings.begin("one", 1, at(0));
        standings.set_back(0, File, Harmful, at(0));
        standings.set_back(1, File, Away, at(0));
        standings.set_back(2, File, Harmful, at(0));
        standings.set_back(2, File, Harmful, at(0));
        assert_eq!((files(&standings, 1), standings.for_metadata(at(1))), (vec![1, 0, 2], vec![1, 0, 2]));
        let mut alone = Standings::of(["a".to_owned()]);
        assert_eq!(alone.set_back(0, File, Harmful, at(0)), Duration::ZERO, "behind whom?");
        assert_eq!((files(&alone, 1), alone.for_metadata(at(1))), (vec![0], vec![0]));
        assert_eq!(files(&Standings::of([]), 0), Vec::<usize>::new());
    }

    #[test]
    fn who_drips_metadata_or_gives_false_ones_is_behind_for_both_and_good_files_do_not_make_up_for_it() {
        let mut standings = three();
        assert_eq!(standings.set_back(0, Metadata, Harmful, at(0)), Duration::from_secs(HOUR));
        standings.begin("one", 1, at(1));
        assert_eq!((standings.for_metadata(at(1)), files(&standings, 1)), (vec![1, 2, 0], vec![1, 2, 0]));
        // Who was merely away is asked before who did harm, wherever both stand.
        standings.set_back(1, File, Away, at(1));
        standings.set_back(2, File, Away, at(1));
        standings.set_back(2, File, Away, at(1));
        assert_eq!((standings.for_metadata(at(2)), files(&standings, 2)), (vec![1, 2, 0], vec![1, 2, 0]));
        standings.gave(0, at(2 * HOUR));
        assert_eq!(standings.set_back(0, Metadata, Harmful, at(2 * HOUR)), Duration::from_secs(2 * HOUR));
        standings.answered(0, at(5 * HOUR));
        assert_eq!(
            standings.set_back(0, Metadata, Harmful, at(5 * HOUR)),
            Duration::from_secs(HOUR),
            "it was well since"
        );
    }

    #[test]
    fn being_away_does_not_cover_the_harm_that_was_done_before() {
        let mut standings = three();
        standings.set_back(0, File, Harmful, at(0));
        standings.set_back(0, File, Away, at(1));
        standings.set_back(1, File, Away, at(1));
        assert_eq!(standings.for_metadata(at(2)), [2, 1, 0]);
        // Nor does the harm of a time that is over count for the next.
        standings.end();
        standings.set_back(0, File, Away, at(2 * HOUR));
        standings.set_back(1, File, Away, at(2 * HOUR));
        standings.set_back(1, File, Away, at(2 * HOUR));
        standings.set_back(1, File, Away, at(2 * HOUR));
        assert_eq!(standings.for_metadata(at(2 * HOUR)), [2, 0, 1]);
    }

    #[test]
    fn what_is_told_of_a_source_is_its_last_success_and_its_last_failure_and_no_history() {
        let mut standings = three();
        let told = |standings: &Standings, secs| standings.told(at(secs)).remove(0);
        assert_eq!(told(&standings, 0), SourceStatus { source: "a".into(), ..SourceStatus::default() });
        for n in 0..1000 {
            standings.failed(0, Metadata, &Fault::new("expired", format!("{n}: {}", "ä".repeat(5000))), at(n));
        }
        let failing = told(&standings, 1000);
        let failed = failing.failed.clone().expect("it failed");
        assert!(failing.failing && failed.secs == at(999).since_epoch_secs && failed.code == "expired", "{failing:?}");
        assert!(
            failed.reason.starts_with("999: ä") && failed.reason.len() <= MAX_REASON_BYTES,
            "{}",
            failed.reason.len()
        );
        standings.answered(0, at(2000));
        standings.set_back(0, File, Harmful, at(2000));
        let well = told(&standings, 2000);
        assert!(!well.failing && well.failed == Some(failed), "what it last failed of is still to be read");
        assert_eq!(well.succeeded_secs, Some(at(2000).since_epoch_secs));
        assert_eq!(well.set_back_until_secs, Some(at(2000 + HOUR).since_epoch_secs));
        assert_eq!(told(&standings, 2000 + HOUR).set_back_until_secs, None);
        // Good metadata do not make up for bad files, and the next update does not know of it once its time is over.
        standings.begin("one", 1, at(3000));
        standings.failed(0, File, &Fault::new("too_slow", "it drips"), at(3000));
        standings.answered(0, at(3001));
        assert!(told(&standings, 3001).failing);
        standings.begin("two", 1, at(3002));
        assert!(told(&standings, 3002).failing, "it is set back still");
        standings.begin("three", 1, at(2000 + HOUR));
        assert!(!told(&standings, 2000 + HOUR).failing);
        standings.failed(0, File, &Fault::new("too_slow", "it drips"), at(8000));
        standings.gave(0, at(8001));
        assert!(!told(&standings, 8001).failing);
        // However many sources are configured.
        assert_eq!(Standings::of((0..1000).map(|n| n.to_string())).told(at(0)).len(), MAX_TOLD_SOURCES);
    }

    #[test]
    fn who_lies_too_often_is_asked_no_more_in_this_update_and_who_is_away_is_waited_for() {
        let mut standings = three();
        standings.begin("first", 1, at(0));
        for place in [0, 0, 0, 1] {
            standings.lied(place);
        }
        assert_eq!(files(&standings, 0).iter().find(|place| **place == 0), None);
        assert!(!standings.all_lie(), "one has lied once, and one not at all");
        for place in [1, 1, 2, 2, 2] {
            standings.lied(place);
        }
        assert!(standings.all_lie() && files(&standings, 0).is_empty());
        standings.begin("second", 1, at(1));
        assert_eq!(files(&standings, 1).len(), 3, "the next update forgets it");
    }

    #[test]
    fn a_failure_for_a_file_is_none_any_more_once_its_update_is_over_and_its_time_too() {
        let mut standings = three();
        standings.begin("first", 1, at(0));
        standings.failed(1, File, &Fault::new("unreachable", "no"), at(0));
        standings.set_back(1, File, Away, at(0));
        let is_failing = |standings: &Standings, secs: u64| standings.told(at(secs))[1].failing;
        assert!(is_failing(&standings, 2 * HOUR), "nobody knows better while it is under way");
        standings.end();
        assert!(is_failing(&standings, 1));
        assert!(!is_failing(&standings, 2 * HOUR));
    }
}
