//! Which devices are meant.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

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
}

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
    /// Whether the device is meant.
    pub fn means(&self, device: &DeviceFacts) -> bool {
        (self.devices.is_empty() || self.devices.contains(&device.name))
            && (self.groups.is_empty() || !self.groups.is_disjoint(&device.groups))
            && self.labels.iter().all(|(label, value)| device.labels.get(label) == Some(value))
            && !self.except.contains(&device.name)
            && self.min_free_mib.is_none_or(|least| device.free_mib >= least)
    }

    /// Reads what `--to` takes: `all`, or parts joined by commas: `device=NAME`, `group=NAME`, `label:NAME=VALUE`, `not=NAME`,
    /// `free=MIB`; several of one kind add to its choice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut selector = Self::default();
        if text.trim() == "all" {
            return Ok(selector);
        }
        for part in text.split(',').map(str::trim) {
            let way_out =
                "expected `all`, or device=NAME, group=NAME, label:NAME=VALUE, not=NAME, free=MIB, joined by commas";
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
                (_, Some(label)) if !label.is_empty() => {
                    drop(selector.labels.insert(label.to_owned(), value.to_owned()))
                }
                _ => return Err(format!("`{part}` is not known; {way_out}")),
            }
        }
        Ok(selector)
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
        ] {
            assert_eq!(Selector::parse(text).expect(text).means(&kitchen()), meant, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_way_out() {
        for text in ["", "kitchen", "group=", "colour=red", "label:=x", "free=much"] {
            let e = Selector::parse(text).expect_err(text);
            assert!(e.contains("expected"), "{text}: {e}");
        }
    }
}
