//! Model packages on disk: manifests, digests, crash-safe writes.
