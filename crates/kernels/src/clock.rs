//! What the kernel says of its clock.

/// Whether the kernel's clock is kept right by somebody (`STA_UNSYNC` is not set). `None` where the kernel does not tell, as under a filter of
/// system calls such as systemd's `ProtectClock=`.
///
/// Source: adjtimex(2).
pub fn is_synchronised() -> Option<bool> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: timex consists of integers, for which zero is a value; `modes` of zero asks and sets nothing.
        let mut asked: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live timex of our own, which the call fills.
        let state = unsafe { libc::adjtimex(&raw mut asked) };
        (state != -1).then_some(state != libc::TIME_ERROR && asked.status & libc::STA_UNSYNC == 0)
    }
    #[cfg(not(target_os = "linux"))]
    None
}
