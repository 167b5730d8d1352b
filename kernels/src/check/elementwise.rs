//! Operations on single values against float64. The error of a value is in units of the roundings that its formula
//! has, each 2^-24 of what is rounded, and of the rounding of the result.

use super::placed::{ELEMENTS, Expected, Host, Layout, Placed, all, compare};
use super::random::Random;
use super::{Outcome, Scale};
use crate::device::Device;
use crate::elementwise::{add, combine, convert, gated_residual, gelu, is_finite, rope, silu};
use crate::error::Result;
use crate::matrix::{Element, MatrixMut};
use crate::reference::elementwise as reference;

const UNIT: f64 = 1.0 / 16_777_216.0;

/// Batch rows, tokens and columns, and how the matrices lie.
#[derive(Debug, Clone, Copy)]
struct Shape {
    batch: usize,
    tokens: usize,
    columns: usize,
    layout: Layout,
}

impl Shape {
    fn rows(&self) -> usize {
        self.batch * self.tokens
    }
}

/// Every case of `scale`.
///
/// # Errors
/// [`crate::Error::Device`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    for element in ELEMENTS {
        for shape in shapes(scale) {
            check_activations(device, element, shape, report)?;
            check_sums(device, element, shape, report)?;
            check_is_finite(device, element, shape, report)?;
            if shape.columns.is_multiple_of(2) {
                check_rope(device, element, shape, report)?;
            }
            for to in ELEMENTS.into_iter().filter(|&to| to != element) {
                check_convert(device, element, to, shape, report)?;
            }
        }
    }
    shapes(scale).into_iter().try_for_each(|shape| check_combine(device, shape, report))
}

fn shapes(scale: Scale) -> Vec<Shape> {
    let none = Layout::default();
    match scale {
        // A thread takes 4 or 8 values, a block 256 such runs.
        Scale::Small => {
            let layouts = [none, Layout { lead: 0, gap: 8 }, Layout { lead: 1, gap: 2 }];
            let columns = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 24, 96, 130, 1032, 2050];
            let shape = |(i, columns)| Shape { batch: 2, tokens: 1 + i % 3, columns, layout: layouts[i % 3] };
            columns.into_iter().enumerate().map(shape).collect()
        }
        Scale::Full => [1536, 2432, 3072, 9728, 12_288, 15_360]
            .map(|columns| Shape { batch: 2, tokens: 100, columns, layout: none })
            .to_vec(),
    }
}

/// A matrix before and after an operation in place.
fn in_place(
    device: &Device,
    x: &Host,
    layout: Layout,
    operation: impl FnOnce(&mut MatrixMut) -> Result<()>,
) -> Result<Placed> {
    let mut placed = x.place(device, layout)?;
    operation(&mut placed.matrix_mut())?;
    Ok(placed)
}

fn describe(element: Element, shape: Shape) -> String {
    let Shape { batch, tokens, columns, layout } = shape;
    format!("{} [{batch}, {tokens}, {columns}], {layout:?}", element.name())
}

fn check_activations(device: &Device, element: Element, shape: Shape, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(shape.columns as u64);
    let special = [f64::NAN, f64::INFINITY, -100.0, 0.0, 1e4];
    let x = Host::new(element, shape.rows(), shape.columns, |row, column| {
        let place = row * shape.columns + column;
        special.get(place).copied().unwrap_or_else(|| random.normal() * 4.0)
    });
    // e^-u: its argument's error, two units of expf (2^-23 each) and one of the sum; the division has two, and gives 0
    // for divisors from 2^126 on.
    let gelu_error = |x: f64| (5.0 * (2.0 * reference::gelu_argument(x)).abs().min(200.0) + 9.0) * UNIT;
    let outcome = |kernel, placed: &Placed, function: fn(f64) -> f64, error: &dyn Fn(f64) -> f64| {
        let expected = x.values.iter().map(|&x| {
            let value = function(x);
            let lost = if x.is_finite() { x.abs() * 2f64.powi(-126) } else { 0.0 };
            Expected::rounded(element, value, value.abs() * error(x) + lost)
        });
        compare(kernel, describe(element, shape), placed, all(expected.collect()))
    };
    let placed = in_place(device, &x, shape.layout, |x| gelu(device, x))?;
    report(outcome("gelu", &placed, reference::gelu, &gelu_error)?);
    let placed = in_place(device, &x, shape.layout, |x| silu(device, x))?;
    report(outcome("silu", &placed, reference::silu, &|_| 9.0 * UNIT)?);
    Ok(())
}

/// `add` with a period of one batch row and with as many rows, and `gated_residual`.
fn check_sums(device: &Device, element: Element, shape: Shape, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let Shape { batch, tokens, columns, layout } = shape;
    let mut random = Random::new(columns as u64 + 1);
    let mut host = |rows| Host::random(&mut random, element, rows, columns, 2.0);
    let (x, y, positions, gate) = (host(shape.rows()), host(shape.rows()), host(tokens), host(batch));
    let (placed_y, placed_gate) = (y.place_input(device, layout)?, gate.place_input(device, layout)?);
    let placed_positions = positions.place_input(device, layout)?;

    let sum = |a: f64, b: f64| Expected::rounded(element, a + b, UNIT * (a + b).abs());
    let placed = in_place(device, &x, layout, |x| add(device, x, placed_y.matrix()))?;
    let expected = x.values.iter().zip(&y.values).map(|(&x, &y)| sum(x, y)).collect();
    report(compare("add", describe(element, shape), &placed, all(expected))?);

    let placed = in_place(device, &x, layout, |x| add(device, x, placed_positions.matrix()))?;
    let repeated = positions.values.iter().cycle();
    let expected = x.values.iter().zip(repeated).map(|(&x, &y)| sum(x, y)).collect();
    report(compare("add", describe(element, shape) + ", one for all batch rows", &placed, all(expected))?);

    let placed_x = x.place(device, layout)?;
    let mut placed = Placed::unwritten(device, element, shape.rows(), columns, layout)?;
    let mut out = placed.matrix_mut();
    gated_residual(device, &mut out, placed_x.matrix(), placed_gate.matrix(), placed_y.matrix())?;
    let gate_of = |place: usize| gate.values[place / (tokens * columns) * columns + place % columns];
    let expected = (0..x.values.len()).map(|place| sum(x.values[place], gate_of(place) * y.values[place])).collect();
    report(compare("gated_residual", describe(element, shape), &placed, all(expected))?);
    Ok(())
}

fn check_rope(device: &Device, element: Element, shape: Shape, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let Shape { tokens, columns, layout, .. } = shape;
    let mut random = Random::new(columns as u64 + 2);
    let x = Host::random(&mut random, element, shape.rows(), columns, 2.0);
    for head_dim in [2, 6, 16, 128].into_iter().filter(|&channels| columns.is_multiple_of(channels)) {
        let pairs = head_dim / 2;
        let angle = |token: usize, pair: usize| (token * pairs + pair) as f64 * 0.37;
        let cos = Host::new(Element::F32, tokens, pairs, |token, pair| angle(token, pair).cos());
        let sin = Host::new(Element::F32, tokens, pairs, |token, pair| angle(token, pair).sin());
        let (placed_cos, placed_sin) =
            (cos.place_input(device, Layout::default())?, sin.place_input(device, Layout::default())?);
        let placed = in_place(device, &x, layout, |x| rope(device, x, placed_cos.matrix(), placed_sin.matrix()))?;
        let mut expected = Vec::with_capacity(x.values.len());
        for (place, pair) in x.values.chunks_exact(2).enumerate() {
            let angle = place * 2 / columns % tokens * pairs + place * 2 % columns % head_dim / 2;
            let turned = reference::rope([pair[0], pair[1]], cos.values[angle], sin.values[angle]);
            let error = 2.0 * UNIT * (pair[0].abs() + pair[1].abs());
            expected.extend(turned.map(|value| Expected::rounded(element, value, error)));
        }
        let case = format!("{}, heads of {head_dim}", describe(element, shape));
        report(compare("rope", case, &placed, all(expected))?);
    }
    Ok(())
}

/// One bad value at the first, a middle and the last place; the error is 1 for a wrong answer. The gaps are NaN.
fn check_is_finite(device: &Device, element: Element, shape: Shape, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let largest = if element == Element::F16 { 65_504.0 } else { 3e38 };
    let mut x = Host::new(element, shape.rows(), shape.columns, |_, _| -largest);
    let last = x.values.len() - 1;
    for (place, bad) in [(0, largest), (0, f64::NAN), (last / 2, f64::INFINITY), (last, f64::NEG_INFINITY)] {
        let good = std::mem::replace(&mut x.values[place], bad);
        let answer = is_finite(device, x.place_input(device, shape.layout)?.matrix())?;
        x.values[place] = good;
        let error = if answer == bad.is_finite() { 0.0 } else { 1.0 };
        let case = format!("{}, {bad} at {place}", describe(element, shape));
        report(Outcome { kernel: "is_finite", case, error, bound: 0.0, detail: format!("the answer is {answer}") });
    }
    Ok(())
}

/// The rounding is the host's, so nothing may differ.
fn check_convert(
    device: &Device,
    from: Element,
    to: Element,
    shape: Shape,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let mut random = Random::new(shape.columns as u64 + 3);
    // Ties of both 16-bit formats, the ends of f16's range and its subnormals, what overflows.
    let special = [
        1.0 + 2f64.powi(-8),
        1.0 + 3.0 * 2f64.powi(-8),
        1.0 + 2f64.powi(-11),
        1.0 + 3.0 * 2f64.powi(-11),
        65_519.0,
        65_520.0,
        -3.0 * 2f64.powi(-25),
        2f64.powi(-25),
        f64::NEG_INFINITY,
        f64::NAN,
        -0.0,
    ];
    let x = Host::new(from, shape.rows(), shape.columns, |row, column| {
        let place = row * shape.columns + column;
        special.get(place).copied().unwrap_or_else(|| random.normal() * (random.normal() * 6.0).exp2())
    });
    let rounded = Host::new(to, shape.rows(), shape.columns, |row, column| x.row(row)[column]);
    let placed = x.place_input(device, shape.layout)?;
    let mut out = Placed::unwritten(device, to, shape.rows(), shape.columns, shape.layout)?;
    convert(device, &mut out.matrix_mut(), placed.matrix())?;
    let expected = rounded.values.iter().map(|&value| Expected { value, allowance: 0.0 }).collect();
    let case = format!("{} to {}", describe(from, shape), to.name());
    report(compare("convert", case, &out, all(expected))?);
    Ok(())
}

/// One to three terms, with and without the old values; without, these are NaN.
fn check_combine(device: &Device, shape: Shape, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(shape.columns as u64 + 4);
    let mut host = || Host::random(&mut random, Element::F32, shape.rows(), shape.columns, 2.0);
    let (old, terms) = (host(), [host(), host(), host()]);
    let placed = terms.iter().map(|term| term.place_input(device, shape.layout)).collect::<Result<Vec<_>>>()?;
    let weights = [4.5f32, -3.5, 0.125];
    for (count, keep) in [(1, 1.0f32), (2, 0.0), (3, -0.75), (3, 0.0)] {
        let mut out = match keep {
            0.0 => Placed::unwritten(device, Element::F32, shape.rows(), shape.columns, shape.layout)?,
            _ => old.place(device, shape.layout)?,
        };
        let views: Vec<_> = weights.into_iter().zip(placed.iter().map(Placed::matrix)).take(count).collect();
        combine(device, &mut out.matrix_mut(), keep, &views)?;
        let expected = (0..old.values.len()).map(|place| {
            let parts = (0..count).map(|term| f64::from(weights[term]) * terms[term].values[place]);
            let parts = parts.chain([f64::from(keep) * old.values[place]]);
            let (value, size) = parts.fold((0.0, 0.0), |(sum, size), part| (sum + part, size + part.abs()));
            Expected::rounded(Element::F32, value, 3.0 * UNIT * size)
        });
        let case = format!("{}, {count} terms, keep {keep}", describe(Element::F32, shape));
        report(compare("combine", case, &out, all(expected.collect()))?);
    }
    Ok(())
}
