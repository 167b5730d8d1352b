//! Matrices of the product checks: random values on the host, and their place on the device with NaN all around.

use half::{bf16, f16};

use crate::buffer::Buffer;
use crate::check::random::Random;
use crate::device::Device;
use crate::error::Result;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::reference::gemm::Product;

/// Bytes of guard before a matrix, and behind a result; a multiple of every alignment that a kernel asks for.
const GUARD: usize = 512;

/// What guards and gaps hold, and outputs before they are written: NaN in every format.
const UNWRITTEN: u8 = 0xff;

/// A host matrix whose values its element holds exactly.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub element: Element,
    pub rows: usize,
    pub columns: usize,
    /// `[rows, columns]`, row-major.
    pub values: Vec<f32>,
}

impl Operand {
    /// Uniform in [-1, 1).
    pub fn random(random: &mut Random, element: Element, rows: usize, columns: usize) -> Self {
        let values = (0..rows * columns).map(|_| round(element, (2.0 * random.uniform() - 1.0) as f32)).collect();
        Operand { element, rows, columns, values }
    }

    /// Uniform in [-1, 1) where kept; each group of four columns keeps any of the six pairs, or less: one group in
    /// eight keeps a single value and one in sixteen none.
    pub fn random_24(random: &mut Random, element: Element, rows: usize, columns: usize) -> Self {
        const PAIRS: [u64; 6] = [0b0011, 0b0101, 0b1001, 0b0110, 0b1010, 0b1100];
        let mut operand = Self::random(random, element, rows, columns);
        for four in operand.values.chunks_exact_mut(4) {
            let bits = random.bits();
            let pair = PAIRS[(bits % 6) as usize];
            let kept = match bits >> 32 & 15 {
                0 => 0,
                1 | 2 => pair & pair.wrapping_neg(),
                _ => pair,
            };
            for (place, value) in four.iter_mut().enumerate() {
                *value *= (kept >> place & 1) as f32;
            }
        }
        operand
    }

    /// Bit patterns of a 16-bit matrix.
    pub fn bits_16(&self) -> Vec<u16> {
        self.values.iter().map(|&value| bits(self.element, value) as u16).collect()
    }

    pub fn row(&self, row: usize) -> Vec<f64> {
        self.values[row * self.columns..][..self.columns].iter().map(|&value| f64::from(value)).collect()
    }

    pub fn to_f64(&self) -> Vec<f64> {
        self.values.iter().map(|&value| f64::from(value)).collect()
    }

    /// On the device, rows `stride` values apart, the first one `offset` values behind an aligned address. Memory
    /// ends with the last value, so that a device that checks addresses refuses to read on.
    pub fn place(&self, device: &Device, stride: usize, offset: usize) -> Result<Placed> {
        let mut placed = Placed::layout(self.element, (self.rows, self.columns), stride, offset);
        placed.bytes -= GUARD + (stride - self.columns) * self.element.bytes() * self.rows.min(1);
        let mut bytes = vec![UNWRITTEN; placed.bytes];
        let size = self.element.bytes();
        for row in 0..self.rows {
            for column in 0..self.columns {
                let value = bits(self.element, self.values[row * self.columns + column]);
                bytes[placed.first + (row * stride + column) * size..][..size]
                    .copy_from_slice(&value.to_le_bytes()[..size]);
            }
        }
        placed.buffer = Some(Buffer::from_slice(device, &bytes, "check operand")?);
        Ok(placed)
    }
}

/// A matrix on the device with guards around it.
pub(crate) struct Placed {
    element: Element,
    shape: (usize, usize),
    stride: usize,
    /// Byte of the first value.
    first: usize,
    bytes: usize,
    buffer: Option<Buffer<u8>>,
}

impl Placed {
    fn layout(element: Element, shape: (usize, usize), stride: usize, offset: usize) -> Self {
        let first = GUARD + offset * element.bytes();
        Placed {
            element,
            shape,
            stride,
            first,
            bytes: first + shape.0 * stride * element.bytes() + GUARD,
            buffer: None,
        }
    }

    /// An output: every value NaN.
    pub fn unwritten(
        device: &Device,
        element: Element,
        shape: (usize, usize),
        stride: usize,
        offset: usize,
    ) -> Result<Self> {
        let mut placed = Self::layout(element, shape, stride, offset);
        let bytes = vec![UNWRITTEN; placed.bytes];
        placed.buffer = Some(Buffer::from_slice(device, &bytes, "check result")?);
        Ok(placed)
    }

    fn address(&self) -> u64 {
        self.buffer.as_ref().map_or(0, |buffer| buffer.pointer().address()) + self.first as u64
    }

    pub fn matrix(&self) -> Matrix<'_> {
        let (rows, columns) = self.shape;
        // SAFETY: `layout` gave the buffer room for the matrix, aligned to the element; it lives as long as `self`,
        // and writing goes through `matrix_mut`, which borrows `self` mutably.
        unsafe { Matrix::from_address(self.address(), self.element, rows, columns, self.stride) }
    }

    pub fn matrix_mut(&mut self) -> MatrixMut<'_> {
        let (rows, columns) = self.shape;
        // SAFETY: as for `matrix`, with `self` borrowed mutably.
        unsafe { MatrixMut::from_address(self.address(), self.element, rows, columns, self.stride) }
    }

    /// The values, `[rows, columns]` without gaps, and the first byte outside of them that was written.
    pub fn read(&self) -> Result<(Vec<f32>, Option<usize>)> {
        let bytes = self.buffer.as_ref().map_or(Ok(Vec::new()), Buffer::to_vec)?;
        let size = self.element.bytes();
        let (rows, columns) = self.shape;
        let mut values = Vec::with_capacity(rows * columns);
        let mut outside = None;
        let mut end = 0;
        let mut expect_unwritten = |from: usize, to: usize| {
            if outside.is_none() {
                outside = (from..to).find(|&place| bytes[place] != UNWRITTEN);
            }
        };
        for row in 0..rows {
            let start = self.first + row * self.stride * size;
            expect_unwritten(end, start);
            end = start + columns * size;
            values.extend(bytes[start..end].chunks_exact(size).map(|value| widen(self.element, value)));
        }
        expect_unwritten(end, bytes.len());
        Ok((values, outside))
    }
}

/// How a result's error is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub element: Element,
    /// How often both sides together were rounded to `element`.
    pub roundings: f64,
    /// Units of 2^-24 of the sum of all terms' magnitudes that the sum may be off by.
    pub sum_units: f64,
}

impl Measure {
    /// Error in units of what is allowed: for each rounding half a unit in the last place (and that of subnormals),
    /// and `sum_units`.
    pub fn error(&self, found: f64, expected: f64, magnitude: f64) -> f64 {
        let (unit, subnormal) = match self.element {
            Element::F32 => (2f64.powi(-24), 0.0),
            Element::F16 => (2f64.powi(-11), 2f64.powi(-25)),
            Element::Bf16 => (2f64.powi(-8), 0.0),
        };
        let sum = self.sum_units * 2f64.powi(-24) * magnitude;
        (found - expected).abs()
            / (self.roundings * (unit * (expected.abs() + sum) + subnormal) + sum).max(f64::MIN_POSITIVE)
    }

    /// The largest error of `found` (the same rows as `expected`, `features` long), and what the first value beyond
    /// the bound 1 was.
    pub fn compare(&self, found: &[f32], expected: &Product, features: usize) -> (f64, String) {
        let mut worst = 0.0;
        let mut detail = String::new();
        if found.len() != expected.values.len() {
            return (f64::NAN, format!("{} values for {}", found.len(), expected.values.len()));
        }
        for (place, &value) in found.iter().enumerate() {
            let error = self.error(f64::from(value), expected.values[place], expected.magnitudes[place]);
            if (error.is_nan() || error > 1.0) && detail.is_empty() {
                detail = format!(
                    "row {}, column {}: found {value}, expected {}",
                    place / features,
                    place % features,
                    expected.values[place]
                );
            }
            worst = worse(worst, error);
        }
        (worst, detail)
    }
}

/// The larger error; NaN stays.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

/// `value` as the element holds it.
pub(crate) fn round(element: Element, value: f32) -> f32 {
    match element {
        Element::F32 => value,
        Element::F16 => f16::from_f32(value).to_f32(),
        Element::Bf16 => bf16::from_f32(value).to_f32(),
    }
}

fn bits(element: Element, value: f32) -> u32 {
    match element {
        Element::F32 => value.to_bits(),
        Element::F16 => u32::from(f16::from_f32(value).to_bits()),
        Element::Bf16 => u32::from(bf16::from_f32(value).to_bits()),
    }
}

/// The value of an element's little-endian bytes.
fn widen(element: Element, bytes: &[u8]) -> f32 {
    match element {
        Element::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        Element::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        Element::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
    }
}
