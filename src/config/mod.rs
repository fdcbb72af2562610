//! One tree of settings: file -> raw -> checked. Unknown keys, wrong types and bad values are named with file, line and key.

pub mod transport;
