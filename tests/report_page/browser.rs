//! The page in a headless Chromium, at the widths of a phone and of a desktop.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{PROMPTS, SECTIONS, full_page};
use crate::support::text;

/// Widths and heights of the screens.
const SCREENS: [(u32, u32); 2] = [(390, 844), (1280, 900)];
/// A browser that has not loaded a local page by then hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// `CHROME`, or the first Chromium on the path.
fn chromium() -> Option<PathBuf> {
    if let Some(given) = env::var_os("CHROME") {
        return Some(given.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()))
}

/// Looks at a page in frames of all widths and writes what it saw as JSON into its own document.
const WRAPPER: &str = r#"<!doctype html><meta charset="utf-8"><pre id="seen"></pre>FRAMES<script>
const look = frame => {
  const doc = frame.contentDocument, win = frame.contentWindow, root = doc.documentElement;
  const box = element => element.getBoundingClientRect();
  const shown = element => box(element).width > 0 && box(element).height > 0;
  const sections = {};
  for (const id of SECTIONS) {
    const section = doc.getElementById(id);
    sections[id] = !!section && shown(section) && !!section.querySelector("h2") && shown(section.querySelector("h2"));
  }
  const images = [...doc.images], plots = [...doc.querySelectorAll("svg")].filter(shown);
  const heights = plots.flatMap(plot => [...plot.querySelectorAll("text")]).map(text => box(text).height);
  return {
    width: root.clientWidth, sections, title: doc.title, nodes: doc.querySelectorAll("*").length,
    images: images.length, broken: images.filter(image => !image.complete || image.naturalWidth === 0 || !shown(image)).length,
    plots: plots.length, empty: plots.filter(plot => plot.querySelectorAll("*").length < 8).length,
    smallest_text: Math.min(...heights), overflow: root.scrollWidth - root.clientWidth,
    requests: win.performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
  };
};
addEventListener("load", () => {
  document.getElementById("seen").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
});
</script>"#;

/// What the browser saw of `page` on every screen; `None` if there is no browser.
fn look(page: &Path) -> Option<Vec<Value>> {
    let Some(chromium) = chromium() else {
        println!("SKIP: no Chromium on the path; install chromium or set CHROME to one");
        return None;
    };
    let folder = page.parent().unwrap();
    let frame = |(width, height): (u32, u32)| {
        let name = page.file_name().unwrap().to_str().unwrap();
        format!("<iframe src=\"{name}\" style=\"width:{width}px;height:{height}px;border:0\"></iframe>")
    };
    let frames: String = SCREENS.map(frame).concat();
    let wrapper = folder.join("wrapper.html");
    let sections = serde_json::to_string(&SECTIONS).unwrap();
    fs::write(&wrapper, WRAPPER.replace("FRAMES", &frames).replace("SECTIONS", &sections)).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let dom = folder.join("dom.html");
    let log = folder.join("browser.log");
    let mut child = Command::new(&chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr"])
        .args(["--allow-file-access-from-files", "--window-size=1400,1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", text(&wrapper)))
        .stdout(fs::File::create(&dom).unwrap())
        .stderr(fs::File::create(&log).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", chromium.display()));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                child.kill().unwrap();
                panic!("{} hangs: {}", chromium.display(), fs::read_to_string(&log).unwrap());
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let said = fs::read_to_string(&log).unwrap();
    assert!(status.success(), "{status}: {said}");
    assert!(!said.contains("Refused to"), "the page asked for what its policy forbids: {said}");
    let dom = fs::read_to_string(&dom).unwrap();
    let seen = dom.split_once("<pre id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (seen, _) = seen.unwrap_or_else(|| panic!("nothing seen: {said}"));
    let seen = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let seen: Vec<Value> = serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen} {said}"));
    assert_eq!(seen.len(), SCREENS.len());
    Some(seen)
}

/// What is wrong with a page that a browser saw.
fn problems(seen: &Value) -> Vec<String> {
    let number = |key: &str| seen[key].as_f64().unwrap_or(f64::NAN);
    let absent = SECTIONS.iter().filter(|id| seen["sections"][**id] != true).map(|id| format!("no section {id}"));
    let mut problems: Vec<String> = absent.collect();
    let mut check = |holds: bool, problem: &str| {
        if !holds {
            problems.push(format!("{problem}: {seen}"));
        }
    };
    check(number("images") == 2.0 * PROMPTS.len() as f64, "pictures");
    check(number("broken") == 0.0, "broken pictures");
    check(number("plots") == 11.0, "plots");
    check(number("empty") == 0.0, "empty plots");
    check(number("smallest_text") >= 9.0, "text too small");
    check(number("overflow") <= 0.0, "wider than the screen");
    check(seen["requests"].as_array().is_some_and(Vec::is_empty), "requests");
    check(seen["title"].as_str().is_some_and(|title| title.contains("50.00")), "title");
    problems
}

#[test]
fn a_browser_shows_every_section_at_phone_and_desktop_width() {
    let folder = tempfile::tempdir().unwrap();
    let (page, _, _) = full_page(folder.path());
    let Some(seen) = look(&page) else { return };
    for (seen, (width, _)) in seen.iter().zip(SCREENS) {
        assert!((seen["width"].as_f64().unwrap() - f64::from(width)).abs() <= 20.0, "{seen}");
        assert_eq!(problems(seen), Vec::<String>::new(), "at {width} pixels");
    }
}

#[test]
fn a_browser_notices_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let (page, html, _) = full_page(folder.path());
    let broken = html
        .replace("<section id=\"layers\"", "<section id=\"other\"")
        .replacen("data:image/png;base64,iVBOR", "data:image/png;base64,AAAA", 1)
        .replace("</main>", "<div style=\"width:3000px;height:1px\"></div></main>");
    fs::write(&page, broken).unwrap();
    let Some(seen) = look(&page) else { return };
    for seen in &seen {
        let problems = problems(seen).join("\n");
        for expected in ["no section layers", "broken pictures", "wider than the screen"] {
            assert!(problems.contains(expected), "{expected} went unnoticed: {seen}");
        }
    }
}
