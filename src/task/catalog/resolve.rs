//! Which model a request means.

use std::sync::Arc;

use linnet_proto::{ErrorCode, WireError};

use super::{Catalog, Entry, Served};

/// Names that an error lists at most.
const MOST_NAMES: usize = 8;
/// Characters of an asked name that an error repeats at most.
const MOST_CHARS: usize = 80;
/// Similarity (1 is equal) from which a name is offered instead.
const SIMILAR: f64 = 0.5;

impl Catalog {
    /// The model for `task`: the one that is asked for by name or alias, else the configured default, else the first that puts
    /// the task first among its own, else the first that does it.
    pub fn resolve(&self, task: &str, asked: Option<&str>) -> Result<Arc<Served>, WireError> {
        match asked {
            Some(name) => self.named(task, name),
            None => self.unnamed(task),
        }
    }

    fn named(&self, task: &str, name: &str) -> Result<Arc<Served>, WireError> {
        let name = self.choices.aliases.get(name).map_or(name, String::as_str);
        if let Some(served) = self.served().find(|s| s.name == name || s.aliases.iter().any(|a| a == name)) {
            if served.does(task) {
                return Ok(Arc::clone(served));
            }
            let message =
                format!("the model {} does not {task}; it does: {}", served.name, served.manifest.tasks.join(", "));
            return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("model"));
        }
        if let Some(failed) = self
            .failed()
            .find(|f| f.name == name || f.manifest.as_ref().is_some_and(|m| m.aliases.iter().any(|a| a == name)))
        {
            let message = format!("the model {} is there but does not serve: {}", failed.name, failed.reason);
            return Err(WireError::new(ErrorCode::ModelFailed, message).with_param("model"));
        }
        Err(self.unknown(name))
    }

    fn unnamed(&self, task: &str) -> Result<Arc<Served>, WireError> {
        if let Some(name) = self.choices.defaults.get(task) {
            return self.named(task, name);
        }
        let default = self.choices.default_model.as_deref().map(|name| self.named(task, name));
        // A default for speech is not one for another task; but a default that failed is told, not replaced.
        match default {
            Some(Err(e)) if e.code != ErrorCode::UnsupportedTask => return Err(e),
            Some(Ok(served)) => return Ok(served),
            _ => {}
        }
        let first = |s: &&Arc<Served>| s.manifest.tasks.first().is_some_and(|t| t == task);
        if let Some(served) = self.served().find(first).or_else(|| self.served().find(|s| s.does(task))) {
            return Ok(Arc::clone(served));
        }
        let does = |f: &&super::Failed| f.manifest.as_ref().is_none_or(|m| m.tasks.iter().any(|t| t == task));
        if let Some(failed) = self.failed().find(does) {
            let message = format!("no model serves {task}: {} failed: {}", failed.name, failed.reason);
            return Err(WireError::new(ErrorCode::ModelFailed, message));
        }
        let message = if self.entries.is_empty() {
            "linnetd has no model; put a package into its models directory and reload it".to_owned()
        } else {
            format!("no model here does {task}; there is: {}", self.names().join(", "))
        };
        Err(WireError::new(ErrorCode::UnsupportedTask, message))
    }

    /// Why nobody can mean a package by `name`, with the nearest name; `None` when one has it, whether it serves or not.
    pub fn unknown_name(&self, name: &str) -> Option<String> {
        let known = self.all_names().any(|known| known == name);
        (!known).then(|| self.unknown(name).message)
    }

    /// Names and aliases of every package.
    fn all_names(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .flat_map(|entry| {
                let (name, aliases) = match entry {
                    Entry::Ready(served) => (&served.name, served.aliases.as_slice()),
                    Entry::Failed(failed) => {
                        (&failed.name, failed.manifest.as_ref().map_or(&[][..], |manifest| manifest.aliases.as_slice()))
                    }
                };
                std::iter::once(name).chain(aliases).map(String::as_str)
            })
            .chain(self.choices.aliases.keys().map(String::as_str))
    }

    fn unknown(&self, asked: &str) -> WireError {
        let shown: String = asked.chars().take(MOST_CHARS).collect();
        let names = self.names();
        let nearest = self
            .all_names()
            .map(|name| (strsim::normalized_damerau_levenshtein(&shown, name), name))
            .filter(|(similarity, _)| *similarity >= SIMILAR)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let offer = match nearest {
            Some((_, name)) => format!("; did you mean {name}?"),
            None => String::new(),
        };
        let has = match names.len() {
            0 => "there is none".to_owned(),
            n if n > MOST_NAMES => format!("there is: {} and {} more", names[..MOST_NAMES].join(", "), n - MOST_NAMES),
            _ => format!("there is: {}", names.join(", ")),
        };
        WireError::new(ErrorCode::UnknownModel, format!("there is no model {shown:?}; {has}{offer}"))
            .with_param("model")
    }

    fn names(&self) -> Vec<&str> {
        self.entries
            .iter()
            .map(|entry| match entry {
                Entry::Ready(served) => served.name.as_str(),
                Entry::Failed(failed) => failed.name.as_str(),
            })
            .collect()
    }
}

impl Served {
    /// Whether it does `task`.
    pub fn does(&self, task: &str) -> bool {
        self.manifest.tasks.iter().any(|t| t == task)
    }
}
