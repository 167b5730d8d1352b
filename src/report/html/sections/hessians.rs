//! Whether the Hessians were fit to be factored.

use super::{absent, details};
use crate::error::Result;
use crate::report::facts::{Hessian, Report};
use crate::report::html::element::{Html, el, p, table};
use crate::report::html::numbers::{integer, optional};
use crate::report::html::plots::{Axis, Frame, Marker, Series, curves, figure, responsive};

/// Hessians in the table of the worst ones.
const WORST: usize = 10;

pub fn body(report: &Report) -> Result<Html> {
    let hessians = &report.hessians;
    let mut body = Html::default();
    if hessians.is_empty() {
        body.push(absent(
            "No Hessian was gathered, because the method needs none: run `obsdiff prune` with `--method obs-diff`.",
        ));
        return Ok(body);
    }
    body.push(p(&sentence(hessians)));
    let bound = |hessian: &Hessian| hessian.condition_at_least;
    let title = "Condition of the damped Hessians";
    if hessians.iter().any(|hessian| bound(hessian).is_some()) {
        let caption = "Lower bound of the condition number of each damped Hessian: its largest pivot over its smallest \
                       (logarithmic), over the taps in the order of pruning.";
        body.push(figure(title, over_taps(hessians, title, "condition, at least", bound, 0)?, None, caption));
    } else {
        body.push(absent(
            "The condition is not known, because the report was written by an older obsdiff: run `obsdiff prune` again.",
        ));
    }
    if hessians.iter().any(|hessian| hessian.report.dead_columns > 0) {
        let dead = |hessian: &Hessian| Some(hessian.report.dead_columns as f64).filter(|dead| *dead > 0.0);
        let title = "Dead inputs";
        let caption = "Columns that never saw a nonzero input (logarithmic), over the taps in the order of pruning; \
                       taps without any are left out.";
        body.push(figure(title, over_taps(hessians, title, "dead columns", dead, 1)?, None, caption));
    }
    body.push(el("h3").text("Worst conditioned"));
    let mut worst: Vec<&Hessian> = hessians.iter().collect();
    let rank = |hessian: &Hessian| {
        let report = &hessian.report;
        (report.dampening_attempts.len() as f64, bound(hessian).unwrap_or(0.0), report.dead_columns as f64)
    };
    worst.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(std::cmp::Ordering::Equal));
    body.push(hessian_table(worst.into_iter().take(WORST)));
    body.push(details(&format!("All {} Hessians", hessians.len()), hessian_table(hessians.iter())));
    Ok(body)
}

fn sentence(hessians: &[Hessian]) -> String {
    let retried = hessians.iter().filter(|hessian| hessian.report.dampening_attempts.len() > 1).count();
    let dead: usize = hessians.iter().map(|hessian| hessian.report.dead_columns).sum();
    let with_dead = hessians.iter().filter(|hessian| hessian.report.dead_columns > 0).count();
    let fewest = hessians.iter().map(|hessian| hessian.report.tokens).min().unwrap_or(0);
    let short = hessians.iter().filter(|hessian| hessian.report.tokens < hessian.report.columns as u64).count();
    let damping = match retried {
        0 => "each was factored at the first damping".to_string(),
        _ => format!("{retried} needed more damping than asked for"),
    };
    let dead = match dead {
        0 => "no input was dead".to_string(),
        _ => format!("{} inputs of {with_dead} taps were dead", integer(dead as u64)),
    };
    let tokens = match short {
        0 => format!("Each saw at least {} tokens, more than it has columns.", integer(fewest)),
        _ => format!("{short} saw fewer tokens than they have columns, so that they are singular without damping."),
    };
    format!("{} Hessians, one per distinct input: {damping}, and {dead}. {tokens}", hessians.len())
}

/// Points over the taps in their order.
fn over_taps(
    hessians: &[Hessian],
    title: &str,
    axis: &str,
    value: impl Fn(&Hessian) -> Option<f64>,
    colour: usize,
) -> Result<Html> {
    let points: Vec<(f64, f64)> =
        hessians.iter().enumerate().filter_map(|(tap, hessian)| Some((tap as f64, value(hessian)?))).collect();
    let y = Axis::logarithmic(points.iter().map(|(_, value)| *value));
    let series = [Series { name: axis.into(), marker: Marker::Points(colour), points }];
    let label = format!("{title} over {} taps", hessians.len());
    responsive([280, 250], |frame: Frame| {
        let x = Axis::places(0, hessians.len() - 1, if frame.width > 500 { 20 } else { 8 }, |tap| tap.to_string());
        curves(frame, &label, &x, &y, ["tap", axis], &series)
    })
}

fn hessian_table<'a>(hessians: impl Iterator<Item = &'a Hessian>) -> Html {
    let row = |hessian: &Hessian| {
        let report = &hessian.report;
        let attempts: Vec<String> = report.dampening_attempts.iter().map(f64::to_string).collect();
        vec![
            report.tap.clone(),
            optional(hessian.condition_at_least),
            integer(report.columns as u64),
            integer(report.dead_columns as u64),
            attempts.join(", "),
            integer(report.tokens),
            optional(report.smallest_pivot),
        ]
    };
    let headings = ["tap", "condition ≥", "columns", "dead", "damping tried", "tokens", "smallest pivot"];
    table(&headings, hessians.map(row))
}
