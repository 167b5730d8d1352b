//! The page around the sections.

use super::element::{Html, el};
use super::sections::Section;
use crate::report::facts::Report;
use crate::report::html::numbers::percent;

const STYLE: &str = include_str!("style.css");
/// Nothing may be loaded from anywhere, and nothing may run.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// The whole document.
pub fn page(report: &Report, sections: &[Section]) -> String {
    let summary = &report.summary;
    let title = format!("{}, {} pruned", summary.model, percent(summary.sparsity));
    let head = el("head")
        .child(el("meta").attr("charset", "utf-8"))
        .child(el("meta").attr("http-equiv", "Content-Security-Policy").attr("content", POLICY))
        .child(el("meta").attr("name", "viewport").attr("content", "width=device-width, initial-scale=1"))
        .child(el("meta").attr("name", "color-scheme").attr("content", "light dark"))
        .child(el("title").text(&format!("{title} - obsdiff")))
        .child(el("style").child(Html::trusted(STYLE.into())));
    let anchor = |section: &Section| el("a").attr("href", &format!("#{}", section.id)).text(section.title);
    let header = el("header")
        .child(el("p").class("kind").text("obsdiff report"))
        .child(el("h1").text(&title))
        .child(el("nav").attr("aria-label", "Sections").children(sections.iter().map(anchor)));
    let section = |section: &Section| {
        let heading = format!("{}-heading", section.id);
        el("section")
            .attr("id", section.id)
            .attr("aria-labelledby", &heading)
            .child(el("h2").attr("id", &heading).text(section.title))
            .child(section.body.clone())
    };
    let body = el("body").child(header).child(el("main").children(sections.iter().map(section)));
    let html = Html::from(el("html").attr("lang", "en").child(head).child(body));
    format!("<!doctype html>\n{}\n", html.as_str())
}
