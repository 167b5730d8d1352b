//! The MODEL of every command: a folder, or a name on the hub.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressStyle};

use super::table::bytes;
use crate::checkpoint::Pipeline;
use crate::error::Result;
use crate::hub::{self, HubName, Part, Settings};

/// A model as a user names it: a path, or `owner/name`, or `owner/name@REVISION`. What exists here is a path.
#[derive(Debug, Clone)]
pub struct ModelArg {
    given: OsString,
}

impl From<OsString> for ModelArg {
    fn from(given: OsString) -> Self {
        ModelArg { given }
    }
}

impl FromStr for ModelArg {
    type Err = Infallible;

    fn from_str(given: &str) -> Result<Self, Infallible> {
        Ok(ModelArg { given: given.into() })
    }
}

impl fmt::Display for ModelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.given.display())
    }
}

impl ModelArg {
    /// The folder (or file) of the model; from the hub, `parts` of it are downloaded where the cache lacks them.
    ///
    /// # Errors
    /// Those of [`hub::fetch`] and [`HubName::parse`]. A path that does not exist is an error of whoever opens it.
    pub fn resolve(&self, parts: &[Part]) -> Result<PathBuf> {
        let path = PathBuf::from(&self.given);
        if path.exists() {
            return Ok(path);
        }
        match self.given.to_str().map(HubName::parse).transpose()?.flatten() {
            Some(name) => hub::fetch(&Settings::from_env(), &name, parts, &Download::default()),
            None => Ok(path),
        }
    }

    /// Opens the pipeline.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve) and [`Pipeline::open`].
    pub fn open(&self, parts: &[Part]) -> Result<Pipeline> {
        Pipeline::open(self.resolve(parts)?)
    }
}

/// One bar over all files of a download; nothing is drawn if stderr is no terminal.
#[derive(Default)]
struct Download {
    bar: OnceLock<ProgressBar>,
}

impl hub::Progress for Download {
    fn begin(&self, name: &HubName, files: usize, total: u64) {
        let number = if files == 1 { "1 file".into() } else { format!("{files} files") };
        tracing::info!("downloading {number} of {name}, {}", bytes(total));
        if hub::is_true("HF_HUB_DISABLE_PROGRESS_BARS") {
            return;
        }
        let template = "[{bar:32}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left  {wide_msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.get_or_init(|| ProgressBar::new(total).with_style(style.progress_chars("=> ")));
    }

    fn at(&self, file: &str, done: u64) {
        if let Some(bar) = self.bar.get() {
            if bar.message() != file {
                bar.set_message(file.to_string());
            }
            bar.set_position(done);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
