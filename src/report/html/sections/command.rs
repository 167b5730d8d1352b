//! How to do it again.

use super::{absent, details};
use crate::report::facts::{Report, shell_quoted};
use crate::report::html::element::{Html, el, p};

pub fn body(report: &Report) -> Html {
    let mut body = Html::default();
    match &report.command {
        Some(command) => {
            let text = match &command.folder {
                Some(folder) if !folder.is_empty() => format!("cd {}\n{}", shell_quoted(folder), command.shell),
                _ => command.shell.clone(),
            };
            body.push(p("Repeats the run on the same input; one click selects all of it."));
            body.push(el("pre").class("command").attr("tabindex", "0").child(el("code").text(&text)));
        }
        None => body.push(absent(
            "run.json is gone, so the command is not known: `obsdiff prune MODEL --recipe recipe.toml --calibration FILE \
             -o OUT` does the same with the recipe below.",
        )),
    }
    body.push(details("recipe.toml: every setting", el("pre").child(el("code").text(&report.recipe.to_toml()))));
    body
}
