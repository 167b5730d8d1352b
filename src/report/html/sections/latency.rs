//! How long a step takes, where that was measured.

use super::{absent, note};
use crate::report::facts::{Bench, BenchRow, Report};
use crate::report::html::element::{Html, el, p, table};
use crate::report::html::numbers::number;

pub fn body(report: &Report) -> Html {
    let mut body = Html::default();
    match &report.comparison {
        Some(comparison) => {
            let time = comparison.seconds_per_step;
            let row = |name: &str, seconds: f64| vec![name.to_string(), format!("{} s", number(seconds))];
            body.push(table(
                &["one step, all prompts", "time"],
                [row("dense", time.dense), row("pruned", time.pruned)],
            ));
            body.push(note(&format!(
                "Measured once while comparing {} prompts: pruned over dense {}. Zeros in dense storage are multiplied \
                 like other weights; `obsdiff sample --sparse` on a GPU multiplies 2:4 sparse ones faster.",
                comparison.items.len(),
                number(time.pruned / time.dense)
            )));
        }
        None => body.push(absent(
            "The time of a step was not measured: run `obsdiff compare DENSE PRUNED ... -o DIR`, then `obsdiff report` \
             with `--comparison DIR`.",
        )),
    }
    for bench in &report.benches {
        body.push(measurements(bench));
    }
    if report.benches.is_empty() {
        body.push(absent(
            "Kernels and blocks were not measured: run `obsdiff bench block --json FILE` on a machine with a GPU, then \
             `obsdiff report` with `--bench FILE`.",
        ));
    }
    body
}

fn measurements(bench: &Bench) -> Html {
    let milliseconds = |seconds: Option<f64>| seconds.map_or("-".into(), |seconds| number(1e3 * seconds));
    let row = |row: &BenchRow| {
        vec![
            row.what.clone(),
            row.case.clone(),
            milliseconds(Some(row.seconds)),
            row.against.clone().unwrap_or_else(|| "-".into()),
            milliseconds(row.against_seconds),
            row.ratio.map_or("-".into(), number),
        ]
    };
    let mut html = Html::from(el("h3").text(&bench.gpu));
    html.push(table(&["", "case", "ms", "against", "ms", "faster by"], bench.rows.iter().map(row)));
    html.push(p(&format!("From {}.", bench.file)));
    html
}
