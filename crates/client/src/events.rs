//! Server-sent events, as far as `linnetd` sends them
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use crate::ClientError;

/// Longest event that is taken, bytes: the words of hours of speech.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// One event's name (`message` where none is given) and data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Cuts a stream of bytes into events, whatever the pieces are.
#[derive(Debug, Default)]
pub(crate) struct EventParser {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold no event's end.
    searched: usize,
}

impl EventParser {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        if self.buffer.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(ClientError::Broken(format!("an event of more than {} MiB", MAX_EVENT_BYTES >> 20)));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole event; comments (keep-alive) are passed over.
    pub(crate) fn next(&mut self) -> Result<Option<ServerEvent>, ClientError> {
        loop {
            let from = self.searched.saturating_sub(1);
            let Some(end) = self.buffer[from..].windows(2).position(|w| w == b"\n\n").map(|at| from + at) else {
                self.searched = self.buffer.len();
                return Ok(None);
            };
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            self.searched = 0;
            let text = std::str::from_utf8(&block).map_err(|_| ClientError::Broken("an event is not UTF-8".into()))?;
            if let Some(event) = parse(text) {
                return Ok(Some(event));
            }
        }
    }
}

fn parse(block: &str) -> Option<ServerEvent> {
    let mut name = "message";
    let mut data: Option<String> = None;
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value,
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
    data.map(|data| ServerEvent { name: name.to_owned(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": alive\n\ndata: {\"a\":1}\n\nevent: error\ndata: one\ndata: two\n\ndata: h\xc3\xa4lf";

    fn events(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<ServerEvent> {
        let mut parser = EventParser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser.push(&piece).expect("fits");
            while let Some(event) = parser.next().expect("UTF-8") {
                found.push(event);
            }
        }
        found
    }

    #[test]
    fn any_cut_of_the_stream_gives_the_same_events() {
        let whole = events(std::iter::once(STREAM.to_vec()));
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[0], ServerEvent { name: "message".into(), data: "{\"a\":1}".into() });
        assert_eq!(whole[1], ServerEvent { name: "error".into(), data: "one\ntwo".into() });
        for size in 1..STREAM.len() {
            assert_eq!(events(STREAM.chunks(size).map(<[u8]>::to_vec)), whole, "pieces of {size}");
        }
    }
}
