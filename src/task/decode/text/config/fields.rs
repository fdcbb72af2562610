//! Reading a configuration's values: each wrong one is refused with its file, key and rule.

use serde_json::{Map, Value};

use super::ConfigError;

/// The values of one file.
pub(super) struct Fields<'a> {
    pub(super) file: &'static str,
    pub(super) values: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn refuse<T>(&self, key: &str, rule: &str) -> Result<T, ConfigError> {
        Err(ConfigError::Value { file: self.file, key: key.to_owned(), rule: rule.to_owned() })
    }

    /// The value, unless it is absent or `null`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn number(&self, key: &str, low: f64, high: f64) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => self.refuse(key, &format!("must be a number from {low} to {high}")),
        }
    }

    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_u64().map_or_else(|| self.refuse(key, "must be a whole number of 0 or more"), |n| Ok(Some(n)))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.as_bool().map_or_else(|| self.refuse(key, "must be true or false"), Ok)
    }

    /// An id; a negative one means none, as `transformers` takes it.
    pub(super) fn id(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        Ok(self.ids(key)?.first().copied())
    }

    /// One id or a list; negative ones are left out.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let rule = "must be a token id or a list of token ids";
        let one = std::slice::from_ref(value);
        let mut ids = Vec::new();
        for value in value.as_array().map_or(one, Vec::as_slice) {
            match value.as_i64() {
                Some(id) if id < 0 => {}
                Some(id) => match u32::try_from(id) {
                    Ok(id) => ids.push(id),
                    Err(_) => return self.refuse(key, rule),
                },
                None => return self.refuse(key, rule),
            }
        }
        Ok(ids)
    }

    pub(super) fn sequences(&self, key: &str) -> Result<Vec<Vec<u32>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let read = |value: &Value| -> Option<Vec<u32>> {
            let ids =
                value.as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect::<Option<Vec<_>>>()?;
            (!ids.is_empty()).then_some(ids)
        };
        let sequences = value.as_array().and_then(|list| list.iter().map(read).collect());
        sequences.map_or_else(|| self.refuse(key, "must be a list of lists of token ids, none empty"), Ok)
    }

    /// `[[[ids…], bias], …]`, the form that JSON can hold.
    pub(super) fn biases(&self, key: &str) -> Result<Vec<(Vec<u32>, f32)>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let read = |pair: &Value| -> Option<(Vec<u32>, f32)> {
            let [ids, bias] = pair.as_array()?.as_slice() else { return None };
            let ids = ids.as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect::<Option<Vec<_>>>()?;
            Some((ids, bias.as_f64()? as f32)).filter(|(ids, _)| !ids.is_empty())
        };
        let biases = value.as_array().and_then(|list| list.iter().map(read).collect());
        biases.map_or_else(|| self.refuse(key, "must be a list of pairs: a list of token ids, and a bias"), Ok)
    }

    /// One text or a list.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let one = std::slice::from_ref(value);
        let texts = value.as_array().map_or(one, Vec::as_slice).iter();
        let texts: Option<Vec<String>> = texts.map(|text| Some(text.as_str()?.to_owned())).collect();
        texts.map_or_else(|| self.refuse(key, "must be a text or a list of texts"), Ok)
    }
}
