//! `factor.cu` on the interpreter.

mod support;

use obsdiff_kernels::check::{self, Scale};
use obsdiff_kernels::device::Device;
use obsdiff_kernels::factor::{FactorInput, FactorOutcome, factor, factor_bytes, factor_scratch_bytes};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::triangle::PackedTriangle;
use obsdiff_ptx::Schedule;

fn run_checks(device: &Device) {
    let (mut cases, mut failed) = (0, Vec::new());
    check::factor::run(device, Scale::Small, &mut |outcome| {
        cases += 1;
        if !outcome.passed() {
            let check::Outcome { case, error, bound, detail, .. } = outcome;
            failed.push(format!("{case}: {error:e}, bound {bound:e}; {detail}"));
        }
    })
    .expect("the device runs every case");
    assert!(cases > 0 && failed.is_empty(), "{} of {cases} cases failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn tensor_core_factor_is_as_accurate_as_float32() {
    run_checks(&Interpreted::device());
}

#[test]
fn multiply_add_factor_is_as_accurate_as_float32() {
    run_checks(&Device::new(Interpreted::new("120a", Schedule::RoundRobin, 4)));
}

/// `X^T X` of small whole numbers, and half a unit on the diagonal.
fn hessian(device: &Device, size: usize) -> PackedTriangle {
    let x = |row: usize, column: usize| ((row * 7919 + column * 104_729 + row * column) % 13) as f32 - 6.0;
    let mut matrix = vec![0.0; size * size];
    for i in 0..size {
        for j in 0..=i {
            let sum: f32 = (0..24).map(|row| x(row, i) * x(row, j)).sum();
            matrix[i * size + j] = sum + if i == j { 0.5 } else { 0.0 };
        }
    }
    PackedTriangle::from_lower(device, size, &matrix, "H").expect("memory")
}

#[test]
fn bytes_do_not_depend_on_the_schedule() {
    let factored = |device: &Device| {
        let hessian = hessian(device, 200);
        let inputs = [FactorInput { hessian: &hessian, dampening: 0.01 }];
        match factor(device, &inputs).expect("the device runs it").pop() {
            Some(FactorOutcome::Factored(factor)) => {
                let values = factor.triangle.to_values().expect("readable");
                let inverses = factor.inverses.to_vec().expect("readable");
                values.into_iter().chain(inverses).map(f32::to_bits).collect::<Vec<u32>>()
            }
            outcome => panic!("expected a factor, found {outcome:?}"),
        }
    };
    let expected = factored(&Interpreted::device());
    support::under_random_schedules(|device, seed| assert!(factored(device) == expected, "seed {seed}"));
}

#[test]
fn refuses_what_it_cannot_factor() {
    let device = Interpreted::device();
    let empty = PackedTriangle::zeros(&device, 0, "H").expect("no memory needed");
    let refused = factor(&device, &[FactorInput { hessian: &empty, dampening: 0.01 }]);
    assert_eq!(refused.expect_err("no rows").to_string(), "factor: the matrix has no rows");
    let one = PackedTriangle::from_lower(&device, 1, &[1.0], "H").expect("memory");
    for dampening in [-0.1, f64::NAN, f64::INFINITY] {
        let refused = factor(&device, &[FactorInput { hessian: &one, dampening }]);
        assert!(refused.expect_err("not a dampening").to_string().contains("expected a finite number"));
    }
    let elsewhere = Interpreted::device();
    let refused = factor(&elsewhere, &[FactorInput { hessian: &one, dampening: 0.01 }]);
    assert_eq!(refused.expect_err("not there").to_string(), "factor: the matrix is on another device");
    assert!(factor(&device, &[]).expect("nothing to do").is_empty());
}

#[test]
fn bytes_beside_the_factor_are_few() {
    for size in [3072, 9728, 15_360] {
        let kept = PackedTriangle::bytes(size) + (size as u64 / 128) * 65_536;
        let scratch = factor_scratch_bytes(size);
        assert_eq!(factor_bytes(size), kept + scratch, "size {size}");
        assert!(scratch < 1 << 20, "size {size}: {scratch} bytes");
    }
}
