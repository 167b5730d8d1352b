//! Command line: parse, call the library, print the result. One file per subcommand.

mod inspect;
mod validate;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

/// Prunes text-to-image diffusion transformers (SD3, SD3.5, FLUX) in one shot.
#[derive(Parser)]
#[command(name = "obsdiff", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Validate(validate::Args),
}

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

fn run(command: Command, out: &mut dyn Write) -> Result<()> {
    match command {
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Validate(args) => validate::run(&args, out),
    }
}

/// A result that could not be printed.
fn output_failed(source: std::io::Error) -> Error {
    Error::io("standard output", source)
}
