//! Hessians accumulated by the kernels, on the interpreter.

mod support;

use obsdiff_kernels::check;
use obsdiff_kernels::gram::{GramInput, GramSums, RowWeights, gram};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::{Buffer, Device, Error, Matrix};
use obsdiff_ptx::Schedule;

#[test]
fn sums_agree_with_float64() {
    let outcomes = support::assert_passes(&Interpreted::device(), check::gram::run);
    // Rounded to nearest, as the interpreter does, thousands of tokens stay within these.
    let long: Vec<_> = outcomes.iter().filter(|outcome| outcome.case.ends_with("4100 x 24")).collect();
    assert_eq!(long.len(), 3);
    for outcome in long {
        let bound = if outcome.case.starts_with("f32") { 1e-6 } else { 2e-6 };
        assert!(outcome.error <= bound, "{}: {} above {bound}", outcome.case, outcome.error);
    }
}

/// Two inputs, one of several tiles: everything that the sums hold, as bits.
fn small_case(device: &Device) -> Vec<u64> {
    let mut random = check::random::Random::new(7);
    let values: Vec<half::bf16> = (0..50 * 136).map(|_| half::bf16::from_f64(random.normal())).collect();
    let wide = Buffer::from_slice(device, &values, "inputs").expect("room");
    let narrow: Vec<f32> = (0..40 * 60).map(|_| random.normal() as f32).collect();
    let narrow = Buffer::from_slice(device, &narrow, "inputs").expect("room");
    let mut sums = [136, 60].map(|columns| GramSums::zeros(device, columns).expect("room"));
    let [into_wide, into_narrow] = &mut sums;
    let x = Matrix::from_buffer(&wide, 50, 136).expect("fits");
    let y = Matrix::from_buffer(&narrow, 40, 60).expect("fits");
    let mut inputs = [
        GramInput { x, weights: RowWeights::All(0.5), into: into_wide },
        GramInput { x: y, weights: RowWeights::All(1.5), into: into_narrow },
    ];
    gram(device, &mut inputs).expect("runs");
    let mut bits = Vec::new();
    for sums in &sums {
        bits.extend(sums.h.to_lower().expect("downloads").iter().map(|value| u64::from(value.to_bits())));
        bits.extend(sums.sums.to_vec().expect("downloads").iter().map(|value| value.to_bits()));
    }
    bits
}

#[test]
fn bits_do_not_depend_on_the_schedule() {
    let expected = small_case(&Interpreted::device());
    support::under_random_schedules(|device, seed| assert!(small_case(device) == expected, "seed {seed}"));
}

#[test]
fn code_for_the_newest_target_gives_the_same_bits() {
    let newest = Device::new(Interpreted::new("120a", Schedule::RoundRobin, 4));
    assert!(small_case(&newest) == small_case(&Interpreted::device()));
}

#[test]
fn shapes_that_do_not_fit_are_refused_before_any_launch() {
    let device = Interpreted::device();
    let values = Buffer::from_slice(&device, &[1.0f32; 64], "inputs").expect("room");
    let mut sums = [8, 9].map(|columns| GramSums::zeros(&device, columns).expect("room"));
    let [fitting, other] = &mut sums;
    let x = Matrix::from_buffer(&values, 8, 8).expect("fits");
    let mut inputs = [
        GramInput { x, weights: RowWeights::All(1.0), into: fitting },
        GramInput { x, weights: RowWeights::All(1.0), into: other },
    ];
    let error = gram(&device, &mut inputs).expect_err("9 columns for 8");
    assert!(matches!(error, Error::Argument { operation: "gram", .. }), "{error}");
    let weights = Buffer::from_slice(&device, &[1.0f32; 7], "weights").expect("room");
    let [fitting, _] = &mut sums;
    let mut inputs = [GramInput { x, weights: RowWeights::Each(&weights), into: fitting }];
    assert!(gram(&device, &mut inputs).is_err(), "7 weights for 8 rows");
    assert!(sums[0].h.to_lower().expect("downloads").iter().all(|&value| value == 0.0));
}
