//! A sorted list of words in which a search narrows down, byte by byte.

/// Words in strictly ascending byte order, in one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lexicon {
    bytes: Vec<u8>,
    /// Word `i` is `bytes[ends[i - 1]..ends[i]]`, with 0 before the first.
    ends: Vec<u32>,
}

/// Words of a [`Lexicon`] that share a prefix: what has been spelled so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefix {
    low: u32,
    high: u32,
    bytes: u32,
}

impl Prefix {
    /// Whether no word begins like this.
    pub fn is_dead(self) -> bool {
        self.low >= self.high
    }

    /// Whether nothing has been spelled yet.
    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

impl Lexicon {
    /// The words, sorted and without repeats.
    pub fn new<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Self {
        let mut words: Vec<S> = words.into_iter().collect();
        words.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        words.dedup_by(|a, b| a.as_ref() == b.as_ref());
        let mut lexicon = Self::default();
        for word in &words {
            lexicon.push(word.as_ref());
        }
        lexicon
    }

    /// Appends a word that comes after all others; `false`, and nothing appended, when it does not.
    pub fn push_sorted(&mut self, word: &str) -> bool {
        if !self.is_empty() && self.get(self.len() - 1).as_bytes() >= word.as_bytes() {
            return false;
        }
        self.push(word);
        true
    }

    fn push(&mut self, word: &str) {
        self.bytes.extend_from_slice(word.as_bytes());
        self.ends.push(u32::try_from(self.bytes.len()).expect("a lexicon holds less than 4 GiB"));
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Word `index`.
    ///
    /// # Panics
    /// When there is no such word.
    pub fn get(&self, index: usize) -> &str {
        std::str::from_utf8(self.raw(index)).expect("whole words were pushed")
    }

    fn raw(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// Nothing spelled yet: every word is possible.
    pub fn start(&self) -> Prefix {
        Prefix { low: 0, high: self.ends.len() as u32, bytes: 0 }
    }

    /// Spells on with `text`.
    pub fn advance(&self, prefix: Prefix, text: &[u8]) -> Prefix {
        let Prefix { mut low, mut high, mut bytes } = prefix;
        for &byte in text {
            if low >= high {
                return Prefix { low, high: low, bytes: bytes + 1 };
            }
            let at = bytes as usize;
            // All words in low..high share the bytes before `at`; those that end there come first.
            let less = |i: u32| self.raw(i as usize).get(at).is_none_or(|&b| b < byte);
            let start = partition(low, high, less);
            let not_more = |i: u32| self.raw(i as usize).get(at).is_none_or(|&b| b <= byte);
            (low, high) = (start, partition(start, high, not_more));
            bytes += 1;
        }
        Prefix { low, high, bytes }
    }

    /// The word that is exactly what was spelled.
    pub fn find(&self, prefix: Prefix) -> Option<usize> {
        let exact = !prefix.is_dead() && self.raw(prefix.low as usize).len() == prefix.bytes as usize;
        exact.then_some(prefix.low as usize)
    }

    /// The place of `word`.
    pub fn position(&self, word: &str) -> Option<usize> {
        let at = partition(0, self.ends.len() as u32, |i| self.raw(i as usize) < word.as_bytes()) as usize;
        (at < self.len() && self.raw(at) == word.as_bytes()).then_some(at)
    }

    /// Memory, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + 4 * self.ends.len()
    }
}

/// First of `low..high` for which `before` is false; all for which it is true come first.
fn partition(mut low: u32, mut high: u32, before: impl Fn(u32) -> bool) -> u32 {
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_a_word_finds_it_and_a_stranger_dies() {
        let words = Lexicon::new(["the", "then", "a", "them", "an", "the", "zoo"]);
        assert_eq!(words.len(), 6);
        let the = words.advance(words.start(), b"the");
        assert_eq!(words.find(the).map(|i| words.get(i)), Some("the"));
        let them = words.advance(the, b"m");
        assert_eq!(words.find(them).map(|i| words.get(i)), Some("them"));
        let th = words.advance(words.start(), b"th");
        assert!(!th.is_dead() && words.find(th).is_none());
        assert!(words.advance(th, b"x").is_dead());
        assert!(words.advance(words.advance(th, b"xyz"), b"e").is_dead());
        assert_eq!(words.position("zoo"), Some(5));
        assert_eq!(words.position("zo"), None);
    }

    #[test]
    fn words_out_of_order_are_not_taken() {
        let mut words = Lexicon::default();
        assert!(words.push_sorted("b") && !words.push_sorted("a") && !words.push_sorted("b"));
        assert_eq!(words.len(), 1);
    }
}
