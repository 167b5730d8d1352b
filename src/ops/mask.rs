//! Which weights stay. A mask is its own fact: it is never recovered from `w != 0`.

use rayon::prelude::*;

/// One flag per weight of a `[rows, columns]` matrix, row-major; `true` means kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    rows: usize,
    columns: usize,
    keep: Vec<bool>,
}

impl Mask {
    /// Everything kept.
    pub fn all(rows: usize, columns: usize) -> Self {
        Mask { rows, columns, keep: vec![true; rows * columns] }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The flags, row-major.
    pub fn as_slice(&self) -> &[bool] {
        &self.keep
    }

    /// The flags, row-major, to write.
    pub fn as_mut_slice(&mut self) -> &mut [bool] {
        &mut self.keep
    }

    /// The flags of one row.
    pub fn row(&self, row: usize) -> &[bool] {
        &self.keep[row * self.columns..(row + 1) * self.columns]
    }

    /// How many weights are removed.
    pub fn pruned(&self) -> usize {
        self.keep.par_iter().filter(|&&keep| !keep).count()
    }
}
