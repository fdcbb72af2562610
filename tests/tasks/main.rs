//! Every task over HTTP and by `linnet`, on models that follow a script: what a client sends and gets, byte for byte, without a real model.

#[path = "../harness/mod.rs"]
mod harness;

mod bad_input;
mod bench;
mod command_line;
mod ollama;
mod openai;
mod own;
mod streams;
mod translate;
