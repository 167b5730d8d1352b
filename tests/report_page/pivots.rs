//! The condition on the page is a lower bound: pivots lie between the extreme eigenvalues.

use faer::{Mat, Side};
use obsdiff::ops::cpu_engine;

use crate::support::layers::cases;

#[test]
fn pivots_lie_between_the_eigenvalues_of_the_damped_hessian() {
    let engine = cpu_engine();
    for case in cases() {
        let factored = case.factor(case.hessian(&*engine));
        let (smallest, largest) = (f64::from(factored.smallest_pivot()), f64::from(factored.largest_pivot().unwrap()));
        let damped = factored.into_damped().unwrap().download().unwrap();
        let (size, values) = (damped.size(), damped.as_slice());
        let matrix = Mat::from_fn(size, size, |row, column| f64::from(values[row * size + column]));
        let eigenvalues = matrix.self_adjoint_eigenvalues(Side::Lower).unwrap();
        let (low, high) = (eigenvalues[0], eigenvalues[size - 1]);
        // Pivots are of a factorisation in float32.
        let rounding = 1e-6 * high;
        assert!(low <= smallest + rounding, "{}: {low} > {smallest}", case.name);
        assert!(largest <= high + rounding, "{}: {largest} > {high}", case.name);
        assert!(smallest < largest && largest / smallest > 1.5, "{}: {smallest} {largest}", case.name);
    }
}
