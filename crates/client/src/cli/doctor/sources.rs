//! Where the device looks for generations: what came of it, and what to do about a source that is of no use.

use linnet_proto::status::SourceStatus;

use super::finding::{Finding, Trouble};
use crate::cli::status::ago;

const CHECK: &str = "sources";

/// `now` in seconds since 1970. Nothing of a device that has none.
pub(super) fn judge(sources: &[SourceStatus], now: i64) -> Vec<Finding> {
    let now = u64::try_from(now).unwrap_or_default();
    if sources.is_empty() {
        return Vec::new();
    }
    // One that is of use is enough for updates.
    let is_served = sources.iter().any(|source| !source.failing && source.succeeded_secs.is_some());
    let findings: Vec<Finding> = sources.iter().filter_map(|source| of_source(source, is_served, now)).collect();
    if !findings.is_empty() {
        return findings;
    }
    let said = sources.iter().map(|source| match source.succeeded_secs {
        Some(secs) => format!("{} (well {})", source.source, ago(now, secs)),
        None => format!("{} (not asked yet: one before it answers)", source.source),
    });
    let said = said.collect::<Vec<_>>().join(", ");
    match is_served {
        true => vec![Finding::ok(CHECK, said)],
        false => vec![Finding::skipped(CHECK, "no source of generations was asked yet", "ask again in a minute")],
    }
}

fn of_source(source: &SourceStatus, is_served: bool, now: u64) -> Option<Finding> {
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
    let sentence = format!("{}: {} ({}; {well}{behind})", source.source, failed.reason, ago(now, failed.secs));
    let way_out = way_out(&failed.code, &source.source);
    Some(match is_served {
        true => Finding::warning(CHECK, sentence, way_out),
        false => Finding::wrong(CHECK, Trouble::Unavailable, sentence, way_out),
    })
}

/// What to do about a failure of this code.
fn way_out(code: &str, source: &str) -> String {
    let is_server = source.contains("://");
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
            "look at what it hands out (`curl {source}/metadata/timestamp.json`): a login page, a cache, a copy that was cut off?"
        ),
        "garbage" | "too_large" | "wrong_digest" | "digest" | "source_lied" => {
            "write that source anew (`linnet fleet export`); if it is a stick, check the stick".into()
        }
        "unreachable" if is_server => {
            format!("see from this device whether it answers (`curl -I {source}/metadata/timestamp.json`), and mend what stands between")
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
            let findings = judge(&sources, NOW as i64);
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
        let way_out =
            |name: &str, code: &str| judge(&[failing(name, code)], NOW as i64).remove(0).way_out.unwrap_or_default();
        for (name, code, says) in [
            ("mqtt", "expired", "linnet fleet refresh"),
            ("mqtt", "rollback", "old metadata"),
            ("mqtt", "wrong_keys", "fleet.root"),
            ("https://h", "missing", "linnet fleet export"),
            ("https://h", "garbage", "curl https://h/metadata/timestamp.json"),
            ("/media/stick", "garbage", "check the stick"),
            ("https://h", "unreachable", "curl -I https://h/metadata/timestamp.json"),
            ("mqtt", "unreachable", "linnet fleet push"),
            ("/media/stick", "unreachable", "fleet.sources"),
            ("https://h", "too_slow", "the link"),
            ("https://h", "source", "mend what it names"),
        ] {
            let said = way_out(name, code);
            assert!(said.contains(says), "{name}, {code}: {said}");
        }
    }
}
