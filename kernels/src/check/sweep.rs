//! The column sweep against the float64 reference.
//!
//! The reference follows the kernel's choices (see `reference::sweep`), so that every weight is compared, and near
//! ties show up as what they are. Scores and weights share one measure, the error over the largest dense weight.
//! A weight is a sum of up to d + 128 terms of that size or smaller, each rounded to float32 (products in 3xTF32
//! lose as much): the roundings add up like a random walk to sqrt(d + 128) u, u = 2^-24. The factors drawn here have
//! inverses of norm below 3 and pivots down to 0.5, for which the bound allows a factor of 2.
//!
//! Where the arithmetic is exact (R = I, few different weights) the masks must be the reference's own, ties by
//! position included, and rounded weights must have the bits that the `half` crate gives.

use half::{bf16, f16};

use super::random::Random;
use super::{Outcome, Scale};
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::reference::sweep::{Choice, Followed, Problem, sweep as reference};
use crate::sweep::{Rounding, Selection, SweepInput, SweepSegment, sweep_at};
use crate::triangle::{PackedTriangle, TILE};

/// Values before and after the outputs that must stay as they are.
const GUARD: usize = 64;

/// What the guards of the weights hold.
const GUARD_WEIGHT: f32 = -12345.75;

/// What the guards of the mask hold, and the mask at first: no mask's value.
const UNWRITTEN: u8 = 0xff;

/// One sweep.
struct Case<'a> {
    columns: usize,
    /// Rows and rounding of the segments.
    segments: &'a [(usize, Rounding)],
    choice: Kind,
    block_size: usize,
    dead: &'a [usize],
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The share removed in the first segment; each further segment loses a tenth less.
    Unstructured(f64),
    NM(usize, usize),
    /// A random mask of this share of zeros.
    Fixed(f64),
}

const NONE: Rounding = Rounding::None;

/// What the sweep of [`Case`]s is checked on.
const SMALL: &[Case] = &[
    Case { columns: 1, segments: &[(1, NONE)], choice: Kind::Unstructured(0.5), block_size: 128, dead: &[] },
    Case { columns: 4, segments: &[(3, NONE)], choice: Kind::Unstructured(0.5), block_size: 128, dead: &[1] },
    Case { columns: 16, segments: &[(31, NONE)], choice: Kind::Unstructured(0.7), block_size: 128, dead: &[] },
    Case { columns: 127, segments: &[(32, NONE)], choice: Kind::Unstructured(0.5), block_size: 128, dead: &[] },
    Case { columns: 128, segments: &[(64, NONE)], choice: Kind::Unstructured(0.5), block_size: 128, dead: &[0, 127] },
    Case {
        columns: 129,
        segments: &[(33, NONE), (1, NONE), (40, Rounding::F16)],
        choice: Kind::Unstructured(0.6),
        block_size: 128,
        dead: &[128],
    },
    Case { columns: 200, segments: &[(129, NONE)], choice: Kind::Unstructured(0.5), block_size: 128, dead: &[] },
    Case {
        columns: 257,
        segments: &[(31, Rounding::BF16), (64, NONE), (3, Rounding::F16)],
        choice: Kind::Unstructured(0.5),
        block_size: 128,
        dead: &[5, 130],
    },
    Case { columns: 150, segments: &[(20, NONE)], choice: Kind::Unstructured(0.5), block_size: 16, dead: &[] },
    Case { columns: 260, segments: &[(33, NONE)], choice: Kind::Unstructured(0.5), block_size: 64, dead: &[] },
    Case { columns: 130, segments: &[(33, NONE)], choice: Kind::NM(1, 2), block_size: 128, dead: &[] },
    Case { columns: 4, segments: &[(1, NONE)], choice: Kind::NM(2, 4), block_size: 128, dead: &[] },
    Case {
        columns: 260,
        segments: &[(3, NONE), (31, Rounding::BF16), (64, NONE)],
        choice: Kind::NM(2, 4),
        block_size: 128,
        dead: &[7],
    },
    Case { columns: 192, segments: &[(31, Rounding::F16)], choice: Kind::NM(3, 4), block_size: 32, dead: &[] },
    Case { columns: 136, segments: &[(40, NONE)], choice: Kind::NM(4, 8), block_size: 128, dead: &[] },
    Case { columns: 144, segments: &[(33, Rounding::BF16)], choice: Kind::NM(5, 16), block_size: 16, dead: &[] },
    Case { columns: 192, segments: &[(9, NONE)], choice: Kind::NM(32, 64), block_size: 64, dead: &[] },
    Case { columns: 129, segments: &[(64, NONE)], choice: Kind::Fixed(0.5), block_size: 128, dead: &[3] },
    Case {
        columns: 200,
        segments: &[(5, Rounding::BF16), (31, NONE)],
        choice: Kind::Fixed(0.8),
        block_size: 32,
        dead: &[],
    },
];

/// Widths of real models; the rows are those of few layers, for the reference takes a second per 10^9 of
/// rows d^2 / 2.
const FULL: &[Case] = &[
    Case {
        columns: 1536,
        segments: &[(768, Rounding::F16), (700, NONE), (1, NONE)],
        choice: Kind::Unstructured(0.5),
        block_size: 128,
        dead: &[17, 1000],
    },
    Case { columns: 1535, segments: &[(300, NONE)], choice: Kind::Unstructured(0.6), block_size: 32, dead: &[] },
    Case { columns: 2432, segments: &[(1000, NONE)], choice: Kind::NM(2, 4), block_size: 128, dead: &[] },
    Case {
        columns: 3072,
        segments: &[(513, Rounding::BF16), (129, NONE)],
        choice: Kind::Unstructured(0.5),
        block_size: 128,
        dead: &[],
    },
    Case { columns: 3072, segments: &[(512, NONE)], choice: Kind::NM(4, 8), block_size: 128, dead: &[] },
    Case { columns: 3072, segments: &[(512, NONE)], choice: Kind::Fixed(0.5), block_size: 128, dead: &[] },
];

/// Runs every case on `device`.
///
/// # Errors
/// Those of the sweep itself; wrong results are outcomes.
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    for (index, case) in SMALL.iter().enumerate() {
        compare(device, case, index as u64, report)?;
    }
    if scale == Scale::Full {
        for (index, case) in FULL.iter().enumerate() {
            compare(device, case, 1000 + index as u64, report)?;
        }
    }
    ties(device, report)?;
    rounding(device, report)
}

/// The factor and what the sweep takes of it.
struct Operands {
    /// R: `[d, d]` row-major, upper triangular, f32 numbers.
    upper: Vec<f64>,
    triangle: PackedTriangle,
    inverses: Buffer<f32>,
}

impl Operands {
    fn new(device: &Device, columns: usize, upper: Vec<f64>) -> Result<Self> {
        let mut lower = vec![0.0; columns * columns];
        for (k, row) in upper.chunks_exact(columns).enumerate() {
            for n in k..columns {
                lower[n * columns + k] = row[n] as f32;
            }
        }
        let triangle = PackedTriangle::from_lower(device, columns, &lower, "the factor")?;
        let inverses: Vec<f32> =
            (0..columns).step_by(TILE).flat_map(|start| inverse_of_block(&upper, columns, start)).collect();
        let inverses = Buffer::from_slice(device, &inverses, "the inverses")?;
        Ok(Operands { upper, triangle, inverses })
    }

    /// R with a dominant diagonal, so that it and its inverse are of moderate norm at any size.
    fn random(device: &Device, columns: usize, random: &mut Random) -> Result<Self> {
        let spread = 0.5 / (columns as f64).sqrt();
        let mut upper = vec![0.0; columns * columns];
        for (k, row) in upper.chunks_exact_mut(columns).enumerate() {
            row[k] = f64::from((0.5 + random.uniform()) as f32);
            row[k + 1..].iter_mut().for_each(|value| *value = f64::from((random.normal() * spread) as f32));
        }
        Self::new(device, columns, upper)
    }

    fn identity(device: &Device, columns: usize) -> Result<Self> {
        let mut upper = vec![0.0; columns * columns];
        upper.iter_mut().step_by(columns + 1).for_each(|value| *value = 1.0);
        Self::new(device, columns, upper)
    }
}

/// The inverse of the diagonal block of 128 columns at `start`, the identity beyond the matrix.
fn inverse_of_block(upper: &[f64], columns: usize, start: usize) -> Vec<f32> {
    let at = |i: usize, j: usize| match (start + i).max(start + j) < columns {
        true => upper[(start + i) * columns + start + j],
        false => f64::from(u8::from(i == j)),
    };
    let mut inverse = vec![0.0; TILE * TILE];
    for j in 0..TILE {
        inverse[j * TILE + j] = 1.0 / at(j, j);
        for i in (0..j).rev() {
            let sum: f64 = (i + 1..=j).map(|k| at(i, k) * inverse[k * TILE + j]).sum();
            inverse[i * TILE + j] = -sum / at(i, i);
        }
    }
    inverse.into_iter().map(|value| value as f32).collect()
}

/// What came back from the device.
struct Finished {
    weight: Vec<f32>,
    mask: Vec<u8>,
    loss: Vec<f64>,
    /// Guard values that were overwritten.
    guards: usize,
}

/// Sweeps with guards around the weights and the mask.
fn sweep_guarded(
    device: &Device,
    operands: &Operands,
    weight: &[f32],
    given: Option<&[u8]>,
    input: &SweepInput,
) -> Result<Finished> {
    debug_assert_eq!(weight.len() % operands.triangle.size(), 0);
    let around = |len: usize| GUARD..GUARD + len;
    let mut weights = vec![GUARD_WEIGHT; weight.len() + 2 * GUARD];
    weights[around(weight.len())].copy_from_slice(weight);
    let mut masks = vec![UNWRITTEN; weight.len() + 2 * GUARD];
    if let Some(given) = given {
        masks[around(weight.len())].copy_from_slice(given);
    }
    let weights = Buffer::from_slice(device, &weights, "weights between guards")?;
    let masks = Buffer::from_slice(device, &masks, "a mask between guards")?;
    let loss = sweep_at(device, weights.pointer().offset(GUARD), masks.pointer().offset(GUARD), input)?;
    let (weights, masks) = (weights.to_vec()?, masks.to_vec()?);
    let inner = around(weight.len());
    let outside = |index: &usize| !inner.contains(index);
    let guards = (0..weights.len()).filter(outside).filter(|&i| weights[i] != GUARD_WEIGHT).count()
        + (0..masks.len()).filter(outside).filter(|&i| masks[i] != UNWRITTEN).count();
    Ok(Finished { weight: weights[inner.clone()].to_vec(), mask: masks[inner.clone()].to_vec(), loss, guards })
}

/// Runs one case and reports how far choices, weights and losses are from the reference.
fn compare(device: &Device, case: &Case, seed: u64, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let random = &mut Random::new(seed);
    let &Case { columns, block_size, dead, .. } = case;
    let segments: Vec<SweepSegment> =
        case.segments.iter().map(|&(rows, rounding)| SweepSegment { rows, rounding }).collect();
    let rows: usize = segments.iter().map(|segment| segment.rows).sum();
    let operands = Operands::random(device, columns, random)?;
    let weight: Vec<f32> = (0..rows * columns).map(|_| random.normal() as f32).collect();
    let mut given: Vec<u8> = Vec::new();
    let mut counts = Vec::new();
    match case.choice {
        Kind::Unstructured(share) => counts = counts_of(&segments, columns, block_size, share),
        Kind::Fixed(zeros) => given.extend((0..rows * columns).map(|_| u8::from(random.uniform() >= zeros))),
        Kind::NM(..) => {}
    }
    let given_mask = Buffer::from_slice(device, &given, "a given mask")?;
    let (selection, choice) = match case.choice {
        Kind::Unstructured(_) => {
            (Selection::Unstructured { counts: &counts }, Choice::Unstructured { counts: &counts })
        }
        Kind::NM(keep, of) => (Selection::NM { keep, of }, Choice::NM { keep, of }),
        Kind::Fixed(_) => (Selection::Fixed { mask: &given_mask }, Choice::Fixed),
    };
    let Operands { triangle: factor, inverses, upper } = &operands;
    let input = SweepInput { factor, inverses, dead, segments: &segments, selection, block_size };
    let given = (!given.is_empty()).then_some(given.as_slice());
    let found = sweep_guarded(device, &operands, &weight, given, &input)?;

    let problem = Problem { factor: upper, weight: &weight, dead, segments: &segments, choice, block_size };
    let expected = reference(&problem, Some(Followed { mask: &found.mask, weight: &found.weight }));
    let largest = weight.iter().fold(0.0, |largest: f64, &w| largest.max(f64::from(w.abs())));
    let bound = 2.0 * ((columns + TILE) as f64).sqrt() * f64::from(f32::EPSILON) / 2.0;

    let name = format!("{:?} of {columns} columns, rows {:?}, blocks of {block_size}", case.choice, case.segments);
    let mut tell = |what: &str, error: f64, bound: f64, detail: String| {
        report(Outcome { kernel: "sweep", case: format!("{name}: {what}"), error, bound, detail });
    };
    let spoiled = found.guards
        + found.mask.iter().filter(|&&mask| mask > 1).count()
        + found.mask.iter().zip(&found.weight).filter(|&(&mask, &weight)| mask == 0 && weight != 0.0).count();
    let changed = given.map_or(0, |given| given.iter().zip(&found.mask).filter(|(a, b)| a != b).count());
    tell("guards, mask values and zeros", (spoiled + changed) as f64, 0.0, format!("{} guards", found.guards));
    let at = |place: usize| format!("({}, {})", place / columns, place % columns);
    for (what, excess) in [("choices", expected.choice_excess), ("rounded weights", expected.rounding_excess)] {
        tell(what, excess.amount, bound, at(excess.place));
    }
    let errors: Vec<f64> = found
        .weight
        .iter()
        .zip(&expected.weight)
        .map(|(&weight, expected)| (f64::from(weight) - expected).abs() / largest)
        .collect();
    let first_bad = errors.iter().position(|&error| error > bound || error.is_nan()).map_or(String::new(), |place| {
        format!("{}: found {}, expected {}", at(place), found.weight[place], expected.weight[place])
    });
    tell("weights", largest_of(errors.into_iter()), bound, first_bad);
    let losses = found.loss.iter().zip(&expected.loss);
    // A loss sums the squares of errors that are as accurate as the weights.
    let error = largest_of(losses.map(|(found, expected)| (found - expected).abs() / expected.max(f64::MIN_POSITIVE)));
    tell("losses", error, 2.0 * bound, format!("found {:?}, expected {:?}", found.loss, expected.loss));
    Ok(())
}

/// The largest number, NaN if there is one.
fn largest_of(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |largest: f64, value| if largest.is_nan() || value <= largest { largest } else { value })
}

/// How many weights each block of each segment loses: a share that falls by a tenth from segment to segment.
fn counts_of(segments: &[SweepSegment], columns: usize, block_size: usize, share: f64) -> Vec<Vec<usize>> {
    let of_segment = |(index, segment): (usize, &SweepSegment)| {
        let share = share * 0.9f64.powi(index as i32);
        let blocks = (0..columns).step_by(block_size);
        blocks.map(|start| (share * (segment.rows * block_size.min(columns - start)) as f64) as usize).collect()
    };
    segments.iter().enumerate().map(of_segment).collect()
}

/// With R = I and weights from a handful of values nearly all scores tie: masks must be equal, by position.
fn ties(device: &Device, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let (columns, block_size) = (192, 128);
    let segments = [70, 1, 33].map(|rows| SweepSegment { rows, rounding: NONE });
    let rows: usize = segments.iter().map(|segment| segment.rows).sum();
    let operands = Operands::identity(device, columns)?;
    let Operands { triangle: factor, inverses, upper } = &operands;
    for values in [1, 5] {
        let random = &mut Random::new(values);
        let mut draw = || ((random.uniform() * values as f64).floor() * 0.25) as f32;
        let weight: Vec<f32> = (0..rows * columns).map(|i| if i % 2 == 0 { draw() } else { -draw() }).collect();
        let every_share = [0.0, 0.3, 0.99].map(|share| counts_of(&segments, columns, block_size, share));
        let whole = counts_of(&segments, columns, block_size, 1.0);
        let unstructured = every_share
            .iter()
            .chain([&whole])
            .map(|counts| (Selection::Unstructured { counts }, Choice::Unstructured { counts }));
        let groups =
            [(1, 2), (2, 4), (4, 8), (16, 64)].map(|(keep, of)| (Selection::NM { keep, of }, Choice::NM { keep, of }));
        for (selection, choice) in unstructured.chain(groups) {
            let input = SweepInput { factor, inverses, dead: &[], segments: &segments, selection, block_size };
            let found = sweep_guarded(device, &operands, &weight, None, &input)?;
            let problem =
                Problem { factor: upper, weight: &weight, dead: &[], segments: &segments, choice, block_size };
            let expected = reference(&problem, None);
            let different = |place: &usize| {
                found.mask[*place] != expected.mask[*place]
                    || f64::from(found.weight[*place]) != expected.weight[*place]
            };
            let mut wrong = (0..rows * columns).filter(different);
            let first = wrong.next();
            report(Outcome {
                kernel: "sweep",
                case: format!("ties by position: {choice:?} of weights of {values} sizes"),
                error: (first.iter().count() + wrong.count() + found.guards) as f64,
                bound: 0.0,
                detail: first
                    .map_or(String::new(), |place| format!("first at ({}, {})", place / columns, place % columns)),
            });
        }
    }
    Ok(())
}

/// With R = I and nothing removed every weight is rounded alone: the bits must be those of the `half` crate.
fn rounding(device: &Device, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    // Around every tie of both dtypes: the low 16 bits of a float32.
    let low_bits = [0u32, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001];
    let columns = 124;
    let operands = Operands::identity(device, columns)?;
    let Operands { triangle: factor, inverses, .. } = &operands;
    for (rounding, largest) in [(Rounding::F16, 65504.0), (Rounding::BF16, 3e38)] {
        let every = (0u32..0x7f80).step_by(37).flat_map(|top| low_bits.map(|low| f32::from_bits(top << 16 | low)));
        let mut weight: Vec<f32> = every.filter(|&w| w <= largest).flat_map(|w| [w, -w]).collect();
        weight.truncate(weight.len() / columns * columns);
        let segments = [SweepSegment { rows: weight.len() / columns, rounding }];
        let counts = [vec![0]];
        let selection = Selection::Unstructured { counts: &counts };
        let input = SweepInput { factor, inverses, dead: &[], segments: &segments, selection, block_size: 128 };
        let found = sweep_guarded(device, &operands, &weight, None, &input)?;
        let expected = weight.iter().map(|&weight| match rounding {
            Rounding::None => weight,
            Rounding::F16 => f16::from_f32(weight).to_f32(),
            Rounding::BF16 => bf16::from_f32(weight).to_f32(),
        });
        // The sign of a zero is lost in adding the compensation of 0.
        let mut wrong = expected.zip(&found.weight).enumerate().filter(|(_, (expected, found))| expected != *found);
        let first = wrong.next();
        report(Outcome {
            kernel: "sweep",
            case: format!("{rounding:?} of {} numbers around ties", weight.len()),
            error: (usize::from(first.is_some()) + wrong.count()) as f64,
            bound: 0.0,
            detail: first.map_or(String::new(), |(place, (expected, found))| {
                format!("{:e}: found {found:e}, expected {expected:e}", weight[place])
            }),
        });
    }
    Ok(())
}
