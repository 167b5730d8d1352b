//! `factor.cu` against float64: residuals, inverses, pivots that fail, batches.

use super::random::Random;
use super::{Outcome, Scale};
use crate::device::Device;
use crate::error::Result;
use crate::factor::{Factor, FactorInput, FactorOutcome, factor};
use crate::reference::factor as reference;
use crate::triangle::{PackedTriangle, TILE};

/// Unit roundoff of float32.
const EPSILON: f64 = 1.0 / (1 << 24) as f64;

/// How the columns of the inputs behind a Hessian hang together.
#[derive(Debug, Clone, Copy)]
enum Inputs {
    /// Not at all; a few more rows than columns.
    Independent,
    /// Neighbouring columns are nearly equal: the condition is about that of `1 / dampening`, in every diagonal block
    /// as well.
    Smooth,
    /// Forty directions and a diagonal; quick to make at any size.
    Sparse,
}

/// `H`, its lower triangle in f32 `[size, size]` row-major.
fn hessian(inputs: Inputs, size: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let (rank, noise) = match inputs {
        Inputs::Independent => (size + 16, 0.0),
        Inputs::Smooth => (12, 1e-8),
        Inputs::Sparse => (40, 1.0),
    };
    let features: Vec<f64> = (0..rank * size)
        .map(|at| {
            let (wave, column) = ((at / size) as f64, (at % size) as f64);
            match inputs {
                Inputs::Independent | Inputs::Sparse => random.normal(),
                Inputs::Smooth => 0.6f64.powf(wave) * (wave * std::f64::consts::PI * column / size as f64).cos(),
            }
        })
        .collect();
    let mut hessian = vec![0.0; size * size];
    let mut row = vec![0.0; size];
    for i in 0..size {
        row[..=i].fill(0.0);
        for feature in features.chunks_exact(size) {
            let left = feature[i];
            row[..=i].iter_mut().zip(feature).for_each(|(sum, right)| *sum += left * right);
        }
        row[i] += noise * (0.5 + random.uniform());
        hessian[i * size..][..=i].iter_mut().zip(&row).for_each(|(to, &value)| *to = value as f32);
    }
    hessian
}

/// Rows whose residual is computed: all where that is cheap, else the ends, both sides of some tile edges, and some
/// in between.
fn sampled_rows(size: usize) -> Vec<usize> {
    if size <= 1024 {
        return (0..size).collect();
    }
    let mut random = Random::new(size as u64);
    let edge = size / 2 / TILE * TILE;
    let mut rows = vec![0, TILE - 1, TILE, edge - 1, edge, size - TILE - 1, size - 1];
    rows.extend((0..9).map(|_| (random.uniform() * size as f64) as usize));
    rows
}

/// Runs every case of `scale`.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::OutOfMemory`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    for size in [1, 2, 31, 127, 128, 129, 255, 256, 257, 300] {
        accuracy(device, Inputs::Independent, size, 0.01, report)?;
    }
    // The smallest number of tiles with a trailing update of more than one tile.
    accuracy(device, Inputs::Independent, 6 * TILE - 60, 0.01, report)?;
    accuracy(device, Inputs::Smooth, 300, 1e-5, report)?;
    batch(device, report)?;
    failures(device, report)?;
    if scale == Scale::Full {
        accuracy(device, Inputs::Independent, 1536, 0.01, report)?;
        accuracy(device, Inputs::Smooth, 1536, 1e-5, report)?;
        for size in [3072, 9728, 15_360] {
            accuracy(device, Inputs::Sparse, size, 0.01, report)?;
        }
    }
    Ok(())
}

/// One matrix alone: the residual, that of the inverses, everything that must hold exactly, and up to 2048 rows the
/// residual beside that of plain float32.
fn accuracy(
    device: &Device,
    inputs: Inputs,
    size: usize,
    dampening: f64,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let name = format!("{inputs:?} [{size}, {size}] f32, dampening {dampening}");
    let hessian = hessian(inputs, size, 11 + size as u64);
    let packed = PackedTriangle::from_lower(device, size, &hessian, "H")?;
    let outcome = factor(device, &[FactorInput { hessian: &packed, dampening }])?.pop();
    let Some(FactorOutcome::Factored(factored)) = outcome else {
        report(exact(&name, Some(format!("expected a factor, found {outcome:?}"))));
        return Ok(());
    };
    report(exact(&name, facts(&hessian, &packed, dampening, &factored)?));

    let (damped, ..) = reference::damped(&hessian, size, dampening);
    let lower = factored.triangle.to_lower()?;
    let rows = sampled_rows(size);
    let (error, detail) = reference::residual(&damped, &lower, size, &rows);
    // Beside the sums of `size` terms: the root, the division, the two splits and the refinement of each entry.
    let bound = (size + 8) as f64 * EPSILON;
    report(Outcome { kernel: "factor", case: format!("{name}: H - R R^T"), error, bound, detail });

    if size <= 2048 {
        let (case, kernel) = (format!("{name}: H - R R^T in units of plain float32's"), "factor");
        // Four: as good, whatever the last bits are; the products by inverses alone are 8 to 100 times worse on
        // smooth inputs. One rounding is the least that is asked.
        let bound = 4.0;
        let (plain, detail) = match reference::plain_float32(&damped, size) {
            Ok(upper) => {
                let turned: Vec<f32> = (0..size * size).map(|at| upper[at % size * size + at / size]).collect();
                reference::residual(&damped, &turned, size, &rows)
            }
            Err(index) => (f64::NAN, format!("plain float32 fails at column {index}")),
        };
        report(Outcome { kernel, case, error: error / plain.max(EPSILON), bound, detail });
    }

    let inverses = factored.inverses.to_vec()?;
    let mut worst = (0.0, String::new());
    for (tile, inverse) in inverses.chunks_exact(TILE * TILE).enumerate() {
        let block = diagonal_block(&lower, size, tile);
        let (error, place) = reference::inverse_residual(inverse, &block, TILE);
        if error > worst.0 {
            worst = (error, format!("tile {tile}, {place}"));
        }
    }
    let (error, detail) = worst;
    // Substitution in steps of 32, each with its own rounding.
    let bound = (TILE + 8) as f64 * EPSILON;
    report(Outcome { kernel: "factor", case: format!("{name}: R U - I"), error, bound, detail });
    Ok(())
}

/// Diagonal tile `tile` of `R^T`, with ones on the diagonal beyond the matrix.
fn diagonal_block(lower: &[f32], size: usize, tile: usize) -> Vec<f32> {
    let start = tile * TILE;
    (0..TILE * TILE)
        .map(|at| match (start + at / TILE, start + at % TILE) {
            (row, column) if row < size && column < size => lower[row * size + column],
            (row, column) => f32::from(u8::from(row == column)),
        })
        .collect()
}

/// What must hold to the bit; the first that does not.
fn facts(hessian: &[f32], packed: &PackedTriangle, dampening: f64, found: &Factor) -> Result<Option<String>> {
    let size = packed.size();
    let (_, damping, dead) = reference::damped(hessian, size, dampening);
    if found.damping != damping {
        return Ok(Some(format!("damping is {}, expected {damping}", found.damping)));
    }
    if found.dead != dead {
        return Ok(Some(format!("dead columns are {:?}, expected {dead:?}", found.dead)));
    }
    if packed.to_lower()? != hessian {
        return Ok(Some("H was changed".to_string()));
    }
    let values = found.triangle.to_values()?;
    let smallest = (0..size).map(|i| values[PackedTriangle::position(i, i)]).fold(f32::INFINITY, f32::min).powi(2);
    if found.smallest_pivot != smallest {
        return Ok(Some(format!("smallest pivot is {}, expected {smallest}", found.smallest_pivot)));
    }
    for tile in 0..found.triangle.tiles() {
        for (row, column) in (0..TILE).flat_map(|row| (0..TILE).map(move |column| (row, column))) {
            let (i, j) = (tile * TILE + row, tile * TILE + column);
            let value = values[PackedTriangle::position(i, tile * TILE) + column];
            if (j > i || i >= size) && value != 0.0 {
                return Ok(Some(format!("({i}, {j}) of R^T is {value}, expected 0")));
            }
        }
    }
    // Rows of the last row of tiles that lie beyond the matrix.
    let beyond = |at: usize| {
        let start = PackedTriangle::position((found.triangle.tiles() - 1) * TILE, 0);
        at >= start && (at - start) % (TILE * TILE) / TILE >= size - (found.triangle.tiles() - 1) * TILE
    };
    if let Some(at) = (0..values.len()).find(|&at| beyond(at) && values[at] != 0.0) {
        return Ok(Some(format!("value {at} of R^T lies beyond the matrix and is {}, expected 0", values[at])));
    }
    let inverses = found.inverses.to_vec()?;
    for (at, &value) in inverses.iter().enumerate() {
        let (start, row, column) = (at / (TILE * TILE) * TILE, at / TILE % TILE, at % TILE);
        let expected = if row == column { 1.0 } else { 0.0 };
        let outside = start + row >= size || start + column >= size;
        if (outside || column < row) && value != expected {
            return Ok(Some(format!(
                "({row}, {column}) of the inverse from row {start} is {value}, expected {expected}"
            )));
        }
    }
    Ok(None)
}

/// Matrices of several sizes, one with dead columns, one that fails: each as if it were alone, to the bit.
fn batch(device: &Device, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let sizes = [129, 1, 300, 31, 200];
    let mut hessians: Vec<Vec<f32>> =
        sizes.iter().map(|&size| hessian(Inputs::Independent, size, size as u64)).collect();
    for dead in [0, 63, 128, 299] {
        for other in 0..300 {
            hessians[2][dead.max(other) * 300 + dead.min(other)] = 0.0;
        }
    }
    hessians[4][150 * 200 + 150] = -1.0;
    let packed: Vec<PackedTriangle> = (sizes.iter().zip(&hessians))
        .map(|(&size, hessian)| PackedTriangle::from_lower(device, size, hessian, "H"))
        .collect::<Result<_>>()?;
    let inputs: Vec<FactorInput> = packed.iter().map(|hessian| FactorInput { hessian, dampening: 0.01 }).collect();
    let together = factor(device, &inputs)?;
    for (index, (input, found)) in inputs.iter().zip(&together).enumerate() {
        let size = sizes[index];
        let name = format!("[{size}, {size}] f32, number {index} of a batch of {sizes:?}");
        let alone = factor(device, &[*input])?.pop();
        let problem = match (found, &alone) {
            (FactorOutcome::Factored(found), Some(FactorOutcome::Factored(alone))) => {
                let same = same_bits(&found.triangle.to_values()?, &alone.triangle.to_values()?)
                    && same_bits(&found.inverses.to_vec()?, &alone.inverses.to_vec()?);
                match same {
                    true => facts(&hessians[index], input.hessian, input.dampening, found)?,
                    false => Some("the factor differs from that of the matrix alone".to_string()),
                }
            }
            (FactorOutcome::NotPositive { pivot: 150 }, Some(FactorOutcome::NotPositive { pivot: 150 })) => None,
            _ => Some(format!("found {found:?} together and {alone:?} alone")),
        };
        let expected_failure = index == 4;
        let failed = matches!(found, FactorOutcome::NotPositive { .. });
        let mismatch = (failed != expected_failure).then(|| format!("found {found:?}"));
        report(exact(&name, problem.or(mismatch)));
    }
    Ok(())
}

/// The column of the first pivot that fails, counted from the last, as float64 finds it.
fn failures(device: &Device, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let size = 200;
    let good = hessian(Inputs::Independent, size, 5);
    // The row and column of the entry that is spoilt, and with what.
    let cases = [
        (199, 199, -1e6),
        (128, 128, -1e6),
        (127, 127, -1e6),
        (60, 60, -1e6),
        (0, 0, -1e6),
        (150, 150, f32::NAN),
        (190, 160, f32::NAN),
        (180, 10, f32::NAN),
        (70, 5, f32::NAN),
        (199, 0, f32::INFINITY),
    ];
    for (row, column, value) in cases {
        let mut hessian = good.clone();
        hessian[row * size + column] = value;
        let packed = PackedTriangle::from_lower(device, size, &hessian, "H")?;
        let before = packed.to_values()?;
        // Without damping a negative or undefined entry leaves the others alone.
        let expected = reference::factor(&hessian, size, 0.0).err();
        let outcome = factor(device, &[FactorInput { hessian: &packed, dampening: 0.0 }])?.pop();
        let problem = match outcome {
            _ if expected.is_none() => Some("the reference does not fail".to_string()),
            Some(FactorOutcome::NotPositive { pivot }) if Some(pivot) == expected => None,
            outcome => Some(format!("expected a failure at {expected:?}, found {outcome:?}")),
        };
        let changed = (!same_bits(&before, &packed.to_values()?)).then(|| "H was changed".to_string());
        report(exact(&format!("[{size}, {size}] f32 with ({row}, {column}) = {value}"), problem.or(changed)));
    }
    Ok(())
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// A case without tolerance.
fn exact(case: &str, problem: Option<String>) -> Outcome {
    let error = if problem.is_some() { 1.0 } else { 0.0 };
    Outcome { kernel: "factor", case: case.to_string(), error, bound: 0.0, detail: problem.unwrap_or_default() }
}
