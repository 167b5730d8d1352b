//! `ldmatrix` (PTX ISA 9.7.14.5.15), `stmatrix` (9.7.14.5.16) and `movmatrix` (9.7.14.5.17) on 8 x 8 matrices of
//! 16-bit elements.

use super::Lanes;

/// The lane whose address names `row` (0..8) of `matrix` (0..4): lanes 0..8 the first matrix, 8..16 the second,
/// and so on. Lanes at or above 8 x the number of matrices give no address.
pub const fn matrix_row_lane(matrix: usize, row: usize) -> usize {
    8 * matrix + row
}

/// `ldmatrix{.trans}`: `rows[matrix_row_lane(m, r)]` are the 16 bytes at the address of that lane. Writes one slot
/// per matrix; `d.len()` is 1, 2 or 4 and `rows.len()` at least 8 times that.
pub fn ldmatrix(transpose: bool, rows: &[[u8; 16]], d: &mut [Lanes]) {
    unimplemented!()
}

/// `stmatrix{.trans}`: the inverse of [`ldmatrix`]; writes the 16 bytes that go to each row address.
pub fn stmatrix(transpose: bool, a: &[Lanes], rows: &mut [[u8; 16]]) {
    unimplemented!()
}

/// `movmatrix.sync.aligned.m8n8.trans.b16`.
pub fn movmatrix(a: &Lanes) -> Lanes {
    unimplemented!()
}
