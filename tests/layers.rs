//! Single layers against the official OBS-Diff code (`tests/data/layers`) and against plain float64 versions.

mod support;

use obsdiff::ops::{
    CountRule, FactorError, Hessian, NM, Pattern, Rounding, Sparsity, SweepOptions, Symmetric, Tensor, cpu_engine,
};
use support::layers::{Case, cases};
use support::{assert_close, noises};

#[test]
fn hessian_matches_official() {
    // The larger cases record inputs alone, without the Hessian.
    let recorded: Vec<Case> = cases().into_iter().filter(|case| case.tensors.contains_key("H_f64")).collect();
    assert!(recorded.len() >= 6, "only {} Hessians are recorded", recorded.len());
    for case in recorded {
        let mut h = case.hessian(&*cpu_engine()).download().unwrap();
        h.mirror();
        assert_close(&case.name, h.as_slice(), &case.tensors["H_f64"].values, 1e-6);
    }
}

#[test]
fn mask_and_weights_match_official_when_asked_for_its_count() {
    for case in cases() {
        let recorded = case.tensors.get("H_f64");
        let given = recorded.map(|h| from_rows(case.shape().1, h.f32()));
        let sources = [("own Hessian", Some(case.hessian(&*cpu_engine()))), ("official Hessian", given)];
        for (source, hessian) in sources.into_iter().filter_map(|(source, hessian)| Some((source, hessian?))) {
            let what = format!("{} with {source}", case.name);
            let (weight, mask, _) = case.sweep(&*case.factor(hessian), CountRule::Official, &*cpu_engine());
            let expected = &case.tensors["W_pruned_f64"].values;
            let differing = weight.iter().zip(expected).filter(|(w, e)| (**w == 0.0) != (**e == 0.0)).count();
            assert_eq!(differing, 0, "{what}: zeros at other places");
            assert_close(&what, &weight, expected, 1e-5);
            let removed_is_zero = mask.as_slice().iter().zip(&weight).all(|(&keep, &w)| keep || w == 0.0);
            assert!(removed_is_zero, "{what}: the mask names a nonzero weight");
        }
    }
}

#[test]
fn exact_rule_removes_exactly_the_asked_share() {
    for case in cases() {
        let Pattern::Unstructured(sparsity) = case.pattern else { continue };
        let (rows, columns) = case.shape();
        let (_, mask, _) = case.sweep(&*case.factor(case.hessian(&*cpu_engine())), CountRule::Exact, &*cpu_engine());
        assert_eq!(mask.pruned(), sparsity.count(rows * columns), "{}", case.name);
    }
}

#[test]
fn loss_of_the_sweep_is_the_change_of_the_output() {
    for case in cases() {
        let (rows, d) = case.shape();
        let factored = case.factor(case.hessian(&*cpu_engine()));
        let dead = factored.dead().to_vec();
        let (weight, _, loss) = case.sweep(&*factored, CountRule::Exact, &*cpu_engine());
        let damped = factored.into_damped().unwrap().download().unwrap();
        let mut expected = 0.0;
        for row in 0..rows {
            let change: Vec<f64> = (0..d)
                .map(|j| {
                    if dead.contains(&j) {
                        0.0
                    } else {
                        case.tensors["W"].values[row * d + j] - f64::from(weight[row * d + j])
                    }
                })
                .collect();
            for i in 0..d {
                for j in 0..d {
                    expected += change[i] * f64::from(damped.as_slice()[i * d + j]) * change[j];
                }
            }
        }
        assert!((loss - expected).abs() <= 2e-5 * expected + 1e-12, "{}: {loss} against {expected}", case.name);
    }
}

/// Plain float64 SparseGPT on the upper factor of the inverse, by three factorisations.
fn sparsegpt_f64(weight: &[f64], h: &[f64], d: usize, pattern: Pattern, block_size: usize, damping: f64) -> Vec<f64> {
    let mean = (0..d).map(|i| h[i * d + i]).sum::<f64>() / d as f64;
    let mut damped = h.to_vec();
    (0..d).for_each(|i| damped[i * d + i] += damping * mean);
    let mut inverse = vec![0.0; d * d];
    let l = cholesky_f64(&damped, d);
    for column in 0..d {
        let mut x = vec![0.0; d];
        for i in 0..d {
            let unit = if i == column { 1.0 } else { 0.0 };
            x[i] = (unit - (0..i).map(|k| l[i * d + k] * x[k]).sum::<f64>()) / l[i * d + i];
        }
        for i in (0..d).rev() {
            x[i] = (x[i] - (i + 1..d).map(|k| l[k * d + i] * x[k]).sum::<f64>()) / l[i * d + i];
        }
        (0..d).for_each(|i| inverse[i * d + column] = x[i]);
    }
    let lower = cholesky_f64(&inverse, d);
    let u = |i: usize, j: usize| lower[j * d + i];
    let rows = weight.len() / d;
    let mut w = weight.to_vec();
    for start in (0..d).step_by(block_size) {
        let end = (start + block_size).min(d);
        let mut falls = vec![false; rows * d];
        let score = |w: &[f64], row: usize, j: usize| (w[row * d + j] / u(j, j)).powi(2);
        if let Pattern::Unstructured(s) = pattern {
            let mut order: Vec<(usize, usize)> = (0..rows).flat_map(|r| (start..end).map(move |j| (r, j))).collect();
            order.sort_by(|&(r, j), &(q, k)| score(&w, r, j).total_cmp(&score(&w, q, k)).then((r, j).cmp(&(q, k))));
            let count = s.count(rows * end) - s.count(rows * start);
            order[..count].iter().for_each(|&(r, j)| falls[r * d + j] = true);
        }
        for row in 0..rows {
            for i in start..end {
                if let Pattern::NM(nm) = pattern
                    && (i - start) % nm.of() == 0
                {
                    let mut group: Vec<usize> = (i..i + nm.of()).collect();
                    group.sort_by(|&j, &k| score(&w, row, j).total_cmp(&score(&w, row, k)).then(j.cmp(&k)));
                    group[..nm.of() - nm.keep()].iter().for_each(|&j| falls[row * d + j] = true);
                }
                if falls[row * d + i] {
                    let error = w[row * d + i] / u(i, i);
                    for j in i + 1..d {
                        w[row * d + j] -= error * u(i, j);
                    }
                    w[row * d + i] = 0.0;
                }
            }
        }
    }
    w
}

fn cholesky_f64(a: &[f64], n: usize) -> Vec<f64> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let sum = a[i * n + j] - (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum::<f64>();
            l[i * n + j] = if i == j { sum.sqrt() } else { sum / l[j * n + j] };
        }
    }
    l
}

/// A Hessian from its rows.
fn from_rows(d: usize, values: Vec<f32>) -> Box<dyn Hessian> {
    cpu_engine().hessian_from(Symmetric::from_rows(d, values).expect("square")).unwrap()
}

/// Random inputs `[tokens, d]`, their Hessian in f32 and in float64.
fn random_problem(tokens: usize, d: usize, seed: u64) -> (Box<dyn Hessian>, Vec<f64>) {
    let x = noises(seed, tokens * d);
    let mut h = cpu_engine().hessian(d).unwrap();
    assert!(h.add(&Tensor::from_vec(x.clone(), [tokens, d]).unwrap(), 1.0).unwrap());
    let mut exact = vec![0.0; d * d];
    for row in x.chunks_exact(d) {
        for i in 0..d {
            for j in 0..d {
                exact[i * d + j] += f64::from(row[i]) * f64::from(row[j]);
            }
        }
    }
    (h, exact)
}

#[test]
fn gram_equals_float64_at_every_small_size_and_around_tile_edges() {
    for d in (1..=64).chain([127, 128, 129, 255, 256, 257, 300, 513]) {
        for tokens in [0, 1, 2, 65] {
            let (h, exact) = random_problem(tokens, d, d as u64);
            let mut h = h.download().unwrap();
            h.mirror();
            assert_close(&format!("gram d {d} tokens {tokens}"), h.as_slice(), &exact, 1e-6);
        }
    }
}

#[test]
fn sweep_equals_float64_sparsegpt_at_every_size() {
    let half = Pattern::Unstructured(Sparsity::new(0.5).expect("half"));
    let two_four = Pattern::NM(NM::new(2, 4).expect("2:4"));
    for d in (1..=64).chain([127, 128, 129, 255, 257, 300]) {
        for (pattern, block_size) in [(half, 128), (half, 16), (two_four, 128), (two_four, 32)] {
            if matches!(pattern, Pattern::NM(nm) if d % nm.of() != 0) {
                continue;
            }
            let rows = if d % 3 == 0 { 300 } else { 5 };
            let (h, exact) = random_problem(3 * d + 8, d, 7 + d as u64);
            let weight = noises(99 + d as u64, rows * d);
            let wide: Vec<f64> = weight.iter().map(|&w| f64::from(w)).collect();
            let expected = sparsegpt_f64(&wide, &exact, d, pattern, block_size, 0.01);
            let factored = h.factor(0.01).expect("positive definite");
            let options = SweepOptions { pattern, block_size, count: CountRule::Exact, rounding: Rounding::None };
            let swept = factored.sweep(Tensor::from_vec(weight, [rows, d]).unwrap(), &options).unwrap();
            let found = swept.weight.into_vec().unwrap();
            let what = format!("sweep {pattern} d {d} rows {rows} block {block_size}");
            let differing = found.iter().zip(&expected).filter(|(f, e)| (**f == 0.0) != (**e == 0.0)).count();
            assert_eq!(differing, 0, "{what}: zeros at other places");
            assert_close(&what, &found, &expected, 2e-5);
        }
    }
}

#[test]
fn failing_pivot_is_named_and_the_matrix_given_back() {
    let d = 200;
    let mut data = vec![0.0; d * d];
    (0..d).for_each(|i| data[i * d + i] = if i == 77 { -1.0 } else { 1.0 });
    let refused = from_rows(d, data.clone()).factor(0.0);
    let Err(FactorError::NonPositivePivot { hessian, index }) = refused else { panic!("factored: {refused:?}") };
    assert_eq!(index, 77);
    let given_back = hessian.download().unwrap();
    for i in 0..d {
        assert_eq!(given_back.as_slice()[i * d..i * d + i + 1], data[i * d..i * d + i + 1], "row {i}");
    }
}

#[test]
fn refinement_reaches_the_least_squares_solution_and_never_leaves_the_mask() {
    let (rows, d) = (7, 40);
    let (h, exact) = random_problem(200, d, 3);
    let dense = noises(5, rows * d);
    let factored = h.factor(0.01).expect("positive definite");
    let dense_tensor = Tensor::from_vec(dense.clone(), [rows, d]).unwrap();
    let pattern = Pattern::Unstructured(Sparsity::new(0.6).expect("0.6"));
    let options = SweepOptions { pattern, block_size: 8, count: CountRule::Exact, rounding: Rounding::None };
    let swept = factored.sweep(dense_tensor.clone(), &options).unwrap();
    let (mask, damping) = (swept.mask, f64::from(factored.damping()));
    let damped = factored.into_damped().unwrap();
    let weight = damped.refine(swept.weight, &dense_tensor, &mask, 60).unwrap().into_vec().unwrap();
    for row in 0..rows {
        let kept: Vec<usize> = (0..d).filter(|&j| mask.row(row)[j]).collect();
        let n = kept.len();
        let at = |i: usize, j: usize| exact[i * d + j] + if i == j { damping } else { 0.0 };
        let reduced: Vec<f64> = (0..n * n).map(|p| at(kept[p / n], kept[p % n])).collect();
        let target: Vec<f64> =
            kept.iter().map(|&i| (0..d).map(|j| at(i, j) * f64::from(dense[row * d + j])).sum()).collect();
        let l = cholesky_f64(&reduced, n);
        let mut x = vec![0.0; n];
        for i in 0..n {
            x[i] = (target[i] - (0..i).map(|k| l[i * n + k] * x[k]).sum::<f64>()) / l[i * n + i];
        }
        for i in (0..n).rev() {
            x[i] = (x[i] - (i + 1..n).map(|k| l[k * n + i] * x[k]).sum::<f64>()) / l[i * n + i];
        }
        let mut expected = vec![0.0; d];
        kept.iter().zip(&x).for_each(|(&j, &value)| expected[j] = value);
        assert_close(&format!("row {row}"), &weight[row * d..(row + 1) * d], &expected, 1e-4);
        assert!((0..d).all(|j| mask.row(row)[j] || weight[row * d + j] == 0.0), "row {row} left its mask");
    }
}

#[test]
fn rounding_inside_the_sweep_leaves_only_representable_weights_and_costs_less_than_rounding_after() {
    let (rows, d) = (64, 96);
    let dense = noises(11, rows * d);
    let pattern = Pattern::Unstructured(Sparsity::new(0.0).expect("nothing removed"));
    let loss = |rounding: Rounding, after: bool| {
        let (h, exact) = random_problem(120, d, 21);
        let factored = h.factor(0.01).expect("positive definite");
        let options = SweepOptions { pattern, block_size: 32, count: CountRule::Exact, rounding };
        let swept = factored.sweep(Tensor::from_vec(dense.clone(), [rows, d]).unwrap(), &options).unwrap();
        let mut weight = swept.weight.into_vec().unwrap();
        if after {
            weight.iter_mut().for_each(|w| *w = Rounding::BF16.apply(*w));
        }
        assert!(weight.iter().all(|&w| Rounding::BF16.apply(w) == w), "a weight is not a bf16 number");
        let mut total = 0.0;
        for (row, dense) in weight.chunks_exact(d).zip(dense.chunks_exact(d)) {
            let change: Vec<f64> = row.iter().zip(dense).map(|(w, x)| f64::from(x - w)).collect();
            for i in 0..d {
                total += change[i] * (0..d).map(|j| exact[i * d + j] * change[j]).sum::<f64>();
            }
        }
        total
    };
    let (inside, after) = (loss(Rounding::BF16, false), loss(Rounding::None, true));
    assert!(inside < 0.9 * after, "inside {inside:e}, after {after:e}");
}

#[test]
fn same_bytes_for_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| {
            let (h, _) = random_problem(700, 300, 1);
            let factored = h.factor(0.01).expect("positive definite");
            let dense = Tensor::from_vec(noises(2, 600 * 300), [600, 300]).unwrap();
            let pattern = Pattern::Unstructured(Sparsity::new(0.5).expect("half"));
            let options = SweepOptions { pattern, block_size: 128, count: CountRule::Exact, rounding: Rounding::None };
            let swept = factored.sweep(dense.clone(), &options).unwrap();
            let damped = factored.into_damped().unwrap();
            let weight = damped.refine(swept.weight, &dense, &swept.mask, 3).unwrap().into_vec().unwrap();
            weight.iter().map(|w| w.to_bits()).collect::<Vec<u32>>()
        })
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert!(run(threads) == one, "{threads} threads give other bytes");
    }
}

#[test]
fn energy_is_the_trace_in_float64_at_every_size() {
    for (rows, d) in (1..=64).map(|d| (5, d)).chain([(300, 129), (257, 300)]) {
        let (h, exact) = random_problem(2 * d, d, 31 + d as u64);
        let diagonal: Vec<f32> = (0..d).map(|i| exact[i * d + i] as f32).collect();
        assert_close("diagonal", &h.diagonal().unwrap(), &diagonal.iter().map(|&h| h.into()).collect::<Vec<_>>(), 1e-6);
        let mut full = h.factor(0.01).expect("positive definite").into_damped().unwrap();
        full.set_diagonal(&diagonal).unwrap();
        let weight = noises(8, rows * d);
        let expected: f64 = weight
            .chunks_exact(d)
            .map(|row| {
                let at = |i: usize, j: usize| f64::from(row[i]) * exact[i * d + j] * f64::from(row[j]);
                (0..d * d).map(|k| at(k / d, k % d)).sum::<f64>()
            })
            .sum();
        let found = full.energy(&Tensor::from_vec(weight, [rows, d]).unwrap()).unwrap();
        assert!((found - expected).abs() <= 1e-5 * expected, "{rows} x {d}: {found}, expected {expected}");
    }
}

#[test]
fn inputs_are_summed_with_their_weights_and_a_bad_one_is_noticed() {
    let mut h = cpu_engine().hessian(3).unwrap();
    let inputs = |values: Vec<f32>| Tensor::from_vec(values, [2, 1, 3]).unwrap();
    assert!(h.add(&inputs(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 2.0).unwrap());
    assert!(h.add(&inputs(vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0]), 0.5).unwrap());
    h.scale(10.0).unwrap();
    assert_eq!(h.input_sum().unwrap(), [10.5, 14.5, 18.0]);
    assert_eq!(h.diagonal().unwrap(), [345.0, 585.0, 900.0]);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut h = cpu_engine().hessian(3).unwrap();
        assert!(!h.add(&inputs(vec![0.0, 0.0, 0.0, 0.0, bad, 0.0]), 1.0).unwrap());
    }
    assert!(h.add(&Tensor::from_vec(vec![0.0; 4], [2, 2]).unwrap(), 1.0).is_err(), "another width was taken");
}
