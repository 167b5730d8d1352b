//! Command line: parse, call the library, print the result. One file per subcommand.

mod bench;
mod compare;
mod doctor;
mod inspect;
mod layer;
mod plan;
mod progress;
mod prune;
mod report;
mod sample;
mod sample_output;
mod sampling_args;
mod self_test;
mod table;
mod text_args;
mod validate;

use std::io::{ErrorKind, IsTerminal, Write};
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
    Bench(bench::Args),
    Compare(Box<compare::Args>),
    Doctor(doctor::Args),
    Inspect(Box<inspect::Args>),
    Layer(Box<layer::Args>),
    Plan(Box<plan::Args>),
    Prune(Box<prune::Args>),
    Report(report::Args),
    Sample(Box<sample::Args>),
    SelfTest(self_test::Args),
    Validate(Box<validate::Args>),
}

/// Parses the arguments, runs the subcommand, and turns an error into its sentence and exit code. Results go
/// to stdout, everything else to stderr.
pub fn main() -> ExitCode {
    outlive_the_file_size_limit();
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("OBSDIFF_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("obsdiff=info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
    match run(&cli.command, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Lets a write beyond `ulimit -f` fail with an error, which cleans up, instead of killing the process.
fn outlive_the_file_size_limit() {
    #[cfg(unix)]
    if signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Default::default()).is_err() {
        tracing::debug!("a write beyond the file size limit will kill this process");
    }
}

fn run(command: &Command, out: &mut dyn Write) -> Result<()> {
    match command {
        Command::Bench(args) => bench::run(args, out),
        Command::Compare(args) => compare::run(args, out),
        Command::Doctor(args) => doctor::run(args, out),
        Command::Inspect(args) => inspect::run(args, out),
        Command::Layer(args) => layer::run(args, out),
        Command::Plan(args) => plan::run(args, out),
        Command::Prune(args) => prune::run(args, out),
        Command::Report(args) => report::run(args, out),
        Command::Sample(args) => sample::run(args, out),
        Command::SelfTest(args) => self_test::run(args, out),
        Command::Validate(args) => validate::run(args, out),
    }
}

/// Prints a result. A reader that has gone (`| head`) has what it wanted.
fn print(out: &mut dyn Write, text: &str) -> Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|source| Error::io("standard output", source)),
    }
}

/// Prints a result for machines: one object, indented.
fn print_json(out: &mut dyn Write, value: &serde_json::Value) -> Result<()> {
    print(out, &format!("{value:#}\n"))
}
