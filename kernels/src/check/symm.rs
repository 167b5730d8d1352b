//! Symmetric products against float64.
//!
//! Error: largest difference over the largest sum of magnitudes of an entry's terms. A number split into two tf32
//! numbers is off by 2^-22 of itself at most, for both factors, and the product of the two small parts, 2^-22, is
//! left out. Tensor cores may cut each sum off: n * 2^-25 for a chain of n; chains are added with one rounding each.

use super::hessian::{Hessian, normals, strided, weights};
use super::placed::Placed;
use super::random::Random;
use super::worst::Worst;
use super::{Outcome, Scale};
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::matrix::Element;
use crate::reference;
use crate::symm::{MaskRows, symm};

/// Summed index per chain, and products per 8 of it: `CHAIN` of symm.cu.
const CHAIN: usize = 256;

pub(super) fn bound(size: usize) -> f64 {
    let sums = (3 * size.min(CHAIN)).div_ceil(8) as f64;
    3.0 * 2f64.powi(-22) + sums * 2f64.powi(-25) + size.div_ceil(CHAIN) as f64 * 2f64.powi(-24)
}

fn case(
    device: &Device,
    (rows, size): (usize, usize),
    masked: bool,
    random: &mut Random,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let h = Hessian::new(device, size, random)?;
    let values = normals(rows * size, random);
    let left = weights(size, &values).place_input(device, strided(3))?;
    let mut product = Placed::unwritten(device, Element::F32, rows, size, strided(2))?;
    // Two rows before the first that counts.
    let start = 2;
    let mask: Vec<u8> = (0..(start + rows) * size).map(|_| (random.bits() % 2) as u8).collect();
    let mask_on_device = Buffer::from_slice(device, &mask, "mask")?;
    let mask_rows = masked.then_some(MaskRows { mask: &mask_on_device, start });
    symm(device, left.matrix(), &h.device, mask_rows, &mut product.matrix_mut())?;

    let mut expected = reference::symm::symm(&values, &h.host, size);
    let magnitudes = |values: &[f64]| values.iter().map(|value| value.abs()).collect::<Vec<f64>>();
    let largest =
        reference::symm::symm(&magnitudes(&values), &magnitudes(&h.host), size).into_iter().fold(0.0, f64::max);
    if masked {
        expected.iter_mut().zip(&mask[start * size..]).for_each(|(value, &keep)| *value *= f64::from(keep));
    }
    let (found, outside) = product.read()?;
    let mut worst = Worst::default();
    for (at, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        worst.see(found, expected, largest, || format!("({}, {})", at / size, at % size));
    }
    worst.see_outside(outside);
    let name = format!("{rows} x {size}{}", if masked { ", masked" } else { "" });
    report(worst.outcome("symm", name, bound(size)));
    Ok(())
}

/// Reports every case of [`symm`].
///
/// # Errors
/// [`crate::Error::Device`] if a launch fails.
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(21);
    // Around the edges of a step (16) and of a tile, and more than one chain.
    let mut shapes = vec![(1, 1), (3, 7), (2, 15), (5, 16), (4, 17), (127, 127), (128, 128), (129, 129), (3, 270)];
    if scale == Scale::Full {
        shapes.extend([(300, 513), (257, 1536), (64, 2432)]);
    }
    for shape in shapes {
        for masked in [false, true] {
            case(device, shape, masked, &mut random, report)?;
        }
    }
    Ok(())
}
