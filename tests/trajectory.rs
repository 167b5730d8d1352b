//! Trajectories against diffusers: the small pipelines and the trained digits model.

mod support;

use obsdiff::Result;
use obsdiff::conditioning::Conditioning;
use obsdiff::model::{Observer, Transformer};
use obsdiff::ops::{DType, Tensor};
use obsdiff::sampling::{NoProbe, Probe, Sampler, SamplingOptions};
use support::{
    Pipeline, data, entry, full, json, load_transformer, models, relative_frobenius, relative_maximum, tensors,
};

const BOUND: f64 = 1e-4;

/// Keeps the latents after every step.
#[derive(Default)]
struct Steps(Vec<Tensor>);

impl Observer for Steps {
    fn observe(&mut self, _: &str, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

impl Probe for Steps {
    fn end_step(&mut self, _: usize, latents: &Tensor) -> Result<()> {
        self.0.push(latents.clone());
        Ok(())
    }
}

fn open(name: &str) -> (Transformer, Sampler, Conditioning) {
    let folder = Pipeline::reference(name).folder;
    let info = json(&folder.join("info.json"));
    let model = load_transformer(&folder.join("pipeline"), DType::F32);
    let options = SamplingOptions {
        num_inference_steps: info["num_inference_steps"].as_u64().unwrap() as usize,
        guidance_scale: info["guidance_scale"].as_f64().unwrap() as f32,
        height: info["height"].as_u64().unwrap() as usize,
        width: info["width"].as_u64().unwrap() as usize,
        seed: 0,
        batch_size: 0,
    };
    let scheduler = json(&folder.join("pipeline/scheduler/scheduler_config.json"));
    let vae = json(&folder.join("pipeline/vae/config.json"));
    let sampler = Sampler::new(model.architecture(), &scheduler, &vae, options).unwrap();
    let conditioning = Conditioning::open(&folder.join("conditioning.safetensors"), model.architecture()).unwrap();
    (model, sampler, conditioning)
}

fn open_digits(file: &str, batch_size: usize) -> (Transformer, Sampler, Conditioning) {
    let folder = models("sd3_digits/pipeline");
    let model = load_transformer(&folder, DType::F32);
    let vae = json(&folder.join("vae/config.json"));
    let options = SamplingOptions {
        num_inference_steps: 20,
        guidance_scale: 2.0,
        batch_size,
        ..SamplingOptions::defaults(model.architecture(), &vae)
    };
    let scheduler = json(&folder.join("scheduler/scheduler_config.json"));
    let sampler = Sampler::new(model.architecture(), &scheduler, &vae, options).unwrap();
    let conditioning = Conditioning::open(&models("sd3_digits").join(file), model.architecture()).unwrap();
    (model, sampler, conditioning)
}

fn assert_schedule(name: &str, sampler: &Sampler, expected: &std::collections::HashMap<String, Tensor>) {
    for (key, found) in [("sigmas", &sampler.schedule().sigmas), ("timesteps", &sampler.schedule().timesteps)] {
        let expected = expected[key].to_vec().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}: {key}");
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{name}: {key} {i} is {a}, expected {b}");
        }
    }
}

#[test]
fn every_step_matches_diffusers() {
    for name in ["sd3_medium", "sd35_large", "sd35_medium", "flux_dev"] {
        let (model, sampler, conditioning) = open(name);
        let expected = tensors(&data("pipelines").join(name).join("expected.safetensors"));
        assert_schedule(name, &sampler, &expected);
        let mut steps = Steps::default();
        let last = sampler.sample(&model, &conditioning, &mut steps).unwrap();
        let error = relative_frobenius(&last, &expected["final_latents"]);
        println!("{name}: final latents off by {error:e}");
        assert!(error <= BOUND, "{name}: final latents off by {error:e}");
        assert_eq!(steps.0.len(), sampler.schedule().steps());
        for (step, latents) in steps.0.iter().enumerate() {
            let error = relative_frobenius(latents, &entry(&expected["step_latents"], step));
            assert!(error <= BOUND, "{name}: latents after step {step} off by {error:e}");
        }
    }
}

#[test]
fn digits_match_diffusers_on_all_evaluation_prompts() {
    let (model, sampler, conditioning) = open_digits("evaluation.safetensors", 200);
    let expected = tensors(&data("official/expected_dense.safetensors"));
    assert_schedule("sd3_digits", &sampler, &expected);
    let mut steps = Steps::default();
    let last = sampler.sample(&model, &conditioning, &mut steps).unwrap();
    let error = relative_frobenius(&last, &expected["final_latents"]);
    println!("sd3_digits: final latents off by {error:e}");
    assert!(error <= BOUND, "final latents off by {error:e}");
    let first20 = expected["first20_index"].to_vec().unwrap();
    for (step, latents) in steps.0.iter().enumerate() {
        let rows: Vec<Tensor> = first20.iter().map(|&row| latents.narrow(0, row as usize, 1).unwrap()).collect();
        let found = Tensor::cat(&rows.iter().collect::<Vec<_>>(), 0).unwrap();
        let error = relative_frobenius(&found, &entry(&expected["step_latents_first20"], step));
        assert!(error <= BOUND, "latents after step {step} off by {error:e}");
    }
}

#[test]
fn result_does_not_depend_on_batching_or_threads() {
    let (model, _, conditioning) = open_digits("calibration.safetensors", 0);
    let mut conditioning = conditioning.slice(0..11).unwrap();
    conditioning.latents = None;
    let run = |batch_size, threads| {
        let (_, sampler, _) = open_digits("calibration.safetensors", batch_size);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| sampler.sample(&model, &conditioning, &mut NoProbe)).unwrap()
    };
    let whole = run(0, 1);
    assert_eq!(relative_maximum(&run(0, 2), &whole), 0.0);
    assert_eq!(relative_maximum(&run(0, 5), &whole), 0.0);
    for batch_size in [1, 3, 10] {
        let error = relative_frobenius(&run(batch_size, 2), &whole);
        assert!(error < 1e-5, "batches of {batch_size}: off by {error:e}");
    }
}

/// A probe that notes the order of calls.
#[derive(Default)]
struct Order(Vec<String>);

impl Observer for Order {
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()> {
        if module == "transformer_blocks.0.attn.to_q" {
            self.0.push(format!("input of {} rows", input.dim(0)?));
        }
        Ok(())
    }
}

impl Probe for Order {
    fn begin_batch(&mut self, rows: std::ops::Range<usize>) -> Result<()> {
        self.0.push(format!("rows {rows:?}"));
        Ok(())
    }

    fn begin_step(&mut self, step: usize, total: usize) -> Result<()> {
        self.0.push(format!("step {step} of {total}"));
        Ok(())
    }

    fn end_step(&mut self, step: usize, latents: &Tensor) -> Result<()> {
        self.0.push(format!("end {step}, {} prompts", latents.dim(0)?));
        Ok(())
    }
}

#[test]
fn a_probe_sees_batches_and_steps_in_order() {
    let folder = models("sd3_digits/pipeline");
    let (model, _, conditioning) = open_digits("calibration.safetensors", 0);
    let vae = json(&folder.join("vae/config.json"));
    let options = SamplingOptions {
        num_inference_steps: 1,
        guidance_scale: 2.0,
        batch_size: 2,
        ..SamplingOptions::defaults(model.architecture(), &vae)
    };
    let scheduler = json(&folder.join("scheduler/scheduler_config.json"));
    let sampler = Sampler::new(model.architecture(), &scheduler, &vae, options).unwrap();
    let mut order = Order::default();
    sampler.sample(&model, &conditioning.slice(0..3).unwrap(), &mut order).unwrap();
    assert_eq!(
        order.0,
        [
            "rows 0..2",
            "step 0 of 1",
            "input of 4 rows",
            "end 0, 2 prompts",
            "rows 2..3",
            "step 0 of 1",
            "input of 2 rows",
            "end 0, 1 prompts"
        ]
    );
}

#[test]
fn the_first_tensor_that_is_not_finite_is_named_with_its_step() {
    let (mut model, sampler, conditioning) = open("sd35_large");
    let module = "transformer_blocks.1.ff.net.0.proj";
    let huge = full(1e38, model.weight(module).unwrap().dims());
    model.set_weight(module, huge).unwrap();
    let error = sampler.sample(&model, &conditioning, &mut NoProbe).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let message = error.to_string();
    assert!(message.contains("transformer_blocks.1.ff.net.2.input") && message.contains("step 1 of 10"), "{message}");
}
