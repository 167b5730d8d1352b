//! Pictures of the dense and the pruned model, from equal prompts and noise.

use super::{absent, no_comparison, note};
use crate::compare::{Comparison, PictureMetrics};
use crate::metrics::Spread;
use crate::report::facts::Report;
use crate::report::html::Shown;
use crate::report::html::element::{Element, Html, el, p, table};
use crate::report::html::numbers::{number, optional};
use crate::report::html::pictures::{Embedded, Shot};

/// Pictures with a longer side up to this are shown enlarged, pixel by pixel.
const TINY: usize = 64;

pub fn body(report: &Report, shown: &Shown) -> Html {
    let Some(comparison) = &report.comparison else {
        return no_comparison(report, "There are no pictures to show").into();
    };
    let mut body = Html::default();
    if shown.of == 0 {
        body.push(absent(
            "The comparison wrote no pictures: run `obsdiff compare DENSE PRUNED --prompts FILE -o DIR` on whole \
             pipelines, with their VAE.",
        ));
    } else {
        body.push(p(&format!(
            "{} of {} prompts, {} steps, guidance {}: equal prompts and equal starting noise, left the dense model, \
             right the pruned one.",
            shown.shots.len(),
            shown.of,
            comparison.num_inference_steps,
            comparison.guidance_scale
        )));
        let tiny = shown.shots.iter().all(|shot| shot.dense.width.max(shot.dense.height) <= TINY);
        let class = if tiny { "shots tiny" } else { "shots" };
        body.push(el("div").class(class).children(shown.shots.iter().map(|shot| figure(shot, comparison))));
    }
    body.push(metrics(comparison));
    body
}

fn figure(shot: &Shot, comparison: &Comparison) -> Element {
    let item = &comparison.items[shot.item];
    let prompt = item.prompt.clone().unwrap_or_else(|| format!("row {} of the embeddings", shot.item));
    let picture = |which: &str, embedded: &Embedded| {
        el("img")
            .attr("src", &embedded.url)
            .attr("width", &embedded.width.to_string())
            .attr("height", &embedded.height.to_string())
            .attr("alt", &format!("{which}: {prompt}"))
    };
    let pair = el("div").class("pair").child(picture("dense", &shot.dense)).child(picture("pruned", &shot.pruned));
    let mut numbers = format!("latent error {}", number(item.latent_rel));
    if let Some(psnr) = item.psnr {
        numbers.push_str(&format!(", PSNR {} dB", number(psnr)));
    }
    if let Some(ssim) = item.ssim {
        numbers.push_str(&format!(", SSIM {}", number(ssim)));
    }
    let caption = el("figcaption").child(el("q").text(&prompt)).child(el("span").text(&numbers));
    el("figure").child(pair).child(caption)
}

/// The distances over all items.
fn metrics(comparison: &Comparison) -> Html {
    let row = |name: &str, spread: &Spread| {
        let values = [spread.min, spread.median, spread.mean, spread.max, spread.std];
        std::iter::once(name.to_string()).chain(values.map(number)).collect::<Vec<_>>()
    };
    let mut rows = vec![row("latent error", &comparison.per_item)];
    let mut frechet = None;
    if let Some(PictureMetrics { psnr, ssim, lpips, clip_score, frechet: distance, .. }) = &comparison.pictures {
        rows.push(row("PSNR, dB", psnr));
        let named = [("SSIM", ssim), ("LPIPS", lpips)];
        rows.extend(named.into_iter().filter_map(|(name, spread)| Some(row(name, spread.as_ref()?))));
        if let Some(score) = clip_score {
            rows.push(row("CLIP score, dense", &score.dense));
            rows.push(row("CLIP score, pruned", &score.pruned));
        }
        frechet = *distance;
    }
    let mut html = table(&["per prompt", "min", "median", "mean", "max", "std"], rows);
    if frechet.is_some() {
        html.push(p(&format!("Fréchet distance of the pictures' features: {}.", optional(frechet))));
    }
    html.push(note(&format!(
        "Latent error: |z − z_dense|² / |z_dense|² of the final latents, {} over all {} prompts together; 0 is no \
         change.",
        number(comparison.latent_rel),
        comparison.items.len()
    )));
    html
}
