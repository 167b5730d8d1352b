//! The model while it is being pruned: weights replaced package by package, reports gathered.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Progress, PruneJob, resolved};
use crate::calibration::TapHessian;
use crate::checkpoint::convert::{from_f32, rounding};
use crate::checkpoint::{Checkpoint, Dtype, Pipeline, SafetensorsFile, TensorOut};
use crate::conditioning::Conditioning;
use crate::error::Result;
use crate::journal::{Journal, PackageReport};
use crate::model::Transformer;
use crate::model::taps::Tap;
use crate::ops::{DType, Rounding, Tensor};
use crate::prune::{DenseLayer, PrunedLayer, SolveTimes, solve, solve_by_magnitude};
use crate::recipe::Recipe;
use crate::report::prune::{CalibrationReport, HessianReport, LayerReport, PromptsReport, PruneReport};
use crate::sampling::Sampler;

/// The model while it is being pruned.
pub(super) struct State<'a> {
    pub(super) model: Transformer,
    checkpoint: &'a Checkpoint,
    /// Pruned weights that the model's narrower dtype cannot hold exactly.
    kept_apart: HashMap<String, Tensor>,
    /// The package under way, counted from 0.
    package: usize,
    /// Whether the model stays as it is until the package ends, because another pass is to see the same one.
    holds: bool,
    /// Pruned weights by Linear that wait for the end of the package, in host memory and the model's dtype.
    waiting: Vec<(String, Tensor)>,
    pub(super) layers: Vec<LayerReport>,
    pub(super) hessians: Vec<HessianReport>,
}

impl<'a> State<'a> {
    /// Nothing pruned yet.
    pub(super) fn new(model: Transformer, checkpoint: &'a Checkpoint) -> Self {
        State {
            model,
            checkpoint,
            kept_apart: HashMap::new(),
            package: 0,
            holds: false,
            waiting: Vec::new(),
            layers: Vec::new(),
            hessians: Vec::new(),
        }
    }

    /// Package `index` begins, which takes `passes` passes.
    pub(super) fn begin_package(&mut self, index: usize, passes: usize) {
        self.package = index;
        self.holds = passes > 1;
    }

    /// Places what waited into the model.
    pub(super) fn end_package(&mut self) -> Result<()> {
        self.holds = false;
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        waiting.try_for_each(|(name, weight)| self.model.set_weight(&name, weight))
    }

    pub(super) fn prune_taps(
        &mut self,
        taps: Vec<Tap>,
        hessians: Option<Vec<TapHessian>>,
        recipe: &Recipe,
        times: &mut SolveTimes,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut hessians = hessians.map(Vec::into_iter);
        for tap in taps {
            let dense = self.dense_layers(&tap)?;
            match hessians.as_mut().and_then(Iterator::next) {
                Some(mut hessian) => {
                    hessian.finish()?;
                    let (pruned, health) = solve(hessian, dense, recipe, self.model.engine(), times)?;
                    pruned.into_iter().try_for_each(|layer| self.replace(layer, &tap, recipe))?;
                    self.hessians.push(HessianReport::new(health));
                }
                None => {
                    for layer in dense {
                        let pruned = solve_by_magnitude(layer, recipe.pattern)?;
                        self.replace(pruned, &tap, recipe)?;
                    }
                }
            }
            progress.advance()?;
        }
        Ok(())
    }

    fn dense_layers(&self, tap: &Tap) -> Result<Vec<DenseLayer>> {
        tap.linears
            .iter()
            .map(|linear| {
                let name = linear.weight();
                let weight = Tensor::from_vec(self.checkpoint.to_f32(&name)?, [linear.rows, tap.columns])?;
                let stored_as = self.checkpoint.info(&name).and_then(|info| rounding(info.dtype));
                let stored_as = stored_as.unwrap_or(Rounding::None);
                self.checkpoint.release(&name);
                Ok(DenseLayer { linear: linear.clone(), weight, stored_as })
            })
            .collect()
    }

    fn replace(&mut self, layer: PrunedLayer, tap: &Tap, recipe: &Recipe) -> Result<()> {
        self.layers.push(LayerReport::new(&layer, tap, self.package, recipe.pattern));
        self.set_weight(&layer.name, layer.weight)
    }

    fn set_weight(&mut self, name: &str, weight: Tensor) -> Result<()> {
        let tensor_name = format!("{name}.weight");
        let held = self.model.weight(name)?.dtype();
        let stored = self.checkpoint.info(&tensor_name).map(|info| info.dtype);
        let exact = matches!(
            (held, stored),
            (DType::F32, _) | (DType::F16, Some(Dtype::F16)) | (DType::BF16, Some(Dtype::BF16))
        );
        if !exact {
            self.kept_apart.insert(tensor_name, weight.clone());
        }
        if self.holds {
            self.waiting.push((name.to_string(), weight.to_dtype(held)?));
            return Ok(());
        }
        self.model.set_weight(name, weight)
    }

    /// Commits the layers and Hessians that came after the first `before` ones.
    pub(super) fn commit(&self, journal: &mut Journal, before: (usize, usize)) -> Result<()> {
        let report =
            PackageReport { layers: self.layers[before.0..].to_vec(), hessians: self.hessians[before.1..].to_vec() };
        let names: Vec<String> = report.layers.iter().map(|layer| format!("{}.weight", layer.name)).collect();
        let mut tensors = Vec::with_capacity(names.len());
        for name in &names {
            let (Some(info), Some(weight)) = (self.checkpoint.info(name), self.replacement(name)?) else { continue };
            let mut bytes = Vec::new();
            from_f32(&weight, info.dtype, &mut bytes);
            tensors.push(TensorOut { name, dtype: info.dtype, shape: &info.shape, bytes: bytes.into() });
        }
        journal.commit(&tensors, &report)
    }

    /// Takes over a package that an earlier run finished.
    pub(super) fn restore(&mut self, (weights, report): (SafetensorsFile, PackageReport)) -> Result<()> {
        for layer in &report.layers {
            let values = weights.to_f32(&format!("{}.weight", layer.name))?;
            self.set_weight(&layer.name, Tensor::from_vec(values, [layer.rows, layer.columns])?)?;
        }
        self.layers.extend(report.layers);
        self.hessians.extend(report.hessians);
        Ok(())
    }

    /// The new values of tensor `name`, if it was pruned.
    pub(super) fn replacement(&self, name: &str) -> Result<Option<Cow<'_, [f32]>>> {
        if let Some(weight) = self.kept_apart.get(name) {
            return Ok(Some(Cow::Borrowed(weight.as_slice()?)));
        }
        let module = name.strip_suffix(".weight").unwrap_or(name);
        if !self.layers.iter().any(|layer| layer.name == module) {
            return Ok(None);
        }
        Ok(Some(Cow::Owned(self.model.weight(module)?.to_vec()?)))
    }

    pub(super) fn report(
        &self,
        job: &PruneJob,
        pipeline: &Pipeline,
        sampler: &Sampler,
        calibration: Option<&Conditioning>,
        packages: usize,
    ) -> PruneReport {
        let recipe = &job.recipe;
        let resolved = resolved(recipe, sampler, packages);
        let calibration = calibration.map(|calibration| CalibrationReport {
            samples: calibration.rows(),
            text_tokens: calibration.tokens(),
            noise_from_file: calibration.latents.is_some(),
            prompts: PromptsReport::of(calibration),
            sigmas: sampler.schedule().sigmas.clone(),
            timestep_weights: recipe.timestep_weights.weights(&sampler.schedule().sigmas, recipe.weight_range),
        });
        PruneReport::new(pipeline, resolved, calibration, self.layers.clone(), self.hessians.clone())
    }
}
