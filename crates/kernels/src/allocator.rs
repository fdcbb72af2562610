//! Settings of the C library's allocator, which Rust's programs use by default.

/// Keeps the process small on glibc: two arenas of freed memory instead of eight for each processor, and blocks of 1 MiB and
/// more given back when they are freed. Environment variables (`MALLOC_ARENA_MAX`, `MALLOC_TRIM_THRESHOLD_`,
/// `MALLOC_MMAP_THRESHOLD_`) win. Call it before the first thread starts. Other C libraries are left as they are.
///
/// Source: mallopt(3).
pub fn keep_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value, variable) in [
        (libc::M_ARENA_MAX, 2, "MALLOC_ARENA_MAX"),
        (libc::M_TRIM_THRESHOLD, 1 << 20, "MALLOC_TRIM_THRESHOLD_"),
        (libc::M_MMAP_THRESHOLD, 1 << 20, "MALLOC_MMAP_THRESHOLD_"),
    ] {
        if std::env::var_os(variable).is_none() {
            // SAFETY: mallopt(3) takes two integers, touches nothing but the allocator's own settings and takes its lock.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Gives freed memory at the end of the heap, and whole free pages within it, back to the system: worth its milliseconds after
/// work that allocated much and will not come again, like the loading of a model. Does nothing where the C library is not glibc.
///
/// Source: malloc_trim(3).
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes an integer, is thread-safe, and moves no block that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
