//! The compiled kernels, embedded.

use std::fmt;

/// One `.cu` file as a fatbin: machine code for every architecture and PTX for those to come.
pub struct Image {
    /// The file's name without `.cu`.
    pub name: &'static str,
    pub fatbin: &'static [u8],
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}, {} bytes)", self.name, self.fatbin.len())
    }
}

include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// What ptxas says that each kernel uses: tab-separated, one line per kernel and architecture, with a header.
pub const RESOURCES: &str = include_str!(concat!(env!("OUT_DIR"), "/resources.tsv"));
