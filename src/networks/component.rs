//! The configuration files beside the weights of an encoder.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// A JSON object as a type.
///
/// # Errors
/// [`Error::Missing`] for an absent file, [`Error::Malformed`] for a broken one.
pub fn read_json(path: &Path, needed_for: &str) -> Result<Value> {
    let text = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.into(), needed_for: needed_for.into() },
        _ => Error::io(path, e),
    })?;
    let value: Value = serde_json::from_slice(&text).map_err(|e| Error::malformed(path, format!("not JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::malformed(path, "not a JSON object")) }
}

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
