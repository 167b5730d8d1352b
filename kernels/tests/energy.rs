//! Energies by the kernels, on the interpreter.

mod support;

use obsdiff_kernels::check;
use obsdiff_kernels::interpreted::Interpreted;

#[test]
fn energies_agree_with_float64() {
    support::assert_passes(&Interpreted::device(), check::energy::run);
}
