//! Y = X W^T + bias with 2:4 sparse weights: `spmm24.cu`.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Matrix, MatrixMut};
use crate::pack24::Registers24;
use crate::pipeline::{self, Params, Tile, X_ROW_BYTES, choose};

/// Shared memory of a tile: its stages of W's stored half, X, and two steps of metadata.
const fn shared_bytes(features: usize, tokens: usize, stages: usize) -> usize {
    stages * (features * X_ROW_BYTES / 2 + tokens * X_ROW_BYTES + features * 2 * size_of::<u32>())
}

/// Every tile, the largest first.
pub const TILES: [Tile; 4] = [
    Tile::new((256, 128), 256, shared_bytes(256, 128, 4), 1.0),
    Tile::new((128, 128), 256, shared_bytes(128, 128, 3), 0.94),
    Tile::new((64, 64), 128, shared_bytes(64, 64, 4), 0.47),
    Tile::new((64, 32), 128, shared_bytes(64, 32, 4), 0.35),
];

/// Y = X W^T + bias, on the device; needs no memory besides its operands.
///
/// - `x`: f16 or bf16 `[tokens, columns]`, rows on 16 bytes
/// - `weight`: X's format, `[features, columns]`
/// - `bias`: any format, `[1, features]`
/// - `y`: X's format, `[tokens, features]`
///
/// Sums are f32 and rounded once. X must be finite for the result to be that of the dense product: PTX does not say
/// whether an infinity meets the weights that are not stored.
///
/// # Errors
/// [`Error::Argument`] if shapes or formats do not fit each other, [`Error::Device`].
pub fn spmm24(
    device: &Device,
    x: Matrix<'_>,
    weight: &Registers24,
    bias: Option<Matrix<'_>>,
    y: &mut MatrixMut<'_>,
) -> Result<()> {
    let tile = choose(&TILES, x.rows(), weight.rows(), device.properties())?;
    spmm24_as(device, tile, x, weight, bias, y)
}

/// [`spmm24`] with a chosen tile of [`TILES`].
///
/// # Errors
/// Those of [`spmm24`].
pub fn spmm24_as(
    device: &Device,
    tile: Tile,
    x: Matrix<'_>,
    weight: &Registers24,
    bias: Option<Matrix<'_>>,
    y: &mut MatrixMut<'_>,
) -> Result<()> {
    let refuse = |problem: String| Err(Error::argument("spmm24", problem));
    if x.element() != weight.element() {
        return refuse(format!("X is {} and W is {}", x.element().name(), weight.element().name()));
    }
    if x.columns() != weight.columns() {
        return refuse(format!("X has {} columns and W {}", x.columns(), weight.columns()));
    }
    if !x.rows_aligned_to(16) {
        return refuse(format!(
            "X begins at {:?} with rows {} values apart; copy it to rows on 16 bytes",
            x.pointer(),
            x.stride()
        ));
    }
    let mut params = Params::new("spmm24", x, weight.rows(), bias, y)?;
    params.weight = weight.values().cast();
    params.weight_stride = weight.columns() as i64 / 2;
    params.metadata = weight.metadata();
    params.metadata_rows = weight.padded_rows() as i32;
    if params.tokens == 0 || params.features == 0 {
        return Ok(());
    }
    let kernel = format!("spmm24_{}_{}", x.element().name(), tile.name());
    pipeline::launch(device, "spmm24", &image::SPMM24, &kernel, tile, &params)
}
