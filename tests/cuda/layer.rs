//! The main job on single layers: gram, factor, sweep, refine, energy, then pack24 and spmm24 on the result.

use half::bf16;
use obsdiff::calibration::TapHessian;
use obsdiff::model::taps::{Linear, Stream, Tap};
use obsdiff::ops::{CountRule, Engine, NM, Pattern, Rounding, Sparsity, SweepOptions, Symmetric, Tensor, cpu_engine};
use obsdiff::prune::{DenseLayer, PrunedLayer, SolveTimes, solve};
use obsdiff::recipe::{Patch, Recipe};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::pack24::Packed24;
use obsdiff_kernels::spmm24::spmm24;
use obsdiff_kernels::{Buffer, Matrix, MatrixMut};

use super::interpreted;
use super::support::layers::{Case, cases};
use super::support::{assert_close, noises};

#[test]
fn hessians_match_official() {
    let engine = interpreted();
    for case in cases().into_iter().filter(|case| case.tensors.contains_key("H_f64")) {
        let mut h = case.hessian(&*engine).download().unwrap();
        h.mirror();
        assert_close(&case.name, h.as_slice(), &case.tensors["H_f64"].values, 1e-6);
    }
}

#[test]
fn masks_and_weights_match_official() {
    let engine = interpreted();
    for case in cases() {
        let factored = case.factor(case.hessian(&*engine));
        let (weight, mask, _) = case.sweep(&*factored, CountRule::Official, &*engine);
        let expected = &case.tensors["W_pruned_f64"].values;
        let differing = weight.iter().zip(expected).filter(|(w, e)| (**w == 0.0) != (**e == 0.0)).count();
        assert_eq!(differing, 0, "{}: zeros at other places", case.name);
        assert_close(&case.name, &weight, expected, 1e-5);
        let removed_is_zero = mask.as_slice().iter().zip(&weight).all(|(&keep, &w)| keep || w == 0.0);
        assert!(removed_is_zero, "{}: the mask names a nonzero weight", case.name);
    }
}

#[test]
fn weights_that_share_a_hessian_are_swept_together_as_one_by_one() {
    let half = |rounding, sparsity| SweepOptions {
        pattern: Pattern::Unstructured(Sparsity::new(sparsity).unwrap()),
        block_size: 64,
        count: CountRule::Exact,
        rounding,
    };
    let two_four = |rounding| SweepOptions { pattern: Pattern::NM(NM::new(2, 4).unwrap()), ..half(rounding, 0.5) };
    let groups = [
        vec![(48, half(Rounding::None, 0.5)), (7, half(Rounding::BF16, 0.25)), (129, half(Rounding::F16, 0.75))],
        vec![(33, two_four(Rounding::BF16)), (64, two_four(Rounding::None))],
    ];
    let (engine, columns) = (interpreted(), 200);
    let mut hessian = engine.hessian(columns).unwrap();
    let inputs = Tensor::from_vec(noises(3, 2 * columns * columns), [1, 2 * columns, columns]).unwrap();
    hessian.add(&engine.upload(&inputs).unwrap(), 1.0).unwrap();
    let factored = hessian.factor(0.01).unwrap();
    for group in groups {
        let weight = |&(rows, options): &(usize, SweepOptions)| {
            let values = Tensor::from_vec(noises(rows as u64, rows * columns), [rows, columns]).unwrap();
            (engine.upload(&values).unwrap(), options)
        };
        let together = factored.sweep_all(group.iter().map(weight).collect()).unwrap();
        assert_eq!(together.len(), group.len());
        for (layer, together) in group.iter().zip(together) {
            let (weight, options) = weight(layer);
            let alone = factored.sweep(weight, &options).unwrap();
            assert_eq!(together.mask, alone.mask, "{layer:?}");
            assert_eq!(together.weight.to_vec().unwrap(), alone.weight.to_vec().unwrap(), "{layer:?}");
            assert_eq!(together.damped_loss, alone.damped_loss, "{layer:?}");
        }
    }
}

/// One layer by the default preset, which refines and rounds to bf16.
fn solved(case: &Case, engine: &dyn Engine) -> (PrunedLayer, f64) {
    let (rows, columns) = case.shape();
    let linear = Linear { name: "layer".into(), rows };
    let tap = Tap { columns, stream: Stream::Image, linears: vec![linear.clone()] };
    let patch = match case.pattern {
        Pattern::Unstructured(sparsity) => Patch { sparsity: Some(sparsity.get()), ..Patch::default() },
        Pattern::NM(nm) => Patch { pattern: Some(nm.to_string()), ..Patch::default() },
    };
    let recipe = Recipe::resolve(&Patch { block_size: Some(case.block_size), ..patch }).unwrap();
    let recorded: Symmetric = case.hessian(&*cpu_engine()).download().unwrap();
    let hessian = TapHessian::from_matrix(tap, recorded, engine).unwrap();
    let weight = Tensor::from_vec(case.tensors["W"].f32(), [rows, columns]).unwrap();
    let dense = DenseLayer { linear, weight, stored_as: Rounding::BF16 };
    let (mut pruned, health) = solve(hessian, vec![dense], &recipe, engine, &mut SolveTimes::default()).unwrap();
    (pruned.remove(0), health.smallest_pivot.unwrap())
}

#[test]
fn the_whole_solution_is_the_cpu_engine_s() {
    let engine = interpreted();
    for case in cases() {
        let (gpu, gpu_pivot) = solved(&case, &*engine);
        let (cpu, cpu_pivot) = solved(&case, &*cpu_engine());
        assert_eq!(gpu.mask, cpu.mask, "{}: masks differ", case.name);
        let expected: Vec<f64> = cpu.weight.to_vec().unwrap().into_iter().map(f64::from).collect();
        // A weight between two bf16 numbers may fall to either side: they are up to 2^-7 of it apart.
        assert_close(&case.name, &gpu.weight.to_vec().unwrap(), &expected, 1.0 / 128.0);
        let (found, expected) = (gpu.relative_error.unwrap(), cpu.relative_error.unwrap());
        assert!((found - expected).abs() <= 1e-3 * expected, "{}: error {found} against {expected}", case.name);
        assert!((gpu_pivot - cpu_pivot).abs() <= 1e-4 * cpu_pivot, "{}: {gpu_pivot} against {cpu_pivot}", case.name);
    }
}

#[test]
fn a_two_four_layer_packs_and_multiplies_like_its_dense_form() {
    let case = cases().into_iter().find(|case| case.name.starts_with("nm24")).unwrap();
    let (rows, columns) = case.shape();
    let (pruned, _) = solved(&case, &*interpreted());
    let weight: Vec<bf16> = pruned.weight.to_vec().unwrap().into_iter().map(bf16::from_f32).collect();
    let tokens = 37;
    let x: Vec<bf16> = (0..tokens * columns).map(|i| bf16::from_f32(((i * 31 % 97) as f32 - 48.0) / 48.0)).collect();

    let device = Interpreted::device();
    let dense = Buffer::from_slice(&device, &weight, "weights").unwrap();
    let packed = Packed24::compress(&device, Matrix::from_buffer(&dense, rows, columns).unwrap()).unwrap();
    let mut restored: Buffer<bf16> = Buffer::zeros(&device, weight.len(), "weights").unwrap();
    packed.decompress(&mut MatrixMut::from_buffer(&mut restored, rows, columns).unwrap()).unwrap();
    let same = |a: &bf16, b: &bf16| a.to_f32() == b.to_f32();
    assert!(restored.to_vec().unwrap().iter().zip(&weight).all(|(a, b)| same(a, b)), "packing changed a weight");

    let registers = packed.into_registers().unwrap();
    let input = Buffer::from_slice(&device, &x, "inputs").unwrap();
    let mut y: Buffer<bf16> = Buffer::zeros(&device, tokens * rows, "outputs").unwrap();
    let mut out = MatrixMut::from_buffer(&mut y, tokens, rows).unwrap();
    spmm24(&device, Matrix::from_buffer(&input, tokens, columns).unwrap(), &registers, None, &mut out).unwrap();
    let found: Vec<f32> = y.to_vec().unwrap().iter().map(|value| value.to_f32()).collect();
    let product = |token: usize, row: usize| -> f64 {
        (0..columns).map(|k| f64::from(x[token * columns + k]) * f64::from(weight[row * columns + k])).sum()
    };
    let expected: Vec<f64> = (0..tokens * rows).map(|i| product(i / rows, i % rows)).collect();
    assert_close("spmm24", &found, &expected, 1.0 / 256.0);
}
