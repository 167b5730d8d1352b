//! `spmm24` against float64, and against `gemm` on the decompressed weights.
//!
//! The error is in units of what is allowed (bound 1): rounding the result once, and for the sum 2 * 2^-24 of the
//! sum of |x w| for each product in its chain (tensor cores truncate the running sum) and for each term inside a
//! product. Against `gemm`, both sides may be off by so much.

use crate::check::placed::{Expected, Host, Layout, Placed, compare};
use crate::check::random::Random;
use crate::check::{Outcome, Scale};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::gemm::gemm;
use crate::matrix::Element;
use crate::pack24::Packed24;
use crate::pipeline::Tile;
use crate::reference;
use crate::spmm24::{TILES, spmm24, spmm24_as};

const KERNEL: &str = "spmm24";

const FEATURES: [usize; 4] = [8, 24, 136, 264];
const TOKENS: [usize; 6] = [1, 3, 63, 64, 65, 130];
const COLUMNS: [usize; 4] = [32, 64, 96, 160];

/// Tokens, features, columns of SD3.5-large (2432 wide) and FLUX.1-dev (3072 wide).
const LAYERS: [(usize, usize, usize); 8] = [
    (4096, 2432, 2432),
    (4429, 9728, 2432),
    (4096, 2432, 9728),
    (4608, 3072, 3072),
    (4608, 12288, 3072),
    (4608, 21504, 3072),
    (4608, 3072, 15360),
    (16, 3072, 12288),
];

/// Rows of X that a full-scale case holds against float64.
const SAMPLES: usize = 3;

#[derive(Debug, Clone, Copy)]
struct Case {
    element: Element,
    bias: Option<Element>,
    /// Tokens, features, columns.
    shape: (usize, usize, usize),
    /// Values between the end of a row and the next one's start: X, Y.
    gaps: [usize; 2],
    /// None for the launcher's choice.
    tile: Option<Tile>,
}

/// Runs the cases.
///
/// # Errors
/// Those of the device; a wrong result is an [`Outcome`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(2432);
    let elements = [Element::Bf16, Element::F16];
    if scale == Scale::Full {
        for (number, shape) in LAYERS.into_iter().enumerate() {
            let element = elements[number % 2];
            let case = Case { element, bias: Some(element), shape, gaps: [0; 2], tile: None };
            outcomes(device, &mut random, case, report)?;
        }
        return Ok(());
    }
    let tiles: Vec<Tile> = TILES.into_iter().filter(|tile| tile.fits(device.properties())).collect();
    let mut number = 0;
    for features in FEATURES {
        for tokens in TOKENS {
            for columns in COLUMNS {
                // Counts without a common divisor, so that the options meet in every combination.
                let element = elements[number / 3 % 2];
                let bias = [None, Some(element), Some(Element::F32)][number % 3];
                let gaps = [number / 5 % 2 * 8, [0, 8, 3][number / 7 % 3]];
                let tile = match number % 5 {
                    4 => None,
                    turn => Some(tiles[turn % tiles.len()]),
                };
                let case = Case { element, bias, shape: (tokens, features, columns), gaps, tile };
                outcomes(device, &mut random, case, report)?;
                number += 1;
            }
        }
    }
    Ok(())
}

fn outcomes(device: &Device, random: &mut Random, case: Case, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let (tokens, features, columns) = case.shape;
    let x = Host::random(random, case.element, tokens, columns, 1.0);
    let dense = Host::random_24(random, case.element, features, columns);
    let bias = case.bias.map(|element| Host::random(random, element, 1, features, 1.0));
    let host = reference::pack24::compress(&dense.bits_16(), features, columns)
        .map_err(|refusal| Error::argument(KERNEL, refusal.to_string()))?;

    let [x_gap, y_gap] = case.gaps;
    let placed_x = x.place_input(device, Layout { lead: 0, gap: x_gap })?;
    let placed_dense = dense.place_input(device, Layout::default())?;
    let placed_bias = bias.as_ref().map(|bias| bias.place_input(device, Layout::default())).transpose()?;
    let bias_matrix = placed_bias.as_ref().map(Placed::matrix);
    let weight = Packed24::compress(device, placed_dense.matrix())?.into_registers()?;
    let mut y = Placed::unwritten(device, case.element, tokens, features, Layout { lead: 0, gap: y_gap })?;
    match case.tile {
        Some(tile) => spmm24_as(device, tile, placed_x.matrix(), &weight, bias_matrix, &mut y.matrix_mut())?,
        None => spmm24(device, placed_x.matrix(), &weight, bias_matrix, &mut y.matrix_mut())?,
    }
    let mut twin = Placed::unwritten(device, case.element, tokens, features, Layout::default())?;
    gemm(device, placed_x.matrix(), placed_dense.matrix(), bias_matrix, &mut twin.matrix_mut())?;
    let (twin, _) = twin.read()?;

    let name = format!(
        "{} x [{tokens}, {columns}] w [{features}, {columns}] bias {} gaps {:?} tile {}",
        case.element.name(),
        case.bias.map_or("none", Element::name),
        case.gaps,
        case.tile.map_or("chosen".to_string(), |tile| format!("{}x{}", tile.features, tile.tokens))
    );
    let rows: Vec<usize> = match tokens > 1024 {
        true => (0..SAMPLES).map(|sample| sample * (tokens - 1) / (SAMPLES - 1)).collect(),
        false => (0..tokens).collect(),
    };
    let widen = |bits: u16| match case.element {
        Element::F16 => half::f16::from_bits(bits).to_f64(),
        _ => half::bf16::from_bits(bits).to_f64(),
    };
    // Both sums are off, and both are rounded.
    let (exact_units, twin_units) = (sum_units(columns, 32), sum_units(columns, 32) + sum_units(columns, 16));
    let (mut exact, mut twins) = (Vec::new(), Vec::new());
    for row in rows {
        let bias = bias.as_ref().map(|bias| bias.values.as_slice());
        let product = reference::spmm24::spmm24(x.row(row), &host, widen, bias);
        let values = twin[row * features..][..features].to_vec();
        let twin = reference::gemm::Product { values, magnitudes: product.magnitudes.clone() };
        exact.extend(Expected::products(case.element, row, product, exact_units));
        twins.extend(
            Expected::products(case.element, row, twin, twin_units)
                .map(|(place, once)| (place, Expected::rounded(case.element, once.value, once.allowance))),
        );
    }
    report(compare(KERNEL, name.clone(), &y, exact.into_iter())?);
    report(compare(KERNEL, format!("{name} against gemm"), &y, twins.into_iter())?);
    Ok(())
}

/// What a sum of products of `step` columns each, 16 terms of which are stored, may be off by, in units of 2^-24 of
/// the sum of its terms' magnitudes.
fn sum_units(columns: usize, step: usize) -> f64 {
    (2 * (columns.div_ceil(step) + 16)) as f64
}
