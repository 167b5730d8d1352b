//! Norms over the last dimension. They need no device memory beyond their operands.

use bytemuck::{NoUninit, Pod, Zeroable};

use crate::buffer::Pointer;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Matrix, MatrixMut};
use crate::rows::{Rows, divide, expect};

/// Lanes of a warp.
const WARP: usize = 32;
/// Warps of a block.
const WARPS: usize = 8;
/// Bytes that a lane takes at once.
const RUN_BYTES: usize = 16;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct LayerNormParams {
    out: Rows,
    x: Rows,
    scale: Rows,
    shift: Rows,
    rows: i32,
    tokens: i32,
    width: i32,
    aligned: i32,
    epsilon: f32,
    reserved: i32,
}

const _: () = assert!(size_of::<LayerNormParams>() == 88);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct RmsNormParams {
    x: Rows,
    weight: Pointer<u8>,
    total: i64,
    groups: i32,
    width: i32,
    lanes: i32,
    aligned: i32,
    epsilon: f32,
    reserved: i32,
}

const _: () = assert!(size_of::<RmsNormParams>() == 56);

/// out = (x - mean) / sqrt(variance + epsilon) * (1 + scale) + shift over the columns: x and out
/// `[batch * tokens, width]`, scale and shift `[batch, width]`, all of one format.
///
/// # Errors
/// [`Error::Argument`] if the shapes or formats do not fit each other, [`Error::Device`].
pub fn layer_norm_modulate(
    device: &Device,
    out: &mut MatrixMut,
    x: Matrix,
    scale: Matrix,
    shift: Matrix,
    epsilon: f32,
) -> Result<()> {
    const NAME: &str = "layer_norm_modulate";
    let (rows, width) = (x.rows(), x.columns());
    let tokens = divide(NAME, "rows of x by rows of scale", rows, scale.rows())?;
    expect(NAME, "out", out.view(), (rows, width), x.element())?;
    expect(NAME, "scale", scale, (scale.rows(), width), x.element())?;
    expect(NAME, "shift", shift, (scale.rows(), width), x.element())?;
    if rows * width == 0 {
        return Ok(());
    }
    let params = LayerNormParams {
        out: out.view().into(),
        x: x.into(),
        scale: scale.into(),
        shift: shift.into(),
        rows: small(NAME, "rows", rows)?,
        tokens: small(NAME, "tokens", tokens)?,
        width: small(NAME, "columns", width)?,
        aligned: [out.view(), x, scale, shift].iter().all(|matrix| matrix.rows_aligned_to(RUN_BYTES)).into(),
        epsilon,
        reserved: 0,
    };
    let kernel = format!("{NAME}_{}", x.element().name());
    launch(device, &kernel, rows.div_ceil(WARPS), &params)
}

/// x = x / sqrt(mean of x^2 + epsilon) * weight in place, over groups of weight's length in every row: weight
/// `[1, width]` of x's format.
///
/// # Errors
/// [`Error::Argument`] if x's columns are no multiple of weight's or the formats differ, [`Error::Device`].
pub fn rms_norm(device: &Device, x: &mut MatrixMut, weight: Matrix, epsilon: f32) -> Result<()> {
    const NAME: &str = "rms_norm";
    let x = x.view();
    let width = weight.columns();
    let groups = divide(NAME, "columns of x by weights", x.columns(), width)?;
    expect(NAME, "weight", weight, (1, width), x.element())?;
    let total = x.rows() * groups;
    if total == 0 {
        return Ok(());
    }
    let run = RUN_BYTES / x.element().bytes();
    let lanes = width.div_ceil(run).next_power_of_two().min(WARP);
    let whole_groups = groups == 1 || width.is_multiple_of(run);
    let params = RmsNormParams {
        x: x.into(),
        weight: weight.pointer(),
        total: small(NAME, "groups in all", total)?.into(),
        groups: small(NAME, "groups", groups)?,
        width: small(NAME, "weights", width)?,
        lanes: lanes as i32,
        aligned: (whole_groups && x.rows_aligned_to(RUN_BYTES) && weight.rows_aligned_to(RUN_BYTES)).into(),
        epsilon,
        reserved: 0,
    };
    let kernel = format!("{NAME}_{}", x.element().name());
    launch(device, &kernel, total.div_ceil(WARPS * WARP / lanes), &params)
}

fn launch<P: NoUninit>(device: &Device, kernel: &str, blocks: usize, params: &P) -> Result<()> {
    device.launch(&image::NORMALIZE, kernel, [blocks as u32, 1, 1], [(WARPS * WARP) as u32, 1, 1], 0, params)
}

/// A count as kernels take it.
fn small(operation: &'static str, what: &str, count: usize) -> Result<i32> {
    i32::try_from(count).map_err(|_| Error::argument(operation, format!("{count} {what}, at most {}", i32::MAX)))
}
