//! Command line: parse, call the library, print the result. One file per subcommand.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;

/// Prunes text-to-image diffusion transformers (SD3, SD3.5, FLUX) in one shot.
#[derive(Parser)]
#[command(name = "obsdiff", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {}

/// Parses the arguments, runs the subcommand, and turns an error into its sentence and exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command, _out: &mut dyn Write) -> Result<()> {
    match command {}
}
