//! Energies against float64.
//!
//! Error: difference over the energy of the magnitudes, `sum |x| |H| |x|`; the products are symm's and the sums
//! float64.

use super::hessian::{Hessian, normals, strided, weights};
use super::random::Random;
use super::worst::Worst;
use super::{Outcome, Scale};
use crate::device::Device;
use crate::energy::energy;
use crate::error::Result;
use crate::reference;

/// Reports every case of [`energy`].
///
/// # Errors
/// [`crate::Error::Device`] if a launch fails.
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(22);
    let mut shapes = vec![(1, 1), (3, 7), (130, 20), (5, 140), (0, 6)];
    // More columns than a block has threads, and more rows than one round takes.
    shapes.extend([(4, 270), (4099, 3)]);
    if scale == Scale::Full {
        shapes.extend([(4100, 160), (300, 1536)]);
    }
    for (rows, size) in shapes {
        let h = Hessian::new(device, size, &mut random)?;
        let values = normals(rows * size, &mut random);
        let x = weights(size, &values).place_input(device, strided(1))?;
        let diagonal: Vec<f32> = (0..size).map(|_| random.uniform() as f32).collect();
        let wide: Vec<f64> = diagonal.iter().map(|&value| f64::from(value)).collect();
        let magnitudes = |values: &[f64]| values.iter().map(|value| value.abs()).collect::<Vec<f64>>();
        for other in [false, true] {
            let found = energy(device, x.matrix(), &h.device, other.then_some(&diagonal))?;
            let expected = reference::energy::energy(&values, &h.host, size, other.then_some(&wide));
            let scale = reference::energy::energy(&magnitudes(&values), &magnitudes(&h.host), size, None);
            let mut worst = Worst::default();
            worst.see(found, expected, scale, || "the energy".into());
            let name = format!("{rows} x {size}{}", if other { ", another diagonal" } else { "" });
            report(worst.outcome("energy", name, super::symm::bound(size)));
        }
    }
    Ok(())
}
