//! Packages, and on a GPU the passes that each of them takes.

use super::memory::Base;
#[cfg(feature = "cuda")]
use super::memory::Load;
use super::{Workload, chosen_units};
use crate::calibration::packages::split;
use crate::checkpoint::config::Architecture;
use crate::error::{Error, Result};
use crate::model::taps::Tap;
use crate::ops::Place;
use crate::recipe::{Packages, Recipe};

/// Taps that are calibrated on one state of the model, in one or more passes over the same trajectory: a pass gathers
/// and solves the Hessians that fit into memory together. The result does not depend on the number of passes.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// At least one, none of them empty.
    pub passes: Vec<Vec<Tap>>,
}

impl Package {
    /// The taps of all passes, in order.
    pub fn taps(&self) -> impl Iterator<Item = &Tap> {
        self.passes.iter().flatten()
    }
}

/// Cuts the chosen units into packages, and these into passes.
///
/// In host memory a package takes one pass, and [`Packages::Auto`] takes as few packages as `available` bytes hold. On
/// a GPU it is one package, and every package takes as few passes as `available` bytes hold.
///
/// # Errors
/// [`Error::Usage`] if nothing is chosen, [`Error::OutOfMemory`] if `available` bytes do not hold the job however it
/// is cut.
pub fn packages(arch: &Architecture, recipe: &Recipe, work: &Workload, available: Option<u64>) -> Result<Vec<Package>> {
    let units = chosen_units(arch, recipe);
    if units.is_empty() {
        return Err(Error::Usage(format!(
            "no Linear of the model matches --layers {} without --ignore {}",
            recipe.layers.join(" "),
            recipe.ignore.join(" ")
        )));
    }
    match work.place {
        Place::Host => in_host_memory(arch, recipe, work, units, available),
        #[cfg(feature = "cuda")]
        Place::Gpu => {
            let base = Base::new(arch, work);
            let count = if let Packages::Fixed(count) = recipe.packages { count } else { 1 };
            let packages = split(units, count).into_iter().map(|package| package.into_iter().flatten().collect());
            packages.map(|taps| passes(&base, recipe, work, taps, available)).collect()
        }
    }
}

fn in_host_memory(
    arch: &Architecture,
    recipe: &Recipe,
    work: &Workload,
    units: Vec<Vec<Tap>>,
    available: Option<u64>,
) -> Result<Vec<Package>> {
    let base = Base::new(arch, work);
    let cut = |count| split(units.clone(), count).into_iter().map(|units| units.into_iter().flatten().collect());
    let peak = |count: usize| {
        let peaks = cut(count).map(|taps: Vec<Tap>| base.peak(base.load(&taps, recipe, work.threads)));
        peaks.max().unwrap_or(0)
    };
    let count = match (recipe.packages, available) {
        (Packages::Fixed(count), _) => count,
        (Packages::Auto, None) => 1,
        (Packages::Auto, Some(available)) => {
            (1..=units.len()).find(|&count| peak(count) <= available).ok_or_else(|| Error::OutOfMemory {
                what: "pruning with one package per unit".into(),
                needed: peak(units.len()),
                available,
                hint: "use a smaller --batch-size or --dtype bf16, or leave wide layers out with --ignore".into(),
            })?
        }
    };
    Ok(cut(count).map(|taps| Package { passes: vec![taps] }).collect())
}

/// As few passes as fit: each takes the next taps up to `available` bytes.
#[cfg(feature = "cuda")]
fn passes(base: &Base, recipe: &Recipe, work: &Workload, taps: Vec<Tap>, available: Option<u64>) -> Result<Package> {
    let available = available.unwrap_or(u64::MAX);
    let mut passes: Vec<Vec<Tap>> = Vec::new();
    let mut load = Load::default();
    for tap in taps {
        let longer = base.with(load, &tap, recipe, work.threads);
        match passes.last_mut() {
            Some(pass) if base.peak(longer) <= available => {
                load = longer;
                pass.push(tap);
            }
            _ => {
                load = base.with(Load::default(), &tap, recipe, work.threads);
                let needed = base.peak(load);
                if needed > available {
                    return Err(Error::OutOfMemory {
                        what: format!("pruning on the GPU with the Hessian of `{}` alone", tap.name()),
                        needed,
                        available,
                        hint: "raise --max-vram if the GPU has more, use a smaller --batch-size or --dtype bf16, or \
                               leave wide layers out with --ignore"
                            .into(),
                    });
                }
                passes.push(vec![tap]);
            }
        }
    }
    Ok(Package { passes })
}
