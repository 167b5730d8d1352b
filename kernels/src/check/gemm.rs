//! `gemm` against float64.
//!
//! The error is in units of what is allowed (bound 1): rounding the result once, and for the sum 2 * 2^-24 of the
//! sum of |x w| for each product in its chain (tensor cores truncate the running sum) and for each term inside a
//! product. Splitting f32 into two tf32 adds 4 * 2^-24 for each operand that is split, and for the product left out.

use crate::check::placed::{Expected, Host, Layout, Placed, compare};
use crate::check::random::Random;
use crate::check::{Outcome, Scale};
use crate::device::Device;
use crate::error::Result;
use crate::gemm::{Variant, gemm, gemm_as, tiles};
use crate::matrix::Element;
use crate::reference;

const KERNEL: &str = "gemm";

/// Formats of X and W.
const FORMATS: [(Element, Element); 5] = [
    (Element::Bf16, Element::Bf16),
    (Element::F16, Element::F16),
    (Element::F32, Element::F32),
    (Element::F32, Element::Bf16),
    (Element::F32, Element::F16),
];

/// Formats of the bias, in turn.
const BIASES: [Option<Element>; 4] = [None, Some(Element::F32), Some(Element::Bf16), Some(Element::F16)];

/// Tokens, features, columns around the edges of tiles, K tiles and 16-byte chunks.
const ALIGNED: [(usize, usize, usize); 9] = [
    (1, 1, 8),
    (3, 8, 0),
    (2, 9, 64),
    (31, 63, 56),
    (32, 64, 64),
    (33, 65, 72),
    (64, 129, 128),
    (129, 128, 200),
    (65, 257, 264),
];

/// Rows that 16-byte copies do not take.
const UNALIGNED: [(usize, usize, usize); 6] =
    [(1, 1, 1), (2, 3, 5), (33, 65, 63), (31, 64, 67), (5, 130, 129), (65, 7, 1)];

/// Layers of SD3.5-large (2432 wide) and FLUX.1-dev (3072 wide).
const LAYERS: [(usize, usize, usize); 6] = [
    (4096, 2432, 2432),
    (4429, 9728, 2432),
    (4096, 2432, 9728),
    (4608, 21504, 3072),
    (4608, 3072, 15360),
    (1, 18432, 3072),
];

/// Rows of X that a full-scale case holds against float64.
const SAMPLES: usize = 3;

/// Where a case's matrices lie.
#[derive(Debug, Clone, Copy)]
struct Case {
    x: Element,
    weight: Element,
    bias: Option<Element>,
    /// Tokens, features, columns.
    shape: (usize, usize, usize),
    /// Values between the end of a row and the next one's start: X, W, Y.
    gaps: [usize; 3],
    /// Values before the first one.
    offset: usize,
    /// None for the launcher's choice.
    variant: Option<Variant>,
}

/// Runs the cases.
///
/// # Errors
/// Those of the device; a wrong result is an [`Outcome`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(24);
    let mut turn = 0;
    let mut next_bias = || {
        turn += 1;
        BIASES[turn % BIASES.len()]
    };
    for (x, weight) in FORMATS {
        let base = Case { x, weight, bias: None, shape: (0, 0, 0), gaps: [0; 3], offset: 0, variant: None };
        if scale == Scale::Full {
            for shape in LAYERS {
                report(outcome(device, &mut random, Case { shape, bias: next_bias(), ..base })?);
            }
            continue;
        }
        for &tile in tiles(x, weight)?.iter().filter(|tile| tile.fits(device.properties())) {
            for (number, shape) in ALIGNED.into_iter().enumerate() {
                // Y's rows fall on 16 bytes or not, so that both ways of writing are met.
                let gaps = [number % 2 * 8, number / 2 % 2 * 16, number % 3];
                let variant = Some(Variant::Tile(tile));
                report(outcome(device, &mut random, Case { shape, bias: next_bias(), gaps, variant, ..base })?);
            }
        }
        for (number, shape) in UNALIGNED.into_iter().enumerate() {
            let case = Case { shape, bias: next_bias(), gaps: [number % 2, 0, 1], offset: number % 3, ..base };
            report(outcome(device, &mut random, case)?);
        }
        // Rows of whole chunks that begin in the middle of one.
        report(outcome(device, &mut random, Case { shape: (9, 16, 64), offset: 1, ..base })?);
    }
    Ok(())
}

fn outcome(device: &Device, random: &mut Random, case: Case) -> Result<Outcome> {
    let (tokens, features, columns) = case.shape;
    let x = Host::random(random, case.x, tokens, columns, 1.0);
    let weight = Host::random(random, case.weight, features, columns, 1.0);
    let bias = case.bias.map(|element| Host::random(random, element, 1, features, 1.0));

    let [x_gap, weight_gap, y_gap] = case.gaps;
    let placed_x = x.place_input(device, Layout { lead: case.offset, gap: x_gap })?;
    let placed_weight = weight.place_input(device, Layout { lead: case.offset, gap: weight_gap })?;
    let placed_bias = bias.as_ref().map(|bias| bias.place_input(device, Layout::default())).transpose()?;
    let mut y = Placed::unwritten(device, case.x, tokens, features, Layout { lead: 0, gap: y_gap })?;
    let matrices = (placed_x.matrix(), placed_weight.matrix(), placed_bias.as_ref().map(Placed::matrix));
    match case.variant {
        Some(variant) => gemm_as(device, variant, matrices.0, matrices.1, matrices.2, &mut y.matrix_mut())?,
        None => gemm(device, matrices.0, matrices.1, matrices.2, &mut y.matrix_mut())?,
    }

    let rows: Vec<usize> = match tokens > 1024 {
        true => (0..SAMPLES).map(|sample| sample * (tokens - 1) / (SAMPLES - 1)).collect(),
        false => (0..tokens).collect(),
    };
    let sum_units = sum_units(case.x, case.weight, columns);
    let mut expected = Vec::with_capacity(rows.len() * features);
    for row in rows {
        let bias = bias.as_ref().map(|bias| bias.values.as_slice());
        let product = match columns {
            0 => {
                let values = bias.map_or_else(|| vec![0.0; features], <[f64]>::to_vec);
                let magnitudes = values.iter().map(|bias| bias.abs()).collect();
                reference::gemm::Product { values, magnitudes }
            }
            _ => reference::gemm::gemm(x.row(row), &weight.values, bias, columns, features),
        };
        expected.extend(Expected::products(case.x, row, product, sum_units));
    }
    let name = format!(
        "x {} [{tokens}, {columns}] w {} [{features}, {columns}] bias {} gaps {:?} offset {} {}",
        case.x.name(),
        case.weight.name(),
        case.bias.map_or("none", Element::name),
        case.gaps,
        case.offset,
        match case.variant {
            Some(Variant::Tile(tile)) => format!("tile {}x{}", tile.features, tile.tokens),
            Some(Variant::Unaligned) => "unaligned".to_string(),
            None => "chosen".to_string(),
        }
    );
    compare(KERNEL, name, &y, expected.into_iter())
}

/// What the sum may be off by, in units of 2^-24 of the sum of its terms' magnitudes.
fn sum_units(x: Element, weight: Element, columns: usize) -> f64 {
    // Products in the chain of one result, terms of one product, and operands split.
    let (chain, terms, split) = match (x, weight) {
        (Element::F32, Element::F32) => (3 * columns.div_ceil(8), 8, 3),
        (Element::F32, _) => (2 * columns.div_ceil(8), 8, 1),
        _ => (columns.div_ceil(16), 16, 0),
    };
    (2 * (chain + terms) + 4 * split) as f64
}
