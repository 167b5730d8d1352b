//! `ldmatrix` (PTX ISA 9.7.14.5.15), `stmatrix` (9.7.14.5.16) and `movmatrix` (9.7.14.5.17) on 8 x 8 matrices of
//! 16-bit elements.
//!
//! A lane holds elements (group, 2 thread) and (group, 2 thread + 1) of a matrix in the low and high half of its
//! register. With `.trans` it holds those of the transposed matrix: (2 thread, group) and (2 thread + 1, group).

use super::{Lanes, WARP};

/// The lane whose address names `row` (0..8) of `matrix` (0..4): lanes 0..8 the first matrix, 8..16 the second,
/// and so on. Lanes at or above 8 x the number of matrices give no address.
pub const fn matrix_row_lane(matrix: usize, row: usize) -> usize {
    8 * matrix + row
}

/// Row and byte within the row of the element in `half` (0 or 1) of `lane`'s register.
const fn element_place(transpose: bool, lane: usize, half: usize) -> (usize, usize) {
    let (group, along) = (lane >> 2, 2 * (lane & 3) + half);
    if transpose { (along, 2 * group) } else { (group, 2 * along) }
}

/// `ldmatrix{.trans}`: `rows[matrix_row_lane(m, r)]` are the 16 bytes at the address of that lane. Writes one slot
/// per matrix; `d.len()` is 1, 2 or 4 and `rows.len()` at least 8 times that.
pub fn ldmatrix(transpose: bool, rows: &[[u8; 16]], d: &mut [Lanes]) {
    assert!(matches!(d.len(), 1 | 2 | 4), "ldmatrix loads 1, 2 or 4 matrices");
    for (matrix, slot) in d.iter_mut().enumerate() {
        for lane in 0..WARP {
            let element = |half| {
                let (row, byte) = element_place(transpose, lane, half);
                let bytes = &rows[matrix_row_lane(matrix, row)];
                u32::from(u16::from_le_bytes([bytes[byte], bytes[byte + 1]]))
            };
            slot[lane] = element(1) << 16 | element(0);
        }
    }
}

/// `stmatrix{.trans}`: the inverse of [`ldmatrix`]; writes the 16 bytes that go to each row address.
pub fn stmatrix(transpose: bool, a: &[Lanes], rows: &mut [[u8; 16]]) {
    assert!(matches!(a.len(), 1 | 2 | 4), "stmatrix stores 1, 2 or 4 matrices");
    for (matrix, slot) in a.iter().enumerate() {
        for lane in 0..WARP {
            for half in 0..2 {
                let (row, byte) = element_place(transpose, lane, half);
                let bytes = ((slot[lane] >> (16 * half)) as u16).to_le_bytes();
                rows[matrix_row_lane(matrix, row)][byte..byte + 2].copy_from_slice(&bytes);
            }
        }
    }
}

/// `movmatrix.sync.aligned.m8n8.trans.b16`.
pub fn movmatrix(a: &Lanes) -> Lanes {
    let mut rows = [[0; 16]; 8];
    stmatrix(false, std::slice::from_ref(a), &mut rows);
    let mut d = [0; WARP];
    ldmatrix(true, &rows, std::slice::from_mut(&mut d));
    d
}
