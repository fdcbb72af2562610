//! `precompiled_charsmap`: a double array (Darts) over the bytes of what is replaced, and the replacements, each ended by NUL.

/// Rules of a normalisation such as `nmt_nfkc`.
#[derive(Debug, Clone)]
pub(super) struct CharsMap {
    units: Vec<u32>,
    replacements: String,
}

impl CharsMap {
    /// `blob`: the size of the double array in bytes (4 bytes, little endian), the array, the replacements.
    pub(super) fn parse(blob: &[u8]) -> Result<Self, String> {
        let broken = |why: &str| format!("its precompiled_charsmap is broken: {why}");
        let (size, rest) = blob.split_first_chunk::<4>().ok_or_else(|| broken("it is shorter than its own header"))?;
        let size = u32::from_le_bytes(*size) as usize;
        if size > rest.len() || !size.is_multiple_of(4) {
            return Err(broken("its table is larger than the whole"));
        }
        let (table, replacements) = rest.split_at(size);
        let units = table.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let replacements = String::from_utf8(replacements.to_vec()).map_err(|_| broken("a replacement is no UTF-8"))?;
        Ok(Self { units, replacements })
    }

    /// The longest rule that `text` begins with: how many bytes of it go, and what comes in their place.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut found = None;
        let mut at = offset(*self.units.first()?);
        for (index, &byte) in text.as_bytes().iter().enumerate() {
            at ^= u32::from(byte);
            let Some(&unit) = self.units.get(at as usize) else { break };
            // A leaf has the highest bit set, so it equals no byte.
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            at ^= offset(unit);
            if unit >> 8 & 1 == 1
                && let Some(leaf) = self.units.get(at as usize)
            {
                found = Some((index + 1, leaf & !(1 << 31)));
            }
        }
        let (length, from) = found.filter(|(length, _)| text.is_char_boundary(*length))?;
        let rest = self.replacements.get(from as usize..)?;
        Some((length, rest.split('\0').next().unwrap_or_default()))
    }
}

/// From a unit to its children.
fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}
