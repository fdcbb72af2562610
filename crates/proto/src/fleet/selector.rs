//! Which devices are meant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FLEET_WIRE, Rollout, millionths_of_percent, percent_of_millionths};

/// A choice of devices. Every part that is given must hold; an empty selector means every device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Names; any of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub devices: BTreeSet<String>,
    /// Groups; any of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Labels and their values; all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Names that are left out whatever else holds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<String>,
    /// Storage that must be free, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_free_mib: Option<u64>,
    /// A share of the fleet, millionths: devices whose bucket is below this, of [`Rollout::BUCKETS`]. The hash is that of the waves under a salt
    /// of its own (`linnet_fleet::means`). It is a share of all devices and not of those that the other parts mean, so that each can
    /// answer for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
}

/// Version of the forms that can say a share.
const SHARE_WIRE: u32 = 2;

/// What a device knows of itself and a selector asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// Its name.
    pub name: String,
    /// Groups that its own configuration puts it in.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// Labels of its own configuration.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Free storage where generations are kept, MiB.
    #[serde(default)]
    pub free_mib: u64,
}

impl Selector {
    /// Whether the device is meant; `bucket` is the one that its name falls into, asked for where a share decides.
    pub fn means(&self, device: &DeviceFacts, bucket: impl FnOnce() -> u32) -> bool {
        (self.devices.is_empty() || self.devices.contains(&device.name))
            && (self.groups.is_empty() || !self.groups.is_disjoint(&device.groups))
            && self.labels.iter().all(|(label, value)| device.labels.get(label) == Some(value))
            && !self.except.contains(&device.name)
            && self.min_free_mib.is_none_or(|least| device.free_mib >= least)
            && self.share.is_none_or(|share| bucket() < share)
    }

    /// The version of a form that holds this: the oldest that can say it, so that devices with an older `linnetd` read all that they can, and
    /// refuse the rest by that number instead of taking it for more devices than are meant.
    pub fn wire(&self) -> u32 {
        if self.share.is_some() { SHARE_WIRE } else { FLEET_WIRE }
    }

    /// The rules that need no device; a fault is one sentence.
    pub fn check(&self) -> Result<(), String> {
        match self.share {
            Some(share) if !(1..=Rollout::BUCKETS).contains(&share) => {
                Err(format!("a share of {share} millionths; it is 1 to {}", Rollout::BUCKETS))
            }
            _ => Ok(()),
        }
    }

    /// Reads what `--to` takes: `all`, or parts joined by commas: `device=NAME`, `group=NAME`, `label:NAME=VALUE`, `not=NAME`,
    /// `free=MIB`, `percent=NUMBER`; several of one kind add to its choice, but for the last two.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut selector = Self::default();
        if text.trim() == "all" {
            return Ok(selector);
        }
        for part in text.split(',').map(str::trim) {
            let way_out = "expected `all`, or device=NAME, group=NAME, label:NAME=VALUE, not=NAME, free=MIB, percent=NUMBER, joined \
                           by commas";
            let Some((key, value)) = part.split_once('=').filter(|(_, value)| !value.is_empty()) else {
                return Err(format!("`{part}` chooses nothing; {way_out}"));
            };
            match (key, key.strip_prefix("label:")) {
                ("device", _) => drop(selector.devices.insert(value.to_owned())),
                ("group", _) => drop(selector.groups.insert(value.to_owned())),
                ("not", _) => drop(selector.except.insert(value.to_owned())),
                ("free", _) => {
                    let mib = value.parse().map_err(|_| format!("free={value}: expected a whole number of MiB"))?;
                    selector.min_free_mib = Some(mib);
                }
                ("percent", _) if selector.share.is_some() => {
                    return Err(format!("`{part}`: expected percent= once"));
                }
                ("percent", _) => {
                    let share = millionths_of_percent(value).filter(|share| *share > 0).ok_or_else(|| {
                        format!("percent={value}: expected a number above 0 and up to 100, such as 10 or 0.5")
                    })?;
                    selector.share = Some(share);
                }
                (_, Some(label)) if !label.is_empty() => {
                    drop(selector.labels.insert(label.to_owned(), value.to_owned()))
                }
                _ => return Err(format!("`{part}` is not known; {way_out}")),
            }
        }
        // All of them is no share: older devices can read that.
        selector.share = selector.share.filter(|share| *share < Rollout::BUCKETS);
        Ok(selector)
    }
}

/// As [`Selector::parse`] takes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = self.devices.iter().map(|name| format!("device={name}"));
        let groups = self.groups.iter().map(|name| format!("group={name}"));
        let labels = self.labels.iter().map(|(label, value)| format!("label:{label}={value}"));
        let except = self.except.iter().map(|name| format!("not={name}"));
        let free = self.min_free_mib.iter().map(|mib| format!("free={mib}"));
        let share = self.share.iter().map(|share| format!("percent={}", percent_of_millionths(*share)));
        let parts: Vec<String> = devices.chain(groups).chain(labels).chain(except).chain(free).chain(share).collect();
        if parts.is_empty() { f.write_str("all") } else { f.write_str(&parts.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kitchen() -> DeviceFacts {
        DeviceFacts {
            name: "kitchen".into(),
            groups: ["beta".to_owned(), "ground".to_owned()].into(),
            labels: [("board".to_owned(), "pi4".to_owned())].into(),
            free_mib: 100,
        }
    }

    #[test]
    fn every_part_that_is_given_must_hold() {
        for (text, meant) in [
            ("all", true),
            ("device=kitchen", true),
            ("device=attic,device=kitchen", true),
            ("device=attic", false),
            ("group=beta", true),
            ("group=alpha", false),
            ("group=beta,label:board=pi4", true),
            ("group=beta,label:board=pi5", false),
            ("group=beta,not=kitchen", false),
            ("free=100", true),
            ("free=101", false),
            ("percent=10", true),
            ("percent=9.9999", false),
            ("percent=100", true),
            ("percent=10,group=alpha", false),
            ("percent=9,group=beta", false),
        ] {
            assert_eq!(Selector::parse(text).expect(text).means(&kitchen(), || 99_999), meant, "{text}");
        }
    }

    #[test]
    fn a_selector_is_shown_as_it_is_read() {
        for text in ["all", "device=a,device=b,group=c,label:d=e,not=f,free=7,percent=12.5", "percent=0.0001"] {
            assert_eq!(Selector::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn only_a_share_needs_a_newer_form_and_older_devices_read_everything_else() {
        for (text, wire, written) in [
            ("all", 1, "{}"),
            ("group=beta", 1, r#"{"groups":["beta"]}"#),
            ("percent=100%", 1, "{}"),
            ("percent=2.5,group=beta", 2, r#"{"groups":["beta"],"share":25000}"#),
        ] {
            let selector = Selector::parse(text).expect(text);
            assert_eq!((selector.wire(), serde_json::to_string(&selector).expect("JSON").as_str()), (wire, written));
        }
        for share in [0, 1_000_001, u32::MAX] {
            assert!(Selector { share: Some(share), ..Selector::default() }.check().is_err(), "{share}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_way_out() {
        for text in [
            "",
            "kitchen",
            "group=",
            "colour=red",
            "label:=x",
            "free=much",
            "percent=",
            "percent=0",
            "percent=101",
            "percent=x",
            "percent=1,percent=2",
        ] {
            let e = Selector::parse(text).expect_err(text);
            assert!(e.contains("expected"), "{text}: {e}");
        }
    }
}
