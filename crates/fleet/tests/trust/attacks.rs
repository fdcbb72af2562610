//! The attacks that The Update Framework names, one after the other.

use std::sync::Arc;
use std::time::Duration;

use linnet_fleet::clock::VirtualClock;
use linnet_fleet::select::{Passed, choose};
use linnet_fleet::source::{Memory, Pace, Source, SourceFault};
use linnet_fleet::trust::{Limits, Trusted, fetch_generation, refresh};
use linnet_proto::fleet::{DeviceFacts, Rollout};
use serde_json::json;
use tough::{Bytes, async_trait};

use super::support::*;

fn kitchen() -> DeviceFacts {
    DeviceFacts { name: "kitchen".into(), ..DeviceFacts::default() }
}

#[tokio::test]
async fn an_honest_repository_is_followed_from_the_shipped_root_to_a_generation() {
    let (mut repo, trusted) = Repo::begun();
    let first = ask(&trusted, &repo).await.expect("accepted");
    assert!(first.changed);
    assert_eq!(first.contents.generations.len(), 1);
    let chosen = choose(&first.contents, FLEET, &kitchen(), 0, &[]).begin.expect("generation 1");
    assert_eq!(chosen.number, 1);
    let fetched = fetch_generation(&first.contents, &repo.memory, FLEET, 1, &Limits::default()).await;
    assert_eq!(fetched.expect("fetched"), generation(1));

    repo.release(2);
    repo.open(2);
    repo.publish_all();
    let second = ask(&first.trusted, &repo).await.expect("accepted");
    assert_eq!(choose(&second.contents, FLEET, &kitchen(), 1, &[]).begin.expect("generation 2").number, 2);
    assert_eq!(second.trusted.versions().reported(), [1, 2, 2]);
    assert_eq!(second.trusted.contents().expect("read"), second.contents);
}

#[tokio::test]
async fn where_nothing_is_new_two_questions_are_asked() {
    let (repo, trusted) = Repo::begun();
    let trusted = accepted(&trusted, &repo).await;
    let device = Repo { memory: repo.memory.clone(), ..repo };
    let again = ask(&trusted, &device).await.expect("accepted");
    assert!(!again.changed);
    assert_eq!((again.trusted, device.memory.traffic().messages), (trusted, 2));
}

#[tokio::test]
async fn what_is_recalled_is_what_was_verified_and_nothing_else() {
    let (mut repo, shipped) = Repo::begun();
    let first = accepted(&shipped, &repo).await;
    repo.release(2);
    repo.open(2);
    repo.publish_all();
    let honest = ask(&first, &repo).await.expect("accepted");
    let limits = Limits { memo: Some(Arc::default()), ..Limits::default() };
    let clock = VirtualClock::at(NOW);
    for _ in 0..3 {
        let device = repo.memory.clone();
        let refreshed = refresh(&first, &device, &clock, &limits).await.expect("accepted");
        assert_eq!((refreshed.trusted, refreshed.contents), (honest.trusted.clone(), honest.contents.clone()));
        assert_eq!(device.traffic().messages, 6, "each device fetches for itself");
    }
    // What was accepted from an older beginning is a rollback from a newer one.
    let old = Repo::begun().0;
    refresh(&shipped, &old.memory, &clock, &limits).await.expect("accepted");
    let e = refresh(&honest.trusted, &old.memory, &clock, &limits).await.expect_err("refused");
    assert_eq!(e.code(), "rollback");
    // Another beginning, another byte and another time are judged for themselves.
    assert_eq!(refresh(&shipped, &repo.memory, &clock, &limits).await.expect("accepted").trusted, honest.trusted);
    let late = refresh(&first, &repo.memory, &VirtualClock::at(NOW + 99 * DAY), &limits).await;
    assert_eq!(late.expect_err("refused").code(), "expired");
    for role in ["timestamp", "snapshot", "targets", "releases", "rollouts"] {
        let mut evil = repo.clone();
        evil.role(role).signed_by = Some(vec![Key(99)]);
        repo.memory.put_metadata(&repo.name(role), evil.file(role));
        let e = refresh(&first, &repo.memory, &clock, &limits).await.expect_err(role);
        assert!(matches!(e.code(), "wrong_keys" | "mix_and_match"), "{role}: {e}");
        repo.write();
    }
}

#[tokio::test]
async fn what_was_refused_is_refused_again_and_by_a_link_s_fault_nothing_is() {
    let (mut repo, shipped) = Repo::begun();
    let limits = Limits { memo: Some(Arc::default()), ..Limits::default() };
    let clock = VirtualClock::at(NOW);
    repo.role("timestamp").signed_by = Some(vec![Key(99)]);
    repo.publish(&["timestamp"]);
    for _ in 0..3 {
        let device = repo.memory.clone();
        let e = refresh(&shipped, &device, &clock, &limits).await.expect_err("refused");
        assert_eq!((e.code(), device.traffic().messages), ("wrong_keys", 2));
    }
    // The same timestamp with all that it vouches for, but a file is missing for a while.
    repo.role("timestamp").signed_by = None;
    repo.publish(&["timestamp"]);
    let (name, file) = (repo.name("rollouts"), repo.file("rollouts"));
    repo.memory.remove_metadata(&name);
    let e = refresh(&shipped, &repo.memory, &clock, &limits).await.expect_err("missing");
    assert!(e.is_transient(), "{e}");
    repo.memory.put_metadata(&name, file);
    refresh(&shipped, &repo.memory, &clock, &limits).await.expect("accepted as soon as it is there");
}

#[tokio::test]
async fn arbitrary_software_is_refused_by_its_digest() {
    let (repo, trusted) = Repo::begun();
    let contents = ask(&trusted, &repo).await.expect("accepted").contents;
    let path = format!("generations/{}.1.json", contents.generations[0].sha256);
    let mut evil = generation(1);
    evil.config = "# generation 6\n".into();
    repo.memory.put_file(&path, serde_json::to_vec(&evil).expect("JSON"));
    let limits = Limits::default();
    let e = fetch_generation(&contents, &repo.memory, FLEET, 1, &limits).await.expect_err("refused");
    assert_eq!(e.code(), "wrong_digest");
    // What no release signs for is not even asked for.
    let e = fetch_generation(&contents, &repo.memory, FLEET, 9, &limits).await.expect_err("refused");
    assert_eq!(e.code(), "other_generation");
}

#[tokio::test]
async fn a_well_signed_generation_of_another_fleet_or_number_is_refused() {
    let (mut repo, _) = Repo::begun();
    let mut other = generation(1);
    other.fleet = "office".into();
    repo.generations.insert(1, (serde_json::to_vec(&other).expect("JSON"), None));
    repo.generations.insert(2, (serde_json::to_vec(&generation(3)).expect("JSON"), None));
    repo.publish_all();
    let contents = ask(&repo.device(), &repo).await.expect("accepted").contents;
    for number in [1, 2] {
        let e = fetch_generation(&contents, &repo.memory, FLEET, number, &Limits::default()).await;
        assert_eq!(e.expect_err("refused").code(), "other_generation", "{number}");
    }
}

#[tokio::test]
async fn older_metadata_are_refused() {
    let (mut repo, trusted) = Repo::begun();
    let old = repo.clone();
    repo.release(2);
    repo.publish_all();
    let trusted = accepted(&trusted, &repo).await;
    old.write();
    assert_eq!(refused(&trusted, &repo).await, "rollback");

    // A new timestamp of an old snapshot, and a new snapshot of old releases.
    let mut again = repo.clone();
    again.role("timestamp").version += 1;
    again.role("snapshot").version -= 1;
    again.write();
    assert_eq!(refused(&trusted, &again).await, "rollback");
    let mut again = repo.clone();
    again.role("timestamp").version += 1;
    again.role("snapshot").version += 1;
    again.role("releases").version -= 1;
    again.write();
    assert_eq!(refused(&trusted, &again).await, "rollback");
    repo.write();
    assert_eq!(accepted(&trusted, &repo).await, trusted, "the honest ones are accepted as before");
}

#[tokio::test]
async fn older_metadata_are_refused_after_a_rotation_too() {
    // Of the root's own keys: the timestamp that was trusted stays, and bounds what comes.
    let (mut repo, trusted) = Repo::begun();
    let trusted = accepted(&trusted, &repo).await;
    let old = repo.clone();
    repo.publish_all();
    let trusted = accepted(&trusted, &repo).await;
    let old_root_keys = repo.roles["root"].holders.keys.clone();
    repo.role("root").holders = Holders::of(&[4, 5, 6], 2);
    repo.role("root").signed_by = Some(old_root_keys.iter().chain(&[Key(4), Key(5)]).copied().collect());
    repo.publish(&["root"]);
    old.write();
    assert_eq!(refused(&trusted, &repo).await, "rollback");
    repo.write();
    let trusted = accepted(&trusted, &repo).await;
    assert_eq!(trusted.versions().root, 2);
    old.write();
    assert_eq!(refused(&trusted, &repo).await, "rollback");

    // Of the online keys: what the new key has signed bounds what it signs later, although the shipped root knows it not.
    let (mut repo, shipped) = Repo::begun();
    let trusted = accepted(&shipped, &repo).await;
    repo.rotate_online(31);
    repo.publish(&["timestamp", "snapshot"]);
    let trusted = accepted(&trusted, &repo).await;
    let old = repo.clone();
    repo.publish_all();
    let trusted = accepted(&trusted, &repo).await;
    old.write();
    assert_eq!(refused(&trusted, &repo).await, "rollback");
    assert_eq!(
        refused(&Trusted::parse(&trusted.to_json()).expect("reads"), &repo).await,
        "rollback",
        "after a restart"
    );
}

#[tokio::test]
async fn a_new_online_key_does_not_bring_old_releases_back() {
    let (mut repo, trusted) = Repo::begun();
    let old = repo.clone();
    repo.release(2);
    repo.publish_all();
    let trusted = accepted(&trusted, &repo).await;
    let mut thief = repo.clone();
    thief.rotate_online(31);
    // Well signed by the offline keys, long ago.
    thief.generations = old.generations;
    thief.role("releases").version = 1;
    thief.publish(&["timestamp", "snapshot"]);
    assert_eq!(refused(&trusted, &thief).await, "rollback");
}

#[tokio::test]
async fn a_new_online_key_does_not_bring_old_targets_back() {
    let (mut repo, trusted) = Repo::begun();
    repo.publish(&["timestamp", "snapshot", "targets"]);
    let trusted = accepted(&trusted, &repo).await;
    let mut thief = repo.clone();
    for role in ["timestamp", "snapshot"] {
        thief.role(role).holders = Holders::of(&[31], 1);
    }
    // With the delegations that they had, and perhaps a key that has been taken away since.
    thief.role("targets").version = 1;
    thief.publish(&["root", "timestamp", "snapshot"]);
    assert_eq!(refused(&trusted, &thief).await, "rollback");
    // Where the targets' own keys are new, they begin anew.
    let by = [10, 11, 12, 13].map(Key).to_vec();
    thief.role("targets").holders = Holders::of(&[12, 13], 2);
    thief.role("targets").signed_by = Some(by);
    thief.write();
    assert_eq!(accepted(&trusted, &thief).await.versions().targets, 1);
}

#[tokio::test]
async fn a_root_without_consistent_snapshots_is_not_followed() {
    let (mut repo, trusted) = Repo::begun();
    repo.role("root").overlay = vec![("consistent_snapshot", json!(false))];
    repo.publish(&["root"]);
    assert_eq!(refused(&trusted, &repo).await, "extraneous");
    for role in ["snapshot", "targets", "releases", "rollouts"] {
        repo.memory.put_metadata(&format!("{role}.json"), repo.file(role));
    }
    assert_eq!(refused(&trusted, &repo).await, "extraneous", "its files are not even asked for");
}

#[tokio::test]
async fn an_indefinite_freeze_ends_when_any_role_expires() {
    for role in ROLES {
        let (mut repo, _) = Repo::begun();
        repo.role(role).expires = NOW + DAY;
        repo.write();
        let clock = VirtualClock::at(NOW + DAY - 1);
        let limits = Limits::default();
        let device = repo.device();
        let trusted = refresh(&device, &repo.memory, &clock, &limits).await.expect(role).trusted;
        assert_eq!(trusted.expires_secs(), NOW + DAY);
        clock.advance(1);
        // Both ways to read it: as what is already trusted, and as what is new.
        for from in [&trusted, &device] {
            let e = refresh(from, &repo.memory, &clock, &limits).await.expect_err(role);
            assert_eq!(e.code(), "expired");
            assert!(e.to_string().contains(role), "{role}: {e}");
        }
    }
}

/// A source that gives more than what is asked for.
struct Endless<'a>(&'a Memory, String);

#[async_trait]
impl Source for Endless<'_> {
    fn name(&self) -> String {
        "endless".into()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        if name == self.1 { Ok(vec![b' '; cap as usize + 1].into()) } else { self.0.metadata(name, cap).await }
    }

    async fn piece(&self, _: &str, _: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        Ok(vec![b' '; bytes as usize + 1].into())
    }
}

#[tokio::test]
async fn endless_data_are_cut_off_at_each_file() {
    let (repo, trusted) = Repo::begun();
    let (clock, limits) = (VirtualClock::at(NOW), Limits::default());
    for role in ROLES {
        let name = if role == "root" { "2.root.json".into() } else { repo.name(role) };
        let e = refresh(&trusted, &Endless(&repo.memory, name), &clock, &limits).await.expect_err(role);
        assert_eq!(e.code(), "too_large", "{role}: {e}");
    }
    let contents = ask(&trusted, &repo).await.expect("accepted").contents;
    let endless = Endless(&repo.memory, String::new());
    let e = fetch_generation(&contents, &endless, FLEET, 1, &limits).await.expect_err("refused");
    assert_eq!(e.code(), "garbage");
    let small = Limits { generation_bytes: 10, ..limits };
    let e = fetch_generation(&contents, &repo.memory, FLEET, 1, &small).await.expect_err("refused");
    assert_eq!(e.code(), "too_large");
}

#[tokio::test]
async fn extraneous_dependencies_are_refused() {
    let (repo, trusted) = Repo::begun();
    // A role signs for what another is trusted with, or for what nobody is.
    for (role, name, code) in [
        ("rollouts", "generations/9.json", "extraneous"),
        ("rollouts", "generations/1.json", "extraneous"),
        ("rollouts", "other/9.json", "extraneous"),
        ("rollouts", "rollouts/../generations/9.json", "extraneous"),
        ("releases", "rollouts/9.json", "extraneous"),
        ("targets", "generations/9.json", "shape"),
    ] {
        let mut evil = repo.clone();
        evil.more_targets.push((role, name.into()));
        evil.write();
        assert_eq!(refused(&trusted, &evil).await, code, "{role} signs for {name}");
    }
    // A delegated role hands its power on.
    let mut evil = repo.clone();
    let to = json!({ "keys": {}, "roles": [delegation("more", &Holders::of(&[30], 1), json!(["rollouts/*"]))] });
    evil.role("rollouts").overlay = vec![("delegations", to)];
    evil.write();
    assert_eq!(refused(&trusted, &evil).await, "extraneous");
    // The new role's file is named by the snapshot, too; it is not even asked for.
    let file = |role: &str| json!({ "version": evil.version(role) });
    let meta = json!({ "targets.json": file("targets"), "releases.json": file("releases"),
        "rollouts.json": file("rollouts"), "more.json": { "version": 1 } });
    evil.role("snapshot").overlay = vec![("meta", meta)];
    evil.write();
    let down = Mirror(&evil.memory, "1.more.json", Err(SourceFault::Unreachable("asked for".into())));
    let e = refresh(&trusted, &down, &VirtualClock::at(NOW), &Limits::default()).await.expect_err("refused");
    assert_eq!(e.code(), "extraneous", "{e}");
    repo.write();
    accepted(&trusted, &repo).await;
}

#[tokio::test]
async fn the_delegations_must_be_the_fleet_s() {
    let (repo, trusted) = Repo::begun();
    let online = Holders::of(&[30], 1);
    type Change<'a> = Box<dyn Fn(&mut serde_json::Value) + 'a>;
    let changes: [(&str, Change); 5] = [
        (
            "a third role",
            Box::new(|d| d["roles"].as_array_mut().expect("roles").push(delegation("more", &online, json!(["x/*"])))),
        ),
        ("one role only", Box::new(|d| drop(d["roles"].as_array_mut().expect("roles").pop()))),
        ("wider paths", Box::new(|d| d["roles"][1]["paths"] = json!(["rollouts/*", "generations/*"]))),
        ("other paths", Box::new(|d| d["roles"][0]["paths"] = json!(["*"]))),
        ("another name", Box::new(|d| d["roles"][1]["name"] = json!("rollout"))),
    ];
    for (what, change) in changes {
        let mut evil = repo.clone();
        let mut delegations = evil.delegations();
        change(&mut delegations);
        evil.role("targets").overlay = vec![("delegations", delegations)];
        evil.write();
        let code = refused(&trusted, &evil).await;
        assert!(matches!(code, "shape" | "extraneous"), "{what}: {code}");
    }
    let mut none = repo.clone();
    none.role("targets").overlay = vec![("delegations", json!(null))];
    none.write();
    assert_eq!(refused(&trusted, &none).await, "shape");
}

#[tokio::test]
async fn files_of_different_times_do_not_mix() {
    for digests in [true, false] {
        for role in ["snapshot", "targets", "releases", "rollouts"] {
            let (mut repo, trusted) = Repo::begun();
            repo.digests = digests;
            let old = repo.file(role);
            let trusted = accepted(&trusted, &repo).await;
            repo.publish(&["timestamp", "snapshot", "targets", "releases", "rollouts"]);
            repo.memory.put_metadata(&repo.name(role), old);
            let code = refused(&trusted, &repo).await;
            assert_eq!(code, "mix_and_match", "{role}, digests {digests}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_hides_a_role_is_refused() {
    let (repo, trusted) = Repo::begun();
    for hidden in ["releases.json", "rollouts.json", "targets.json"] {
        let mut evil = repo.clone();
        let file = |role: &str| json!({ "version": repo.version(role) });
        let mut meta = json!({ "targets.json": file("targets"), "releases.json": file("releases"), "rollouts.json": file("rollouts") });
        meta.as_object_mut().expect("an object").remove(hidden);
        evil.role("snapshot").overlay = vec![("meta", meta)];
        evil.write();
        let code = refused(&trusted, &evil).await;
        assert!(matches!(code, "missing" | "garbage" | "mix_and_match"), "{hidden}: {code}");
        // Who has trusted it before sees that it has gone.
        repo.write();
        let before = accepted(&trusted, &repo).await;
        evil.publish(&["timestamp", "snapshot"]);
        assert!(matches!(refused(&before, &evil).await, "rollback" | "garbage"), "{hidden}");
    }
}

#[tokio::test]
async fn wrong_keys_and_no_keys_are_refused_at_each_role() {
    for role in ROLES.into_iter().skip(1) {
        for (by, code) in [(vec![Key(99)], "wrong_keys"), (vec![Key(99), Key(98)], "wrong_keys"), (vec![], "unsigned")]
        {
            let (mut repo, trusted) = Repo::begun();
            repo.role(role).signed_by = Some(by);
            repo.write();
            assert_eq!(refused(&trusted, &repo).await, code, "{role}");
        }
    }
    // A second root: by strangers, by the old keys only, by the new ones only.
    for (by, code) in [
        (vec![], "unsigned"),
        (vec![99, 98], "wrong_keys"),
        (vec![1, 2], "wrong_keys"),
        (vec![4, 5], "wrong_keys"),
        (vec![1, 4, 5], "below_threshold"),
    ] {
        let (mut repo, trusted) = Repo::begun();
        repo.role("root").holders = Holders::of(&[4, 5, 6], 2);
        repo.role("root").signed_by = Some(by.iter().copied().map(Key).collect());
        repo.publish(&["root"]);
        assert_eq!(refused(&trusted, &repo).await, code, "{by:?}");
    }
}

#[tokio::test]
async fn a_signature_by_a_right_key_under_another_s_name_does_not_count() {
    let (repo, trusted) = Repo::begun();
    let name = repo.name("timestamp");
    let mut file: serde_json::Value = serde_json::from_slice(&repo.file("timestamp")).expect("JSON");
    let once = file["signatures"][0].clone();
    // Twice the same signature is no second one.
    file["signatures"] = json!([once, once]);
    repo.memory.put_metadata(&name, file.to_string());
    assert_eq!(refused(&trusted, &repo).await, "garbage");
    file["signatures"] = json!([{ "keyid": "00", "sig": once["sig"] }]);
    repo.memory.put_metadata(&name, file.to_string());
    assert_eq!(refused(&trusted, &repo).await, "wrong_keys");
}

#[tokio::test]
async fn another_fleet_s_repository_is_refused() {
    let (_, trusted) = Repo::begun();
    let mut other = Repo::new();
    for (n, role) in ROLES.into_iter().enumerate() {
        let count = if matches!(role, "root" | "targets") { 2 } else { 1 };
        let first = 100 + 10 * n as u8;
        other.role(role).holders = Holders::of(&[first, first + 1], count);
    }
    other.write();
    assert_eq!(refused(&trusted, &other).await, "wrong_keys");
}

/// Never answers about one name.
struct Silent<'a>(&'a Memory, &'a str);

#[async_trait]
impl Source for Silent<'_> {
    fn name(&self) -> String {
        "silent".into()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        if name == self.1 {
            std::future::pending::<()>().await;
        }
        self.0.metadata(name, cap).await
    }

    async fn piece(&self, _: &str, _: u64, _: u64) -> Result<Bytes, SourceFault> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn slow_retrieval_is_cut_off_at_each_file() {
    let (repo, trusted) = Repo::begun();
    let clock = VirtualClock::at(NOW);
    let limits = Limits::default();
    for role in ROLES {
        let name = if role == "root" { "2.root.json".into() } else { repo.name(role) };
        let e = refresh(&trusted, &Silent(&repo.memory, &name), &clock, &limits).await.expect_err(role);
        assert_eq!(e.code(), "too_slow", "{role}: {e}");
    }
    // All of it together has an end, too, however patient each file is.
    let patient = Pace { answer: Duration::from_secs(u64::from(u32::MAX)), ..Pace::default() };
    let patient = Limits { pace: patient, ..limits.clone() };
    let e = refresh(&trusted, &Silent(&repo.memory, "timestamp.json"), &clock, &patient).await.expect_err("cut off");
    assert_eq!(e.code(), "too_slow");
    let contents = ask(&trusted, &repo).await.expect("accepted").contents;
    let e = fetch_generation(&contents, &Silent(&repo.memory, ""), FLEET, 1, &limits).await.expect_err("cut off");
    assert_eq!(e.code(), "too_slow");
}

#[tokio::test]
async fn a_stolen_online_key_opens_only_what_was_released_and_nothing_older() {
    let (mut repo, trusted) = Repo::begun();
    repo.release(2);
    repo.release(3);
    repo.open(2);
    repo.publish_all();
    let trusted = accepted(&trusted, &repo).await;
    // The thief opens a generation that was never released, lies about the digest of one that was, and opens an old one wide.
    let mut thief = repo.clone();
    thief.open(9);
    let evil = Rollout { sha256: "ab".repeat(32), ..thief.rollout(3) };
    thief.rollouts.insert(3, serde_json::to_value(evil).expect("JSON"));
    thief.publish(&["timestamp", "snapshot", "rollouts"]);
    let contents = ask(&trusted, &thief).await.expect("well signed").contents;
    let choice = choose(&contents, FLEET, &kitchen(), 2, &[]);
    assert_eq!(choice.begin, None, "2 runs, 1 is older, 3 has another digest, 9 was never released");
    assert_eq!(choice.passed, [(9, Passed::NotReleased), (3, Passed::OtherDigest)]);
    let e = fetch_generation(&contents, &thief.memory, FLEET, 9, &Limits::default()).await.expect_err("refused");
    assert_eq!(e.code(), "other_generation");
    // Opening what was released is what this key is for.
    thief.open(3);
    thief.publish(&["timestamp", "snapshot", "rollouts"]);
    let contents = ask(&trusted, &thief).await.expect("well signed").contents;
    assert_eq!(choose(&contents, FLEET, &kitchen(), 2, &[]).begin.map(|begin| begin.number), Some(3));
    // It signs no release, no targets and no root.
    for role in ["releases", "targets", "root"] {
        let mut thief = repo.clone();
        thief.release(9);
        thief.role(role).signed_by = Some(vec![Key(30)]);
        thief.publish(&["timestamp", "snapshot", role]);
        assert_eq!(refused(&trusted, &thief).await, "wrong_keys", "{role}");
        thief.memory.remove_metadata("2.root.json");
    }
}

#[tokio::test]
async fn stolen_targets_keys_below_the_threshold_change_nothing() {
    let (repo, trusted) = Repo::begun();
    let trusted = accepted(&trusted, &repo).await;
    // One of two keys of targets, together with every online key: the thief hands `releases` to himself.
    let mut thief = repo.clone();
    thief.role("releases").holders = Holders::of(&[66], 1);
    thief.role("targets").signed_by = Some(vec![Key(10)]);
    thief.release(9);
    thief.open(9);
    thief.publish(&["timestamp", "snapshot", "targets", "releases", "rollouts"]);
    assert_eq!(refused(&trusted, &thief).await, "below_threshold");
    // The same key twice, or with a stranger's, is still one.
    for by in [vec![Key(10), Key(66)], vec![Key(66), Key(10), Key(67)]] {
        thief.role("targets").signed_by = Some(by);
        thief.write();
        assert_eq!(refused(&trusted, &thief).await, "below_threshold");
    }
}

/// A mirror that says of one name what it likes.
struct Mirror<'a>(&'a Memory, &'a str, Result<Bytes, SourceFault>);

#[async_trait]
impl Source for Mirror<'_> {
    fn name(&self) -> String {
        "mirror".into()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        if name == self.1 { self.2.clone() } else { self.0.metadata(name, cap).await }
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        self.0.piece(path, offset, bytes).await
    }
}

#[tokio::test]
async fn a_malicious_mirror_can_only_withhold() {
    let (mut repo, trusted) = Repo::begun();
    let trusted = accepted(&trusted, &repo).await;
    repo.release(2);
    repo.publish(&["root", "timestamp", "snapshot", "targets", "releases", "rollouts"]);
    let (clock, limits) = (VirtualClock::at(NOW), Limits::default());
    let unreachable = || Err(SourceFault::Unreachable("the link is down".into()));
    for role in ROLES {
        let name = repo.name(role);
        let honest = Bytes::from(repo.file(role));
        let cases = [
            (unreachable(), &["unreachable"][..]),
            (Ok(Bytes::new()), &["garbage", "mix_and_match"]),
            (Ok("{}".into()), &["garbage", "mix_and_match"]),
            (Ok("[".repeat(1000).into()), &["garbage", "mix_and_match", "too_large"]),
            (Ok(honest.slice(..honest.len() / 2)), &["garbage", "mix_and_match"]),
            (Ok(repo.file("targets").into()), &["garbage", "mix_and_match", "too_large"]),
        ];
        for (answer, codes) in cases {
            if role == "targets" && answer.as_ref().is_ok_and(|answer| answer == &honest) {
                continue;
            }
            let e = refresh(&trusted, &Mirror(&repo.memory, &name, answer.clone()), &clock, &limits).await;
            let e = e.expect_err(role);
            assert!(codes.contains(&e.code()), "{role}, {answer:?}: {e}");
        }
        // To hide a file is an incomplete repository; to hide a newer root cannot be told from there being none.
        let hidden = refresh(&trusted, &Mirror(&repo.memory, &name, Err(SourceFault::NotThere)), &clock, &limits).await;
        match role {
            "root" => assert_eq!(hidden.expect("as if there were none").trusted.versions().root, 1),
            _ => assert_eq!(hidden.expect_err(role).code(), "missing"),
        }
    }
    assert_eq!(trusted.versions().timestamp, 1, "what is trusted stays as it was");
    accepted(&trusted, &repo).await;
}

#[tokio::test]
async fn a_source_that_breaks_at_a_later_root_is_not_taken_for_the_end_of_the_chain() {
    let (mut repo, trusted) = Repo::begun();
    repo.publish(&["root"]);
    repo.publish(&["root"]);
    let (clock, limits) = (VirtualClock::at(NOW), Limits::default());
    for name in ["2.root.json", "3.root.json", "4.root.json"] {
        let broken = Mirror(&repo.memory, name, Err(SourceFault::Unreachable("the link is down".into())));
        let e = refresh(&trusted, &broken, &clock, &limits).await.expect_err(name);
        assert_eq!(e.code(), "unreachable");
    }
    assert_eq!(accepted(&trusted, &repo).await.versions().root, 3);
}

#[tokio::test]
async fn a_fast_forward_is_healed_by_rotating_the_stolen_key() {
    let (mut repo, trusted) = Repo::begun();
    let trusted = accepted(&trusted, &repo).await;
    // The thief of the online key publishes the highest versions that there are.
    let mut thief = repo.clone();
    for role in ["timestamp", "snapshot", "rollouts"] {
        thief.role(role).version = u64::MAX;
    }
    thief.write();
    let poisoned = accepted(&trusted, &thief).await;
    assert_eq!(poisoned.versions().timestamp, u64::MAX);
    // The operator's next ones are refused as older ...
    repo.publish_all();
    assert_eq!(refused(&poisoned, &repo).await, "rollback");
    // ... until a new root and new targets take the key away.
    repo.rotate_online(31);
    repo.release(2);
    repo.open(2);
    repo.publish_all();
    let healed = ask(&poisoned, &repo).await.expect("healed");
    let versions = healed.trusted.versions();
    assert_eq!((versions.root, versions.timestamp, versions.rollouts), (2, 3, 3));
    assert_eq!(choose(&healed.contents, FLEET, &kitchen(), 1, &[]).begin.map(|begin| begin.number), Some(2));
    // The thief's metadata are nothing any more.
    repo.memory.put_metadata("timestamp.json", thief.file("timestamp"));
    assert_eq!(refused(&healed.trusted, &repo).await, "wrong_keys");
}

#[tokio::test]
async fn a_device_that_slept_through_many_rotations_walks_through_all_of_them() {
    let (mut repo, trusted) = Repo::begun();
    let trusted = accepted(&trusted, &repo).await;
    for to in 31..41 {
        repo.rotate_online(to);
        repo.publish_all();
    }
    assert_eq!(accepted(&trusted, &repo).await.versions().root, 11);
    let few = Limits { root_updates: 5, ..Limits::default() };
    let e = refresh(&trusted, &repo.memory, &VirtualClock::at(NOW), &few).await.expect_err("refused");
    assert_eq!(e.code(), "too_many_roots");
}
