//! Norms against float64.
//!
//! Sums are chains of width / 32 terms in a lane (rms_norm: of a run for narrow groups) and five across lanes; each
//! step rounds. An error of the mean shifts a normalised value by error / deviation, one of the variance scales it by
//! half its relative size, and a few roundings follow. Error in units of the sum of all these.

use super::placed::{ELEMENTS, Expected, Host, Layout, Placed, all, compare};
use super::random::Random;
use super::{Outcome, Scale};
use crate::device::Device;
use crate::error::Result;
use crate::matrix::Element;
use crate::normalize::{layer_norm_modulate, rms_norm};
use crate::reference;

const EPSILON: f32 = 1e-6;
const UNIT: f64 = 1.0 / 16_777_216.0;

/// Every case of `scale`.
///
/// # Errors
/// [`crate::Error::Device`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let none = Layout::default();
    for element in ELEMENTS {
        match scale {
            Scale::Small => {
                // A warp takes 128 or 256 values at once.
                for (i, width) in [1, 2, 3, 7, 8, 9, 64, 127, 128, 129, 255, 256, 257, 520].into_iter().enumerate() {
                    let layout = [none, Layout { lead: 0, gap: 8 }, Layout { lead: 1, gap: 3 }][i % 3];
                    check_layer_norm(device, element, [2, 5], width, layout, report)?;
                }
                check_layer_norm(device, element, [1, 9], 1536, none, report)?;
                for (i, width) in [1, 2, 3, 8, 9, 16, 24, 32, 64, 128, 264].into_iter().enumerate() {
                    let layout = [none, Layout { lead: 0, gap: 8 }, Layout { lead: 3, gap: 1 }][i % 3];
                    check_rms_norm(device, element, 7, 1 + i % 4, width, layout, report)?;
                }
            }
            Scale::Full => {
                for width in [1536, 2432, 3072, 12_288, 15_360, 15_361] {
                    check_layer_norm(device, element, [2, 150], width, none, report)?;
                }
                check_rms_norm(device, element, 4608, 24, 128, none, report)?;
                check_rms_norm(device, element, 2 * 4429, 38, 64, none, report)?;
            }
        }
    }
    Ok(())
}

fn check_layer_norm(
    device: &Device,
    element: Element,
    [batch, tokens]: [usize; 2],
    width: usize,
    layout: Layout,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    const KERNEL: &str = "layer_norm_modulate";
    let mut random = Random::new(width as u64);
    let rows = batch * tokens;
    // Means far from 0 show a variance that cancels; the last row is constant.
    let x =
        Host::new(
            element,
            rows,
            width,
            |row, _| {
                if row + 1 == rows { 3.0 } else { random.normal() * 2.0 + row as f64 * 3.0 }
            },
        );
    let modulation = Host::random(&mut random, element, batch, 2 * width, 0.5);
    let (placed_x, placed_modulation) = (x.place_input(device, layout)?, modulation.place_input(device, layout)?);
    let mut out = Placed::unwritten(device, element, rows, width, layout)?;
    let (shift, scale) =
        (placed_modulation.matrix().column_range(0, width)?, placed_modulation.matrix().column_range(width, width)?);
    layer_norm_modulate(device, &mut out.matrix_mut(), placed_x.matrix(), scale, shift, EPSILON)?;

    let chain = width as f64 / 32.0 + 16.0;
    let mut expected = Vec::with_capacity(rows * width);
    for row in 0..rows {
        let values = x.row(row);
        let (shift, scale) = modulation.row(row / tokens).split_at(width);
        let (mean, variance) = reference::normalize::moments(values);
        let size = values.iter().map(|value| value.abs()).sum::<f64>() / width as f64;
        let inverse = 1.0 / (variance + f64::from(EPSILON)).sqrt();
        let mean_error = chain * UNIT * size;
        let normed = reference::normalize::layer_norm_modulate(values, scale, shift, f64::from(EPSILON));
        for (i, &value) in normed.iter().enumerate() {
            let normal = (values[i] - mean).abs() * inverse;
            let normal_error = mean_error * inverse + (normal + mean_error * inverse) * (chain / 2.0 + 4.0) * UNIT;
            let error = normal_error * (1.0 + scale[i]).abs()
                + 2.0 * UNIT * (normal * (1.0 + scale[i]).abs() + shift[i].abs() + value.abs());
            expected.push(Expected::rounded(element, value, error));
        }
    }
    let case = format!("{} [{batch}, {tokens}, {width}], {layout:?}", element.name());
    report(compare(KERNEL, case, &out, all(expected))?);
    Ok(())
}

fn check_rms_norm(
    device: &Device,
    element: Element,
    rows: usize,
    groups: usize,
    width: usize,
    layout: Layout,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    const KERNEL: &str = "rms_norm";
    let mut random = Random::new((width * groups) as u64);
    let x = Host::random(&mut random, element, rows, groups * width, 3.0);
    let weight = Host::new(element, 1, width, |_, _| 1.0 + random.normal() * 0.2);
    let mut placed = x.place(device, layout)?;
    let placed_weight = weight.place_input(device, Layout::default())?;
    rms_norm(device, &mut placed.matrix_mut(), placed_weight.matrix(), EPSILON)?;

    let error = ((width as f64 / 32.0 + 16.0) / 2.0 + 6.0) * UNIT;
    let normed = x.values.chunks_exact(width);
    let normed = normed.flat_map(|group| reference::normalize::rms_norm(group, &weight.values, f64::from(EPSILON)));
    let expected = normed.map(|value| Expected::rounded(element, value, error * value.abs())).collect();
    let case = format!("{} [{rows}, {groups} x {width}], {layout:?}", element.name());
    report(compare(KERNEL, case, &placed, all(expected))?);
    Ok(())
}
