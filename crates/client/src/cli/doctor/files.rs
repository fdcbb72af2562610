//! Files that the configuration names: whether they are there, who may read them, and when certificates end.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::certificate::{self, Validity};
use super::dates;
use super::finding::{Finding, Trouble, Verdict};
use super::people::Names;
use super::settings::Settings;

const CHECK: &str = "files";
/// Largest file that certificates are read from, bytes.
const MAX_PEM_BYTES: u64 = 1 << 20;
/// How long before its end a certificate is worth a word, seconds.
const SOON_SECS: i64 = 14 * 86_400;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody else may read it.
    Secret,
    /// A chain, whose first certificate is shown to others.
    Chain,
    /// Certificates that others' are judged by.
    Authorities,
}

/// The keys that name files.
pub(super) const KEYS: [(&str, Kind); 9] = [
    ("http.token_file", Kind::Secret),
    ("http.tls_key", Kind::Secret),
    ("http.tls_cert", Kind::Chain),
    ("mqtt.password_file", Kind::Secret),
    ("mqtt.client_key", Kind::Secret),
    ("mqtt.client_cert", Kind::Chain),
    ("mqtt.ca_file", Kind::Authorities),
    ("fleet.ca_file", Kind::Authorities),
    (CLAIM, Kind::Secret),
];

/// Needed until the device has its name, and not any more: the fleet's check says which.
const CLAIM: &str = "fleet.claim";

/// What was seen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Missing,
    /// This user may not look.
    Closed,
    Failed(String),
    Found {
        uid: u32,
        mode: u32,
        bytes: u64,
        /// Certificates that count here; `None` where the file was not read for any.
        certificates: Option<Vec<Validity>>,
    },
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    pub(super) place: Place,
}

pub(super) fn look(settings: &Settings) -> Vec<Named> {
    let named = KEYS.iter().filter_map(|(key, kind)| Some((*key, *kind, settings.path(key)?)));
    named
        .map(|(key, kind, path)| Named { key, kind, place: place(&path, kind), path })
        .filter(|named| named.key != CLAIM || named.place != Place::Missing)
        .collect()
}

fn place(path: &Path, kind: Kind) -> Place {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Place::Missing,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Place::Closed,
        Err(e) => return Place::Failed(e.to_string()),
    };
    if !found.is_file() {
        return Place::Failed("it is no file".into());
    }
    let mut pem = Vec::new();
    let certificates = match kind {
        Kind::Secret => None,
        Kind::Chain | Kind::Authorities => {
            let opened = std::fs::File::open(path).and_then(|file| file.take(MAX_PEM_BYTES).read_to_end(&mut pem));
            match opened {
                Err(e) if e.kind() == ErrorKind::PermissionDenied => None,
                Err(e) => return Place::Failed(e.to_string()),
                Ok(_) if kind == Kind::Chain => Some(certificate::first_of_pem(&pem).into_iter().collect()),
                Ok(_) => Some(certificate::all_of_pem(&pem)),
            }
        }
    };
    Place::Found { uid: found.uid(), mode: found.mode() & 0o7777, bytes: found.len(), certificates }
}

/// `now` in seconds since 1970; `daemon_uid` is the user of the running daemon.
pub(super) fn judge(files: &[Named], daemon_uid: Option<u32>, names: &Names, now: i64) -> Vec<Finding> {
    if files.is_empty() {
        return vec![Finding::skipped(CHECK, "the configuration names no key, password or certificate", "")];
    }
    let mut findings: Vec<Finding> = files.iter().flat_map(|file| of_file(file, daemon_uid, names, now)).collect();
    let closed = findings.iter().filter(|finding| finding.verdict == Verdict::Skipped).count();
    if findings.len() == closed && closed < files.len() {
        let sound = files.len() - closed;
        findings.push(Finding::ok(
            CHECK,
            format!("{sound} of {} files that the configuration names are there and in order", files.len()),
        ));
    }
    findings
}

fn of_file(file: &Named, daemon_uid: Option<u32>, names: &Names, now: i64) -> Vec<Finding> {
    let at = format!("{} ({})", file.path.display(), file.key);
    let config = |sentence: String, way_out: &str| Finding::wrong(CHECK, Trouble::Config, sentence, way_out);
    let (uid, mode, bytes, certificates) = match &file.place {
        Place::Missing => {
            return vec![config(format!("{at} is not there"), "make it, or take the key out of the configuration")];
        }
        Place::Failed(why) => return vec![config(format!("{at}: {why}"), "name a file that can be read")],
        Place::Closed => {
            let sentence = format!("{at}: this user may not look at it");
            return vec![Finding::skipped(CHECK, sentence, "run `sudo linnet doctor`")];
        }
        Place::Found { uid, mode, bytes, certificates } => (*uid, *mode, *bytes, certificates),
    };
    let mut findings = Vec::new();
    if bytes == 0 {
        findings.push(config(format!("{at} is empty"), "fill it, or take the key out of the configuration"));
    }
    if file.kind == Kind::Secret && mode & 0o007 != 0 {
        findings.push(Finding::wrong(
            CHECK,
            Trouble::NotAllowed,
            format!("{at} has mode {mode:04o}: every user of this machine may use what is secret"),
            format!(
                "`chmod 640 {}` (or 600), and change what it holds if others use this machine",
                file.path.display()
            ),
        ));
    }
    if let Some(daemon) = daemon_uid.filter(|daemon| *daemon != 0 && *daemon != uid)
        // Whether the daemon is in the file's group is not asked: a member may read it.
        && mode & 0o044 == 0
    {
        findings.push(Finding::wrong(
            CHECK,
            Trouble::NotAllowed,
            format!(
                "{at} belongs to {} with mode {mode:04o}: linnetd's user {} cannot read it",
                names.user(uid),
                names.user(daemon)
            ),
            "give it to linnetd's user or group, or hand it over as a systemd credential (drop-ins/credentials.conf)",
        ));
    }
    if let Some(certificates) = certificates {
        findings.extend(of_certificates(&at, file.kind, certificates, now));
    }
    findings
}

fn of_certificates(at: &str, kind: Kind, certificates: &[Validity], now: i64) -> Option<Finding> {
    let config = |sentence: String, way_out: &str| Finding::wrong(CHECK, Trouble::Config, sentence, way_out);
    let renew = match kind {
        Kind::Authorities => "put the authority's new certificate into it, then reload linnetd",
        _ => "renew it, then reload linnetd (`systemctl reload linnetd`)",
    };
    // Of several authorities one that still counts may be the one that is needed.
    let Some(last) = certificates.iter().max_by_key(|validity| validity.until) else {
        return Some(config(format!("{at} holds no certificate that can be read"), "write one into it, as PEM"));
    };
    let expired = certificates.iter().filter(|validity| validity.until < now).count();
    // A connection does not fail for an authority's dates: it counts by its name and its key (RFC 5280, 6.1.1 d).
    let of_all = |sentence: String, way_out: &str| match kind {
        Kind::Authorities => {
            let goes_on =
                "linnetd goes on with it, since TLS looks at the dates of what it has signed and not at its own";
            Finding::warning(CHECK, format!("{sentence}; {goes_on}"), way_out)
        }
        _ => config(sentence, way_out),
    };
    if last.until < now {
        Some(of_all(format!("{at} expired on {}", dates::day(last.until)), renew))
    } else if certificates.iter().all(|validity| validity.from > now) {
        let sentence =
            format!("{at} counts from {} on, and the clock stands at {}", dates::day(last.from), dates::day(now));
        Some(of_all(sentence, "set the clock, or wait"))
    } else if expired > 0 {
        Some(Finding::warning(CHECK, format!("{at}: {expired} of {} have expired", certificates.len()), renew))
    } else if last.until - now < SOON_SECS {
        Some(Finding::warning(CHECK, format!("{at} expires on {}", dates::day(last.until)), renew))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::certificate::tests::UNTIL_2030;
    use super::super::finding::Verdict::{Ok as Fine, Skipped, Warning, Wrong};
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 20_000 * DAY;

    fn found(mode: u32, certificates: Option<Vec<(i64, i64)>>) -> Place {
        let validity = |(from, until): (i64, i64)| Validity { from: NOW + from * DAY, until: NOW + until * DAY };
        let certificates = certificates.map(|all| all.into_iter().map(validity).collect());
        Place::Found { uid: 990, mode, bytes: 40, certificates }
    }

    #[test]
    fn each_state_of_a_file_has_its_verdict_and_its_words() {
        use Kind::{Authorities, Chain, Secret};
        let names = Names::of("linnet:x:990:990::/:\nann:x:1000:1000::/:\n", "");
        let empty = Place::Found { uid: 990, mode: 0o600, bytes: 0, certificates: None };
        type Row = (Kind, Place, u32, Verdict, Option<u8>, &'static str);
        let table: [Row; 18] = [
            (Secret, found(0o600, None), 990, Fine, None, "in order"),
            (Secret, found(0o640, None), 990, Fine, None, "in order"),
            (Secret, found(0o644, None), 990, Wrong, Some(77), "0644"),
            (Secret, found(0o600, None), 1000, Wrong, Some(77), "ann cannot read it"),
            (Secret, found(0o640, None), 1000, Fine, None, "in order"),
            (Secret, found(0o600, None), 0, Fine, None, "in order"),
            (Secret, empty, 990, Wrong, Some(78), "is empty"),
            (Secret, Place::Missing, 990, Wrong, Some(78), "is not there"),
            (Secret, Place::Closed, 990, Skipped, None, "may not look"),
            (Secret, Place::Failed("it is no file".into()), 990, Wrong, Some(78), "no file"),
            (Chain, found(0o644, Some(vec![(-1, 90)])), 990, Fine, None, "in order"),
            (Chain, found(0o644, Some(vec![(-1, 13)])), 990, Warning, None, "expires on 2024-10-17"),
            (Chain, found(0o644, Some(vec![(-90, -1)])), 990, Wrong, Some(78), "expired on 2024-10-03"),
            (Chain, found(0o644, Some(vec![(1, 90)])), 990, Wrong, Some(78), "counts from 2024-10-05"),
            (Chain, found(0o644, Some(vec![])), 990, Wrong, Some(78), "no certificate"),
            (Authorities, found(0o644, Some(vec![(-9, -1), (-9, 90)])), 990, Warning, None, "1 of 2 have expired"),
            (
                Authorities,
                found(0o644, Some(vec![(-9, -1), (-9, -2)])),
                990,
                Warning,
                None,
                "expired on 2024-10-03; linnetd goes on with it",
            ),
            (Authorities, found(0o644, Some(vec![(1, 90)])), 990, Warning, None, "counts from 2024-10-05"),
        ];
        for (kind, place, uid, verdict, code, words) in table {
            let file = Named { key: "http.token_file", kind, path: "/etc/linnet/token".into(), place };
            let findings = judge(std::slice::from_ref(&file), Some(uid), &names, NOW);
            let [finding] = &findings[..] else { panic!("{file:?}: {findings:?}") };
            assert_eq!((finding.verdict, finding.code), (verdict, code), "{finding:?}");
            assert!(finding.sentence.contains(words), "{words}: {finding:?}");
        }
        assert_eq!(judge(&[], None, &names, NOW)[0].verdict, Skipped);
    }

    #[test]
    fn real_files_are_seen_with_their_mode_and_their_certificates() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
            path
        };
        let cert = write("cert.pem", UNTIL_2030, 0o644);
        let token = write("token", "secret\n", 0o600);
        let text = format!(
            "[http]\ntls_cert = {cert:?}\ntoken_file = {token:?}\ntls_key = {:?}\n[mqtt]\nca_file = {:?}\n",
            dir.path().join("missing"),
            dir.path()
        );
        let files = look(&Settings::of(&text));
        let place = |key: &str| &files.iter().find(|file| file.key == key).expect(key).place;
        assert!(
            matches!(place("http.tls_cert"), Place::Found { mode: 0o644, certificates: Some(all), .. } if all.len() == 1)
        );
        assert!(matches!(place("http.token_file"), Place::Found { mode: 0o600, bytes: 7, certificates: None, .. }));
        assert_eq!(place("http.tls_key"), &Place::Missing);
        assert!(matches!(place("mqtt.ca_file"), Place::Failed(_)));
    }
}
