//! Which bytes of an allocation hold a value that somebody wrote.

/// One bit per byte of an allocation: set once the byte was written.
#[derive(Clone, Debug)]
pub struct Shadow {
    words: Vec<u64>,
    bytes: usize,
}

impl Shadow {
    /// The state of `bytes` bytes that nobody has written.
    pub fn uninitialised(bytes: usize) -> Self {
        unimplemented!()
    }

    /// The state of `bytes` bytes that hold data from outside.
    pub fn initialised(bytes: usize) -> Self {
        unimplemented!()
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
    pub fn write(&mut self, offset: usize, bytes: usize) {
        unimplemented!()
    }

    /// The first byte of `offset..offset + bytes` that nobody wrote, as an offset into the allocation.
    pub fn first_unwritten(&self, offset: usize, bytes: usize) -> Option<usize> {
        unimplemented!()
    }

    /// Forgets every write.
    pub fn clear(&mut self) {
        unimplemented!()
    }
}
