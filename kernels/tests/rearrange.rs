//! Copies on the interpreter.

mod support;

use obsdiff_kernels::check;
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::rearrange::{Strided, copy_rows, strided_copy};
use obsdiff_kernels::{Buffer, Device, Matrix, MatrixMut};
use obsdiff_ptx::Schedule;

#[test]
fn every_value_arrives_where_it_belongs() {
    support::assert_passes(&Interpreted::device(), check::rearrange::run);
}

#[test]
fn every_value_arrives_where_it_belongs_on_the_newest_target() {
    let newest = Device::new(Interpreted::new("120a", Schedule::Random(1), 3));
    support::assert_passes(&newest, check::rearrange::run);
}

#[test]
fn copies_past_the_end_are_refused() {
    let device = Interpreted::device();
    let from = Buffer::<f32>::zeros(&device, 96, "a tensor").expect("room");
    let mut to = Buffer::<f32>::zeros(&device, 96, "a result").expect("room");
    let from = Matrix::from_buffer(&from, 6, 16).expect("fits");
    let mut to = MatrixMut::from_buffer(&mut to, 6, 16).expect("fits");
    let narrow = from.column_range(0, 8).expect("fits");
    assert!(copy_rows(&device, &mut to, narrow).is_err(), "8 columns for 16");
    assert!(from.column_range(8, 9).is_err(), "9 columns at 8 of 16");
    assert!(to.row_range(6, 1).is_err(), "1 row at 6 of 6");

    let mut refused = |from, offset, shape: &[usize], strides: &[usize]| {
        let refused = strided_copy(&device, &mut to, from, &Strided { offset, shape, strides });
        refused.expect_err("places that do not fit").to_string()
    };
    let last_beyond = refused(from, 1, &[6, 16], &[16, 1]);
    assert!(last_beyond.contains("96 f32 values to 96 f32, expected 97 or more to 96"), "{last_beyond}");
    assert!(refused(from, 0, &[6, 15], &[16, 1]).contains("to 90"), "90 values for 96");
    assert!(refused(narrow, 0, &[96], &[1]).contains("gaps"));
    assert!(refused(from, 0, &[1; 7], &[1; 7]).contains("at most 6 axes"));
}
