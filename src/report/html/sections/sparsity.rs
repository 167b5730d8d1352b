//! The measured sparsity of every Linear as a map of blocks and kinds.

use crate::error::Result;
use crate::report::facts::Report;
use crate::report::html::element::{Html, el, p};
use crate::report::html::numbers::percent;
use crate::report::html::plots::{Frame, HeatMap, figure, heatmap, responsive};

pub fn body(report: &Report) -> Result<Html> {
    let map = map(report);
    let shares: Vec<f64> = report.layers.iter().map(|layer| layer.report.sparsity).collect();
    let (low, high) = shares.iter().fold((1.0, 0.0), |(low, high): (f64, f64), &x| (low.min(x), high.max(x)));
    let mut body = Html::default();
    let range = if high - low < 5e-5 {
        format!("Every Linear lost the same share of its weights, {}.", percent(high))
    } else {
        format!("Linears lost between {} and {} of their weights.", percent(low), percent(high))
    };
    body.push(p(&range));
    let label = format!("Sparsity of {} Linears by kind and block: {range}", report.layers.len());
    let height = map.height();
    let plot = responsive([height, height], |Frame { width, .. }| heatmap(width, &label, &map))?;
    let empty = if map.values.iter().flatten().any(Option::is_none) {
        " An empty cell: the block has no such Linear, or it was not to be pruned."
    } else {
        ""
    };
    let caption = format!("Removed share of the weights of each Linear, in percent: kinds of Linears down, blocks across.{empty}");
    body.push(el("div").class("map").child(figure("", plot, None, &caption)));
    Ok(body)
}

fn map(report: &Report) -> HeatMap {
    let mut columns: Vec<(String, usize, String)> = Vec::new();
    let mut rows: Vec<String> = Vec::new();
    for layer in &report.layers {
        let position = &layer.position;
        let column = (position.stack.clone(), position.block, position.label());
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !rows.contains(&position.row()) {
            rows.push(position.row());
        }
    }
    // Blocks in the order of the model: the single-stream ones come last.
    columns.sort_by_key(|(stack, block, _)| (stack.starts_with("single"), *block));
    rows.sort_by_key(|row| row.starts_with("single "));
    let mut values = vec![vec![None; columns.len()]; rows.len()];
    for layer in &report.layers {
        let position = &layer.position;
        let row = rows.iter().position(|row| *row == position.row());
        let column = columns.iter().position(|(stack, block, _)| *stack == position.stack && *block == position.block);
        if let (Some(row), Some(column)) = (row, column) {
            values[row][column] = Some(layer.report.sparsity);
        }
    }
    let single = columns.iter().any(|(stack, ..)| stack.starts_with("single"));
    let axis = if single { "block (s: single-stream)" } else { "block" };
    HeatMap { rows, columns: columns.into_iter().map(|(.., label)| label).collect(), values, axis: axis.into() }
}
