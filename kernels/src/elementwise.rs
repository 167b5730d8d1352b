//! Operations on each value alone: activations, sums, rotary embedding, conversion. They work on matrices with row
//! strides, round once, and need no device memory beyond their operands and the flag
//! of `is_finite`.

use bytemuck::{NoUninit, Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::rows::{Rows, divide, expect};

const THREADS: usize = 256;
/// Bytes that a thread takes at once.
const RUN_BYTES: usize = 16;
/// Values that a thread converts at once.
const CONVERT_RUN: usize = 8;
/// Terms of [`combine`] at most.
pub const MAX_TERMS: usize = 3;

/// What every operation's parameters begin with.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Shape {
    rows: u32,
    columns: u32,
    runs: u32,
    aligned: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct ActivateParams {
    shape: Shape,
    x: Rows,
}

const _: () = assert!(size_of::<ActivateParams>() == 32);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct AddParams {
    shape: Shape,
    x: Rows,
    y: Rows,
    period: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<AddParams>() == 56);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct GatedResidualParams {
    shape: Shape,
    out: Rows,
    residual: Rows,
    gate: Rows,
    x: Rows,
    tokens: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<GatedResidualParams>() == 88);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct RopeParams {
    shape: Shape,
    x: Rows,
    cos: Rows,
    sin: Rows,
    tokens: u32,
    head_dim: u32,
}

const _: () = assert!(size_of::<RopeParams>() == 72);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct CombineParams {
    shape: Shape,
    out: Rows,
    term: [Rows; MAX_TERMS],
    weight: [f32; MAX_TERMS],
    keep: f32,
    terms: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<CombineParams>() == 104);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct IsFiniteParams {
    shape: Shape,
    x: Rows,
    flag: Pointer<u32>,
}

const _: () = assert!(size_of::<IsFiniteParams>() == 40);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct ConvertParams {
    shape: Shape,
    out: Rows,
    x: Rows,
}

const _: () = assert!(size_of::<ConvertParams>() == 48);

/// x = GELU(x), tanh approximation, in place.
///
/// # Errors
/// [`Error::Argument`] for a matrix of more than 2^32 runs of 16 bytes, [`Error::Device`].
pub fn gelu(device: &Device, x: &mut MatrixMut) -> Result<()> {
    activate(device, "gelu", x.view())
}

/// x = x / (1 + e^-x) in place.
///
/// # Errors
/// Those of [`gelu`].
pub fn silu(device: &Device, x: &mut MatrixMut) -> Result<()> {
    activate(device, "silu", x.view())
}

fn activate(device: &Device, name: &'static str, x: Matrix) -> Result<()> {
    let shape = shape(name, x, &[])?;
    launch(device, &kernel(name, x.element()), shape, &ActivateParams { shape, x: x.into() })
}

/// x += y in place: x `[rows, columns]`, y `[period, columns]` of the same format, repeated over x's rows. With as many
/// rows as x it is a plain sum; position embeddings `[tokens, width]` are added to `[batch * tokens, width]`.
///
/// # Errors
/// [`Error::Argument`] if x's rows are no multiple of y's or columns or formats differ; those of [`gelu`].
pub fn add(device: &Device, x: &mut MatrixMut, y: Matrix) -> Result<()> {
    const NAME: &str = "add";
    let x = x.view();
    divide(NAME, "rows of x by rows of y", x.rows(), y.rows())?;
    expect(NAME, "y", y, (y.rows(), x.columns()), x.element())?;
    let shape = shape(NAME, x, &[y])?;
    let params = AddParams { shape, x: x.into(), y: y.into(), period: y.rows() as u32, reserved: 0 };
    launch(device, &kernel(NAME, x.element()), shape, &params)
}

/// out = residual + gate * x: out, residual and x `[batch * tokens, width]`, gate `[batch, width]`, all of one format.
///
/// # Errors
/// [`Error::Argument`] if the shapes or formats do not fit each other; those of [`gelu`].
pub fn gated_residual(device: &Device, out: &mut MatrixMut, residual: Matrix, gate: Matrix, x: Matrix) -> Result<()> {
    const NAME: &str = "gated_residual";
    let out = out.view();
    let (rows, width, element) = (residual.rows(), residual.columns(), residual.element());
    let tokens = divide(NAME, "rows of residual by rows of gate", rows, gate.rows())?;
    expect(NAME, "out", out, (rows, width), element)?;
    expect(NAME, "gate", gate, (gate.rows(), width), element)?;
    expect(NAME, "x", x, (rows, width), element)?;
    let shape = shape(NAME, residual, &[out, gate, x])?;
    let params = GatedResidualParams {
        shape,
        out: out.into(),
        residual: residual.into(),
        gate: gate.into(),
        x: x.into(),
        tokens: tokens as u32,
        reserved: 0,
    };
    launch(device, &kernel(NAME, element), shape, &params)
}

/// Rotary position embedding on neighbouring channels in place, (a, b) -> (a cos - b sin, b cos + a sin):
/// x `[batch * tokens, heads * head_dim]`; cos and sin f32 `[tokens, head_dim / 2]`, the same for every head.
///
/// # Errors
/// [`Error::Argument`] if the shapes or formats do not fit each other; those of [`gelu`].
pub fn rope(device: &Device, x: &mut MatrixMut, cos: Matrix, sin: Matrix) -> Result<()> {
    const NAME: &str = "rope";
    let x = x.view();
    let (tokens, pairs) = (cos.rows(), cos.columns());
    divide(NAME, "rows of x by tokens of cos", x.rows(), tokens)?;
    divide(NAME, "columns of x by channels of a head", x.columns(), 2 * pairs)?;
    expect(NAME, "cos", cos, (tokens, pairs), Element::F32)?;
    expect(NAME, "sin", sin, (tokens, pairs), Element::F32)?;
    let shape = shape(NAME, x, &[])?;
    let params = RopeParams {
        shape,
        x: x.into(),
        cos: cos.into(),
        sin: sin.into(),
        tokens: tokens as u32,
        head_dim: 2 * pairs as u32,
    };
    launch(device, &kernel(NAME, x.element()), shape, &params)
}

/// out = keep * out + the sum of weight * term over up to [`MAX_TERMS`] terms, all f32 of one shape. With `keep` 0 the
/// old values are not read. Guidance is `combine(out, 0, [(g, conditional), (1 - g, unconditional)])`, an Euler step
/// `combine(latents, 1, [(step, velocity)])`.
///
/// # Errors
/// [`Error::Argument`] for too many terms or shapes or formats that differ; those of [`gelu`].
pub fn combine(device: &Device, out: &mut MatrixMut, keep: f32, terms: &[(f32, Matrix)]) -> Result<()> {
    const NAME: &str = "combine";
    let out = out.view();
    if terms.len() > MAX_TERMS {
        return Err(Error::argument(NAME, format!("{} terms, at most {MAX_TERMS}", terms.len())));
    }
    expect(NAME, "out", out, (out.rows(), out.columns()), Element::F32)?;
    let mut others = Vec::with_capacity(terms.len());
    let (mut term, mut weight) = ([Rows::NONE; MAX_TERMS], [0.0; MAX_TERMS]);
    for (i, &(factor, matrix)) in terms.iter().enumerate() {
        expect(NAME, &format!("term {i}"), matrix, (out.rows(), out.columns()), Element::F32)?;
        (term[i], weight[i]) = (matrix.into(), factor);
        others.push(matrix);
    }
    let shape = shape(NAME, out, &others)?;
    let params = CombineParams { shape, out: out.into(), term, weight, keep, terms: terms.len() as u32, reserved: 0 };
    launch(device, NAME, shape, &params)
}

/// Whether no value of x is NaN or infinite. Takes four bytes of device memory and waits for the answer.
///
/// # Errors
/// [`Error::OutOfMemory`]; those of [`gelu`].
pub fn is_finite(device: &Device, x: Matrix) -> Result<bool> {
    const NAME: &str = "is_finite";
    let shape = shape(NAME, x, &[])?;
    let flag = Buffer::<u32>::zeros(device, 1, "the flag of is_finite")?;
    launch(device, &kernel(NAME, x.element()), shape, &IsFiniteParams { shape, x: x.into(), flag: flag.pointer() })?;
    Ok(flag.to_vec()? == [0])
}

/// out = x in out's format, rounded to nearest, ties to even. The two formats differ; copies are
/// [`crate::rearrange::copy_rows`].
///
/// # Errors
/// [`Error::Argument`] if the shapes differ or the formats do not; those of [`gelu`].
pub fn convert(device: &Device, out: &mut MatrixMut, x: Matrix) -> Result<()> {
    const NAME: &str = "convert";
    let out = out.view();
    expect(NAME, "out", out, (x.rows(), x.columns()), out.element())?;
    if out.element() == x.element() {
        return Err(Error::argument(NAME, format!("both are {}", x.element().name())));
    }
    let shape = shape_of_runs(NAME, x, &[out], CONVERT_RUN)?;
    let kernel = format!("{NAME}_{}_{}", x.element().name(), out.element().name());
    launch(device, &kernel, shape, &ConvertParams { shape, out: out.into(), x: x.into() })
}

fn kernel(name: &str, element: Element) -> String {
    format!("{name}_{}", element.name())
}

/// The shape of `x`, cut into runs of 16 bytes.
fn shape(operation: &'static str, x: Matrix, others: &[Matrix]) -> Result<Shape> {
    shape_of_runs(operation, x, others, RUN_BYTES / x.element().bytes())
}

fn shape_of_runs(operation: &'static str, x: Matrix, others: &[Matrix], run: usize) -> Result<Shape> {
    let runs = x.columns().div_ceil(run);
    let fits = x.columns() <= i32::MAX as usize
        && x.rows().checked_mul(runs).is_some_and(|total| total <= u32::MAX as usize - THREADS);
    if !fits {
        return Err(Error::argument(operation, format!("{} x {} values are too many", x.rows(), x.columns())));
    }
    let aligned = others.iter().chain([&x]).all(|matrix| matrix.rows_aligned_to(RUN_BYTES));
    Ok(Shape { rows: x.rows() as u32, columns: x.columns() as u32, runs: runs as u32, aligned: aligned.into() })
}

/// One thread per run.
fn launch<P: NoUninit>(device: &Device, kernel: &str, shape: Shape, params: &P) -> Result<()> {
    let blocks = (shape.rows as usize * shape.runs as usize).div_ceil(THREADS) as u32;
    match blocks {
        0 => Ok(()),
        _ => device.launch(&image::ELEMENTWISE, kernel, [blocks, 1, 1], [THREADS as u32, 1, 1], 0, params),
    }
}
