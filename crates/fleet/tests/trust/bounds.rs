//! Bounds, unknown fields, and garbage: what comes in and what was kept.

use linnet_fleet::clock::VirtualClock;
use linnet_fleet::select::{Passed, choose};
use linnet_fleet::source::{Memory, Source, SourceFault};
use linnet_fleet::trust::{Limits, Trusted, refresh};
use linnet_proto::fleet::{DeviceFacts, FLEET_WIRE_NEWEST};
use serde_json::{Value, json};
use tough::{Bytes, async_trait};

use super::support::*;

#[tokio::test]
async fn each_metadata_file_has_its_bound() {
    let (mut repo, trusted) = Repo::begun();
    repo.publish(&["root"]);
    let exact = |role: &str| repo.file(role).len() as u64;
    let bounds = Limits {
        root_bytes: exact("root"),
        timestamp_bytes: exact("timestamp"),
        snapshot_bytes: exact("snapshot"),
        targets_bytes: exact("targets"),
        delegated_bytes: exact("releases").max(exact("rollouts")),
        ..Limits::default()
    };
    let clock = VirtualClock::at(NOW);
    refresh(&trusted, &repo.memory, &clock, &bounds).await.expect("at their bounds");
    let tighter = [
        Limits { root_bytes: bounds.root_bytes - 1, ..bounds.clone() },
        Limits { timestamp_bytes: bounds.timestamp_bytes - 1, ..bounds.clone() },
        Limits { snapshot_bytes: bounds.snapshot_bytes - 1, ..bounds.clone() },
        Limits { targets_bytes: bounds.targets_bytes - 1, ..bounds.clone() },
        Limits { delegated_bytes: bounds.delegated_bytes - 1, ..bounds.clone() },
    ];
    for (n, limits) in tighter.iter().enumerate() {
        let e = refresh(&trusted, &repo.memory, &clock, limits).await.expect_err("too large");
        assert_eq!(e.code(), "too_large", "{n}: {e}");
    }
}

/// Gives what is there, however much that is.
struct Unbounded<'a>(&'a Memory);

#[async_trait]
impl Source for Unbounded<'_> {
    fn name(&self) -> String {
        "unbounded".into()
    }

    async fn metadata(&self, name: &str, _: u64) -> Result<Bytes, SourceFault> {
        self.0.metadata(name, u64::MAX).await
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        self.0.piece(path, offset, bytes).await
    }
}

#[tokio::test]
async fn a_bound_holds_against_a_signed_length_and_a_careless_source() {
    let (mut repo, trusted) = Repo::begun();
    let limits = Limits::default();
    repo.role("rollouts").overlay = vec![("x-filler", json!("x".repeat(limits.delegated_bytes as usize)))];
    repo.write();
    let e = refresh(&trusted, &Unbounded(&repo.memory), &VirtualClock::at(NOW), &limits).await.expect_err("too large");
    assert_eq!(e.code(), "too_large");
}

#[tokio::test]
async fn unknown_fields_of_metadata_are_signed_for_and_ignored() {
    let (mut repo, trusted) = Repo::begun();
    for role in ROLES {
        repo.role(role).overlay = vec![("x-newer", json!({ "deep": [1, null, "naïve"] }))];
    }
    repo.publish(&["root", "timestamp", "snapshot", "targets", "releases", "rollouts"]);
    let trusted = accepted(&trusted, &repo).await;
    assert_eq!(Trusted::parse(&trusted.to_json()).expect("reads"), trusted);
}

#[tokio::test]
async fn a_rollout_or_release_that_cannot_be_understood_counts_for_nothing_and_says_so() {
    let (mut repo, trusted) = Repo::begun();
    for number in 2..=7 {
        repo.release(number);
        repo.open(number);
    }
    for (number, wire, share) in [(9, 1, 500_000), (10, 2, 0)] {
        repo.release(number);
        repo.open(number);
        let rollout = repo.rollouts.get_mut(&number).expect("a rollout");
        (rollout["wire"], rollout["to"]) = (json!(wire), json!({ "share": share }));
    }
    repo.rollouts.get_mut(&3).expect("a rollout")["only_at_night"] = json!(true);
    repo.rollouts.get_mut(&4).expect("a rollout")["wire"] = json!(FLEET_WIRE_NEWEST + 1);
    repo.rollouts.get_mut(&5).expect("a rollout")["number"] = json!(6);
    repo.generations.get_mut(&6).expect("a generation").1 = Some(json!({ "wire": 1, "only": "at night" }));
    repo.generations.get_mut(&7).expect("a generation").1 =
        Some(json!({ "wire": FLEET_WIRE_NEWEST + 1, "only": "at night" }));
    repo.more_targets.push(("rollouts", "rollouts/latest.json".into()));
    repo.more_targets.push(("rollouts", "rollouts/007.json".into()));
    repo.more_targets.push(("rollouts", "rollouts/8.json".into()));
    repo.publish_all();
    let contents = ask(&trusted, &repo).await.expect("accepted").contents;
    assert_eq!(contents.rollouts.len(), 10, "what bears no number is left alone");
    let device = DeviceFacts { name: "kitchen".into(), ..DeviceFacts::default() };
    let choice = choose(&contents, FLEET, &device, 0, &[]);
    assert_eq!(choice.begin.map(|begin| begin.number), Some(2));
    let said = |number| {
        let (_, passed) = choice.passed.iter().find(|(of, _)| *of == number).expect("passed over");
        passed.to_string()
    };
    for (number, part) in [
        (3, "only_at_night"),
        (4, "update linnetd"),
        (5, "speaks of generation 6"),
        (9, "form 2"),
        (10, "0 millionths"),
    ] {
        assert!(said(number).contains(part), "{number}: {}", said(number));
    }
    for (number, part) in [(6, "only"), (7, "update linnetd")] {
        assert!(said(number).contains(part), "{number}: {}", said(number));
    }
    assert!(choice.passed.contains(&(8, Passed::NotReleased)));
}

/// What the kept files say, without their signatures, and without `_type`: `tough` puts the type that it expects in place of what
/// stands there before it verifies, so that a file of another type never passes and the word itself means nothing.
fn signed_parts(kept: &[u8]) -> Vec<Value> {
    let kept: Value = serde_json::from_slice(kept).expect("JSON");
    let metadata = kept["metadata"].as_object().expect("metadata");
    let texts = std::iter::once(&kept["root"]).chain(metadata.values()).map(|text| text.as_str().expect("text"));
    let signed = texts.map(|text| serde_json::from_str::<Value>(text).expect("JSON")["signed"].take());
    signed
        .map(|mut signed| {
            signed.as_object_mut().expect("an object").remove("_type");
            signed
        })
        .collect()
}

#[tokio::test]
async fn what_was_kept_reads_back_and_its_damage_is_an_error() {
    let (repo, trusted) = Repo::begun();
    let begun = Trusted::parse(&trusted.to_json()).expect("reads");
    assert_eq!(begun, trusted);
    let trusted = accepted(&begun, &repo).await;
    let kept = trusted.to_json();
    assert_eq!(Trusted::parse(&kept).expect("reads"), trusted);
    let inside: Trusted = serde_json::from_value(serde_json::from_slice(&kept).expect("JSON")).expect("reads");
    assert_eq!((inside.versions(), inside.expires_secs()), (trusted.versions(), trusted.expires_secs()));

    // Every byte in turn: an error, or the same trust.
    let honest = signed_parts(&kept);
    for at in 0..kept.len() {
        let mut damaged = kept.clone();
        damaged[at] ^= 1;
        match Trusted::parse(&damaged) {
            Err(e) => assert_eq!(e.code(), "own_state", "byte {at}: {e}"),
            // A signature beyond the threshold, or the time mark, which nobody signs.
            Ok(_) => assert_eq!(signed_parts(&damaged), honest, "byte {at} changes what is trusted and nobody sees it"),
        }
    }
    for end in (0..kept.len()).step_by(7) {
        assert_eq!(Trusted::parse(&kept[..end]).expect_err("cut off").code(), "own_state");
    }
}

#[tokio::test]
async fn a_kept_timestamp_that_is_garbage_is_an_error_and_never_ignored() {
    let (mut repo, trusted) = Repo::begun();
    let kept: Value = serde_json::from_slice(&accepted(&trusted, &repo).await.to_json()).expect("JSON");
    for (file, content) in [
        ("timestamp", json!("garbage")),
        ("timestamp", json!("")),
        ("timestamp", json!(null)),
        ("timestamp", json!(String::from_utf8(repo.file("snapshot")).expect("text"))),
        ("snapshot", json!("{}")),
        ("rollouts", json!(String::from_utf8(repo.file("releases")).expect("text"))),
    ] {
        let mut damaged = kept.clone();
        damaged["metadata"][file] = content;
        let e = Trusted::parse(damaged.to_string().as_bytes()).expect_err("an error");
        assert_eq!(e.code(), "own_state", "{file}: {e}");
    }
    // Well signed, each of them, but not those that were accepted together.
    let roles = ["timestamp", "snapshot", "targets", "releases", "rollouts"];
    repo.publish(&roles);
    for role in roles {
        let mut mixed = kept.clone();
        mixed["metadata"][role] = json!(String::from_utf8(repo.file(role)).expect("text"));
        let e = Trusted::parse(mixed.to_string().as_bytes()).expect_err("an error");
        assert_eq!(e.code(), "own_state", "{role}: {e}");
    }
    let mut damaged = kept.clone();
    damaged["known_time"]["root_version"] = json!(2);
    assert_eq!(Trusted::parse(damaged.to_string().as_bytes()).expect_err("an error").code(), "own_state");
    let mut missing = kept;
    missing["metadata"].as_object_mut().expect("an object").remove("timestamp");
    assert_eq!(Trusted::parse(missing.to_string().as_bytes()).expect_err("an error").code(), "own_state");
}

#[test]
fn a_root_that_cannot_be_begun_with_is_refused() {
    let repo = Repo::new();
    Trusted::begin(&repo.file("root")).expect("a root");
    let with = |change: fn(&mut Repo)| {
        let mut repo = Repo::new();
        change(&mut repo);
        Trusted::begin(&repo.file("root")).expect_err("refused").code()
    };
    assert_eq!(with(|repo| repo.role("root").signed_by = Some(vec![Key(1)])), "garbage");
    assert_eq!(with(|repo| repo.role("root").signed_by = Some(vec![])), "garbage");
    assert_eq!(with(|repo| repo.role("root").version = u64::MAX), "shape");
    assert_eq!(with(|repo| repo.role("root").overlay = vec![("consistent_snapshot", json!(false))]), "shape");
    for garbage in [&b""[..], b"{}", b"\xff\xfe", &repo.file("timestamp")] {
        assert_eq!(Trusted::begin(garbage).expect_err("refused").code(), "garbage");
    }
}

/// A generator with a fixed seed: the same garbage each time.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[tokio::test]
async fn mutated_metadata_are_refused_or_harmless_and_never_a_panic() {
    let (mut repo, trusted) = Repo::begun();
    let trusted = accepted(&trusted, &repo).await;
    repo.digests = false;
    repo.release(2);
    repo.rotate_online(31);
    repo.publish_all();
    let honest = ask(&trusted, &repo).await.expect("accepted");
    let mut random = Lcg(7);
    let pieces: [&[u8]; 8] = [b"\"", b"{", b"}", b"18446744073709551615", b"-1", b"null", b"\\u0000", b"../../"];
    for round in 0..600 {
        let role = ROLES[random.below(ROLES.len())];
        let mut file = repo.file(role);
        for _ in 0..=random.below(3) {
            let at = random.below(file.len());
            match random.below(4) {
                0 => file[at] = random.below(256) as u8,
                1 => drop(file.splice(at..at, pieces[random.below(pieces.len())].iter().copied())),
                2 => drop(file.drain(at..(at + random.below(40)).min(file.len()))),
                _ => file.truncate(at.max(1)),
            }
        }
        repo.memory.put_metadata(&repo.name(role), file);
        if let Ok(refreshed) = ask(&trusted, &repo).await {
            let versions = refreshed.trusted.versions();
            assert_eq!(refreshed.contents, honest.contents, "round {round}: {role} says something that was not signed");
            assert_eq!(versions, honest.trusted.versions(), "round {round}");
        }
        repo.write();
    }
}
