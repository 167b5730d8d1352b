//! The decoder of diffusers' `AutoencoderKL`: latents to pictures.
//!
//! ```text
//! latents / scaling_factor + shift_factor -> (post_quant_conv) -> conv_in
//!   -> resnet, attention, resnet                                               mid block
//!   -> per level, coarsest first: layers_per_block + 1 resnets, upsampling     up blocks
//!   -> norm, SiLU, conv_out
//! ```
//!
//! Between the steps a picture is [height, width, channels]. Normalisation, SiLU and upsampling happen while a convolution
//! reads its input, and a residual is added where it lies, so a step holds at most its input, one inner activation and its
//! output. The largest step is the first resnet of the finest level, whose input still has the channels of the level
//! before: `4 H W (c_1 + 2 c_0)` bytes for a picture of H x W, with `block_out_channels = [c_0, c_1, ..]`. That is 2 GiB
//! for 1024 x 1024 and SD3's or FLUX's [128, 256, 512, 512], and 0.5 GiB for 512 x 512. Weights are read step by step.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Affine, Conv2d, GroupNorm, Linear, Reading, Weights};
use crate::checkpoint::pipeline::{CONFIG, read_json};
use crate::error::{Error, Result};
use crate::ops::{self, Qkv, Tensor};

/// Name of the weights when they are one file.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// Of every normalisation of the decoder.
const EPS: f64 = 1e-6;
/// Names of the projections to query, key, value and output; the second set is that of older checkpoints.
const ATTENTION_NAMES: [[&str; 4]; 2] = [["to_q", "to_k", "to_v", "to_out.0"], ["query", "key", "value", "proj_attn"]];

/// What the decoder needs of `config.json`; defaults are those of diffusers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Config {
    out_channels: usize,
    up_block_types: Vec<String>,
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    act_fn: String,
    latent_channels: usize,
    norm_num_groups: usize,
    scaling_factor: f64,
    shift_factor: Option<f64>,
    use_post_quant_conv: bool,
    mid_block_add_attention: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            out_channels: 3,
            up_block_types: vec!["UpDecoderBlock2D".into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl Config {
    fn open(path: &Path) -> Result<Self> {
        let json = read_json(path, "as the configuration of the VAE")?;
        let unsupported = |what: &str, found: &str, supported: &str| Error::Unsupported {
            what: format!("{what} in {}", path.display()),
            found: found.into(),
            supported: supported.into(),
        };
        let class = json.get("_class_name").and_then(|class| class.as_str()).unwrap_or("none");
        if class != "AutoencoderKL" {
            return Err(unsupported("`_class_name`", class, "AutoencoderKL"));
        }
        let config: Config =
            serde_json::from_value(json).map_err(|e| Error::malformed(path, format!("not a valid config: {e}")))?;
        if let Some(other) = config.up_block_types.iter().find(|name| *name != "UpDecoderBlock2D") {
            return Err(unsupported("`up_block_types`", other, "UpDecoderBlock2D"));
        }
        if !["silu", "swish"].contains(&config.act_fn.as_str()) {
            return Err(unsupported("`act_fn`", &config.act_fn, "silu"));
        }
        if config.out_channels != 3 {
            return Err(unsupported("`out_channels`", &config.out_channels.to_string(), "3"));
        }
        let groups = config.norm_num_groups;
        let problem = if config.block_out_channels.is_empty() {
            "`block_out_channels` is empty".into()
        } else if config.up_block_types.len() != config.block_out_channels.len() {
            "`up_block_types` and `block_out_channels` have different lengths".into()
        } else if let Some(odd) =
            config.block_out_channels.iter().find(|c| groups == 0 || **c == 0 || !c.is_multiple_of(groups))
        {
            format!("{odd} of `block_out_channels` cannot be cut into `norm_num_groups` = {groups} groups")
        } else if config.latent_channels == 0 {
            "`latent_channels` is 0".into()
        } else if !(config.scaling_factor.is_finite() && config.scaling_factor != 0.0) {
            format!("`scaling_factor` is {}", config.scaling_factor)
        } else {
            return Ok(config);
        };
        Err(Error::malformed(path, problem))
    }

    /// The whole decoder, in order.
    fn steps(&self) -> Vec<Step> {
        let deepest = self.block_out_channels[self.block_out_channels.len() - 1];
        let step = |kind, module: &str, from, to| Step { kind, module: module.into(), from, to };
        let mut steps = Vec::new();
        if self.use_post_quant_conv {
            steps.push(step(Kind::Pointwise, "post_quant_conv", self.latent_channels, self.latent_channels));
        }
        steps.push(step(Kind::Conv, "decoder.conv_in", self.latent_channels, deepest));
        steps.push(step(Kind::Resnet, "decoder.mid_block.resnets.0", deepest, deepest));
        if self.mid_block_add_attention {
            steps.push(step(Kind::Attention, "decoder.mid_block.attentions.0", deepest, deepest));
        }
        steps.push(step(Kind::Resnet, "decoder.mid_block.resnets.1", deepest, deepest));
        let mut from = deepest;
        for (level, &to) in self.block_out_channels.iter().rev().enumerate() {
            for layer in 0..=self.layers_per_block {
                steps.push(step(Kind::Resnet, &format!("decoder.up_blocks.{level}.resnets.{layer}"), from, to));
                from = to;
            }
            if level + 1 < self.block_out_channels.len() {
                steps.push(step(Kind::Upsample, &format!("decoder.up_blocks.{level}.upsamplers.0.conv"), to, to));
            }
        }
        steps.push(step(Kind::Output, "decoder.conv_out", from, self.out_channels));
        steps
    }
}

/// One step of the decoder.
#[derive(Debug)]
struct Step {
    kind: Kind,
    /// Module path.
    module: String,
    /// Channels before.
    from: usize,
    /// Channels after.
    to: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A convolution of single pixels.
    Pointwise,
    /// A 3 x 3 convolution.
    Conv,
    /// Twice norm, SiLU, 3 x 3 convolution; added to the input, which a pointwise convolution brings to as many channels.
    Resnet,
    /// Norm, attention of one head over all pixels, added to the input.
    Attention,
    /// Twice the size, then a 3 x 3 convolution.
    Upsample,
    /// Norm (`conv_norm_out` beside it), SiLU, 3 x 3 convolution.
    Output,
}

/// A module and the shape of its `weight`; its `bias` has the first of these sizes.
type Part = (String, Vec<usize>);

impl Step {
    /// What must be in the file.
    fn parts(&self, weights: &Weights) -> Vec<Part> {
        let (from, to, module) = (self.from, self.to, &self.module);
        let conv = |name: String, from: usize| (name, vec![to, from, 3, 3]);
        match self.kind {
            Kind::Pointwise => vec![(module.clone(), vec![to, from, 1, 1])],
            Kind::Conv | Kind::Upsample => vec![conv(module.clone(), from)],
            Kind::Output => vec![(norm_before(module), vec![from]), conv(module.clone(), from)],
            Kind::Resnet => {
                let mut parts = vec![
                    (format!("{module}.norm1"), vec![from]),
                    conv(format!("{module}.conv1"), from),
                    (format!("{module}.norm2"), vec![to]),
                    conv(format!("{module}.conv2"), to),
                ];
                if from != to {
                    parts.push((format!("{module}.conv_shortcut"), vec![to, from, 1, 1]));
                }
                parts
            }
            Kind::Attention => {
                let names = attention_names(weights, module).map(|name| (format!("{module}.{name}"), vec![to, from]));
                [(format!("{module}.group_norm"), vec![from])].into_iter().chain(names).collect()
            }
        }
    }

    /// Applies the step to `x` [height, width, from].
    fn run(&self, weights: &Weights, groups: usize, x: Tensor) -> Result<Tensor> {
        let (from, to, module) = (self.from, self.to, self.module.as_str());
        let conv = |name: &str, from: usize| Conv2d::read(weights, name, to, from, 3);
        // A convolution of SiLU of the normalised x.
        let activated = |norm: &str, name: &str, x: &Tensor, onto: Option<Tensor>| {
            let channels = x.dim(2)?;
            let affine: Affine = GroupNorm::read(weights, norm, channels, groups, EPS)?.affine(x, true)?;
            let reading = Reading { affine: Some(&affine), ..Reading::default() };
            conv(name, channels)?.apply_with(x, reading, onto)
        };
        match self.kind {
            Kind::Pointwise => Conv2d::read(weights, module, to, from, 1)?.apply(&x),
            Kind::Conv => conv(module, from)?.apply(&x),
            Kind::Upsample => conv(module, from)?.apply_with(&x, Reading { upsample: 2, affine: None }, None),
            Kind::Output => activated(&norm_before(module), module, &x, None),
            Kind::Resnet => {
                let inner = activated(&format!("{module}.norm1"), &format!("{module}.conv1"), &x, None)?;
                let skip = match from == to {
                    true => x,
                    // The input is freed here, before the second convolution.
                    false => Conv2d::read(weights, &format!("{module}.conv_shortcut"), to, from, 1)?.apply(&{ x })?,
                };
                activated(&format!("{module}.norm2"), &format!("{module}.conv2"), &inner, Some(skip))
            }
            Kind::Attention => attention(weights, module, groups, x),
        }
    }

    /// Multiply-adds for an input of `height` x `width`.
    fn work(&self, height: usize, width: usize) -> f64 {
        let pixels = (height * width) as f64;
        let (from, to) = (self.from as f64, self.to as f64);
        match self.kind {
            Kind::Pointwise => pixels * from * to,
            Kind::Conv | Kind::Output => 9.0 * pixels * from * to,
            Kind::Upsample => 36.0 * pixels * from * to,
            Kind::Resnet => pixels * (9.0 * (from + to) * to + if from == to { 0.0 } else { from * to }),
            Kind::Attention => pixels * (4.0 * from * to + 2.0 * pixels * from),
        }
    }
}

/// `decoder.conv_norm_out`, which goes before `decoder.conv_out`.
fn norm_before(module: &str) -> String {
    module.replace("conv_out", "conv_norm_out")
}

/// The names that the projections of an attention have in this file; the new ones if it has neither.
fn attention_names(weights: &Weights, module: &str) -> [&'static str; 4] {
    let [new, old] = ATTENTION_NAMES;
    if weights.has(&format!("{module}.{}.weight", old[0])) { old } else { new }
}

/// x + out(softmax(q k^T / sqrt(channels)) v) over the pixels of `x` [height, width, channels], q, k and v of the
/// normalised x.
fn attention(weights: &Weights, module: &str, groups: usize, x: Tensor) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    let norm = GroupNorm::read(weights, &format!("{module}.group_norm"), channels, groups, EPS)?;
    let tokens = norm.apply(&x)?.reshape([1, height * width, channels])?;
    let linear = |name: &str| -> Result<Linear> { weights.linear(&format!("{module}.{name}"), channels, channels) };
    let [query, key, value, out] = attention_names(weights, module);
    let project = |name: &str| linear(name)?.apply(&tokens);
    let stream = Qkv { query: project(query)?, key: project(key)?, value: project(value)? };
    let attended = ops::attention(&[stream], channels)?.remove(0);
    ops::add(x, &linear(out)?.apply(&attended)?.reshape([height, width, channels])?)
}

/// The decoder of a VAE. Its weights stay in their files until a step needs them.
#[derive(Debug)]
pub struct VaeDecoder {
    weights: Weights,
    config: Config,
    steps: Vec<Step>,
    config_path: PathBuf,
}

impl VaeDecoder {
    /// Opens the folder `vae` of a pipeline and checks that every tensor of the decoder is there in its shape; none is
    /// read.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`] for another class than `AutoencoderKL`,
    /// [`Error::TensorMissing`], [`Error::Shape`].
    pub fn open(folder: &Path) -> Result<Self> {
        let config_path = folder.join(CONFIG);
        let config = Config::open(&config_path)?;
        let weights = Weights::open(folder, WEIGHTS)?;
        let steps = config.steps();
        for (module, shape) in steps.iter().flat_map(|step| step.parts(&weights)) {
            for (name, expected) in [("weight", &shape[..]), ("bias", &shape[..1])] {
                let tensor = format!("{module}.{name}");
                let found = weights.shape(&tensor)?;
                if found != expected {
                    return Err(Error::Shape {
                        path: weights.path().into(),
                        tensor,
                        expected: format!("{expected:?}, as the configuration beside it says"),
                        found: found.to_vec(),
                    });
                }
            }
        }
        Ok(VaeDecoder { weights, config, steps, config_path })
    }

    /// Channels of the latents that it takes.
    pub fn latent_channels(&self) -> usize {
        self.config.latent_channels
    }

    /// Pixels per latent pixel in each direction.
    pub fn scale_factor(&self) -> usize {
        1 << (self.config.block_out_channels.len() - 1)
    }

    /// Bytes of the activations that are held at once while latents of `height` x `width` are decoded, one picture at a
    /// time.
    pub fn activation_bytes(&self, height: usize, width: usize) -> u64 {
        activation_bytes(&self.steps, height, width)
    }

    /// Pictures of final latents [n, channels, height, width], as `vae.decode(latents / scaling_factor + shift_factor)`
    /// returns them before they are clamped: [n, 3, H, W], about -1 to 1.
    ///
    /// # Errors
    /// Those of [`VaeDecoder::decode_with`].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.decode_with(latents, &mut |_| Ok(()))
    }

    /// [`VaeDecoder::decode`], one picture after the other; `progress` hears the finished share of the work, in (0, 1],
    /// after every step, and stops it with an error.
    ///
    /// # Errors
    /// [`Error::Shape`] for latents with other channels; [`Error::NonFinite`] if the latents or anything computed from
    /// them hold NaN or infinity; those of [`Weights::tensor`] and of `progress`.
    pub fn decode_with(&self, latents: &Tensor, progress: &mut dyn FnMut(f64) -> Result<()>) -> Result<Tensor> {
        let (items, channels, height, width) = latents.dims4()?;
        if channels != self.config.latent_channels || latents.elements() == 0 {
            return Err(Error::Shape {
                path: self.config_path.clone(),
                tensor: "latents".into(),
                expected: format!("[n, {}, height, width] for this VAE", self.config.latent_channels),
                found: latents.dims().to_vec(),
            });
        }
        check_finite("latents", latents)?;
        let work = self.work(height, width);
        let total = work.iter().sum::<f64>() * items as f64;
        let mut done = 0.0;
        let mut pictures = Vec::with_capacity(items);
        for item in 0..items {
            let mut x = self.unscaled(&latents.narrow(0, item, 1)?)?;
            for (step, work) in self.steps.iter().zip(&work) {
                x = step.run(&self.weights, self.config.norm_num_groups, x)?;
                done += work;
                progress((done / total).min(1.0))?;
            }
            check_finite("decoder.conv_out", &x)?;
            let (height, width, channels) = x.dims3()?;
            pictures.push(x.permute(&[2, 0, 1])?.reshape([1, channels, height, width])?);
        }
        Tensor::cat(&pictures.iter().collect::<Vec<_>>(), 0)
    }

    /// Latents [1, channels, height, width] as the first step takes them.
    fn unscaled(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = latents.dims4()?;
        let mut x = latents.reshape([channels, height, width])?.permute(&[1, 2, 0])?;
        let (scale, shift) = (self.config.scaling_factor as f32, self.config.shift_factor.unwrap_or(0.0) as f32);
        x.as_mut_slice()?.iter_mut().for_each(|x| *x = *x / scale + shift);
        Ok(x)
    }

    /// Multiply-adds of every step, for latents of `height` x `width`.
    pub fn work(&self, mut height: usize, mut width: usize) -> Vec<f64> {
        let work = |step: &Step| {
            let work = step.work(height, width);
            if step.kind == Kind::Upsample {
                (height, width) = (2 * height, 2 * width);
            }
            work
        };
        self.steps.iter().map(work).collect()
    }
}

/// Bytes of the activations that `steps` hold at once, for an input of `height` x `width`.
fn activation_bytes(steps: &[Step], height: usize, width: usize) -> u64 {
    let (mut pixels, mut peak) = ((height * width) as u64, 0);
    for step in steps {
        let (from, to) = (step.from as u64, step.to as u64);
        let values = match step.kind {
            Kind::Pointwise | Kind::Conv | Kind::Output => from + to,
            Kind::Upsample => from + 4 * to,
            Kind::Resnet => from + to + if from == to { 0 } else { to },
            // x, its normalised copy, q, k, v and packed k, v.
            Kind::Attention => 7 * from,
        };
        peak = peak.max(4 * pixels * values);
        if step.kind == Kind::Upsample {
            pixels *= 4;
        }
    }
    peak
}

fn check_finite(name: &str, x: &Tensor) -> Result<()> {
    if ops::is_finite(x)? {
        return Ok(());
    }
    Err(Error::NonFinite {
        tensor: name.into(),
        found: "NaN or infinity".into(),
        context: "while a picture is decoded".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_decoder_holds_what_is_written_above() {
        let config = Config { block_out_channels: vec![128, 256, 512, 512], layers_per_block: 2, ..Config::default() };
        let gib = |side: usize| activation_bytes(&config.steps(), side / 8, side / 8) as f64 / (1u64 << 30) as f64;
        assert_eq!((gib(512), gib(1024)), (0.5, 2.0));
    }
}
