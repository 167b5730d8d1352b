//! What a user writes for a model: a path, or the name of a model on the hub.

use std::fmt;

use crate::error::{Error, Result};

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// A model on the hub at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// `owner/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl HubName {
    /// Reads `owner/name` or `owner/name@REVISION`; `None` for what is a path. A path is whatever begins with `.`, `/`
    /// or `~`, ends in `.safetensors`, has no slash or more than one (before an `@`), or has characters that names on
    /// the hub do not have. Whether a file or folder of that name exists is for the caller to see first.
    ///
    /// # Errors
    /// [`Error::Usage`] for a revision that none can be called.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let Some((owner, name)) = repository.split_once('/') else { return Ok(None) };
        if !(is_part(owner) && is_part(name)) || text.ends_with(".safetensors") {
            return Ok(None);
        }
        if let Some(revision) = revision
            && !is_revision(revision)
        {
            return Err(Error::Usage(format!(
                "{text}: `{revision}` is not a revision; expected a branch, a tag or a commit after the @"
            )));
        }
        Ok(Some(HubName { repository: repository.into(), revision: revision.unwrap_or(MAIN).into() }))
    }

    /// True if the revision is a whole commit hash, which always means the same files.
    pub fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Forty hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// An owner or a model as the hub allows them.
fn is_part(text: &str) -> bool {
    let edge = |c: char| c == '.' || c == '-';
    !text.is_empty()
        && text.len() <= 96
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !text.starts_with(edge)
        && !text.ends_with(edge)
        && !text.contains("--")
        && !text.contains("..")
}

fn is_revision(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+'))
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.'))
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(repository: &str, revision: &str) -> Option<HubName> {
        Some(HubName { repository: repository.into(), revision: revision.into() })
    }

    #[test]
    fn names_have_an_owner_and_perhaps_a_revision() {
        let parse = |text| HubName::parse(text).unwrap();
        let large = "stabilityai/stable-diffusion-3.5-large";
        assert_eq!(parse(large), name(large, "main"));
        assert_eq!(parse("black-forest-labs/FLUX.1-dev@refs/pr/3"), name("black-forest-labs/FLUX.1-dev", "refs/pr/3"));
        assert_eq!(parse("a/b@v1.0"), name("a/b", "v1.0"));
        assert_eq!(parse("a/b@v1.0").unwrap().to_string(), "a/b@v1.0");
        assert_eq!(parse(large).unwrap().to_string(), large);
    }

    #[test]
    fn paths_are_no_names() {
        let paths = [
            "model",
            "./a/b",
            "../b",
            "/a/b",
            "~/b",
            "a/b/c",
            "a/b.safetensors",
            "a/",
            "/b",
            "a b/c",
            "a\\b/c",
            "a/..",
        ];
        for path in paths {
            assert_eq!(HubName::parse(path).unwrap(), None, "{path}");
        }
    }

    #[test]
    fn impossible_revisions_are_refused() {
        for text in ["a/b@", "a/b@../x", "a/b@x/", "a/b@x y", "a/b@x?y", "a/b@/x", "a/b@.git"] {
            assert_eq!(HubName::parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
