//! The `linnet` command.

fn main() {}
