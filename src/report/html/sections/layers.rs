//! The relative error of every Linear, kinds with the same task together, over blocks.

use super::{absent, details};
use crate::error::Result;
use crate::report::facts::{Layer, Report};
use crate::report::html::element::{Html, el, p, table};
use crate::report::html::numbers::{optional, percent};
use crate::report::html::plots::{Axis, Frame, Marker, PANEL, Series, curves, figure, key};
use crate::report::layout::{GROUPS, Group, SINGLE};

/// Height of a panel.
const HEIGHT: i32 = 225;
/// Layers in the table of the worst ones.
const WORST: usize = 10;

pub fn body(report: &Report) -> Result<Html> {
    let mut body = Html::default();
    if report.layers.iter().all(|layer| layer.report.relative_error.is_none()) {
        body.push(absent(
            "No error was measured, because nothing was calibrated: run `obsdiff prune` with another method, or with \
             `--refine pcg:10`.",
        ));
        body.push(all(report));
        return Ok(body);
    }
    body.push(p(
        "Relative error of a Linear: tr(D H Dᵀ) / tr(W H Wᵀ) with D the change of its weights W and H the Hessian of \
         its inputs; the share of its output's energy that pruning changes. All panels have the same axis.",
    ));
    let y = Axis::logarithmic(report.layers.iter().filter_map(|layer| layer.report.relative_error));
    let mut panels = el("div").class("panels");
    for group in GROUPS.into_iter().chain([SINGLE]) {
        let layers: Vec<&Layer> = report.layers.iter().filter(|layer| layer.position.group() == group).collect();
        if !layers.is_empty() {
            panels = panels.child(panel(group, &layers, &y)?);
        }
    }
    body.push(panels);
    body.push(el("h3").text("Largest errors"));
    let mut worst: Vec<&Layer> = report.layers.iter().filter(|layer| layer.report.relative_error.is_some()).collect();
    worst.sort_by(|a, b| {
        b.report.relative_error.partial_cmp(&a.report.relative_error).unwrap_or(std::cmp::Ordering::Equal)
    });
    body.push(layer_table(worst.into_iter().take(WORST)));
    body.push(all(report));
    Ok(body)
}

fn panel(group: Group, layers: &[&Layer], y: &Axis) -> Result<Html> {
    let mut kinds: Vec<&str> = Vec::new();
    for layer in layers {
        if !kinds.contains(&layer.position.kind.as_str()) {
            kinds.push(&layer.position.kind);
        }
    }
    let of_kind = |(index, kind): (usize, &&str)| Series {
        name: kind.to_string(),
        marker: Marker::Series(index),
        points: layers
            .iter()
            .filter(|layer| layer.position.kind == **kind)
            .filter_map(|layer| Some((layer.position.block as f64, layer.report.relative_error?)))
            .collect(),
    };
    let series: Vec<Series> = kinds.iter().enumerate().map(of_kind).collect();
    let last = layers.iter().map(|layer| layer.position.block).max().unwrap_or(0);
    let x = Axis::places(0, last, 10, |block| block.to_string());
    let label = format!("Relative error of {} over blocks: {}", group.title, kinds.join(", "));
    let plot = curves(Frame { width: PANEL, height: HEIGHT }, &label, &x, y, ["block", "relative error"], &series)?;
    Ok(figure(group.title, plot, Some(key(&series)), "Relative error (logarithmic) over the block's index.").into())
}

fn layer_table<'a>(layers: impl Iterator<Item = &'a Layer>) -> Html {
    let row = |layer: &Layer| {
        let layer = &layer.report;
        vec![
            layer.name.clone(),
            optional(layer.relative_error),
            percent(layer.sparsity),
            layer.pattern.clone(),
            format!("{} × {}", layer.rows, layer.columns),
        ]
    };
    table(&["Linear", "error", "sparsity", "pattern", "shape"], layers.map(row))
}

fn all(report: &Report) -> Html {
    details(&format!("All {} Linears", report.layers.len()), layer_table(report.layers.iter())).into()
}
