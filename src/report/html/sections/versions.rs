//! What wrote what.

use super::list;
use crate::report::facts::{Report, SCHEMA};
use crate::report::html::element::{Html, el, table};

pub fn body(report: &Report) -> Html {
    let versions = &report.versions;
    let recipe = match versions.recipe_unchanged {
        Some(true) => "recipe.toml is as it was written",
        Some(false) => "recipe.toml was changed since",
        None => "recipe.toml is gone",
    };
    let mut body = list(&[
        ("pruned by", format!("obsdiff {}", versions.obsdiff)),
        ("report by", format!("obsdiff {}, {SCHEMA}", versions.obsdiff_report)),
        ("recipe", recipe.into()),
    ]);
    let rows = versions.sources.iter().map(|source| vec![source.file.clone(), source.sha256.clone()]);
    let recipe = std::iter::once(vec!["recipe, as pruned".into(), versions.recipe_sha256.clone()]);
    body.push(el("div").class("hashes").child(table(&["file", "SHA-256"], rows.chain(recipe))));
    body
}
