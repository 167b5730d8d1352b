//! The configuration files beside the weights of an encoder.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// `value`, which stands in the file at `path`, as a type.
///
/// # Errors
/// [`Error::Malformed`] for keys of another kind.
pub fn parse<T: DeserializeOwned>(value: Value, path: &Path) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|e| Error::malformed(path, format!("not the configuration of an encoder: {e}")))
}

/// Refuses a `model_type` other than those.
///
/// # Errors
/// [`Error::Unsupported`].
pub fn expect_model_type(config: &Value, path: &Path, supported: &[&str]) -> Result<()> {
    let found = config["model_type"].as_str().unwrap_or("none");
    if supported.contains(&found) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("`model_type` in {}", path.display()),
        found: found.into(),
        supported: supported.join(", "),
    })
}

/// Refuses numbers of which one is zero.
///
/// # Errors
/// [`Error::Malformed`].
pub fn expect_positive(path: &Path, numbers: &[(&str, usize)]) -> Result<()> {
    match numbers.iter().find(|(_, number)| *number == 0) {
        Some((key, _)) => Err(Error::malformed(path, format!("`{key}` is 0; it must be positive"))),
        None => Ok(()),
    }
}
