//! The loop over inference steps: forward pass, guidance, Euler step.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::{LatentSize, SamplingOptions, Schedule, SchedulerConfig, pack, starting_noise};
use crate::checkpoint::config::Architecture;
use crate::conditioning::Conditioning;
use crate::error::{Error, Result};
use crate::model::taps::Stream;
use crate::model::{ForwardInput, NoObserver, Observer, Transformer};
use crate::ops::{self, Tensor, is_finite};

/// Sees a trajectory: the input of every Linear, and where in the trajectory it happens.
///
/// With classifier-free guidance the first half of a forward call's batch rows is the negative prompt's,
/// the second half the prompt's.
pub trait Probe: Observer + Send {
    /// A micro-batch begins: these rows of the conditioning.
    fn begin_batch(&mut self, _rows: Range<usize>) -> Result<()> {
        Ok(())
    }

    /// Step `step` of `total` begins, the noisiest being 0.
    fn begin_step(&mut self, _step: usize, _total: usize) -> Result<()> {
        Ok(())
    }

    /// Step `step` is done; `latents` [prompts, ...], on the model's engine, are those after it.
    fn end_step(&mut self, _step: usize, _latents: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// A probe that looks away.
pub struct NoProbe;

impl Observer for NoProbe {
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()> {
        NoObserver.observe(module, input)
    }
}

impl Probe for NoProbe {}

/// Everything about a trajectory that does not depend on the prompts or on the weights.
pub struct Sampler {
    options: SamplingOptions,
    schedule: Schedule,
    size: LatentSize,
}

impl Sampler {
    /// From the parsed configs of the pipeline's scheduler and VAE.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that make no sense for this model, [`Error::Unsupported`] and
    /// [`Error::Malformed`] for a scheduler config that cannot be followed.
    pub fn new(architecture: &Architecture, scheduler: &Value, vae: &Value, options: SamplingOptions) -> Result<Self> {
        if !options.guidance_scale.is_finite() {
            let scale = options.guidance_scale;
            return Err(Error::Usage(format!("--guidance-scale is {scale}, expected a finite number")));
        }
        let size = LatentSize::new(architecture, vae, options.height, options.width)?;
        let config = SchedulerConfig::from_json(scheduler, Path::new("scheduler_config.json"))?;
        let schedule = Schedule::new(&config, architecture, options.num_inference_steps, size.tokens())?;
        Ok(Sampler { options, schedule, size })
    }

    /// Noise levels of the steps.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Size of the latents.
    pub fn size(&self) -> &LatentSize {
        &self.size
    }

    /// The options that this sampler was made from.
    pub fn options(&self) -> &SamplingOptions {
        &self.options
    }

    /// Whether every step runs the negative prompt too.
    pub fn doubles_rows(&self, architecture: &Architecture) -> bool {
        matches!(architecture, Architecture::Sd3(_)) && self.options.guidance_scale > 1.0
    }

    /// Checks what the file of `conditioning` must hold for this trajectory; [`Sampler::sample`] does it
    /// too, but after the transformer is loaded.
    ///
    /// # Errors
    /// [`Error::Malformed`] if negative embeddings are missing or latents have another size.
    pub fn check(&self, architecture: &Architecture, conditioning: &Conditioning) -> Result<()> {
        if self.doubles_rows(architecture) {
            conditioning.negative()?;
        }
        conditioning.check_latents(&self.size.item())
    }

    /// The micro-batches that `rows` prompts are run in.
    pub fn batches(&self, rows: usize) -> Vec<Range<usize>> {
        let step = self.options.prompts_per_batch(self.size.tokens());
        (0..rows).step_by(step).map(|first| first..rows.min(first.saturating_add(step))).collect()
    }

    /// Runs every prompt, one micro-batch after the other; the final latents, [prompts, ...], in host memory.
    ///
    /// # Errors
    /// Those of [`Sampler::check`] and of `probe`; [`Error::NonFinite`] with the first Linear whose input is
    /// not finite and the step.
    pub fn sample(&self, model: &Transformer, conditioning: &Conditioning, probe: &mut dyn Probe) -> Result<Tensor> {
        self.check(model.architecture(), conditioning)?;
        // On a thread of the pool every parallel operation starts at once; from outside each would wait for
        // two thread switches, which for small models is a fifth of the time.
        rayon::scope(|_| self.sample_here(model, conditioning, probe))
    }

    /// [`Sampler::sample`] on the current thread.
    fn sample_here(&self, model: &Transformer, conditioning: &Conditioning, probe: &mut dyn Probe) -> Result<Tensor> {
        let mut results = Vec::new();
        for rows in self.batches(conditioning.rows()) {
            probe.begin_batch(rows.clone())?;
            let start = model.engine().upload(&self.start(conditioning, rows.clone())?)?;
            results.push(self.run(model, &conditioning.slice(rows)?, start, probe)?.to_host()?);
        }
        Tensor::cat(&results.iter().collect::<Vec<_>>(), 0)
    }

    /// Latents that `rows` of the conditioning start from: those of its file, or noise of the seed.
    pub fn start(&self, conditioning: &Conditioning, rows: Range<usize>) -> Result<Tensor> {
        if let Some(latents) = &conditioning.latents {
            return latents.narrow(0, rows.start, rows.len());
        }
        let noise = starting_noise(self.options.seed, rows.start, rows.len(), self.size.picture())?;
        if self.size.packed { pack(&noise) } else { Ok(noise) }
    }

    /// Runs one micro-batch from `latents` [prompts, ...], on the model's engine, to the end.
    fn run(
        &self,
        model: &Transformer,
        conditioning: &Conditioning,
        mut latents: Tensor,
        probe: &mut dyn Probe,
    ) -> Result<Tensor> {
        let prompts = Prompts::new(self, model, conditioning)?;
        let steps = self.schedule.steps();
        for step in 0..steps {
            probe.begin_step(step, steps)?;
            let velocity = prompts.velocity(self, model, &latents, step, probe)?;
            if !is_finite(&velocity)? {
                return Err(prompts.explain(self, model, &latents, step));
            }
            let length = self.schedule.sigmas[step + 1] - self.schedule.sigmas[step];
            latents = ops::add_scaled(latents, length, &velocity)?;
            probe.end_step(step, &latents)?;
        }
        Ok(latents)
    }
}

/// Embeddings of a micro-batch as the transformer takes them, on its engine.
struct Prompts {
    embeds: Tensor,
    pooled: Tensor,
    doubled: bool,
}

impl Prompts {
    fn new(sampler: &Sampler, model: &Transformer, conditioning: &Conditioning) -> Result<Self> {
        let (mut embeds, mut pooled) = (conditioning.prompt_embeds.clone(), conditioning.pooled_prompt_embeds.clone());
        let doubled = sampler.doubles_rows(model.architecture());
        if doubled {
            let negative = conditioning.negative()?;
            embeds = Tensor::cat(&[&negative.prompt_embeds, &embeds], 0)?;
            pooled = Tensor::cat(&[&negative.pooled_prompt_embeds, &pooled], 0)?;
        }
        let engine = model.engine();
        Ok(Prompts { embeds: engine.upload(&embeds)?, pooled: engine.upload(&pooled)?, doubled })
    }

    /// The predicted velocity at `step`, guidance applied: u + g (c - u) for rows [u, c].
    fn velocity(
        &self,
        sampler: &Sampler,
        model: &Transformer,
        latents: &Tensor,
        step: usize,
        observer: &mut dyn Observer,
    ) -> Result<Tensor> {
        let hidden_states = if self.doubled { Tensor::cat(&[latents, latents], 0)? } else { latents.clone() };
        let rows = hidden_states.dim(0)?;
        let timestep = match model.architecture() {
            Architecture::Sd3(_) => sampler.schedule.timesteps[step],
            // FluxPipeline divides by 1000, whatever the scheduler's number of training steps.
            Architecture::Flux(_) => sampler.schedule.timesteps[step] / 1000.0,
        };
        let guidance = vec![sampler.options.guidance_scale; rows];
        let input = ForwardInput {
            hidden_states: &hidden_states,
            encoder_hidden_states: &self.embeds,
            pooled_projections: &self.pooled,
            timestep: &vec![timestep; rows],
            guidance: Some(&guidance),
            image_grid: sampler.size.grid(),
        };
        let output = model.forward(&input, observer)?;
        if self.doubled { ops::guidance(&output, sampler.options.guidance_scale) } else { Ok(output) }
    }

    /// Repeats a step whose result was not finite and names the first Linear input that is not.
    fn explain(&self, sampler: &Sampler, model: &Transformer, latents: &Tensor, step: usize) -> Error {
        let mut search = FirstNonFinite { step, steps: sampler.schedule.steps() };
        match self.velocity(sampler, model, latents, step, &mut search) {
            Err(found) => found,
            Ok(_) => search.found("proj_out.output".into()),
        }
    }
}

/// Stops the forward pass at the first Linear input that is not finite.
struct FirstNonFinite {
    step: usize,
    steps: usize,
}

impl FirstNonFinite {
    fn found(&self, tensor: String) -> Error {
        let context = format!("at step {} of {}", self.step + 1, self.steps);
        Error::NonFinite { tensor, found: "NaN or infinity".into(), context }
    }
}

impl Observer for FirstNonFinite {
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()> {
        match is_finite(input)? {
            true => Ok(()),
            false => Err(self.found(format!("{module}.input"))),
        }
    }

    fn block_output(&mut self, block: &str, _: Stream, output: &Tensor) -> Result<()> {
        match is_finite(output)? {
            true => Ok(()),
            false => Err(self.found(format!("{block}.output"))),
        }
    }
}
