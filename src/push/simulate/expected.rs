//! Where each device must be: from the inputs and the signed rollouts that it could see, and from nothing of the code under test.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::operator::{NEW, OLD};

/// What a device is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// The new generation suits it.
    Sound,
    /// The new generation fails the probe.
    FailsProbe,
    /// The new generation passes the probe and fails on trial.
    FailsOnTrial,
}

/// Signed rollouts came over the link, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// When, milliseconds.
    pub(super) at_ms: u64,
    /// [`super::operator::Publication::number`].
    pub(super) publication: u32,
}

/// How far the new generation is opened by one publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    opened: u64,
    salt: String,
}

impl Opening {
    /// Reads the file that the role `rollouts` signed; nothing where the new generation is not in it, or paused.
    pub(super) fn read(rollouts: &[u8]) -> Result<Option<Self>, String> {
        let file: Value = serde_json::from_slice(rollouts).map_err(|e| e.to_string())?;
        let rollout = &file["signed"]["targets"][format!("rollouts/{NEW}.json")]["custom"]["linnet"];
        if rollout.is_null() || rollout["paused"] == true {
            return Ok(None);
        }
        let (Some(opened), Some(salt)) = (rollout["opened"].as_u64(), rollout["salt"].as_str()) else {
            return Err(format!("the rollout of generation {NEW} says neither its buckets nor its salt"));
        };
        Ok(Some(Self { opened, salt: salt.to_owned() }))
    }

    /// By the definition of docs: the first eight bytes, big endian, of SHA-256 over salt, a zero byte and name, modulo a million.
    fn opens_for(&self, name: &str) -> bool {
        let digest = Sha256::digest([self.salt.as_bytes(), &[0], name.as_bytes()].concat());
        let bucket = digest[..8].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte)) % 1_000_000;
        bucket < self.opened
    }
}

/// Where a device must be, and since when it may have been elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// The generation that serves in the end.
    pub(super) end: u64,
    /// From when on the new generation may serve, if ever, milliseconds.
    pub(super) new_from_ms: Option<u64>,
}

impl Expected {
    /// Of a device, by what it could see (`openings` by publication).
    pub(super) fn of(name: &str, nature: Nature, seen: &[Seen], openings: &[Option<Opening>]) -> Self {
        let opens = |seen: &&Seen| {
            let opening = openings.get(seen.publication as usize).and_then(Option::as_ref);
            opening.is_some_and(|opening| opening.opens_for(name))
        };
        let began_ms = seen.iter().find(opens).map(|seen| seen.at_ms);
        match (nature, began_ms) {
            (_, None) | (Nature::FailsProbe, _) => Self { end: OLD, new_from_ms: None },
            (Nature::FailsOnTrial, began) => Self { end: OLD, new_from_ms: began },
            (Nature::Sound, began) => Self { end: NEW, new_from_ms: began },
        }
    }

    /// Whether a device that serves `serving`, after these changes (when, milliseconds, and what served then), is where it must be
    /// and was never where it must not.
    pub(super) fn holds(&self, serving: u64, changes: &[(u64, u64)]) -> bool {
        let was_allowed = |(at_ms, generation): &(u64, u64)| match *generation {
            OLD => true,
            NEW => self.new_from_ms.is_some_and(|from_ms| from_ms <= *at_ms),
            _ => false,
        };
        serving == self.end && changes.iter().all(was_allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(opened: u64) -> Option<Opening> {
        Some(Opening { opened, salt: "salt".into() })
    }

    #[test]
    fn a_device_begins_with_the_first_opening_that_it_sees() {
        // `kitchen` has the bucket 208572 under `salt`.
        let openings = [None, opening(208_572), opening(208_573), None];
        let see = |publications: &[u32]| -> Vec<Seen> {
            publications.iter().map(|&publication| Seen { at_ms: 10 * u64::from(publication), publication }).collect()
        };
        let of = |nature, publications: &[u32]| Expected::of("kitchen", nature, &see(publications), &openings);
        let never = Expected { end: OLD, new_from_ms: None };
        for (nature, publications, expected) in [
            (Nature::Sound, &[0, 1, 2, 3][..], Expected { end: NEW, new_from_ms: Some(20) }),
            (Nature::Sound, &[0, 1, 3], never),
            (Nature::Sound, &[], never),
            (Nature::FailsProbe, &[2], never),
            (Nature::FailsOnTrial, &[2], Expected { end: OLD, new_from_ms: Some(20) }),
        ] {
            assert_eq!(of(nature, publications), expected, "{nature:?} {publications:?}");
        }
    }

    #[test]
    fn what_serves_too_early_or_at_all_is_wrong() {
        let expected = Expected { end: NEW, new_from_ms: Some(20) };
        assert!(expected.holds(NEW, &[(20, NEW)]));
        for (serving, changes) in
            [(OLD, &[][..]), (NEW, &[(19, NEW)]), (NEW, &[(20, 3), (30, NEW)]), (3, &[(20, NEW), (30, 3)])]
        {
            assert!(!expected.holds(serving, changes), "{serving} {changes:?}");
        }
        let back = Expected { end: OLD, new_from_ms: Some(20) };
        assert!(back.holds(OLD, &[(20, NEW), (30, OLD)]) && !back.holds(NEW, &[(20, NEW)]));
    }

    #[test]
    fn only_what_is_signed_as_open_opens() {
        let file = |rollout: Value| {
            let target = serde_json::json!({ "custom": { "linnet": rollout } });
            serde_json::to_vec(&serde_json::json!({ "signed": { "targets": { "rollouts/2.json": target } } }))
                .expect("JSON")
        };
        let rollout = |paused: bool| serde_json::json!({ "opened": 5, "salt": "salt", "paused": paused });
        assert_eq!(Opening::read(&file(rollout(false))), Ok(opening(5)));
        assert_eq!(Opening::read(&file(rollout(true))), Ok(None));
        assert_eq!(Opening::read(br#"{"signed":{"targets":{}}}"#), Ok(None));
        assert!(Opening::read(&file(serde_json::json!({}))).is_err() && Opening::read(b"{").is_err());
    }
}
