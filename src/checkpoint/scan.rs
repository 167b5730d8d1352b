//! One pass over a stored matrix: zeros, values that are not finite, and the N:M patterns that hold. Works
//! on the bits, so nothing is widened.

use rayon::prelude::*;

use super::header::{Dtype, TensorInfo};

/// The patterns (keep N of M) that are looked for, sparsest first, then smallest group first.
pub const PATTERNS: [(usize, usize); 7] = [(1, 8), (1, 4), (2, 8), (1, 2), (2, 4), (4, 8), (8, 16)];
/// Group sizes that occur in [`PATTERNS`].
const GROUPS: [usize; 4] = [2, 4, 8, 16];
/// Elements per task, about; whole rows.
const TASK_ELEMENTS: usize = 1 << 18;

/// What a pass over a tensor found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    pub elements: u64,
    /// Values that are +0 or -0.
    pub zeros: u64,
    /// NaN and infinities.
    pub non_finite: u64,
    /// For each of [`GROUPS`], the most nonzeros in an aligned group of a row; the group size if rows do not
    /// divide into groups.
    fullest: [usize; GROUPS.len()],
}

/// How a matrix is sparse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Not one zero.
    Dense,
    /// Some zeros, no pattern of [`PATTERNS`].
    Unstructured,
    /// Every aligned group of `of` columns keeps at most `keep` nonzeros.
    KeepOf { keep: usize, of: usize },
    /// Nothing but zeros.
    Zero,
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Pattern::Dense => f.pad("dense"),
            Pattern::Unstructured => f.pad("unstructured"),
            Pattern::KeepOf { keep, of } => f.pad(&format!("{keep}:{of}")),
            Pattern::Zero => f.pad("zero"),
        }
    }
}

impl Scan {
    const EMPTY: Scan = Scan { elements: 0, zeros: 0, non_finite: 0, fullest: [0; GROUPS.len()] };

    /// Zeros over elements; 0 for an empty tensor.
    pub fn sparsity(&self) -> f64 {
        if self.elements == 0 { 0.0 } else { self.zeros as f64 / self.elements as f64 }
    }

    /// The sparsest pattern that holds everywhere.
    pub fn pattern(&self) -> Pattern {
        if self.zeros == 0 {
            return Pattern::Dense;
        }
        if self.zeros == self.elements {
            return Pattern::Zero;
        }
        let holds = |&&(keep, of): &&(usize, usize)| {
            GROUPS.iter().zip(self.fullest).any(|(&size, fullest)| size == of && fullest <= keep)
        };
        match PATTERNS.iter().find(holds) {
            Some(&(keep, of)) => Pattern::KeepOf { keep, of },
            None => Pattern::Unstructured,
        }
    }

    fn merge(mut self, other: Scan) -> Scan {
        self.elements += other.elements;
        self.zeros += other.zeros;
        self.non_finite += other.non_finite;
        for (mine, theirs) in self.fullest.iter_mut().zip(other.fullest) {
            *mine = (*mine).max(theirs);
        }
        self
    }
}

/// Scans a tensor of `shape` `[.., columns]` stored as `bytes`; `None` for dtypes other than F64, F32, F16
/// and BF16.
pub fn scan(bytes: &[u8], info: &TensorInfo) -> Option<Scan> {
    let columns = info.shape.last().copied().unwrap_or(1);
    Some(match info.dtype {
        Dtype::F64 => scan_rows::<8>(bytes, columns, |b| class64(u64::from_le_bytes(b))),
        Dtype::F32 => scan_rows::<4>(bytes, columns, |b| class32(u32::from_le_bytes(b))),
        Dtype::BF16 => scan_rows::<2>(bytes, columns, |b| class16(u16::from_le_bytes(b), 0x7f80)),
        Dtype::F16 => scan_rows::<2>(bytes, columns, |b| class16(u16::from_le_bytes(b), 0x7c00)),
        _ => return None,
    })
}

/// The first (row, group) of `[.., columns]` with more than `keep` nonzeros among `of` consecutive columns; a
/// shorter last group counts too. `None` if there is none, or for dtypes that [`scan`] does not read.
pub fn first_overfull_group(bytes: &[u8], info: &TensorInfo, keep: usize, of: usize) -> Option<(usize, usize)> {
    let columns = info.shape.last().copied().unwrap_or(1);
    let size = info.dtype.bitsize() / 8;
    let nonzero: fn(&[u8]) -> bool = match info.dtype {
        // The sign bit is the last one; a zero has no other bit.
        Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 => {
            |b| b.split_last().is_some_and(|(last, rest)| last & 0x7f != 0 || rest.iter().any(|&x| x != 0))
        }
        _ => return None,
    };
    if columns == 0 || of == 0 {
        return None;
    }
    bytes.par_chunks(columns * size).enumerate().find_map_first(|(row, row_bytes)| {
        let overfull = |group: &[u8]| group.chunks_exact(size).filter(|b| nonzero(b)).count() > keep;
        row_bytes.chunks(of * size).position(overfull).map(|group| (row, group))
    })
}

/// (is zero, is not finite)
type Class = (bool, bool);

fn class64(bits: u64) -> Class {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    (bits << 1 == 0, bits & EXPONENT == EXPONENT)
}

fn class32(bits: u32) -> Class {
    const EXPONENT: u32 = 0x7f80_0000;
    (bits << 1 == 0, bits & EXPONENT == EXPONENT)
}

fn class16(bits: u16, exponent: u16) -> Class {
    (bits << 1 == 0, bits & exponent == exponent)
}

fn scan_rows<const N: usize>(bytes: &[u8], columns: usize, class: impl Fn([u8; N]) -> Class + Sync) -> Scan {
    if columns == 0 {
        return Scan::EMPTY;
    }
    let rows_per_task = (TASK_ELEMENTS / columns).max(1);
    // A row longer than a task is one task: matrices have many rows.
    let mut total = bytes
        .par_chunks(rows_per_task * columns * N)
        .map(|rows| {
            let mut scan = Scan::EMPTY;
            for row in rows.chunks_exact(columns * N) {
                scan_row(row.as_chunks::<N>().0, &class, &mut scan);
            }
            scan
        })
        .reduce(|| Scan::EMPTY, Scan::merge);
    for (fullest, size) in total.fullest.iter_mut().zip(GROUPS) {
        if !columns.is_multiple_of(size) {
            *fullest = size;
        }
    }
    total
}

fn scan_row<const N: usize>(row: &[[u8; N]], class: impl Fn([u8; N]) -> Class, scan: &mut Scan) {
    scan.elements += row.len() as u64;
    for word in row.chunks(64) {
        let mut nonzero = 0u64;
        let mut non_finite = 0;
        for (i, &bytes) in word.iter().enumerate() {
            let (zero, bad) = class(bytes);
            nonzero |= u64::from(!zero) << i;
            non_finite += u64::from(bad);
        }
        scan.zeros += word.len() as u64 - u64::from(nonzero.count_ones());
        scan.non_finite += non_finite;
        for (fullest, size) in scan.fullest.iter_mut().zip(GROUPS) {
            // Once a group is full, no pattern of this size can hold.
            if *fullest < size {
                let mask = (1u64 << size) - 1;
                let counts = (0..64).step_by(size).map(|shift| ((nonzero >> shift) & mask).count_ones() as usize);
                *fullest = counts.fold(*fullest, usize::max);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_of(values: &[f32], columns: usize) -> Scan {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = vec![values.len() / columns, columns];
        scan(&bytes, &TensorInfo { dtype: Dtype::F32, shape, range: 0..bytes.len() }).expect("a float dtype")
    }

    #[test]
    fn patterns_are_told_apart() {
        let matrix = |keep: usize, of: usize| -> Vec<f32> {
            // The kept columns move with the group, so that no smaller group has the pattern.
            (0..64 * 48).map(|i| if (i % of + i / of) % of < keep { 1.5 } else { -0.0 }).collect()
        };
        for (keep, of) in PATTERNS {
            let found = scan_of(&matrix(keep, of), 48).pattern();
            assert_eq!(found, Pattern::KeepOf { keep, of });
        }
        assert_eq!(scan_of(&[1.0; 96], 48).pattern(), Pattern::Dense);
        assert_eq!(scan_of(&[0.0; 96], 48).pattern(), Pattern::Zero);
        let mut one = vec![1.0; 96];
        one[5] = 0.0;
        assert_eq!(scan_of(&one, 48).pattern(), Pattern::Unstructured);
    }

    #[test]
    fn a_width_that_does_not_divide_has_no_pattern() {
        let values: Vec<f32> = (0..6 * 10).map(|i| if i % 10 % 4 < 2 { 1.0 } else { 0.0 }).collect();
        // 10 columns divide by 2 only, and pairs are full.
        assert_eq!(scan_of(&values, 10).pattern(), Pattern::Unstructured);
    }

    #[test]
    fn every_bf16_and_f16_is_classified_like_its_float() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [Dtype::BF16, Dtype::F16] {
            let values = super::super::convert::to_f32(&bytes, dtype).expect("a weight dtype");
            let info = TensorInfo { dtype, shape: vec![256, 256], range: 0..bytes.len() };
            let found = scan(&bytes, &info).expect("a float dtype");
            assert_eq!(found.zeros, values.iter().filter(|&&v| v == 0.0).count() as u64, "{dtype}");
            assert_eq!(found.non_finite, values.iter().filter(|v| !v.is_finite()).count() as u64, "{dtype}");
        }
    }

    #[test]
    fn the_first_overfull_group_is_named() {
        let mut values = [1.0f32, 0.0, 1.0, 0.0].repeat(6);
        values[2 * 8 + 5] = 3.0;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let info = TensorInfo { dtype: Dtype::F32, shape: vec![3, 8], range: 0..bytes.len() };
        assert_eq!(first_overfull_group(&bytes, &info, 2, 4), Some((2, 1)));
        assert_eq!(first_overfull_group(&bytes, &info, 3, 4), None);
    }
}
