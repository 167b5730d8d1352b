//! What the launchers of `gemm` and `spmm24` share: the parameters of `pipeline.cuh`, its tiles, and the choice of
//! one.

use bytemuck::{Pod, Zeroable};

use crate::buffer::Pointer;
use crate::device::{Device, Properties};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::matrix::{Element, Matrix, MatrixMut};

/// Bytes of a row of X in a K tile: `X_ROW_BYTES` of `pipeline.cuh`.
pub(crate) const X_ROW_BYTES: usize = 128;

/// `ProductParams` of `pipeline.cuh`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub x: Pointer<u8>,
    pub weight: Pointer<u8>,
    pub metadata: Pointer<u32>,
    pub bias: Pointer<u8>,
    pub y: Pointer<u8>,
    pub x_stride: i64,
    pub weight_stride: i64,
    pub y_stride: i64,
    pub tokens: i32,
    pub features: i32,
    pub columns: i32,
    pub metadata_rows: i32,
    pub bias_element: i32,
    pub y_aligned: i32,
}

const _: () = assert!(size_of::<Params>() == 88);

impl Params {
    /// All but the weights.
    ///
    /// # Errors
    /// [`Error::Argument`] if bias or Y do not fit a product of X with `features` rows of weights.
    pub fn new(
        operation: &'static str,
        x: Matrix<'_>,
        features: usize,
        bias: Option<Matrix<'_>>,
        y: &MatrixMut<'_>,
    ) -> Result<Self> {
        let refuse = |problem: String| Err(Error::argument(operation, problem));
        let (tokens, columns) = (x.rows(), x.columns());
        let y = y.view();
        if (y.rows(), y.columns()) != (tokens, features) || y.element() != x.element() {
            return refuse(format!(
                "the result is {} [{}, {}]; an {} X [{tokens}, {columns}] and weights of {features} rows make {} \
                 [{tokens}, {features}]",
                y.element().name(),
                y.rows(),
                y.columns(),
                x.element().name(),
                x.element().name(),
            ));
        }
        if let Some(bias) = bias
            && (bias.rows(), bias.columns()) != (1, features)
        {
            return refuse(format!("the bias is [{}, {}]; expected [1, {features}]", bias.rows(), bias.columns()));
        }
        let int = |name: &str, size: usize| {
            i32::try_from(size).map_err(|_| {
                Error::argument(operation, format!("{size} {name}; cut the product into parts below 2^31"))
            })
        };
        Ok(Params {
            x: x.pointer(),
            weight: Pointer::NULL,
            metadata: Pointer::NULL,
            bias: bias.map_or(Pointer::NULL, |bias| bias.pointer()),
            y: y.pointer(),
            x_stride: x.stride() as i64,
            weight_stride: 0,
            y_stride: y.stride() as i64,
            tokens: int("tokens", tokens)?,
            features: int("features", features)?,
            columns: int("columns", columns)?,
            metadata_rows: 0,
            bias_element: match bias.map(|bias| bias.element()) {
                None | Some(Element::F32) => 0,
                Some(Element::F16) => 1,
                Some(Element::Bf16) => 2,
            },
            y_aligned: i32::from(y.rows_aligned_to(16)),
        })
    }
}

/// How the work is cut: `Tile` of `pipeline.cuh`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tile {
    /// Rows of W that a block covers.
    pub features: usize,
    /// Rows of X that a block covers.
    pub tokens: usize,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block in bytes.
    pub shared_bytes: u32,
    /// Share of the tensor cores' peak that the tile's traffic leaves, by count: bytes from shared memory (128 per
    /// cycle of a multiprocessor) and from the second-level cache (47), against its products' cycles on an A100.
    pub rate: f64,
}

impl Tile {
    pub(crate) const fn new(cut: (usize, usize), threads: u32, shared_bytes: usize, rate: f64) -> Self {
        Tile { features: cut.0, tokens: cut.1, threads, shared_bytes: shared_bytes as u32, rate }
    }

    /// The end of the kernel's name.
    pub(crate) fn name(&self) -> String {
        format!("{}x{}", self.features, self.tokens)
    }

    /// Blocks of a product.
    fn blocks(&self, tokens: usize, features: usize) -> usize {
        tokens.div_ceil(self.tokens) * features.div_ceil(self.features)
    }

    /// Time of a product in units of one output's share of the tensor cores: the multiprocessor with the most
    /// blocks decides.
    fn time(&self, tokens: usize, features: usize, multiprocessors: usize) -> f64 {
        let rounds = self.blocks(tokens, features).div_ceil(multiprocessors.max(1));
        (rounds * self.features * self.tokens) as f64 / self.rate
    }

    /// Whether a block fits the device's shared memory.
    pub fn fits(&self, properties: &Properties) -> bool {
        self.shared_bytes <= properties.shared_bytes_per_block
    }
}

/// The tile with the shortest estimated time among those that fit; the first of equals. The one place where a
/// variant is chosen: the result's bits do not depend on it.
///
/// # Errors
/// [`Error::Unavailable`] if the device has too little shared memory for every tile.
pub(crate) fn choose(tiles: &[Tile], tokens: usize, features: usize, properties: &Properties) -> Result<Tile> {
    let time = |tile: &Tile| tile.time(tokens, features, properties.multiprocessors as usize);
    let fastest = tiles.iter().filter(|tile| tile.fits(properties)).min_by(|a, b| time(a).total_cmp(&time(b)));
    fastest.copied().ok_or_else(|| {
        Error::Unavailable(format!(
            "{} gives a block {} bytes of shared memory; the smallest tile of a product needs {}",
            properties.name,
            properties.shared_bytes_per_block,
            tiles.iter().map(|tile| tile.shared_bytes).min().unwrap_or(0)
        ))
    })
}

/// Launches `kernel` over all tiles of Y.
pub(crate) fn launch(
    device: &Device,
    operation: &'static str,
    image: &'static Image,
    kernel: &str,
    tile: Tile,
    params: &Params,
) -> Result<()> {
    let blocks = tile.blocks(params.tokens as usize, params.features as usize);
    let blocks = i32::try_from(blocks).map_err(|_| {
        Error::argument(operation, format!("{blocks} blocks of work; cut the product into parts below 2^31"))
    })?;
    device.launch(image, kernel, [blocks as u32, 1, 1], [tile.threads, 1, 1], tile.shared_bytes, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILES: [Tile; 3] = [
        Tile::new((256, 128), 256, 139_264, 1.0),
        Tile::new((128, 128), 256, 76_800, 0.9),
        Tile::new((64, 32), 128, 34_816, 0.4),
    ];

    fn gpu(multiprocessors: u32, shared_bytes_per_block: u32) -> Properties {
        Properties {
            name: "test".into(),
            compute_capability: (8, 0),
            multiprocessors,
            shared_bytes_per_block,
            memory_bytes: 1 << 34,
            cache_bytes: 1 << 25,
        }
    }

    #[test]
    fn a_large_product_takes_the_large_tile_and_few_tokens_the_small_one() {
        let a100 = gpu(108, 163 * 1024);
        let chosen = |tokens, features| choose(&TILES, tokens, features, &a100).expect("every tile fits");
        assert_eq!(chosen(4608, 12288), TILES[0]);
        assert_eq!(chosen(1, 3072), TILES[2]);
        assert_eq!(chosen(32, 3072), TILES[2]);
    }

    #[test]
    fn no_tile_is_chosen_that_the_device_has_no_shared_memory_for() {
        let ada = gpu(128, 99 * 1024);
        assert_eq!(choose(&TILES, 4608, 12288, &ada).expect("the square tile fits"), TILES[1]);
        let refused = choose(&TILES, 4608, 12288, &gpu(10, 1024)).expect_err("nothing fits").to_string();
        assert!(refused.contains("1024 bytes") && refused.contains("34816"), "{refused}");
    }
}
