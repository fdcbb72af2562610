//! Which generation a device shall begin now, from signed metadata alone.

use std::fmt;

use linnet_proto::fleet::{Attempt, DeviceFacts};

use crate::trust::{Contents, GenerationEntry, RolloutEntry};
use crate::{bucket, means};

/// A generation that this device has rejected or gone back from, and under which attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// SHA-256 of the generation's target.
    pub sha256: String,
    /// The attempt that failed; only a higher one opens it again.
    pub attempt: Attempt,
}

/// What the metadata ask of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The generation to begin, where there is one.
    pub begin: Option<Begin>,
    /// Why each higher generation is passed over, highest first; and rollouts of what was never released.
    pub passed: Vec<(u64, Passed)>,
}

/// A generation that this device shall begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Its number.
    pub number: u64,
    /// Bytes of its target.
    pub bytes: u64,
    /// SHA-256 of its target, which is what is remembered of it when it fails.
    pub sha256: String,
    /// The attempt that its rollout asks for.
    pub attempt: Attempt,
    /// The wave that is open.
    pub wave: u32,
}

/// Why a generation is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// Released, but nobody has opened it yet.
    NoRollout,
    /// The release or the rollout cannot be understood; one sentence.
    Unreadable(String),
    /// The rollout is for another fleet.
    OtherFleet(String),
    /// The rollout names another digest than the release: the online key opens what it likes, not what was released.
    OtherDigest,
    /// A rollout of a generation that was never released.
    NotReleased,
    /// The audience or the rollout leaves this device out.
    NotMeant,
    /// The operator has paused it.
    Paused,
    /// The wave that this device is in is not open.
    NotOpened {
        /// This device's bucket.
        bucket: u32,
        /// The rollout opens the buckets below this.
        opened: u32,
    },
    /// This device has tried it, and no higher attempt is asked for.
    Refused {
        /// The attempt that is asked for.
        attempt: Attempt,
    },
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRollout => f.write_str("no rollout opens it"),
            Self::Unreadable(fault) => f.write_str(fault),
            Self::OtherFleet(fleet) => write!(f, "its rollout is for fleet `{fleet}`"),
            Self::OtherDigest => {
                f.write_str("its rollout names another digest than the signed release and counts for nothing")
            }
            Self::NotReleased => f.write_str("a rollout opens it, but no release has signed it"),
            Self::NotMeant => f.write_str("it is not meant for this device"),
            Self::Paused => f.write_str("its rollout is paused"),
            Self::NotOpened { bucket, opened } => {
                write!(f, "its rollout opens buckets below {opened}, and this device is in bucket {bucket}")
            }
            Self::Refused { attempt } => {
                write!(f, "this device has refused it or gone back from it, and attempt {attempt} is not a new one")
            }
        }
    }
}

/// The generation that `device` shall begin now: the highest above `running` that is released, meant for it, opened for it, not
/// paused, and not refused under the attempt that is asked for.
///
/// `fleet` is the name that the device's own configuration gives.
pub fn choose(contents: &Contents, fleet: &str, device: &DeviceFacts, running: u64, refused: &[Refused]) -> Choice {
    let mut choice = Choice::default();
    for entry in &contents.rollouts {
        if entry.number > running && contents.generation(entry.number).is_none() {
            choice.passed.push((entry.number, Passed::NotReleased));
        }
    }
    let mut above: Vec<_> = contents.generations.iter().filter(|generation| generation.number > running).collect();
    above.sort_by_key(|generation| std::cmp::Reverse(generation.number));
    for generation in above {
        match weigh(generation, contents.rollout(generation.number), fleet, device, refused) {
            Ok(begin) => {
                choice.begin = Some(begin);
                break;
            }
            Err(why) => choice.passed.push((generation.number, why)),
        }
    }
    choice
}

fn weigh(
    generation: &GenerationEntry,
    rollout: Option<&RolloutEntry>,
    fleet: &str,
    device: &DeviceFacts,
    refused: &[Refused],
) -> Result<Begin, Passed> {
    let unreadable = |fault: &String| Passed::Unreadable(fault.clone());
    let release = generation.release.as_ref().map_err(unreadable)?;
    let rollout = rollout.ok_or(Passed::NoRollout)?.rollout.as_ref().map_err(unreadable)?;
    if rollout.fleet != fleet {
        return Err(Passed::OtherFleet(rollout.fleet.clone()));
    }
    if rollout.sha256 != generation.sha256 {
        return Err(Passed::OtherDigest);
    }
    if !means(&release.audience, device) || !means(&rollout.to, device) {
        return Err(Passed::NotMeant);
    }
    if rollout.paused {
        return Err(Passed::Paused);
    }
    let bucket = bucket(&rollout.salt, &device.name);
    if !rollout.opens(bucket) {
        return Err(Passed::NotOpened { bucket, opened: rollout.opened });
    }
    let tried = |refused: &Refused| refused.sha256 == generation.sha256 && refused.attempt >= rollout.attempt;
    if refused.iter().any(tried) {
        return Err(Passed::Refused { attempt: rollout.attempt });
    }
    Ok(Begin {
        number: generation.number,
        bytes: generation.bytes,
        sha256: generation.sha256.clone(),
        attempt: rollout.attempt,
        wave: rollout.wave,
    })
}

#[cfg(test)]
mod tests {
    use linnet_proto::fleet::{FLEET_WIRE, Release, Rollout, Selector};

    use super::*;

    fn digest(number: u64) -> String {
        format!("{number:064x}")
    }

    fn generation(number: u64) -> GenerationEntry {
        GenerationEntry { number, bytes: 100 + number, sha256: digest(number), release: Ok(Release::default()) }
    }

    fn rollout(number: u64) -> Rollout {
        Rollout {
            wire: FLEET_WIRE,
            fleet: "home".into(),
            number,
            sha256: digest(number),
            to: Selector::default(),
            salt: "salt".into(),
            opened: Rollout::BUCKETS,
            wave: 1,
            paused: false,
            attempt: 1,
        }
    }

    fn kitchen() -> DeviceFacts {
        DeviceFacts { name: "kitchen".into(), free_mib: 100, ..DeviceFacts::default() }
    }

    fn contents(generations: &[u64], rollouts: Vec<Rollout>) -> Contents {
        let entry = |rollout: Rollout| RolloutEntry { number: rollout.number, rollout: Ok(rollout) };
        Contents {
            generations: generations.iter().map(|&number| generation(number)).collect(),
            rollouts: rollouts.into_iter().map(entry).collect(),
        }
    }

    fn begun(contents: &Contents, running: u64) -> Option<u64> {
        choose(contents, "home", &kitchen(), running, &[]).begin.map(|begin| begin.number)
    }

    #[test]
    fn the_highest_opened_generation_above_the_running_one_is_begun() {
        let all = contents(&[5, 6, 7], vec![rollout(5), rollout(6), rollout(7)]);
        for (running, expected) in [(0, Some(7)), (5, Some(7)), (6, Some(7)), (7, None), (u64::MAX, None)] {
            assert_eq!(begun(&all, running), expected, "running {running}");
        }
        assert_eq!(begun(&contents(&[5, 6, 7], vec![rollout(6)]), 5), Some(6), "7 is released but not opened");
        assert_eq!(begun(&contents(&[], vec![]), 0), None);
    }

    #[test]
    fn each_rule_passes_a_generation_over_and_says_which() {
        type Change = fn(&mut Rollout);
        let bucket = bucket("salt", "kitchen");
        let table: Vec<(Change, Passed)> = vec![
            (|r| r.fleet = "other".into(), Passed::OtherFleet("other".into())),
            (|r| r.sha256 = digest(9), Passed::OtherDigest),
            (|r| r.to = Selector::parse("device=attic").expect("reads"), Passed::NotMeant),
            (|r| r.to = Selector::parse("free=101").expect("reads"), Passed::NotMeant),
            (|r| r.paused = true, Passed::Paused),
            (|r| r.opened = 0, Passed::NotOpened { bucket, opened: 0 }),
        ];
        for (change, expected) in table {
            let mut changed = rollout(7);
            change(&mut changed);
            let choice = choose(&contents(&[6, 7], vec![rollout(6), changed]), "home", &kitchen(), 5, &[]);
            assert_eq!(choice.passed, [(7, expected.clone())]);
            assert!(!expected.to_string().is_empty());
            assert_eq!(choice.begin.map(|begin| begin.number), Some(6), "{expected}: the next one below is begun");
        }
    }

    #[test]
    fn the_release_s_own_audience_binds_whatever_a_rollout_says() {
        let mut narrow = contents(&[7], vec![rollout(7)]);
        let audience = Selector::parse("device=attic").expect("reads");
        narrow.generations[0].release = Ok(Release { audience, ..Release::default() });
        let choice = choose(&narrow, "home", &kitchen(), 0, &[]);
        assert_eq!((choice.begin, choice.passed), (None, vec![(7, Passed::NotMeant)]));
    }

    #[test]
    fn what_cannot_be_read_is_passed_over_with_its_fault() {
        let mut unread = contents(&[6, 7], vec![rollout(6), rollout(7)]);
        unread.generations[1].release = Err("the release is written in form 2".into());
        unread.rollouts[0].rollout = Err("the rollout is written in form 2".into());
        let choice = choose(&unread, "home", &kitchen(), 0, &[]);
        assert_eq!(choice.begin, None);
        let said: Vec<_> = choice.passed.iter().map(|(number, why)| (*number, why.to_string())).collect();
        let expected = [(7, "the release is written in form 2"), (6, "the rollout is written in form 2")];
        assert_eq!(said, expected.map(|(number, why)| (number, why.to_owned())));
    }

    #[test]
    fn a_rollout_of_what_was_never_released_opens_nothing() {
        let choice = choose(&contents(&[], vec![rollout(9)]), "home", &kitchen(), 0, &[]);
        assert_eq!((choice.begin, choice.passed), (None, vec![(9, Passed::NotReleased)]));
    }

    #[test]
    fn what_was_refused_is_begun_again_only_under_a_higher_attempt() {
        let refused = [Refused { sha256: digest(7), attempt: 2 }];
        for (attempt, expected) in [(1, None), (2, None), (3, Some(7))] {
            let contents = contents(&[7], vec![Rollout { attempt, ..rollout(7) }]);
            let choice = choose(&contents, "home", &kitchen(), 0, &refused);
            assert_eq!(choice.begin.map(|begin| begin.number), expected, "attempt {attempt}");
        }
        // The same content under a higher number is other bytes: it is another digest and not refused.
        let again = contents(&[8], vec![rollout(8)]);
        assert!(choose(&again, "home", &kitchen(), 0, &refused).begin.is_some());
    }

    #[test]
    fn waves_hold_the_waves_before_them_and_their_share_of_devices() {
        let names: Vec<String> = (0..20_000).map(|n| format!("device-{n}")).collect();
        let mut last = 0;
        for percent in [0, 1, 10, 50, 100] {
            let opened = Rollout::BUCKETS / 100 * percent;
            let inside = names.iter().filter(|name| bucket("a salt", name) < opened).count();
            assert!(inside >= last);
            let expected = names.len() * percent as usize / 100;
            assert!(inside.abs_diff(expected) < 300, "{percent} %: {inside} devices");
            last = inside;
        }
    }

    #[test]
    fn a_bucket_is_what_the_document_says() {
        // SHA-256 of "salt\0kitchen", first eight bytes, by an independent tool.
        assert_eq!(bucket("salt", "kitchen"), BUCKET_OF_KITCHEN);
        assert_ne!(bucket("other", "kitchen"), bucket("salt", "kitchen"));
    }

    const BUCKET_OF_KITCHEN: u32 = 208572;
}
