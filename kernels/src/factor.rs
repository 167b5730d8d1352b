//! `H + damping I = R R^T`, `R` upper triangular, for one matrix or many: launcher of `factor.cu`.

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image::FACTOR;
use crate::triangle::{PackedTriangle, TILE};

/// Rows of tiles between two trailing updates: `OUTER` of `factor.cu`.
const OUTER: usize = 4;
/// Rows of trailing tiles that are taken together: their operands stay in the second-level cache.
const GROUP: usize = 8;
/// Threads per block.
const THREADS: u32 = 256;
/// [`Progress::failed`] while every pivot was positive.
const NO_FAILURE: i32 = -1;
const TILE_VALUES: usize = TILE * TILE;

/// One matrix to factor.
#[derive(Debug, Clone, Copy)]
pub struct FactorInput<'a> {
    /// H, which is left as it is.
    pub hessian: &'a PackedTriangle,
    /// What is added to each diagonal entry, in units of the diagonal's mean.
    pub dampening: f64,
}

/// What became of one matrix.
#[derive(Debug)]
pub enum FactorOutcome {
    Factored(Factor),
    /// The pivot of column `pivot`, the last such column, is not positive and finite.
    NotPositive {
        pivot: usize,
    },
}

/// `H + damping I = R R^T` with dead columns' diagonal set to 1.
#[derive(Debug)]
pub struct Factor {
    /// `R^T`: entry (j, i), i <= j, is `R[i, j]`.
    pub triangle: PackedTriangle,
    /// f32 `[tiles, 128, 128]` row-major: the inverses of the diagonal blocks of `R`, upper triangular; identity
    /// beyond the matrix.
    pub inverses: Buffer<f32>,
    /// What was added to each diagonal entry.
    pub damping: f32,
    /// Columns with `H[d, d] = 0`, rising.
    pub dead: Vec<usize>,
    /// Smallest diagonal entry of `R`, squared.
    pub smallest_pivot: f32,
}

/// Device bytes that [`factor`] takes for a matrix of `size` rows beside H. The factor keeps all but
/// [`factor_scratch_bytes`] of them.
pub fn factor_bytes(size: usize) -> u64 {
    let inverses = size.div_ceil(TILE) * TILE_VALUES * size_of::<f32>();
    PackedTriangle::bytes(size) + inverses as u64 + factor_scratch_bytes(size)
}

/// Device bytes of [`factor_bytes`] that are free again afterwards.
pub fn factor_scratch_bytes(size: usize) -> u64 {
    let tiles = size.div_ceil(TILE);
    let floats = 2 * TILE_VALUES + size + 1;
    let blocks: usize = plan(&[tiles]).iter().map(|launch| launch.blocks.len()).sum();
    let values = floats * size_of::<f32>() + blocks * size_of::<Block>();
    (values + tiles * size_of::<Progress>() + size_of::<Matrix>()) as u64
}

/// `FactorProgress` of `factor.cu`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Progress {
    failed: i32,
    smallest_root: f32,
}

/// `FactorMatrix` of `factor.cu`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Matrix {
    triangle: Pointer<f32>,
    inverses: Pointer<f32>,
    turned: Pointer<f32>,
    diagonal: Pointer<f32>,
    progress: Pointer<Progress>,
    dampening: f64,
    size: i32,
    tiles: i32,
}

/// `FactorBlock` of `factor.cu`: the tile that one thread block takes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
struct Block {
    matrix: u32,
    row: u16,
    column: u16,
}

/// `FactorParams` of `factor.cu`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    matrices: Pointer<Matrix>,
    blocks: Pointer<Block>,
    step: i32,
    reserved: i32,
}

const _: () = assert!(size_of::<Progress>() == 8 && size_of::<Matrix>() == 56);
const _: () = assert!(size_of::<Block>() == 8 && size_of::<Params>() == 24);

/// Kernels of one arithmetic, with their dynamic shared memory.
struct Variant {
    row: &'static str,
    row_shared: u32,
    trailing: &'static str,
    trailing_shared: u32,
}

/// Three TF32 products on the tensor cores.
const TENSOR: Variant = Variant {
    row: "factor_row_tensor",
    row_shared: 95_744,
    trailing: "factor_trailing_tensor",
    trailing_shared: 52_224,
};

/// Float32 multiply-adds.
const FMA: Variant =
    Variant { row: "factor_row_fma", row_shared: 90_112, trailing: "factor_trailing_fma", trailing_shared: 49_152 };

impl Variant {
    /// The quicker one: tensor cores where TF32 has more than three times the rate of FFMA, which GPUs made for
    /// graphics (8.6, 8.9, 12.0) do not offer.
    fn of(compute_capability: (u32, u32)) -> &'static Variant {
        match compute_capability {
            (8, 0) | (9 | 10, _) => &TENSOR,
            _ => &FMA,
        }
    }
}

/// One launch after the damping.
struct Step {
    trailing: bool,
    /// Rows of tiles that are finished before it.
    finished: usize,
    blocks: Vec<Block>,
}

/// Factors `H + dampening * mean(diag H) * I` for every input, all in the same launches, in the order of the inputs.
///
/// Columns with `H[d, d] = 0`, whose other entries must be 0, are dead: they get a diagonal of 1, also in the mean,
/// which is taken in float64. The results do not depend on what else is in `inputs`. The host waits once, at the
/// end.
///
/// # Errors
/// [`Error::Argument`] for a matrix without rows or on another device, or a dampening that is negative or not
/// finite; [`Error::OutOfMemory`], [`Error::Device`].
pub fn factor(device: &Device, inputs: &[FactorInput]) -> Result<Vec<FactorOutcome>> {
    for input in inputs {
        check(device, input)?;
    }
    if inputs.is_empty() {
        return Ok(Vec::new());
    }
    let tiles: Vec<usize> = inputs.iter().map(|input| input.hessian.tiles()).collect();
    let all_tiles: usize = tiles.iter().sum();
    let all_rows: usize = inputs.iter().map(|input| input.hessian.size()).sum();

    let mut triangles = Vec::with_capacity(inputs.len());
    let mut inverses = Vec::with_capacity(inputs.len());
    for (input, tiles) in inputs.iter().zip(&tiles) {
        triangles.push(input.hessian.duplicate("a factor")?);
        inverses.push(Buffer::uninitialised(device, tiles * TILE_VALUES, "the inverses of a factor's blocks")?);
    }
    let turned = Buffer::<f32>::uninitialised(device, inputs.len() * 2 * TILE_VALUES, "factorisation scratch")?;
    let diagonals = Buffer::<f32>::uninitialised(device, all_rows + inputs.len(), "diagonals of Hessians")?;
    let progress = Buffer::<Progress>::uninitialised(device, all_tiles, "progress of a factorisation")?;

    let mut matrices = Vec::with_capacity(inputs.len());
    let (mut first_tile, mut first_row) = (0, 0);
    for (index, input) in inputs.iter().enumerate() {
        let size = input.hessian.size();
        matrices.push(Matrix {
            triangle: triangles[index].pointer(),
            inverses: inverses[index].pointer(),
            turned: turned.pointer().offset(index * 2 * TILE_VALUES),
            diagonal: diagonals.pointer().offset(first_row),
            progress: progress.pointer().offset(first_tile),
            dampening: input.dampening,
            size: size as i32,
            tiles: tiles[index] as i32,
        });
        first_tile += tiles[index];
        first_row += size + 1;
    }
    launch(device, &matrices, &tiles)?;

    let progress = progress.to_vec()?;
    let diagonals = diagonals.to_vec()?;
    let (mut first_tile, mut first_row) = (0, 0);
    let mut outcomes = Vec::with_capacity(inputs.len());
    for ((triangle, inverses), tiles) in triangles.into_iter().zip(inverses).zip(tiles) {
        let size = triangle.size();
        // The first tile is finished last and knows of all others.
        let Progress { failed, smallest_root } = progress[first_tile];
        let diagonal = &diagonals[first_row..first_row + size];
        outcomes.push(match failed {
            NO_FAILURE => FactorOutcome::Factored(Factor {
                triangle,
                inverses,
                damping: diagonals[first_row + size],
                dead: (0..size).filter(|&column| diagonal[column] == 0.0).collect(),
                smallest_pivot: smallest_root * smallest_root,
            }),
            pivot => FactorOutcome::NotPositive { pivot: pivot as usize },
        });
        first_tile += tiles;
        first_row += size + 1;
    }
    Ok(outcomes)
}

fn check(device: &Device, input: &FactorInput) -> Result<()> {
    let problem = match input {
        _ if input.hessian.size() == 0 => "the matrix has no rows".to_string(),
        _ if !input.hessian.device().same(device) => "the matrix is on another device".to_string(),
        FactorInput { dampening, .. } if !(dampening.is_finite() && *dampening >= 0.0) => {
            format!("dampening is {dampening}; expected a finite number, 0 or more")
        }
        _ => return Ok(()),
    };
    Err(Error::argument("factor", problem))
}

/// Queues all launches.
fn launch(device: &Device, matrices: &[Matrix], tiles: &[usize]) -> Result<()> {
    let steps = plan(tiles);
    let all_blocks: Vec<Block> = steps.iter().flat_map(|step| &step.blocks).copied().collect();
    let matrices = Buffer::from_slice(device, matrices, "descriptions of matrices")?;
    let blocks = Buffer::from_slice(device, &all_blocks, "tiles of a factorisation")?;

    let mut params = Params { matrices: matrices.pointer(), blocks: blocks.pointer(), step: 0, reserved: 0 };
    device.launch(&FACTOR, "factor_damp", [tiles.len() as u32, 1, 1], [THREADS, 1, 1], 0, &params)?;

    let variant = Variant::of(device.properties().compute_capability);
    for step in &steps {
        let (kernel, shared) = match step.trailing {
            true => (variant.trailing, variant.trailing_shared),
            false => (variant.row, variant.row_shared),
        };
        params.step = step.finished as i32;
        device.launch(&FACTOR, kernel, [step.blocks.len() as u32, 1, 1], [THREADS, 1, 1], shared, &params)?;
        params.blocks = params.blocks.offset(step.blocks.len());
    }
    Ok(())
}

/// The launches after the damping, for matrices of so many rows of tiles. Step `finished` of every matrix shares a
/// launch, whatever its size.
fn plan(tiles: &[usize]) -> Vec<Step> {
    let block = |matrix: usize, row: usize, column: usize| Block {
        matrix: matrix as u32,
        row: row as u16,
        column: column as u16,
    };
    let mut steps = Vec::new();
    for finished in 0..tiles.iter().copied().max().unwrap_or(0) {
        // Each with the number of its rows that are left.
        let active: Vec<(usize, usize)> = (tiles.iter().enumerate())
            .filter(|&(_, &tiles)| tiles > finished)
            .map(|(matrix, tiles)| (matrix, tiles - finished))
            .collect();
        // The block left of the diagonal has the longest chain: it goes on to the next diagonal block.
        let mut blocks: Vec<Block> = active.iter().map(|&(matrix, left)| block(matrix, left, left - 1)).collect();
        if finished > 0 {
            let rest = |&(matrix, left)| (0..left - 1).map(move |column| block(matrix, left, column));
            blocks.extend(active.iter().flat_map(rest));
        }
        steps.push(Step { trailing: false, finished, blocks });

        if finished > 0 && finished.is_multiple_of(OUTER) {
            let tiles = |&(matrix, left)| trailing_tiles(left).map(move |(row, column)| block(matrix, row, column));
            let blocks: Vec<Block> = active.iter().flat_map(tiles).collect();
            if !blocks.is_empty() {
                steps.push(Step { trailing: true, finished, blocks });
            }
        }
    }
    steps
}

/// The tiles of the lower triangle of `rows` rows of tiles but for the last: groups of rows from the top, within them
/// column by column.
fn trailing_tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows)
        .step_by(GROUP)
        .flat_map(move |top| {
            let end = (top + GROUP).min(rows);
            (0..end).flat_map(move |column| (top.max(column)..end).map(move |row| (row, column)))
        })
        .filter(move |&(row, column)| row + 1 != rows || column + 1 != rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The updates that tile (row, column) receives, in order: of which rows of tiles, and from which launch on.
    #[test]
    fn every_tile_is_updated_once_by_every_later_row_before_it_is_solved() {
        let sizes = [1, 7, 30, 2, 4, 5, 13];
        for (matrix, &tiles) in sizes.iter().enumerate() {
            // Rows above `done` have been taken from the tile.
            let mut done = vec![tiles; tiles * tiles];
            let mut solved = vec![false; tiles * tiles];
            for step in plan(&sizes) {
                let first = tiles.saturating_sub(step.finished);
                let mut end = tiles;
                while step.finished > 0 && end > first + OUTER {
                    end -= OUTER;
                }
                for block in step.blocks.iter().filter(|block| block.matrix as usize == matrix) {
                    let (row, column) = (usize::from(block.row), usize::from(block.column));
                    if step.trailing {
                        // A row launch has taken the last row of the outer block from the diagonal tile before it.
                        assert_eq!(done[row * tiles + column], end, "({row}, {column}) of {tiles}");
                        done[row * tiles + column] = first;
                        continue;
                    }
                    assert_eq!(row, first);
                    if row < tiles {
                        assert_eq!(done[row * tiles + column], end, "({row}, {column}) of {tiles}");
                        assert!(!std::mem::replace(&mut solved[row * tiles + column], true));
                        if column + 1 + OUTER >= end {
                            assert_eq!(done[column * tiles + column], row + 1, "diagonal {column} of {tiles}");
                            done[column * tiles + column] = row;
                        }
                    }
                    if column + 1 == row {
                        assert_eq!(done[column * tiles + column], row, "diagonal {column} of {tiles}");
                        assert!(!std::mem::replace(&mut solved[column * tiles + column], true));
                    }
                }
            }
            for row in 0..tiles {
                assert!(solved[row * tiles..][..=row].iter().all(|&solved| solved), "row {row} of {tiles}");
            }
        }
    }

    #[test]
    fn blocks_with_the_longest_chains_come_first() {
        for step in plan(&[3, 9, 1]).iter().filter(|step| !step.trailing) {
            let chains: Vec<bool> = step.blocks.iter().map(|block| block.column + 1 == block.row).collect();
            assert!(chains.is_sorted_by(|a, b| a >= b), "step {}", step.finished);
        }
    }
}
