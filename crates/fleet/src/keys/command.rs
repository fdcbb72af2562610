//! Keys that stay where they are (a PKCS#11 token, a cloud's key service, a machine without network): a command signs.

use std::process::Command;
use std::time::Duration;

use tough::schema::key::Key;

use super::{KeyError, Signer};
use crate::child::{self, Bounds};

/// How long a command may take: a person finds the token and touches it.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// Most bytes that are read of what it prints: a public RSA key of 8192 bits, or a signature by one, with room.
const MAX_OUTPUT_BYTES: u64 = 8 << 10;

/// A key behind a command.
///
/// ```text
/// COMMAND … public            prints the public key: 64 hexadecimal digits (Ed25519), or PEM (RSA for rsassa-pss-sha256,
///                             ECDSA P-256 for ecdsa-sha2-nistp256)
/// COMMAND … sign < BYTES      prints the signature of the bytes in hexadecimal digits (ECDSA: DER)
/// ```
///
/// It ends with 0; another code is a refusal. What it writes to standard error reaches the terminal. It has two minutes.
#[derive(Debug)]
pub struct CommandKey {
    words: Vec<String>,
    public: Key,
}

impl CommandKey {
    /// Asks for the public key.
    pub fn open(words: &[String]) -> Result<Self, KeyError> {
        let printed = run(words, "public", &[])?;
        let public = printed.trim().parse().map_err(|_| {
            failed(
                words,
                "`public` printed neither 64 hexadecimal digits (Ed25519) nor a public key as PEM (RSA, P-256)",
            )
        })?;
        Ok(Self { words: words.to_vec(), public })
    }
}

impl Signer for CommandKey {
    fn public(&self) -> &Key {
        &self.public
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        let printed = run(&self.words, "sign", bytes)?;
        hex::decode(printed.trim())
            .map_err(|e| failed(&self.words, &format!("`sign` did not print a signature in hexadecimal digits: {e}")))
    }
}

fn failed(words: &[String], reason: &str) -> KeyError {
    KeyError::Command { command: words.join(" "), reason: reason.to_owned() }
}

fn run(words: &[String], verb: &str, input: &[u8]) -> Result<String, KeyError> {
    let (program, arguments) = words.split_first().ok_or_else(|| failed(words, "it is empty"))?;
    let bounds = Bounds { wait: MAX_WAIT, output: MAX_OUTPUT_BYTES };
    child::run(Command::new(program).args(arguments).arg(verb), input, bounds)
        .map_err(|reason| failed(words, &format!("`{verb}`: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script, "key"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_command_gives_its_public_key_and_signs_what_comes_on_its_standard_input() {
        let public = "ab".repeat(32);
        let words = shell(&format!("case $1 in public) echo {public};; sign) od -An -v -tx1 | tr -d ' \\n';; esac"));
        let key = CommandKey::open(&words).expect("opens");
        assert_eq!(key.public(), &public.parse::<Key>().expect("a key"));
        assert_eq!(key.sign(b"to be signed").expect("signs"), b"to be signed");
    }

    #[test]
    fn a_command_that_breaks_the_protocol_is_named() {
        for (script, said) in [
            ("exit 3", "refused"),
            ("echo rubbish", "64 hexadecimal digits"),
            ("head -c 9000 /dev/zero | tr '\\0' a", "more than"),
            ("printf '\\377'", "no text"),
        ] {
            let e = CommandKey::open(&shell(script)).expect_err(script).to_string();
            assert!(e.contains(said) && e.contains("sh -c"), "{e}");
        }
        let e = CommandKey::open(&["/nowhere/key".to_owned()]).expect_err("absent").to_string();
        assert!(e.contains("/nowhere/key") && e.contains("cannot be started"), "{e}");
        let half = shell(&format!("case $1 in public) echo {};; sign) echo xyz;; esac", "ab".repeat(32)));
        let e = CommandKey::open(&half).expect("opens").sign(b"x").expect_err("no signature").to_string();
        assert!(e.contains("hexadecimal"), "{e}");
    }
}
