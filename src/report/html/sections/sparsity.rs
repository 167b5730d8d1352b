//! The measured sparsity of every Linear as a map of blocks and kinds.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::report::facts::{Layer, Report};
use crate::report::html::element::{Html, p};
use crate::report::html::numbers::percent;
use crate::report::html::plots::{Frame, HeatMap, figure, heatmap, responsive};

pub fn body(report: &Report) -> Result<Html> {
    let shares: Vec<f64> = report.layers.iter().map(|layer| layer.report.sparsity).collect();
    let (low, high) = shares.iter().fold((1.0, 0.0), |(low, high): (f64, f64), &x| (low.min(x), high.max(x)));
    let mut body = Html::default();
    let range = if high - low < 5e-5 {
        format!("Every Linear lost the same share of its weights, {}.", percent(high))
    } else {
        format!("Linears lost between {} and {} of their weights.", percent(low), percent(high))
    };
    body.push(p(&range));
    let mut stacks: Vec<&str> = Vec::new();
    for layer in &report.layers {
        if !stacks.contains(&layer.position.stack.as_str()) {
            stacks.push(&layer.position.stack);
        }
    }
    for stack in &stacks {
        let layers: Vec<&Layer> = report.layers.iter().filter(|layer| layer.position.stack == *stack).collect();
        let map = map(&layers);
        let label = format!("Sparsity of {} Linears of {stack} by kind and block: {range}", layers.len());
        let height = map.height();
        let plot = responsive([height, height], |Frame { width, .. }| heatmap(width, &label, &map))?;
        let empty = if map.values.iter().flatten().any(Option::is_none) {
            " An empty cell: the block has no such Linear, or it was not to be pruned."
        } else {
            ""
        };
        let caption =
            format!("Removed share of each Linear's weights, in percent: kinds of Linears down, blocks across.{empty}");
        let title = if stacks.len() > 1 { *stack } else { "" };
        body.push(figure(title, plot, None, &caption));
    }
    Ok(body)
}

/// The map of one stack of blocks.
fn map(layers: &[&Layer]) -> HeatMap {
    let blocks: BTreeSet<usize> = layers.iter().map(|layer| layer.position.block).collect();
    let blocks: Vec<usize> = blocks.into_iter().collect();
    let mut rows: Vec<String> = Vec::new();
    for layer in layers {
        if !rows.contains(&layer.position.kind) {
            rows.push(layer.position.kind.clone());
        }
    }
    let mut values = vec![vec![None; blocks.len()]; rows.len()];
    for layer in layers {
        let row = rows.iter().position(|row| *row == layer.position.kind);
        if let (Some(row), Ok(column)) = (row, blocks.binary_search(&layer.position.block)) {
            values[row][column] = Some(layer.report.sparsity);
        }
    }
    HeatMap { rows, columns: blocks, values }
}
