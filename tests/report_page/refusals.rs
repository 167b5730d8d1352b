//! What a report refuses, each with one sentence and nothing written.

use std::fs;

use crate::common::{bench, comparison, copy, report};
use crate::support::{edit, names_in, text};

#[test]
fn a_folder_without_a_report_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    report(folder.path(), &[]).refused(3, &["obsdiff.json does not exist", "obsdiff prune"]);
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn files_of_a_newer_layout_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (pruned, comparison, bench) = (copy(folder.path()), comparison(folder.path()), bench(folder.path()));
    edit(&comparison.join("comparison.json"), "obsdiff.comparison/1", "obsdiff.comparison/9");
    report(&pruned, &["--comparison", text(&comparison)])
        .refused(3, &["obsdiff.comparison/9", "needs a newer obsdiff"]);
    edit(&bench, "obsdiff.bench-block/1", "obsdiff.bench-block/9");
    report(&pruned, &["--bench", text(&bench)]).refused(3, &["obsdiff.bench-block/9"]);
    edit(&pruned.join("obsdiff.json"), "obsdiff.prune/1", "obsdiff.prune/2");
    report(&pruned, &[]).refused(3, &["obsdiff.prune/2", "obsdiff.prune/1"]);
    assert!(!pruned.join("report.html").exists());
}

#[test]
fn broken_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (pruned, comparison) = (copy(folder.path()), comparison(folder.path()));
    fs::write(comparison.join("pictures/dense-0001.png"), b"no picture").unwrap();
    report(&pruned, &["--comparison", text(&comparison)]).refused(3, &["dense-0001.png", "no readable PNG"]);
    fs::remove_file(comparison.join("pictures/dense-0001.png")).unwrap();
    report(&pruned, &["--comparison", text(&comparison)]).refused(3, &["dense-0001.png does not exist"]);
    edit(&comparison.join("comparison.json"), "pictures/dense-0001.png", "../pruned/obsdiff.json");
    report(&pruned, &["--comparison", text(&comparison)]).refused(3, &["outside the folder"]);
    report(&pruned, &["--comparison", text(folder.path())]).refused(3, &["comparison.json does not exist"]);
    fs::write(pruned.join("run.json"), "{").unwrap();
    report(&pruned, &[]).refused(3, &["run.json", "not JSON"]);
    assert!(!pruned.join("report.html").exists());
}

#[test]
fn an_earlier_report_stays_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let pruned = copy(folder.path());
    report(&pruned, &["--no-comparison"]).succeeded();
    let first = fs::read(pruned.join("report.html")).unwrap();
    report(&pruned, &["--no-comparison"]).refused(2, &["report.html exists already", "--overwrite"]);
    report(&pruned, &["--no-comparison", "--overwrite"]).succeeded();
    assert_eq!(fs::read(pruned.join("report.html")).unwrap(), first, "equal input, equal page");
    let json = folder.path().join("page.json");
    report(&pruned, &["-o", text(&json)]).refused(2, &["report.html"]);
}
