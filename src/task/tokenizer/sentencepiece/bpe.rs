//! Byte pair encoding as SentencePiece does it: of all neighbours that make a piece, the best scored one merges first.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::pieces::{Kind, Pieces};

struct Symbol {
    from: u32,
    /// 0 once it has gone into its left neighbour.
    length: u32,
    previous: Option<u32>,
    next: Option<u32>,
    /// A user's symbol: never merged.
    is_frozen: bool,
}

struct Pair {
    score: f32,
    left: u32,
    right: u32,
    length: u32,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left)).then(self.length.cmp(&other.length))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// Cuts `text` into pieces: id and length in bytes of each. After `bpe::Model::SampleEncode` without dropout; n log n.
pub(super) fn encode(pieces: &Pieces, text: &str) -> Vec<(u32, u32)> {
    let mut merging =
        Merging { pieces, text, symbols: split(pieces, text), agenda: BinaryHeap::new(), unused: HashMap::new() };
    for right in 1..merging.symbols.len() as u32 {
        merging.consider(Some(right - 1), Some(right));
    }
    merging.run();
    merging.output()
}

fn split(pieces: &Pieces, text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::new();
    let mut from = 0;
    while let Some(character) = text[from..].chars().next() {
        let whole = pieces.user_defined.longest_prefix(&text.as_bytes()[from..]);
        let length = whole.map_or(character.len_utf8(), |(length, _)| length);
        let index = symbols.len() as u32;
        symbols.push(Symbol {
            from: from as u32,
            length: length as u32,
            previous: index.checked_sub(1),
            next: (from + length < text.len()).then_some(index + 1),
            is_frozen: whole.is_some(),
        });
        from += length;
    }
    symbols
}

struct Merging<'a> {
    pieces: &'a Pieces,
    text: &'a str,
    symbols: Vec<Symbol>,
    agenda: BinaryHeap<Pair>,
    /// What an unused piece was merged of, by the length of its left part: it is taken apart again in the end.
    unused: HashMap<&'a str, u32>,
}

impl<'a> Merging<'a> {
    fn part(&self, from: u32, length: u32) -> &'a str {
        &self.text[from as usize..(from + length) as usize]
    }

    fn consider(&mut self, left: Option<u32>, right: Option<u32>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (a, b) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if a.is_frozen || b.is_frozen {
            return;
        }
        let length = a.length + b.length;
        let merged = self.part(a.from, length);
        let Some(id) = self.pieces.trie.get(merged) else { return };
        if self.pieces.kind(id) == Kind::Unused {
            self.unused.insert(merged, a.length);
        }
        self.agenda.push(Pair { score: self.pieces.score(id), left, right, length });
    }

    fn run(&mut self) {
        while let Some(pair) = self.agenda.pop() {
            let (a, b) = (&self.symbols[pair.left as usize], &self.symbols[pair.right as usize]);
            if a.length == 0 || b.length == 0 || a.length + b.length != pair.length {
                continue;
            }
            let (previous, next) = (a.previous, b.next);
            let left = &mut self.symbols[pair.left as usize];
            left.length = pair.length;
            left.next = next;
            self.symbols[pair.right as usize].length = 0;
            if let Some(next) = next {
                self.symbols[next as usize].previous = Some(pair.left);
            }
            self.consider(previous, Some(pair.left));
            self.consider(Some(pair.left), next);
        }
    }

    fn output(&self) -> Vec<(u32, u32)> {
        let mut cut = Vec::new();
        // Parts of unused pieces, the left one on top.
        let mut open = Vec::new();
        for symbol in self.symbols.iter().filter(|s| s.length > 0) {
            open.push((symbol.from, symbol.length));
            while let Some((from, length)) = open.pop() {
                let part = self.part(from, length);
                let id = self.pieces.trie.get(part).unwrap_or(self.pieces.unknown);
                match self.unused.get(part) {
                    Some(&left) if self.pieces.kind(id) == Kind::Unused => {
                        open.extend([(from + left, length - left), (from, left)]);
                    }
                    _ => cut.push((id, length)),
                }
            }
        }
        cut
    }
}
