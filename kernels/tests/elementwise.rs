//! Operations on single values, on the interpreter.

mod support;

use obsdiff_kernels::check;
use obsdiff_kernels::elementwise::{add, combine, convert, gated_residual, rope};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::{Buffer, Device, Error, Matrix, MatrixMut};
use obsdiff_ptx::Schedule;

#[test]
fn every_format_and_shape_agrees_with_float64() {
    support::assert_passes(&Interpreted::device(), check::elementwise::run);
}

#[test]
fn every_format_and_shape_agrees_with_float64_on_the_newest_target() {
    let newest = Device::new(Interpreted::new("120a", Schedule::Random(1), 3));
    support::assert_passes(&newest, check::elementwise::run);
}

#[test]
fn shapes_and_formats_that_do_not_fit_are_refused() {
    let device = Interpreted::device();
    let buffer = Buffer::<f32>::zeros(&device, 1024, "a tensor").expect("room");
    let halves = Buffer::<half::f16>::zeros(&device, 1024, "a tensor").expect("room");
    let mut x = Buffer::<f32>::zeros(&device, 1024, "a result").expect("room");
    let mut x = MatrixMut::from_buffer(&mut x, 6, 16).expect("fits");
    let matrix = |rows, columns| Matrix::from_buffer(&buffer, rows, columns).expect("fits");
    let half_matrix = Matrix::from_buffer(&halves, 6, 16).expect("fits");
    let problem = |result: Result<(), Error>| match result {
        Err(Error::Argument { problem, .. }) => problem,
        other => panic!("not refused: {other:?}"),
    };
    assert!(problem(add(&device, &mut x, matrix(4, 16))).contains("6 is not a multiple of 4"));
    assert!(problem(add(&device, &mut x, half_matrix)).contains("y is f16 [6, 16], expected f32 [6, 16]"));
    let refused = gated_residual(&device, &mut x, matrix(6, 16), matrix(2, 16), matrix(5, 16));
    assert!(problem(refused).contains("x is f32 [5, 16]"));
    let refused = rope(&device, &mut x, matrix(3, 3), matrix(3, 3));
    assert!(problem(refused).contains("16 is not a multiple of 6"));
    let refused = rope(&device, &mut x, matrix(3, 4), matrix(2, 4));
    assert!(problem(refused).contains("sin is f32 [2, 4], expected f32 [3, 4]"));
    assert!(problem(combine(&device, &mut x, 1.0, &[(1.0, matrix(6, 16)); 4])).contains("4 terms"));
    assert!(problem(combine(&device, &mut x, 1.0, &[(1.0, half_matrix)])).contains("term 0 is f16"));
    assert!(problem(convert(&device, &mut x, matrix(6, 16))).contains("both are f32"));
}
