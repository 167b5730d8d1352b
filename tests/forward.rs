//! The forward pass against diffusers on small pipelines of every architecture.

mod support;

use std::collections::HashMap;

use obsdiff::Result;
use obsdiff::model::taps::{Stream, taps};
use obsdiff::model::{ForwardInput, NoObserver, Observer, Transformer};
use obsdiff::ops::{DType, Tensor, cpu_engine};
use support::{Pipeline, full, load_transformer, relative_maximum, tensors};

/// Allowed difference relative to the largest value; diffusers' own float32 differs from float64 by a
/// tenth of it.
const BOUND: f32 = 2e-5;

fn forward(model: &Transformer, inputs: &HashMap<String, Tensor>, observer: &mut dyn Observer) -> Tensor {
    let timestep = inputs["timestep"].to_vec().unwrap();
    let guidance = inputs.get("guidance").map(|g| g.to_vec().unwrap());
    let image_grid = inputs.get("img_ids").map_or([0, 0], |ids| match ids.as_slice().unwrap() {
        [.., row, column] => [*row as usize + 1, *column as usize + 1],
        short => panic!("{short:?} holds no position"),
    });
    let input = ForwardInput {
        hidden_states: &inputs["hidden_states"],
        encoder_hidden_states: &inputs["encoder_hidden_states"],
        pooled_projections: &inputs["pooled_projections"],
        timestep: &timestep,
        guidance: guidance.as_deref(),
        image_grid,
    };
    model.forward(&input, observer).unwrap()
}

/// Block outputs under the names of the reference file.
#[derive(Default)]
struct Blocks(HashMap<String, Tensor>);

impl Observer for Blocks {
    fn observe(&mut self, _: &str, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn block_output(&mut self, block: &str, stream: Stream, output: &Tensor) -> Result<()> {
        let part = match stream {
            Stream::Text => "out0",
            Stream::Image => "out1",
            Stream::Joint => "out",
        };
        self.0.insert(format!("inter.{block}.{part}"), output.clone());
        Ok(())
    }
}

#[test]
fn output_and_every_block_match_diffusers() {
    for name in ["sd3_medium", "sd35_large", "sd35_medium", "flux_dev"] {
        let pipeline = Pipeline::reference(name);
        let model = pipeline.transformer(DType::F32);
        let reference = tensors(&pipeline.folder.join("forward.safetensors"));
        let mut blocks = Blocks::default();
        let output = forward(&model, &reference, &mut blocks);
        let error = relative_maximum(&output, &reference["output"]);
        println!("{name}: output off by {error:e}");
        assert!(error <= BOUND, "{name}: output off by {error:e}");
        assert!(!blocks.0.is_empty());
        for (block, found) in &blocks.0 {
            let error = relative_maximum(found, &reference[block]);
            assert!(error <= BOUND, "{name}: {block} off by {error:e}");
        }
        let is_block = |name: &str| {
            let parts: Vec<&str> = name.split('.').collect();
            parts.len() == 4 && parts[1].ends_with("transformer_blocks")
        };
        for block in reference.keys().filter(|name| is_block(name)) {
            assert!(blocks.0.contains_key(block), "{name}: {block} was not shown");
        }
    }
}

#[test]
fn sharded_bf16_checkpoint_matches_in_either_weight_dtype() {
    let folder = support::data("pipelines/sd35_medium_sharded_bf16");
    let reference = tensors(&folder.join("ref/forward_f32arith.safetensors"));
    let wide = load_transformer(&folder, DType::F32);
    let narrow = load_transformer(&folder, DType::BF16);
    let output = forward(&wide, &reference, &mut NoObserver);
    let error = relative_maximum(&output, &reference["output"]);
    println!("sharded bf16: output off by {error:e}");
    assert!(error <= BOUND, "output off by {error:e}");
    assert_eq!(narrow.bytes() * 2, wide.bytes());
    let same = forward(&narrow, &reference, &mut NoObserver);
    assert_eq!(relative_maximum(&same, &output), 0.0, "widening at use must give the same bits");
}

/// Counts calls per module and checks widths.
struct Seen(HashMap<String, (usize, usize)>);

impl Observer for Seen {
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()> {
        assert_eq!(input.dtype(), DType::F32);
        assert!(input.as_slice()?.iter().all(|x| x.is_finite()), "{module}");
        let seen = self.0.entry(module.to_string()).or_insert((0, 0));
        *seen = (seen.0 + 1, *input.dims().last().unwrap());
        Ok(())
    }
}

#[test]
fn observer_sees_every_linear_once_with_its_width() {
    for name in ["sd3_medium", "sd35_large", "sd35_medium", "flux_dev"] {
        let pipeline = Pipeline::reference(name);
        let model = pipeline.transformer(DType::F32);
        let mut seen = Seen(HashMap::new());
        forward(&model, &tensors(&pipeline.folder.join("forward.safetensors")), &mut seen);
        for tap in taps(model.architecture()) {
            for linear in &tap.linears {
                assert_eq!(seen.0.get(&linear.name), Some(&(1, tap.columns)), "{name}: {}", linear.name);
                assert_eq!(model.weight(&linear.name).unwrap().dims(), [linear.rows, tap.columns]);
            }
        }
    }
}

#[test]
fn a_replaced_weight_changes_the_output_and_its_return_restores_it() {
    let pipeline = Pipeline::reference("flux_dev");
    let mut model = pipeline.transformer(DType::F32);
    let inputs = tensors(&pipeline.folder.join("forward.safetensors"));
    let before = forward(&model, &inputs, &mut NoObserver);
    for tap in taps(model.architecture()) {
        let module = tap.name();
        let weight = model.weight(module).unwrap().clone();
        model.set_weight(module, full(0.0, weight.dims())).unwrap();
        let changed = forward(&model, &inputs, &mut NoObserver);
        assert!(relative_maximum(&changed, &before) > 1e-6, "{module}");
        model.set_weight(module, weight).unwrap();
    }
    let after = forward(&model, &inputs, &mut NoObserver);
    assert_eq!(relative_maximum(&after, &before), 0.0);
    assert!(model.set_weight("transformer_blocks.9.attn.to_q", before).is_err());
}

#[test]
fn a_value_that_is_not_finite_is_refused_by_name() {
    let pipeline = Pipeline::reference("sd3_medium");
    let opened = obsdiff::checkpoint::Pipeline::open(pipeline.folder.join("pipeline")).unwrap();
    let checkpoint = opened.weights().unwrap();
    let mut spoiled = |name: &str| {
        let mut values = checkpoint.to_f32(name)?;
        let shape = checkpoint.info(name).unwrap().shape.clone();
        if name == "transformer_blocks.1.attn.to_v.weight" {
            values[17] = f32::NAN;
        }
        Ok((values, shape))
    };
    let error = Transformer::load(opened.architecture.clone(), DType::F32, cpu_engine(), &mut spoiled).err().unwrap();
    assert_eq!(error.exit_code(), 4);
    let message = error.to_string();
    assert!(message.contains("transformer_blocks.1.attn.to_v.weight") && message.contains("17"), "{message}");
}

#[test]
fn the_output_does_not_depend_on_the_number_of_threads() {
    for name in ["sd35_medium", "flux_dev"] {
        let pipeline = Pipeline::reference(name);
        let model = pipeline.transformer(DType::F32);
        let inputs = tensors(&pipeline.folder.join("forward.safetensors"));
        let outputs = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| forward(&model, &inputs, &mut NoObserver))
        });
        assert_eq!(relative_maximum(&outputs[0], &outputs[1]), 0.0, "{name}");
        assert_eq!(relative_maximum(&outputs[0], &outputs[2]), 0.0, "{name}");
    }
}

#[test]
fn a_picture_beyond_the_position_table_is_refused() {
    let pipeline = Pipeline::reference("sd3_medium");
    let model = pipeline.transformer(DType::F32);
    let mut inputs = tensors(&pipeline.folder.join("forward.safetensors"));
    inputs.insert("hidden_states".into(), full(0.0, &[2, 16, 8, 40]));
    let input = ForwardInput {
        hidden_states: &inputs["hidden_states"],
        encoder_hidden_states: &inputs["encoder_hidden_states"],
        pooled_projections: &inputs["pooled_projections"],
        timestep: &[1.0, 1.0],
        guidance: None,
        image_grid: [0, 0],
    };
    let error = model.forward(&input, &mut NoObserver).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
}
