//! Claims and grants, with the real keys, files and programs.

use std::path::Path;

use linnet_proto::fleet::{ClaimOutcome, ClaimRefusal, ClaimRequest, Fingerprint, Grant, SignedAnswer, SignedRequest};
use ring::signature::Ed25519KeyPair;

use super::ledger::{ANSWER_KEY_FILE, LEDGER_FILE};
use super::proof::{fingerprint, public, sign_request, verify_answer};
use super::*;
use crate::keys::{FileKey, generate};

const NOW: u64 = 1_800_000_000;

/// The operator's directory of keys, with one claim `c1`.
struct Site {
    dir: tempfile::TempDir,
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
}

/// The key of every claim here.
const CLAIM: u8 = 100;

pub(super) fn claim(id: &str, names: Names, uses: u64) -> Claim {
    Claim {
        id: id.into(),
        key: hex::encode(public(&pair(CLAIM))),
        uses,
        expires_secs: NOW + 100,
        names,
        groups: ["beta".to_owned()].into(),
        labels: Default::default(),
    }
}

pub(super) fn pattern() -> Names {
    Names::Pattern("speaker-{n:04}".into())
}

impl Site {
    fn new(names: Names, uses: u64) -> Self {
        let site = Self { dir: tempfile::tempdir().expect("a directory") };
        generate(&site.keys().join(ANSWER_KEY_FILE), None).expect("a key");
        let mut ledger = Ledger::open_or_make(site.keys(), "home").expect("a ledger");
        ledger.add(claim("c1", names, uses)).expect("a claim");
        site
    }

    fn keys(&self) -> &Path {
        self.dir.path()
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(self.keys(), "home").expect("a ledger")
    }

    fn registrar(&self) -> Registrar {
        Registrar::new(self.keys(), "home", None)
    }

    /// What the answer says to the device that has this key, once its signature is verified.
    fn outcome(&self, answered: &Answered) -> ClaimOutcome {
        let operator = FileKey::open(&self.keys().join(ANSWER_KEY_FILE), &|_| unreachable!()).expect("a key");
        outcome_of(answered, &public(operator.pair()))
    }
}

/// What an answer says, once its signature is verified.
pub(super) fn outcome_of(answered: &Answered, operator: &[u8; 32]) -> ClaimOutcome {
    let signed = SignedAnswer::parse(&answered.payload).expect("an answer");
    verify_answer(&signed, operator).expect("the operator's");
    signed.answer().expect("an answer").outcome
}

pub(super) fn request(device: u8) -> ClaimRequest {
    ClaimRequest {
        wire: 1,
        fleet: "home".into(),
        claim: "c1".into(),
        key: hex::encode(public(&pair(device))),
        nonce: "n1".into(),
        wanted: None,
        machine: None,
        linnetd: "0.1.0".into(),
    }
}

pub(super) fn of(device: u8) -> Fingerprint {
    fingerprint(&public(&pair(device)))
}

pub(super) fn signed(request: &ClaimRequest, device: u8) -> Vec<u8> {
    serde_json::to_vec(&sign_request(request, &pair(CLAIM), &pair(device))).expect("JSON")
}

fn ask(site: &Site, registrar: &mut Registrar, device: u8) -> ClaimOutcome {
    ask_with(site, registrar, device, |_| {})
}

fn ask_with(
    site: &Site,
    registrar: &mut Registrar,
    device: u8,
    change: impl FnOnce(&mut ClaimRequest),
) -> ClaimOutcome {
    let mut request = request(device);
    change(&mut request);
    let answered = registrar.answer(&of(device), &signed(&request, device), NOW, &|_| false).expect("answered");
    site.outcome(&answered)
}

fn granted(outcome: ClaimOutcome) -> Grant {
    match outcome {
        ClaimOutcome::Granted(grant) => grant,
        ClaimOutcome::Refused { reason, .. } => panic!("refused: {reason}"),
    }
}

fn refused(outcome: ClaimOutcome) -> (ClaimRefusal, String) {
    match outcome {
        ClaimOutcome::Granted(grant) => panic!("granted: {}", grant.device),
        ClaimOutcome::Refused { code, reason } => (code, reason),
    }
}

#[test]
fn each_device_gets_the_next_name_and_the_same_again() {
    let site = Site::new(pattern(), 3);
    let mut registrar = site.registrar();
    assert_eq!(granted(ask(&site, &mut registrar, 1)).device, "speaker-0001");
    let second = granted(ask(&site, &mut registrar, 2));
    assert_eq!((second.device.as_str(), second.groups.contains("beta")), ("speaker-0002", true));
    // Another process, which reads what this one wrote.
    let mut other = site.registrar();
    assert_eq!(granted(ask(&site, &mut other, 1)).device, "speaker-0001");
    assert_eq!(granted(ask(&site, &mut other, 3)).device, "speaker-0003");
    let (code, reason) = refused(ask(&site, &mut registrar, 4));
    assert_eq!(code, ClaimRefusal::UsedUp);
    assert!(reason.contains("3 devices"), "{reason}");
    assert_eq!(granted(ask(&site, &mut registrar, 3)).device, "speaker-0003", "a claim that is used up gives no less");
    assert_eq!(site.ledger().claims().next().expect("a claim").used, 3);
}

#[test]
fn two_processes_at_once_on_the_last_use_grant_it_once() {
    let site = Site::new(pattern(), 1);
    let outcomes: Vec<ClaimOutcome> = std::thread::scope(|scope| {
        let asked: Vec<_> = (1..=8)
            .map(|device| {
                let site = &site;
                scope.spawn(move || ask(site, &mut site.registrar(), device))
            })
            .collect();
        asked.into_iter().map(|it| it.join().expect("no panic")).collect()
    });
    let names: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, ClaimOutcome::Granted(_))).collect();
    assert_eq!(names.len(), 1, "{outcomes:?}");
    assert_eq!(site.ledger().granted().len(), 1);
}

#[test]
fn who_answers_waits_until_another_process_has_and_reads_what_that_wrote() {
    let site = Site::new(pattern(), 1);
    let mut other = std::fs::OpenOptions::new().append(true).open(site.keys().join(LEDGER_FILE)).expect("opens");
    other.lock().expect("locked");
    let outcome = std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&site, &mut site.registrar(), 2));
        // Long enough for one that does not wait to have answered.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let granted = serde_json::json!({
            "event": "granted", "claim": "c1", "key": of(1), "device": "speaker-0001", "at_secs": NOW
        });
        std::io::Write::write_all(&mut other, format!("{granted}\n").as_bytes()).expect("written");
        drop(other);
        asked.join().expect("no panic")
    });
    assert_eq!(refused(outcome).0, ClaimRefusal::UsedUp);
}

#[test]
fn a_claim_that_is_unknown_expired_or_revoked_gives_nothing() {
    let site = Site::new(pattern(), 2);
    let mut registrar = site.registrar();
    assert_eq!(refused(ask_with(&site, &mut registrar, 1, |r| r.claim = "c2".into())).0, ClaimRefusal::UnknownClaim);
    assert_eq!(granted(ask(&site, &mut registrar, 1)).device, "speaker-0001");
    let at = |registrar: &mut Registrar, device, now| {
        let answered =
            registrar.answer(&of(device), &signed(&request(device), device), now, &|_| false).expect("answered");
        site.outcome(&answered)
    };
    assert_eq!(refused(at(&mut registrar, 2, NOW + 100)).0, ClaimRefusal::Expired);
    assert_eq!(granted(at(&mut registrar, 1, NOW + 100)).device, "speaker-0001", "who has a name keeps it");
    site.ledger().revoke("c1", NOW).expect("revoked");
    for device in [1, 2] {
        assert_eq!(refused(ask(&site, &mut registrar, device)).0, ClaimRefusal::Revoked);
    }
    let e = site.ledger().revoke("c9", NOW).expect_err("there is none").to_string();
    assert!(e.contains("claim list"), "{e}");
}

#[test]
fn a_wrong_proof_gives_nothing_and_uses_nothing() {
    let site = Site::new(pattern(), 1);
    let mut registrar = site.registrar();
    let mut answer = |payload: &SignedRequest| {
        let payload = serde_json::to_vec(payload).expect("JSON");
        let answered = registrar.answer(&of(1), &payload, NOW, &|_| false).expect("answered");
        refused(site.outcome(&answered)).0
    };
    // Somebody without the claim's secret, and somebody without the device's key.
    assert_eq!(answer(&sign_request(&request(1), &pair(99), &pair(1))), ClaimRefusal::Proof);
    assert_eq!(answer(&sign_request(&request(1), &pair(CLAIM), &pair(2))), ClaimRefusal::Proof);
    // One bit of what was signed, and the two signatures in each other's place.
    let right = sign_request(&request(1), &pair(CLAIM), &pair(1));
    let other = SignedRequest { body: right.body.replace("n1", "n2"), ..right.clone() };
    assert_eq!(answer(&other), ClaimRefusal::Proof);
    let swapped = SignedRequest { by_claim: right.by_key.clone(), by_key: right.by_claim, body: right.body };
    assert_eq!(answer(&swapped), ClaimRefusal::Proof);
    assert_eq!(site.ledger().claims().next().expect("a claim").used, 0);
}

#[test]
fn what_is_no_request_or_on_anothers_topic_is_not_answered() {
    let site = Site::new(pattern(), 1);
    let mut registrar = site.registrar();
    let whole = signed(&request(1), 1);
    for (from, payload, why) in [
        (of(1), Vec::new(), "cannot be read"),
        (of(1), b"{}".to_vec(), "cannot be read"),
        (of(1), vec![b' '; 10_000], "at most"),
        (of(1), whole[..whole.len() / 2].to_vec(), "cannot be read"),
        (of(2), whole.clone(), "another key"),
        (of(1), signed(&ClaimRequest { key: "xyz".into(), ..request(1) }, 1), "key"),
        (of(1), signed(&ClaimRequest { nonce: "n".repeat(200), ..request(1) }, 1), "breaks the form"),
    ] {
        let e = registrar.answer(&from, &payload, NOW, &|_| false).expect_err(why);
        assert!(e.contains(why), "{e}");
    }
    assert_eq!(refused(ask_with(&site, &mut registrar, 1, |r| r.fleet = "away".into())).0, ClaimRefusal::Form);
    assert_eq!(refused(ask_with(&site, &mut registrar, 1, |r| r.wire = 2)).0, ClaimRefusal::Form);
    assert_eq!(site.ledger().granted().len(), 0);
}

#[test]
fn a_name_is_one_devices_until_it_is_released() {
    let site = Site::new(Names::One("kitchen".into()), 1);
    let mut registrar = site.registrar();
    assert_eq!(granted(ask(&site, &mut registrar, 1)).device, "kitchen");
    let e = site.ledger().add(claim("c2", Names::One("kitchen".into()), 1)).expect_err("it is borne").to_string();
    assert!(e.contains("claim release kitchen"), "{e}");
    // A device that calls itself so by a claim for any name.
    site.ledger().add(claim("c3", Names::Own, 9)).expect("a claim");
    let wants = |name: &'static str| {
        move |request: &mut ClaimRequest| {
            request.claim = "c3".into();
            request.wanted = Some(name.into());
        }
    };
    let (code, reason) = refused(ask_with(&site, &mut registrar, 2, wants("kitchen")));
    assert_eq!(code, ClaimRefusal::Name);
    assert!(reason.contains("another device") && reason.contains("claim release"), "{reason}");
    site.ledger().release("kitchen", NOW).expect("released");
    assert_eq!(granted(ask_with(&site, &mut registrar, 2, wants("kitchen"))).device, "kitchen");
    assert_eq!(refused(ask(&site, &mut registrar, 1)).0, ClaimRefusal::UsedUp, "its name is another's now");
    for name in ["pool", "fleet", "a/b", "", "ä"] {
        assert_eq!(refused(ask_with(&site, &mut registrar, 3, wants(name))).0, ClaimRefusal::Name, "{name}");
    }
    assert_eq!(granted(ask_with(&site, &mut registrar, 3, |r| r.claim = "c3".into())).device, "home-0001");
    assert!(site.ledger().release("nobody", NOW).is_err());
}

#[test]
fn a_device_that_calls_itself_otherwise_is_told_so_and_uses_nothing() {
    let site = Site::new(pattern(), 1);
    let mut registrar = site.registrar();
    let (code, reason) = refused(ask_with(&site, &mut registrar, 1, |r| r.wanted = Some("attic".into())));
    assert_eq!(code, ClaimRefusal::Name);
    assert!(reason.contains("attic") && reason.contains("speaker-0001"), "{reason}");
    assert_eq!(granted(ask(&site, &mut registrar, 2)).device, "speaker-0001");
}

#[test]
fn a_pattern_passes_over_names_that_devices_bear_without_a_claim() {
    let site = Site::new(pattern(), 2);
    let borne = |name: &str| name == "speaker-0001";
    let answered = site.registrar().answer(&of(1), &signed(&request(1), 1), NOW, &borne).expect("answered");
    assert_eq!(granted(site.outcome(&answered)).device, "speaker-0002");
}

#[test]
fn a_name_that_a_device_bears_without_a_claim_is_nobodys_to_choose() {
    let site = Site::new(Names::Own, 2);
    let mut registrar = site.registrar();
    let borne = |name: &str| name == "kitchen";
    let mut ask = |device: u8, claim: &str| {
        let wants = ClaimRequest { wanted: Some("kitchen".into()), claim: claim.into(), ..request(device) };
        let answered = registrar.answer(&of(device), &signed(&wants, device), NOW, &borne).expect("answered");
        site.outcome(&answered)
    };
    let (code, reason) = refused(ask(1, "c1"));
    assert_eq!(code, ClaimRefusal::Name);
    assert!(reason.contains("kitchen") && reason.contains("--name kitchen"), "{reason}");
    assert_eq!(site.ledger().claims().next().expect("a claim").used, 0);
    // The operator may say so himself, and what he frees is free though the last report of its device is still about.
    site.ledger().add(claim("c2", Names::One("kitchen".into()), 1)).expect("a claim");
    assert_eq!(granted(ask(2, "c2")).device, "kitchen");
    site.ledger().release("kitchen", NOW).expect("released");
    assert_eq!(granted(ask(3, "c1")).device, "kitchen");
}

#[test]
fn a_device_with_another_claim_gets_another_name_and_frees_its_old_one() {
    let site = Site::new(pattern(), 1);
    let mut registrar = site.registrar();
    assert_eq!(granted(ask(&site, &mut registrar, 1)).device, "speaker-0001");
    site.ledger().add(claim("c2", Names::One("attic".into()), 1)).expect("a claim");
    assert_eq!(granted(ask_with(&site, &mut registrar, 1, |r| r.claim = "c2".into())).device, "attic");
    let names: Vec<_> = site.ledger().granted().iter().map(|granted| granted.device.clone()).collect();
    assert_eq!(names, ["attic"]);
}

#[test]
fn a_grant_command_runs_once_and_its_failure_keeps_the_name_for_the_device() {
    let site = Site::new(pattern(), 2);
    let script = site.keys().join("grant.sh");
    let count = site.keys().join("count");
    let write =
        |body: &str| std::fs::write(&script, format!("echo x >> {}\n{body}\n", count.display())).expect("written");
    let command = GrantCommand::parse(&format!("sh {}", script.display())).expect("a command");
    let mut registrar = Registrar::new(site.keys(), "home", Some(command.clone()));
    write("exit 1");
    let answered = registrar.answer(&of(1), &signed(&request(1), 1), NOW, &|_| false).expect("answered");
    let (code, reason) = refused(site.outcome(&answered));
    assert_eq!(code, ClaimRefusal::Unavailable);
    assert!(!reason.contains("grant.sh") && answered.said.contains("grant.sh"), "{reason}; {}", answered.said);
    write("echo \"username: $2\"; echo 'password: 0ne'");
    for _ in 0..2 {
        let grant = granted(ask(&site, &mut registrar, 1));
        assert_eq!((grant.device.as_str(), grant.credentials.password.as_deref()), ("speaker-0001", Some("0ne")));
        // A second process gives what the first was given.
        registrar = Registrar::new(site.keys(), "home", Some(command.clone()));
    }
    assert_eq!(std::fs::read_to_string(&count).expect("counted").lines().count(), 2);
    assert_eq!(site.ledger().claims().next().expect("a claim").used, 1);
}

#[test]
fn a_device_whose_name_the_site_refused_gets_the_one_that_it_asks_for_next_and_uses_the_claim_once() {
    let site = Site::new(Names::Own, 1);
    let script = site.keys().join("grant.sh");
    std::fs::write(&script, "case $2 in hub*) exit 1;; esac; echo \"username: $2\"").expect("written");
    let command = GrantCommand::parse(&format!("sh {}", script.display())).expect("a command");
    // Another process each time: what is withdrawn stands in the ledger.
    let ask = |device: u8, wanted: Option<&str>| {
        let mut registrar = Registrar::new(site.keys(), "home", Some(command.clone()));
        let wanted = wanted.map(str::to_owned);
        ask_with(&site, &mut registrar, device, |request| request.wanted = wanted)
    };
    let used = || site.ledger().claims().next().expect("a claim").used;
    assert_eq!(refused(ask(1, Some("hub"))).0, ClaimRefusal::Unavailable);
    assert_eq!((refused(ask(1, Some("hub"))).0, used()), (ClaimRefusal::Unavailable, 1));
    // What cannot be a name takes nothing from it.
    assert_eq!(refused(ask(1, Some("a/b"))).0, ClaimRefusal::Name);
    assert_eq!(site.ledger().granted()[0].device, "hub");
    // As often as it is still a mistake.
    for n in 1..8 {
        assert_eq!(refused(ask(1, Some(&format!("hub{n}")))).0, ClaimRefusal::Unavailable);
    }
    let grant = granted(ask(1, None));
    assert_eq!((grant.device.as_str(), grant.credentials.username.as_deref()), ("home-0001", Some("home-0001")));
    assert_eq!((granted(ask(1, None)).device, used()), ("home-0001".into(), 1));
    let names: Vec<_> = site.ledger().granted().iter().map(|granted| granted.device.clone()).collect();
    assert_eq!(names, ["home-0001"]);
    // It has an account now: another name is not to be had without the operator.
    assert_eq!(granted(ask(1, Some("attic"))).device, "home-0001");
    assert_eq!(refused(ask(2, Some("hub"))).0, ClaimRefusal::UsedUp);
}

#[test]
fn who_asks_for_one_refused_name_after_the_other_is_stopped() {
    let site = Site::new(Names::Own, 1);
    let command = GrantCommand::parse("false").expect("a command");
    let mut registrar = Registrar::new(site.keys(), "home", Some(command));
    let mut ask = |n: u32| refused(ask_with(&site, &mut registrar, 1, |r| r.wanted = Some(format!("hub{n}"))));
    for n in 0..9 {
        assert_eq!(ask(n).0, ClaimRefusal::Unavailable, "{n}");
    }
    let before = std::fs::metadata(site.keys().join(LEDGER_FILE)).expect("there").len();
    let (code, reason) = ask(9);
    assert_eq!(code, ClaimRefusal::Name);
    assert!(reason.contains("8 times") && reason.contains("claim release hub8"), "{reason}");
    assert_eq!(std::fs::metadata(site.keys().join(LEDGER_FILE)).expect("there").len(), before);
}

#[test]
fn a_line_that_a_crash_cut_off_is_dropped_and_one_in_the_middle_is_named() {
    let site = Site::new(pattern(), 2);
    assert_eq!(granted(ask(&site, &mut site.registrar(), 1)).device, "speaker-0001");
    let path = site.keys().join(LEDGER_FILE);
    let whole = std::fs::read_to_string(&path).expect("readable");
    // Cut anywhere in the last line, the operator's process was killed before it answered.
    let last = whole.trim_end().rfind('\n').expect("lines") + 1;
    for cut in [last + 1, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).expect("written");
        assert_eq!(granted(ask(&site, &mut site.registrar(), 2)).device, "speaker-0001");
        assert_eq!(site.ledger().granted().len(), 1);
    }
    std::fs::write(&path, whole.replace("\"event\":\"claim\"", "\"event\":\"clam\"")).expect("written");
    let e = Ledger::open(site.keys(), "home").expect_err("broken").to_string();
    assert!(e.contains("line 2") && e.contains("backup"), "{e}");
    let e = site.registrar().answer(&of(1), &signed(&request(1), 1), NOW, &|_| false).expect_err("broken");
    assert!(e.contains("line 2"), "{e}");
}

#[test]
fn a_ledger_is_its_owners_alone_and_its_fleets() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(pattern(), 1);
    let path = site.keys().join(LEDGER_FILE);
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o7777, 0o600);
    assert!(!std::fs::read_to_string(&path).expect("readable").contains(&hex::encode([CLAIM; 32])), "no secret in it");
    let e = Ledger::open(site.keys(), "away").expect_err("another's").to_string();
    assert!(e.contains("home") && e.contains("away"), "{e}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(Ledger::open(site.keys(), "home").expect_err("open").to_string().contains("chmod 600"));
    let e = Ledger::open(&site.keys().join("elsewhere"), "home").expect_err("none").to_string();
    assert!(e.contains("claim create") && e.contains("--keys"), "{e}");
}

#[test]
fn claims_that_make_no_sense_are_not_made() {
    let site = Site::new(pattern(), 1);
    let mut ledger = site.ledger();
    for (wrong, why) in [
        (claim("c2", pattern(), 0), "1 to"),
        (claim("c2", pattern(), MAX_USES + 1), "1 to"),
        (claim("c2", Names::One("attic".into()), 2), "one device"),
        (claim("c2", Names::One("pool".into()), 1), "pool"),
        (claim("c2", Names::Pattern("x".into()), 1), "{n}"),
    ] {
        let e = ledger.add(wrong).expect_err(why).to_string();
        assert!(e.contains(why), "{e}");
    }
}
