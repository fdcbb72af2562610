//! No code: the features in this crate's `Cargo.toml` are all there is (docs/decisions/0001-one-profile.md).
