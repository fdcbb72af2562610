//! The machinery of versions, by steps that exist for these tests alone.

use toml::Value;

use super::*;

/// Minutes became seconds, a key moved, one came and one went.
const STEPS: &[Step] = &[
    Step {
        name: "durations are seconds",
        changes: &[
            Change::Renamed { old: "limits.max_audio_minutes", new: "limits.max_audio_secs" },
            Change::Rewritten { key: "limits.max_audio_secs", forward: to_secs, back: to_minutes },
        ],
    },
    Step {
        name: "uploads",
        changes: &[
            Change::Added { key: "limits.max_upload_total_mib" },
            Change::Removed { key: "http.compress", instead: "answers are never compressed; leave it out" },
        ],
    },
];

fn to_secs(minutes: &Value) -> Result<Value, String> {
    let minutes = minutes.as_integer().ok_or("expected a whole number of minutes")?;
    minutes.checked_mul(60).map(Value::Integer).ok_or_else(|| "so many minutes are no time".to_owned())
}

fn to_minutes(secs: &Value) -> Result<Value, String> {
    match secs.as_integer() {
        Some(secs) if secs % 60 == 0 => Ok(Value::Integer(secs / 60)),
        _ => Err("no whole number of minutes, which is all that the older version can say".to_owned()),
    }
}

fn settings(given: &[(&str, i64)]) -> Vec<Setting> {
    let line = |n: usize| n + 1;
    given.iter().enumerate().map(|(n, (path, value))| Setting::new(*path, Value::Integer(*value), line(n))).collect()
}

#[test]
fn every_step_has_a_name_and_todays_version_is_behind_the_last() {
    assert_eq!(CURRENT as usize, OLDEST as usize + super::STEPS.len());
    assert!(super::STEPS.iter().chain(STEPS).all(|step| !step.name.is_empty() && !step.changes.is_empty()));
}

#[test]
fn an_older_text_is_brought_forward_with_its_lines() {
    let mut old = settings(&[("log", 1), ("limits.max_audio_minutes", 4)]);
    along(&mut old, 1, 3, STEPS).expect("it can be said");
    assert_eq!(old, settings(&[("log", 1), ("limits.max_audio_secs", 240)]));
}

#[test]
fn the_way_back_leads_to_where_the_way_forward_began() {
    for given in [&[("limits.max_audio_minutes", 4)][..], &[("log", 1)], &[]] {
        for to in 1..=3 {
            let mut there = settings(given);
            along(&mut there, 1, to, STEPS).expect("forward");
            along(&mut there, to, 1, STEPS).expect("back");
            assert_eq!(there, settings(given), "over version {to}");
        }
    }
}

#[test]
fn what_the_other_version_cannot_say_is_refused_with_line_key_and_step() {
    let refused =
        |given: &[(&str, i64)], from, to| along(&mut settings(given), from, to, STEPS).expect_err("a refusal");
    let (line, key, why) = refused(&[("log", 1), ("limits.max_audio_secs", 61)], 2, 1);
    assert_eq!((line, key.as_str()), (2, "limits.max_audio_secs"));
    assert!(why.contains("(durations are seconds)") && why.contains("minutes"), "{why}");
    let (_, key, why) = refused(&[("http.compress", 1)], 2, 3);
    assert!(key == "http.compress" && why.contains("never compressed"), "{why}");
    let (_, key, _) = refused(&[("limits.max_upload_total_mib", 1)], 3, 2);
    assert_eq!(key, "limits.max_upload_total_mib");
    let (_, _, why) = refused(&[("limits.max_audio_secs", 60)], 1, 2);
    assert!(why.contains("called limits.max_audio_minutes"), "{why}");
}

#[test]
fn a_version_that_is_not_known_is_refused_by_its_number() {
    let refused = |from, steps| along(&mut Vec::new(), from, 1, steps).expect_err("a refusal").2;
    assert!(refused(4, STEPS).contains("version 4") && refused(4, STEPS).contains("up to 3"));
    let newer = to_current(&mut Vec::new(), CURRENT + 1).expect_err("a refusal").2;
    assert!(newer.contains(&format!("version {}", CURRENT + 1)) && newer.contains("update linnetd first"), "{newer}");
    assert!(to_current(&mut Vec::new(), 0).expect_err("a refusal").2.contains("no version 0"));
}
