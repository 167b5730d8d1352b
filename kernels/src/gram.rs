//! `H += X^T diag(weights) X` for many inputs at once, with the weighted sums of the columns.

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Element, Matrix};
use crate::triangle::{PackedTriangle, TILE};

/// What [`gram`] accumulates for one input of a layer.
#[derive(Debug)]
pub struct GramSums {
    /// `sum of w x x^T`, f32, lower triangle.
    pub h: PackedTriangle,
    /// `sum of w x`, `[columns]`.
    pub sums: Buffer<f64>,
    /// One flag per 128 columns: not 0 once an input among them was NaN or infinite.
    pub nonfinite: Buffer<u32>,
}

impl GramSums {
    /// Empty sums over inputs of `columns` values.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn zeros(device: &Device, columns: usize) -> Result<Self> {
        Ok(GramSums {
            h: PackedTriangle::zeros(device, columns, "Hessian")?,
            sums: Buffer::zeros(device, columns, "sums of the inputs")?,
            nonfinite: Buffer::zeros(device, columns.div_ceil(TILE), "flags of the inputs")?,
        })
    }

    /// Device bytes of the sums over inputs of `columns` values; [`gram`] needs no others.
    pub fn bytes(columns: usize) -> u64 {
        let flags = columns.div_ceil(TILE) * size_of::<u32>();
        PackedTriangle::bytes(columns) + (columns * size_of::<f64>() + flags) as u64
    }

    /// Values per input.
    pub fn columns(&self) -> usize {
        self.h.size()
    }

    /// Whether every input so far was finite; waits for the launches before.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn all_finite(&self) -> Result<bool> {
        Ok(self.nonfinite.to_vec()?.iter().all(|&flag| flag == 0))
    }
}

/// What each row of an input counts.
#[derive(Debug, Clone, Copy)]
pub enum RowWeights<'a> {
    /// The same for all rows: the fast way for 16-bit inputs. Where rows of one input have few different weights,
    /// one call per weight with [`Matrix::row_range`] is faster than a weight for each row.
    All(f32),
    /// f32 `[tokens]`.
    Each(&'a Buffer<f32>),
}

/// One input of [`gram`] and where its sums go.
#[derive(Debug)]
pub struct GramInput<'a> {
    /// `[tokens, columns]`.
    pub x: Matrix<'a>,
    pub weights: RowWeights<'a>,
    pub into: &'a mut GramSums,
}

/// Inputs of one launch: `ITEMS` of gram.cu.
const ITEMS: usize = 32;

/// Threads of a block: `TILE_THREADS` of tile.cuh.
const THREADS: u32 = 128;

/// Blocks that fit a multiprocessor, by registers.
const BLOCKS_PER_MULTIPROCESSOR: u32 = 2;

/// Stages of the ring of operand tiles: `STAGES` of tile.cuh.
const STAGES: usize = 3;

/// Tokens per stage of each kernel: `STEP_16BIT` and `STEP_TF32` of gram.cu.
const STEP_16BIT: usize = 32;
const STEP_TF32: usize = 16;

/// `GramItem` of gram.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Item {
    x: Pointer<u8>,
    weights: Pointer<f32>,
    h: Pointer<f32>,
    sums: Pointer<f64>,
    flags: Pointer<u32>,
    stride: i64,
    tokens: i32,
    columns: i32,
    scale: f32,
    first: i32,
    vector: i32,
    unused: i32,
}

const _: () = assert!(size_of::<Item>() == 72);

/// `GramParams` of gram.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    items: [Item; ITEMS],
    count: i32,
    tiles: i32,
}

const _: () = assert!(size_of::<Params>() == 2312);

/// The kernels of gram.cu, in the order of their launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Variant {
    F16,
    Bf16,
    F32Weighted,
    F16Weighted,
    Bf16Weighted,
}

impl Variant {
    const ALL: [Variant; 5] =
        [Variant::F16, Variant::Bf16, Variant::F32Weighted, Variant::F16Weighted, Variant::Bf16Weighted];

    /// The one place that chooses a kernel.
    fn of(element: Element, vector: bool, weighted: bool) -> Self {
        match (element, vector && !weighted) {
            (Element::F16, true) => Variant::F16,
            (Element::Bf16, true) => Variant::Bf16,
            (Element::F16, false) => Variant::F16Weighted,
            (Element::Bf16, false) => Variant::Bf16Weighted,
            (Element::F32, _) => Variant::F32Weighted,
        }
    }

    fn kernel(self) -> &'static str {
        match self {
            Variant::F16 => "gram_f16",
            Variant::Bf16 => "gram_bf16",
            Variant::F32Weighted => "gram_f32_weighted",
            Variant::F16Weighted => "gram_f16_weighted",
            Variant::Bf16Weighted => "gram_bf16_weighted",
        }
    }

    /// Dynamic shared memory: the ring of pairs of operand tiles, and the weights of its rows.
    fn shared_bytes(self) -> u32 {
        let (step, element, weight) = match self {
            Variant::F16 | Variant::Bf16 => (STEP_16BIT, 2, 0),
            Variant::F32Weighted => (STEP_TF32, 4, size_of::<f32>()),
            Variant::F16Weighted | Variant::Bf16Weighted => (STEP_TF32, 2, size_of::<f32>()),
        };
        (STAGES * step * (2 * TILE * element + weight)) as u32
    }
}

/// Adds each input's sums to those it names, in as few launches as there are kinds of input (and 32 to a launch).
///
/// The order of `inputs` does not change a bit of any result. An input that is not finite spoils its own sums only
/// and leaves a flag in them.
///
/// # Errors
/// [`Error::Argument`] for shapes that do not fit, before anything is launched; [`Error::Device`].
pub fn gram(device: &Device, inputs: &mut [GramInput]) -> Result<()> {
    let mut items = Vec::with_capacity(inputs.len());
    for input in inputs.iter_mut() {
        if let Some(item) = item(device, input)? {
            items.push(item);
        }
    }
    // The longest tiles first, so that the last ones to finish are short.
    items.sort_by_key(|(_, item)| (std::cmp::Reverse(item.tokens), std::cmp::Reverse(item.columns)));
    for variant in Variant::ALL {
        let chosen: Vec<Item> = items.iter().filter(|(of, _)| *of == variant).map(|(_, item)| *item).collect();
        for chunk in chosen.chunks(ITEMS) {
            launch(device, variant, chunk)?;
        }
    }
    Ok(())
}

/// The kernel and the description of one input; none if it has no rows or columns.
fn item(device: &Device, input: &mut GramInput) -> Result<Option<(Variant, Item)>> {
    let refuse = |problem: String| Err(Error::argument("gram", problem));
    let GramInput { x, weights, into } = input;
    let (tokens, columns) = (x.rows(), x.columns());
    if columns != into.columns() {
        return refuse(format!("an input of {columns} columns for a Hessian of {}", into.columns()));
    }
    if !into.h.device().same(device) {
        return refuse("sums on another device".into());
    }
    if x.stride() < columns {
        return refuse(format!("rows of {columns} values that begin {} apart", x.stride()));
    }
    let (Ok(tokens_i32), Ok(columns_i32)) = (i32::try_from(tokens), i32::try_from(columns)) else {
        return refuse(format!("{tokens} x {columns} inputs; at most 2^31 - 1 each"));
    };
    let (scale, pointer) = match weights {
        RowWeights::All(weight) => (*weight, Pointer::NULL),
        RowWeights::Each(weights) if weights.len() >= tokens => (1.0, weights.pointer()),
        RowWeights::Each(weights) => return refuse(format!("{} weights for {tokens} rows", weights.len())),
    };
    if tokens == 0 || columns == 0 {
        return Ok(None);
    }
    let per_vector = 16 / x.element().bytes();
    let vector = x.rows_aligned_to(16) && columns.is_multiple_of(per_vector);
    let variant = Variant::of(x.element(), vector, matches!(weights, RowWeights::Each(_)));
    let item = Item {
        x: x.pointer(),
        weights: pointer,
        h: into.h.pointer(),
        sums: into.sums.pointer(),
        flags: into.nonfinite.pointer(),
        stride: x.stride() as i64,
        tokens: tokens_i32,
        columns: columns_i32,
        scale,
        first: 0,
        vector: i32::from(vector),
        unused: 0,
    };
    Ok(Some((variant, item)))
}

fn launch(device: &Device, variant: Variant, chunk: &[Item]) -> Result<()> {
    let mut params = Params { items: [Item::zeroed(); ITEMS], count: chunk.len() as i32, tiles: 0 };
    let mut tiles: usize = 0;
    for (slot, item) in params.items.iter_mut().zip(chunk) {
        *slot = Item { first: tiles as i32, ..*item };
        let rows = (item.columns as usize).div_ceil(TILE);
        tiles += rows * (rows + 1) / 2;
    }
    params.tiles = i32::try_from(tiles)
        .map_err(|_| Error::argument("gram", format!("{tiles} tiles of Hessians; at most 2^31 - 1 at once")))?;
    let slots = device.properties().multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    let blocks = slots.clamp(1, params.tiles as u32);
    let shared_bytes = variant.shared_bytes();
    device.launch(&image::GRAM, variant.kernel(), [blocks, 1, 1], [THREADS, 1, 1], shared_bytes, &params)
}
