//! The layer that a generation gives: configuration that was pushed, and the packages beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use linnet_proto::fleet::Generation;

use super::document::{self, Base, Values};
use super::error::{ConfigError, Fault, Place};
use super::keys::{self, Locality};
use super::{GenerationOrigin, migrate};
use crate::limits::{MAX_CONFIG_BYTES, MAX_GENERATION_BYTES};

/// Name of a generation's own file in its directory.
pub const GENERATION: &str = "generation.json";

/// Name of the directory of its packages beside that file.
pub const PACKAGES: &str = "packages";

/// The configuration of a generation, as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationLayer {
    /// Its number; 0 for a configuration that is not part of a generation yet.
    pub number: u64,
    /// Version of the configuration's form ([`migrate`]).
    pub config_version: u32,
    /// The configuration, TOML.
    pub text: String,
    /// The directory of its packages.
    pub packages: Option<PathBuf>,
    /// The file that faults name where there is no number yet.
    pub file: Option<PathBuf>,
}

impl GenerationLayer {
    /// The layer of `generation`, whose packages lie in `packages`.
    pub fn of(generation: &Generation, packages: Option<PathBuf>) -> Self {
        Self {
            number: generation.number,
            config_version: generation.config_version,
            text: generation.config.clone(),
            packages,
            file: None,
        }
    }

    /// The configuration in the file `file`, before it is part of a generation.
    pub fn unpublished(text: String, file: &Path) -> Self {
        Self { number: 0, config_version: migrate::CURRENT, text, packages: None, file: Some(file.to_owned()) }
    }

    pub(super) fn origin(&self) -> GenerationOrigin {
        GenerationOrigin { number: self.number, packages: self.packages.clone() }
    }

    fn place(&self, line: usize) -> Place {
        match &self.file {
            Some(file) => Place::File(file.clone(), line),
            None => Place::Generation(self.number, line),
        }
    }

    /// The values, brought into today's form; none of them is this device's own unless that is allowed.
    pub(super) fn values(&self, allowed: &Allowed) -> Result<Values, ConfigError> {
        let to_current = |settings: &mut Vec<_>| migrate::to_current(settings, self.config_version);
        let values = document::parse_layer(&self.text, &|line| self.place(line), Base::None, to_current)?;
        let foreign = values.iter().filter(|(path, ..)| !allowed.allows(path));
        let mut faults: Vec<_> = foreign
            .map(|(path, _, place)| {
                let way_out = match keys::of_path(path).filter(|key| key.can_be_allowed()) {
                    Some(_) => "leave it out, or list it in fleet.allow_local_keys of the device's own file",
                    None => "leave it out",
                };
                let message = format!("belongs to the device and is not taken from a generation; {way_out}");
                Fault { place: place.clone(), key: path.to_owned(), message }
            })
            .collect();
        faults.sort_by_key(|fault| match fault.place {
            Place::File(_, line) | Place::Generation(_, line) => line,
            _ => 0,
        });
        if faults.is_empty() { Ok(values) } else { Err(ConfigError::Faults(faults)) }
    }
}

/// Which keys this device lets a generation set.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed(BTreeSet<String>);

impl Allowed {
    /// What the device's own file says.
    pub(super) fn by(file: &Values) -> Self {
        let listed = file.get(ALLOW).and_then(toml::Value::as_array).into_iter().flatten();
        Self(listed.filter_map(|key| key.as_str().map(str::to_owned)).collect())
    }

    /// Whether a generation may set the key `path`, and then goes before the file.
    pub(super) fn allows(&self, path: &str) -> bool {
        let key = keys::of_path(path);
        key.is_none_or(|key| key.locality == Locality::Pushed || key.can_be_allowed() && self.0.contains(path))
    }
}

/// The key that lists what is allowed.
const ALLOW: &str = "fleet.allow_local_keys";

/// What lies at `path`: a configuration (TOML), a generation (JSON), or a directory with a generation and its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The layer.
    pub layer: GenerationLayer,
    /// The generation, where it is more than a configuration.
    pub generation: Option<Generation>,
}

/// Reads what lies at `path`.
pub fn read(path: &Path) -> Result<Read, ConfigError> {
    let file = if path.is_dir() { path.join(GENERATION) } else { path.to_owned() };
    let text = document::read_text(&file, MAX_GENERATION_BYTES)?;
    if !text.trim_start().starts_with('{') {
        if text.len() as u64 > MAX_CONFIG_BYTES {
            let reason = format!("a configuration has at most {} KiB", MAX_CONFIG_BYTES >> 10);
            return Err(ConfigError::Read { path: file, reason });
        }
        return Ok(Read { layer: GenerationLayer::unpublished(text, &file), generation: None });
    }
    let generation = Generation::parse(text.as_bytes())
        .map_err(|fault| ConfigError::Read { path: file.clone(), reason: fault.to_string() })?;
    let packages = file.parent().map(|dir| dir.join(PACKAGES)).filter(|packages| packages.is_dir());
    Ok(Read { layer: GenerationLayer::of(&generation, packages), generation: Some(generation) })
}

#[cfg(test)]
mod tests {
    use super::super::explain::{explain, page};
    use super::super::tests::around;
    use super::super::{Config, Overrides, Sources, load};
    use super::*;

    fn layer(text: &str) -> GenerationLayer {
        GenerationLayer { number: 7, config_version: 1, text: text.into(), packages: None, file: None }
    }

    /// The file's text, the generation's text, a flag for `log`.
    fn sources(dir: &Path, file: &str, generation: &str) -> Sources {
        let path = dir.join("linnet.toml");
        std::fs::write(&path, file).expect("a file");
        Sources {
            flags: Overrides { config: Some(path), ..Overrides::default() },
            environment: Overrides::default(),
            around: around(),
            generation: Some(layer(generation)),
        }
    }

    fn loaded(file: &str, generation: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a directory");
        load(&sources(dir.path(), file, generation)).map_err(|e| e.to_string())
    }

    #[test]
    fn a_generation_goes_before_the_file_and_what_is_local_in_the_file_before_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = "log = \"error\"\ndevice = \"attic\"\n[limits]\nmax_upload_mib = 9\nmax_channels = 3\n";
        let mut sources = sources(dir.path(), file, "log = \"warn\"\n[limits]\nmax_upload_mib = 7\n");
        let config = load(&sources).expect("right");
        assert_eq!((config.generation(), config.device.as_str()), (7, "attic"));
        assert_eq!(config.log, log::LevelFilter::Warn);
        assert_eq!(config.intake.max_upload_bytes, 7 << 20);
        assert_eq!(config.intake.audio.max_channels, 3, "what it does not set stays the file's");
        sources.environment.log = Some("debug".into());
        assert_eq!(load(&sources).expect("right").log, log::LevelFilter::Debug, "the environment goes before it");
        sources.flags.log = Some("trace".into());
        assert_eq!(load(&sources).expect("right").log, log::LevelFilter::Trace);
        sources.generation = None;
        assert_eq!(load(&sources).expect("right").generation(), 0);
    }

    #[test]
    fn a_local_key_is_refused_by_name_unless_the_device_allows_it_and_then_goes_before_the_file() {
        let file = "[mqtt]\nurl = \"mqtt://old\"\n";
        let pushed = "log = \"warn\"\nsocket = \"/s\"\n[mqtt]\nurl = \"mqtt://new\"\n[fleet]\nclock = \"always\"\n";
        let refused = loaded(file, pushed).expect_err("a refusal");
        let lines: Vec<_> = refused.lines().collect();
        assert!(lines.len() == 3 && lines[0].starts_with("generation 7, line 2: socket: belongs to"), "{refused}");
        assert!(
            lines[1].starts_with("generation 7, line 4: mqtt.url: ") && lines[1].contains("allow_local_keys"),
            "{refused}"
        );
        assert!(
            lines[2].starts_with("generation 7, line 6: fleet.clock: ") && !lines[2].contains("allow_local"),
            "{refused}"
        );

        let url = |file: &str| {
            loaded(file, "[mqtt]\nurl = \"mqtt://new\"\n").map(|config| config.mqtt.expect("MQTT is on").url)
        };
        let allows = "[fleet]\nallow_local_keys = [\"mqtt.url\"]\n";
        assert_eq!(url(&format!("{file}{allows}")), Ok("mqtt://new".into()));
        assert_eq!(url(allows), Ok("mqtt://new".into()));
        assert!(url(file).is_err());
    }

    #[test]
    fn no_key_that_is_local_can_be_set_by_a_generation() {
        for key in keys::KEYS.iter().filter(|key| key.locality == Locality::Local) {
            let allowed = Allowed::by(&Values::default());
            assert!(!allowed.allows(&key.path()), "{}", key.path());
            let listed = Allowed([key.path()].into());
            assert_eq!(listed.allows(&key.path()), key.section != "fleet", "{}", key.path());
        }
    }

    #[test]
    fn faults_name_the_generation_its_line_and_the_key() {
        let fault = |text: &str| loaded("", text).expect_err("a refusal");
        assert!(
            fault("\n[http]\nmax_conections = 3").starts_with("generation 7, line 3: http.max_conections: unknown")
        );
        assert!(fault("log = 3").starts_with("generation 7, line 1: log: expected one of"));
        assert!(fault("log = \"info\"\n[http").starts_with("generation 7, line 2: not TOML"));
        let between = fault("[limits]\nmax_upload_total_mib = 1\n");
        assert!(between.starts_with("generation 7, line 2: limits.max_upload_total_mib: at least"), "{between}");
        let newer = GenerationLayer { config_version: 9, ..layer("log = \"info\"") };
        let refused = newer.values(&Allowed::default()).expect_err("newer").to_string();
        assert!(
            refused.starts_with("generation 7, line 1: config_version: ") && refused.contains("version 9"),
            "{refused}"
        );
        let relative = "models = \"packages\"\n";
        let refused = loaded("[fleet]\nallow_local_keys = [\"models\"]\n", relative).expect_err("a relative path");
        assert!(refused.contains("line 1: models: expected a path from the root"), "{refused}");
    }

    #[test]
    fn its_packages_stand_behind_the_devices_own_and_before_the_bundled() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sources = sources(dir.path(), "models = [\"/own\", \"/usr/share/linnet/models\"]\n", "");
        let pushed = Path::new("/state/fleet/generations/7/packages");
        sources.generation = Some(GenerationLayer { packages: Some(pushed.to_owned()), ..layer("") });
        let config = load(&sources).expect("right");
        assert_eq!(config.models, [Path::new("/own"), pushed, Path::new("/usr/share/linnet/models")]);
        assert_eq!(config.own_models(around().models.as_deref()), Path::new("/own"));
        sources.flags.config = None;
        let config = load(&sources).expect("right");
        let added = Path::new("/var/lib/linnet/models");
        assert_eq!(config.models, [added, pushed, Path::new("/usr/share/linnet/models")]);
        let own = config.own_models(around().models.as_deref());
        assert_eq!(own, added, "nothing is ever added to a generation");
        sources.flags.models = vec!["/flag".into()];
        assert_eq!(load(&sources).expect("right").models, [Path::new("/flag"), pushed]);
    }

    #[test]
    fn every_key_is_explained_by_who_gave_it_and_the_page_is_a_configuration() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = "device = \"attic\"\n[http]\ntoken_file = \"token\"\n[limits]\nmax_channels = 3\n";
        std::fs::write(dir.path().join("token"), "geheim").expect("a file");
        let mut sources = sources(dir.path(), file, "[limits]\n\nmax_channels = 4\n[mqtt]\nkept_answers = 5\n");
        sources.environment.socket = Some("/environment.sock".into());
        sources.flags.state = Some("/state".into());
        let (config, explained) = explain(&sources).expect("right");
        let source = |key: &str| explained.iter().find(|e| e.key == key).expect(key).source.to_string();
        assert_eq!(explained.len(), keys::KEYS.len());
        let path = dir.path().join("linnet.toml");
        assert_eq!(source("device"), format!("{}:1", path.display()));
        assert_eq!(source("limits.max_channels"), "generation 7, line 3");
        assert_eq!((source("socket"), source("state")), ("LINNET_SOCKET".into(), "--state".into()));
        assert_eq!(source("mqtt.url"), "default");
        let page = page(&explained);
        assert!(page.contains("# mqtt.url is not set") && !page.contains("geheim"), "{page}");
        let again = super::super::check_text(&page, &path, &around()).expect("the page keeps the rules");
        assert_eq!((again.device, again.intake, again.mqtt_intake), (config.device, config.intake, config.mqtt_intake));
        assert_eq!((again.http, again.models), (config.http, config.models));
    }

    #[test]
    fn a_generation_is_read_alone_or_with_its_packages_and_a_configuration_before_it_is_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join(GENERATION);
        let generation = Generation { config: "log = \"warn\"".into(), ..Generation::empty("home", 9) };
        std::fs::write(&file, serde_json::to_vec(&generation).expect("JSON")).expect("a file");
        let alone = read(&file).expect("it is right");
        assert_eq!((alone.layer.number, alone.layer.packages), (9, None));
        std::fs::create_dir(dir.path().join(PACKAGES)).expect("a directory");
        let whole = read(dir.path()).expect("it is right");
        assert_eq!(whole.layer.packages, Some(dir.path().join(PACKAGES)));
        assert_eq!(whole.generation, Some(generation));

        let text = dir.path().join("next.toml");
        std::fs::write(&text, "log = 3").expect("a file");
        let layer = read(&text).expect("it is not judged yet").layer;
        let refused = layer.values(&Allowed::default()).expect_err("a refusal").to_string();
        assert!(refused.starts_with(&format!("{}:1: log: expected", text.display())), "{refused}");
        std::fs::write(&file, "{\"wire\": 1, \"order\": 1}").expect("a file");
        let refused = read(dir.path()).expect_err("no generation").to_string();
        assert!(refused.contains("generation.json: the generation cannot be read"), "{refused}");
    }
}
