//! Where time and memory went, beside what was planned.

use std::time::Duration;

use super::absent;
use crate::error::Result;
use crate::report::facts::{Memory, Report, RunFacts, Stage};
use crate::report::html::element::{Html, el, p, table};
use crate::report::html::numbers::{integer, percent};
use crate::report::html::plots::{Bar, PANEL, bars, figure, key_of_bars};
use crate::units::{bytes, count, seconds};

pub fn body(report: &Report) -> Result<Html> {
    let Some(run) = &report.run else {
        return Ok(
            absent("run.json is gone, so times are not known: run the command again, with `--overwrite`.").into()
        );
    };
    let time = figure(
        "Time by stage",
        bars(PANEL, "Share of time and of planned arithmetic by stage", &time_bars(&run.stages), 70, 60)?,
        Some(key_of_bars(&["measured time", "planned arithmetic"])),
        "Share of each stage in the measured time, and in the arithmetic that the plan counts.",
    );
    let memory = figure(
        "Peak memory",
        bars(PANEL, "Peak memory planned and measured", &memory_bars(&run.memory), 104, 66)?,
        Some(key_of_bars(&["measured", "planned", "parts of the plan"])),
        memory_caption(&run.memory),
    );
    let mut body = Html::default();
    let total = Duration::try_from_secs_f64(run.seconds).unwrap_or_default();
    body.push(p(&format!("{} in all, on {} with {} threads.", seconds(total), run.engine, run.threads)));
    body.push(el("div").class("panels").child(time).child(memory));
    body.push(table(
        &["stage", "time", "share", "planned operations", "operations/s"],
        run.stages.iter().map(stage_row),
    ));
    body.push(packages(run));
    Ok(body)
}

fn time_bars(stages: &[Stage]) -> Vec<Bar> {
    let pair = |stage: &Stage| {
        let text = |share: f64| format!("{:.1} %", 100.0 * share);
        let measured = Bar { name: stage.name.clone(), value: stage.share, text: text(stage.share), colour: 0 };
        let planned = stage.operations_share;
        let planned = planned.map(|share| Bar { name: String::new(), value: share, text: text(share), colour: 1 });
        std::iter::once(measured).chain(planned)
    };
    stages.iter().flat_map(pair).collect()
}

fn memory_bars(memory: &Memory) -> Vec<Bar> {
    let bar =
        |name: &str, value: u64, colour| Bar { name: name.into(), value: value as f64, text: bytes(value), colour };
    let mut all = vec![bar("planned peak", memory.planned_peak_bytes, 1)];
    all.extend(memory.measured_peak_bytes.map(|peak| bar("measured peak", peak, 0)));
    all.push(bar("weights", memory.weight_bytes, 2));
    all.push(bar("activations", memory.activation_bytes, 2));
    all.push(bar("Hessians, all", memory.hessian_bytes, 2));
    all
}

fn memory_caption(memory: &Memory) -> &'static str {
    match (memory.place.as_str(), memory.measured_peak_bytes) {
        ("host", Some(_)) => "Peak of the plan against the largest resident set, and what the plan is made of.",
        ("host", None) => "Peak of the plan and what it is made of; the system did not tell what was used.",
        _ => "The plan is of GPU memory; the measured peak is the largest resident set in host memory.",
    }
}

fn stage_row(stage: &Stage) -> Vec<String> {
    let rate = stage.operations.filter(|operations| *operations > 0.0 && stage.seconds > 0.0);
    vec![
        stage.name.clone(),
        seconds(Duration::try_from_secs_f64(stage.seconds).unwrap_or_default()),
        percent(stage.share),
        stage.operations.map_or("-".into(), count),
        rate.map_or("-".into(), |operations| count(operations / stage.seconds)),
    ]
}

fn packages(run: &RunFacts) -> Html {
    let packages = &run.memory.packages;
    let row = |(index, package): (usize, &crate::report::facts::Package)| {
        vec![
            (index + 1).to_string(),
            integer(package.linears as u64),
            integer(package.hessians as u64),
            integer(package.passes as u64),
            bytes(package.hessian_bytes),
            bytes(package.peak_bytes),
        ]
    };
    let headings = ["package", "Linears", "Hessians", "passes", "Hessian memory", "planned peak"];
    table(&headings, packages.iter().enumerate().map(row))
}
