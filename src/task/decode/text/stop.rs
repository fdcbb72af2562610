//! Strings to stop at, across the borders of tokens: text is held back while it may still become one.

/// What to do with a piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// Send this (maybe nothing) and go on.
    Send(String),
    /// Send this; the string behind it ends the answer.
    Stopped {
        /// What stands before the string.
        before: String,
        /// The string, and what was scanned behind it.
        rest: String,
    },
}

/// Looks for strings in a text that comes in pieces.
#[derive(Debug, Clone)]
pub struct StopScanner {
    stops: Vec<String>,
    held: String,
}

impl StopScanner {
    /// Looks for `stops`; an empty one is never found.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Whether there is anything to look for.
    pub fn is_idle(&self) -> bool {
        self.stops.is_empty()
    }

    /// Scans what comes next. Of several strings the one that begins first counts.
    pub fn push(&mut self, text: &str) -> Scanned {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            let rest = self.held.split_off(at);
            return Scanned::Stopped { before: std::mem::take(&mut self.held), rest };
        }
        let keep = self.held.len() - self.beginning_of_a_stop();
        let rest = self.held.split_off(keep);
        Scanned::Send(std::mem::replace(&mut self.held, rest))
    }

    /// What is held back, when nothing comes any more.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of what is held that a string begins with.
    fn beginning_of_a_stop(&self) -> usize {
        let longest = self.stops.iter().map(|stop| stop.len() - 1).max().unwrap_or(0).min(self.held.len());
        let bytes = self.held.as_bytes();
        (1..=longest)
            .rev()
            .find(|length| {
                let end = &bytes[bytes.len() - length..];
                self.stops.iter().any(|stop| stop.len() > *length && stop.as_bytes().starts_with(end))
            })
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut scanner = StopScanner::new(&stops);
        let mut sent = String::new();
        for piece in pieces {
            match scanner.push(piece) {
                Scanned::Send(text) => sent.push_str(&text),
                Scanned::Stopped { before, .. } => {
                    sent.push_str(&before);
                    return (sent, true);
                }
            }
        }
        sent.push_str(&scanner.finish());
        (sent, false)
    }

    #[test]
    fn a_string_is_found_across_pieces_and_its_beginning_is_never_sent() {
        assert_eq!(scan(&["\n\nUser:"], &["Hello", ".\n", "\nUs", "er", ": more"]), ("Hello.".into(), true));
        assert_eq!(scan(&["END"], &["a EN", "Dx"]), ("a ".into(), true));
        assert_eq!(scan(&["END"], &["a EN", "d", " E"]), ("a ENd E".into(), false));
        assert_eq!(scan(&["bc", "abcd"], &["a", "b", "c", "d"]), ("a".into(), true));
        assert_eq!(scan(&["ü"], &["gr", "ün"]), ("gr".into(), true));
    }

    proptest! {
        /// However the text is cut up, it ends where the first whole string begins, as far as pieces had shown it.
        #[test]
        fn cutting_changes_nothing_but_when(
            text in "[abc]{0,24}", stop in "[abc]{1,4}", cuts in proptest::collection::vec(0_usize..25, 0..8)
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            let expected = match text.find(&stop) {
                Some(at) => (text[..at].to_owned(), true),
                None => (text.clone(), false),
            };
            prop_assert_eq!(scan(&[&stop], &pieces), expected);
        }
    }
}
