//! 2:4 storage on the interpreter.

mod support;

use half::bf16;
use obsdiff_kernels::check::{self, Scale};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::pack24::Packed24;
use obsdiff_kernels::reference::pack24::Packed;
use obsdiff_kernels::{Buffer, Device, Element, Error, Matrix};
use obsdiff_ptx::Schedule;

fn run(device: &Device) {
    let mut failures = Vec::new();
    let mut cases = 0;
    check::pack24::run(device, Scale::Small, &mut |outcome| {
        cases += 1;
        if !outcome.passed() {
            failures.push(format!("{}: {} places; {}", outcome.case, outcome.error, outcome.detail));
        }
    })
    .expect("the interpreter finds no fault");
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_kernel_matches_the_hosts_layout_bit_by_bit() {
    run(&Interpreted::device());
}

#[test]
fn every_kernel_matches_the_host_on_sm_120a() {
    run(&Device::new(Interpreted::new("120a", Schedule::RoundRobin, 2)));
}

#[test]
fn the_same_group_is_named_whatever_the_schedule() {
    support::under_random_schedules(|device, _| {
        let dense = Buffer::from_slice(device, &vec![bf16::ONE; 70 * 64], "dense").expect("memory");
        let refused = Packed24::compress(device, Matrix::from_buffer(&dense, 70, 64).expect("its size"));
        let Err(Error::Argument { problem, .. }) = refused else { panic!("not refused: {refused:?}") };
        assert!(problem.starts_with("row 0, columns 0 to 3: more than two"), "{problem}");
    });
}

#[test]
fn what_has_no_2_4_form_is_refused_with_its_sizes() {
    let device = Interpreted::device();
    let said = |refused: Result<(), Error>| match refused {
        Err(Error::Argument { problem, .. }) => problem,
        other => panic!("not refused: {other:?}"),
    };
    let values = Buffer::<bf16>::zeros(&device, 96, "dense").expect("memory");
    let matrix = |rows, columns| Matrix::from_buffer(&values, rows, columns).expect("its size");
    let found = said(Packed24::compress(&device, matrix(4, 24)).map(|_| ()));
    assert!(found.starts_with("24 columns; 2:4 storage takes multiples of 16"), "{found}");
    let packed = Packed24::compress(&device, matrix(2, 48)).expect("zeros are 2:4");
    let found = said(packed.into_registers().map(|_| ()));
    assert!(found.starts_with("48 columns; 2:4 storage takes multiples of 32"), "{found}");
    let wide = Buffer::<f32>::zeros(&device, 32, "dense").expect("memory");
    let found = said(Packed24::compress(&device, Matrix::from_buffer(&wide, 1, 32).expect("its size")).map(|_| ()));
    assert!(found.contains("f32"), "{found}");
    let short = Packed { rows: 2, columns: 16, values: vec![0; 16], metadata: vec![0x4444] };
    let found = said(Packed24::upload(&device, Element::F16, &short).map(|_| ()));
    assert!(found.contains("16 values and 1 words of metadata; a 2 x 16 matrix has 16 and 2"), "{found}");
}
