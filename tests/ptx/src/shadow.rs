//! Which bytes of an allocation hold a value that somebody wrote.

/// Bytes described by one word of the bitset.
const WORD: usize = u64::BITS as usize;

/// One bit per byte of an allocation: set once the byte was written.
#[derive(Clone, Debug)]
pub struct Shadow {
    words: Vec<u64>,
    bytes: usize,
}

impl Shadow {
    /// The state of `bytes` bytes that nobody has written.
    pub fn uninitialised(bytes: usize) -> Self {
        Self { words: vec![0; bytes.div_ceil(WORD)], bytes }
    }

    /// The state of `bytes` bytes that hold data from outside.
    pub fn initialised(bytes: usize) -> Self {
        Self { words: vec![u64::MAX; bytes.div_ceil(WORD)], bytes }
    }

    /// Bytes described.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Marks `offset..offset + bytes` as written.
    #[inline]
    pub fn write(&mut self, offset: usize, bytes: usize) {
        debug_assert!(offset + bytes <= self.bytes);
        let (word, bit) = (offset / WORD, offset % WORD);
        if bit + bytes <= WORD && bytes > 0 {
            self.words[word] |= ones(bytes) << bit;
        } else {
            self.words_of(offset, bytes).for_each(|(word, mask)| self.words[word] |= mask);
        }
    }

    /// The first byte of `offset..offset + bytes` that nobody wrote, as an offset into the allocation.
    #[inline]
    pub fn first_unwritten(&self, offset: usize, bytes: usize) -> Option<usize> {
        debug_assert!(offset + bytes <= self.bytes);
        let (word, bit) = (offset / WORD, offset % WORD);
        if bit + bytes <= WORD && bytes > 0 {
            let missing = !self.words[word] & (ones(bytes) << bit);
            return (missing != 0).then(|| word * WORD + missing.trailing_zeros() as usize);
        }
        self.words_of(offset, bytes).find_map(|(word, mask)| {
            let missing = !self.words[word] & mask;
            (missing != 0).then(|| word * WORD + missing.trailing_zeros() as usize)
        })
    }

    /// Forgets every write.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The words that `offset..offset + bytes` touches, each with the bits of the range.
    fn words_of(&self, offset: usize, bytes: usize) -> impl Iterator<Item = (usize, u64)> + use<> {
        let end = offset + bytes;
        (offset / WORD..end.div_ceil(WORD)).filter_map(move |word| {
            let first = offset.max(word * WORD);
            let last = end.min((word + 1) * WORD);
            (first < last).then(|| (word, ones(last - first) << (first % WORD)))
        })
    }
}

/// The low `count` bits set, `count` in 1..=64.
fn ones(count: usize) -> u64 {
    u64::MAX >> (WORD - count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_tracked_to_the_byte() {
        const BYTES: usize = 200;
        for offset in 0..BYTES {
            for bytes in (0..=BYTES - offset).filter(|bytes| [0, 1, 2, 4, 8, 16, 63, 64, 65, 130].contains(bytes)) {
                let mut shadow = Shadow::uninitialised(BYTES);
                shadow.write(offset, bytes);
                for byte in 0..BYTES {
                    let written = (offset..offset + bytes).contains(&byte);
                    assert_eq!(shadow.first_unwritten(byte, 1).is_none(), written, "{offset}+{bytes}: byte {byte}");
                }
                assert_eq!(shadow.first_unwritten(offset, bytes), None, "{offset}+{bytes}");
                if offset + bytes < BYTES {
                    assert_eq!(shadow.first_unwritten(offset, bytes + 1), Some(offset + bytes), "{offset}+{bytes}");
                }
                if offset > 0 {
                    assert_eq!(shadow.first_unwritten(offset - 1, bytes + 1), Some(offset - 1), "{offset}+{bytes}");
                }
            }
        }
    }

    #[test]
    fn data_from_outside_is_written_until_cleared() {
        let mut shadow = Shadow::initialised(100);
        assert_eq!((shadow.len(), shadow.is_empty()), (100, false));
        assert_eq!(shadow.first_unwritten(0, 100), None);
        shadow.clear();
        assert_eq!(shadow.first_unwritten(37, 16), Some(37));
    }
}
