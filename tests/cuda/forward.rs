//! Forward passes of every architecture.

use obsdiff::checkpoint::Pipeline;
use obsdiff::checkpoint::config::{Architecture, Sd3Config};
use obsdiff::model::{ForwardInput, NoObserver, Transformer};
use obsdiff::ops::{DType, Engine, Tensor};

use super::interpreted;
use super::support::{data, relative_maximum, tensors};

fn output(name: &str, dtype: DType) -> (Tensor, Tensor) {
    let folder = data("pipelines").join(name);
    let pipeline = Pipeline::open(folder.join("pipeline")).unwrap();
    let model = Transformer::open(&pipeline, dtype, interpreted()).unwrap();
    let forward = |input: &ForwardInput| model.forward(input, &mut NoObserver).unwrap().to_host().unwrap();
    let found = with_inputs(name, model.engine(), forward);
    (found, tensors(&folder.join("forward.safetensors"))["output"].clone())
}

/// What `forward` makes of the recorded inputs of pipeline `name` on `engine`.
pub fn with_inputs<T>(name: &str, engine: &dyn Engine, forward: impl FnOnce(&ForwardInput) -> T) -> T {
    let reference = tensors(&data("pipelines").join(name).join("forward.safetensors"));
    let timestep = reference["timestep"].to_vec().unwrap();
    let guidance = reference.get("guidance").map(|guidance| guidance.to_vec().unwrap());
    let image_grid = reference.get("img_ids").map_or([0, 0], |ids| match ids.as_slice().unwrap() {
        [.., row, column] => [*row as usize + 1, *column as usize + 1],
        short => panic!("{short:?} holds no position"),
    });
    let on_engine = |name: &str| engine.upload(&reference[name]).unwrap();
    forward(&ForwardInput {
        hidden_states: &on_engine("hidden_states"),
        encoder_hidden_states: &on_engine("encoder_hidden_states"),
        pooled_projections: &on_engine("pooled_projections"),
        timestep: &timestep,
        guidance: guidance.as_deref(),
        image_grid,
    })
}

#[test]
fn every_architecture_matches_diffusers_in_float32() {
    for name in ["sd3_medium", "sd35_large", "sd35_medium", "flux_dev"] {
        let (found, expected) = output(name, DType::F32);
        let error = relative_maximum(&found, &expected);
        println!("{name}: {error:e}");
        assert!(error <= 2e-5, "{name}: output off by {error:e}");
    }
}

#[test]
fn sixteen_bit_activations_stay_near_diffusers() {
    // Weights and activations are rounded to 8 or 11 bits at every step of these two to four blocks.
    for (dtype, bound) in [(DType::BF16, 0.05), (DType::F16, 0.01)] {
        for name in ["sd35_medium", "flux_dev"] {
            let (found, expected) = output(name, dtype);
            let error = relative_maximum(&found, &expected);
            println!("{name} in {dtype}: {error:e}");
            assert!(error <= bound, "{name} in {dtype}: output off by {error:e}");
            assert!(error > 1e-5, "{name} in {dtype}: as exact as float32, so nothing was rounded");
        }
    }
}

#[test]
fn heads_without_a_kernel_are_refused_before_any_weight_is_read() {
    for channels in [0, 20, 136] {
        let architecture = Architecture::Sd3(Sd3Config { attention_head_dim: channels, ..Sd3Config::default() });
        let read = &mut |name: &str| panic!("read `{name}`");
        let refusal = match Transformer::load(architecture, DType::F32, interpreted(), read) {
            Ok(_) => panic!("heads of {channels} channels were taken"),
            Err(refusal) => refusal,
        };
        assert_eq!(refusal.exit_code(), 3, "{refusal}");
        let text = refusal.to_string();
        assert!(text.contains("attention_head_dim") && text.contains(&channels.to_string()), "{text}");
    }
}
