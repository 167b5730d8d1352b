//! How long whole blocks of the models take, dense and with every prunable Linear 2:4 sparse.
//!
//! The forward pass is that of [`Transformer`], with one or two blocks of the published shapes and random weights. A
//! block is timed from its first Linear to its last result on the host's clock; the engine is waited for at its start
//! and at each of its results.

mod random;

use std::sync::Arc;
use std::time::Instant;

use obsdiff_kernels::bench::Time;

use crate::checkpoint::config::Architecture;
use crate::error::{Error, Result};
use crate::model::taps::{Stream, taps};
use crate::model::{ForwardInput, NoObserver, Observer, Transformer};
use crate::ops::{DType, Engine, Tensor, is_finite};
use crate::plan::known_architecture;
pub use random::{random_tensors, two_of_four};

/// Runs before anything is measured.
const WARM_UP: usize = 3;

/// A model cut down to a few blocks, and how large its input is.
#[derive(Debug, Clone)]
pub struct Model {
    pub name: String,
    /// With the few blocks.
    pub architecture: Architecture,
    /// Rows and columns of image tokens.
    pub image_grid: [usize; 2],
    pub text_tokens: usize,
}

/// One part of the forward pass.
#[derive(Debug, Clone)]
pub struct BlockTime {
    pub model: String,
    /// A block's name in the checkpoint, or `forward` for everything.
    pub part: String,
    pub dense: Time,
    pub sparse: Time,
}

impl BlockTime {
    /// Dense time over sparse time: above 1 the sparse block is faster.
    pub fn ratio(&self) -> f64 {
        self.dense.median / self.sparse.median
    }
}

/// The models that are measured, at 1024 x 1024 pixels: SD3.5-large with one whole block and its last one, whose
/// text stream ends early, and FLUX.1-dev with a double and a single block.
pub fn models() -> Vec<Model> {
    let cut = |name: &str| match known_architecture(name)? {
        Architecture::Sd3(mut config) => {
            config.num_layers = 2;
            let architecture = Architecture::Sd3(config);
            Some(Model { name: name.into(), architecture, image_grid: [64, 64], text_tokens: 333 })
        }
        Architecture::Flux(mut config) => {
            (config.num_layers, config.num_single_layers) = (1, 1);
            let architecture = Architecture::Flux(config);
            Some(Model { name: name.into(), architecture, image_grid: [64, 64], text_tokens: 512 })
        }
    };
    ["sd3.5-large", "flux.1-dev"].into_iter().filter_map(cut).collect()
}

/// Times the forward pass of `model` and its blocks, one row, in bf16 on `engine`: medians of `runs` runs.
///
/// # Errors
/// Those of the engine; [`Error::CheckFailed`] if a Linear could not be packed, so that there would be no whole block
/// to compare with, or if the forward pass is not finite or did not come by a block.
pub fn measure(model: &Model, engine: &Arc<dyn Engine>, runs: usize) -> Result<Vec<BlockTime>> {
    let dense = times(&load(model, engine, false)?, model, runs)?;
    let mut transformer = load(model, engine, true)?;
    let linears = taps(&model.architecture).iter().map(|tap| tap.linears.len()).sum::<usize>();
    let packed = transformer.pack_sparse()?;
    if packed != linears {
        return Err(Error::CheckFailed(format!("{}: {packed} of {linears} Linears are 2:4", model.name)));
    }
    let sparse = times(&transformer, model, runs)?;
    let pair = |((part, dense), (_, sparse))| BlockTime { model: model.name.clone(), part, dense, sparse };
    Ok(dense.into_iter().zip(sparse).map(pair).collect())
}

/// The transformer with random weights, those that pruning may choose 2:4 sparse if asked.
fn load(model: &Model, engine: &Arc<dyn Engine>, sparse: bool) -> Result<Transformer> {
    let mut tensors = random_tensors(&model.architecture);
    let prunable: Vec<String> =
        taps(&model.architecture).into_iter().flat_map(|tap| tap.linears).map(|linear| linear.weight()).collect();
    Transformer::load(model.architecture.clone(), DType::BF16, engine.clone(), &mut |name| {
        let (mut values, shape) = tensors(name)?;
        if sparse && prunable.iter().any(|weight| weight == name) {
            two_of_four(&mut values);
        }
        Ok((values, shape))
    })
}

/// Median times of every block, and of the whole pass.
fn times(transformer: &Transformer, model: &Model, runs: usize) -> Result<Vec<(String, Time)>> {
    let engine = transformer.engine();
    let inputs = Inputs::new(model, engine)?;
    for _ in 0..WARM_UP {
        let output = transformer.forward(&inputs.forward(model), &mut NoObserver)?;
        // Values that are not finite would be moved and multiplied at another speed.
        if !is_finite(&output)? {
            return Err(Error::CheckFailed(format!("{}: the forward pass is not finite", model.name)));
        }
    }
    let parts = blocks(&model.architecture);
    let mut seconds = vec![Vec::with_capacity(runs); parts.len()];
    let mut whole = Vec::with_capacity(runs);
    for _ in 0..runs {
        engine.synchronize()?;
        let start = Instant::now();
        transformer.forward(&inputs.forward(model), &mut NoObserver)?;
        engine.synchronize()?;
        whole.push(start.elapsed().as_secs_f64());
        // Looking at the blocks makes the host wait, so the pass as a whole is timed apart from them.
        let mut stopwatch = Stopwatch { engine, running: None, blocks: Vec::new() };
        transformer.forward(&inputs.forward(model), &mut stopwatch)?;
        for (part, seconds) in parts.iter().zip(&mut seconds) {
            let of_part = stopwatch.blocks.iter().find(|(block, _)| block == part);
            let missing = || Error::CheckFailed(format!("{}: the forward pass has no {part}", model.name));
            seconds.push(of_part.ok_or_else(missing)?.1);
        }
    }
    let names = parts.into_iter().chain(["forward".to_string()]);
    let none = || Error::Usage("--runs is 0; one run at least is needed for a median".into());
    names.zip(seconds.into_iter().chain([whole])).map(|(name, s)| Ok((name, Time::of(s).ok_or_else(none)?))).collect()
}

/// Names of the blocks in the order in which they run.
fn blocks(architecture: &Architecture) -> Vec<String> {
    let (joint, single) = match architecture {
        Architecture::Sd3(config) => (config.num_layers, 0),
        Architecture::Flux(config) => (config.num_layers, config.num_single_layers),
    };
    let numbered = |count, kind| (0..count).map(move |index| format!("{kind}.{index}"));
    numbered(joint, "transformer_blocks").chain(numbered(single, "single_transformer_blocks")).collect()
}

/// Random inputs on the engine.
struct Inputs {
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    pooled_projections: Tensor,
}

impl Inputs {
    fn new(model: &Model, engine: &dyn Engine) -> Result<Self> {
        let arch = &model.architecture;
        let [rows, columns] = model.image_grid;
        let hidden_states = match arch {
            Architecture::Sd3(c) => vec![1, c.in_channels, rows * c.patch_size, columns * c.patch_size],
            Architecture::Flux(c) => vec![1, rows * columns, c.in_channels],
        };
        let tensor =
            |shape: Vec<usize>| engine.upload(&Tensor::from_vec(random::values(1.0, shape.iter().product()), shape)?);
        Ok(Inputs {
            hidden_states: tensor(hidden_states)?,
            encoder_hidden_states: tensor(vec![1, model.text_tokens, arch.joint_attention_dim()])?,
            pooled_projections: tensor(vec![1, arch.pooled_projection_dim()])?,
        })
    }

    fn forward(&self, model: &Model) -> ForwardInput<'_> {
        ForwardInput {
            hidden_states: &self.hidden_states,
            encoder_hidden_states: &self.encoder_hidden_states,
            pooled_projections: &self.pooled_projections,
            timestep: &[0.5],
            guidance: Some(&[3.5]),
            image_grid: model.image_grid,
        }
    }
}

/// Times each block from the first Linear that bears its name to the last of its results.
struct Stopwatch<'a> {
    engine: &'a dyn Engine,
    running: Option<(String, Instant)>,
    /// Finished ones; a block with two streams is finished by the second.
    blocks: Vec<(String, f64)>,
}

impl Observer for Stopwatch<'_> {
    fn observe(&mut self, module: &str, _: &Tensor) -> Result<()> {
        let mut parts = module.splitn(3, '.');
        let (Some(kind), Some(index), Some(_)) = (parts.next(), parts.next(), parts.next()) else { return Ok(()) };
        let block = format!("{kind}.{index}");
        if kind.ends_with("transformer_blocks") && self.running.as_ref().is_none_or(|(name, _)| *name != block) {
            self.engine.synchronize()?;
            self.running = Some((block, Instant::now()));
        }
        Ok(())
    }

    fn block_output(&mut self, block: &str, _: Stream, _: &Tensor) -> Result<()> {
        self.engine.synchronize()?;
        if let Some((running, start)) = self.running.as_ref().filter(|(name, _)| name == block) {
            let seconds = start.elapsed().as_secs_f64();
            self.blocks.retain(|(name, _)| name != running);
            self.blocks.push((running.clone(), seconds));
        }
        Ok(())
    }
}
