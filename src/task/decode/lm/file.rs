//! The language model's file (`docs/formats.md`): reader with full validation, and writer. All integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `LNLM` |
//! | 2 | version, 1 |
//! | 1 | order, 1 to 5 |
//! | 1 | 0 |
//! | 4 | words in the vocabulary, at most 60,000 |
//! | 4 | bytes of the vocabulary |
//! | 4 × 5 | n-grams of order 1 to 5; 0 above the order; the unigrams are the words and three specials |
//! | … | the vocabulary: for each word its length (1 byte, at least 1) and its UTF-8 bytes, in strictly ascending order |
//! | … | for each order: words (2 bytes each, not for order 1), costs (2 each), and below the highest order back-offs (2 each) and first children (4 each, one more than n-grams) |

use super::{FIRST_WORD, Level, MAX_ORDER, MAX_WORDS, NgramLm};
use crate::task::decode::lexicon::Lexicon;

/// Largest file that is written or read.
pub const MAX_FILE_BYTES: usize = 4 << 20;

const MAGIC: [u8; 4] = *b"LNLM";
const VERSION: u16 = 1;

/// Why a file is no language model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LmError {
    /// Too large to be one.
    #[error("the language model has {0} bytes; at most {MAX_FILE_BYTES} are taken")]
    TooLarge(usize),
    /// Ends too early.
    #[error("the language model ends after {have} bytes, within {what}; it is truncated")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that there are.
        have: usize,
    },
    /// Not this format.
    #[error("the file is no language model of Linnet: it begins with {0:02x?} instead of `LNLM`")]
    Magic([u8; 4]),
    /// Another version of the format.
    #[error("the language model has format version {0}; this build reads version {VERSION}")]
    Version(u16),
    /// A field breaks its rule.
    #[error("the language model is malformed: {0}")]
    Malformed(String),
}

impl NgramLm {
    /// Reads and checks a whole file.
    pub fn read(bytes: &[u8]) -> Result<Self, LmError> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(LmError::TooLarge(bytes.len()));
        }
        let mut reader = Reader { bytes, at: 0 };
        let magic = reader.take(4, "the magic")?;
        if magic != MAGIC {
            return Err(LmError::Magic([magic[0], magic[1], magic[2], magic[3]]));
        }
        let version = reader.u16("the version")?;
        if version != VERSION {
            return Err(LmError::Version(version));
        }
        let order = usize::from(reader.take(1, "the order")?[0]);
        let reserved = reader.take(1, "the header")?[0];
        if !(1..=MAX_ORDER).contains(&order) || reserved != 0 {
            return malformed(format!("the order is {order} (reserved byte {reserved}); it must be 1 to {MAX_ORDER}"));
        }
        let words = reader.u32("the header")? as usize;
        let vocabulary_bytes = reader.u32("the header")? as usize;
        let mut counts = [0usize; MAX_ORDER];
        for count in &mut counts {
            *count = reader.u32("the header")? as usize;
        }
        if words > MAX_WORDS {
            return malformed(format!("it declares {words} words; at most {MAX_WORDS} are taken"));
        }
        if counts[0] != words + usize::from(FIRST_WORD) || counts[order..].iter().any(|&c| c != 0) {
            return malformed(format!("its n-gram counts {counts:?} do not fit {words} words and order {order}"));
        }
        let vocabulary = read_vocabulary(reader.take(vocabulary_bytes, "the vocabulary")?, words)?;
        let mut levels = Vec::with_capacity(order);
        for (index, &count) in counts[..order].iter().enumerate() {
            levels.push(read_level(&mut reader, index, count, counts.get(index + 1), index + 1 == order, counts[0])?);
        }
        for index in 1..order {
            check_sorted(&levels[index - 1].children, &levels[index].words, index + 1)?;
        }
        if reader.at != bytes.len() {
            return malformed(format!("{} bytes follow its end", bytes.len() - reader.at));
        }
        Ok(Self { vocabulary, levels })
    }

    /// Bytes of its file.
    pub fn file_bytes(&self) -> usize {
        let header = 16 + 4 * MAX_ORDER;
        let words: usize = (0..self.vocabulary.len()).map(|i| 1 + self.vocabulary.get(i).len()).sum();
        let level = |l: &Level| 2 * (l.words.len() + l.cost.len() + l.back_off.len()) + 4 * l.children.len();
        header + words + self.levels.iter().map(level).sum::<usize>()
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.file_bytes());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[self.order() as u8, 0]);
        let mut words = Vec::new();
        for index in 0..self.vocabulary.len() {
            let word = self.vocabulary.get(index);
            words.push(word.len() as u8);
            words.extend_from_slice(word.as_bytes());
        }
        out.extend_from_slice(&(self.vocabulary.len() as u32).to_le_bytes());
        out.extend_from_slice(&(words.len() as u32).to_le_bytes());
        for order in 0..MAX_ORDER {
            let count = self.levels.get(order).map_or(0, |l| l.cost.len());
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        out.extend_from_slice(&words);
        for level in &self.levels {
            for values in [&level.words, &level.cost, &level.back_off] {
                out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            }
            out.extend(level.children.iter().flat_map(|v| v.to_le_bytes()));
        }
        out
    }
}

fn read_vocabulary(bytes: &[u8], words: usize) -> Result<Lexicon, LmError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut vocabulary = Lexicon::default();
    for index in 0..words {
        let short = |_| LmError::Malformed(format!("its vocabulary ends within word {index} of {words}"));
        let len = usize::from(reader.take(1, "").map_err(short)?[0]);
        let word = reader.take(len, "").map_err(short)?;
        let Ok(word) = std::str::from_utf8(word) else {
            return malformed(format!("word {index} is not UTF-8"));
        };
        if word.is_empty() || !vocabulary.push_sorted(word) {
            return malformed(format!("word {index} is empty or out of order"));
        }
    }
    if reader.at != bytes.len() {
        return malformed(format!("its vocabulary of {words} words has {} bytes too many", bytes.len() - reader.at));
    }
    Ok(vocabulary)
}

fn read_level(
    reader: &mut Reader<'_>,
    index: usize,
    count: usize,
    next: Option<&usize>,
    highest: bool,
    unigrams: usize,
) -> Result<Level, LmError> {
    let mut level = Level::default();
    if index > 0 {
        level.words = reader.u16s(count, "the n-grams' words")?;
        if let Some(word) = level.words.iter().find(|&&w| usize::from(w) >= unigrams) {
            return malformed(format!("an n-gram of order {} names word {word} of {unigrams}", index + 1));
        }
    }
    level.cost = reader.u16s(count, "the probabilities")?;
    if highest {
        return Ok(level);
    }
    level.back_off = reader.u16s(count, "the back-off weights")?;
    let raw = reader.take(4 * (count + 1), "the n-grams' children")?;
    level.children = raw.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let ordered = level.children.windows(2).all(|w| w[0] <= w[1]);
    let first = level.children.first().copied();
    let last = level.children.last().map(|&c| c as usize);
    if !ordered || first != Some(0) || last != next.copied() {
        return malformed(format!("the children of order {} do not cover the next order once", index + 1));
    }
    Ok(level)
}

/// Words with one context must ascend, or the search would not find them.
fn check_sorted(children: &[u32], words: &[u16], order: usize) -> Result<(), LmError> {
    let ascends = |w: &[u32]| words[w[0] as usize..w[1] as usize].windows(2).all(|pair| pair[0] < pair[1]);
    if children.windows(2).all(ascends) {
        return Ok(());
    }
    malformed(format!("n-grams of order {order} with one context are out of order"))
}

fn malformed<T>(reason: String) -> Result<T, LmError> {
    Err(LmError::Malformed(reason))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], LmError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            return Err(LmError::Truncated { what, have: self.bytes.len() });
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, LmError> {
        let b = self.take(2, what)?;
        Ok(u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, LmError> {
        let b = self.take(4, what)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u16s(&mut self, count: usize, what: &'static str) -> Result<Vec<u16>, LmError> {
        let Some(bytes) = count.checked_mul(2) else {
            return Err(LmError::Truncated { what, have: self.bytes.len() });
        };
        Ok(self.take(bytes, what)?.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect())
    }
}
