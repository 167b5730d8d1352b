//! Calibration packages: which layers are calibrated and pruned together.

/// Splits `units` evenly, in order, into at most `packages` packages (at least one); earlier packages take
/// the remainder.
pub fn split<T>(units: Vec<T>, packages: usize) -> Vec<Vec<T>> {
    let packages = packages.clamp(1, units.len().max(1));
    let (share, remainder) = (units.len() / packages, units.len() % packages);
    let mut units = units.into_iter();
    (0..packages).map(|package| units.by_ref().take(share + usize::from(package < remainder)).collect()).collect()
}
