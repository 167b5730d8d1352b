use std::process::ExitCode;

fn main() -> ExitCode {
    obsdiff::cli::main()
}
