//! A cache whose values are tract's own tensors, so that a step hands them in and takes them back without a copy at the
//! engine's border.

use std::any::Any;
use std::sync::Arc;

use tract_onnx::prelude::{IntoTValue, IntoTensor, TValue, Tensor, TractResult};

use super::one_line;
use crate::engine::{Cache, EngineError, Slot};

/// One tensor of the state.
#[derive(Debug, Clone)]
struct Held {
    slot: Slot,
    /// Absent until a graph fills it.
    value: Option<Arc<Tensor>>,
}

/// The state of one or more sequences.
#[derive(Debug, Clone)]
pub struct TractCache {
    held: Vec<Held>,
    rows: usize,
}

impl TractCache {
    /// A cache of one sequence. `empty` gives the value that a slot begins with, where it begins with one.
    pub(super) fn new(slots: &[Slot], empty: impl Fn(&Slot) -> TractResult<Option<Tensor>>) -> TractResult<Self> {
        let held = slots
            .iter()
            .map(|slot| Ok(Held { slot: slot.clone(), value: empty(slot)?.map(Arc::new) }))
            .collect::<TractResult<_>>()?;
        Ok(Self { held, rows: 1 })
    }

    /// The value for a graph's input; `None` when it is not of this cache.
    pub(super) fn input(&self, name: &str) -> Option<Result<TValue, EngineError>> {
        let held = self.held.iter().find(|held| held.slot.input.as_deref() == Some(name))?;
        let missing = || EngineError::Run(format!("the cache holds no `{name}` yet: its graph was not run"));
        Some(held.value.clone().map(IntoTValue::into_tvalue).ok_or_else(missing))
    }

    /// Takes a graph's output, when it is of this cache; gives it back when it is not.
    pub(super) fn output(&mut self, name: &str, value: TValue) -> Option<TValue> {
        match self.held.iter_mut().find(|held| held.slot.output.as_deref() == Some(name)) {
            Some(held) => {
                held.value = Some(value.into_tensor().into());
                None
            }
            None => Some(value),
        }
    }

    fn change(&mut self, change: impl Fn(&Slot, &Tensor) -> TractResult<Option<Tensor>>) -> Result<(), EngineError> {
        let mut changed = Vec::with_capacity(self.held.len());
        for held in &self.held {
            let value = match &held.value {
                Some(value) => change(&held.slot, value).map_err(|e| EngineError::Run(one_line(&e)))?.map(Arc::new),
                None => None,
            };
            changed.push(value);
        }
        // Only now, so that an error leaves the cache as it was.
        for (held, value) in self.held.iter_mut().zip(changed) {
            if value.is_some() {
                held.value = value;
            }
        }
        Ok(())
    }
}

impl Cache for TractCache {
    fn rows(&self) -> usize {
        self.rows
    }

    fn len(&self) -> usize {
        let growing = self.held.iter().find_map(|held| Some((held.slot.grows?, held.value.as_ref()?)));
        growing.map_or(0, |(axis, value)| value.shape()[axis])
    }

    fn bytes(&self) -> u64 {
        self.held.iter().filter_map(|held| held.value.as_ref()).map(|value| value.as_bytes().len() as u64).sum()
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        if len >= self.len() {
            return Ok(());
        }
        if let Some(held) = self.held.iter().find(|held| {
            held.slot.grows.is_none()
                && held.slot.input.is_some()
                && held.slot.output.is_some()
                && !is_encoders(&held.slot)
        }) {
            let name = held.slot.input.as_deref().unwrap_or_default();
            return Err(EngineError::Run(format!("the state `{name}` cannot go back to an earlier position")));
        }
        self.change(|slot, value| match slot.grows {
            Some(axis) => value.slice(axis, 0, len).map(Some),
            None => Ok(None),
        })
    }

    fn select(&mut self, rows: &[usize]) -> Result<(), EngineError> {
        if let Some(row) = rows.iter().find(|row| **row >= self.rows) {
            return Err(EngineError::Run(format!("the cache has {} rows, but row {row} is asked for", self.rows)));
        }
        if rows.len() == self.rows && rows.iter().enumerate().all(|(i, row)| i == *row) {
            return Ok(());
        }
        self.change(|_, value| {
            let picked = rows.iter().map(|row| value.slice(0, *row, row + 1)).collect::<TractResult<Vec<_>>>()?;
            Tensor::stack_tensors(0, &picked).map(Some)
        })?;
        self.rows = rows.len();
        Ok(())
    }

    fn fork(&self) -> Box<dyn Cache> {
        Box::new(self.clone())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Keys and values of the encoder's positions stay whatever the decoder forgets.
fn is_encoders(slot: &Slot) -> bool {
    slot.input.as_deref().is_some_and(|name| name.contains(".encoder."))
}
