//! Norms on the interpreter.

mod support;

use half::f16;
use obsdiff_kernels::check;
use obsdiff_kernels::check::random::Random;
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::normalize::{layer_norm_modulate, rms_norm};
use obsdiff_kernels::{Buffer, Device, Error, Matrix, MatrixMut};
use obsdiff_ptx::Schedule;

#[test]
fn every_format_and_width_agrees_with_float64() {
    support::assert_passes(&Interpreted::device(), check::normalize::run);
}

/// A layer norm of [2 * 9, 136], then an RMS norm of its heads of 34.
fn small_case(device: &Device) -> Vec<f16> {
    let mut random = Random::new(5);
    let mut upload = |count: usize| {
        let values: Vec<f16> = (0..count).map(|_| f16::from_f64(random.normal())).collect();
        Buffer::from_slice(device, &values, "a tensor").expect("room")
    };
    let (x, modulation, weight) = (upload(18 * 136), upload(2 * 272), upload(34));
    let mut out = upload(18 * 136);
    let modulation = Matrix::from_buffer(&modulation, 2, 272).expect("fits");
    let part = |start| modulation.column_range(start, 136).expect("fits");
    let mut view = MatrixMut::from_buffer(&mut out, 18, 136).expect("fits");
    let x = Matrix::from_buffer(&x, 18, 136).expect("fits");
    layer_norm_modulate(device, &mut view, x, part(0), part(136), 1e-6).expect("runs");
    rms_norm(device, &mut view, Matrix::from_buffer(&weight, 1, 34).expect("fits"), 1e-6).expect("runs");
    out.to_vec().expect("downloads")
}

#[test]
fn neither_the_schedule_nor_the_target_changes_a_bit() {
    let expected = small_case(&Interpreted::device());
    support::under_random_schedules(|device, seed| assert!(small_case(device) == expected, "seed {seed}"));
    assert!(small_case(&Device::new(Interpreted::new("120a", Schedule::RoundRobin, 4))) == expected, "target 120a");
}

#[test]
fn shapes_that_do_not_fit_are_refused_with_their_sizes() {
    let device = Interpreted::device();
    let buffer = Buffer::<f32>::zeros(&device, 1024, "a tensor").expect("room");
    let mut out = Buffer::<f32>::zeros(&device, 1024, "a result").expect("room");
    let mut out = MatrixMut::from_buffer(&mut out, 6, 16).expect("fits");
    let matrix = |rows, columns| Matrix::from_buffer(&buffer, rows, columns).expect("fits");
    let problem = |result: Result<(), Error>| match result {
        Err(Error::Argument { problem, .. }) => problem,
        other => panic!("not refused: {other:?}"),
    };
    let mut norm = |scale, shift| problem(layer_norm_modulate(&device, &mut out, matrix(6, 16), scale, shift, 1e-6));
    assert!(norm(matrix(4, 16), matrix(4, 16)).contains("6 is not a multiple of 4"));
    assert!(norm(matrix(2, 16), matrix(3, 16)).contains("shift is f32 [3, 16], expected f32 [2, 16]"));
    assert!(norm(matrix(0, 16), matrix(0, 16)).contains("there are 0"));
    assert!(problem(rms_norm(&device, &mut out, matrix(1, 5), 1e-6)).contains("16 is not a multiple of 5"));
    assert!(problem(rms_norm(&device, &mut out, matrix(2, 8), 1e-6)).contains("weight is f32 [2, 8]"));
}
