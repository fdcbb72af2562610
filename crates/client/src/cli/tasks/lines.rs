//! Line in, line out, in order: several requests are on their way while earlier ones are being answered.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines};
use tokio::task::JoinHandle;

use crate::ClientError;

/// Requests on their way at once.
const IN_FLIGHT: usize = 4;
/// Most lines and bytes of one request.
const MOST_LINES: usize = 16;
const MOST_BYTES: usize = 32 << 10;

/// Where lines come from.
pub(super) type Source = Lines<Box<dyn AsyncBufRead + Unpin + Send>>;

/// The lines of standard input (`-`), of a file, or of the text itself.
pub(super) async fn lines_of(argument: &str) -> Result<Source, ClientError> {
    let reader: Box<dyn AsyncBufRead + Unpin + Send> = if argument == "-" {
        Box::new(BufReader::new(tokio::io::stdin()))
    } else if Path::new(argument).is_file() {
        let file = tokio::fs::File::open(argument).await;
        let file = file.map_err(|source| ClientError::Read { path: argument.to_owned(), source })?;
        Box::new(BufReader::new(file))
    } else {
        Box::new(std::io::Cursor::new(argument.to_owned().into_bytes()))
    };
    Ok(reader.lines())
}

/// Has `ask` answer all lines, some at a time, and gives each lot's answer to `print` in the order of the lines. Lines that are there
/// already go together; one that is typed goes at once.
pub(super) async fn answer_in_order<T, F>(
    mut source: Source,
    ask: impl Fn(Vec<String>) -> F,
    mut print: impl FnMut(T) -> Result<(), ClientError>,
) -> Result<(), ClientError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ClientError>> + Send + 'static,
{
    let mut waiting: VecDeque<Asked<T>> = VecDeque::new();
    let mut ended = false;
    loop {
        if ended && waiting.is_empty() {
            return Ok(());
        }
        tokio::select! {
            // The first answer that is due goes out before more is read.
            biased;
            answer = first(&mut waiting), if !waiting.is_empty() => {
                waiting.pop_front();
                print(answer?)?;
            }
            lot = next_lot(&mut source), if !ended && waiting.len() < IN_FLIGHT => match lot? {
                Some(lot) => waiting.push_back(Asked(tokio::spawn(ask(lot)))),
                None => ended = true,
            },
        }
    }
}

/// A request on its way; given up when dropped.
struct Asked<T>(JoinHandle<Result<T, ClientError>>);

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn first<T>(waiting: &mut VecDeque<Asked<T>>) -> Result<T, ClientError> {
    match waiting.front_mut() {
        Some(asked) => (&mut asked.0).await.map_err(|e| ClientError::Broken(e.to_string()))?,
        None => std::future::pending().await,
    }
}

/// The next line, and those behind it that need not be waited for.
async fn next_lot(source: &mut Source) -> Result<Option<Vec<String>>, ClientError> {
    let failed = |source| ClientError::Read { path: "the input".to_owned(), source };
    let Some(line) = source.next_line().await.map_err(failed)? else { return Ok(None) };
    let mut bytes = line.len();
    let mut lot = vec![line];
    while lot.len() < MOST_LINES && bytes < MOST_BYTES {
        match line_that_is_there(source).await {
            Some(line) => match line.map_err(failed)? {
                Some(line) => {
                    bytes += line.len();
                    lot.push(line);
                }
                None => break,
            },
            None => break,
        }
    }
    Ok(Some(lot))
}

/// A line that can be had without waiting. Nothing is lost where there is none: reading a line may be given up at any time.
async fn line_that_is_there(source: &mut Source) -> Option<std::io::Result<Option<String>>> {
    let mut line = pin!(source.next_line());
    poll_fn(|cx| match line.as_mut().poll(cx) {
        Poll::Ready(line) => Poll::Ready(Some(line)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_lines_whatever_takes_long() {
        let text: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let source = lines_of(&text.join("\n")).await.expect("lines");
        let most = Arc::new(AtomicUsize::new(0));
        let now = Arc::new(AtomicUsize::new(0));
        let ask = |lot: Vec<String>| {
            let (most, now) = (Arc::clone(&most), Arc::clone(&now));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // The later ones are the faster ones.
                let pause = 20 - lot[0].parse::<u64>().expect("a number") / 10;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(lot)
            }
        };
        let mut printed = Vec::new();
        answer_in_order(source, ask, |lot| {
            printed.extend(lot);
            Ok(())
        })
        .await
        .expect("answers");
        assert_eq!(printed, text);
        assert!((2..=IN_FLIGHT).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    }

    #[tokio::test]
    async fn the_first_failure_ends_it() {
        let source = lines_of("a\nb").await.expect("lines");
        let failed = answer_in_order(
            source,
            |_| async { Err::<(), _>(ClientError::TimedOut(Duration::from_secs(1))) },
            |()| Ok(()),
        )
        .await;
        assert!(matches!(failed, Err(ClientError::TimedOut(_))));
    }
}
