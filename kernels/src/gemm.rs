//! Y = X W^T + bias with dense weights: `gemm.cu`, the forward pass' `linear`.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::pipeline::{self, Params, Tile, X_ROW_BYTES, choose};

/// Shared memory of a tile: its stages of rows of W, `weight_row_bytes` long, and of X.
const fn shared_bytes(features: usize, tokens: usize, stages: usize, weight_row_bytes: usize) -> usize {
    stages * (features * weight_row_bytes + tokens * X_ROW_BYTES)
}

/// 16-bit X and W.
const TILES_16: [Tile; 4] = [
    Tile::new((256, 128), 256, shared_bytes(256, 128, 3, 128), 1.0),
    Tile::new((128, 128), 256, shared_bytes(128, 128, 3, 128), 1.0),
    Tile::new((64, 64), 128, shared_bytes(64, 64, 4, 128), 0.74),
    Tile::new((64, 32), 128, shared_bytes(64, 32, 4, 128), 0.49),
];

/// f32 X and W; three products per value leave the traffic more time.
const TILES_32: [Tile; 2] = [
    Tile::new((128, 128), 256, shared_bytes(128, 128, 3, 128), 1.0),
    Tile::new((64, 32), 128, shared_bytes(64, 32, 4, 128), 0.67),
];

/// f32 X, 16-bit W: half the bytes per row of W.
const TILES_WIDENED: [Tile; 2] = [
    Tile::new((128, 128), 256, shared_bytes(128, 128, 3, 64), 1.0),
    Tile::new((64, 32), 128, shared_bytes(64, 32, 4, 64), 0.67),
];

/// Which kernel computes a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Variant {
    /// Rows begin on 16 bytes and are multiples of 16 bytes long.
    Tile(Tile),
    /// Any rows, value by value.
    Unaligned,
}

/// Tiles for X and W of these formats.
///
/// # Errors
/// [`Error::Argument`] for a pair that no kernel multiplies.
pub fn tiles(x: Element, weight: Element) -> Result<&'static [Tile]> {
    match (x, weight) {
        (Element::F32, Element::F32) => Ok(&TILES_32),
        (Element::F32, Element::F16 | Element::Bf16) => Ok(&TILES_WIDENED),
        (Element::F16, Element::F16) | (Element::Bf16, Element::Bf16) => Ok(&TILES_16),
        _ => Err(Error::argument(
            "gemm",
            format!(
                "X is {} and W is {}; give both the same format, or X f32 with W f16 or bf16",
                x.name(),
                weight.name()
            ),
        )),
    }
}

/// Y = X W^T + bias, on the device; needs no memory besides its operands.
///
/// - `x`: f32, f16 or bf16 `[tokens, columns]`
/// - `weight`: `[features, columns]` of X's format, or f16 or bf16 under an f32 X
/// - `bias`: any format, `[1, features]`
/// - `y`: X's format, `[tokens, features]`
///
/// Sums are f32 and rounded once; those of an f32 X have float32's accuracy. Any size goes; 16-bit columns in
/// multiples of 8, f32 columns in multiples of 4, and rows that begin on 16 bytes go fast.
///
/// # Errors
/// [`Error::Argument`] if shapes or formats do not fit each other, [`Error::Device`].
pub fn gemm(
    device: &Device,
    x: Matrix<'_>,
    weight: Matrix<'_>,
    bias: Option<Matrix<'_>>,
    y: &mut MatrixMut<'_>,
) -> Result<()> {
    let variant = if is_aligned(x) && is_aligned(weight) {
        let tiles = tiles(x.element(), weight.element())?;
        Variant::Tile(choose(tiles, x.rows(), weight.rows(), device.properties())?)
    } else {
        Variant::Unaligned
    };
    gemm_as(device, variant, x, weight, bias, y)
}

/// [`gemm`] by a chosen kernel.
///
/// # Errors
/// Those of [`gemm`]; [`Error::Argument`] for a tile that the operands' formats or rows do not allow.
pub fn gemm_as(
    device: &Device,
    variant: Variant,
    x: Matrix<'_>,
    weight: Matrix<'_>,
    bias: Option<Matrix<'_>>,
    y: &mut MatrixMut<'_>,
) -> Result<()> {
    let tiles = tiles(x.element(), weight.element())?;
    if x.columns() != weight.columns() {
        return Err(Error::argument("gemm", format!("X has {} columns and W {}", x.columns(), weight.columns())));
    }
    let mut params = Params::new("gemm", x, weight.rows(), bias, y)?;
    params.weight = weight.pointer();
    params.weight_stride = weight.stride() as i64;
    if params.tokens == 0 || params.features == 0 {
        return Ok(());
    }
    let (tile, suffix) = match variant {
        Variant::Unaligned => (tiles[tiles.len() - 1], "unaligned".to_string()),
        Variant::Tile(tile) if tiles.contains(&tile) && is_aligned(x) && is_aligned(weight) => (tile, tile.name()),
        Variant::Tile(tile) => {
            return Err(Error::argument(
                "gemm",
                format!(
                    "tile {} does not take {} X and {} W with these rows; use Variant::Unaligned",
                    tile.name(),
                    x.element().name(),
                    weight.element().name()
                ),
            ));
        }
    };
    let kernel = format!("gemm_{}_{}_{suffix}", x.element().name(), weight.element().name());
    pipeline::launch(device, "gemm", &image::GEMM, &kernel, tile, &params)
}

/// Whether 16-byte copies take the rows: where they begin, and their length.
fn is_aligned(matrix: Matrix<'_>) -> bool {
    matrix.rows_aligned_to(16) && (matrix.columns() * matrix.element().bytes()).is_multiple_of(16)
}
