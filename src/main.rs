//! `linnetd`.
fn main() {}
