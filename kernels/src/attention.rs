//! Joint attention of up to three token streams: softmax(q k^T / sqrt(head_dim)) v over the keys of all streams.
//!
//! The kernel keeps the scores to itself: it needs no device memory beyond its inputs and outputs.

use bytemuck::{Pod, Zeroable};

use crate::buffer::Pointer;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::rows::{divide, expect};

/// Streams that attend together at most.
pub const MAX_STREAMS: usize = 3;

/// Channels of a head at most.
pub const MAX_HEAD_DIM: usize = 128;

/// Channels of a head come in multiples of this.
pub const HEAD_DIM_STEP: usize = 8;

/// Channels that a kernel is compiled for; heads between them are filled up with zeros in shared memory.
const COMPILED: [usize; 3] = [32, 64, 128];

const THREADS: u32 = 128;
/// Slots of the ring of tiles.
const SLOTS: usize = 3;
/// Values from a token to the next at most, so that a thread's steps from row to row fit 32 bits.
const MAX_STRIDE: usize = 1 << 24;
/// Largest grid in y and z.
const MAX_GRID: usize = 65_535;

/// Query, key and value of one token stream, each `[batch * tokens, heads * head_dim]`, and where its result goes.
/// Rows begin on 16 bytes.
#[derive(Debug)]
pub struct Stream<'a> {
    pub query: Matrix<'a>,
    pub key: Matrix<'a>,
    pub value: Matrix<'a>,
    /// None if nobody reads the result: the stream's keys and values count, its queries are not computed.
    pub out: Option<MatrixMut<'a>>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct StreamParams {
    query: Pointer<u8>,
    key: Pointer<u8>,
    value: Pointer<u8>,
    out: Pointer<u8>,
    query_stride: i32,
    key_stride: i32,
    value_stride: i32,
    out_stride: i32,
    tokens: i32,
    query_tiles: i32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    stream: [StreamParams; MAX_STREAMS],
    head_dim: i32,
    key_tiles: i32,
    scale: f32,
    reserved: i32,
}

const _: () = assert!(size_of::<Params>() == 184);

/// A compiled kernel and its sizes, which are those of `Narrow` and `Wide` in `attention_tiles.cuh`.
struct Variant {
    kernel: String,
    /// Query rows of a block.
    queries: usize,
    /// Key rows of a tile.
    keys: usize,
    shared_bytes: usize,
}

/// The kernel for heads of `head_dim` channels.
fn variant(element: Element, head_dim: usize) -> Variant {
    let compiled = COMPILED.into_iter().find(|&channels| channels >= head_dim).unwrap_or(MAX_HEAD_DIM);
    let kernel = format!("attention_{}_{compiled}", element.name());
    match element {
        Element::F32 => {
            let (keys, pitch) = (32, compiled + 8);
            Variant { kernel, queries: 64, keys, shared_bytes: SLOTS * keys * pitch * element.bytes() }
        }
        Element::F16 | Element::Bf16 => {
            let (queries, keys) = (128, if compiled > 64 { 48 } else { 64 });
            Variant { kernel, queries, keys, shared_bytes: (queries + SLOTS * keys) * compiled * element.bytes() }
        }
    }
}

/// Whether there is a kernel for heads of this many channels.
pub fn takes_head_dim(head_dim: usize) -> bool {
    (1..=MAX_HEAD_DIM).contains(&head_dim) && head_dim.is_multiple_of(HEAD_DIM_STEP)
}

/// For every stream, batch row and head: out = softmax(q k^T / sqrt(head_dim)) v over the keys of all streams, one
/// stream after the other. All tensors have one format; 16-bit inputs are multiplied on tensor cores, 32-bit ones in
/// float32 accuracy; softmax and sums are f32.
///
/// # Errors
/// [`Error::Argument`] for more than [`MAX_STREAMS`] streams, shapes that do not fit each other, `head_dim` not a
/// multiple of 8 up to 128, rows that do not begin on 16 bytes; [`Error::Device`].
pub fn attention(device: &Device, streams: &mut [Stream], batch: usize, head_dim: usize) -> Result<()> {
    const NAME: &str = "attention";
    let refuse = |problem: String| Err(Error::argument(NAME, problem));
    if streams.len() > MAX_STREAMS {
        return refuse(format!("{} streams, at most {MAX_STREAMS} attend together", streams.len()));
    }
    if !takes_head_dim(head_dim) {
        return refuse(format!(
            "heads of {head_dim} channels, expected a multiple of {HEAD_DIM_STEP} up to {MAX_HEAD_DIM}"
        ));
    }
    let Some(first) = streams.first() else { return Ok(()) };
    let (element, width) = (first.query.element(), first.query.columns());
    let heads = divide(NAME, "channels of all heads by those of one", width, head_dim)?;
    let Variant { kernel, queries, keys, shared_bytes } = variant(element, head_dim);

    let mut params = Params {
        scale: (std::f64::consts::LOG2_E / (head_dim as f64).sqrt()) as f32,
        head_dim: head_dim as i32,
        ..Params::zeroed()
    };
    let (mut query_tiles, mut key_tiles, mut filled) = (0, 0, 0);
    for stream in streams.iter_mut() {
        let rows = stream.query.rows();
        let tokens = divide(NAME, "tokens of the batch by batch rows", rows, batch)?;
        let out = stream.out.as_mut().map(|out| out.view());
        let named =
            [("query", Some(stream.query)), ("key", Some(stream.key)), ("value", Some(stream.value)), ("out", out)];
        for (what, matrix) in named {
            let Some(matrix) = matrix else { continue };
            expect(NAME, what, matrix, (rows, width), element)?;
            if !matrix.rows_aligned_to(16) {
                return refuse(format!("{what}'s rows do not all begin on 16 bytes"));
            }
            if matrix.stride() > MAX_STRIDE || i32::try_from(rows).is_err() {
                return refuse(format!("{what} has {rows} rows {} values apart, too many", matrix.stride()));
            }
        }
        if tokens == 0 {
            continue;
        }
        let own_tiles = if out.is_some() { tokens.div_ceil(queries) } else { 0 };
        params.stream[filled] = StreamParams {
            query: stream.query.pointer(),
            key: stream.key.pointer(),
            value: stream.value.pointer(),
            out: out.map_or(Pointer::NULL, |out| out.pointer()),
            query_stride: stream.query.stride() as i32,
            key_stride: stream.key.stride() as i32,
            value_stride: stream.value.stride() as i32,
            out_stride: out.map_or(0, |out| out.stride() as i32),
            tokens: tokens as i32,
            query_tiles: own_tiles as i32,
        };
        filled += 1;
        query_tiles += own_tiles;
        key_tiles += tokens.div_ceil(keys);
    }
    if heads > MAX_GRID || batch > MAX_GRID {
        return refuse(format!("{batch} batch rows of {heads} heads, at most {MAX_GRID} of each"));
    }
    if query_tiles == 0 || heads == 0 {
        return Ok(());
    }
    params.key_tiles = key_tiles as i32;
    let grid = [query_tiles as u32, heads as u32, batch as u32];
    device.launch(&image::ATTENTION, &kernel, grid, [THREADS, 1, 1], shared_bytes as u32, &params)
}
