//! Operations on packed triangles against the same on the host, bit by bit.

use super::random::Random;
use super::{Outcome, Scale};
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::triangle::PackedTriangle;

/// Reports whether `found` and `expected` hold the same bits.
fn compare(name: String, found: &[f32], expected: &[f32], report: &mut dyn FnMut(Outcome)) {
    let differs = |at: &usize| found[*at].to_bits() != expected[*at].to_bits();
    let first = (0..expected.len()).find(differs);
    let detail = first.map_or(String::new(), |at| format!("value {at} is {} instead of {}", found[at], expected[at]));
    let error = if first.is_none() && found.len() == expected.len() { 0.0 } else { 1.0 };
    report(Outcome { kernel: "triangle", case: name, error, bound: 0.0, detail });
}

/// Reports every operation of [`PackedTriangle`] that runs on the device.
///
/// # Errors
/// [`crate::Error::Device`] if a launch fails.
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut sizes = vec![0, 1, 31, 32, 33, 127, 128, 129, 257];
    if scale == Scale::Full {
        sizes.extend([1536, 2433]);
    }
    let mut random = Random::new(24);
    for size in sizes {
        let mut lower = vec![0.0f32; size * size];
        for row in 0..size {
            lower[row * size..][..=row].fill_with(|| random.normal() as f32);
        }
        let mut packed = PackedTriangle::from_lower(device, size, &lower, "triangle")?;
        let diagonal: Vec<f32> = (0..size).map(|i| lower[i * size + i]).collect();
        compare(format!("diagonal of {size}"), &packed.diagonal()?, &diagonal, report);

        let mut full = Buffer::from_slice(device, &vec![f32::NAN; size * size], "full")?;
        packed.unpack(&mut full)?;
        let mirrored: Vec<f32> =
            (0..size * size).map(|at| (at / size, at % size)).map(|(i, j)| lower[i.max(j) * size + i.min(j)]).collect();
        compare(format!("unpack {size}"), &full.to_vec()?, &mirrored, report);

        packed.scale(0.3)?;
        lower.iter_mut().for_each(|value| *value *= 0.3);
        compare(format!("scale {size}"), &packed.to_lower()?, &lower, report);

        packed.add_to_diagonal(0.7)?;
        (0..size).for_each(|i| lower[i * size + i] += 0.7);
        compare(format!("add to the diagonal of {size}"), &packed.to_lower()?, &lower, report);

        packed.set_diagonal(&diagonal)?;
        (0..size).for_each(|i| lower[i * size + i] = diagonal[i]);
        compare(format!("set the diagonal of {size}"), &packed.to_lower()?, &lower, report);

        let strays = PackedTriangle::from_lower(device, size, &lower, "triangle")?;
        compare(format!("padding of {size}"), &packed.buffer().to_vec()?, &strays.buffer().to_vec()?, report);
    }
    Ok(())
}
