//! Accumulated Hessians against float64.
//!
//! Error of H: largest difference from the reference over the reference's largest entry. Tensor cores may cut
//! each sum off, by half a unit in the last place on average, so a chain of n sums of like signs comes out short by
//! n * 2^-25; every addition of a chain to H rounds, and so do the products with the weights. A number split into
//! two tf32 numbers is off by 2^-22 of itself at most; if both factors are split, the product of the small parts,
//! 2^-22, is left out besides. Error of the column
//! sums: largest difference over the largest sum of magnitudes; within 64 tokens they are f32 sums.

use std::fmt;

use half::{bf16, f16};

use super::random::Random;
use super::worst::Worst;
use super::{Outcome, Scale};
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::gram::{GramInput, GramSums, RowWeights, gram};
use crate::matrix::{Element, Matrix};
use crate::reference;
use crate::triangle::{PackedTriangle, TILE};

/// One input. Rows begin `columns + gap` values apart, the first `lead` values into the buffer; the places between
/// hold NaN.
#[derive(Debug, Clone, Copy)]
struct Case {
    element: Element,
    tokens: usize,
    columns: usize,
    gap: usize,
    lead: usize,
    weighted: bool,
}

impl Case {
    fn new(element: Element, tokens: usize, columns: usize) -> Self {
        Case { element, tokens, columns, gap: 0, lead: 0, weighted: false }
    }

    fn with_gap(self, lead: usize, gap: usize) -> Self {
        Case { gap, lead, ..self }
    }

    fn weighted(self) -> Self {
        Case { weighted: true, ..self }
    }

    /// Sums in a chain, and chains.
    fn bound(&self) -> f64 {
        let per_vector = 16 / self.element.bytes();
        let whole = [self.columns, self.gap, self.lead].iter().all(|n| n.is_multiple_of(per_vector));
        let (chain, sums_per_token) = match self.element {
            Element::F32 => (256, 3.0 / 8.0),
            _ if self.weighted || !whole => (256, 2.0 / 8.0),
            _ => (2048, 1.0 / 16.0),
        };
        let sums = (self.tokens.min(chain) as f64 * sums_per_token).ceil();
        let chains = self.tokens.div_ceil(chain) as f64;
        let split = match self.element {
            Element::F32 => 3.0,
            _ if sums_per_token > 0.1 => 1.0,
            _ => 0.0,
        };
        split * 2f64.powi(-22) + sums * 2f64.powi(-25) + (chains + 3.0) * 2f64.powi(-24)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { element, tokens, columns, gap, lead, weighted } = self;
        write!(f, "{} {tokens} x {columns}", element.name())?;
        if *gap > 0 || *lead > 0 {
            write!(f, ", gaps of {gap} after {lead}")?;
        }
        write!(f, "{}", if *weighted { ", row weights" } else { "" })
    }
}

/// An input on the device and what it holds.
struct Input {
    case: Case,
    stored: Buffer<u8>,
    weights: Buffer<f32>,
    /// `[tokens, columns]`.
    values: Vec<f64>,
    /// `[tokens]`.
    weight_of: Vec<f64>,
    scale: f32,
}

/// The value that an element of this type holds for `value`, and its bytes.
fn store(element: Element, value: f64, bytes: &mut Vec<u8>) -> f64 {
    match element {
        Element::F32 => {
            bytes.extend((value as f32).to_le_bytes());
            f64::from(value as f32)
        }
        Element::F16 => {
            let value = f16::from_f64(value);
            bytes.extend(value.to_le_bytes());
            value.to_f64()
        }
        Element::Bf16 => {
            let value = bf16::from_f64(value);
            bytes.extend(value.to_le_bytes());
            value.to_f64()
        }
    }
}

impl Input {
    /// Values of mean 1/4; `replace` puts a value of its own at (token, column).
    fn new(device: &Device, case: Case, random: &mut Random, replace: Option<(usize, usize, f64)>) -> Result<Self> {
        let Case { element, tokens, columns, gap, lead, weighted } = case;
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        for _ in 0..lead {
            store(element, f64::NAN, &mut bytes);
        }
        for token in 0..tokens {
            for column in 0..columns {
                let value = match replace {
                    Some((row, at, value)) if (row, at) == (token, column) => value,
                    _ => random.normal() + 0.25,
                };
                values.push(store(element, value, &mut bytes));
            }
            for _ in 0..gap {
                store(element, f64::NAN, &mut bytes);
            }
        }
        let scale = if weighted { 1.0 } else { (0.5 + random.uniform()) as f32 };
        let weights: Vec<f32> = (0..tokens).map(|_| (2.0 * random.uniform()) as f32).collect();
        let weight_of =
            if weighted { weights.iter().map(|&w| f64::from(w)).collect() } else { vec![f64::from(scale); tokens] };
        let stored = Buffer::from_slice(device, &bytes, "inputs")?;
        let weights = Buffer::from_slice(device, &weights, "weights")?;
        Ok(Input { case, stored, weights, values, weight_of, scale })
    }

    fn matrix(&self) -> Matrix<'_> {
        let Case { element, tokens, columns, gap, lead, .. } = self.case;
        let address = self.stored.pointer().address() + (lead * element.bytes()) as u64;
        // SAFETY: `stored` holds these rows and lives as long as the matrix.
        unsafe { Matrix::from_address(address, element, tokens, columns, columns + gap) }
    }

    fn row_weights(&self) -> RowWeights<'_> {
        if self.case.weighted { RowWeights::Each(&self.weights) } else { RowWeights::All(self.scale) }
    }
}

/// Every input's own sums, from one call.
fn accumulate(device: &Device, inputs: &[Input], sums: &mut [GramSums]) -> Result<()> {
    let mut list: Vec<GramInput> = inputs
        .iter()
        .zip(sums)
        .map(|(input, into)| GramInput { x: input.matrix(), weights: input.row_weights(), into })
        .collect();
    gram(device, &mut list)
}

/// Accumulates all `cases` in one call, `calls` times, and reports each.
fn group(device: &Device, cases: &[Case], calls: usize, seed: u64, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(seed);
    let inputs: Vec<Input> =
        cases.iter().map(|&case| Input::new(device, case, &mut random, None)).collect::<Result<_>>()?;
    let mut sums: Vec<GramSums> =
        cases.iter().map(|case| GramSums::zeros(device, case.columns)).collect::<Result<_>>()?;
    for _ in 0..calls {
        accumulate(device, &inputs, &mut sums)?;
    }
    for (input, sums) in inputs.iter().zip(&sums) {
        compare(input, sums, calls, report)?;
    }
    Ok(())
}

fn compare(input: &Input, sums: &GramSums, calls: usize, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let Input { case, values, weight_of, .. } = input;
    let columns = case.columns;
    let name = if calls == 1 { case.to_string() } else { format!("{case}, {calls} times") };
    let (mut expected, mut expected_sums) = reference::gram::gram(values, columns, weight_of);
    expected.iter_mut().chain(&mut expected_sums).for_each(|value| *value *= calls as f64);
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));

    let found = sums.h.buffer().to_vec()?;
    let mut worst = Worst::default();
    let mut stray = 0.0;
    let mut is_entry = vec![false; found.len()];
    for row in 0..columns {
        for column in 0..=row {
            let at = PackedTriangle::position(row, column);
            is_entry[at] = true;
            worst.see(f64::from(found[at]), expected[row * columns + column], largest, || format!("({row}, {column})"));
        }
    }
    for (value, is_entry) in found.iter().zip(&is_entry) {
        if !is_entry && value.to_bits() != 0 {
            stray += 1.0;
        }
    }
    // A call rounds once more per chain.
    let bound = case.bound() + (calls - 1) as f64 * 2f64.powi(-24);
    report(worst.outcome("gram", name.clone(), bound));
    let detail = format!("{stray} places above the diagonal or beyond the matrix are not 0");
    report(Outcome { kernel: "gram", case: format!("{name}: padding"), error: stray, bound: 0.0, detail });

    let mut magnitudes = vec![0.0f64; columns];
    for (row, weight) in values.chunks_exact(columns).zip(weight_of) {
        magnitudes.iter_mut().zip(row).for_each(|(sum, x)| *sum += calls as f64 * (weight * x).abs());
    }
    let largest = magnitudes.iter().fold(0.0f64, |largest, &value| largest.max(value));
    let mut worst = Worst::default();
    for (column, (&found, &expected)) in sums.sums.to_vec()?.iter().zip(&expected_sums).enumerate() {
        worst.see(found, expected, largest, || format!("column {column}"));
    }
    report(worst.outcome("gram", format!("{name}: column sums"), 32.0 * 2f64.powi(-24)));

    let flags = f64::from(u8::from(!sums.all_finite()?));
    let detail = "finite inputs are flagged".into();
    report(Outcome { kernel: "gram", case: format!("{name}: flags"), error: flags, bound: 0.0, detail });
    Ok(())
}

/// A value that is not finite is flagged where it is, and spoils nothing beside its own sums.
fn flags(device: &Device, element: Element, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    for (value, tokens, columns, token, column) in
        [(f64::NAN, 5, 130, 4, 129), (f64::INFINITY, 33, 256, 0, 0), (f64::NEG_INFINITY, 40, 40, 39, 39)]
    {
        let mut random = Random::new(11);
        let case = Case::new(element, tokens, columns);
        let inputs = [
            Input::new(device, case, &mut random, Some((token, column, value)))?,
            Input::new(device, Case::new(element, 17, 24), &mut random, None)?,
        ];
        let mut sums = [GramSums::zeros(device, columns)?, GramSums::zeros(device, 24)?];
        accumulate(device, &inputs, &mut sums)?;
        let found = sums[0].nonfinite.to_vec()?;
        let expected: Vec<u32> = (0..columns.div_ceil(TILE)).map(|tile| u32::from(tile == column / TILE)).collect();
        // The products with this column, and no padding.
        let spoilt = sums[0].h.buffer().to_vec()?.iter().filter(|value| !value.is_finite()).count();
        report(Outcome {
            kernel: "gram",
            case: format!("{case}, {value} at ({token}, {column})"),
            error: if found == expected && spoilt == columns { 0.0 } else { 1.0 },
            bound: 0.0,
            detail: format!(
                "flags {found:?} instead of {expected:?}; {spoilt} places are not finite instead of {columns}"
            ),
        });
        compare(&inputs[1], &sums[1], 1, report)?;
    }
    Ok(())
}

/// Reports every case of [`gram`].
///
/// # Errors
/// [`crate::Error::Device`] if a launch fails.
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let elements = [Element::F32, Element::F16, Element::Bf16];
    let mut mixed = Vec::new();
    for element in elements {
        // Around every edge: of a vector, of a step (16 or 32 tokens), of a tile.
        for (tokens, columns) in [(1, 1), (1, 8), (16, 127), (33, 129), (31, 136)] {
            mixed.push(Case::new(element, tokens, columns));
        }
        mixed.push(Case::new(element, 32, 128).with_gap(0, 8));
        mixed.push(Case::new(element, 17, 8).with_gap(1, 7));
        mixed.push(Case::new(element, 15, 64).with_gap(3, 2));
        mixed.push(Case::new(element, 49, 136).weighted());
        mixed.push(Case::new(element, 3, 7).weighted());
        mixed.push(Case::new(element, 0, 9));
    }
    // More than one launch takes.
    for columns in 2..30 {
        mixed.push(Case::new(Element::Bf16, 2, 8 + 8 * columns % 72));
    }
    group(device, &mixed, 1, 1, report)?;
    // More tile rows than one band.
    group(device, &[Case::new(Element::Bf16, 3, 17 * TILE + 8)], 1, 6, report)?;
    group(device, &[Case::new(Element::Bf16, 40, 264), Case::new(Element::F32, 20, 140).weighted()], 3, 2, report)?;
    for element in elements {
        flags(device, element, report)?;
    }
    // Several chains.
    let long = elements.map(|element| Case::new(element, 4100, 24));
    group(device, &long, 1, 3, report)?;
    let weighted = elements.map(|element| Case::new(element, 515, 24).weighted());
    group(device, &weighted, 1, 4, report)?;
    if scale == Scale::Full {
        let mut cases = Vec::new();
        for element in elements {
            // Widths of SD3 and FLUX.
            for (tokens, columns) in [(333, 1536), (1024, 2432), (512, 3072)] {
                cases.push(Case::new(element, tokens, columns));
            }
            cases.push(Case::new(element, 300, 2433).weighted());
        }
        group(device, &cases, 1, 5, report)?;
    }
    Ok(())
}
