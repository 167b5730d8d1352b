//! One model's way from noise to final latents, and how far the second one strays from the first at every step.

use std::ops::Range;
use std::time::Instant;

use super::result::StepError;
use crate::checkpoint::Pipeline;
use crate::conditioning::Conditioning;
use crate::error::{Error, Result};
use crate::metrics::Squares;
use crate::model::taps::taps;
use crate::model::{Observer, Transformer};
use crate::ops::{DType, Engine, Tensor};
use crate::progress::Progress;
use crate::sampling::{Probe, Sampler};

/// Bytes of the dense model's latents that are kept, step by step, until the pruned model comes to the same place. Where
/// all items need more, the error of the steps is taken over as many of the first ones as fit: 36 pictures of 1024 x 1024
/// over 28 steps, every one of smaller jobs.
pub const STEP_BYTES: usize = 1 << 30;

/// What one model did.
pub struct Outcome {
    /// [items, ...], in host memory.
    pub latents: Tensor,
    /// Share of zeros among the weights that can be pruned.
    pub sparsity: f64,
    /// Of all tensors in the checkpoint.
    pub bytes: u64,
    /// All items, one step.
    pub seconds_per_step: f64,
}

/// Loads a transformer, runs it, and gives its memory back.
///
/// # Errors
/// Those of opening the model and of the trajectory.
pub fn run(
    pipeline: &Pipeline,
    (dtype, engine): (DType, std::sync::Arc<dyn Engine>),
    sampler: &Sampler,
    conditioning: &Conditioning,
    probe: &mut dyn Probe,
) -> Result<Outcome> {
    let checkpoint = pipeline.weights()?;
    let model = Transformer::from_checkpoint(pipeline.architecture.clone(), &checkpoint, dtype, engine)?;
    let start = Instant::now();
    let latents = sampler.sample(&model, conditioning, probe)?;
    let seconds_per_step = start.elapsed().as_secs_f64() / sampler.schedule().steps() as f64;
    Ok(Outcome { latents, sparsity: sparsity(&model)?, bytes: checkpoint.total_bytes(), seconds_per_step })
}

/// Share of zeros among the weights of the Linears that can be pruned.
fn sparsity(model: &Transformer) -> Result<f64> {
    let (mut zeros, mut weights) = (0, 0);
    for linear in taps(model.architecture()).iter().flat_map(|tap| &tap.linears) {
        let values = model.weight(&linear.name)?.to_vec()?;
        zeros += values.iter().filter(|&&x| x == 0.0).count();
        weights += values.len();
    }
    Ok(zeros as f64 / weights as f64)
}

/// The first of `items` whose latents over all steps fit into `limit` bytes; at least one.
fn kept_items(items: usize, item: usize, steps: usize, limit: usize) -> usize {
    (limit / (item * steps * size_of::<f32>()).max(1)).clamp(1, items.max(1))
}

/// Keeps latents of the first model after every step.
pub struct Keep<'a> {
    progress: &'a dyn Progress,
    /// Items whose latents are kept.
    items: usize,
    rows: Range<usize>,
    /// Per micro-batch that has kept items and per step, the latents of these items.
    latents: Vec<Vec<f32>>,
}

impl<'a> Keep<'a> {
    /// For as many of `items` as fit into `limit` bytes.
    pub fn new(sampler: &Sampler, items: usize, limit: usize, progress: &'a dyn Progress) -> Self {
        let item = sampler.size().item().iter().product();
        let items = kept_items(items, item, sampler.schedule().steps(), limit);
        Keep { progress, items, rows: 0..0, latents: Vec::new() }
    }

    /// The probe of the second model.
    pub fn compare(self) -> Stray<'a> {
        Stray {
            progress: self.progress,
            items: self.items,
            rows: 0..0,
            kept: self.latents.into_iter(),
            steps: Vec::new(),
        }
    }
}

/// Measures the second model against the kept latents, in the same order, and frees them on the way.
pub struct Stray<'a> {
    progress: &'a dyn Progress,
    items: usize,
    rows: Range<usize>,
    kept: std::vec::IntoIter<Vec<f32>>,
    steps: Vec<Squares>,
}

impl Stray<'_> {
    /// Items that were measured, and the error after each step.
    pub fn steps(&self, sampler: &Sampler) -> (usize, Vec<StepError>) {
        let sigmas = sampler.schedule().sigmas.iter().skip(1);
        let error = |(step, (squares, &sigma)): (usize, (&Squares, &f32))| StepError {
            step,
            sigma: f64::from(sigma),
            latent_rel: squares.ratio(),
        };
        (self.items, self.steps.iter().zip(sigmas).enumerate().map(error).collect())
    }
}

/// Those of a micro-batch's `latents`, of `rows`, that belong to the first `items`.
fn first_items(latents: &Tensor, rows: &Range<usize>, items: usize) -> Result<Option<Vec<f32>>> {
    match items.saturating_sub(rows.start).min(rows.len()) {
        0 => Ok(None),
        count => latents.narrow(0, 0, count)?.to_host()?.to_vec().map(Some),
    }
}

impl Observer for Keep<'_> {
    fn observe(&mut self, _: &str, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

impl Probe for Keep<'_> {
    fn begin_batch(&mut self, rows: Range<usize>) -> Result<()> {
        self.rows = rows;
        Ok(())
    }

    fn end_step(&mut self, _: usize, latents: &Tensor) -> Result<()> {
        self.latents.extend(first_items(latents, &self.rows, self.items)?);
        self.progress.advance()
    }
}

impl Observer for Stray<'_> {
    fn observe(&mut self, _: &str, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

impl Probe for Stray<'_> {
    fn begin_batch(&mut self, rows: Range<usize>) -> Result<()> {
        self.rows = rows;
        Ok(())
    }

    fn end_step(&mut self, step: usize, latents: &Tensor) -> Result<()> {
        if let Some(pruned) = first_items(latents, &self.rows, self.items)? {
            let dense = self.kept.next().filter(|dense| dense.len() == pruned.len());
            let dense = dense.ok_or_else(|| Error::Runtime("two models took different steps".into()))?;
            if self.steps.len() <= step {
                self.steps.resize(step + 1, Squares::default());
            }
            self.steps[step] = self.steps[step] + Squares::of(&dense, &pruned);
        }
        self.progress.advance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_latents_stay_within_their_limit() {
        let item = 16 * 128 * 128;
        assert_eq!(kept_items(1000, item, 28, STEP_BYTES), 36);
        assert_eq!(kept_items(20, item, 28, STEP_BYTES), 20);
        assert_eq!(kept_items(3, item, 28, 1), 1);
        assert_eq!(kept_items(200, 64, 20, STEP_BYTES), 200);
    }

    #[test]
    fn the_first_items_are_taken_whatever_the_micro_batches() {
        let latents = |rows: Range<usize>| Tensor::from_vec(rows.clone().map(|x| x as f32).collect(), [rows.len(), 1]);
        let taken = |rows: Range<usize>| first_items(&latents(rows.clone()).unwrap(), &rows, 5).unwrap();
        assert_eq!((taken(0..3), taken(3..6), taken(6..9)), (Some(vec![0.0, 1.0, 2.0]), Some(vec![3.0, 4.0]), None));
    }
}
