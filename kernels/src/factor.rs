//! `H + damping I = R R^T`, `R` upper triangular, for one matrix or many: launcher of `factor.cu`.

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image::FACTOR;
use crate::triangle::{PackedTriangle, TILE};

/// Rows of tiles between two trailing updates: `OUTER` of `factor.cu`.
const OUTER: usize = 4;
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
    // Block starts of one matrix alone: two values for each row and each trailing update.
    let starts = 2 * (tiles + tiles / OUTER);
    let values = floats * size_of::<f32>() + starts * size_of::<u32>();
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

/// `FactorParams` of `factor.cu`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    matrices: Pointer<Matrix>,
    starts: Pointer<u32>,
    step: i32,
    active: i32,
}

const _: () = assert!(size_of::<Progress>() == 8 && size_of::<Matrix>() == 56 && size_of::<Params>() == 24);

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

/// Blocks of one launch: `starts[m]..starts[m + 1]` belong to matrix `m`.
struct Blocks {
    step: usize,
    trailing: bool,
    starts: Vec<u32>,
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
    // At every step the matrices that still have work come first.
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(inputs[index].hessian.tiles()));
    let sorted: Vec<FactorInput> = order.iter().map(|&index| inputs[index]).collect();
    let outcomes = factor_sorted(device, &sorted)?;

    let mut placed: Vec<(usize, FactorOutcome)> = order.into_iter().zip(outcomes).collect();
    placed.sort_by_key(|&(index, _)| index);
    Ok(placed.into_iter().map(|(_, outcome)| outcome).collect())
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

/// [`factor`] for inputs by falling number of tiles.
fn factor_sorted(device: &Device, inputs: &[FactorInput]) -> Result<Vec<FactorOutcome>> {
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

/// Queues all launches.
fn launch(device: &Device, matrices: &[Matrix], tiles: &[usize]) -> Result<()> {
    let launches = plan(tiles);
    let all_starts: Vec<u32> = launches.iter().flat_map(|blocks| &blocks.starts).copied().collect();
    let matrices = Buffer::from_slice(device, matrices, "descriptions of matrices")?;
    let starts = Buffer::from_slice(device, &all_starts, "block starts of a factorisation")?;

    let damp = Params { matrices: matrices.pointer(), starts: Pointer::NULL, step: 0, active: tiles.len() as i32 };
    device.launch(&FACTOR, "factor_damp", [tiles.len() as u32, 1, 1], [THREADS, 1, 1], 0, &damp)?;

    let variant = Variant::of(device.properties().compute_capability);
    let mut position = 0;
    for Blocks { step, trailing, starts: own } in &launches {
        let active = own.len() - 1;
        let params = Params {
            matrices: matrices.pointer(),
            starts: starts.pointer().offset(position),
            step: *step as i32,
            active: active as i32,
        };
        position += own.len();
        let (kernel, blocks, shared) = match trailing {
            true => (variant.trailing, own[active], variant.trailing_shared),
            false => (variant.row, own[active] + active as u32, variant.row_shared),
        };
        device.launch(&FACTOR, kernel, [blocks, 1, 1], [THREADS, 1, 1], shared, &params)?;
    }
    Ok(())
}

/// The launches after the damping, for matrices by falling number of tiles.
fn plan(tiles: &[usize]) -> Vec<Blocks> {
    let mut launches = Vec::new();
    let mut add = |step: usize, trailing: bool, blocks: &dyn Fn(usize) -> usize| {
        // Of `left` rows of tiles above, none means that the matrix is finished.
        let active = tiles.iter().take_while(|&&tiles| tiles > step && (blocks(tiles - step) > 0 || !trailing));
        let mut starts = vec![0];
        for tiles in active {
            starts.push(starts[starts.len() - 1] + blocks(tiles - step) as u32);
        }
        if starts.len() > 1 {
            launches.push(Blocks { step, trailing, starts });
        }
    };
    for step in 0..tiles[0] {
        // The block of the column before the diagonal is counted apart: it goes on to the next diagonal block.
        add(step, false, &|left| if step == 0 { 0 } else { left - 1 });
        if step > 0 && step.is_multiple_of(OUTER) {
            add(step, true, &|left| left * (left + 1) / 2 - 1);
        }
    }
    launches
}
