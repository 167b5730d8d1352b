//! Copies: no value may differ.

use super::placed::{ELEMENTS, Expected, Host, Layout, Placed, all, compare};
use super::random::Random;
use super::{Outcome, Scale};
use crate::device::Device;
use crate::error::Result;
use crate::matrix::Element;
use crate::rearrange::{Strided, copy_rows, strided_copy};
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
                for latents in [[1, 1, 1, 1, 1], [2, 3, 2, 3, 2], [1, 16, 4, 2, 2], [2, 1, 3, 1, 4]] {
                    check_patches(device, element, latents, report)?;
                }
                for (size, grid, width) in [(1, [1, 1], 1), (8, [3, 5], 7), (8, [8, 8], 8), (7, [2, 7], 112)] {
                    check_crop(device, element, size, grid, width, report)?;
                }
            }
            Scale::Full => {
                check_concatenation(device, element, [3072, 12_288], 4608, Layout::default(), report)?;
                check_patches(device, element, [2, 16, 64, 64, 2], report)?;
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
    let placed = [parts[0].place_input(device, layout)?, parts[1].place_input(device, layout)?];
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

/// Latents [batch, channels, rows * patch, columns * patch] to patches [batch, rows * columns, channels * patch *
/// patch], and patches [batch, rows * columns, patch * patch * channels] to latents.
fn check_patches(
    device: &Device,
    element: Element,
    [batch, channels, rows, columns, patch]: [usize; 5],
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let case = format!("{} [{batch}, {channels}], {rows} x {columns} patches of {patch}", element.name());
    let values = batch * channels * rows * columns * patch * patch;
    let width = columns * patch;
    let plane = rows * patch * width;
    let shape = &[batch, rows, columns, channels, patch, patch];
    let strides = &[channels * plane, patch * width, patch, plane, width, 1];
    let places = reference::patchify(batch, channels, [rows, columns], patch);
    let at = Strided { offset: 0, shape, strides };
    check_strided(device, element, format!("{case}, to patches"), values, &at, &places, report)?;

    let token = patch * patch * channels;
    let shape = &[batch, channels, rows, patch, columns, patch];
    let strides = &[rows * columns * token, 1, columns * token, patch * channels, token, channels];
    let places = reference::unpatchify(batch, channels, [rows, columns], patch);
    let at = Strided { offset: 0, shape, strides };
    check_strided(device, element, format!("{case}, to latents"), values, &at, &places, report)
}

/// The middle of a square table [size, size, width].
fn check_crop(
    device: &Device,
    element: Element,
    size: usize,
    [rows, columns]: [usize; 2],
    width: usize,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let case = format!("{} {rows} x {columns} of a table [{size}, {size}, {width}]", element.name());
    let offset = ((size - rows) / 2 * size + (size - columns) / 2) * width;
    let at = Strided { offset, shape: &[rows, columns, width], strides: &[size * width, width, 1] };
    let places = reference::crop(size, [rows, columns], width);
    check_strided(device, element, case, size * size * width, &at, &places, report)
}

fn check_strided(
    device: &Device,
    element: Element,
    case: String,
    values: usize,
    at: &Strided,
    places: &[usize],
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let from = Host::random(&mut Random::new(values as u64), element, 1, values, 1.0);
    let placed = from.place_input(device, Layout { lead: 1, gap: 0 })?;
    let mut to = Placed::unwritten(device, element, 1, places.len(), Layout::default())?;
    strided_copy(device, &mut to.matrix_mut(), placed.matrix(), at)?;
    let expected = exact(places.iter().map(|&place| &from.values[place]));
    report(compare("strided_copy", case, &to, all(expected))?);
    Ok(())
}

fn exact<'a>(values: impl IntoIterator<Item = &'a f64>) -> Vec<Expected> {
    values.into_iter().map(|&value| Expected { value, allowance: 0.0 }).collect()
}
