//! One square buffer that holds a Hessian and, above its diagonal, the factor.
//!
//! ```text
//!      r r r r      lower triangle without the diagonal: H
//!      h r r r      upper triangle with the diagonal:    R with H = R R^T, after `factor`
//!      h h r r      `diagonal`:                          the diagonal of H
//!      h h h r
//! ```
//!
//! So a factorisation needs no second matrix, a damping attempt that failed can start again, and the full
//! symmetric matrix can be had back for the refinement.

/// A symmetric f32 `[d, d]` matrix, row-major, of which only the lower triangle is promised.
#[derive(Debug, Clone)]
pub struct Symmetric {
    pub(super) size: usize,
    pub(super) data: Vec<f32>,
}

impl Symmetric {
    /// Zeros.
    pub fn zeros(size: usize) -> Self {
        Symmetric { size, data: vec![0.0; size * size] }
    }

    /// From a full row-major matrix of `size * size` values; `None` for another length. Only the lower
    /// triangle is used.
    pub fn from_rows(size: usize, data: Vec<f32>) -> Option<Self> {
        (data.len() == size * size).then_some(Symmetric { size, data })
    }

    /// d.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The whole buffer, row-major. Entries above the diagonal are meaningless until [`Symmetric::mirror`].
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Bytes of a matrix of `size`.
    pub fn bytes(size: usize) -> u64 {
        (size * size * size_of::<f32>()) as u64
    }

    /// The diagonal.
    pub fn diagonal(&self) -> Vec<f32> {
        (0..self.size).map(|i| self.data[i * self.size + i]).collect()
    }

    /// Replaces the diagonal.
    pub fn set_diagonal(&mut self, values: &[f32]) {
        for (i, &value) in values.iter().enumerate() {
            self.data[i * self.size + i] = value;
        }
    }

    /// Multiplies every entry of the buffer.
    pub fn scale(&mut self, factor: f32) {
        self.data.iter_mut().for_each(|value| *value *= factor);
    }

    /// Copies the lower triangle over the upper one.
    pub fn mirror(&mut self) {
        // One cache line of f32: tiles are turned in a buffer, because at many sizes d the rows of a column
        // fall into the same cache set.
        const TILE: usize = 16;
        let d = self.size;
        for i0 in (0..d).step_by(TILE) {
            let height = TILE.min(d - i0);
            for j0 in (0..=i0).step_by(TILE) {
                let width = TILE.min(d - j0);
                let mut tile = [[0.0; TILE]; TILE];
                for (i, line) in tile[..height].iter_mut().enumerate() {
                    line[..width].copy_from_slice(&self.data[(i0 + i) * d + j0..][..width]);
                }
                for j in 0..width {
                    // In a tile on the diagonal only what lies right of it is written.
                    let from = if i0 == j0 { j + 1 } else { 0 };
                    let target = &mut self.data[(j0 + j) * d + i0..][..height];
                    for i in from..height {
                        target[i] = tile[i][j];
                    }
                }
            }
        }
    }
}

/// `H + damping = R R^T` with `R` upper triangular.
///
/// Then `U = R^-1` is the upper Cholesky factor of the inverse, `H^-1 = U^T U`, that SparseGPT sweeps with;
/// it is never formed.
#[derive(Debug)]
pub struct Factor {
    pub(super) matrix: Symmetric,
    /// Diagonal of H with dead columns set to 1, before damping.
    pub(super) hessian_diagonal: Vec<f32>,
    /// What was added to each diagonal entry.
    pub(super) damping: f32,
    /// Columns whose input was always zero.
    pub(super) dead: Vec<usize>,
}

impl Factor {
    pub fn size(&self) -> usize {
        self.matrix.size
    }

    /// Columns whose input was always zero; their weights are removed without compensation.
    pub fn dead(&self) -> &[usize] {
        &self.dead
    }

    /// `R[i, i]`.
    pub(super) fn pivot(&self, i: usize) -> f32 {
        self.matrix.data[i * self.matrix.size + i]
    }

    /// Smallest diagonal entry of `R`, squared: the smallest pivot of the factorisation.
    pub fn smallest_pivot(&self) -> f32 {
        (0..self.size()).map(|i| self.pivot(i)).fold(f32::INFINITY, f32::min).powi(2)
    }

    /// Largest diagonal entry of `R`, squared: the largest pivot of the factorisation.
    pub fn largest_pivot(&self) -> f32 {
        (0..self.size()).map(|i| self.pivot(i)).fold(0.0, f32::max).powi(2)
    }

    /// Gives back the damped Hessian as a full symmetric matrix.
    pub fn into_damped(self) -> Symmetric {
        let Factor { mut matrix, mut hessian_diagonal, damping, .. } = self;
        matrix.mirror();
        hessian_diagonal.iter_mut().for_each(|h| *h += damping);
        matrix.set_diagonal(&hessian_diagonal);
        matrix
    }
}
