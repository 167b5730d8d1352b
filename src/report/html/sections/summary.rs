//! What was pruned and how, and the numbers that matter.

use crate::report::facts::Report;
use crate::report::html::element::{Html, el, p};
use crate::report::html::numbers::{integer, number, optional, percent};
use crate::units::{bytes, count, seconds};

pub fn body(report: &Report) -> Html {
    let summary = &report.summary;
    let mut tiles = vec![
        (percent(summary.sparsity), format!("of {} weights removed", count(summary.prunable_parameters as f64))),
        (percent(summary.share_of_all), format!("of all {} parameters removed", count(summary.parameters as f64))),
        (optional(summary.mean_relative_error), format!("mean relative error of {} Linears", summary.linears)),
    ];
    if let Some(comparison) = &report.comparison {
        tiles.push((number(comparison.latent_rel), format!("latent error over {} prompts", comparison.items.len())));
        if let Some(psnr) = comparison.pictures.as_ref().map(|pictures| &pictures.psnr) {
            tiles.push((format!("{} dB", number(psnr.median)), "median PSNR to the dense model".into()));
        }
        if let Some(ssim) = comparison.pictures.as_ref().and_then(|pictures| pictures.ssim.as_ref()) {
            tiles.push((number(ssim.median), "median SSIM to the dense model".into()));
        }
    }
    if let Some(run) = &report.run {
        let time = std::time::Duration::try_from_secs_f64(run.seconds).unwrap_or_default();
        tiles.push((seconds(time), format!("on {}, {} threads", run.engine, run.threads)));
        if let Some(peak) = run.memory.measured_peak_bytes {
            tiles.push((bytes(peak), "peak host memory".into()));
        }
    }
    let tile = |(value, label): (String, String)| el("div").child(el("b").text(&value)).child(el("span").text(&label));
    let mut body = Html::default();
    body.push(p(&sentence(report)));
    body.push(el("div").class("tiles").children(tiles.into_iter().map(tile)));
    body
}

fn sentence(report: &Report) -> String {
    let summary = &report.summary;
    let refined = match summary.refine.split_once(':') {
        Some(("pcg", steps)) => format!(", the kept weights refined in {steps} conjugate gradient steps"),
        _ => String::new(),
    };
    let pattern = match summary.pattern.split_once(':') {
        Some((keep, of)) => format!("{keep} of every {of} weights kept"),
        None => "unstructured".into(),
    };
    let calibrated = match &report.calibration {
        Some(calibration) => format!(
            "calibrated on {} prompts over {} denoising steps",
            integer(calibration.samples as u64),
            report.timesteps.len()
        ),
        None => "without calibration".into(),
    };
    format!(
        "{} of {} weights were removed from {} Linears of a {}: method {}, {pattern}{refined}, {calibrated}.",
        integer(summary.pruned),
        integer(summary.prunable_parameters),
        summary.linears,
        summary.model,
        summary.method,
    )
}
