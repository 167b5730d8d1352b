//! The dense product on the interpreter.

mod support;

use half::bf16;
use obsdiff_kernels::check::random::Random;
use obsdiff_kernels::check::{self, Scale};
use obsdiff_kernels::gemm::{Variant, gemm, gemm_as, tiles};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::{Buffer, Device, Element, Error, Matrix, MatrixMut};
use obsdiff_ptx::Schedule;

/// Tokens, features, columns of the small product below: several tiles each way, none full.
const SHAPE: (usize, usize, usize) = (70, 140, 200);

#[test]
fn every_variant_matches_float64() {
    let mut failures = Vec::new();
    let mut cases = 0;
    check::gemm::run(&Interpreted::device(), Scale::Small, &mut |outcome| {
        cases += 1;
        if !outcome.passed() {
            failures.push(format!("{}: {} > {}; {}", outcome.case, outcome.error, outcome.bound, outcome.detail));
        }
    })
    .expect("the interpreter finds no fault");
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
}

/// The bytes of one bf16 product.
fn product(device: &Device, variant: Variant) -> Vec<bf16> {
    let (tokens, features, columns) = SHAPE;
    let mut random = Random::new(1);
    let mut values = |count: usize| -> Vec<bf16> { (0..count).map(|_| bf16::from_f64(random.normal())).collect() };
    let upload = |values: &[bf16]| Buffer::from_slice(device, values, "operand").expect("memory for an operand");
    let (x, weight) = (upload(&values(tokens * columns)), upload(&values(features * columns)));
    let bias = upload(&values(features));
    let mut y = upload(&vec![bf16::NAN; tokens * features]);
    gemm_as(
        device,
        variant,
        Matrix::from_buffer(&x, tokens, columns).expect("its size"),
        Matrix::from_buffer(&weight, features, columns).expect("its size"),
        Some(Matrix::from_buffer(&bias, 1, features).expect("its size")),
        &mut MatrixMut::from_buffer(&mut y, tokens, features).expect("its size"),
    )
    .expect("the product runs");
    y.to_vec().expect("the result comes back")
}

#[test]
fn neither_the_variant_nor_the_schedule_nor_the_target_changes_a_bit() {
    let all = tiles(Element::Bf16, Element::Bf16).expect("the formats are multiplied");
    let first = product(&Interpreted::device(), Variant::Tile(all[0]));
    for &tile in &all[1..] {
        let found = product(&Interpreted::device(), Variant::Tile(tile));
        assert!(found == first, "tile {}x{} gives other bytes", tile.features, tile.tokens);
    }
    assert!(product(&Interpreted::device(), Variant::Unaligned) == first, "the unaligned variant gives other bytes");
    let tile = all[all.len() - 1];
    support::under_random_schedules(|device, seed| {
        assert!(product(device, Variant::Tile(tile)) == first, "schedule {seed} gives other bytes");
    });
    let device = Device::new(Interpreted::new("120a", Schedule::RoundRobin, 2));
    assert!(product(&device, Variant::Tile(all[1])) == first, "sm_120a gives other bytes");
}

#[test]
fn operands_that_do_not_fit_are_refused_with_their_sizes() {
    let device = Interpreted::device();
    let wide = Buffer::<f32>::zeros(&device, 64, "x").expect("memory");
    let half = Buffer::<bf16>::zeros(&device, 64, "w").expect("memory");
    let mut y = Buffer::<f32>::zeros(&device, 64, "y").expect("memory");
    let mut refused = |x: Matrix<'_>, weight: Matrix<'_>, bias: Option<Matrix<'_>>, rows: usize, columns: usize| {
        let mut y = MatrixMut::from_buffer(&mut y, rows, columns).expect("its size");
        match gemm(&device, x, weight, bias, &mut y) {
            Err(Error::Argument { problem, .. }) => problem,
            other => panic!("not refused: {other:?}"),
        }
    };
    let f32_matrix = |rows, columns| Matrix::from_buffer(&wide, rows, columns).expect("its size");
    let bf16_matrix = |rows, columns| Matrix::from_buffer(&half, rows, columns).expect("its size");
    let said = refused(f32_matrix(4, 8), f32_matrix(4, 12), None, 4, 4);
    assert!(said.contains("8 columns and W 12"), "{said}");
    let said = refused(bf16_matrix(4, 8), f32_matrix(4, 8), None, 4, 4);
    assert!(said.contains("X is bf16 and W is f32"), "{said}");
    let said = refused(f32_matrix(4, 8), f32_matrix(6, 8), None, 6, 4);
    assert!(said.contains("[6, 4]") && said.contains("[4, 6]"), "{said}");
    let said = refused(f32_matrix(4, 8), f32_matrix(6, 8), Some(bf16_matrix(1, 4)), 4, 6);
    assert!(said.contains("bias is [1, 4]; expected [1, 6]"), "{said}");
}
