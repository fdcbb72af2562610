//! `docs/config.md`, written from the table of keys and the default file; a test holds the committed page to it.

use std::fmt::Write;

use super::keys::{KEYS, Key, Kind, Locality, Reload, SECTIONS};
use super::{ConfigError, defaults};

/// The page as Markdown.
pub fn page() -> Result<String, ConfigError> {
    let defaults = defaults()?;
    let mut page = String::from(INTRODUCTION);
    for section in SECTIONS {
        let title = if section.is_empty() { "Top of the file".to_owned() } else { format!("`[{section}]`") };
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## {title}\n\n| key | takes | default | whose | reload | meaning |\n|---|---|---|---|---|---|\n"
        );
        for key in KEYS.iter().filter(|k| k.section == section) {
            let default = defaults.get(&key.path()).map_or("–".to_owned(), |value| format!("`{value}`"));
            let reload = match key.reload {
                Reload::Live => "yes",
                Reload::Restart => "restart",
            };
            let whose = match key.locality {
                Locality::Local => "local",
                Locality::Pushed => "pushed",
            };
            let (name, takes, meaning) = (key.name, takes(key), key.meaning);
            let _ = writeln!(page, "| `{name}` | {takes} | {default} | {whose} | {reload} | {meaning} |");
        }
    }
    page.push_str(CLOSING);
    Ok(page)
}

fn takes(key: &Key) -> String {
    match key.kind {
        Kind::Text => "text".into(),
        Kind::Path => "path".into(),
        Kind::Paths => "path, or list of paths".into(),
        Kind::Integer(least, most) => format!("{least} to {most}"),
        Kind::Boolean => "true, false".into(),
        Kind::Texts => "list of texts".into(),
        Kind::Filters => "list of topic filters".into(),
        Kind::OneOf(words) => words.join(", "),
        Kind::Device => "name".into(),
        Kind::Address => "address and port".into(),
        Kind::Mode => "octal digits".into(),
        Kind::BrokerUrl => "URL".into(),
        Kind::Names => "table of names".into(),
        Kind::Labels => "table of texts".into(),
        Kind::Sources => "list of `mqtt`, URLs, paths".into(),
        Kind::Keys => "list of keys".into(),
    }
}

const INTRODUCTION: &str = "\
# Configuration

`linnetd` needs no configuration. A file holds only what differs from the default, `config/linnet.toml`, which is built into the
program and shows every key with a comment. This page is written from the program's own table of keys; a test keeps it true.

```sh
linnetd --config /etc/linnet/linnet.toml      # serve with it
linnetd --check /etc/linnet/linnet.toml       # say what is wrong with it: file, line, key, what was expected
linnetd --check /etc/linnet/linnet.toml --explain      # every key, its value, and who gives it
```

A value is taken from the first of these that gives one:

| | file | socket | models | default model | state | log |
|---|---|---|---|---|---|---|
| flag | `--config` | `--socket` | `--models`, may be repeated | `--default-model` | `--state` | `--log` |
| environment | `LINNET_CONFIG` | `LINNET_SOCKET` | `LINNET_MODELS`, parted by `:` | `LINNET_DEFAULT_MODEL` | `LINNET_STATE` | `LINNET_LOG` |
| key of the file | | `socket` | `models` | `default_model` | `state` | `log` |

A device of a fleet has one layer more: the configuration of the *generation* that was pushed to it. A key that says *pushed* below is taken
from the generation before the file; one that says *local* is this device's own, or its credentials', and a generation that so much as names it is
refused, unless `fleet.allow_local_keys` lists it; then it counts as pushed. Nothing of `[fleet]` can be listed. In full: flag, environment, local keys of the
file, generation, file, default. With `fleet.claim`, what the device was granted (its name, its fleet, the broker) is a layer of its own between file and default, in
`<state>/identity/granted.toml`; the file may not give it other names. `--explain` says of each key which of them gave it, with the generation that serves on this device (as root, or as the daemon's
user: nobody else reads the state directory). With `--generation PATH` it takes what is to be pushed in its place: a configuration, a generation (JSON), or a
directory with one. Paths in a generation begin at the root of the file system.

An empty variable counts as none. A relative path in the file is taken from the file's own directory. Durations and sizes carry their
unit in their name.

`models` may name several directories, for example the site's own packages before those that came with `linnetd`. Where two hold a model of the
same name, the earlier directory's serves and the log says that the other is passed over; a directory that is not there is passed over
with a warning as long as another is. `--check` and the start also look whether `default_model` names a package in them, and name the nearest one
when it does not; the same holds for `[defaults]` and `aliases`.

## Reload

`systemctl reload linnetd` (`SIGHUP`) reads the file again and applies the difference, part by part; HTTP's token and certificates are
read again too. When a part cannot take it, the parts that already have are put back, and the log says why. A key that says *restart* below
is refused by name and keeps its value until the daemon is restarted. A file that is wrong changes nothing.

A systemd credential (`LoadCredential=`) is a copy from the unit's start: a reload reads the same copy again. After a new token, password or
certificate that comes by a credential: `systemctl restart linnetd`, which lets running requests end.
";

const CLOSING: &str = "
## Exit codes

Those of `sysexits.h`: 0 ended as asked, 64 wrong use of the command line, 65 a package fails its check, 66 an input file is missing,
69 the socket belongs to another daemon or the demo got no answer, 70 a fault of `linnetd` itself, 71 the operating system refused a
thread, 73 a file, directory or socket cannot be created, 74 reading or writing failed, 78 the configuration is wrong. 130: interrupted
in the demo.
";
