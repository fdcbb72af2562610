//! What a new generation changes, for the person who signs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use linnet_proto::fleet::{Generation, PackageList};

/// Lines around a change that are shown.
const AROUND: usize = 2;
/// Pairs of lines that are compared at most; a change beyond it is shown as old lines and new lines.
const MAX_PAIRS: usize = 4_000_000;

/// The difference between two generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// Lines of the configuration: ` `, `-` or `+` and the line; empty where nothing changed.
    pub config: Vec<String>,
    /// Packages that are new, gone or changed, one sentence each.
    pub packages: Vec<String>,
    /// Other fields that changed, one sentence each.
    pub other: Vec<String>,
    /// Bytes that a device with the old generation fetches.
    pub fetch_bytes: u64,
}

impl Diff {
    /// From `old` (nothing where it is the first) to `new`.
    pub fn between(old: Option<&Generation>, new: &Generation) -> Self {
        let none = Vec::new();
        let (config, old_packages) = old.map_or(("", &none), |old| (old.config.as_str(), &old.packages));
        let known: BTreeSet<&str> = old.map(files).unwrap_or_default();
        let fetch_bytes =
            new.files().iter().filter(|file| !known.contains(file.sha256.as_str())).map(|file| file.bytes).sum();
        let mut other = Vec::new();
        let mut field = |name: &str, was: Option<String>, is: String| {
            let was = was.unwrap_or_default();
            if was != is {
                other.push(match old {
                    Some(_) => format!("{name}: {} -> {}", shown(&was), shown(&is)),
                    None => format!("{name}: {is}"),
                });
            }
        };
        let version = |version: &Option<String>| version.clone().unwrap_or_default();
        field("min_linnetd", old.map(|g| version(&g.min_linnetd)), version(&new.min_linnetd));
        field("max_linnetd", old.map(|g| version(&g.max_linnetd)), version(&new.max_linnetd));
        field("audience", old.map(|g| g.audience.to_string()), new.audience.to_string());
        Self { config: lines(config, &new.config), packages: packages(old_packages, &new.packages), other, fetch_bytes }
    }

    /// Whether the content is the same.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.packages.is_empty() && self.other.is_empty()
    }
}

fn shown(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn files(generation: &Generation) -> BTreeSet<&str> {
    generation.packages.iter().flat_map(|package| &package.files).map(|file| file.sha256.as_str()).collect()
}

fn packages(old: &[PackageList], new: &[PackageList]) -> Vec<String> {
    let by_name = |list| -> BTreeMap<String, PackageList> {
        let list: &[PackageList] = list;
        list.iter().map(|package| (package.name.clone(), package.clone())).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut said = Vec::new();
    for name in names {
        match (old.get(name), new.get(name)) {
            (None, Some(new)) => said.push(format!("+ {name} {} ({} files)", new.version, new.files.len())),
            (Some(old), None) => said.push(format!("- {name} {}", old.version)),
            (Some(old), Some(new)) if old != new => {
                let changed = new.files.iter().filter(|file| !old.files.contains(file)).count();
                said.push(format!("~ {name} {} -> {} ({changed} files new or changed)", old.version, new.version));
            }
            _ => {}
        }
    }
    said
}

/// A diff by lines: the longest common subsequence, with some lines around each change.
fn lines(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if old == new {
        return Vec::new();
    }
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut all: Vec<(char, &str)> = old[..head].iter().map(|line| (' ', *line)).collect();
    if a.len().saturating_mul(b.len()) > MAX_PAIRS {
        all.extend(a.iter().map(|line| ('-', *line)));
        all.extend(b.iter().map(|line| ('+', *line)));
    } else {
        // Length of the longest common subsequence of each pair of ends.
        let width = b.len() + 1;
        let mut common = vec![0u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                common[i * width + j] = match a[i] == b[j] {
                    true => common[(i + 1) * width + j + 1] + 1,
                    false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && a[i] == b[j] {
                all.push((' ', a[i]));
                (i, j) = (i + 1, j + 1);
            } else if j == b.len() || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
                all.push(('-', a[i]));
                i += 1;
            } else {
                all.push(('+', b[j]));
                j += 1;
            }
        }
    }
    all.extend(old[old.len() - tail..].iter().map(|line| (' ', *line)));

    let near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        all[from..(at + AROUND + 1).min(all.len())].iter().any(|(sign, _)| *sign != ' ')
    };
    let mut shown = Vec::new();
    let mut gap = false;
    for (at, (sign, line)) in all.iter().enumerate() {
        if near(at) {
            if gap {
                shown.push("  …".to_owned());
            }
            shown.push(format!("{sign} {line}"));
            gap = false;
        } else {
            gap = !shown.is_empty();
        }
    }
    shown
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changes");
        }
        if !self.config.is_empty() {
            writeln!(f, "configuration:")?;
            for line in &self.config {
                writeln!(f, "  {line}")?;
            }
        }
        if !self.packages.is_empty() {
            writeln!(f, "packages:")?;
            for line in &self.packages {
                writeln!(f, "  {line}")?;
            }
        }
        for line in &self.other {
            writeln!(f, "{line}")?;
        }
        match self.fetch_bytes {
            0 => writeln!(f, "no device fetches a file of a package"),
            bytes if bytes < 100 << 10 => {
                writeln!(f, "each device fetches {:.1} KiB of packages", bytes as f64 / 1024.0)
            }
            bytes => writeln!(f, "each device fetches {:.1} MiB of packages", bytes as f64 / f64::from(1 << 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_shown_with_what_stands_around_it() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let new = "a\nb\nc\nd\nE\nf\ng\nh\n";
        assert_eq!(lines(old, new), ["  c", "  d", "- e", "+ E", "  f", "  g"]);
        assert_eq!(lines(old, old), Vec::<String>::new());
        assert_eq!(lines("", "x\ny"), ["+ x", "+ y"]);
        assert_eq!(lines("x\ny", "y"), ["- x", "  y"]);
        let far = lines("1\nb\nc\nd\ne\nf\ng\n2", "one\nb\nc\nd\ne\nf\ng\ntwo");
        assert_eq!(far, ["- 1", "+ one", "  b", "  c", "  …", "  f", "  g", "- 2", "+ two"]);
    }

    #[test]
    fn a_change_of_everything_stays_cheap() {
        let old: String = (0..5000).map(|n| format!("old {n}\n")).collect();
        let new: String = (0..5000).map(|n| format!("new {n}\n")).collect();
        assert_eq!(lines(&old, &new).len(), 10_000);
    }
}
