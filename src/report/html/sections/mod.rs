//! The sections of a page, one file each: what they show, and what to run where it is absent.

mod calibration;
mod command;
mod hessians;
mod latency;
mod layers;
mod pictures;
mod resources;
mod sparsity;
mod summary;
mod timesteps;
mod versions;

use super::Shown;
use super::element::{Element, Html, el, p};
use crate::error::Result;
use crate::report::facts::Report;

/// One section.
#[derive(Debug)]
pub struct Section {
    /// Its anchor.
    pub id: &'static str,
    pub title: &'static str,
    pub body: Html,
}

/// All sections, in the order of the page.
///
/// # Errors
/// [`crate::Error::Runtime`] if a plot cannot be drawn.
pub fn all(report: &Report, shown: &Shown) -> Result<Vec<Section>> {
    let section = |id, title, body| Section { id, title, body };
    Ok(vec![
        section("summary", "Summary", summary::body(report)),
        section("pictures", "Pictures before and after", pictures::body(report, shown)),
        section("timesteps", "Error over timesteps", timesteps::body(report)?),
        section("layers", "Error per layer", layers::body(report)?),
        section("sparsity", "Sparsity over blocks", sparsity::body(report)?),
        section("hessians", "Hessian health", hessians::body(report)?),
        section("resources", "Time and memory", resources::body(report)?),
        section("latency", "Latency", latency::body(report)),
        section("calibration", "Calibration", calibration::body(report)),
        section("command", "Command", command::body(report)),
        section("versions", "Versions and hashes", versions::body(report)),
    ])
}

/// The sentence of a section without data.
fn absent(sentence: &str) -> Element {
    p(sentence).class("absent")
}

/// A remark in small print.
fn note(text: &str) -> Element {
    p(text).class("note")
}

/// Why there is no comparison, and how to get one.
fn no_comparison(report: &Report, what: &str) -> Element {
    match &report.no_comparison {
        Some(reason) => absent(&format!("{what}: {reason}")),
        None => absent(&format!(
            "{what}: run `obsdiff compare DENSE PRUNED ... -o DIR`, then `obsdiff report` with `--comparison DIR`."
        )),
    }
}

/// Names and values in two columns.
fn list(entries: &[(&str, String)]) -> Html {
    let entry = |(name, value): &(&str, String)| el("div").child(el("dt").text(name)).child(el("dd").text(value));
    el("dl").children(entries.iter().map(entry)).into()
}

/// What opens on a click.
fn details(summary: &str, content: impl Into<Html>) -> Element {
    el("details").child(el("summary").text(summary)).child(content)
}
