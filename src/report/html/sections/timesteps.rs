//! How the error grows along the trajectory, beside noise levels and weights of the steps.

use super::{absent, no_comparison};
use crate::compare::Comparison;
use crate::error::Result;
use crate::report::facts::{Report, Timestep};
use crate::report::html::element::{Html, el};
use crate::report::html::plots::{Axis, Frame, Marker, PANEL, Series, curves, figure, responsive};

/// Height of a panel.
const HEIGHT: i32 = 220;

pub fn body(report: &Report) -> Result<Html> {
    let mut body = Html::default();
    match &report.comparison {
        Some(comparison) if !comparison.steps.is_empty() => body.push(errors(comparison)?),
        Some(_) => body.push(absent("The comparison holds no errors of single steps: run `obsdiff compare` again.")),
        None => body.push(no_comparison(report, "The error after each step is not known")),
    }
    if report.timesteps.is_empty() {
        body.push(absent("There was no calibration, so no step has a weight: choose a method that calibrates."));
        return Ok(body);
    }
    let name = report.recipe.timestep_weights.clone().unwrap_or_default();
    let weights = panel(report, "Weights of the steps", "weight", |step| step.weight, 0)?;
    let sigmas = panel(report, "Noise levels", "sigma", |step| f64::from(step.sigma), 1)?;
    let weights = figure(
        "Weights of the steps",
        weights,
        None,
        &format!("Weight of each calibration step in the Hessians ({name}); step 1 is the noisiest."),
    );
    let sigmas = figure("Noise levels", sigmas, None, "Noise level sigma before each calibration step.");
    body.push(el("div").class("panels").child(weights).child(sigmas));
    Ok(body)
}

fn errors(comparison: &Comparison) -> Result<Html> {
    let points: Vec<(f64, f64)> =
        comparison.steps.iter().zip(1..).map(|(step, at)| (f64::from(at), step.latent_rel)).collect();
    let y = Axis::logarithmic(points.iter().map(|(_, error)| *error));
    let label = format!("Latent error after each of {} steps", points.len());
    let series = [Series { name: "latent error".into(), marker: Marker::Series(0), points }];
    let draw = |frame: Frame| {
        let x =
            Axis::places(1, comparison.steps.len(), if frame.width > 500 { 20 } else { 8 }, |step| step.to_string());
        curves(frame, &label, &x, &y, ["step", "latent error"], &series)
    };
    let caption = "Error |z − z_dense|² / |z_dense|² of the latents after each step of the comparison, all prompts \
                   together; vertical axis logarithmic.";
    Ok(figure("", responsive([300, 250], draw)?, None, caption).into())
}

fn panel(report: &Report, title: &str, axis: &str, value: impl Fn(&Timestep) -> f64, colour: usize) -> Result<Html> {
    let points: Vec<(f64, f64)> = report.timesteps.iter().map(|step| (step.step as f64, value(step))).collect();
    let x = Axis::places(1, points.len(), 8, |step| step.to_string());
    let y = Axis::from_zero(points.iter().map(|(_, value)| *value).fold(0.0, f64::max));
    let series = [Series { name: axis.into(), marker: Marker::Series(colour), points }];
    curves(Frame { width: PANEL, height: HEIGHT }, &format!("{title} over steps"), &x, &y, ["step", axis], &series)
}
