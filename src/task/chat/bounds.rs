//! How much a template may do, and the stack that this can take.

use std::thread;

use serde_json::Value;

use super::Chat;
use crate::limits::{
    CHAT_TEMPLATE_FUEL, CHAT_TEMPLATE_FUEL_PER_VALUE, MAX_CHAT_TEMPLATE_BRANCHES, MAX_CHAT_TEMPLATE_BYTES,
    MAX_CHAT_TEMPLATE_FUEL,
};

/// Reading takes at most 1 kB of stack for each 2 bytes, and 10 kB for each `elif`: measured. This is more than either bound
/// leads to.
pub(super) const COMPILE_STACK_BYTES: usize = 64 << 20;

/// For macros that call each other.
const RENDER_STACK_BYTES: usize = 16 << 20;

/// One instruction can nest a list once, and writing, comparing or dropping one takes at most 480 bytes a level: measured.
const STACK_BYTES_PER_FUEL: usize = 512;

/// Bytes of a conversation that one more instruction is given for: eight times as many can be copied for it.
const BYTES_PER_FUEL: u64 = 8;

/// What a conversation lets a template do.
pub(super) fn fuel(chat: &Chat<'_>) -> u64 {
    let lists = [Some(chat.messages), chat.tools, chat.documents];
    let variables = chat.variables.into_iter().flat_map(|v| v.values());
    let (mut values, mut bytes) = (0, 0);
    lists.into_iter().flatten().flatten().chain(variables).for_each(|value| count(value, &mut values, &mut bytes));
    let fuel = CHAT_TEMPLATE_FUEL + values * CHAT_TEMPLATE_FUEL_PER_VALUE + bytes / BYTES_PER_FUEL;
    fuel.min(MAX_CHAT_TEMPLATE_FUEL)
}

fn count(value: &Value, values: &mut u64, bytes: &mut u64) {
    *values += 1;
    match value {
        Value::String(text) => *bytes += text.len() as u64,
        Value::Array(list) => list.iter().for_each(|v| count(v, values, bytes)),
        Value::Object(map) => map.iter().for_each(|(key, v)| {
            *bytes += key.len() as u64;
            count(v, values, bytes);
        }),
        _ => {}
    }
}

pub(super) fn render_stack_bytes(fuel: u64) -> usize {
    RENDER_STACK_BYTES + fuel as usize * STACK_BYTES_PER_FUEL
}

/// Whether reading a template stays within its stack. The error continues a sentence that names the template.
pub(super) fn check(source: &str) -> Result<(), String> {
    if source.len() > MAX_CHAT_TEMPLATE_BYTES {
        return Err(format!("has {} bytes; it may have {MAX_CHAT_TEMPLATE_BYTES}", source.len()));
    }
    let branches = source.matches("elif").count();
    if branches > MAX_CHAT_TEMPLATE_BRANCHES {
        return Err(format!("has {branches} branches by elif; it may have {MAX_CHAT_TEMPLATE_BRANCHES}"));
    }
    Ok(())
}

/// Runs on a thread of its own with so much stack, of which only what is used takes memory.
pub(super) fn apart<T: Send>(stack_bytes: usize, run: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("chat-template".to_owned()).stack_size(stack_bytes);
        let thread = thread.spawn_scoped(scope, run).map_err(|e| format!("there is no memory for it ({e})"))?;
        thread.join().map_err(|_| "it is more than the template engine can take".to_owned())
    })
}
