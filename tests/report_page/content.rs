//! What the page and its JSON say.

use std::fs;

use serde_json::Value;

use crate::common::{PROMPTS, SECTIONS, copy, full_page, pruned, report};
use crate::support::{json, models, obsdiff, text};

/// The text of a section, tags included.
fn section<'a>(html: &'a str, id: &str) -> &'a str {
    let start = html.find(&format!("<section id=\"{id}\"")).unwrap_or_else(|| panic!("no section {id}"));
    let end = html[start..].find("</section>").unwrap();
    &html[start..start + end]
}

#[test]
fn every_section_has_a_heading_a_link_and_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let (_, html, _) = full_page(folder.path());
    let places: Vec<usize> = SECTIONS.iter().map(|id| html.find(&format!("<section id=\"{id}\"")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    for id in SECTIONS {
        let content = section(&html, id);
        assert!(content.contains("<h2 id="), "{id}");
        assert!(html.contains(&format!("href=\"#{id}\"")), "{id}");
        assert!(!content.contains("class=\"absent\""), "{id}: {content}");
    }
    for (id, expected) in [
        ("summary", "696,192 of 1,392,384 weights"),
        ("pictures", "3 of 3 prompts"),
        ("timesteps", "step-size"),
        ("layers", "transformer_blocks.4.attn.to_out.0"),
        ("sparsity", "50.00\u{a0}%"),
        ("hessians", "37 Hessians"),
        ("resources", "planned peak"),
        ("latency", "Test GPU"),
        ("calibration", "latents of the calibration file"),
        ("command", "cd "),
        ("versions", "SHA-256"),
    ] {
        assert!(section(&html, id).contains(expected), "{id} does not say {expected}");
    }
    for (id, plots) in [("timesteps", 4), ("layers", 4), ("sparsity", 2), ("hessians", 2), ("resources", 2)] {
        assert_eq!(section(&html, id).matches("<svg ").count(), plots, "{id}");
    }
    assert_eq!(html.matches("<svg ").count(), html.matches("role=\"img\" aria-label=\"").count());
}

#[test]
fn the_command_is_quoted_for_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let (_, html, numbers) = full_page(folder.path());
    let quoted = r"'no such layer'\''s name'";
    assert!(numbers["command"]["shell"].as_str().unwrap().contains(quoted), "{}", numbers["command"]);
    assert!(section(&html, "command").contains(&quoted.replace('\'', "&#39;")));
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_, html, _) = full_page(folder.path());
    let policy = "default-src &#39;none&#39;; img-src data:; style-src &#39;unsafe-inline&#39;";
    assert!(html.contains(policy));
    for attribute in ["src=\"", "href=\""] {
        for value in html.split(attribute).skip(1) {
            assert!(value.starts_with('#') || value.starts_with("data:image/png;base64,"), "{}", &value[..60]);
        }
    }
    let lower = html.to_lowercase();
    for foreign in ["://", "<script", "url(", "@import", "<iframe", "<object", "<link"] {
        assert!(!lower.contains(foreign), "{foreign}");
    }
}

#[test]
fn texts_are_inert() {
    let folder = tempfile::tempdir().unwrap();
    let (_, html, numbers) = full_page(folder.path());
    for (index, prompt) in PROMPTS.iter().enumerate() {
        assert_eq!(numbers["comparison"]["items"][index]["prompt"], *prompt);
    }
    assert!(html.contains("&lt;script&gt;document.title = &#39;broken&#39;&lt;/script&gt;"));
    assert!(html.contains("&quot;&gt;&lt;img src=x onerror=alert(1)&gt; &amp; &#39;so on&#39;"));
    assert_eq!(html.matches("<img ").count(), 2 * PROMPTS.len());
}

#[test]
fn the_numbers_are_those_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let (_, html, numbers) = full_page(folder.path());
    let (prune, run) = (json(&pruned().join("obsdiff.json")), json(&pruned().join("run.json")));
    assert_eq!(numbers["schema"], "obsdiff.report/1");
    assert_eq!(numbers["summary"]["sparsity"], prune["sparsity"]);
    assert_eq!(numbers["summary"]["latent_rel"], 0.00297);
    assert_eq!(numbers["timesteps"].as_array().unwrap().len(), 20);
    assert_eq!(numbers["timesteps"][3]["weight"], prune["calibration"]["timestep_weights"][3]);
    assert_eq!(numbers["command"]["arguments"], run["command"]);
    assert_eq!(numbers["comparison"]["steps"].as_array().unwrap().len(), 20);
    assert_eq!(numbers["benches"][0]["rows"][0]["ratio"], 1.6);
    for list in ["layers", "hessians"] {
        let (shown, stored) = (numbers[list].as_array().unwrap(), prune[list].as_array().unwrap());
        assert_eq!(shown.len(), stored.len());
        for (shown, stored) in shown.iter().zip(stored) {
            let same = stored.as_object().unwrap().iter().all(|(key, value)| shown[key] == *value);
            assert!(same, "{shown} {stored}");
        }
    }
    let position = &numbers["layers"][0];
    assert_eq!(
        (&position["stack"], &position["block"], &position["kind"]),
        (&Value::from("transformer_blocks"), &Value::from(0), &Value::from("attn.to_q"))
    );
    let shares: f64 =
        numbers["run"]["stages"].as_array().unwrap().iter().map(|stage| stage["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    let hash = numbers["versions"]["sources"][0]["sha256"].as_str().unwrap();
    assert!(hash.len() == 64 && html.contains(hash));
    assert_eq!(numbers["versions"]["recipe_unchanged"], true);
}

#[test]
fn conditions_are_lower_bounds_from_the_pivots() {
    for hessian in json(&pruned().join("obsdiff.json"))["hessians"].as_array().unwrap() {
        let pivot = |key: &str| hessian[key].as_f64().unwrap();
        assert!(pivot("largest_pivot") > pivot("smallest_pivot"), "{hessian}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, _, numbers) = full_page(folder.path());
    for hessian in numbers["hessians"].as_array().unwrap() {
        let value = |key: &str| hessian[key].as_f64().unwrap();
        assert_eq!(value("condition_at_least"), value("largest_pivot") / value("smallest_pivot"));
    }
}

#[test]
fn what_is_absent_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (models("sd3_digits/pipeline"), folder.path().join("out"));
    let magnitude = ["prune", text(&model), "--method", "magnitude", "-o", text(&output)];
    obsdiff(&magnitude).succeeded();
    fs::remove_file(output.join("run.json")).unwrap();
    report(&output, &["--no-comparison"]).succeeded();
    let html = fs::read_to_string(output.join("report.html")).unwrap();
    for (id, expected) in [
        ("pictures", "obsdiff compare"),
        ("timesteps", "obsdiff compare"),
        ("layers", "obsdiff prune"),
        ("hessians", "--method obs-diff"),
        ("resources", "run.json is gone"),
        ("latency", "obsdiff bench"),
        ("calibration", "without calibration"),
        ("command", "run.json is gone"),
    ] {
        let content = section(&html, id);
        assert!(content.contains("class=\"absent\"") && content.contains(expected), "{id}: {content}");
    }
    assert_eq!(json(&output.join("report.json"))["calibration"], Value::Null);
}

#[test]
fn pictures_are_capped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (pruned, comparison) = (copy(folder.path()), crate::common::comparison(folder.path()));
    let page = folder.path().join("page.html");
    let run = report(&pruned, &["--comparison", text(&comparison), "--pictures", "1", "-o", text(&page)]).succeeded();
    assert!(run.stdout.contains("1 of 3 pairs of pictures"), "{}", run.stdout);
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("1 of 3 prompts"));
    // The first pair is 1024 pixels wide in the comparison.
    assert_eq!(html.matches("width=\"384\" height=\"384\"").count(), 2);
    assert!(folder.path().join("page.json").is_file() && !pruned.join("report.html").exists());
}

#[test]
fn a_report_does_not_disturb_the_model() {
    let folder = crate::common::duplicate(pruned(), "report-digits-validated");
    report(&folder, &["--no-comparison"]).succeeded();
    obsdiff(&["validate", text(&folder), "--against", text(&models("sd3_digits/pipeline"))]).succeeded();
}
