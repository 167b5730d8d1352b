//! Copies: no value may differ.

use super::placed::{ELEMENTS, Expected, Host, Layout, Placed, all, compare};
use super::random::Random;
use super::{Outcome, Scale};
use crate::device::Device;
use crate::error::Result;
use crate::matrix::Element;
use crate::rearrange::{Permutation, copy_rows, permute};
use crate::reference::rearrange as reference;

/// Every case of `scale`.
///
/// # Errors
/// [`crate::Error::Device`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    for element in ELEMENTS {
        match scale {
            Scale::Small => {
                for (parts, rows) in
                    [([1, 1], 1), ([8, 16], 5), ([3, 5], 4), ([64, 8], 3), ([2, 1023], 1), ([256, 8], 9)]
                {
                    for layout in [Layout::default(), Layout { lead: 0, gap: 8 }, Layout { lead: 1, gap: 1 }] {
                        check_concatenation(device, element, parts, rows, layout, report)?;
                    }
                }
                for (batch, channels, grid, patch) in
                    [(1, 1, [1, 1], 1), (2, 3, [2, 3], 2), (1, 16, [4, 2], 2), (2, 1, [3, 1], 4)]
                {
                    check_patches(device, element, batch, channels, grid, patch, report)?;
                }
                for (size, grid, width) in [(1, [1, 1], 1), (8, [3, 5], 7), (8, [8, 8], 8), (7, [2, 7], 112)] {
                    check_crop(device, element, size, grid, width, report)?;
                }
            }
            Scale::Full => {
                check_concatenation(device, element, [3072, 12_288], 4608, Layout::default(), report)?;
                check_patches(device, element, 2, 16, [64, 64], 2, report)?;
                check_crop(device, element, 192, [64, 64], 1536, report)?;
            }
        }
    }
    Ok(())
}

/// Two matrices side by side, and the second of them taken out again.
fn check_concatenation(
    device: &Device,
    element: Element,
    [left, right]: [usize; 2],
    rows: usize,
    layout: Layout,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    const KERNEL: &str = "copy_rows";
    let mut random = Random::new((left * right) as u64);
    let parts = [left, right].map(|columns| Host::random(&mut random, element, rows, columns, 1.0));
    let placed = [parts[0].place(device, layout)?, parts[1].place(device, layout)?];
    let mut joint = Placed::unwritten(device, element, rows, left + right, layout)?;
    copy_rows(device, &mut joint.matrix_mut().column_range(0, left)?, placed[0].matrix())?;
    copy_rows(device, &mut joint.matrix_mut().column_range(left, right)?, placed[1].matrix())?;
    let expected = (0..rows).flat_map(|row| parts[0].row(row).iter().chain(parts[1].row(row)));
    let case = format!("{} [{rows}, {left} + {right}], {layout:?}", element.name());
    report(compare(KERNEL, case.clone(), &joint, all(exact(expected)))?);

    let mut part = Placed::unwritten(device, element, rows, right, Layout::default())?;
    copy_rows(device, &mut part.matrix_mut(), joint.matrix().column_range(left, right)?)?;
    report(compare(KERNEL, case + ", right part", &part, all(exact(&parts[1].values)))?);
    Ok(())
}

fn check_patches(
    device: &Device,
    element: Element,
    batch: usize,
    channels: usize,
    grid: [usize; 2],
    patch: usize,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let case = format!("{} [{batch}, {channels}, {grid:?} patches of {patch}]", element.name());
    let values = batch * channels * grid[0] * grid[1] * patch * patch;
    let there = Permutation::patchify(batch, channels, grid, patch)?;
    let places = reference::patchify(batch, channels, grid, patch);
    check_permutation(device, element, format!("{case}, patchify"), values, &there, &places, report)?;
    let back = Permutation::unpatchify(batch, channels, grid, patch)?;
    let places = reference::unpatchify(batch, channels, grid, patch);
    check_permutation(device, element, format!("{case}, unpatchify"), values, &back, &places, report)
}

fn check_crop(
    device: &Device,
    element: Element,
    size: usize,
    grid: [usize; 2],
    width: usize,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let crop = Permutation::crop(size, grid, width)?;
    let case = format!("{} {grid:?} of a table [{size}, {size}, {width}]", element.name());
    let places = reference::crop(size, grid, width);
    check_permutation(device, element, case, size * size * width, &crop, &places, report)
}

fn check_permutation(
    device: &Device,
    element: Element,
    case: String,
    values: usize,
    permutation: &Permutation,
    places: &[usize],
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let from = Host::random(&mut Random::new(values as u64), element, 1, values, 1.0);
    let placed = from.place(device, Layout { lead: 1, gap: 0 })?;
    let mut to = Placed::unwritten(device, element, 1, places.len(), Layout::default())?;
    permute(device, &mut to.matrix_mut(), placed.matrix(), permutation)?;
    let expected = exact(places.iter().map(|&place| &from.values[place]));
    report(compare("permute", case, &to, all(expected))?);
    Ok(())
}

fn exact<'a>(values: impl IntoIterator<Item = &'a f64>) -> Vec<Expected> {
    values.into_iter().map(|&value| Expected { value, allowance: 0.0 }).collect()
}
