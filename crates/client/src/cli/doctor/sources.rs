//! Where the device looks for generations: what came of it, and what to do about a source that is of no use.

use std::path::Path;

use linnet_proto::status::SourceStatus;
use linnet_proto::words::without_login;

use super::finding::{Finding, Trouble};
use crate::cli::at_rest::{AtRest, is_of_use};
use crate::cli::quoting::quoted;
use crate::cli::status::ago;

const CHECK: &str = "sources";

/// `now` in seconds since 1970, `ca` the authorities that servers are verified by. Nothing of a device that has no sources.
pub(super) fn judge(sources: &[SourceStatus], ca: Option<&Path>, now: i64) -> Vec<Finding> {
    let now = u64::try_from(now).unwrap_or_default();
    if sources.is_empty() {
        return Vec::new();
    }
    // One that is of use is enough for updates.
    let is_served = sources.iter().any(is_of_use);
    let (at_rest, others): (Vec<_>, Vec<_>) = sources.iter().partition(|source| AtRest::of(source, sources).is_some());
    let findings: Vec<Finding> = others.iter().filter_map(|source| of_source(source, ca, is_served, now)).collect();
    if !findings.is_empty() {
        return findings;
    }
    let said = sources.iter().map(|source| {
        let well = source.succeeded_secs.map(|secs| format!("well {}", ago(now, secs)));
        let how = match (AtRest::of(source, sources), well) {
            (Some(at_rest), well) => {
                [Some(at_rest.words().to_owned()), well].into_iter().flatten().collect::<Vec<_>>().join("; ")
            }
            (None, Some(well)) => well,
            (None, None) => "not asked yet: one before it answers".to_owned(),
        };
        format!("{} ({how})", without_login(&source.source))
    });
    let said = said.collect::<Vec<_>>().join(", ");
    match is_served || at_rest.iter().any(|source| source.succeeded_secs.is_some()) {
        true => vec![Finding::ok(CHECK, said)],
        false if !at_rest.is_empty() => {
            vec![Finding::skipped(
                CHECK,
                said,
                "put it there when it has something to give; where it should be there, look at fleet.sources",
            )]
        }
        false => vec![Finding::skipped(CHECK, "no source of generations was asked yet", "ask again in a minute")],
    }
}

fn of_source(source: &SourceStatus, ca: Option<&Path>, is_served: bool, now: u64) -> Option<Finding> {
    let failed = source.failed.as_ref()?;
    let set_back = source.set_back_until_secs.filter(|until| *until > now);
    if !source.failing && set_back.is_none() {
        return None;
    }
    let well = match source.succeeded_secs {
        Some(secs) => format!("it was well {}", ago(now, secs)),
        None => "it was of no use since linnetd started".to_owned(),
    };
    let behind = set_back.map_or("", |_| "; the others are asked before it for now");
    let name = without_login(&source.source);
    let sentence = format!("{name}: {} ({}; {well}{behind})", failed.reason, ago(now, failed.secs));
    let way_out = way_out(&failed.code, &source.source, ca);
    Some(match is_served {
        true => Finding::warning(CHECK, sentence, way_out),
        false => Finding::wrong(CHECK, Trouble::Unavailable, sentence, way_out),
    })
}

/// What to do about a failure of this code.
fn way_out(code: &str, source: &str, ca: Option<&Path>) -> String {
    let is_server = source.contains("://");
    let curl = |options: &str| curl(options, source, ca);
    match code {
        "expired" => "have the operator run `linnet fleet refresh` (its timer does so each day) and publish or export; if this \
                      device's clock is wrong, set it"
            .into(),
        "rollback" => "bring that source up to date (`linnet fleet export`); if it is, somebody shows old metadata in their place".into(),
        "wrong_keys" | "below_threshold" | "unsigned" | "shape" | "extraneous" | "other_generation" => {
            "look whether it is this fleet's repository, and whether fleet.root is a root.json of it; if both are, somebody \
             else has written there"
                .into()
        }
        "missing" | "not_there" | "mix_and_match" => {
            "bring that source up to date as a whole (`linnet fleet export`), and let no cache keep timestamp.json".into()
        }
        "garbage" | "too_large" | "wrong_digest" | "digest" | "source_lied" if is_server => format!(
            "look at what it hands out (`{}`): a login page, a cache, a copy that was cut off?",
            curl("-sS")
        ),
        "garbage" | "too_large" | "wrong_digest" | "digest" | "source_lied" => {
            "write that source anew (`linnet fleet export`); if it is a stick, check the stick".into()
        }
        "unreachable" if is_server => {
            format!("see from this device whether it answers (`{}`), and mend what stands between", curl("-sSD - -o /dev/null"))
        }
        "unreachable" if source == "mqtt" => {
            "have `linnet fleet push` or `serve` publish there, and look at the check of the broker".into()
        }
        "unreachable" => "put the directory there, or take it out of fleet.sources".into(),
        "too_slow" => "look after the link to it; where another source is faster, name that one first in fleet.sources".into(),
        "scratch" => "make room on this device's disk, and let linnetd write to its temporary directory".into(),
        "own_state" => "restart linnetd: trust begins again at fleet.root".into(),
        _ => "mend what it names; linnetd asks again by itself".into(),
    }
}

/// Asks a server as the device does: by GET, since not every server answers HEAD, past every proxy, and verified by the same authorities. A login,
/// which no source may have, is left out.
fn curl(options: &str, source: &str, ca: Option<&Path>) -> String {
    let (scheme, address) = source.split_once("://").unwrap_or(("https", source));
    let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let url = format!("{scheme}://{host}{}/metadata/timestamp.json", path.trim_end_matches('/'));
    let ca = match ca.filter(|_| scheme.eq_ignore_ascii_case("https")) {
        Some(file) => format!(" --cacert {}", quoted(&file.display().to_string())),
        None => String::new(),
    };
    format!("curl -g {options} --noproxy '*'{ca} {}", quoted(&url))
}

#[cfg(test)]
mod tests {
    use linnet_proto::status::SourceFailure;

    use super::super::finding::Verdict::{self, Ok as Fine, Skipped, Warning, Wrong};
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn source(name: &str) -> SourceStatus {
        SourceStatus { source: name.into(), ..SourceStatus::default() }
    }

    fn well(name: &str) -> SourceStatus {
        SourceStatus { succeeded_secs: Some(NOW - 300), ..source(name) }
    }

    fn failing(name: &str, code: &str) -> SourceStatus {
        let failed = Some(SourceFailure { secs: NOW - 60, code: code.into(), reason: "its very words".into() });
        SourceStatus { failing: true, failed, ..source(name) }
    }

    #[test]
    fn each_state_of_the_sources_has_its_verdict_and_its_words() {
        let (web, stick) = ("https://updates.example/home", "/media/stick");
        let set_back = SourceStatus { failing: false, set_back_until_secs: Some(NOW + 60), ..failing(web, "too_slow") };
        let was_set_back = SourceStatus { set_back_until_secs: Some(NOW - 1), ..set_back.clone() };
        let recovered = SourceStatus { failing: false, succeeded_secs: Some(NOW), ..failing(web, "expired") };
        let was_well = SourceStatus { succeeded_secs: Some(NOW - 300), ..failing(web, "expired") };
        type Row = (Vec<SourceStatus>, Vec<(Verdict, &'static str)>);
        let table: [Row; 8] = [
            (vec![], vec![]),
            (vec![source(web)], vec![(Skipped, "asked yet")]),
            (
                vec![well(web), source(stick)],
                vec![(Fine, "https://updates.example/home (well 5 min 0 s ago), /media/stick (not asked yet")],
            ),
            (
                vec![failing(web, "expired")],
                vec![(Wrong, "https://updates.example/home: its very words (1 min 0 s ago; it was of no use since")],
            ),
            (
                vec![was_well, failing(stick, "missing")],
                vec![(Wrong, "it was well 5 min 0 s ago"), (Wrong, "/media/stick: its very")],
            ),
            (vec![failing(web, "unreachable"), well(stick)], vec![(Warning, "its very words")]),
            (vec![set_back, well(stick)], vec![(Warning, "the others are asked before it for now")]),
            (vec![recovered, was_set_back, well(stick)], vec![(Fine, "/media/stick (well")]),
        ];
        for (sources, expected) in table {
            let findings = judge(&sources, None, NOW as i64);
            assert_eq!(findings.len(), expected.len(), "{findings:?}");
            for (finding, (verdict, words)) in findings.iter().zip(expected) {
                assert_eq!(finding.verdict, verdict, "{finding:?}");
                assert!(finding.sentence.contains(words), "{words}: {finding:?}");
                assert!(finding.sentence.matches("its very words").count() <= 1, "{finding:?}");
            }
        }
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let way_out = |name: &str, code: &str| {
            judge(&[failing(name, code)], None, NOW as i64).remove(0).way_out.unwrap_or_default()
        };
        for (name, code, says) in [
            ("mqtt", "expired", "linnet fleet refresh"),
            ("mqtt", "rollback", "old metadata"),
            ("mqtt", "wrong_keys", "fleet.root"),
            ("https://h", "missing", "linnet fleet export"),
            ("https://h", "garbage", "curl -g -sS --noproxy '*' https://h/metadata/timestamp.json`"),
            ("/media/stick", "garbage", "check the stick"),
            (
                "https://h",
                "unreachable",
                "curl -g -sSD - -o /dev/null --noproxy '*' https://h/metadata/timestamp.json`",
            ),
            ("mqtt", "unreachable", "linnet fleet push"),
            ("/media/stick", "unreachable", "fleet.sources"),
            ("https://h", "too_slow", "the link"),
            ("https://h", "source", "mend what it names"),
        ] {
            let said = way_out(name, code);
            assert!(said.contains(says), "{name}, {code}: {said}");
        }
    }

    #[test]
    fn a_directory_that_is_at_rest_is_no_trouble() {
        let away = SourceFailure {
            secs: NOW - 60,
            code: "unreachable".into(),
            reason: linnet_fleet::source::NO_DIRECTORY.into(),
        };
        let stick = SourceStatus { failing: true, failed: Some(away), ..source("/media/stick") };
        let judged = |sources: &[SourceStatus]| judge(sources, None, NOW as i64).remove(0);
        let beside = judged(&[well("mqtt"), stick.clone()]);
        assert!(
            beside.verdict == Fine && beside.sentence.contains("/media/stick (not there now; looked"),
            "{beside:?}"
        );
        assert_eq!(judged(&[SourceStatus { succeeded_secs: Some(NOW - 300), ..stick.clone() }]).verdict, Fine);
        let alone = judged(std::slice::from_ref(&stick));
        assert!(alone.verdict == Skipped && alone.way_out.is_some_and(|way| way.contains("fleet.sources")));
        // What is wrong elsewhere is told all the same, and the stick not for it.
        let findings = judge(&[failing("mqtt", "expired"), stick], None, NOW as i64);
        assert!(findings.len() == 1 && findings[0].verdict == Wrong, "{findings:?}");
    }

    #[test]
    fn what_is_to_be_copied_verifies_as_the_device_does_and_holds_no_login() {
        let ca = Path::new("/etc/linnet/my ca.crt");
        let said = curl("-sS", "https://ann:pa@ss@h:8443/a b", Some(ca));
        let url = "'https://h:8443/a b/metadata/timestamp.json'";
        assert_eq!(said, format!("curl -g -sS --noproxy '*' --cacert '/etc/linnet/my ca.crt' {url}"));
        assert!(!curl("-sS", "http://h/x", Some(ca)).contains("--cacert"), "nobody is verified there");
        let told = judge(&[failing("https://ann:secret@h", "source")], None, NOW as i64).remove(0);
        assert!(!told.sentence.contains("secret"), "{told:?}");
    }

    #[test]
    fn what_is_to_be_copied_runs_in_a_shell_and_gets_what_the_device_would() {
        use std::io::{BufRead, BufReader, Write};
        if std::process::Command::new("curl").arg("--version").output().is_err() {
            eprintln!(
                "SKIPPED what_is_to_be_copied_runs_in_a_shell: `curl` is not installed (Debian: apt-get install curl)"
            );
            assert!(std::env::var("LINNET_TEST_REQUIRE").as_deref() != Ok("all"), "curl is required");
            return;
        }
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let source = format!("http://ann:secret@{}/a{{1,2}}'s[home]", server.local_addr().expect("its address"));
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("somebody asks");
            let lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").expect("answered");
            head
        });
        let mut shell = std::process::Command::new("sh");
        let said = shell.arg("-c").arg(curl("-sS", &source, None)).env("http_proxy", "http://127.0.0.1:1").output();
        let said = said.expect("a shell");
        assert!(said.status.success() && said.stdout == b"{}", "{said:?}");
        let head = asked.join().expect("it was asked");
        assert!(head[0].starts_with("GET /a{1,2}'s") && head[0].contains("[home]/metadata/timestamp.json"), "{head:?}");
        assert!(head.iter().all(|line| !line.to_ascii_lowercase().starts_with("authorization")), "{head:?}");
    }
}
