//! Who grants names: reads a request, decides, remembers, and answers.

use std::path::{Path, PathBuf};

use linnet_proto::fleet::{
    ClaimAnswer, ClaimOutcome, ClaimRefusal, ClaimRequest, Credentials, FLEET_WIRE, Fingerprint, SignedRequest,
};
use linnet_proto::topic::DeviceName;

use super::grant_command::GrantCommand;
use super::ledger::{ANSWER_KEY_FILE, Granted, Held, Ledger, LedgerError};
use super::names::{Names, Pattern};
use super::proof::{KEY_BYTES, fingerprint, key_of_hex, sign_answer, verify_request};
use crate::keys::FileKey;

/// Longest nonce and id that are answered, characters.
const MAX_WORD: usize = 64;
/// Names that a device may have instead of one for which the site gave it nothing: each is a line of the ledger.
const MAX_WITHDRAWN: u32 = 8;

/// Grants the names of one fleet. One process may have several, and several processes one each: the ledger's lock keeps them apart.
pub struct Registrar {
    keys: PathBuf,
    fleet: String,
    command: Option<GrantCommand>,
    /// Opened with the first request: a fleet may have no claims, or its first one later.
    open: Option<(Ledger, FileKey)>,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The payload of the answer.
    pub payload: Vec<u8>,
    /// For the operator, one sentence.
    pub said: String,
    /// Whether the device has a name by it.
    pub is_granted: bool,
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar").field("keys", &self.keys).field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

/// A refusal on its way to the device.
type Refusal = (ClaimRefusal, String);

impl Registrar {
    /// For `fleet`, by the ledger in the directory `keys`.
    pub fn new(keys: &Path, fleet: &str, command: Option<GrantCommand>) -> Self {
        Self { keys: keys.to_owned(), fleet: fleet.to_owned(), command, open: None }
    }

    /// With a ledger and a key of answers that are open.
    #[cfg(test)]
    pub(super) fn over(ledger: Ledger, key: FileKey, fleet: &str) -> Self {
        Self { keys: PathBuf::new(), fleet: fleet.to_owned(), command: None, open: Some((ledger, key)) }
    }

    /// Answers what came on the topic of `from`. `now_secs` is the operator's clock; `is_borne` says whether a name is in use by a device that has
    /// none by a claim. The error is one sentence for the operator, and nobody is answered: the request is no request, or this side is not able to.
    ///
    /// Blocks on the ledger's lock and disk, and on the grant command.
    pub fn answer(
        &mut self,
        from: &Fingerprint,
        payload: &[u8],
        now_secs: u64,
        is_borne: &dyn Fn(&str) -> bool,
    ) -> Result<Answered, String> {
        let signed = SignedRequest::parse(payload)?;
        let request = signed.request()?;
        let key = key_of_hex(&request.key).ok_or("a request for a name with a key that is none")?;
        // The broker let somebody write to this topic; what stands in the request must agree.
        if fingerprint(&key) != *from {
            return Err(format!("a request for a name on the topic of {from}, by another key"));
        }
        if request.nonce.is_empty() || request.nonce.len() > MAX_WORD || request.claim.len() > MAX_WORD {
            return Err(format!("a request for a name by {from} breaks the form"));
        }
        if self.open.is_none() {
            self.open = Some(open(&self.keys, &self.fleet).map_err(|e| format!("a device asks for a name: {e}"))?);
        }
        let Some((ledger, operator)) = &mut self.open else { return Err("unopened".into()) };
        let outcome = if request.wire != FLEET_WIRE || request.fleet != self.fleet {
            let reason = format!(
                "the request is for the fleet {:?} in form {}; here the fleet {} is served in form {FLEET_WIRE}",
                request.fleet, request.wire, self.fleet
            );
            Err((ClaimRefusal::Form, reason))
        } else {
            // Locked until the answer is known: two devices at once on a claim's last use, and a grant command that two processes would run.
            let mut held = ledger.hold(false).map_err(|e| e.to_string())?;
            let decided = decide(&mut held, &signed, (&request, &key, from), now_secs, is_borne);
            decided.and_then(|granted| complete(&mut held, self.command.as_ref(), (&self.fleet, &key), granted))
        };
        let name = super::ledger::plain(&request.claim);
        let is_granted = outcome.is_ok();
        let (outcome, said) = match outcome {
            Ok((granted, grant)) => {
                let said = format!("{} is granted to the device {from} by the claim {name}", granted.device);
                (ClaimOutcome::Granted(grant), said)
            }
            Err((code, reason)) => {
                let said = format!("the device {from} is refused a name by the claim {name}: {reason}");
                (ClaimOutcome::Refused { code, reason: of_code(code, reason) }, said)
            }
        };
        let answer = ClaimAnswer {
            wire: FLEET_WIRE,
            fleet: self.fleet.clone(),
            to: from.clone(),
            nonce: request.nonce,
            outcome,
        };
        let signed = sign_answer(&answer, operator.pair());
        Ok(Answered { payload: serde_json::to_vec(&signed).map_err(|e| e.to_string())?, said, is_granted })
    }
}

/// What goes wrong on the operator's side is his to know.
fn of_code(code: ClaimRefusal, reason: String) -> String {
    match code {
        ClaimRefusal::Unavailable => "the operator's side cannot grant a name now; its own output says why".into(),
        _ => reason,
    }
}

fn open(keys: &Path, fleet: &str) -> Result<(Ledger, FileKey), String> {
    let ledger = Ledger::open(keys, fleet).map_err(|e| e.to_string())?;
    let path = keys.join(ANSWER_KEY_FILE);
    let key = FileKey::open(&path, &|_| Err(std::io::Error::other("it must have none"))).map_err(|e| e.to_string())?;
    Ok((ledger, key))
}

/// Who has a name by this request, remembered before this returns.
fn decide(
    held: &mut Held<'_>,
    signed: &SignedRequest,
    (request, key, from): (&ClaimRequest, &[u8; KEY_BYTES], &Fingerprint),
    now_secs: u64,
    is_borne: &dyn Fn(&str) -> bool,
) -> Result<Granted, Refusal> {
    use ClaimRefusal as Code;
    let standing = held.ledger().claim(&request.claim);
    let standing = standing.ok_or_else(|| (Code::UnknownClaim, "the operator knows no such claim".to_owned()))?.clone();
    let claim = &standing.claim;
    let of_claim = key_of_hex(&claim.key).ok_or_else(|| (Code::Unavailable, "the claim's key is none".to_owned()))?;
    verify_request(signed, key, &of_claim).map_err(|e| (Code::Proof, e.to_string()))?;
    if standing.revoked {
        return Err((Code::Revoked, "the operator has revoked the claim".into()));
    }
    // The same device again: cut off before it had the answer on its disk, or it lost its state but not its key.
    let before = held.ledger().of_key(from).filter(|granted| granted.claim == claim.id).cloned();
    if let Some(granted) = before.as_ref().filter(|granted| stays(granted, &claim.names, request)) {
        return Ok(granted.clone());
    }
    if now_secs >= claim.expires_secs {
        return Err((Code::Expired, "the claim's time is over; the operator can create another".into()));
    }
    if before.is_none() && standing.used >= claim.uses {
        let devices = if claim.uses == 1 { "one device".to_owned() } else { format!("{} devices", claim.uses) };
        return Err((
            Code::UsedUp,
            format!("the claim is for {devices} and is used up; the operator can create another"),
        ));
    }
    let device = name(held, claim.id.as_str(), &claim.names, request, is_borne)?;
    if let Some(before) = before {
        if held.ledger().withdrawn(from) >= MAX_WITHDRAWN {
            return Err((
                Code::Name,
                format!(
                    "the device has changed its name {MAX_WITHDRAWN} times; the operator frees the last one with `linnet fleet claim release {}`",
                    before.device
                ),
            ));
        }
        held.withdraw(from, now_secs).map_err(|e| (Code::Unavailable, e.to_string()))?;
    }
    let granted = Granted {
        claim: claim.id.clone(),
        key: from.clone(),
        device,
        machine: request.machine.clone().filter(|machine| machine.len() <= MAX_WORD),
        at_secs: now_secs,
        credentials: None,
    };
    held.grant(granted.clone()).map_err(|e| (Code::Unavailable, e.to_string()))?;
    Ok(granted)
}

/// Whether a device that asks again keeps the grant that it has. One that chose a name for which the site then gave it nothing may have put its
/// configuration right.
fn stays(granted: &Granted, names: &Names, request: &ClaimRequest) -> bool {
    match (names, &request.wanted) {
        (Names::Own, _) if granted.credentials.is_some() => true,
        (Names::Own, Some(wanted)) => *wanted == granted.device,
        (Names::Own, None) => Pattern::parse(&own_pattern(request)).is_ok_and(|pattern| pattern.gives(&granted.device)),
        _ => true,
    }
}

/// What a device is called that does not say, by a claim for any name.
fn own_pattern(request: &ClaimRequest) -> String {
    format!("{}-{{n:04}}", request.fleet)
}

/// The name that a new device gets.
fn name(
    held: &mut Held<'_>,
    claim: &str,
    names: &Names,
    request: &ClaimRequest,
    is_borne: &dyn Fn(&str) -> bool,
) -> Result<String, Refusal> {
    let refused = |reason: String| (ClaimRefusal::Name, reason);
    let name = match (names, &request.wanted) {
        (Names::One(name), _) => name.clone(),
        (Names::Pattern(pattern), _) => held.next_name(claim, pattern, is_borne).map_err(refused)?,
        (Names::Own, Some(wanted)) => wanted.clone(),
        (Names::Own, None) => held.next_name(claim, &own_pattern(request), is_borne).map_err(refused)?,
    };
    DeviceName::new(name.as_str()).map_err(|e| refused(e.to_string()))?;
    if let Some(wanted) = request.wanted.as_ref().filter(|wanted| **wanted != name) {
        let wanted = super::ledger::plain(wanted);
        return Err(refused(format!(
            "the device's own configuration calls it {wanted}, the claim gives {name}; take `device` out of the one, or use another claim"
        )));
    }
    if held.ledger().bearer(&name).is_some() {
        return Err(refused(format!(
            "the name {name} is granted to another device; where that is gone the operator frees it with `linnet fleet claim release {name}`"
        )));
    }
    // Whoever holds the claim chose it. A name that the claim itself gives is the operator's word, and so is one that he has freed, whose
    // device's last report may still be about.
    if matches!(names, Names::Own) && !held.ledger().is_freed(&name) && is_borne(&name) {
        return Err(refused(format!(
            "a device without a claim reports under the name {name}; choose another, or the operator makes a claim for it alone with `linnet fleet claim \
             create --name {name}`"
        )));
    }
    Ok(name)
}

/// Has the site do its part, once.
fn complete(
    held: &mut Held<'_>,
    command: Option<&GrantCommand>,
    (fleet, key): (&str, &[u8; KEY_BYTES]),
    mut granted: Granted,
) -> Result<(Granted, linnet_proto::fleet::Grant), Refusal> {
    let unavailable = |reason: String| (ClaimRefusal::Unavailable, reason);
    if granted.credentials.is_none()
        && let Some(command) = command
    {
        let given = command.run((fleet, &granted.claim), &granted.device, key, &granted.key);
        let credentials: Credentials = given.map_err(unavailable)?;
        held.give(&granted.key, credentials.clone()).map_err(|e: LedgerError| unavailable(e.to_string()))?;
        granted.credentials = Some(credentials);
    }
    let claim = held.ledger().claim(&granted.claim).map(|standing| &standing.claim);
    let grant = granted.grant(claim);
    Ok((granted, grant))
}
