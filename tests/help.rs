//! Help, shell completions and manual pages: all commands, all options, nothing that does not fit.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{names_in, obsdiff, text};

/// In the order in which they are used.
fn commands() -> Vec<String> {
    let help = obsdiff(&["--help"]).succeeded().stdout;
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<String> = names.map(|line| line.split_whitespace().next().unwrap().to_string()).collect();
    names.into_iter().filter(|name| name != "help").collect()
}

/// The options that a help text lists, each with the line it stands on.
fn options(help: &str) -> Vec<(String, usize)> {
    let start = |line: &str| line.trim_start().starts_with('-') && line.len() - line.trim_start().len() <= 6;
    let name = |line: &str| {
        let word = line.split_whitespace().find(|word| word.starts_with("--"))?;
        Some(word.trim_end_matches(',').to_string())
    };
    help.lines().enumerate().filter(|(_, line)| start(line)).filter_map(|(at, line)| Some((name(line)?, at))).collect()
}

fn help(command: &str, flag: &str) -> String {
    obsdiff(&[command, flag]).succeeded().stdout
}

#[test]
fn commands_are_listed_in_the_order_of_their_use() {
    let found = commands();
    let order: Vec<_> = ["inspect", "plan", "prune", "validate", "sample", "compare", "doctor", "completions", "man"]
        .iter()
        .map(|name| found.iter().position(|known| known == name).unwrap_or_else(|| panic!("{name}: {found:?}")))
        .collect();
    assert!(order.is_sorted(), "{found:?}");
}

#[test]
fn the_short_help_shows_about_ten_options_and_the_long_one_all() {
    for command in commands() {
        let (short, long) = (help(&command, "-h"), help(&command, "--help"));
        let names = |help: &str| options(help).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
        let (few, all) = (names(&short), names(&long));
        assert!(few.len() <= 12, "obsdiff {command} -h lists {}: {few:?}", few.len());
        assert!(few.is_subset(&all), "{command}: {few:?} {all:?}");
        assert!(short.lines().count() <= 50, "obsdiff {command} -h is {} lines long", short.lines().count());
    }
    let long = help("prune", "--help");
    for heading in ["\nOptions:", "\nPruning:", "\nCalibration:", "\nSampling:", "\nOutput:"] {
        assert_eq!(long.matches(heading).count(), 1, "{heading} in {long}");
    }
    let main = long.split("\nPruning:").next().unwrap();
    for option in ["--output", "--calibration", "--sparsity", "--device"] {
        assert!(options(main).iter().any(|(name, _)| name == option), "{option} is not among the main options");
    }
}

#[test]
fn every_option_has_a_text_and_every_line_fits() {
    for command in commands() {
        for flag in ["-h", "--help"] {
            let help = help(&command, flag);
            let lines: Vec<&str> = help.lines().collect();
            for line in &lines {
                assert!(line.chars().count() <= 100, "obsdiff {command} {flag}: {line}");
            }
            for (name, at) in options(&help) {
                let beside = lines[at].split("  ").filter(|part| !part.trim().is_empty()).count() > 1;
                let below = lines.get(at + 1).is_some_and(|next| next.starts_with("          "));
                assert!(beside || below, "obsdiff {command} {flag}: {name} has no text");
            }
        }
    }
}

#[test]
fn every_shell_gets_a_script_with_all_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = obsdiff(&["completions", shell]).succeeded().stdout;
        for command in commands() {
            assert!(script.contains(&command), "{shell} does not complete {command}");
        }
        for option in ["timestep-weights", "num-inference-steps", "against"] {
            assert!(script.contains(option), "{shell} does not complete --{option}");
        }
        assert!(!script.contains(env!("CARGO_MANIFEST_DIR")), "{shell}");
    }
    obsdiff(&["completions", "tcsh"]).refused(2, &["tcsh", "bash, elvish, fish, powershell, zsh"]);
}

/// A tool that this machine may lack.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIP: {tool} is not installed");
    }
    found
}

#[test]
fn bash_completes_commands_options_and_values() {
    if !has("bash") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("obsdiff");
    fs::write(&script, obsdiff(&["completions", "bash"]).succeeded().stdout).unwrap();
    let checked = Command::new("bash").args(["-n", text(&script)]).output().unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", String::from_utf8_lossy(&checked.stderr));

    let complete = |line: &str, word: &str, previous: &str| {
        let ask = "source \"$0\"; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                   _obsdiff obsdiff \"$2\" \"$3\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = Command::new("bash").args(["-c", ask, text(&script), line, word, previous]).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{line}");
        String::from_utf8(output.stdout).unwrap()
    };
    let offered = complete("obsdiff p", "p", "obsdiff");
    assert_eq!(offered.split_whitespace().collect::<BTreeSet<_>>(), BTreeSet::from(["plan", "prune"]));
    let offered = complete("obsdiff prune --spars", "--spars", "prune");
    assert_eq!(offered.trim(), "--sparsity");
    let offered = complete("obsdiff prune --method w", "w", "--method");
    assert_eq!(offered.trim(), "wanda");
}

#[test]
fn every_command_has_a_manual_page_that_names_every_option() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    obsdiff(&["man", text(&pages)]).succeeded();
    let mut expected: Vec<String> = commands().iter().map(|command| format!("obsdiff-{command}.1")).collect();
    expected.push("obsdiff.1".into());
    expected.sort();
    assert_eq!(names_in(&pages), expected);
    for command in commands() {
        let page = fs::read_to_string(pages.join(format!("obsdiff-{command}.1"))).unwrap().replace("\\-", "-");
        let named: BTreeSet<String> = options(&help(&command, "--help")).into_iter().map(|(name, _)| name).collect();
        for option in &named {
            assert!(page.contains(option.as_str()), "obsdiff-{command}.1 lacks {option}");
        }
        assert!(page.contains(".SH \"EXIT STATUS\""), "obsdiff-{command}.1");
    }
    let overview = fs::read_to_string(pages.join("obsdiff.1")).unwrap().replace("\\-", "-");
    for name in commands() {
        assert!(overview.contains(&format!("obsdiff-{name}(1)")), "{name}");
    }
    assert!(overview.contains("HF_HUB_OFFLINE"));

    // Again, over the old ones; and all of them as one stream.
    let before = fs::read(pages.join("obsdiff-prune.1")).unwrap();
    obsdiff(&["man", text(&pages)]).succeeded();
    assert_eq!(fs::read(pages.join("obsdiff-prune.1")).unwrap(), before);
    let all = obsdiff(&["man"]).succeeded().stdout;
    assert_eq!(all.matches("\n.TH ").count() + usize::from(all.starts_with(".TH ")), expected.len());
    if has("groff") {
        expected.iter().for_each(|name| renders(&pages.join(name)));
    }
}

/// Formats a page without a warning, and with text on it.
fn renders(page: &Path) {
    let output = Command::new("groff").args(["-man", "-ww", "-Tascii", text(page)]).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
    // Bold is a letter, a step back, and the letter again.
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let steps: Vec<&str> = shown.split('\u{8}').collect();
    let (last, before) = steps.split_last().unwrap();
    let shown: String = before.iter().map(|part| &part[..part.len() - 1]).chain([*last]).collect();
    assert!(shown.contains("SYNOPSIS") && shown.lines().count() > 20, "{}: {shown}", page.display());
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    obsdiff(&["prun"]).refused(2, &["unrecognized subcommand 'prun'", "similar", "prune"]);
    obsdiff(&["prune", "model"]).refused(2, &["--output <DIR>"]);
    obsdiff(&["prune", "model", "-o", "out", "--sparsty=0.5"]).refused(2, &["--sparsty", "--sparsity"]);
}
