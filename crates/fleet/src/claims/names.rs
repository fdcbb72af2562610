//! Which name a claim gives.

use linnet_proto::topic::DeviceName;
use serde::{Deserialize, Serialize};

/// Most digits that a counter is padded to.
const MAX_WIDTH: usize = 9;

/// The names that a claim gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// One name, for one device.
    One(String),
    /// `speaker-{n:04}`: counted from 1.
    Pattern(String),
    /// What the device's own configuration calls it; where that says nothing, the fleet's name and a number.
    Own,
}

impl Names {
    /// Checks that every name is one.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::One(name) => DeviceName::new(name.as_str()).map(drop).map_err(|e| e.to_string()),
            Self::Pattern(pattern) => {
                let longest = Pattern::parse(pattern)?.name(super::MAX_USES);
                DeviceName::new(longest).map(drop).map_err(|e| format!("the pattern {pattern:?}: {e}"))
            }
            Self::Own => Ok(()),
        }
    }

    /// For people.
    pub fn described(&self) -> String {
        match self {
            Self::One(name) => name.clone(),
            Self::Pattern(pattern) => pattern.clone(),
            Self::Own => "the device's own, or FLEET-{n:04}".into(),
        }
    }
}

/// A pattern taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a> {
    before: &'a str,
    width: usize,
    after: &'a str,
}

impl<'a> Pattern<'a> {
    /// Reads `…{n}…` or `…{n:0W}…`.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let wrong = || format!("the pattern {text:?} must hold {{n}} or {{n:04}} once, for example speaker-{{n:04}}");
        let (before, rest) = text.split_once('{').ok_or_else(wrong)?;
        let (inside, after) = rest.split_once('}').ok_or_else(wrong)?;
        let width = match inside.strip_prefix("n") {
            Some("") => 0,
            Some(width) => width.strip_prefix(":0").and_then(|w| w.parse().ok()).ok_or_else(wrong)?,
            None => return Err(wrong()),
        };
        if width > MAX_WIDTH || after.contains(['{', '}']) || before.contains('}') {
            return Err(wrong());
        }
        Ok(Self { before, width, after })
    }

    /// The name with this number.
    pub(super) fn name(&self, n: u64) -> String {
        let Self { before, width, after } = self;
        format!("{before}{n:0width$}{after}")
    }

    /// Whether one of its names is `name`.
    pub(super) fn gives(&self, name: &str) -> bool {
        let number = name.strip_prefix(self.before).and_then(|rest| rest.strip_suffix(self.after));
        number.and_then(|n| n.parse().ok()).is_some_and(|n| self.name(n) == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_counts_with_as_many_digits_as_it_says() {
        let name = |pattern: &str, n| Pattern::parse(pattern).expect(pattern).name(n);
        assert_eq!(name("speaker-{n:04}", 7), "speaker-0007");
        assert_eq!(name("speaker-{n:04}", 12_345), "speaker-12345");
        assert_eq!(name("{n}.lab", 7), "7.lab");
        let gives = |name: &str| Pattern::parse("home-{n:04}").expect("a pattern").gives(name);
        assert!(gives("home-0007") && gives("home-12345"));
        assert!(!gives("home-7") && !gives("home-") && !gives("home-x") && !gives("home-+007") && !gives("attic"));
        for wrong in ["speaker", "s{n", "s{m}", "s{n:4}", "s{n:0}", "s{n:0x}", "{n}{n}", "}{n}", "{n:010}", "{n:0-1}"] {
            assert!(Pattern::parse(wrong).expect_err(wrong).contains("speaker-{n:04}"), "{wrong}");
        }
    }

    #[test]
    fn no_claim_gives_a_name_that_no_device_may_bear() {
        for wrong in [
            Names::One("pool".into()),
            Names::One("fleet".into()),
            Names::One("a/b".into()),
            Names::One("-kitchen".into()),
            Names::Pattern("-{n}".into()),
            Names::Pattern("--all{n:04}".into()),
            Names::One(String::new()),
            Names::Pattern("kitchen +{n}".into()),
            Names::Pattern(format!("{}{{n}}", "x".repeat(60))),
            Names::Pattern("kitchen".into()),
        ] {
            wrong.check().expect_err(&wrong.described());
        }
        for right in [Names::One("kitchen".into()), Names::Pattern("speaker-{n:04}".into()), Names::Own] {
            right.check().expect("fits");
        }
    }
}
