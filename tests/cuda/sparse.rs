//! Forward passes whose Linears are multiplied as 2:4 sparse.

use obsdiff::Error;
use obsdiff::checkpoint::Pipeline;
use obsdiff::model::taps::taps;
use obsdiff::model::{NoObserver, Transformer};
use obsdiff::ops::{self, DType, Tensor, cpu_engine};

use super::forward::with_inputs;
use super::interpreted;
use super::support::{data, full, noises, relative_maximum};

/// Its Linears have 96 and 384 columns, multiples of 32.
const PIPELINE: &str = "sd35_large";

/// The model in bf16 with two of every four weights of every prunable Linear set to zero: which two changes from
/// four to four.
fn half_of_it() -> Transformer {
    let pipeline = Pipeline::open(data("pipelines").join(PIPELINE).join("pipeline")).unwrap();
    let mut model = Transformer::open(&pipeline, DType::BF16, interpreted()).unwrap();
    for linear in taps(&pipeline.architecture).into_iter().flat_map(|tap| tap.linears) {
        let weight = model.weight(&linear.name).unwrap();
        let (shape, mut values) = (weight.dims().to_vec(), weight.to_vec().unwrap());
        two_of_four(&mut values);
        model.set_weight(&linear.name, Tensor::from_vec(values, shape).unwrap()).unwrap();
    }
    model
}

fn two_of_four(values: &mut [f32]) {
    const DROPPED: [[usize; 2]; 6] = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    for (number, four) in values.chunks_exact_mut(4).enumerate() {
        DROPPED[number % 6].into_iter().for_each(|place| four[place] = 0.0);
    }
}

fn output(model: &Transformer) -> Tensor {
    with_inputs(PIPELINE, model.engine(), |input| model.forward(input, &mut NoObserver).unwrap().to_host().unwrap())
}

#[test]
fn packed_linears_give_the_dense_ones_result() {
    let mut model = half_of_it();
    let linears = taps(model.architecture()).iter().map(|tap| tap.linears.len()).sum::<usize>();
    let fitting: usize = taps(model.architecture())
        .iter()
        .filter(|tap| tap.columns.is_multiple_of(32))
        .map(|tap| tap.linears.len())
        .sum();
    let (dense, bytes) = (output(&model), model.bytes());
    assert_eq!(model.pack_sparse().unwrap(), fitting);
    println!("{fitting} of {linears} Linears have a multiple of 32 columns");
    assert!(fitting > 0, "no Linear of {PIPELINE} could be packed");
    assert!(model.bytes() < bytes, "{} bytes packed, {bytes} dense", model.bytes());
    let packed = output(&model);
    // Both sum the same products in f32, in another order, and round once to 8 bits at every Linear.
    let error = relative_maximum(&packed, &dense);
    println!("packed against dense: {error:e}");
    assert!(error <= 2f32.powi(-6), "off by {error:e}");
}

#[test]
fn a_dense_model_packs_nothing_and_stays_as_it_is() {
    let pipeline = Pipeline::open(data("pipelines").join(PIPELINE).join("pipeline")).unwrap();
    let mut model = Transformer::open(&pipeline, DType::F16, interpreted()).unwrap();
    let bytes = model.bytes();
    assert_eq!(model.pack_sparse().unwrap(), 0);
    assert_eq!(model.bytes(), bytes);
}

#[test]
fn one_packed_product_is_the_dense_one_in_both_dtypes() {
    let engine = interpreted();
    for dtype in [DType::F16, DType::BF16] {
        let (tokens, features, columns) = (5, 40, 96);
        let mut values = noises(1, features * columns);
        two_of_four(&mut values);
        let on_engine = |values: Vec<f32>, shape: &[usize], dtype| {
            engine.upload(&Tensor::from_vec(values, shape).unwrap().to_dtype(dtype).unwrap()).unwrap()
        };
        let x = on_engine(noises(2, tokens * columns), &[1, tokens, columns], dtype);
        let bias = on_engine(noises(3, features), &[features], dtype);
        let weight = on_engine(values, &[features, columns], dtype);
        let packed = ops::pack24(&weight).unwrap().expect("the weight is 2:4");
        assert_eq!((packed.dims(), packed.dtype()), (weight.dims(), dtype));
        let [dense, sparse] = [&weight, &packed].map(|w| ops::linear(&x, w, Some(&bias)).unwrap());
        let error = relative_maximum(&sparse, &dense);
        let bound = if dtype == DType::BF16 { 2f32.powi(-8) } else { 2f32.powi(-11) };
        assert!(error <= bound, "{dtype}: off by {error:e}");
        // The only operation on a packed tensor is that product.
        for refusal in [packed.to_vec().err(), packed.to_dtype(DType::F32).err(), packed.narrow(0, 0, 1).err()] {
            let refusal = refusal.expect("a packed tensor was read").to_string();
            assert!(refusal.contains("only `linear` takes"), "{refusal}");
        }
    }
}

#[test]
fn what_is_not_2_of_4_stays_dense() {
    let engine = interpreted();
    let pack = |values: Vec<f32>, columns: usize| {
        let rows = values.len() / columns;
        let host = Tensor::from_vec(values, [rows, columns]).unwrap().to_dtype(DType::BF16).unwrap();
        ops::pack24(&engine.upload(&host).unwrap()).unwrap()
    };
    let mut values = noises(4, 4 * 64);
    two_of_four(&mut values);
    assert!(pack(values.clone(), 64).is_some());
    assert!(pack(values.clone(), 16).is_none(), "16 columns are no multiple of 32");
    values[252..].fill(1.0);
    assert!(pack(values, 64).is_none(), "the last group holds four values");
}

#[test]
fn the_cpu_and_float32_refuse() {
    let weight = full(0.0, &[4, 32]);
    let narrow = weight.to_dtype(DType::BF16).unwrap();
    assert!(!cpu_engine().packs24());
    let refusals = [ops::pack24(&narrow), ops::pack24(&weight), ops::pack24(&interpreted().upload(&weight).unwrap())];
    for (refusal, part) in refusals.into_iter().zip(["found cpu", "found f32", "found f32"]) {
        match refusal {
            Err(error @ Error::Unsupported { .. }) => assert!(error.to_string().contains(part), "{error}"),
            other => panic!("expected a refusal, found {other:?}"),
        }
    }
}
