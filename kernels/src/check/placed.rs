//! Matrices of the forward pass' checks: values on the host, their place on the device with guards around them, and
//! the comparison of a result with what was expected.

use half::{bf16, f16};

use super::Outcome;
use super::random::Random;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::matrix::{Element, Matrix, MatrixMut};

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

    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// A copy on the device.
    pub fn place(&self, device: &Device, layout: Layout) -> Result<Placed> {
        let mut placed = Placed::unwritten(device, self.element, self.rows, self.columns, layout)?;
        let mut bytes = vec![UNWRITTEN; placed.buffer.len()];
        let size = self.element.bytes();
        for (row, values) in self.values.chunks_exact(self.columns.max(1)).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let stored = bits(self.element, value).to_le_bytes();
                bytes[placed.first + (row * placed.stride + column) * size..][..size].copy_from_slice(&stored[..size]);
            }
        }
        placed.buffer.write(0, &bytes)?;
        Ok(placed)
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
    /// An output: every value NaN.
    pub fn unwritten(
        device: &Device,
        element: Element,
        rows: usize,
        columns: usize,
        Layout { lead, gap }: Layout,
    ) -> Result<Self> {
        let (stride, first) = (columns + gap, GUARD + lead * element.bytes());
        let bytes = vec![UNWRITTEN; first + rows * stride * element.bytes() + GUARD];
        Ok(Placed { element, rows, columns, stride, first, buffer: Buffer::from_slice(device, &bytes, "a check")? })
    }

    fn address(&self) -> u64 {
        self.buffer.pointer().address() + self.first as u64
    }

    pub fn matrix(&self) -> Matrix<'_> {
        // SAFETY: `unwritten` gave the buffer room for the matrix, aligned to the element; it lives as long as `self`,
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
