//! The site's own part of a grant: a program that makes the device's account at the broker, or signs a certificate for its key.

use std::process::Command;

use linnet_proto::fleet::{Credentials, Fingerprint};
use pkcs8::LineEnding;
use pkcs8::der::Document;

use super::proof::KEY_BYTES;
use super::{GRANT_PATIENCE, MAX_GRANT_OUTPUT_BYTES};
use crate::child::{Bounds, run};

/// SubjectPublicKeyInfo (RFC 8410) around the 32 bytes of an Ed25519 key.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A grant command.
///
/// ```text
/// PROGRAM ARGUMENT … grant NAME < PUBLIC-KEY     the device's public key as PEM; in the environment LINNET_FLEET, LINNET_CLAIM and
///                                                LINNET_FINGERPRINT. It prints any of:
///     username: NAME
///     password: WORDS
///     -----BEGIN CERTIFICATE----- …              for the device's key; further certificates of its chain may follow
/// ```
///
/// It ends with 0; another code is a refusal, and the device asks again later. It is run once for each grant, and again where it was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantCommand(Vec<String>);

impl GrantCommand {
    /// Words are parted by spaces; no shell is involved.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() { Err("a grant command needs a program".into()) } else { Ok(Self(words)) }
    }

    /// Runs it; the error is one sentence.
    pub(super) fn run(
        &self,
        (fleet, claim): (&str, &str),
        name: &str,
        key: &[u8; KEY_BYTES],
        fingerprint: &Fingerprint,
    ) -> Result<Credentials, String> {
        let failed = |reason: String| format!("the grant command `{}`: {reason}", self.0.join(" "));
        let (program, arguments) = self.0.split_first().ok_or_else(|| failed("it is empty".into()))?;
        let der = [&SPKI_HEAD[..], key].concat();
        let pem = Document::try_from(der.as_slice())
            .and_then(|document| document.to_pem("PUBLIC KEY", LineEnding::LF))
            .map_err(|e| failed(e.to_string()))?;
        let mut command = Command::new(program);
        command.args(arguments).args(["grant", name]);
        command.env("LINNET_FLEET", fleet).env("LINNET_CLAIM", claim).env("LINNET_FINGERPRINT", fingerprint.as_str());
        let bounds = Bounds { wait: GRANT_PATIENCE, output: MAX_GRANT_OUTPUT_BYTES };
        parse(&run(&mut command, pem.as_bytes(), bounds).map_err(failed)?).map_err(failed)
    }
}

fn parse(printed: &str) -> Result<Credentials, String> {
    let mut credentials = Credentials::default();
    let (head, certificate) = match printed.find("-----BEGIN CERTIFICATE-----") {
        Some(begin) => (&printed[..begin], Some(printed[begin..].trim_end().to_owned() + "\n")),
        None => (printed, None),
    };
    for line in head.lines().filter(|line| !line.trim().is_empty()) {
        let place = match line.split_once(": ") {
            Some(("username", value)) => (&mut credentials.username, value),
            Some(("password", value)) => (&mut credentials.password, value),
            // Not shown: it may be the password.
            _ => return Err("it printed a line that is neither `username: …` nor `password: …`".into()),
        };
        if place.1.is_empty() || place.1.contains(char::is_control) {
            return Err("it printed a user name or password that is no single line".into());
        }
        *place.0 = Some(place.1.to_owned());
    }
    if certificate.as_ref().is_some_and(|pem| !pem.ends_with("-----END CERTIFICATE-----\n")) {
        return Err("it printed a certificate without its end".into());
    }
    Ok(Credentials { certificate, ..credentials })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(script: &str) -> Result<Credentials, String> {
        let words = ["sh", "-c", script, "grant"].map(str::to_owned).to_vec();
        let key = [7; KEY_BYTES];
        GrantCommand(words).run(("home", "c1"), "kitchen", &key, &super::super::proof::fingerprint(&key))
    }

    #[test]
    fn a_command_is_told_name_and_key_and_gives_what_it_prints() {
        let script = "read head; echo \"username: $2\"; echo \"password: $head $LINNET_FLEET $LINNET_CLAIM\"";
        let credentials = given(script).expect("runs");
        assert_eq!(credentials.username.as_deref(), Some("kitchen"));
        assert_eq!(credentials.password.as_deref(), Some("-----BEGIN PUBLIC KEY----- home c1"));
        assert_eq!(credentials.certificate, None);
        let script =
            "printf 'x\\n' > /dev/null; echo -----BEGIN CERTIFICATE-----; echo AAAA; echo -----END CERTIFICATE-----";
        let certificate = given(script).expect("runs").certificate.expect("a certificate");
        assert_eq!(certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(given("cat > /dev/null").expect("runs"), Credentials::default());
    }

    /// Runs an example for `name`, with `mosquitto_passwd`, `openssl` and `kill` played by functions.
    fn example(script: &str, dir: &std::path::Path, name: &str) -> Result<Credentials, String> {
        let played = r#"cd "$1"; script=$2; shift 2
            mosquitto_passwd() { [ "$1" = -b ]; printf '%s:hash\n' "$3" >> "$2"; }
            openssl() { printf 'username: %s\n' "${6#/CN=}"; }
            kill() { :; }
            case $script in *password*) set -- passwords acl pid "$@" ;; *) set -- authority key acl "$@" ;; esac
            . "$script""#;
        let script = format!("{}/../../config/examples/mosquitto/{script}", env!("CARGO_MANIFEST_DIR"));
        let words = ["sh", "-c", played, "sh", &dir.to_string_lossy(), &script].map(str::to_owned).to_vec();
        let key = [7; KEY_BYTES];
        GrantCommand(words).run(("home", "c1"), name, &key, &super::super::proof::fingerprint(&key))
    }

    #[test]
    fn the_examples_take_names_that_look_like_options_patterns_or_escapes() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).expect("written");
        write("passwords", "operator:hash\nlinnet--set:hash\n-own:hash\nabc:hash\n");
        write("acl", "user operator\nuser linnet--set\n");
        write("pid", "1");
        for script in ["grant-password.sh", "grant-certificate.sh"] {
            for name in ["kitchen", "-n", "-e", "--help", "-v", "a.c", "a\\npassword: b", "-n"] {
                let credentials = example(script, dir.path(), name);
                let username = credentials.as_ref().map(|it| it.username.as_deref());
                assert_eq!(username, Ok(Some(name)), "{script}: {credentials:?}");
            }
            for name in ["operator", "-set"] {
                assert!(example(script, dir.path(), name).is_err(), "{script}: {name}");
            }
        }
        assert!(example("grant-password.sh", dir.path(), "-own").is_err(), "an account that was there before");
    }

    #[test]
    fn a_command_that_breaks_the_protocol_is_named_and_its_words_are_not() {
        for (script, said) in [
            ("exit 3", "refused"),
            ("echo hunter2", "neither"),
            ("echo 'password: '", "single line"),
            ("echo -----BEGIN CERTIFICATE-----", "without its end"),
            ("head -c 40000 /dev/zero | tr '\\0' a", "more than"),
        ] {
            let e = given(script).expect_err(script);
            assert!(e.contains(said) && e.starts_with("the grant command `sh -c"), "{e}");
            assert!(!e.contains("hunter2") || script.contains("hunter2"), "{e}");
        }
        assert!(GrantCommand::parse("  ").is_err());
    }
}
