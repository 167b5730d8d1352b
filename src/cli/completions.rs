//! `obsdiff completions`: a script that makes a shell complete commands and options.

use std::io::Write;

use clap_complete::Shell;

use super::help::full_command;
use crate::error::Result;

/// Prints a script that completes commands and options in a shell
///
/// For bash: obsdiff completions bash > ~/.local/share/bash-completion/completions/obsdiff
#[derive(clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script to `out`.
///
/// # Errors
/// A failure to print.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut full_command(), "obsdiff", &mut script);
    super::print(out, &String::from_utf8_lossy(&script))
}
