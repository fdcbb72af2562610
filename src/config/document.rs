//! A file's text becomes values with their places. Unknown keys and values that break their key's own rule end here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use linnet_proto::words::without_login;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, Fault, Place};
use super::keys::{self, KEYS, Key, Kind, MQTT_SOURCE, SECTIONS};
use crate::limits::MAX_CONFIG_BYTES;

/// Values by key, each with the place that gave it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Values(BTreeMap<String, (Value, Place)>);

impl Values {
    /// Sets `key`; a later layer covers an earlier one.
    pub fn set(&mut self, key: &Key, value: Value, place: Place) {
        self.0.insert(key.path(), (value, place));
    }

    /// Lays `upper` over these.
    pub fn cover_with(&mut self, upper: Self) {
        self.0.extend(upper.0);
    }

    /// The value of the key `path` (`http.tcp`).
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.0.get(path).map(|(value, _)| value)
    }

    /// Where the key `path` was given.
    pub fn place(&self, path: &str) -> Place {
        self.0.get(path).map_or(Place::Default, |(_, place)| place.clone())
    }

    /// From now on nothing of this was given anywhere: it is the default.
    pub fn forget_places(&mut self) {
        for (_, place) in self.0.values_mut() {
            *place = Place::Default;
        }
    }

    /// Each key with its value and place, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value, &Place)> {
        self.0.iter().map(|(path, (value, place))| (path.as_str(), value, place))
    }

    /// Only the keys that `keep` wants, by path.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(path, _)| keep(path)).map(|(path, entry)| (path.clone(), entry.clone())).collect())
    }

    /// Takes over what `other` says of `key`, absence too.
    pub fn take_over(&mut self, key: &str, other: &Self) {
        match other.0.get(key) {
            Some(entry) => self.0.insert(key.to_owned(), entry.clone()),
            None => self.0.remove(key),
        };
    }

    /// As one TOML table, sections inside.
    pub fn to_table(&self) -> Table {
        let mut table = Table::new();
        for section in SECTIONS.iter().filter(|s| !s.is_empty()) {
            table.insert((*section).to_owned(), Value::Table(Table::new()));
        }
        for (path, (value, _)) in &self.0 {
            match path.split_once('.') {
                None => {
                    table.insert(path.clone(), value.clone());
                }
                Some((section, name)) => {
                    if let Some(Value::Table(inner)) = table.get_mut(section) {
                        inner.insert(name.to_owned(), value.clone());
                    }
                }
            }
        }
        table
    }
}

/// Reads a configuration file.
pub fn read_file(path: &Path) -> Result<Values, ConfigError> {
    let text = read_text(path, MAX_CONFIG_BYTES)?;
    let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse(&text, path, base)
}

/// Reads the text of a configuration of at most `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, ConfigError> {
    let refuse = |reason: String| ConfigError::Read { path: path.to_owned(), reason };
    let open = std::fs::File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = open.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            refuse("there is no such file; linnetd also runs without one, on its defaults".into())
        }
        std::io::ErrorKind::PermissionDenied => refuse("the configuration may not be read by this user".into()),
        _ => refuse(format!("the configuration cannot be read: {e}")),
    })?;
    if metadata.is_dir() {
        return Err(refuse("this is a directory; name the configuration file in it".into()));
    }
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| refuse(format!("the configuration cannot be read: {e}")))?;
    if bytes.len() as u64 > most {
        return Err(refuse(format!("a configuration has at most {} KiB", most >> 10)));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = line_of(e.as_bytes(), e.utf8_error().valid_up_to());
        refuse(format!("line {line} is not UTF-8 text"))
    })
}

/// Parses the text of the file `path`; relative paths in it are taken from `base`.
pub fn parse(text: &str, path: &Path, base: &Path) -> Result<Values, ConfigError> {
    parse_layer(text, &|line| Place::File(path.to_owned(), line), Base::Directory(base), |_| Ok(()))
}

/// What a relative path of a text is taken from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base<'a> {
    /// A directory.
    Directory(&'a Path),
    /// Nothing: it is refused. A text that many devices get belongs to no directory of theirs.
    None,
}

/// One line that sets a key, as it stands in the text: neither the key nor the value has been held to a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// `section.name`, or the bare name at the top level.
    pub path: String,
    /// The value; `None` for what no key takes.
    pub value: Option<Value>,
    /// The value for messages; a text only in part.
    pub shown: String,
    /// Line, from 1.
    pub line: usize,
    /// Whether it is a table, which at the top level may want to be a section.
    is_table: bool,
}

impl Setting {
    /// `path` set to `value` on `line`.
    pub fn new(path: impl Into<String>, value: Value, line: usize) -> Self {
        let is_table = value.is_table();
        Self { path: path.into(), shown: shown(&value), value: Some(value), line, is_table }
    }

    /// Gives it another value.
    pub fn change(&mut self, value: Value) {
        self.shown = shown(&value);
        self.is_table = value.is_table();
        self.value = Some(value);
    }
}

/// Parses a text whose line `n` is the place `place(n)`, once `migrate` has brought it into today's form; a fault of that is
/// the line, the key and one sentence.
pub(super) fn parse_layer(
    text: &str,
    place: &dyn Fn(usize) -> Place,
    base: Base<'_>,
    migrate: impl FnOnce(&mut Vec<Setting>) -> Result<(), (usize, String, String)>,
) -> Result<Values, ConfigError> {
    let mut reader = Reader { place, base, values: Values::default(), faults: Vec::new() };
    let line = |offset: usize| line_of(text.as_bytes(), offset);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let syntax =
            errors.iter().map(|e| reader.fault(line(e.span().map_or(0, |s| s.start)), "", not_toml(e.message())));
        return Err(ConfigError::Faults(syntax.collect()));
    }
    let setting = |path: String, offset: usize, value: &DeValue<'_>| Setting {
        path,
        value: plain(value),
        shown: found(value),
        line: line(offset),
        is_table: matches!(value, DeValue::Table(_)),
    };
    let mut settings = Vec::new();
    for (name, value) in document.get_ref().iter() {
        match value.get_ref() {
            DeValue::Table(inner) if SECTIONS.contains(&name.get_ref().as_ref()) && !name.get_ref().is_empty() => {
                for (inner_name, inner_value) in inner.iter() {
                    let path = format!("{}.{}", name.get_ref(), inner_name.get_ref());
                    settings.push(setting(path, inner_name.span().start, inner_value.get_ref()));
                }
            }
            // A quoted name with a dot of its own is not the key of a section.
            value if name.get_ref().contains('.') => {
                let message = unknown("", name.get_ref(), matches!(value, DeValue::Table(_)));
                reader.faults.push(reader.fault(line(name.span().start), name.get_ref(), message));
            }
            value => settings.push(setting(name.get_ref().to_string(), name.span().start, value)),
        }
    }
    if let Err((line, key, message)) = migrate(&mut settings) {
        return Err(ConfigError::Faults(vec![reader.fault(line, &key, message)]));
    }
    for setting in settings {
        reader.take(setting);
    }
    if reader.faults.is_empty() {
        return Ok(reader.values);
    }
    reader.faults.sort_by_key(|f| match f.place {
        Place::File(_, line) | Place::Generation(_, line) => line,
        _ => 0,
    });
    Err(ConfigError::Faults(reader.faults))
}

struct Reader<'a> {
    place: &'a dyn Fn(usize) -> Place,
    base: Base<'a>,
    values: Values,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&self, line: usize, key: &str, message: String) -> Fault {
        Fault { place: (self.place)(line), key: key.to_owned(), message }
    }

    fn take(&mut self, setting: Setting) {
        let Setting { path, value, shown, line, is_table } = setting;
        let (section, name) = path.split_once('.').unwrap_or(("", &path));
        let message = match keys::find(section, name) {
            None if section.is_empty() && SECTIONS.contains(&name) => {
                format!("expected a section: write [{name}] on a line of its own and its keys below it")
            }
            None => unknown(section, name, is_table),
            Some(key) => match value {
                Some(value) if key.kind.accepts(&value) => match self.resolved(key.kind, value) {
                    Ok(value) => {
                        self.values.set(key, value, (self.place)(line));
                        return;
                    }
                    Err(relative) => {
                        let relative = without_login(&relative);
                        format!(
                            "expected a path from the root of the file system, found {relative:?}: many devices read this"
                        )
                    }
                },
                value => match value.as_ref().and_then(|value| key.kind.fault(value)) {
                    Some((part, why)) => format!("{} {why}", self::shown(part)),
                    None => format!("expected {}, found {shown}", key.kind.expected()),
                },
            },
        };
        self.faults.push(self.fault(line, &path, message));
    }

    /// The value with its paths made absolute; the error is a relative one that is taken from nowhere.
    fn resolved(&self, kind: Kind, value: Value) -> Result<Value, String> {
        let from_base = |value: Value| match (value, self.base) {
            (Value::String(path), Base::None) if Path::new(&path).is_relative() => Err(path),
            (value, Base::None) => Ok(value),
            (value, Base::Directory(base)) => Ok(resolve(value, base)),
        };
        match (kind, value) {
            (Kind::Path, value) => from_base(value),
            (Kind::Paths, Value::Array(paths)) => {
                Ok(Value::Array(paths.into_iter().map(from_base).collect::<Result<_, _>>()?))
            }
            (Kind::Paths, path) => Ok(Value::Array(vec![from_base(path)?])),
            (Kind::Sources, Value::Array(sources)) => {
                let from_base = |source: Value| match source.as_str() {
                    Some(text) if text == MQTT_SOURCE || text.contains("://") => Ok(source),
                    _ => from_base(source),
                };
                Ok(Value::Array(sources.into_iter().map(from_base).collect::<Result<_, _>>()?))
            }
            (_, value) => Ok(value),
        }
    }
}

/// Refuses an unknown key, with the nearest that there is.
fn unknown(section: &str, name: &str, is_table: bool) -> String {
    if is_table && section.is_empty() {
        let known = SECTIONS.iter().copied().filter(|s| !s.is_empty());
        return match nearest(name, known) {
            Some(near) => format!("there is no section [{name}]; did you mean [{near}]?"),
            None => format!(
                "there is no section [{name}]; there are [http], [mqtt], [limits], [scheduler], [defaults], [fleet] and [aliases]"
            ),
        };
    }
    if let Some(elsewhere) = KEYS.iter().find(|k| k.name == name) {
        let place = match elsewhere.section {
            "" => "at the top of the file, before the first section".to_owned(),
            section => format!("in the section [{section}]"),
        };
        return format!("unknown key here; `{name}` stands {place}");
    }
    let here = KEYS.iter().filter(|k| k.section == section).map(|k| k.name);
    let anywhere = || KEYS.iter().map(|k| k.name);
    match nearest(name, here).or_else(|| nearest(name, anywhere())) {
        Some(near) => {
            let paths: Vec<_> = KEYS.iter().filter(|k| k.name == near).collect();
            let key = paths.iter().find(|k| k.section == section).or(paths.first());
            format!("unknown key; did you mean `{}`?", key.map_or(near.to_owned(), |k| k.path()))
        }
        None => "unknown key; docs/config.md lists all of them".to_owned(),
    }
}

/// The word that is most like `name`, when one is like it at all.
pub fn nearest<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    words
        .map(|word| (strsim::normalized_damerau_levenshtein(name, word).max(strsim::jaro(name, word) - 0.1), word))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// The value without its spans; `None` for what no key takes.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(s) => Value::String(s.clone().into_owned()),
        DeValue::Integer(i) => Value::Integer(i64::from_str_radix(i.as_str(), i.radix()).ok()?),
        DeValue::Boolean(b) => Value::Boolean(*b),
        DeValue::Array(items) => Value::Array(items.iter().map(|i| plain(i.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(inner) => {
            let inner = inner.iter().map(|(name, value)| Some((name.get_ref().to_string(), plain(value.get_ref())?)));
            Value::Table(inner.collect::<Option<_>>()?)
        }
        DeValue::Float(_) | DeValue::Datetime(_) => return None,
    })
}

/// A value for messages, as [`found`] shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => found(&DeValue::String(text.as_str().into())),
        Value::Boolean(truth) => truth.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a section".to_owned(),
        Value::Integer(_) | Value::Float(_) => format!("the number {value}"),
        Value::Datetime(date) => format!("the date {date}"),
    }
}

/// What stands there instead, for the message, which comes to logs and reports. A text is shown only in part, and a URL without its login.
fn found(value: &DeValue<'_>) -> String {
    const SHOWN: usize = 60;
    match value {
        DeValue::String(s) => {
            let shown = without_login(s);
            match shown.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("the text {:?} and more", &shown[..end]),
                None => format!("the text {shown:?}"),
            }
        }
        DeValue::Integer(i) => format!("the number {i}"),
        DeValue::Float(x) => format!("the number {x}"),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(d) => format!("the date {d}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// A path of the file, from the file's own directory.
fn resolve(value: Value, base: &Path) -> Value {
    match value {
        Value::String(path) => Value::String(
            PathBuf::from(base)
                .join(&path)
                .into_os_string()
                .into_string()
                // Only a base that is not UTF-8 leads here, and it was opened by such a name: keep the path as written.
                .unwrap_or(path),
        ),
        other => other,
    }
}

fn not_toml(message: &str) -> String {
    format!("not TOML: {}", message.replace('\n', "; "))
}

/// The line of a byte offset, from 1.
fn line_of(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|b| **b == b'\n').count() + 1
}
