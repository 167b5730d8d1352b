//! CPU time of pruning one Linear with a given Hessian, and of accumulating that Hessian, beside the peers
//! named in the ids. Time is process CPU time (all threads), so that threads are not mistaken for speed.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use obsdiff::ops::{
    CountRule, FactoredHessian, Hessian, NM, Pattern, Rounding, Sparsity, SweepOptions, Symmetric, Tensor, cpu_engine,
};
use support::CpuTime;

fn random(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 - 0.5
        })
        .collect()
}

fn hessian(d: usize) -> Symmetric {
    let mut h = cpu_engine().hessian(d).expect("an accumulator");
    h.add(&matrix(random(1, 2 * d * d), d), 1.0).expect("inputs of d columns");
    h.download().expect("the sums")
}

/// A tensor that shares its values with nobody.
fn matrix(values: Vec<f32>, columns: usize) -> Tensor {
    let rows = values.len() / columns;
    Tensor::from_vec(values, [rows, columns]).expect("whole rows")
}

fn factor(hessian: Symmetric) -> Box<dyn FactoredHessian> {
    let hessian: Box<dyn Hessian> = cpu_engine().hessian_from(hessian).expect("an accumulator");
    hessian.factor(0.01).expect("positive definite")
}

fn layer(c: &mut Criterion<CpuTime>) {
    let half = Pattern::Unstructured(Sparsity::new(0.5).expect("0.5 is in [0, 1)"));
    let two_four = Pattern::NM(NM::new(2, 4).expect("2:4 is valid"));
    for d in [3072, 4096] {
        let hessian = hessian(d);
        let dense = random(2, d * d);
        let options =
            |pattern| SweepOptions { pattern, block_size: 128, count: CountRule::Exact, rounding: Rounding::None };
        let mut group = c.benchmark_group(format!("layer {d}x{d}"));
        group.sample_size(10);
        // d^3/3 for the factor, d^3 for the products of the sweep.
        group.throughput(Throughput::Elements((4 * d * d * d / 3) as u64));
        for (name, pattern) in [("unstructured 50%", half), ("2:4", two_four)] {
            group.bench_function(format!("factor and sweep, {name}"), |b| {
                b.iter_batched(
                    || (hessian.clone(), matrix(dense.clone(), d)),
                    |(hessian, weight)| factor(hessian).sweep(weight, &options(pattern)).expect("swept"),
                    BatchSize::PerIteration,
                );
            });
        }
        group.throughput(Throughput::Elements((d * d * d / 3) as u64));
        group.bench_function("factor", |b| {
            b.iter_batched(|| hessian.clone(), factor, BatchSize::PerIteration);
        });
        group.bench_function("peer: faer llt", |b| {
            let mut full = hessian.clone();
            full.mirror();
            let mut full = MatRef::from_row_major_slice(full.as_slice(), d, d).to_owned();
            (0..d).for_each(|i| full[(i, i)] *= 1.01);
            b.iter(|| black_box(full.llt(faer::Side::Lower).expect("positive definite")));
        });
        group.throughput(Throughput::Elements((2 * d * d * d) as u64));
        let factored = factor(hessian.clone());
        let dense = matrix(dense, d);
        let swept = factored.sweep(dense.clone(), &options(half)).expect("swept");
        let damped = factored.into_damped().expect("the damped Hessian");
        group.bench_function("refine, one PCG step and its first residual", |b| {
            b.iter(|| damped.refine(swept.weight.clone(), &dense, &swept.mask, 1).expect("refined"));
        });
        group.finish();
    }
}

fn accumulate(c: &mut Criterion<CpuTime>) {
    let (tokens, d) = (4096, 3072);
    let x = random(3, tokens * d);
    let mut group = c.benchmark_group(format!("gram {tokens} tokens, d = {d}"));
    group.sample_size(10);
    group.throughput(Throughput::Elements((tokens * d * d) as u64));
    let mut h = cpu_engine().hessian(d).expect("an accumulator");
    let inputs = matrix(x.clone(), d);
    group.bench_function("lower triangle", |b| b.iter(|| h.add(&inputs, 1.0).expect("inputs of d columns")));
    group.throughput(Throughput::Elements((2 * tokens * d * d) as u64));
    let mut full = Mat::<f32>::zeros(d, d);
    group.bench_function("peer: full X^T X, faer", |b| {
        let x = MatRef::from_row_major_slice(&x, tokens, d);
        b.iter(|| matmul(full.as_mut(), Accum::Add, x.transpose(), x, 1.0, Par::rayon(0)));
    });
    group.finish();
}

fn main() {
    let mut criterion = support::criterion(Duration::from_secs(5));
    accumulate(&mut criterion);
    layer(&mut criterion);
    criterion.final_summary();
}
