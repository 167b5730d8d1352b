//! Refinement by the kernels, on the interpreter.

mod support;

use obsdiff_kernels::check;
use obsdiff_kernels::interpreted::Interpreted;

#[test]
fn steps_agree_with_float64_and_solved_rows_stay() {
    support::assert_passes(&Interpreted::device(), check::refine::run);
}
