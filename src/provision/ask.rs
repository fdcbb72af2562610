//! One attempt: connects with what the claim has, asks, and waits for an answer that is the operator's and to this question.

use std::path::Path;

use linnet_fleet::claims::ClaimFile;
use linnet_fleet::claims::proof::{public, sign_request, verify_answer};
use linnet_fleet::keys::FileKey;
use linnet_proto::fleet::{
    ClaimAnswer, ClaimOutcome, ClaimRequest, FLEET_WIRE, Fingerprint, FleetTopic, Grant, SignedAnswer,
};
use linnet_proto::topic::FleetName;

use super::bounds::ANSWER_PATIENCE;
use super::{Fault, machine};
use crate::config::fleet::ProvisionSettings;
use crate::config::transport::{IntakeSettings, MqttSettings, TlsFiles};
use crate::transport::mqtt::exchange::BrokerExchange;

/// Where systemd keeps the machine's id.
const MACHINE_ID: &str = "/etc/machine-id";

/// What is asked with.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) claim: &'a ClaimFile,
    /// Where the authorities of the broker's certificate lie.
    pub(super) authorities: &'a Path,
    pub(super) key: &'a FileKey,
    pub(super) settings: &'a ProvisionSettings,
}

pub(super) async fn ask(asked: Asked<'_>, intake: IntakeSettings) -> Result<Grant, Fault> {
    let Asked { claim, key, settings, .. } = asked;
    let fleet = FleetName::new(claim.fleet.as_str()).map_err(|e| Fault::Own(e.to_string()))?;
    let fingerprint = super::fingerprint(key);
    let request = ClaimRequest {
        wire: FLEET_WIRE,
        fleet: claim.fleet.clone(),
        claim: claim.claim.clone(),
        key: hex::encode(public(key.pair())),
        nonce: format!("{:032x}", rand::random::<u128>()),
        wanted: settings.wanted.clone(),
        machine: machine::digest(Path::new(MACHINE_ID)),
        linnetd: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let signed = sign_request(&request, &claim.key().map_err(Fault::Own)?, key.pair());
    let payload = serde_json::to_vec(&signed).map_err(|e| Fault::Own(e.to_string()))?;
    let operator = claim.operator_key().map_err(Fault::Own)?;
    let to = FleetTopic::ClaimRequest { fleet: fleet.clone(), key: fingerprint.clone() }.to_string();
    let answers = FleetTopic::ClaimAnswer { fleet, key: fingerprint.clone() }.to_string();
    let link = link(asked, &fingerprint);
    let login = claim.username.clone().map(|user| (user, claim.password.clone().unwrap_or_default()));
    let exchange = BrokerExchange::of_claim(link, intake, login).map_err(|e| Fault::Own(format!("the claim: {e}")))?;
    let answered = exchange.ask_once(&to, &answers, payload.into(), ANSWER_PATIENCE, |payload| {
        let answer = read(payload, &operator, &request.nonce, &fingerprint);
        answer.inspect_err(|why| log::debug!("provisioning: an answer is passed over: {why}")).ok()
    });
    let answered = answered.await;
    exchange.close().await;
    match answered.map_err(|e| Fault::Unanswered(e.to_string()))?.outcome {
        ClaimOutcome::Granted(grant) => Ok(grant),
        ClaimOutcome::Refused { code, reason } => Err(Fault::Refused(code, plain(&reason))),
    }
}

/// The answer, if it is the operator's and to this request.
fn read(payload: &[u8], operator: &[u8; 32], nonce: &str, to: &Fingerprint) -> Result<ClaimAnswer, String> {
    let signed = SignedAnswer::parse(payload)?;
    verify_answer(&signed, operator).map_err(|e| e.to_string())?;
    let answer = signed.answer()?;
    if answer.nonce != nonce || answer.to != *to {
        return Err("it answers another request".into());
    }
    Ok(answer)
}

/// How the connection is made.
fn link(asked: Asked<'_>, fingerprint: &Fingerprint) -> MqttSettings {
    let Asked { claim, authorities, settings, .. } = asked;
    let files = claim.client_cert.clone().zip(claim.client_key.clone());
    MqttSettings {
        url: claim.url.clone(),
        // Nobody's name; no topic is made of it.
        device: format!("claim-{fingerprint}"),
        // The broker's rules can be made by it: who asks reads nobody else's answer.
        client_id: fingerprint.to_string(),
        ca_file: claim.ca.as_ref().map(|_| authorities.to_owned()),
        client_cert: files.map(|(cert, key)| TlsFiles { cert, key }),
        ..settings.link.clone()
    }
}

/// The operator's words, for a log.
fn plain(text: &str) -> String {
    linnet_proto::words::plain(text, 400)
}

#[cfg(test)]
mod tests {
    use linnet_fleet::claims::proof::sign_answer;
    use linnet_fleet::keys::generate;

    use super::*;

    #[test]
    fn only_the_operators_answer_to_this_very_question_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = |name: &str| {
            let path = dir.path().join(name);
            generate(&path, None).expect("made");
            FileKey::open(&path, &|_| unreachable!()).expect("opens")
        };
        let (operator, other) = (key("operator"), key("other"));
        let (mine, theirs) = (super::super::fingerprint(&operator), super::super::fingerprint(&other));
        let refused =
            ClaimOutcome::Refused { code: linnet_proto::fleet::ClaimRefusal::UsedUp, reason: "used up".into() };
        let answer = |nonce: &str, to: &Fingerprint| ClaimAnswer {
            wire: 1,
            fleet: "home".into(),
            to: to.clone(),
            nonce: nonce.into(),
            outcome: refused.clone(),
        };
        let public = public(operator.pair());
        let read = |answer: &ClaimAnswer, by: &FileKey| {
            let payload = serde_json::to_vec(&sign_answer(answer, by.pair())).expect("JSON");
            super::read(&payload, &public, "now", &mine)
        };
        assert_eq!(read(&answer("now", &mine), &operator), Ok(answer("now", &mine)));
        assert!(read(&answer("now", &mine), &other).expect_err("a stranger's").contains("not signed"));
        assert!(read(&answer("yesterday", &mine), &operator).expect_err("replayed").contains("another request"));
        assert!(read(&answer("now", &theirs), &operator).expect_err("another's").contains("another request"));
        super::read(b"{}", &public, "now", &mine).expect_err("no answer");
    }
}
