//! The program as a user runs it.

use std::path::Path;
use std::process::Command;

/// What one run did.
pub struct Run {
    /// `None`: killed by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Panics with the program's own message unless it succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Panics unless it ended with `code`, printed nothing as a result, and its message holds every part.
    #[track_caller]
    pub fn refused(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a refusal printed a result");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        }
        self
    }

    /// The one JSON object that it printed.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let run = self.succeeded();
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout))
    }
}

/// Runs with these arguments.
pub fn obsdiff<T: AsRef<str>>(arguments: &[T]) -> Run {
    obsdiff_with(arguments, |_| ())
}

/// Runs with these arguments and a changed environment.
pub fn obsdiff_with<T: AsRef<str>>(arguments: &[T], change: impl FnOnce(&mut Command)) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_obsdiff"));
    command.args(arguments.iter().map(AsRef::as_ref));
    change(&mut command);
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
