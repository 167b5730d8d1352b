//! Matrices of the checks: values on the host, their place on the device with guards around them, and the comparison
//! of a result with what was expected.

use half::{bf16, f16};

use super::Outcome;
use super::random::Random;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::reference::gemm::Product;

/// Bytes of guard before and behind a matrix.
const GUARD: usize = 256;

/// What guards and gaps hold, and outputs before they are written: NaN in every format.
const UNWRITTEN: u8 = 0xff;

pub(super) const ELEMENTS: [Element; 3] = [Element::F32, Element::F16, Element::Bf16];

/// Where a matrix lies: `lead` values behind an address on 16 bytes, rows `columns + gap` values apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    pub lead: usize,
    pub gap: usize,
}

impl Layout {
    /// Byte of the first value.
    fn first(self, element: Element) -> usize {
        GUARD + self.lead * element.bytes()
    }

    /// The bytes of a matrix before anything is written.
    fn unwritten(self, element: Element, rows: usize, columns: usize) -> Vec<u8> {
        vec![UNWRITTEN; self.first(element) + rows * (columns + self.gap) * element.bytes() + GUARD]
    }
}

/// `[rows, columns]` values that `element` holds exactly.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub element: Element,
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
}

impl Host {
    /// `value` of (row, column), rounded to `element`.
    pub fn new(element: Element, rows: usize, columns: usize, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let values = (0..rows * columns).map(|i| widen(element, bits(element, value(i / columns, i % columns))));
        Host { element, rows, columns, values: values.collect() }
    }

    /// Normal values of standard deviation `spread`.
    pub fn random(random: &mut Random, element: Element, rows: usize, columns: usize, spread: f64) -> Self {
        Self::new(element, rows, columns, |_, _| random.normal() * spread)
    }

    /// Normal values of standard deviation 1 where kept; each group of four columns keeps any of the six pairs, or
    /// less: two groups in sixteen keep a single value and one none.
    pub fn random_24(random: &mut Random, element: Element, rows: usize, columns: usize) -> Self {
        const PAIRS: [u64; 6] = [0b0011, 0b0101, 0b1001, 0b0110, 0b1010, 0b1100];
        let mut host = Self::random(random, element, rows, columns, 1.0);
        for four in host.values.chunks_exact_mut(4) {
            let bits = random.bits();
            let pair = PAIRS[(bits % 6) as usize];
            let kept = match bits >> 32 & 15 {
                0 => 0,
                1 | 2 => pair & pair.wrapping_neg(),
                _ => pair,
            };
            for (place, value) in four.iter_mut().enumerate() {
                *value *= (kept >> place & 1) as f64;
            }
        }
        host
    }

    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// Bit patterns of a 16-bit matrix.
    pub fn bits_16(&self) -> Vec<u16> {
        self.values.iter().map(|&value| bits(self.element, value) as u16).collect()
    }

    /// A copy on the device.
    pub fn place(&self, device: &Device, layout: Layout) -> Result<Placed> {
        let bytes = self.bytes(layout);
        Placed::new(device, self.element, (self.rows, self.columns), layout, &bytes)
    }

    /// A copy that is only read. Memory ends with the last value, so that a device that checks addresses refuses to
    /// read on.
    pub fn place_input(&self, device: &Device, layout: Layout) -> Result<Placed> {
        let mut bytes = self.bytes(layout);
        let gap = if self.rows == 0 { 0 } else { layout.gap * self.element.bytes() };
        bytes.truncate(bytes.len() - GUARD - gap);
        Placed::new(device, self.element, (self.rows, self.columns), layout, &bytes)
    }

    /// What the device holds: the values with guards around them.
    fn bytes(&self, layout: Layout) -> Vec<u8> {
        let mut bytes = layout.unwritten(self.element, self.rows, self.columns);
        let (first, stride, size) = (layout.first(self.element), self.columns + layout.gap, self.element.bytes());
        for (row, values) in self.values.chunks_exact(self.columns.max(1)).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let stored = bits(self.element, value).to_le_bytes();
                bytes[first + (row * stride + column) * size..][..size].copy_from_slice(&stored[..size]);
            }
        }
        bytes
    }
}

/// A matrix on the device with NaN all around it.
pub(super) struct Placed {
    pub element: Element,
    rows: usize,
    columns: usize,
    stride: usize,
    /// Byte of the first value.
    first: usize,
    buffer: Buffer<u8>,
}

impl Placed {
    fn new(
        device: &Device,
        element: Element,
        (rows, columns): (usize, usize),
        layout: Layout,
        bytes: &[u8],
    ) -> Result<Self> {
        let (stride, first) = (columns + layout.gap, layout.first(element));
        Ok(Placed { element, rows, columns, stride, first, buffer: Buffer::from_slice(device, bytes, "a check")? })
    }

    /// An output: every value NaN.
    pub fn unwritten(device: &Device, element: Element, rows: usize, columns: usize, layout: Layout) -> Result<Self> {
        let bytes = layout.unwritten(element, rows, columns);
        Self::new(device, element, (rows, columns), layout, &bytes)
    }

    fn address(&self) -> u64 {
        self.buffer.pointer().address() + self.first as u64
    }

    pub fn matrix(&self) -> Matrix<'_> {
        // SAFETY: `new` was given room for the matrix, aligned to the element; it lives as long as `self`,
        // and writing goes through `matrix_mut`, which borrows `self` mutably.
        unsafe { Matrix::from_address(self.address(), self.element, self.rows, self.columns, self.stride) }
    }

    pub fn matrix_mut(&mut self) -> MatrixMut<'_> {
        // SAFETY: as for `matrix`, with `self` borrowed mutably.
        unsafe { MatrixMut::from_address(self.address(), self.element, self.rows, self.columns, self.stride) }
    }

    /// The values, `[rows, columns]`, and the first byte outside of them that was written.
    pub fn read(&self) -> Result<(Vec<f64>, Option<usize>)> {
        let bytes = self.buffer.to_vec()?;
        let size = self.element.bytes();
        let mut values = Vec::with_capacity(self.rows * self.columns);
        let mut outside = None;
        let mut end = 0;
        for row in 0..self.rows {
            let start = self.first + row * self.stride * size;
            outside = outside.or((end..start).find(|&place| bytes[place] != UNWRITTEN));
            end = start + self.columns * size;
            values.extend(bytes[start..end].chunks_exact(size).map(|stored| {
                let mut word = [0; 4];
                word[..size].copy_from_slice(stored);
                widen(self.element, u32::from_le_bytes(word))
            }));
        }
        outside = outside.or((end..bytes.len()).find(|&place| bytes[place] != UNWRITTEN));
        Ok((values, outside))
    }
}

/// What a value of the result must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// NaN stands for NaN.
    pub value: f64,
    /// How far the result may be from it.
    pub allowance: f64,
}

impl Expected {
    /// A value computed with an error of up to `error`, then rounded to `element`.
    pub fn rounded(element: Element, value: f64, error: f64) -> Self {
        let (unit, smallest) = rounding(element);
        Expected { value, allowance: error + unit * (value.abs() + error) + smallest }
    }

    /// The result's `row` of a product whose sums may be off by `sum_units` units of 2^-24 of their terms' magnitudes,
    /// rounded to `element`.
    pub fn products(
        element: Element,
        row: usize,
        Product { values, magnitudes }: Product,
        sum_units: f64,
    ) -> impl Iterator<Item = (usize, Self)> {
        let start = row * values.len();
        values.into_iter().zip(magnitudes).enumerate().map(move |(column, (value, magnitude))| {
            (start + column, Self::rounded(element, value, sum_units * 2f64.powi(-24) * magnitude))
        })
    }
}

/// Half a unit in the last place, relative to a value's size and, for subnormal values, absolute.
pub(super) fn rounding(element: Element) -> (f64, f64) {
    match element {
        Element::F32 => (2f64.powi(-24), 2f64.powi(-126)),
        Element::F16 => (2f64.powi(-11), 2f64.powi(-25)),
        Element::Bf16 => (2f64.powi(-8), 2f64.powi(-126)),
    }
}

/// Every value of a result in turn.
pub(super) fn all(expected: Vec<Expected>) -> impl ExactSizeIterator<Item = (usize, Expected)> {
    expected.into_iter().enumerate()
}

/// Holds (place in `[rows, columns]`, expected) pairs against a result. Errors are in units of their allowances, so
/// that the bound is 1; a write outside of the matrix is an infinite error.
pub(super) fn compare(
    kernel: &'static str,
    case: String,
    found: &Placed,
    expected: impl ExactSizeIterator<Item = (usize, Expected)>,
) -> Result<Outcome> {
    let (values, outside) = found.read()?;
    let mut outcome = Outcome { kernel, case, error: 0.0, bound: 1.0, detail: String::new() };
    if expected.len() == 0 && !values.is_empty() {
        outcome.error = f64::INFINITY;
        outcome.detail = format!("nothing is expected of {} values", values.len());
    }
    for (place, expected) in expected {
        let value = values[place];
        let error = match (value.is_nan(), expected.value.is_nan()) {
            (true, true) => 0.0,
            (false, false) if value == expected.value => 0.0,
            (false, false) => (value - expected.value).abs() / expected.allowance,
            _ => f64::INFINITY,
        };
        if error.is_nan() || error > outcome.error {
            outcome.error = error;
        }
        if (error.is_nan() || error > outcome.bound) && outcome.detail.is_empty() {
            let (row, column) = (place / found.columns, place % found.columns);
            outcome.detail = format!(
                "row {row}, column {column}: found {value:e}, expected {:e} within {:e}",
                expected.value, expected.allowance
            );
        }
    }
    if let Some(byte) = outside {
        outcome.error = f64::INFINITY;
        let place = byte as i64 - found.first as i64;
        outcome.detail = format!("byte {place} from the first value was written, outside of the matrix");
    }
    Ok(outcome)
}

/// By way of f32, from which `half` rounds exactly; from f64 it does not see the lowest bits.
fn bits(element: Element, value: f64) -> u32 {
    let value = value as f32;
    match element {
        Element::F32 => value.to_bits(),
        Element::F16 => u32::from(f16::from_f32(value).to_bits()),
        Element::Bf16 => u32::from(bf16::from_f32(value).to_bits()),
    }
}

fn widen(element: Element, bits: u32) -> f64 {
    match element {
        Element::F32 => f64::from(f32::from_bits(bits)),
        Element::F16 => f16::from_bits(bits as u16).to_f64(),
        Element::Bf16 => bf16::from_bits(bits as u16).to_f64(),
    }
}
