//! `obsdiff sample`: pictures and final latents of a model for given embeddings.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::progress::{Bars, Watched};
use super::sample_output::{self, GRID, LATENTS, Painter};
use super::sampling_args::SamplingArgs;
use super::{print, print_json};
use crate::checkpoint::{Pipeline, StagedFiles, TensorOut, write_safetensors};
use crate::conditioning::Conditioning;
use crate::error::{Error, Result};
use crate::model::{Observer, Transformer};
use crate::ops::{DType, Engine, Tensor};
use crate::sampling::Probe;

/// Runs a model on prompt embeddings and writes the pictures and the final latents
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A diffusers pipeline folder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// A safetensors file with prompt_embeds, pooled_prompt_embeds, their negative_ counterparts, latents
    #[arg(long, value_name = "FILE")]
    conditioning: PathBuf,
    /// Folder for picture-0000.png and so on, one per prompt, grid.png with all of them, and latents.safetensors
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Write latents.safetensors alone: the VAE is neither needed nor run
    #[arg(long)]
    no_pictures: bool,
    /// Write the latents after every step too, as step_latents [steps, prompts, ...]
    #[arg(long)]
    save_steps: bool,
    /// Multiply Linears whose weights are 2:4 sparse on the GPU's sparse tensor cores; takes --dtype bf16 or f16
    #[arg(long)]
    sparse: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Replace the files of an earlier run
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Samples and prints to `out`.
///
/// # Errors
/// [`Error::OutputExists`]; those of opening the model, its VAE and the conditioning, of the trajectory, of decoding and of
/// writing; [`Error::Stopped`].
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let earlier = sample_output::files_in(&args.output);
    if let Some(path) = earlier.first().filter(|_| !args.overwrite) {
        return Err(Error::OutputExists { path: path.clone() });
    }
    let engine = args.sampling.engine()?;
    if args.sparse {
        check_sparse(&*engine, args.sampling.weight_dtype())?;
    }
    let pipeline = Pipeline::open(&args.model)?;
    let sampler = args.sampling.sampler(&pipeline)?;
    let painter = if args.no_pictures { Painter::None } else { Painter::of(&pipeline, sampler.size())? };
    let conditioning = Conditioning::open(&args.conditioning, &pipeline.architecture)?;
    sampler.check(&pipeline.architecture, &conditioning)?;
    let mut model = Transformer::open(&pipeline, args.sampling.weight_dtype(), engine)?;
    let packed = if args.sparse { pack_sparse(&mut model)? } else { 0 };
    let mut staged = StagedFiles::create(&args.output)?;

    let bars = Bars::new();
    let steps = sampler.schedule().steps();
    let mut keeper = StepLatents { keep: args.save_steps, steps: vec![Vec::new(); steps] };
    let total = steps * sampler.batches(conditioning.rows()).len();
    let start = Instant::now();
    let latents = sampler.sample(&model, &conditioning, &mut Watched::new(&bars, "sampling", total, &mut keeper))?;
    let seconds = start.elapsed().as_secs_f64();
    // Decoding needs the memory.
    drop(model);

    let mut tensors = vec![("latents", latents.clone())];
    if args.save_steps {
        tensors.push(("step_latents", keeper.stack()?));
    }
    write_tensors(&staged.file(LATENTS), &tensors)?;
    let start = Instant::now();
    let pictures = painter.paint(&sampler.size().unpack(&latents)?, None, &mut staged, &bars)?;
    let decode_seconds = start.elapsed().as_secs_f64();
    bars.end();
    let files = staged.commit(&earlier)?;

    let options = sampler.options();
    if args.json {
        let result = json!({
            "prompts": conditioning.rows(),
            "num_inference_steps": steps,
            "guidance_scale": options.guidance_scale,
            "height": options.height,
            "width": options.width,
            "seed": options.seed,
            "shape": latents.dims(),
            "sparse_linears": packed,
            "seconds": seconds,
            "seconds_per_step": seconds / steps as f64,
            "decode_seconds": (pictures > 0).then_some(decode_seconds),
            "pictures": pictures,
            "files": files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        });
        return print_json(out, &result);
    }
    let mut text = format!(
        "{} prompts, {steps} steps in {seconds:.2} s ({:.3} s per step)\n",
        conditioning.rows(),
        seconds / steps as f64,
    );
    let folder = args.output.display();
    text += &match pictures {
        0 => format!("wrote {LATENTS} to {folder}\n"),
        _ => format!("wrote {pictures} pictures in {decode_seconds:.2} s, {GRID} and {LATENTS} to {folder}\n"),
    };
    print(out, &text)
}

/// Refuses --sparse where it cannot work, before anything is loaded.
fn check_sparse(engine: &dyn Engine, dtype: DType) -> Result<()> {
    if !engine.packs24() {
        return Err(Error::Usage(format!(
            "--sparse runs on the sparse tensor cores of a GPU and the device is {}; pass --device cuda or leave --sparse out",
            engine.name()
        )));
    }
    if dtype == DType::F32 {
        return Err(Error::Usage("--sparse takes 16-bit weights; pass --dtype bf16 or --dtype f16".into()));
    }
    Ok(())
}

/// Packs the 2:4 Linears, of which there must be one.
fn pack_sparse(model: &mut Transformer) -> Result<usize> {
    match model.pack_sparse()? {
        0 => Err(Error::Usage(
            "--sparse: no Linear of the model is 2:4 sparse with a multiple of 32 columns; prune it with \
             --pattern 2:4 or leave --sparse out"
                .into(),
        )),
        packed => {
            tracing::info!("{packed} Linears are multiplied as 2:4 sparse");
            Ok(packed)
        }
    }
}

/// Writes f32 tensors by name.
fn write_tensors(path: &Path, tensors: &[(&str, Tensor)]) -> Result<()> {
    let values = tensors
        .iter()
        .map(|(name, tensor)| Ok(TensorOut::f32(name, tensor.dims(), tensor.as_slice()?)))
        .collect::<Result<Vec<_>>>()?;
    write_safetensors(path, &values, &[("format".into(), "pt".into())])
}

/// Keeps the latents after every step, per step one tensor per micro-batch.
struct StepLatents {
    keep: bool,
    steps: Vec<Vec<Tensor>>,
}

impl StepLatents {
    /// [steps, prompts, ...]
    fn stack(&self) -> Result<Tensor> {
        let step = |batches: &Vec<Tensor>| {
            let whole = Tensor::cat(&batches.iter().collect::<Vec<_>>(), 0)?;
            whole.reshape([&[1], whole.dims()].concat())
        };
        let steps = self.steps.iter().map(step).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&steps.iter().collect::<Vec<_>>(), 0)
    }
}

impl Observer for StepLatents {
    fn observe(&mut self, _: &str, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

impl Probe for StepLatents {
    fn end_step(&mut self, step: usize, latents: &Tensor) -> Result<()> {
        if self.keep {
            self.steps[step].push(latents.to_host()?);
        }
        Ok(())
    }
}
