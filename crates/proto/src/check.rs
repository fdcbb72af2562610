//! The rules that options share: one wording of a refusal for all of them.

use crate::{ErrorCode, WireError};

/// Refuses a number outside `[low, high]`; not-a-number is outside, too.
pub fn number_within(param: &str, value: Option<f32>, low: f32, high: f32) -> Result<(), WireError> {
    match value {
        Some(v) if !(low..=high).contains(&v) => {
            let message = format!("{param} is {v}; it must be from {low} to {high}");
            Err(WireError::new(ErrorCode::InvalidOption, message).with_param(param))
        }
        _ => Ok(()),
    }
}

/// Refuses a whole number outside `[low, high]`.
pub fn whole_within(param: &str, value: Option<u64>, low: u64, high: u64) -> Result<(), WireError> {
    match value {
        Some(v) if !(low..=high).contains(&v) => {
            let message = format!("{param} is {v}; it must be a whole number from {low} to {high}");
            Err(WireError::new(ErrorCode::InvalidOption, message).with_param(param))
        }
        _ => Ok(()),
    }
}

/// Refuses a text of more than `max_bytes`.
pub fn length_within(param: &str, value: Option<&str>, max_bytes: usize) -> Result<(), WireError> {
    match value {
        Some(v) if v.len() > max_bytes => {
            let message = format!("{param} is {} bytes long; at most {max_bytes} are taken", v.len());
            Err(WireError::new(ErrorCode::InvalidOption, message).with_param(param))
        }
        _ => Ok(()),
    }
}

/// Refuses a list of more than `max` entries.
pub fn list_within(param: &str, entries: usize, max: usize) -> Result<(), WireError> {
    if entries > max {
        let message = format!("{param} has {entries} entries; at most {max} are taken");
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(param));
    }
    Ok(())
}
