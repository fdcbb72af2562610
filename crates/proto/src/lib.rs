//! Wire types shared by `linnetd`, `linnet` and `linnet-train`.
//!
//! Only data: no sockets, no files, no clocks. What travels over HTTP and MQTT, what a model package's
//! manifest says, and the MQTT topics as types.
#![forbid(unsafe_code)]

pub mod check;
pub mod error;
pub mod fields;
pub mod fleet;
pub mod format;
pub mod generate;
pub mod json;
pub mod language;
pub mod libretranslate;
pub mod manifest;
pub mod model_config;
pub mod models;
pub mod ollama;
pub mod openai;
pub mod own;
pub mod priority;
pub mod status;
pub mod stream;
pub mod text;
pub mod topic;
pub mod transcribe;
pub mod translate;
pub mod words;

pub use error::{ErrorBody, ErrorCode, WireError};
pub use priority::Priority;
pub use transcribe::{Segment, TranscribeOptions, Transcript, Word, Written};
