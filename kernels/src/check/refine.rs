//! Refined weights against the same number of steps in float64.
//!
//! Error: largest difference over the largest weight. An error of a product, c eps, enters the weights of its step
//! through the inverse of the masked Hessian, at most its condition number times as large, and so does what the
//! steps before left in the residual.

use super::hessian::{CONDITION, Hessian, normals, strided, weights};
use super::random::Random;
use super::worst::Worst;
use super::{Outcome, Scale};
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::reference;
use crate::refine::refine;

/// What fills the mask of row r. Rows without a kept weight, and rows that keep all and are dense already, have
/// nothing to do and must stay as they are.
fn keeps(row: usize, random: &mut Random) -> bool {
    match row % 4 {
        0 => false,
        1 => true,
        _ => random.uniform() < 0.5,
    }
}

fn case(
    device: &Device,
    (rows, size, iterations): (usize, usize, usize),
    random: &mut Random,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let h = Hessian::new(device, size, random)?;
    let dense = normals(rows * size, random);
    let mask: Vec<u8> = (0..rows * size).map(|at| u8::from(keeps(at / size, random))).collect();
    let start: Vec<f64> = dense.iter().zip(&mask).map(|(value, &keep)| value * f64::from(keep)).collect();
    let mut expected = start.clone();
    reference::refine::refine(&mut expected, &dense, &mask, &h.host, size, iterations);

    let mut weight = weights(size, &start).place(device, strided(3))?;
    let dense = weights(size, &dense).place_input(device, strided(1))?;
    let mask_on_device = Buffer::from_slice(device, &mask, "mask")?;
    refine(device, &mut weight.matrix_mut(), dense.matrix(), &mask_on_device, &h.device, iterations)?;

    let (found, outside) = weight.read()?;
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let mut worst = Worst::default();
    for (at, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        // What no step may change is compared exactly.
        let solved = mask[at] == 0 || at / size % 4 < 2;
        let scale = if solved { 0.0 } else { largest };
        worst.see(found, expected, scale, || format!("({}, {})", at / size, at % size));
    }
    worst.see_outside(outside);
    let bound = (iterations + 1) as f64 * CONDITION * super::symm::bound(size);
    report(worst.outcome("refine", format!("{rows} x {size}, {iterations} steps"), bound));
    Ok(())
}

/// Reports every case of [`refine`].
///
/// # Errors
/// [`crate::Error::Device`] if a launch fails.
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(23);
    let mut shapes = vec![(3, 1, 3), (4, 7, 0), (7, 40, 4), (130, 12, 3), (6, 140, 3)];
    // More columns than a block has threads, and more rows than one round takes.
    shapes.extend([(4, 270, 2), (4099, 5, 2)]);
    if scale == Scale::Full {
        shapes.extend([(4100, 130, 5), (200, 1536, 10)]);
    }
    for shape in shapes {
        case(device, shape, &mut random, report)?;
    }
    Ok(())
}
