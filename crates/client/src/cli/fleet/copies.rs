//! Devices that bear one name: told apart by their reports, or, where one is a copy of the other's card, by the session that each takes from the
//! other.

use std::collections::BTreeSet;

use linnet_proto::fleet::Report;
use linnet_proto::words::shortened;

use super::devices_text;
use super::seen::Seen;

/// Most characters of an instance that are shown.
const MAX_INSTANCE: usize = 64;
/// Most names that are told in sentences; all of them stand in the table, and in `--json`.
const MAX_TOLD: usize = 20;

/// What stands at a device's row, where another device may bear its name. `several`: so many reported under it.
pub(super) fn mark(report: &Report, several: usize) -> Option<String> {
    match (several, report.contested) {
        (2.., _) => Some(format!(
            "(one of {} of this name: instance {})",
            devices_text(several),
            shortened(&report.instance, MAX_INSTANCE)
        )),
        (_, true) => Some("(another client takes its session: a copy of its card?)".to_owned()),
        (_, false) => None,
    }
}

/// That several devices bear a name, with what tells them apart, and the way out.
fn several(name: &str, reports: &[Report]) -> String {
    let instances: Vec<String> = reports.iter().map(|report| shortened(&report.instance, MAX_INSTANCE)).collect();
    format!(
        "{name} is borne by several devices ({}): give each a name of its own (`device` in its linnet.toml, or a claim for each), or they fight \
         over one client id; until then the one that reported last is counted",
        instances.join(", ")
    )
}

/// That another client takes a device's session, and the way out.
fn contested(report: &Report) -> String {
    format!(
        "{} says that another client takes its session: two devices bear this name, or one mqtt.client_id; the broker's log has their addresses. \
         On a copy of a card: stop linnetd, remove identity from its state directory, start it: with a claim it asks for a name of its own, without \
         one give it another `device` in its linnet.toml",
        report.device
    )
}

/// What was told of devices that are not counted as they should be.
#[derive(Default)]
pub(super) struct Told {
    names: BTreeSet<String>,
    left_out: bool,
}

impl Told {
    /// A sentence for each name that more than one device bears, and where there was no room for all reports; what was told before is not
    /// told again.
    pub(super) fn untold(&mut self, seen: &Seen) -> Vec<String> {
        let (mut said, mut more) = (Vec::new(), 0);
        let mut tell = |name: &String, line: &dyn Fn() -> String| {
            if !self.names.contains(name) {
                self.names.insert(name.clone());
                match said.len() < MAX_TOLD {
                    true => said.push(line()),
                    false => more += 1,
                }
            }
        };
        for (name, reports) in seen.duplicates() {
            tell(name, &|| several(name, reports));
        }
        // Copies of one card: nothing but the session tells them apart.
        for report in seen.last().filter(|report| report.contested) {
            tell(&report.device, &|| contested(report));
        }
        if more > 0 {
            said.push(format!("{more} more names are borne by several devices; `linnet fleet devices --json` has all"));
        }
        if let Some(left_out) = seen.left_out_said().filter(|_| !std::mem::replace(&mut self.left_out, true)) {
            said.push(format!("left out: {left_out}"));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use linnet_proto::fleet::PushState;

    use super::super::seen;
    use super::*;

    fn report(device: &str, instance: &str, contested: bool) -> Report {
        Report { instance: instance.into(), contested, ..seen::tests::report(device, 0, PushState::Confirmed) }
    }

    #[test]
    fn each_name_that_two_bear_is_told_once_with_the_way_out() {
        let mut seen = Seen::default();
        for report in [report("hall", "a", true), report("hall", "b", false), report("attic", "c", true)] {
            seen.take("home", report);
        }
        let mut told = Told::default();
        let said = told.untold(&seen);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("hall is borne by several devices (a, b): give each"), "{said:?}");
        assert!(said[1].starts_with("attic says that") && said[1].contains("remove identity"), "{said:?}");
        assert!(told.untold(&seen).is_empty());
        for n in 0..30 {
            seen.take("home", report(&format!("copy-{n}"), "d", true));
        }
        let said = told.untold(&seen);
        assert!(said.len() == MAX_TOLD + 1 && said[MAX_TOLD].starts_with("10 more names"), "{said:?}");
    }

    #[test]
    fn what_a_device_calls_its_instance_is_cut_and_moves_no_cursor() {
        let hostile = report("hall", &format!("\u{1b}[2J\u{202e}{}", "x".repeat(15_000)), false);
        for said in [several("hall", &[hostile.clone(), hostile.clone()]), mark(&hostile, 2).unwrap_or_default()] {
            assert!(said.chars().count() < 500 && said.contains("x…") && !said.contains('\u{1b}'), "{said}");
        }
    }
}
