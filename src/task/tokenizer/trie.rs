//! A trie over bytes: exact look-up, and every key that a text begins with, without a hash of each prefix.

use std::collections::VecDeque;

const NO_VALUE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    /// First of its children, which stand in a row, sorted by label.
    first: u32,
    /// [`NO_VALUE`] where no key ends.
    value: u32,
    children: u16,
    label: u8,
}

/// Keys with a number each. 12 bytes for each distinct prefix.
#[derive(Debug, Clone, Default)]
pub(in crate::task) struct Trie {
    nodes: Vec<Node>,
}

impl Trie {
    /// Of two equal keys the later value stays. Empty keys are passed over; values are below `u32::MAX`.
    pub(in crate::task) fn new<'a>(keys: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut keys: Vec<(&[u8], u32)> =
            keys.into_iter().filter(|(key, _)| !key.is_empty()).map(|(key, value)| (key.as_bytes(), value)).collect();
        keys.sort_by_key(|(key, _)| *key);
        let mut nodes = vec![Node { first: 0, value: NO_VALUE, children: 0, label: 0 }];
        let mut open = VecDeque::from([(0_usize, 0..keys.len(), 0_usize)]);
        while let Some((at, range, depth)) = open.pop_front() {
            let mut from = range.start;
            while from < range.end && keys[from].0.len() == depth {
                nodes[at].value = keys[from].1;
                from += 1;
            }
            nodes[at].first = nodes.len() as u32;
            while from < range.end {
                let label = keys[from].0[depth];
                let until = from + keys[from..range.end].partition_point(|(key, _)| key[depth] <= label);
                open.push_back((nodes.len(), from..until, depth + 1));
                nodes.push(Node { first: 0, value: NO_VALUE, children: 0, label });
                nodes[at].children += 1;
                from = until;
            }
        }
        Self { nodes }
    }

    pub(in crate::task) fn is_empty(&self) -> bool {
        self.nodes.len() < 2
    }

    fn child(&self, at: usize, label: u8) -> Option<usize> {
        let node = self.nodes[at];
        let first = node.first as usize;
        let row = &self.nodes[first..first + usize::from(node.children)];
        row.binary_search_by_key(&label, |n| n.label).ok().map(|found| first + found)
    }

    /// Every key that `text` begins with, shortest first: its length in bytes and its value.
    pub(in crate::task) fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut at = (!self.nodes.is_empty()).then_some(0);
        text.iter()
            .enumerate()
            .map_while(move |(index, &byte)| {
                at = self.child(at?, byte);
                Some((index + 1, self.nodes[at?].value))
            })
            .filter(|(_, value)| *value != NO_VALUE)
    }

    /// The longest key that `text` begins with.
    pub(in crate::task) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        self.prefixes(text).last()
    }

    /// Whether a key begins with `text` and is longer.
    pub(in crate::task) fn has_longer(&self, text: &[u8]) -> bool {
        if self.nodes.is_empty() || text.is_empty() {
            return false;
        }
        text.iter().try_fold(0, |at, &byte| self.child(at, byte)).is_some_and(|end| self.nodes[end].children > 0)
    }

    pub(in crate::task) fn get(&self, key: &str) -> Option<u32> {
        if self.nodes.is_empty() || key.is_empty() {
            return None;
        }
        let end = key.bytes().try_fold(0, |at, byte| self.child(at, byte))?;
        Some(self.nodes[end].value).filter(|value| *value != NO_VALUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_a_text_begins_with() {
        let trie = Trie::new([("a", 1), ("abc", 2), ("b", 3), ("ä", 4), ("", 9), ("abcd", 5)]);
        assert_eq!(trie.prefixes(b"abcx").collect::<Vec<_>>(), [(1, 1), (3, 2)]);
        assert_eq!(trie.longest_prefix("äa".as_bytes()), Some((2, 4)));
        assert_eq!(trie.longest_prefix(b"x"), None);
        assert_eq!(trie.longest_prefix(b""), None);
        assert!(trie.has_longer(b"a") && trie.has_longer(b"ab") && trie.has_longer(b"abc"));
        assert!(!trie.has_longer(b"abcd") && !trie.has_longer(b"b") && !trie.has_longer(b"x") && !trie.has_longer(b""));
        assert_eq!((trie.get("abc"), trie.get("ab"), trie.get("abcde"), trie.get("")), (Some(2), None, None, None));
    }

    #[test]
    fn an_empty_one_finds_nothing() {
        assert!(Trie::default().is_empty() && Trie::new([]).is_empty());
        assert_eq!(Trie::default().longest_prefix(b"a"), None);
        assert_eq!(Trie::new([]).get("a"), None);
    }

    proptest::proptest! {
        #[test]
        fn it_holds_exactly_what_was_put_in(words in proptest::collection::btree_map("[a-dä]{1,5}", 0_u32..100, 0..40), text in "[a-dä]{0,8}") {
            let trie = Trie::new(words.iter().map(|(w, v)| (w.as_str(), *v)));
            for (word, value) in &words {
                proptest::prop_assert_eq!(trie.get(word), Some(*value));
            }
            proptest::prop_assert_eq!(trie.get(&text), words.get(&text).copied());
            let found: Vec<_> = trie.prefixes(text.as_bytes()).collect();
            let expected: Vec<_> = (1..=text.len())
                .filter(|&n| text.is_char_boundary(n))
                .filter_map(|n| words.get(&text[..n]).map(|v| (n, *v)))
                .collect();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
