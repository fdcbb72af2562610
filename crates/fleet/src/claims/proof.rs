//! What is signed in a request for a name and in its answer, and how both are verified.

use linnet_proto::fleet::{ClaimAnswer, ClaimRequest, Fingerprint, SignedAnswer, SignedRequest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

/// What goes before the bytes that are signed, so that no signature can be taken for another statement's.
const REQUEST: &[u8] = b"linnet claim request, form 1\0";
/// See [`REQUEST`].
const ANSWER: &[u8] = b"linnet claim answer, form 1\0";

/// Bytes of a public key, of a claim's secret, and of what is random here.
pub const KEY_BYTES: usize = 32;

/// Why a signature is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It is not the claim's.
    #[error("the signature is not the claim's: the secret in the device's claim is another")]
    Claim,
    /// It is not by the device's key.
    #[error("the signature is not by the key that the request names")]
    Key,
    /// It is not by the operator's key.
    #[error("the answer is not signed by the key that the claim names")]
    Operator,
}

/// The fingerprint of a public key.
pub fn fingerprint(public_key: &[u8]) -> Fingerprint {
    let digest = hex::encode(&Sha256::digest(public_key)[..16]);
    // 32 lower-case digits by construction.
    Fingerprint::new(digest).unwrap_or_else(|_| unreachable!("a digest in hexadecimal digits"))
}

/// A public key, or another value of 32 bytes, from its hexadecimal digits.
pub fn key_of_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// The public half of a key.
pub fn public(pair: &Ed25519KeyPair) -> [u8; KEY_BYTES] {
    let mut public = [0; KEY_BYTES];
    public.copy_from_slice(pair.public_key().as_ref());
    public
}

fn sign(pair: &Ed25519KeyPair, what: &[u8], body: &str) -> String {
    hex::encode(pair.sign(&[what, body.as_bytes()].concat()))
}

fn is_signed(key: &[u8; KEY_BYTES], what: &[u8], body: &str, signature: &str) -> bool {
    let Ok(signature) = hex::decode(signature) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(&[what, body.as_bytes()].concat(), &signature).is_ok()
}

/// Signs a request by the claim's key and the device's.
pub fn sign_request(request: &ClaimRequest, claim: &Ed25519KeyPair, device: &Ed25519KeyPair) -> SignedRequest {
    let body = serde_json::to_string(request).unwrap_or_default();
    SignedRequest { by_claim: sign(claim, REQUEST, &body), by_key: sign(device, REQUEST, &body), body }
}

/// Verifies that a request is by the device `key` and by the claim whose public half is `claim`.
pub fn verify_request(
    signed: &SignedRequest,
    key: &[u8; KEY_BYTES],
    claim: &[u8; KEY_BYTES],
) -> Result<(), ProofError> {
    if !is_signed(key, REQUEST, &signed.body, &signed.by_key) {
        return Err(ProofError::Key);
    }
    if is_signed(claim, REQUEST, &signed.body, &signed.by_claim) { Ok(()) } else { Err(ProofError::Claim) }
}

/// Signs an answer.
pub fn sign_answer(answer: &ClaimAnswer, operator: &Ed25519KeyPair) -> SignedAnswer {
    let body = serde_json::to_string(answer).unwrap_or_default();
    SignedAnswer { by_operator: sign(operator, ANSWER, &body), body }
}

/// Verifies that an answer is the operator's, whose public key the claim names.
pub fn verify_answer(signed: &SignedAnswer, operator: &[u8; KEY_BYTES]) -> Result<(), ProofError> {
    if is_signed(operator, ANSWER, &signed.body, &signed.by_operator) { Ok(()) } else { Err(ProofError::Operator) }
}
