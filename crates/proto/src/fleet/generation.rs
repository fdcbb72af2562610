//! What a device is to become.

use serde::{Deserialize, Serialize};

use super::Selector;

/// Largest configuration that a generation carries, bytes.
const MAX_CONFIG_BYTES: usize = 256 << 10;
/// Most packages of a generation.
const MAX_PACKAGES: usize = 256;
/// Most files of all its packages together.
const MAX_FILES: usize = 16_384;

/// Configuration and packages under one number: the content of the target `generations/<number>.json`.
///
/// Its digest stands in signed metadata, the digests of the packages' files stand in it, so that a file is trusted by the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// [`Selector::wire`] of the audience.
    pub wire: u32,
    /// The fleet that it is for, so that another fleet's repository is refused by name.
    pub fleet: String,
    /// Strictly rising; going back publishes old content under a higher number.
    pub number: u64,
    /// Number of the generation whose content this is, where an operator went back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_of: Option<u64>,
    /// When it was made, seconds since 1970-01-01 UTC.
    pub created_secs: u64,
    /// After this no device begins with it, seconds since 1970-01-01 UTC. Who runs it goes on.
    pub expires_secs: u64,
    /// Oldest `linnetd` that can run it, semantic version, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_linnetd: Option<String>,
    /// Newest `linnetd` that can run it, semantic version, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_linnetd: Option<String>,
    /// Version of the configuration's form; `migrate` brings older ones up.
    pub config_version: u32,
    /// Configuration as TOML, in the form of `linnet.toml`.
    pub config: String,
    /// Model packages, by name.
    pub packages: Vec<PackageList>,
    /// Which devices it may ever be rolled out to; a rollout can only narrow it.
    #[serde(default)]
    pub audience: Selector,
    /// What changed, for people.
    #[serde(default)]
    pub notes: String,
}

/// One package of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageList {
    /// Its name, which is its directory's name.
    pub name: String,
    /// Its version, semantic.
    pub version: String,
    /// Every file of it, the manifest too.
    pub files: Vec<PackageFile>,
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFile {
    /// Path in the package, with `/`.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Why a generation is refused before anything is fetched for it; one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationFault(pub String);

impl std::fmt::Display for GenerationFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GenerationFault {}

impl Generation {
    /// One without configuration, packages or bounds, for everybody, that has expired at once: a beginning for who fills it in.
    pub fn empty(fleet: impl Into<String>, number: u64) -> Self {
        Self {
            wire: super::FLEET_WIRE,
            fleet: fleet.into(),
            number,
            content_of: None,
            created_secs: 0,
            expires_secs: 0,
            min_linnetd: None,
            max_linnetd: None,
            config_version: 1,
            config: String::new(),
            packages: Vec::new(),
            audience: Selector::default(),
            notes: String::new(),
        }
    }

    /// Reads and checks everything that needs no device: form, bounds, paths, digests.
    pub fn parse(bytes: &[u8]) -> Result<Self, GenerationFault> {
        // A newer form may have fields that this one refuses: say which it is, not which field.
        #[derive(Deserialize)]
        struct Wire {
            wire: u32,
        }
        let fault = |e: serde_json::Error| GenerationFault(format!("the generation cannot be read: {e}"));
        let Wire { wire } = serde_json::from_slice(bytes).map_err(fault)?;
        super::check_wire("generation", wire, super::FLEET_WIRE).map_err(GenerationFault)?;
        let generation: Self = serde_json::from_slice(bytes).map_err(fault)?;
        generation.check()?;
        Ok(generation)
    }

    /// The rules of [`Generation::parse`], for who writes one.
    pub fn check(&self) -> Result<(), GenerationFault> {
        let refuse = |what: String| Err(GenerationFault(what));
        super::check_wire("generation", self.wire, self.audience.wire()).map_err(GenerationFault)?;
        self.audience.check().map_err(GenerationFault)?;
        if self.number == 0 {
            return refuse("a generation's number begins at 1".into());
        }
        if self.config.len() > MAX_CONFIG_BYTES {
            return refuse(format!(
                "the configuration has {} bytes; at most {MAX_CONFIG_BYTES} are taken",
                self.config.len()
            ));
        }
        if self.packages.len() > MAX_PACKAGES {
            return refuse(format!("{} packages; at most {MAX_PACKAGES} are taken", self.packages.len()));
        }
        let files: usize = self.packages.iter().map(|package| package.files.len()).sum();
        if files > MAX_FILES {
            return refuse(format!("{files} files; at most {MAX_FILES} are taken"));
        }
        for (n, package) in self.packages.iter().enumerate() {
            if self.packages[..n].iter().any(|before| before.name == package.name) {
                return refuse(format!("package `{}` is listed twice", package.name));
            }
            package.check()?;
        }
        Ok(())
    }

    /// Every file once, by digest: what a device must hold.
    pub fn files(&self) -> Vec<&PackageFile> {
        let mut files: Vec<_> = self.packages.iter().flat_map(|package| &package.files).collect();
        files.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        files.dedup_by(|a, b| a.sha256 == b.sha256);
        files
    }
}

impl PackageList {
    fn check(&self) -> Result<(), GenerationFault> {
        let name = &self.name;
        let refuse = |what: String| Err(GenerationFault(format!("package `{name}`: {what}")));
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let later = |c: char| first(c) || matches!(c, '.' | '_' | '-');
        if name.len() > 64 || !name.starts_with(first) || !name.chars().all(later) {
            return refuse(
                "a name has at most 64 of a-z, 0-9, `.`, `_`, `-`, and begins with a letter or digit".into(),
            );
        }
        if !self.files.iter().any(|file| file.path == "manifest.toml") {
            return refuse("it lists no manifest.toml".into());
        }
        for (n, file) in self.files.iter().enumerate() {
            let path = &file.path;
            let inside = !path.is_empty()
                && path.len() <= 255
                && !path.contains(['\\', '\0'])
                && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !inside {
                return refuse(format!("`{}` is no path inside a package", path.escape_debug()));
            }
            if self.files[..n].iter().any(|before| before.path == *path) {
                return refuse(format!("{path} is listed twice"));
            }
            if file.sha256.len() != 64 || !file.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
                return refuse(format!("the digest of {path} is no SHA-256 in lower-case hexadecimal digits"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation() -> Generation {
        let file = |path: &str, digit: &str| PackageFile { path: path.into(), bytes: 3, sha256: digit.repeat(64) };
        Generation {
            wire: 1,
            fleet: "home".into(),
            number: 7,
            content_of: None,
            created_secs: 1,
            expires_secs: 2,
            min_linnetd: Some("0.1.0".into()),
            max_linnetd: None,
            config_version: 1,
            config: "log = \"info\"\n".into(),
            packages: vec![
                PackageList {
                    name: "a".into(),
                    version: "1.0.0".into(),
                    files: vec![file("manifest.toml", "a"), file("onnx/model.onnx", "b")],
                },
                PackageList { name: "b".into(), version: "1.0.0".into(), files: vec![file("manifest.toml", "a")] },
            ],
            audience: Selector::default(),
            notes: String::new(),
        }
    }

    #[test]
    fn a_generation_reads_back_as_it_was_written() {
        let written = serde_json::to_vec(&generation()).expect("JSON");
        let read = Generation::parse(&written).expect("reads");
        assert_eq!(read, generation());
        assert_eq!(read.files().len(), 2, "a file that two packages share is held once");
    }

    #[test]
    fn a_newer_form_is_refused_by_its_number_and_not_by_its_fields() {
        let e = Generation::parse(br#"{"wire": 9, "unheard": 1}"#).expect_err("newer").to_string();
        assert!(e.contains("form 9") && e.contains("update linnetd"), "{e}");
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        type Change = fn(&mut Generation);
        let cases: [(Change, &str); 7] = [
            (|g| g.number = 0, "begins at 1"),
            (|g| g.packages[0].name = "../a".into(), "`../a`"),
            (|g| g.packages[1].name = "a".into(), "listed twice"),
            (|g| g.packages[0].files[1].path = "a/../../b".into(), "no path inside"),
            (|g| g.packages[0].files[1].path = "/etc/passwd".into(), "no path inside"),
            (|g| g.packages[0].files[1].sha256 = "AB".repeat(32), "no SHA-256"),
            (|g| g.packages[0].files.remove(0).path.clear(), "manifest.toml"),
        ];
        for (change, said) in cases {
            let mut changed = generation();
            change(&mut changed);
            let e = changed.check().expect_err(said).to_string();
            assert!(e.contains(said), "{e}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let mut value = serde_json::to_value(generation()).expect("JSON");
        value["command"] = "rm".into();
        let e = Generation::parse(value.to_string().as_bytes()).expect_err("unknown").to_string();
        assert!(e.contains("command"), "{e}");
    }
}
