//! The 2:4 sparse product on the interpreter.

mod support;

use half::bf16;
use obsdiff_kernels::check::random::Random;
use obsdiff_kernels::check::{self, Scale};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::pack24::{Packed24, Registers24};
use obsdiff_kernels::spmm24::{TILES, spmm24, spmm24_as};
use obsdiff_kernels::{Buffer, Device, Error, Matrix, MatrixMut, Tile};
use obsdiff_ptx::Schedule;

/// Tokens, features, columns of the small product below: several tiles each way, none full.
const SHAPE: (usize, usize, usize) = (70, 140, 224);

#[test]
fn every_variant_matches_float64_and_the_dense_product() {
    let mut failures = Vec::new();
    let mut cases = 0;
    check::spmm24::run(&Interpreted::device(), Scale::Small, &mut |outcome| {
        cases += 1;
        if !outcome.passed() {
            failures.push(format!("{}: {} > {}; {}", outcome.case, outcome.error, outcome.bound, outcome.detail));
        }
    })
    .expect("the interpreter finds no fault");
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
}

/// 2:4 weights [`rows`, `columns`] with places that differ from group to group.
fn weights(device: &Device, random: &mut Random, rows: usize, columns: usize) -> Registers24 {
    let mut dense = vec![bf16::ZERO; rows * columns];
    for four in dense.chunks_exact_mut(4) {
        for _ in 0..2 {
            four[(random.bits() % 4) as usize] = bf16::from_f64(random.normal());
        }
    }
    let dense = Buffer::from_slice(device, &dense, "dense weights").expect("memory");
    let dense = Matrix::from_buffer(&dense, rows, columns).expect("its size");
    Packed24::compress(device, dense).and_then(Packed24::into_registers).expect("the weights are 2:4")
}

/// The bytes of one product.
fn product(device: &Device, tile: Tile) -> Vec<bf16> {
    let (tokens, features, columns) = SHAPE;
    let mut random = Random::new(1);
    let weight = weights(device, &mut random, features, columns);
    let x: Vec<bf16> = (0..tokens * columns).map(|_| bf16::from_f64(random.normal())).collect();
    let x = Buffer::from_slice(device, &x, "x").expect("memory");
    let mut y = Buffer::from_slice(device, &vec![bf16::NAN; tokens * features], "y").expect("memory");
    let x = Matrix::from_buffer(&x, tokens, columns).expect("its size");
    let mut result = MatrixMut::from_buffer(&mut y, tokens, features).expect("its size");
    spmm24_as(device, tile, x, &weight, None, &mut result).expect("the product runs");
    y.to_vec().expect("the result comes back")
}

#[test]
fn neither_the_tile_nor_the_schedule_nor_the_target_changes_a_bit() {
    let first = product(&Interpreted::device(), TILES[0]);
    for tile in &TILES[1..] {
        let found = product(&Interpreted::device(), *tile);
        assert!(found == first, "tile {}x{} gives other bytes", tile.features, tile.tokens);
    }
    support::under_random_schedules(|device, seed| {
        assert!(product(device, TILES[3]) == first, "schedule {seed} gives other bytes");
    });
    let device = Device::new(Interpreted::new("120a", Schedule::RoundRobin, 2));
    assert!(product(&device, TILES[1]) == first, "sm_120a gives other bytes");
}

#[test]
fn operands_that_do_not_fit_are_refused_with_their_sizes() {
    let device = Interpreted::device();
    let weight = weights(&device, &mut Random::new(2), 8, 64);
    let x = Buffer::<bf16>::zeros(&device, 256, "x").expect("memory");
    let wide = Buffer::<f32>::zeros(&device, 256, "x").expect("memory");
    let mut y = Buffer::<bf16>::zeros(&device, 64, "y").expect("memory");
    let mut refused = |x: Matrix<'_>, rows: usize, columns: usize| {
        let mut y = MatrixMut::from_buffer(&mut y, rows, columns).expect("its size");
        match spmm24(&device, x, &weight, None, &mut y) {
            Err(Error::Argument { problem, .. }) => problem,
            other => panic!("not refused: {other:?}"),
        }
    };
    let matrix = |rows, columns| Matrix::from_buffer(&x, rows, columns).expect("its size");
    let said = refused(matrix(4, 32), 4, 8);
    assert!(said.contains("X has 32 columns and W 64"), "{said}");
    let said = refused(matrix(4, 64), 4, 16);
    assert!(said.contains("[4, 16]") && said.contains("[4, 8]"), "{said}");
    let said = refused(Matrix::from_buffer(&wide, 4, 64).expect("its size"), 4, 8);
    assert!(said.contains("X is f32 and W is bf16"), "{said}");
}
