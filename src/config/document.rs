//! A file's text becomes values with their places. Unknown keys and values that break their key's own rule end here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, Fault, Place};
use super::keys::{self, KEYS, Key, Kind, SECTIONS};
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
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| refuse(format!("the configuration cannot be read: {e}")))?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(refuse(format!("a configuration has at most {} KiB", MAX_CONFIG_BYTES >> 10)));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = line_of(e.as_bytes(), e.utf8_error().valid_up_to());
        refuse(format!("line {line} is not UTF-8 text"))
    })?;
    let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse(&text, path, base)
}

/// Parses the text of the file `path`; relative paths in it are taken from `base`.
pub fn parse(text: &str, path: &Path, base: &Path) -> Result<Values, ConfigError> {
    let mut reader = Reader { text, path, base, values: Values::default(), faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let syntax = errors.iter().map(|e| reader.fault_at(e.span().map_or(0, |s| s.start), "", not_toml(e.message())));
        return Err(ConfigError::Faults(syntax.collect()));
    }
    for (name, value) in document.get_ref().iter() {
        match value.get_ref() {
            DeValue::Table(inner) if SECTIONS.contains(&name.get_ref().as_ref()) && !name.get_ref().is_empty() => {
                for (inner_name, inner_value) in inner.iter() {
                    reader.take(name.get_ref(), inner_name.get_ref(), inner_name.span().start, inner_value.get_ref());
                }
            }
            value => reader.take("", name.get_ref(), name.span().start, value),
        }
    }
    if reader.faults.is_empty() {
        return Ok(reader.values);
    }
    reader.faults.sort_by_key(|f| match f.place {
        Place::File(_, line) => line,
        _ => 0,
    });
    Err(ConfigError::Faults(reader.faults))
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    base: &'a Path,
    values: Values,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault_at(&self, offset: usize, key: &str, message: String) -> Fault {
        Fault { place: self.place(offset), key: key.to_owned(), message }
    }

    fn place(&self, offset: usize) -> Place {
        Place::File(self.path.to_owned(), line_of(self.text.as_bytes(), offset))
    }

    fn take(&mut self, section: &str, name: &str, offset: usize, value: &DeValue<'_>) {
        let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let message = match keys::find(section, name) {
            None if section.is_empty() && SECTIONS.contains(&name) => {
                format!("expected a section: write [{name}] on a line of its own and its keys below it")
            }
            None => unknown(section, name, matches!(value, DeValue::Table(_))),
            Some(key) => match plain(value).filter(|v| key.kind.accepts(v)) {
                Some(value) => {
                    let value = match (key.kind, value) {
                        (Kind::Path, value) => resolve(value, self.base),
                        (Kind::Paths, Value::Array(paths)) => {
                            Value::Array(paths.into_iter().map(|path| resolve(path, self.base)).collect())
                        }
                        (Kind::Paths, path) => Value::Array(vec![resolve(path, self.base)]),
                        (_, value) => value,
                    };
                    self.values.set(key, value, self.place(offset));
                    return;
                }
                None => format!("expected {}, found {}", key.kind.expected(), found(value)),
            },
        };
        self.faults.push(self.fault_at(offset, &path, message));
    }
}

/// Refuses an unknown key, with the nearest that there is.
fn unknown(section: &str, name: &str, is_table: bool) -> String {
    if is_table && section.is_empty() {
        let known = SECTIONS.iter().copied().filter(|s| !s.is_empty());
        return match nearest(name, known) {
            Some(near) => format!("there is no section [{name}]; did you mean [{near}]?"),
            None => format!(
                "there is no section [{name}]; there are [http], [mqtt], [limits], [scheduler], [defaults] and [aliases]"
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

/// What stands there instead, for the message. A text is shown only in part.
fn found(value: &DeValue<'_>) -> String {
    const SHOWN: usize = 60;
    match value {
        DeValue::String(s) if s.chars().count() > SHOWN => {
            format!("the text {:?} and more", s.chars().take(SHOWN).collect::<String>())
        }
        DeValue::String(s) => format!("the text {s:?}"),
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
