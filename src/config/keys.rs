//! Every key of the configuration in one table: name, rule, meaning, and whether a reload can change it. The reader, the
//! messages and `docs/config.md` are made from it. Defaults stand in `config/linnet.toml`.

use std::net::SocketAddr;

use linnet_proto::topic::{DeviceName, TopicError, TopicFilter};
use toml::Value;

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its section; empty for the top level.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Whether a generation can set it.
    pub locality: Locality,
    /// Whether `SIGHUP` can change it.
    pub reload: Reload,
    /// What it means, one sentence. Says what happens without it when it has no default.
    pub meaning: &'static str,
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// This device's own, or its credentials': the file goes before a generation, which may not even name it.
    Local,
    /// A generation's value goes before the file's.
    Pushed,
}

/// Whether a running daemon takes a new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// `SIGHUP` applies it.
    Live,
    /// `SIGHUP` refuses it by name; a restart applies it.
    Restart,
}

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// A path; a relative one is taken from the directory of the file that names it.
    Path,
    /// One path or a list of paths, each as [`Kind::Path`].
    Paths,
    /// A whole number between two bounds.
    Integer(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    Texts,
    /// A list of MQTT topic filters.
    Filters,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One level of MQTT topics.
    Device,
    /// An IP address and a port.
    Address,
    /// A file mode in octal digits.
    Mode,
    /// The broker's URL.
    BrokerUrl,
    /// A table of names, each with the name of a model.
    Names,
    /// A table of names, each with a text.
    Labels,
    /// A list of `mqtt`, URLs of HTTP, and directories; a relative directory is taken from that of the file.
    Sources,
    /// A list of keys that are local and not of `[fleet]`.
    Keys,
}

/// Names of log levels, quietest first.
pub const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Types of weights.
const DTYPES: &[&str] = &["auto", "f32", "f16", "int8", "uint8", "q4", "q4f16"];

/// Schemes of the broker's URL.
const BROKER_SCHEMES: [&str; 4] = ["mqtt", "mqtts", "ws", "wss"];

const DAY_SECS: i64 = 86_400;

/// When the clock is believed.
const CLOCKS: &[&str] = &["kernel", "always", "never"];

/// What the source of generations is called that needs no address.
pub const MQTT_SOURCE: &str = "mqtt";

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    locality: Locality,
    reload: Reload,
    meaning: &'static str,
) -> Key {
    Key { section, name, kind, locality, reload, meaning }
}

use Kind::{
    Address, Boolean, BrokerUrl, Device, Filters, Integer, Keys, Labels, Mode, Names, OneOf, Path, Paths, Sources,
    Text, Texts,
};
use Locality::{Local, Pushed};
use Reload::{Live, Restart};

/// What every key of `[defaults]` means.
const DEFAULT_OF_TASK: &str = "Model of requests for this task that name none, by name or alias. Not set: `default_model` where that does it, else the first that puts the task first among its own.";

/// The table, in the order of `config/linnet.toml`.
pub const KEYS: &[Key] = &[
    key(
        "",
        "device",
        Device,
        Local,
        Restart,
        "Name of this device, one level of MQTT topics. Not set: the host's name.",
    ),
    key(
        "",
        "socket",
        Path,
        Local,
        Restart,
        "The local socket. Not set: `linnet.sock` in systemd's runtime directory, else `$XDG_RUNTIME_DIR/linnet/linnet.sock`, else `/run/linnet/linnet.sock`.",
    ),
    key(
        "",
        "models",
        Paths,
        Local,
        Live,
        "Directory of model packages, or a list of them: where two hold a model of one name, the earlier directory's serves. Not set: `models` in the state directory, where models are added, and the packages that were installed with `linnetd`, or the tree's own.",
    ),
    key(
        "",
        "default_model",
        Text,
        Pushed,
        Live,
        "Name or alias of the model for requests that name none. Not set: the first that does what is asked.",
    ),
    key(
        "",
        "aliases",
        Names,
        Pushed,
        Live,
        "Further names of models, for clients that ask for a fixed one, each with the name of the model that is meant. Not set: only those of the packages.",
    ),
    key(
        "",
        "dtype",
        OneOf(DTYPES),
        Pushed,
        Live,
        "Type of weights to take where a package holds several. Not set, or `auto`: the most precise that takes no more than half of the memory that is available.",
    ),
    key(
        "",
        "preload",
        Texts,
        Pushed,
        Live,
        "Models that are loaded before the daemon is ready, by name or by a task that they do; `all` for every one. The others are loaded when somebody needs them.",
    ),
    key(
        "",
        "pinned",
        Texts,
        Pushed,
        Live,
        "Models, by name, that are loaded before the daemon is ready and never let go of.",
    ),
    key(
        "",
        "memory_limit_mib",
        Integer(0, 1 << 22),
        Pushed,
        Live,
        "Memory that all models together may take: the least recently used make room, and what can never fit is refused. 0: no limit.",
    ),
    key(
        "",
        "idle_unload_secs",
        Integer(0, 365 * DAY_SECS),
        Pushed,
        Live,
        "A model that nobody has used for so long is let go of; its next use loads it again. 0: never.",
    ),
    key(
        "",
        "state",
        Path,
        Local,
        Restart,
        "Directory of what must outlive a restart. Not set: systemd's state directory, else `$XDG_STATE_HOME/linnet`, else `~/.local/state/linnet`, for root `/var/lib/linnet`.",
    ),
    key("", "log", OneOf(LEVELS), Pushed, Live, "How much is logged."),
    key("http", "socket_mode", Mode, Local, Restart, "File mode of the local socket."),
    key(
        "http",
        "socket_group",
        Text,
        Local,
        Restart,
        "Group that owns the local socket: a name of `/etc/group`, or a number. Not set: the daemon's own. Under the systemd unit set `Group=` instead (`systemd/drop-ins/group.conf`).",
    ),
    key("http", "tcp", Address, Local, Restart, "Address of HTTP over TCP. Not set: off."),
    key(
        "http",
        "token_file",
        Path,
        Local,
        Live,
        "File of the bearer token; needed with `tcp`. Read again by `SIGHUP`.",
    ),
    key("http", "tls_cert", Path, Local, Live, "Certificate chain of TCP (PEM). Read again by `SIGHUP`."),
    key("http", "tls_key", Path, Local, Live, "Key of `tls_cert` (PEM)."),
    key("http", "insecure_plaintext", Boolean, Local, Live, "Plain text beyond loopback, on the operator's word."),
    key(
        "http",
        "max_connections",
        Integer(1, 65_536),
        Pushed,
        Live,
        "Connections at once; a further one waits in the kernel.",
    ),
    key("http", "header_timeout_secs", Integer(1, 3600), Pushed, Live, "Time for a request's head to arrive, seconds."),
    key(
        "http",
        "idle_timeout_secs",
        Integer(1, 3600),
        Pushed,
        Live,
        "Longest silence inside a body, and of a client that reads nothing, seconds.",
    ),
    key(
        "http",
        "default_timeout_secs",
        Integer(1, DAY_SECS),
        Pushed,
        Live,
        "Deadline of a request over HTTP that names none, seconds.",
    ),
    key(
        "mqtt",
        "url",
        BrokerUrl,
        Local,
        Live,
        "The broker: `mqtt://`, `mqtts://`, `ws://` or `wss://` with host and port. Not set: MQTT is off.",
    ),
    key("mqtt", "device", Device, Local, Restart, "The same as the top-level `device`."),
    key("mqtt", "client_id", Text, Local, Live, "Client identifier. Not set: `linnet-<device>`."),
    key("mqtt", "username", Text, Local, Live, "User name. Not set: none is sent."),
    key("mqtt", "password_file", Path, Local, Live, "File of the password. Not set: none is sent."),
    key(
        "mqtt",
        "ca_file",
        Path,
        Local,
        Live,
        "Authorities that the broker's certificate may come from (PEM); needed for `mqtts` and `wss`.",
    ),
    key("mqtt", "client_cert", Path, Local, Live, "Client certificate chain (PEM). Not set: none is shown."),
    key("mqtt", "client_key", Path, Local, Live, "Key of `client_cert` (PEM)."),
    key("mqtt", "alpn", Texts, Local, Live, "ALPN protocols that are offered."),
    key("mqtt", "keep_alive_secs", Integer(5, 3600), Pushed, Live, "Keep-alive, seconds."),
    key(
        "mqtt",
        "session_expiry_secs",
        Integer(0, 30 * DAY_SECS),
        Pushed,
        Live,
        "How long the broker keeps requests for a daemon that is away, seconds.",
    ),
    key("mqtt", "max_packet_mib", Integer(1, 255), Pushed, Live, "Largest packet in either direction, MiB."),
    key(
        "mqtt",
        "receive_maximum",
        Integer(2, 65_535),
        Pushed,
        Live,
        "Requests in flight; above `scheduler.queue_length`. Not set: twice the queue's length.",
    ),
    key(
        "mqtt",
        "response_topics",
        Filters,
        Pushed,
        Live,
        "Topic filters that response topics may match, beside `linnet/+/response/#`.",
    ),
    key(
        "mqtt",
        "default_timeout_secs",
        Integer(1, DAY_SECS),
        Pushed,
        Live,
        "Deadline of a request over MQTT that names none, seconds.",
    ),
    key(
        "mqtt",
        "kept_answers",
        Integer(1, 65_536),
        Pushed,
        Live,
        "Answers that are kept for a request that is sent again.",
    ),
    key("mqtt", "kept_answer_secs", Integer(1, DAY_SECS), Pushed, Live, "How long an answer is kept, seconds."),
    key(
        "mqtt",
        "backoff_first_ms",
        Integer(10, 60_000),
        Pushed,
        Live,
        "First pause before a new attempt to connect, milliseconds.",
    ),
    key(
        "mqtt",
        "backoff_longest_secs",
        Integer(1, 3600),
        Pushed,
        Live,
        "Longest pause before a new attempt to connect, seconds.",
    ),
    key("limits", "max_upload_mib", Integer(1, 4096), Pushed, Live, "Largest audio file in one request, MiB."),
    key(
        "limits",
        "max_upload_total_mib",
        Integer(1, 65_536),
        Pushed,
        Live,
        "Audio files of all requests in memory together, MiB.",
    ),
    key("limits", "max_audio_secs", Integer(1, 7 * DAY_SECS), Pushed, Live, "Longest audio, seconds."),
    key("limits", "min_sample_rate_hz", Integer(1000, 384_000), Pushed, Live, "Lowest sample rate, Hz."),
    key("limits", "max_sample_rate_hz", Integer(8000, 768_000), Pushed, Live, "Highest sample rate, Hz."),
    key("limits", "max_channels", Integer(1, 64), Pushed, Live, "Most channels."),
    key(
        "limits",
        "max_timeout_secs",
        Integer(1, DAY_SECS),
        Pushed,
        Live,
        "Longest deadline that a request may name, seconds.",
    ),
    key(
        "scheduler",
        "workers",
        Integer(0, 64),
        Pushed,
        Restart,
        "Worker threads, each of which runs one job at a time. 0: one for each processor, at most 8.",
    ),
    key(
        "scheduler",
        "queue_length",
        Integer(1, 32_768),
        Pushed,
        Live,
        "Jobs that may wait for a worker; a further one is refused with `overloaded`.",
    ),
    key(
        "scheduler",
        "stuck_after_secs",
        Integer(1, 3600),
        Pushed,
        Live,
        "A job that shows no progress for so long is answered with an error and its worker is given up, seconds.",
    ),
    key(
        "scheduler",
        "drain_secs",
        Integer(0, 3600),
        Pushed,
        Live,
        "How long running jobs may take to end after `SIGTERM`, seconds.",
    ),
    key("defaults", "transcribe", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "translate-speech", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "translate", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "generate", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "chat", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "summarize", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "answer", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "fill", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "classify", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "tag", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "intent", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "embed", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "detect", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "words", Text, Pushed, Live, DEFAULT_OF_TASK),
    key("defaults", "raw", Text, Pushed, Live, DEFAULT_OF_TASK),
    key(
        "fleet",
        "claim",
        Path,
        Local,
        Restart,
        "A claim of a fleet's operator (`linnet fleet claim create`): with it the device gets its name, and everything else that it needs, by itself. Until it has them, MQTT and updates are off. Not set: they stand in this file.",
    ),
    key(
        "fleet",
        "name",
        Device,
        Local,
        Restart,
        "Name of the fleet that this device belongs to. Not set: nothing is taken from anybody.",
    ),
    key(
        "fleet",
        "root",
        Path,
        Local,
        Restart,
        "The fleet's first trusted `root.json`; needed with `name`. Later ones are signed by those before.",
    ),
    key(
        "fleet",
        "sources",
        Sources,
        Local,
        Restart,
        "Where generations are looked for, in order: `mqtt` for the broker, URLs of an HTTP server, directories such as a stick's.",
    ),
    key(
        "fleet",
        "ca_file",
        Path,
        Local,
        Restart,
        "Authorities that the certificates of `https` sources may come from (PEM); no others count then. Not set: those that the system trusts.",
    ),
    key("fleet", "groups", Texts, Local, Restart, "Groups that this device belongs to, for who is meant by a push."),
    key(
        "fleet",
        "labels",
        Labels,
        Local,
        Restart,
        "Labels of this device, each with a value, for who is meant by a push. Not set: none.",
    ),
    key(
        "fleet",
        "refresh_secs",
        Integer(10, 30 * DAY_SECS),
        Local,
        Restart,
        "How often the fleet's metadata are looked at without a hint, seconds; each pause is made up to a tenth longer or shorter.",
    ),
    key(
        "fleet",
        "trial_secs",
        Integer(1, 7 * DAY_SECS),
        Local,
        Restart,
        "How long a new generation serves on trial before it stays, seconds.",
    ),
    key(
        "fleet",
        "probe_secs",
        Integer(5, DAY_SECS),
        Local,
        Restart,
        "How long a new generation may take to prove itself before it serves, seconds.",
    ),
    key(
        "fleet",
        "probe_memory_mib",
        Integer(0, 1 << 22),
        Local,
        Restart,
        "Memory that the proof may take, MiB; a generation that needs more is rejected. 0: what is free.",
    ),
    key(
        "fleet",
        "drained_probe",
        Boolean,
        Local,
        Restart,
        "Where memory does not suffice for what serves and for the proof: whether models may be let go of for as long as the proof takes, while requests wait.",
    ),
    key(
        "fleet",
        "allow_local_keys",
        Keys,
        Local,
        Restart,
        "Keys that belong to this device (*local* in this page) and that a generation may set all the same; none of `[fleet]`.",
    ),
    key(
        "fleet",
        "clock",
        OneOf(CLOCKS),
        Local,
        Restart,
        "When the clock is believed, for what expires: `kernel` when the kernel counts it as synchronised, `always`, or `never`.",
    ),
];

/// Sections in the order of the table; the top level is the first and has an empty name.
pub const SECTIONS: [&str; 7] = ["", "http", "mqtt", "limits", "scheduler", "defaults", "fleet"];

impl Key {
    /// `section.name`, or the bare name at the top level.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// Whether a device may let generations set it: what decides whom the device believes is never theirs.
    pub fn can_be_allowed(&self) -> bool {
        self.locality == Locality::Local && self.section != "fleet"
    }
}

/// The key of the path `section.name`.
pub fn of_path(path: &str) -> Option<&'static Key> {
    let (section, name) = path.split_once('.').unwrap_or(("", path));
    find(section, name)
}

/// The key of `section` and `name`.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.section == section && k.name == name)
}

impl Kind {
    /// What is expected, to follow "expected".
    pub fn expected(&self) -> String {
        match self {
            Text => "a text in quotes, not empty".into(),
            Path => "a path in quotes, not empty".into(),
            Paths => "a path in quotes, not empty, or a list of them".into(),
            Integer(least, most) => format!("a whole number from {least} to {most}"),
            Boolean => "true or false".into(),
            Texts => "a list of texts, for example [\"mqtt\"]".into(),
            Filters => "a list of MQTT topic filters, for example [\"site/+/answers/#\"]".into(),
            OneOf(words) => {
                format!("one of {}", words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", "))
            }
            Device => {
                "a name of letters, digits, `-`, `_` and `.`, not beginning with `-`, at most 64 characters, other than `.`, `..` and the reserved names `pool` and `fleet`, for example \"kitchen\"".into()
            }
            Names => "a table of names, each with a model's name, for example { \"gpt-4o-mini\" = \"chat\" }".into(),
            Labels => "a table of names, each with a text, for example { board = \"pi4\" }".into(),
            Sources => {
                "a list of \"mqtt\", URLs and directories, for example [\"mqtt\", \"https://updates.example/linnet\", \"/media/stick\"]"
                    .into()
            }
            Keys => "a list of keys that docs/config.md calls local, none of [fleet], for example [\"mqtt.url\"]".into(),
            Address => "an IP address with a port, for example \"127.0.0.1:8053\"".into(),
            Mode => "a file mode in octal digits, for example \"0660\"".into(),
            BrokerUrl => {
                "a broker, for example \"mqtt://localhost:1883\" (mqtt, mqtts, ws or wss; user and password stand \
                          in keys of their own)"
                    .into()
            }
        }
    }

    /// Whether `value` keeps the rule.
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Text, Value::String(s)) => !s.is_empty() && !s.contains(char::is_control),
            (Path | Paths, Value::String(s)) => !s.is_empty() && !s.contains('\0'),
            (Paths, Value::Array(items)) => !items.is_empty() && items.iter().all(|i| Path.accepts(i)),
            (Integer(least, most), Value::Integer(n)) => (least..=most).contains(&n),
            (Boolean, Value::Boolean(_)) => true,
            (Texts, Value::Array(items)) => items.iter().all(|i| i.as_str().is_some_and(|s| !s.is_empty())),
            (Filters, Value::Array(items)) => {
                items.iter().all(|i| i.as_str().is_some_and(|s| TopicFilter::new(s).is_ok()))
            }
            (OneOf(words), Value::String(s)) => words.contains(&s.as_str()),
            (Device, Value::String(s)) => DeviceName::new(s.as_str()).is_ok(),
            (Names, Value::Table(names)) => {
                names.iter().all(|(name, model)| is_name(name) && model.as_str().is_some_and(is_name))
            }
            (Labels, Value::Table(labels)) => {
                labels.iter().all(|(name, text)| is_name(name) && text.as_str().is_some_and(is_name))
            }
            (Sources, Value::Array(items)) => {
                !items.is_empty()
                    && items.iter().all(|i| i.as_str().is_some_and(|source| fault_of_source(source).is_none()))
            }
            (Keys, Value::Array(items)) => {
                items.iter().all(|i| i.as_str().and_then(of_path).is_some_and(Key::can_be_allowed))
            }
            (Address, Value::String(s)) => s.parse::<SocketAddr>().is_ok(),
            (Mode, Value::String(s)) => parse_mode(s).is_some(),
            (BrokerUrl, Value::String(s)) => is_broker_url(s),
            _ => false,
        }
    }

    /// Of a value that breaks the rule: the part of it that does, and what is wrong with that part, where more can be said than what is expected.
    pub fn fault<'a>(&self, value: &'a Value) -> Option<(&'a Value, String)> {
        match (self, value) {
            (Sources, Value::Array(items)) => {
                items.iter().find_map(|item| Some((item, fault_of_source(item.as_str()?)?)))
            }
            (Device, Value::String(name)) => match DeviceName::new(name.as_str()) {
                Err(e @ (TopicError::LikeOption(_) | TopicError::LikeDirectory(_))) => Some((
                    value,
                    format!(
                        "can be no device's name: {e}, and give this device's account and ACL at the broker the same"
                    ),
                )),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a request can call a model.
fn is_name(text: &str) -> bool {
    (1..=linnet_proto::transcribe::MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

/// Longest path of a directory, bytes: what the kernel takes of one.
const MAX_PATH_BYTES: usize = 4095;

/// What is wrong with a source, to follow it in a sentence: it is `mqtt`, a URL of HTTP, or a path.
fn fault_of_source(text: &str) -> Option<String> {
    if text.contains("://") {
        return linnet_fleet::source::fault_of_url(text).map(|why| format!("can be no source: {why}"));
    }
    let is_path = (1..=MAX_PATH_BYTES).contains(&text.len()) && !text.contains(char::is_control);
    (!is_path).then(|| {
        format!("can be no source: a directory's path has 1 to {MAX_PATH_BYTES} bytes, none of them a control character; name a directory, a URL or \"mqtt\"")
    })
}

/// `0660` as a number; three or four octal digits, no set-id bits.
pub fn parse_mode(text: &str) -> Option<u32> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777)
}

fn is_broker_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let known = BROKER_SCHEMES.contains(&scheme);
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    let path_fits = path.is_empty() || scheme.starts_with("ws");
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside the brackets of an IPv6 address is none before a port.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().is_ok_and(|p| p > 0)),
        _ => (authority, true),
    };
    let host_fits = !host.is_empty() && !host.contains(['@', ' ', '?', '#']) && !host.contains(char::is_control);
    known && path_fits && port && host_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_declared_twice_and_sections_stand_together() {
        let mut sections = vec![""];
        for (place, key) in KEYS.iter().enumerate() {
            assert!(!KEYS[..place].contains(key), "{}", key.path());
            assert!(find(key.section, key.name) == Some(key), "{}", key.path());
            if sections.last() != Some(&key.section) {
                sections.push(key.section);
            }
        }
        assert_eq!(sections, SECTIONS);
    }

    #[test]
    fn a_unit_is_part_of_the_name_of_every_duration_and_size() {
        let counts = ["max_connections", "receive_maximum", "kept_answers", "max_channels", "workers", "queue_length"];
        for key in KEYS.iter().filter(|k| matches!(k.kind, Integer(..))) {
            let has_unit = ["_secs", "_ms", "_mib", "_hz"].iter().any(|unit| key.name.ends_with(unit));
            assert!(has_unit != counts.contains(&key.name), "{}", key.path());
        }
    }

    #[test]
    fn a_broker_is_named_by_scheme_host_and_port_and_by_nothing_else() {
        for good in [
            "mqtt://localhost:1883",
            "mqtts://broker.example",
            "mqtt://[::1]:1883",
            "mqtt://[fe80::1]",
            "wss://h:443/mqtt",
        ] {
            assert!(is_broker_url(good), "{good}");
        }
        for bad in [
            "localhost:1883",
            "http://h:1",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://u:p@h:1883",
            "mqtt://h:0",
            "mqtt://h:70000",
            "mqtt://h:1/x",
            "mqtt://a b",
        ] {
            assert!(!is_broker_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_source_is_the_broker_a_server_or_a_directory() {
        for good in ["mqtt", "http://h", "https://updates.example:8443/linnet", "/media/stick", "stick"] {
            assert_eq!(fault_of_source(good), None, "{good}");
        }
        let long = "x".repeat(200 << 10);
        for bad in ["", "ftp://h/x", "https://", "https://u:p@h/", "https://h/?a", "https://h:99999", "a\nb", &long] {
            let why = fault_of_source(bad).unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(why.len() < 300, "{why}");
        }
    }

    #[test]
    fn what_decides_whom_the_device_believes_can_never_be_allowed() {
        for key in KEYS.iter().filter(|k| k.section == "fleet") {
            assert!(key.locality == Locality::Local && !key.can_be_allowed(), "{}", key.path());
        }
        assert!(of_path("mqtt.url").is_some_and(Key::can_be_allowed));
        assert!(!of_path("log").is_some_and(Key::can_be_allowed), "a generation sets it without leave");
    }

    #[test]
    fn every_key_of_a_file_a_credential_or_an_address_is_local() {
        for key in KEYS {
            let names_this_device =
                matches!(key.kind, Path | Paths | BrokerUrl | Address | Device | Mode | Sources | Keys);
            assert!(!names_this_device || key.locality == Locality::Local, "{}", key.path());
        }
    }

    #[test]
    fn a_mode_is_octal_and_sets_no_ids() {
        assert_eq!(parse_mode("0660"), Some(0o660));
        assert_eq!(parse_mode("600"), Some(0o600));
        for bad in ["", "66", "0o660", "0689", "4755", "+660", "00660"] {
            assert_eq!(parse_mode(bad), None, "{bad}");
        }
    }
}
