//! What the model was calibrated with.

use super::{absent, details, list, note};
use crate::report::facts::Report;
use crate::report::html::element::{Html, el};
use crate::report::html::numbers::integer;

pub fn body(report: &Report) -> Html {
    let Some(calibration) = &report.calibration else {
        return absent(
            "The model was pruned without calibration: run `obsdiff prune` with another method than magnitude.",
        )
        .into();
    };
    let recipe = &report.recipe;
    let number = |value: Option<usize>| value.map_or("-".into(), |value| integer(value as u64));
    let noise = match calibration.noise_from_file {
        true => "latents of the calibration file".into(),
        false => format!("drawn from seed {}", recipe.seed.unwrap_or(0)),
    };
    let range = recipe.weight_range.as_deref().unwrap_or_default();
    let weights = match (recipe.timestep_weights.as_deref().unwrap_or_default(), range) {
        (name @ ("linear-increase" | "linear-decrease" | "log-increase" | "log-decrease"), [low, high]) => {
            format!("{name}, from {low} to {high}")
        }
        (name, _) => name.to_string(),
    };
    let mut entries = vec![
        ("prompts", integer(calibration.samples as u64)),
        ("text tokens", integer(calibration.text_tokens as u64)),
        ("starting noise", noise),
        ("steps", integer(report.timesteps.len() as u64)),
        ("guidance scale", recipe.guidance_scale.map_or("-".into(), |scale| scale.to_string())),
        ("size", format!("{} × {}", number(recipe.height), number(recipe.width))),
        ("timestep weights", weights),
    ];
    if let Some(file) = &calibration.file {
        entries.push(("read from", file.clone()));
    }
    let mut body = list(&entries);
    match &calibration.prompts {
        Some(prompts) => {
            let items = prompts.iter().map(|prompt| el("li").text(prompt));
            body.push(details(&format!("The {} prompts", prompts.len()), el("ol").class("prompts").children(items)));
        }
        None => body.push(note(
            "The texts of the prompts are not known: calibration was from embeddings, which do not hold them.",
        )),
    }
    body
}
