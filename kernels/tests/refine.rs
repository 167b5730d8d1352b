//! Refinement by the kernels, on the interpreter.

mod support;

use obsdiff_kernels::check::{self, random::Random};
use obsdiff_kernels::energy::energy;
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::refine::refine;
use obsdiff_kernels::triangle::PackedTriangle;
use obsdiff_kernels::{Buffer, Device, Matrix, MatrixMut};
use obsdiff_ptx::Schedule;

#[test]
fn steps_agree_with_float64_and_solved_rows_stay() {
    support::assert_passes(&Interpreted::device(), check::refine::run);
}

/// Refined weights and the energy of their change, as bits.
fn small_case(device: &Device) -> Vec<u64> {
    let (rows, columns) = (5, 134);
    let mut random = Random::new(9);
    let hessian: Vec<f32> = (0..columns * columns)
        .map(|at| 0.01 * random.normal() as f32 + if at % (columns + 1) == 0 { 1.0 } else { 0.0 })
        .collect();
    let damped = PackedTriangle::from_lower(device, columns, &hessian, "Hessian").expect("room");
    let dense: Vec<f32> = (0..rows * columns).map(|_| random.normal() as f32).collect();
    let mask: Vec<u8> = (0..rows * columns).map(|_| (random.bits() % 2) as u8).collect();
    let start: Vec<f32> = dense.iter().zip(&mask).map(|(value, &keep)| value * f32::from(keep)).collect();
    let dense = Buffer::from_slice(device, &dense, "dense").expect("room");
    let mut weight = Buffer::from_slice(device, &start, "weight").expect("room");
    let mask = Buffer::from_slice(device, &mask, "mask").expect("room");
    let from = Matrix::from_buffer(&dense, rows, columns).expect("fits");
    let mut to = MatrixMut::from_buffer(&mut weight, rows, columns).expect("fits");
    refine(device, &mut to, from, &mask, &damped, 2).expect("runs");
    let weights = Matrix::from_buffer(&weight, rows, columns).expect("fits");
    let left = energy(device, weights, &damped, Some(&vec![0.5; columns])).expect("runs");
    let mut bits: Vec<u64> =
        weight.to_vec().expect("downloads").iter().map(|value| u64::from(value.to_bits())).collect();
    bits.push(left.to_bits());
    bits
}

#[test]
fn bits_depend_on_neither_schedule_nor_target() {
    let expected = small_case(&Interpreted::device());
    support::under_random_schedules(|device, seed| assert!(small_case(device) == expected, "seed {seed}"));
    assert!(small_case(&Device::new(Interpreted::new("120a", Schedule::RoundRobin, 4))) == expected, "sm_120a");
}
