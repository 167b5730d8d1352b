//! The OBS column sweep: prunes a weight matrix block of columns by block of columns and compensates the weights
//! that stay. The algorithm is told in `sweep.cuh`.

use bytemuck::{NoUninit, Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image::{SWEEP_COLUMNS, SWEEP_SELECT, SWEEP_TRAILING};
use crate::triangle::{PackedTriangle, TILE};

/// Threads of every kernel here.
const THREADS: u32 = 256;

/// Rows of a row tile: `TILE_ROWS`.
const TILE_ROWS: usize = 32;

/// Warps of a row tile: `WARPS`.
const WARPS: usize = 8;

/// Counters of one segment's histograms: `HISTOGRAM`.
const HISTOGRAM: usize = 4096;

/// Bins of the low bits: `LOW_BINS`.
const LOW_BINS: usize = 1024;

/// Shared memory of `sweep_columns_*`: `SweepShared`.
const COLUMNS_SHARED_BYTES: u32 = 66436;

/// Shared memory of `sweep_trailing`: two stages of two 128 x 32 operands. A third stage would leave room for one
/// block per multiprocessor instead of two on compute capability 8.0, and the depth is four chunks.
const TRAILING_SHARED_BYTES: u32 = 2 * 2 * 128 * 32 * 4;

/// Largest M of N:M.
pub const MAX_GROUP: usize = 64;

/// The dtype that kept weights are rounded to inside the sweep, so that the rounding error is compensated too.
/// Ties to even; a NaN stays a NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Keep f32.
    None,
    F16,
    BF16,
}

impl Rounding {
    /// The number that the kernels know it by: `ROUNDING_*`.
    fn code(self) -> u32 {
        match self {
            Rounding::None => 0,
            Rounding::F16 => 1,
            Rounding::BF16 => 2,
        }
    }
}

/// Consecutive rows of the weight matrix that belong to one Linear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepSegment {
    pub rows: usize,
    pub rounding: Rounding,
}

/// What falls.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// The `counts[segment][block]` smallest scores `|w| R[i, i]` of each segment in each block of columns, scored
    /// when the sweep reaches the block; of equal scores the earlier in row-major order.
    Unstructured { counts: &'a [Vec<usize>] },
    /// All but the `keep` highest scores of every `of` consecutive weights of a row, scored when the sweep reaches
    /// the group; of equal scores the earlier falls. `of` divides the block size and the columns.
    NM { keep: usize, of: usize },
    /// u8 `[rows, d]`, row-major: what is 0.
    Fixed { mask: &'a Buffer<u8> },
}

/// What a sweep works with, besides the weights.
#[derive(Debug, Clone, Copy)]
pub struct SweepInput<'a> {
    /// `R^T` with `H = R R^T`, `R` upper triangular: f32 `[d, d]`.
    pub factor: &'a PackedTriangle,
    /// `R_BB^-1` of each 128-column block: f32 `[tiles, 128, 128]` row-major, upper triangular, zero below the
    /// diagonal, the identity beyond column d.
    pub inverses: &'a Buffer<f32>,
    /// Columns whose inputs were always zero: their weights become 0 before the sweep, without compensation.
    pub dead: &'a [usize],
    /// From the first row to the last.
    pub segments: &'a [SweepSegment],
    pub selection: Selection<'a>,
    /// Columns whose scores are taken together: a power of two from 16 to 128.
    pub block_size: usize,
}

/// What a sweep found; the finished weights are in the matrix that was swept.
#[derive(Debug)]
pub struct SweepOutput {
    /// u8 `[rows, d]`, row-major: 1 where a weight was kept.
    pub mask: Buffer<u8>,
    /// Per segment `tr(D H D^T)` with `D` the change of its weights and `H = R R^T`.
    pub damped_loss: Vec<f64>,
}

/// `RowTile` of the kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct RowTile {
    first_row: u32,
    rows: u32,
    segment: u32,
    segment_tile: u32,
    rounding: u32,
}

const _: () = assert!(size_of::<RowTile>() == 20);

/// `SweepParams` of the kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, NoUninit)]
struct SweepParams {
    weight: Pointer<f32>,
    change: Pointer<f32>,
    mask: Pointer<u8>,
    factor: Pointer<f32>,
    inverses: Pointer<f32>,
    row_tiles: Pointer<RowTile>,
    counts: Pointer<u32>,
    histograms: Pointer<u32>,
    cuts: Pointer<u32>,
    low_counts: Pointer<u16>,
    loss: Pointer<f64>,
    stride: u64,
    columns: u32,
    segments: u32,
    blocks: u32,
    block: u32,
    start: u32,
    width: u32,
    keep: u32,
    of: u32,
}

const _: () = assert!(size_of::<SweepParams>() == 128);

/// `SweepTrailingParams` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, NoUninit)]
struct SweepTrailingParams {
    change: Pointer<f32>,
    factor: Pointer<f32>,
    stride: u64,
    tile: u32,
    first_output: u32,
    first_depth: u32,
    depth: u32,
    first_column: u32,
    unused: u32,
}

const _: () = assert!(size_of::<SweepTrailingParams>() == 48);

/// `SweepDeadParams` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, NoUninit)]
struct SweepDeadParams {
    weight: Pointer<f32>,
    dead: Pointer<u32>,
    rows: u64,
    columns: u32,
    count: u32,
}

const _: () = assert!(size_of::<SweepDeadParams>() == 32);

/// How many values of each kind a sweep keeps on the device besides its inputs.
struct Room {
    rows: usize,
    segments: usize,
    row_tiles: usize,
    blocks: usize,
    /// Columns padded to whole tiles.
    stride: usize,
    /// Rows padded to whole tiles.
    padded_rows: usize,
}

impl Room {
    fn new(segment_rows: impl Iterator<Item = usize> + Clone, columns: usize, block_size: usize) -> Self {
        let rows: usize = segment_rows.clone().sum();
        Room {
            rows,
            segments: segment_rows.clone().count(),
            row_tiles: segment_rows.map(|rows| rows.div_ceil(TILE_ROWS)).sum(),
            blocks: columns.div_ceil(block_size),
            stride: columns.next_multiple_of(TILE),
            padded_rows: rows.next_multiple_of(TILE),
        }
    }

    fn change(&self) -> usize {
        self.padded_rows * self.stride
    }

    fn losses(&self) -> usize {
        self.row_tiles * WARPS
    }

    fn counts(&self) -> usize {
        self.segments * self.blocks
    }

    fn histograms(&self) -> usize {
        2 * self.segments * HISTOGRAM
    }

    /// Two per segment, of two numbers each.
    fn cuts(&self) -> usize {
        2 * self.segments * 2
    }

    fn low_counts(&self) -> usize {
        self.row_tiles * LOW_BINS
    }
}

/// Device bytes that a sweep of `[segment_rows.iter().sum(), columns]` takes besides its inputs: the mask, which it
/// returns, and the rest while it runs. That is with an unstructured selection; others take less.
pub fn sweep_bytes(segment_rows: &[usize], columns: usize, block_size: usize) -> u64 {
    let room = Room::new(segment_rows.iter().copied(), columns, block_size);
    let bytes = room.rows * columns
        + room.change() * size_of::<f32>()
        + room.row_tiles * size_of::<RowTile>()
        + (room.counts() + room.histograms() + room.cuts()) * size_of::<u32>()
        + room.low_counts() * size_of::<u16>()
        + room.losses() * size_of::<f64>();
    bytes as u64
}

/// Prunes `weight` (f32 `[rows, d]` row-major, in place) and compensates the weights that stay. Removed weights are
/// exactly 0. Nothing waits for the device until the losses are read at the end.
///
/// # Errors
/// [`Error::Argument`] for shapes, counts or a block size that do not fit together, [`Error::OutOfMemory`],
/// [`Error::Device`].
pub fn sweep(device: &Device, weight: &mut Buffer<f32>, input: &SweepInput) -> Result<SweepOutput> {
    check(input)?;
    let rows: usize = input.segments.iter().map(|segment| segment.rows).sum();
    let d = input.factor.size();
    if weight.len() != rows * d {
        return Err(refuse(format!("{} weights for segments of {rows} rows in all and {d} columns", weight.len())));
    }
    let mut mask = Buffer::uninitialised(device, weight.len(), "the mask of a sweep")?;
    if let Selection::Fixed { mask: given } = input.selection {
        if given.len() != mask.len() {
            return Err(refuse(format!("a mask of {} for {rows} x {d} weights", given.len())));
        }
        mask.copy_from(0, given)?;
    }
    let damped_loss = sweep_at(device, weight.pointer(), mask.pointer(), input)?;
    Ok(SweepOutput { mask, damped_loss })
}

fn refuse(problem: String) -> Error {
    Error::argument("sweep", problem)
}

/// Whether blocks of this many columns can be swept.
pub fn takes_block_size(block_size: usize) -> bool {
    block_size.is_power_of_two() && (16..=TILE).contains(&block_size)
}

/// What the kernels take for granted.
fn check(input: &SweepInput) -> Result<()> {
    let SweepInput { factor, inverses, dead, segments, selection, block_size } = *input;
    let d = factor.size();
    if !takes_block_size(block_size) {
        return Err(refuse(format!("a block size of {block_size}; expected 16, 32, 64 or 128")));
    }
    if d == 0 || inverses.len() != factor.tiles() * TILE * TILE {
        let tiles = factor.tiles();
        return Err(refuse(format!("{} values of inverses for {d} columns in {tiles} tiles", inverses.len())));
    }
    if let Some(column) = dead.iter().find(|&&column| column >= d) {
        return Err(refuse(format!("dead column {column} of {d}")));
    }
    if let Some(segment) = segments.iter().find(|segment| u32::try_from(segment.rows * TILE).is_err()) {
        return Err(refuse(format!("a segment of {} rows; cut it", segment.rows)));
    }
    match selection {
        Selection::Unstructured { counts } => {
            let blocks = d.div_ceil(block_size);
            if counts.len() != segments.len() {
                return Err(refuse(format!("counts for {} of {} segments", counts.len(), segments.len())));
            }
            for (index, (counts, segment)) in counts.iter().zip(segments).enumerate() {
                if counts.len() != blocks {
                    return Err(refuse(format!("{} counts in segment {index} of {blocks} blocks", counts.len())));
                }
                for (block, &count) in counts.iter().enumerate() {
                    let size = segment.rows * block_size.min(d - block * block_size);
                    if count > size {
                        let place = format!("block {block} of segment {index}");
                        return Err(refuse(format!("{count} weights to remove from {place}, which has {size}")));
                    }
                }
            }
        }
        Selection::NM { keep, of } => {
            if keep == 0 || keep >= of || of > MAX_GROUP {
                return Err(refuse(format!("{keep}:{of}; expected N:M with 0 < N < M <= {MAX_GROUP}")));
            }
            if !block_size.is_multiple_of(of) || !d.is_multiple_of(of) {
                return Err(refuse(format!("{keep}:{of} does not divide blocks of {block_size} and {d} columns")));
            }
        }
        Selection::Fixed { .. } => {}
    }
    Ok(())
}

/// [`sweep`] on checked input: `weight` f32 `[rows, d]` and `mask` u8 `[rows, d]`, which holds the given mask if
/// the selection is fixed. Returns the losses.
pub(crate) fn sweep_at(
    device: &Device,
    weight: Pointer<f32>,
    mask: Pointer<u8>,
    input: &SweepInput,
) -> Result<Vec<f64>> {
    let SweepInput { factor, inverses, dead, segments, selection, block_size } = *input;
    let d = factor.size();
    let room = Room::new(segments.iter().map(|segment| segment.rows), d, block_size);
    if room.rows == 0 {
        return Ok(vec![0.0; segments.len()]);
    }
    zero_dead(device, weight, room.rows, d, dead)?;

    let tiles = row_tiles(segments);
    let (counts, removed): (Vec<u32>, bool) = match selection {
        Selection::Unstructured { counts } => (counts.iter().flatten().map(|&count| count as u32).collect(), true),
        Selection::NM { .. } | Selection::Fixed { .. } => (Vec::new(), false),
    };
    let selecting = |values: usize| if removed { values } else { 0 };
    let what = "a sweep";
    let change = Buffer::<f32>::zeros(device, room.change(), what)?;
    let row_tiles = Buffer::from_slice(device, &tiles, what)?;
    let counts = Buffer::from_slice(device, &counts, what)?;
    let histograms = Buffer::<u32>::zeros(device, selecting(room.histograms()), what)?;
    let cuts = Buffer::<u32>::uninitialised(device, selecting(room.cuts()), what)?;
    let low_counts = Buffer::<u16>::uninitialised(device, selecting(room.low_counts()), what)?;
    let loss = Buffer::<f64>::zeros(device, room.losses(), what)?;

    let (kernel, keep, of) = match selection {
        Selection::Unstructured { .. } => ("sweep_columns_cut", 0, 0),
        Selection::Fixed { .. } => ("sweep_columns_given", 0, 0),
        Selection::NM { keep, of: 2 } => ("sweep_columns_pairs", keep, 2),
        Selection::NM { keep, of: 4 } => ("sweep_columns_quads", keep, 4),
        Selection::NM { keep, of } => ("sweep_columns_wide", keep, of),
    };
    let mut params = SweepParams {
        weight,
        change: change.pointer(),
        mask,
        factor: factor.pointer(),
        inverses: inverses.pointer(),
        row_tiles: row_tiles.pointer(),
        counts: counts.pointer(),
        histograms: histograms.pointer(),
        cuts: cuts.pointer(),
        low_counts: low_counts.pointer(),
        loss: loss.pointer(),
        stride: room.stride as u64,
        columns: d as u32,
        segments: segments.len() as u32,
        blocks: room.blocks as u32,
        block: 0,
        start: 0,
        width: 0,
        keep: keep as u32,
        of: of as u32,
    };
    let (grid, threads) = ([room.row_tiles as u32, 1, 1], [THREADS, 1, 1]);
    for block in 0..room.blocks {
        let start = block * block_size;
        let width = block_size.min(d - start);
        (params.block, params.start, params.width) = (block as u32, start as u32, width as u32);
        device.launch(&SWEEP_SELECT, "sweep_update", grid, threads, 0, &params)?;
        if removed {
            device.launch(&SWEEP_SELECT, "sweep_narrow_middle", grid, threads, 0, &params)?;
            device.launch(&SWEEP_SELECT, "sweep_narrow_low", grid, threads, 0, &params)?;
        }
        device.launch(&SWEEP_COLUMNS, kernel, grid, threads, COLUMNS_SHARED_BYTES, &params)?;
        if start + width < d {
            update_trailing(device, &change, factor, &room, start, block_size)?;
        }
    }

    let loss = loss.to_vec()?;
    let mut sums = vec![0.0; segments.len()];
    for (tile, losses) in tiles.iter().zip(loss.chunks_exact(WARPS)) {
        losses.iter().for_each(|loss| sums[tile.segment as usize] += loss);
    }
    Ok(sums)
}

/// The row tiles of the segments, in order.
fn row_tiles(segments: &[SweepSegment]) -> Vec<RowTile> {
    let mut tiles = Vec::new();
    let mut begin = 0;
    for (index, segment) in segments.iter().enumerate() {
        let segment_tile = tiles.len() as u32;
        for first in (0..segment.rows).step_by(TILE_ROWS) {
            tiles.push(RowTile {
                first_row: (begin + first) as u32,
                rows: TILE_ROWS.min(segment.rows - first) as u32,
                segment: index as u32,
                segment_tile,
                rounding: segment.rounding.code(),
            });
        }
        begin += segment.rows;
    }
    tiles
}

/// Sets the dead columns of `weight` to 0.
fn zero_dead(device: &Device, weight: Pointer<f32>, rows: usize, columns: usize, dead: &[usize]) -> Result<()> {
    if dead.is_empty() {
        return Ok(());
    }
    let list: Vec<u32> = dead.iter().map(|&column| column as u32).collect();
    let list = Buffer::from_slice(device, &list, "the dead columns of a sweep")?;
    let params = SweepDeadParams {
        weight,
        dead: list.pointer(),
        rows: rows as u64,
        columns: columns as u32,
        count: dead.len() as u32,
    };
    let grid = [(rows * dead.len()).div_ceil(THREADS as usize) as u32, 1, 1];
    device.launch(&SWEEP_SELECT, "sweep_dead", grid, [THREADS, 1, 1], 0, &params)
}

/// Passes the block of finished columns at `start` on to the columns that need it next: the rest of its tile, or
/// with the tile finished everything behind it.
fn update_trailing(
    device: &Device,
    change: &Buffer<f32>,
    factor: &PackedTriangle,
    room: &Room,
    start: usize,
    block_size: usize,
) -> Result<()> {
    let tile = start / TILE;
    let end = start % TILE + block_size;
    let within = end < TILE;
    let first_output = if within { tile } else { tile + 1 };
    let outputs = if within { 1 } else { room.stride / TILE - first_output };
    let params = SweepTrailingParams {
        change: change.pointer(),
        factor: factor.pointer(),
        stride: room.stride as u64,
        tile: tile as u32,
        first_output: first_output as u32,
        first_depth: if within { (start % TILE) as u32 } else { 0 },
        depth: if within { block_size as u32 } else { TILE as u32 },
        first_column: if within { end as u32 } else { 0 },
        unused: 0,
    };
    let grid = [outputs as u32, (room.padded_rows / TILE) as u32, 1];
    device.launch(&SWEEP_TRAILING, "sweep_trailing", grid, [THREADS, 1, 1], TRAILING_SHARED_BYTES, &params)
}
