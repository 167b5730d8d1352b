//! What `-h`, `--help`, shell completions and manual pages show, all made from the arguments' own definitions.
//!
//! `-h` shows the main options of a command, in the order in which somebody thinks of them; `--help` shows these first
//! and the rest under headings.

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// The main options of what runs a model.
const RUN: &[&str] = &[
    "prompts",
    "conditioning",
    "output",
    "num-inference-steps",
    "guidance-scale",
    "seed",
    "dtype",
    "device",
    "overwrite",
];

/// The main options by their long names, for the commands that have more than fit a glance.
const MAIN: [(&str, &[&str]); 5] = [
    ("plan", &["arch", "samples", "sparsity", "pattern", "packages", "recipe", "dtype", "device", "max-vram", "json"]),
    (
        "prune",
        &[
            "output",
            "prompts",
            "calibration",
            "sparsity",
            "pattern",
            "method",
            "recipe",
            "dtype",
            "device",
            "overwrite",
        ],
    ),
    ("sample", RUN),
    ("compare", RUN),
    (
        "layer",
        &["weight", "hessian", "inputs", "output", "sparsity", "pattern", "method", "device", "overwrite", "json"],
    ),
];

/// The program's arguments, main options first.
pub fn full_command() -> Command {
    Cli::command().mut_subcommands(|command| match main_options(&command) {
        None => command,
        Some(main) => command.mut_args(|arg| match rank(&arg, main) {
            Some(rank) => arg.help_heading(None::<&str>).display_order(rank),
            None => arg,
        }),
    })
}

/// The same with a short `-h`; this is what parses.
pub fn command() -> Command {
    full_command().mut_subcommands(|command| match main_options(&command) {
        None => command,
        Some(main) => command.mut_args(|arg| {
            let is_rare = !arg.is_positional() && rank(&arg, main).is_none();
            if is_rare { arg.hide_short_help(true) } else { arg }
        }),
    })
}

fn main_options(command: &Command) -> Option<&'static [&'static str]> {
    MAIN.iter().find(|(name, _)| *name == command.get_name()).map(|(_, main)| *main)
}

fn rank(arg: &Arg, main: &[&str]) -> Option<usize> {
    main.iter().position(|&name| Some(name) == arg.get_long())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_main_option_exists() {
        let command = command();
        for (name, main) in MAIN {
            let options = command.find_subcommand(name).unwrap_or_else(|| panic!("no command {name}"));
            for option in main {
                assert!(options.get_arguments().any(|arg| arg.get_long() == Some(option)), "{name} has no --{option}");
            }
        }
    }

    #[test]
    fn every_option_says_what_it_does_and_every_rare_one_has_a_heading() {
        for command in command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                let name = format!("{} {}", command.get_name(), arg.get_id());
                let help = arg.get_help().unwrap_or_else(|| panic!("{name} has no help")).to_string();
                assert!(!help.ends_with('.'), "{name}: a period at the end of {help}");
                assert!(!help.starts_with(char::is_lowercase), "{name}: {help}");
                if arg.is_hide_short_help_set() {
                    assert!(arg.get_help_heading().is_some(), "{name} has no heading");
                }
            }
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }
}
