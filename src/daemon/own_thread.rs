//! Work that blocks or computes for long, away from the threads of the transports.

use std::io;

use tokio::sync::oneshot;

/// Runs `work` on a thread of its own and waits for it without blocking. When the future is dropped the thread goes on and
/// its result is thrown away. The error is that of a thread that could not start, or that panicked.
pub async fn on_own_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, io::Error> {
    let (sender, done) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    })?;
    done.await.map_err(|_| io::Error::other(format!("the thread {name} panicked; the log says where")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_result_comes_back_and_a_panic_is_an_error() {
        assert_eq!(on_own_thread("adds", || 1 + 1).await.expect("no panic"), 2);
        let panicked = on_own_thread("panics", || std::panic::resume_unwind(Box::new("x"))).await;
        let error: Result<(), _> = panicked;
        assert!(error.expect_err("a panic").to_string().contains("panics"));
    }
}
