//! Operations on packed triangles, on the interpreter.

mod support;

use obsdiff_kernels::check;
use obsdiff_kernels::interpreted::Interpreted;

#[test]
fn operations_agree_with_the_host_bit_by_bit() {
    support::assert_passes(&Interpreted::device(), check::triangle::run);
}
