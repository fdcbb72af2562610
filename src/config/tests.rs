//! Properties of loading: the default, the layers, each fault's place and words, the diff and its reverse.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::diff::{Diff, Part};
use super::keys::{KEYS, Kind};
use super::*;

pub(super) fn around() -> Surroundings {
    Surroundings {
        device: "host".into(),
        socket: "/run/linnet/linnet.sock".into(),
        state: "/var/lib/linnet".into(),
        models: Some("/usr/share/linnet/models".into()),
        processors: 2,
    }
}

/// Loads `text` as the operator's file.
fn load_text(text: &str) -> Result<Config, ConfigError> {
    check_text(text, Path::new("/etc/linnet/linnet.toml"), &around())
}

fn config(text: &str) -> Config {
    load_text(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The faults of `text` as the operator reads them, the file's name cut off.
fn faults(text: &str) -> Vec<String> {
    let refused = load_text(text).expect_err(text).to_string();
    refused.lines().map(|l| l.strip_prefix("/etc/linnet/linnet.toml:").unwrap_or(l).to_owned()).collect()
}

fn the_fault(text: &str) -> String {
    let faults = faults(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().expect("one")
}

fn without_a_file() -> Config {
    let none = Overrides::default();
    load(&Sources { flags: none.clone(), environment: none, around: around(), generation: None })
        .expect("no file is needed")
}

#[test]
fn the_shipped_file_is_the_default() {
    let shipped = check_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/linnet.toml"), &around());
    let mut shipped = shipped.expect("the shipped file is right");
    let default = without_a_file();
    shipped.origin = Origin::default();
    shipped.values = default.values.clone();
    assert_eq!(shipped, default);
}

#[test]
fn the_shipped_file_shows_every_key_in_its_section_and_no_other() {
    let mut section = String::new();
    let mut shown = Vec::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ")
            && name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '-'))
        {
            shown.push(if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") });
        }
    }
    let wanted: Vec<String> = KEYS.iter().map(keys::Key::path).filter(|p| p != "mqtt.device").collect();
    assert_eq!(shown, wanted);
}

#[test]
fn the_examples_of_the_shipped_file_keep_the_rules() {
    let examples: String = DEFAULT_FILE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(example) if example.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
                format!("{example}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let claimed = config(&examples);
    assert!(claimed.http.tcp.is_some() && claimed.provision.is_some() && claimed.mqtt.is_none());
    let config = config(&examples.lines().filter(|line| !line.starts_with("claim")).collect::<Vec<_>>().join("\n"));
    assert_eq!(config.device, "kitchen");
    assert!(config.provision.is_none() && config.mqtt.is_some() && config.fleet.is_some());
}

#[test]
fn every_key_can_be_set_and_reaches_the_checked_tree() {
    // Values that differ from every default and keep the rules between keys.
    for key in KEYS {
        let value = match key.kind {
            Kind::Text => "\"other\"".to_owned(),
            Kind::Path => "\"/other\"".to_owned(),
            Kind::Paths => "[\"/other\", \"/another\"]".to_owned(),
            Kind::Integer(least, most) => {
                let default = without_a_file().values.get(&key.path()).and_then(toml::Value::as_integer);
                match default {
                    Some(n) if n < most && key.name != "queue_length" => n + 1,
                    Some(n) => n - 1,
                    None => 100.clamp(least, most),
                }
                .to_string()
            }
            Kind::Boolean => "true".to_owned(),
            Kind::Texts => "[\"other\"]".to_owned(),
            Kind::Filters => "[\"site/#\"]".to_owned(),
            Kind::OneOf(words) => format!("{:?}", words.last().expect("some words")),
            Kind::Device => "\"other\"".to_owned(),
            Kind::Address => "\"127.0.0.1:9\"".to_owned(),
            Kind::Mode => "\"0600\"".to_owned(),
            Kind::BrokerUrl => "\"mqtt://other:1\"".to_owned(),
            Kind::Names | Kind::Labels => "{ other = \"model\" }".to_owned(),
            Kind::Sources => "[\"mqtt\", \"https://other/\", \"/other\"]".to_owned(),
            Kind::Keys => "[\"mqtt.url\"]".to_owned(),
        };
        let base = [
            ("", "device", "\"base\""),
            ("http", "tcp", "\"127.0.0.1:8\""),
            ("http", "token_file", "\"/t\""),
            ("http", "tls_cert", "\"/c\""),
            ("http", "tls_key", "\"/k\""),
            ("mqtt", "url", "\"mqtt://base:1\""),
            ("mqtt", "client_cert", "\"/c\""),
            ("mqtt", "client_key", "\"/k\""),
            ("mqtt", "receive_maximum", "90"),
            ("fleet", "name", "\"base\""),
            ("fleet", "root", "\"/r\""),
        ];
        let text = |changed: Option<(&str, &str, &str)>| {
            let mut text = String::new();
            for section in keys::SECTIONS {
                if !section.is_empty() {
                    text.push_str(&format!("[{section}]\n"));
                }
                let lines = base.iter().copied().filter(|l| changed.is_none_or(|c| (c.0, c.1) != (l.0, l.1)));
                for (_, name, value) in lines.chain(changed).filter(|l| l.0 == section) {
                    text.push_str(&format!("{name} = {value}\n"));
                }
            }
            // `mqtt.device` says the same as `device`, so it is tried without it.
            if changed.is_some_and(|c| (c.0, c.1) == ("mqtt", "device")) {
                text = text.replacen("device = \"base\"\n", "", 1);
            }
            text
        };
        let (mut plain, mut changed) =
            (config(&text(None)), config(&text(Some((key.section, key.name, value.as_str())))));
        assert_ne!(plain.values, changed.values, "{} is the same when it is set to {value}", key.path());
        let no_values = Values::default();
        (plain.values, changed.values) = (no_values.clone(), no_values);
        (plain.origin, changed.origin) = (Origin::default(), Origin::default());
        assert_ne!(plain, changed, "{} = {value} changes nothing", key.path());
    }
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("linnet.toml");
    std::fs::write(&file, "log = \"error\"\nsocket = \"/file.sock\"\nmodels = \"/file\"\n").expect("a file");
    let environment = Overrides::from_environment(|name| match name {
        "LINNET_CONFIG" => Some(file.clone().into_os_string()),
        "LINNET_LOG" => Some("warn".into()),
        "LINNET_SOCKET" => Some("/environment.sock".into()),
        "LINNET_STATE" => Some(OsString::new()),
        _ => None,
    });
    let flags = Overrides { log: Some("debug".into()), ..Overrides::default() };
    let config = load(&Sources { flags, environment, around: around(), generation: None }).expect("all of it is right");
    assert_eq!(config.log, log::LevelFilter::Debug);
    assert_eq!(config.http.socket, Path::new("/environment.sock"));
    assert_eq!(config.models, [Path::new("/file")]);
    assert_eq!(config.state_dir, Path::new("/var/lib/linnet"), "an empty variable counts as none");
}

#[test]
fn a_wrong_flag_or_variable_is_named() {
    let wrong = || Overrides { log: Some("loud".into()), ..Overrides::default() };
    for (flags, environment, name) in
        [(wrong(), Overrides::default(), "--log: "), (Overrides::default(), wrong(), "LINNET_LOG: ")]
    {
        let refused = load(&Sources { flags, environment, around: around(), generation: None })
            .expect_err("a refusal")
            .to_string();
        assert!(refused.starts_with(name) && refused.contains("\"info\"") && refused.contains("loud"), "{refused}");
    }
}

#[test]
fn an_unknown_key_is_named_with_line_and_the_nearest_known_one() {
    assert_eq!(
        the_fault("\n[http]\nmax_conections = 3\n"),
        "3: http.max_conections: unknown key; did you mean `http.max_connections`?"
    );
    assert_eq!(the_fault("[htpp]\ntcp = 1\n"), "1: htpp: there is no section [htpp]; did you mean [http]?");
    assert_eq!(
        the_fault("max_upload_mib = 3"),
        "1: max_upload_mib: unknown key here; `max_upload_mib` stands in the section [limits]"
    );
    assert_eq!(
        the_fault("[mqtt]\nsocket = \"x\""),
        "2: mqtt.socket: unknown key here; `socket` stands at the top of the file, before the first section"
    );
    assert_eq!(the_fault("xyzzy = 1"), "1: xyzzy: unknown key; docs/config.md lists all of them");
}

#[test]
fn a_value_that_breaks_its_rule_is_named_with_line_and_what_was_expected() {
    for (text, wanted) in [
        (
            "[scheduler]\nworkers = \"two\"",
            "2: scheduler.workers: expected a whole number from 0 to 64, found the text \"two\"",
        ),
        (
            "[scheduler]\nworkers = 65",
            "2: scheduler.workers: expected a whole number from 0 to 64, found the number 65",
        ),
        (
            "[scheduler]\ndrain_secs = 1.5",
            "2: scheduler.drain_secs: expected a whole number from 0 to 3600, found the number 1.5",
        ),
        ("socket = \"\"", "1: socket: expected a path in quotes, not empty, found the text \"\""),
        (
            "log = \"loud\"",
            "1: log: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", found the text \"loud\"",
        ),
        ("http = 3", "1: http: expected a section: write [http] on a line of its own and its keys below it"),
        (
            "[http]\ninsecure_plaintext = \"yes\"",
            "2: http.insecure_plaintext: expected true or false, found the text \"yes\"",
        ),
    ] {
        assert_eq!(the_fault(text), wanted);
    }
    for text in [
        "[mqtt]\nalpn = [1]",
        "device = \"a/b\"",
        "[mqtt]\nurl = \"host\"",
        "[http]\ntcp = \"localhost:1\"",
        "[mqtt]\nresponse_topics = [\"a/#/b\"]",
        "[http]\nsocket_mode = \"999\"",
        "[limits]\nmax_upload_mib = 99999999999999999999",
        "[limits]\nmax_upload_mib = -1",
        "log = 2026-01-01",
        "[fleet]\nsources = []",
        "[fleet]\nallow_local_keys = [\"log\"]",
        "[fleet]\nallow_local_keys = [\"fleet.root\"]",
        "[fleet]\nlabels = { board = 4 }",
    ] {
        let fault = the_fault(text);
        assert!(fault.contains("expected "), "{text}: {fault}");
    }
}

#[test]
fn a_source_that_can_be_none_is_named_alone_with_what_is_wrong_with_it_and_the_way_out() {
    let long = format!("http://h/{}", "x".repeat(200 << 10));
    for (source, says) in [
        ("ftp://h", "neither with http:// nor with https://"),
        ("http://h:99999", "its port is no number from 1 to 65535"),
        ("http://[::1", "its host cannot be one"),
        ("http://:80/x", "it names no host"),
        ("http://a b/x", "it holds ' '"),
        (&long, "it has 204809 bytes, and at most 2048 are taken"),
        ("", "a directory's path has 1 to"),
    ] {
        let fault = the_fault(&format!("[fleet]\nsources = [\"mqtt\", {source:?}, \"/media/stick\"]"));
        let begin = format!("2: fleet.sources: the text \"{}", &source[..source.len().min(30)]);
        assert!(fault.starts_with(&begin) && fault.contains(says) && fault.len() < 400, "{fault}");
        assert!(fault.contains("write it as http://HOST/PATH") || fault.contains("name a directory, a URL"), "{fault}");
    }
    let fault = the_fault("[fleet]\nsources = [\"https://op:S3cr3t@h/x\"]");
    assert!(fault.contains("…@h") && !fault.contains("S3cr3t") && fault.contains("a password"), "{fault}");
}

#[test]
fn a_device_that_bears_a_name_like_an_option_or_a_directory_is_told_what_to_do() {
    for (text, place, says) in [
        ("device = \"-kitchen\"", "1: device: ", "begins with `-`"),
        ("device = \"..\"", "1: device: ", "is a directory's name"),
        ("[mqtt]\ndevice = \"--all\"", "2: mqtt.device: ", "begins with `-`"),
    ] {
        let fault = the_fault(text);
        assert!(fault.starts_with(place) && fault.contains(says), "{fault}");
        assert!(fault.contains("choose another name") && fault.contains("ACL"), "{fault}");
    }
}

#[test]
fn a_login_in_a_url_is_not_shown() {
    for url in ["mqtt://op:S3cr3t@h:1883", "mqtt://op:S3cr3t/x@h", "mqtt:op:S3cr3t@h", "ws://op:S3cr3t@h/mqtt"] {
        for text in [format!("[mqtt]\nurl = \"{url}\""), format!("log = \"{url}\"")] {
            let fault = the_fault(&text);
            assert!(fault.contains("…@h") && !fault.contains("S3cr3t"), "{url}: {fault}");
        }
    }
    let long = the_fault(&format!("log = \"mqtt://op:{}@h\"", "S3cr3t".repeat(20)));
    assert!(!long.contains("S3cr3t"), "{long}");
}

#[test]
fn rules_between_keys_are_named_at_the_key_that_breaks_them() {
    for (text, place, says) in [
        ("[http]\ntcp = \"127.0.0.1:1\"", "2: http.tcp: ", "http.token_file"),
        ("[http]\ntcp = \"0.0.0.0:1\"\ntoken_file = \"t\"", "2: http.tcp: ", "insecure_plaintext"),
        ("[http]\ntls_cert = \"c\"", "2: http.tls_cert: ", "http.tls_key"),
        ("[mqtt]\nclient_key = \"c\"", "2: mqtt.client_key: ", "mqtt.client_cert"),
        ("[mqtt]\nurl = \"mqtts://h\"", "2: mqtt.url: ", "mqtt.ca_file"),
        ("[mqtt]\nreceive_maximum = 64", "2: mqtt.receive_maximum: ", "scheduler.queue_length"),
        (
            "[mqtt]\nbackoff_first_ms = 2000\nbackoff_longest_secs = 1",
            "3: mqtt.backoff_longest_secs: ",
            "backoff_first_ms",
        ),
        ("[limits]\nmax_upload_total_mib = 1", "2: limits.max_upload_total_mib: ", "limits.max_upload_mib"),
        (
            "[limits]\nmax_sample_rate_hz = 8000\nmin_sample_rate_hz = 16000",
            "2: limits.max_sample_rate_hz: ",
            "min_sample_rate_hz",
        ),
        ("[mqtt]\ndefault_timeout_secs = 5000", "2: mqtt.default_timeout_secs: ", "limits.max_timeout_secs"),
        ("device = \"a\"\n[mqtt]\ndevice = \"b\"", "3: mqtt.device: ", "\"a\""),
        ("device = \"pool\"", "1: device: ", "reserved names"),
        ("[mqtt]\ndevice = \"fleet\"", "2: mqtt.device: ", "reserved names"),
        ("[fleet]\nname = \"home\"\nsources = [\"/media\"]", "2: fleet.name: ", "fleet.root"),
        ("[fleet]\nname = \"home\"\nroot = \"r\"\nsources = [\"mqtt\"]", "4: fleet.sources: ", "mqtt.url"),
    ] {
        let fault = the_fault(text);
        assert!(fault.starts_with(place) && fault.contains(says), "{text}: {fault}");
    }
}

#[test]
fn a_text_that_mqtt_cannot_say_is_refused_before_a_broker_is_asked() {
    for key in ["client_id", "username"] {
        let text = |bytes: usize| format!("[mqtt]\nurl = \"mqtt://h\"\n{key} = \"{}\"", "x".repeat(bytes));
        assert!(load_text(&text(65_535)).is_ok(), "{key}");
        let fault = the_fault(&text(65_536));
        assert!(fault.starts_with(&format!("3: mqtt.{key}: at most 65535 bytes")), "{fault}");
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let faults = faults("[http]\nx_y_z = 1\n[mqtt]\nurl = 3\n[scheduler]\nworkers = -1\n");
    let lines: Vec<_> = faults.iter().map(|f| f.split(':').next().expect("a line")).collect();
    assert_eq!(lines, ["2", "4", "6"], "{faults:?}");
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    assert!(the_fault("log = \"info\"\n[http\n").starts_with("2: not TOML: "));
    assert!(faults("log = \"info\"\nlog = \"info\"\n")[0].starts_with("2: not TOML: "));
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = |path: &Path| check_file(path, &around()).expect_err("a refusal").to_string();
    let missing = refused(&dir.path().join("none.toml"));
    assert!(
        missing.ends_with("none.toml: there is no such file; linnetd also runs without one, on its defaults"),
        "{missing}"
    );
    assert!(refused(dir.path()).contains("this is a directory"));
    let path = dir.path().join("linnet.toml");
    std::fs::write(&path, b"log = \"info\"\n# \xff\n").expect("a file");
    assert!(refused(&path).contains("line 2 is not UTF-8"));
    std::fs::write(&path, vec![b'#'; 2 << 20]).expect("a file");
    assert!(refused(&path).contains("at most 1024 KiB"));
}

#[test]
fn a_relative_path_is_taken_from_the_directory_of_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("linnet.toml");
    std::fs::write(&path, "models = \"packages\"\n").expect("a file");
    let config = check_file(&path, &around()).expect("right");
    assert_eq!(config.models, [dir.path().join("packages")]);
    std::fs::write(&path, "models = [\"packages\", \"/usr/share/linnet/models\"]\n").expect("a file");
    let config = check_file(&path, &around()).expect("right");
    assert_eq!(config.models, [dir.path().join("packages"), "/usr/share/linnet/models".into()]);
}

#[test]
fn several_directories_of_models_come_from_each_layer() {
    let environment = Overrides::from_environment(|name| match name {
        "LINNET_MODELS" => Some("/a:/b:".into()),
        "LINNET_DEFAULT_MODEL" => Some("of-the-environment".into()),
        _ => None,
    });
    let load = |flags| load(&Sources { flags, environment: environment.clone(), around: around(), generation: None });
    let config = load(Overrides::default()).expect("right");
    assert_eq!(config.models, [Path::new("/a"), Path::new("/b")]);
    assert_eq!(config.default_model.as_deref(), Some("of-the-environment"));
    let flags = Overrides {
        models: vec!["/c".into(), "/d".into()],
        default_model: Some("of-the-flag".into()),
        ..Overrides::default()
    };
    let config = load(flags).expect("right");
    assert_eq!(config.models, [Path::new("/c"), Path::new("/d")]);
    assert_eq!(config.default_model.as_deref(), Some("of-the-flag"));
    let refused = load(Overrides { models: vec!["/c".into(), "".into()], ..Overrides::default() });
    let refused = refused.expect_err("an empty path").to_string();
    assert!(refused.starts_with("--models: ") && refused.contains("\"/c\", \"\""), "{refused}");
    let by_default = [Path::new("/var/lib/linnet/models"), Path::new("/usr/share/linnet/models")];
    assert_eq!(without_a_file().models, by_default, "the device's own, whether it is there yet or not");
    for wrong in ["models = []", "models = [3]", "models = [\"\"]"] {
        assert!(the_fault(wrong).starts_with("1: models: expected a path in quotes"), "{wrong}");
    }
}

#[test]
fn a_quoted_name_with_a_dot_is_no_key_of_a_section() {
    assert!(the_fault("\"http.tcp\" = \"127.0.0.1:1\"").starts_with("1: http.tcp: unknown key"));
}

#[test]
fn a_source_in_the_file_is_taken_from_its_directory() {
    let text = "[mqtt]\nurl = \"mqtt://h\"\n[fleet]\nname = \"home\"\nroot = \"root.json\"\nsources = [\"mqtt\", \"stick\", \"http://h/x/\"]\nca_file = \"ca.pem\"";
    let config = config(text);
    assert_eq!(config.authorities(), Some(Path::new("/etc/linnet/ca.pem")));
    let fleet = config.fleet.expect("it belongs to one");
    assert_eq!(fleet.ca_file.as_deref(), Some(Path::new("/etc/linnet/ca.pem")));
    assert_eq!(fleet.root, Path::new("/etc/linnet/root.json"));
    let wanted = [
        fleet::FleetSource::Mqtt,
        fleet::FleetSource::Directory("/etc/linnet/stick".into()),
        fleet::FleetSource::Http("http://h/x".into()),
    ];
    assert_eq!(fleet.sources, wanted);
    assert_eq!(without_a_file().fleet, None);
}

#[test]
fn a_hosts_name_becomes_a_topic_level() {
    for (host, device) in [
        ("kitchen", "kitchen"),
        ("pool", "linnet"),
        ("fleet", "linnet"),
        ("my host/1+#", "my-host-1--"),
        ("", "linnet"),
        ("küche", "k-che"),
        ("-kitchen", "kitchen"),
        ("öl", "l"),
        ("ö", "linnet"),
    ] {
        assert_eq!(device_of_host(host), device);
    }
    assert_eq!(device_of_host(&"x".repeat(300)).len(), 64);
}

#[test]
fn the_reference_is_the_one_that_the_program_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    let written = reference::page().expect("the default is right");
    if std::env::var_os("LINNET_WRITE_DOCS").is_some() {
        std::fs::write(&path, &written).expect("docs/config.md");
    }
    let committed = std::fs::read_to_string(&path).expect("docs/config.md");
    assert!(committed == written, "docs/config.md is stale: LINNET_WRITE_DOCS=1 cargo test --release --lib reference");
}

fn diff(old: &str, new: &str) -> Diff {
    Diff::between(&Arc::new(config(old)), &config(new), &around()).expect("both are right")
}

#[test]
fn a_diff_tells_the_parts_and_the_keys_that_change() {
    let diff = diff("", "log = \"debug\"\n[mqtt]\nurl = \"mqtt://h:1\"\n[limits]\nmax_upload_mib = 64\n");
    assert_eq!(diff.parts().collect::<Vec<_>>(), [Part::Http, Part::Models, Part::Mqtt, Part::Log]);
    let keys: Vec<_> = diff.changed.iter().map(ToString::to_string).collect();
    assert_eq!(
        keys,
        ["log: \"info\" -> \"debug\"", "mqtt.url: (not set) -> \"mqtt://h:1\"", "limits.max_upload_mib: 128 -> 64"]
    );
    assert!(diff.refused.is_empty());
}

#[test]
fn a_key_that_needs_a_restart_is_refused_by_name_and_the_rest_applies() {
    let diff = diff("[scheduler]\nworkers = 2\n", "log = \"debug\"\nsocket = \"/other\"\n[scheduler]\nworkers = 3\n");
    let refused: Vec<_> = diff.refused.iter().map(|c| c.key.as_str()).collect();
    assert_eq!(refused, ["socket", "scheduler.workers"]);
    assert_eq!(diff.to.scheduler.workers, 2);
    assert_eq!(diff.to.http.socket, Path::new("/run/linnet/linnet.sock"));
    assert_eq!(diff.to.log, log::LevelFilter::Debug);
}

#[test]
fn a_change_that_only_fits_with_a_refused_key_is_refused_whole() {
    // No token goes well with no TCP, but TCP cannot go.
    let old = Arc::new(config("[http]\ntcp = \"127.0.0.1:1\"\ntoken_file = \"t\"\n"));
    let refused = Diff::between(&old, &config(""), &around()).expect_err("a refusal").to_string();
    assert!(refused.contains("http.tcp") && refused.contains("http.token_file"), "{refused}");
}

/// Lines that may be in a file or not; every subset keeps the rules.
const OPTIONAL_LINES: [&str; 9] = [
    "log = \"debug\"\n",
    "models = \"/other\"\n",
    "socket = \"/other.sock\"\n",
    "[http]\nmax_connections = 7\n",
    "[mqtt]\nurl = \"mqtt://h:1\"\n",
    "kept_answers = 7\n",
    "[limits]\nmax_upload_mib = 7\n",
    "max_channels = 7\n",
    "[scheduler]\ndrain_secs = 7\n",
];

fn subset(bits: u16) -> String {
    let mut text = String::new();
    for (place, line) in OPTIONAL_LINES.iter().enumerate() {
        let header = line.lines().find(|l| l.starts_with('['));
        if bits >> place & 1 == 1 {
            text.push_str(line);
        } else if let Some(header) = header {
            text.push_str(header);
            text.push('\n');
        }
    }
    text
}

proptest::proptest! {
    #[test]
    fn a_diff_and_its_reverse_lead_back(old in 0_u16..512, new in 0_u16..512) {
        let diff = diff(&subset(old), &subset(new));
        let back = diff.reverse();
        assert_eq!((&back.from, &back.to), (&diff.to, &diff.from));
        assert_eq!(back.reverse().changed, diff.changed);
        assert_eq!(back.parts().collect::<Vec<_>>(), diff.parts().collect::<Vec<_>>());
        // Nothing is left to change once it is applied but what was refused.
        let again = Diff::between(&diff.to, &config(&subset(new)), &around()).expect("both are right");
        assert!(again.changed.is_empty());
        assert_eq!(again.refused, diff.refused);
        assert_eq!(again.to, diff.to);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = document::parse(&text, Path::new("f"), Path::new("."));
    }
}
