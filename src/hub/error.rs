//! What can go wrong between a name and its files, one sentence each.

use std::path::PathBuf;

use super::name::HubName;
use crate::error::Error;

/// See the module. Every sentence says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Requests are forbidden and the cache lacks something.
    #[error(
        "{name}: {what} is not in the cache {}, and {variable} forbids to fetch it; run once without {variable}, or give \
         the path of a local folder",
        .cache.display()
    )]
    Offline { name: HubName, what: String, cache: PathBuf, variable: &'static str },
    /// No answer.
    #[error(
        "{name} is neither a folder here nor whole in the cache {}, and {endpoint} cannot be reached ({reason}); check the \
         network and the proxy settings, or give the path of a local folder",
        .cache.display()
    )]
    NoNetwork { name: HubName, cache: PathBuf, endpoint: String, reason: String },
    /// The licence has not been accepted, or not by this account.
    #[error(
        "{name} is gated: accept its licence on {endpoint}/{} and set HF_TOKEN to a token of that account{}",
        .name.repository, sent(.token)
    )]
    Gated { name: HubName, endpoint: String, token: Option<String> },
    /// The hub does not know the model, or does not show it.
    #[error(
        "{name} is neither a folder here nor a model that {endpoint} shows{}; check the name, and for a private model set \
         HF_TOKEN",
        sent(.token)
    )]
    NoSuchModel { name: HubName, endpoint: String, token: Option<String> },
    /// The model has no such branch, tag or commit.
    #[error("{} has no branch, tag or commit `{}` on {endpoint}; check what stands after the @", .name.repository, .name.revision)]
    NoSuchRevision { name: HubName, endpoint: String },
    /// The repository lacks a file that is needed.
    #[error(
        "{name} has no {file} on {endpoint}; only models in the layout of diffusers with safetensors weights are fetched"
    )]
    NoSuchFile { name: HubName, endpoint: String, file: String },
    /// The token is not valid.
    #[error("{endpoint} refuses the token from {origin}; set HF_TOKEN to a valid one, or to none for a public model")]
    BadToken { endpoint: String, origin: String },
    /// Access is refused for another reason.
    #[error("{endpoint} denies access to {name}{}{}; check the token's permissions", said(.message), sent(.token))]
    Denied { name: HubName, endpoint: String, message: Option<String>, token: Option<String> },
    /// Any other status.
    #[error("{endpoint} answered {status} for {name}{}; try again later", said(.message))]
    Status { name: HubName, endpoint: String, status: String, message: Option<String> },
    /// An answer that no hub gives.
    #[error(
        "{endpoint} answered for {name} what no model hub does: {problem}; check HF_ENDPOINT and the proxy settings"
    )]
    NoHub { name: HubName, endpoint: String, problem: String },
    /// A download that stopped and did not go on.
    #[error(
        "the download of {file} of {name} stopped after {done} of {size} bytes ({reason}); run the same command again, it \
         goes on from there"
    )]
    Stopped { name: HubName, file: String, done: u64, size: u64, reason: String },
    /// A file whose content is not what the hub promised.
    #[error("{file} of {name} arrived damaged ({problem}) and was removed; run the same command again")]
    Damaged { name: HubName, file: String, problem: String },
    /// The disk of the cache is full (exit code 5).
    #[error(
        "no space left in the cache {}; free some or point HF_HUB_CACHE to another disk, and run the same command again: the \
         download goes on where it stopped",
        .cache.display()
    )]
    DiskFull { cache: PathBuf },
    /// The disk of the cache would not suffice (exit code 5).
    #[error(
        "the cache {} has {available} bytes free and {name} needs {needed}; free some or point HF_HUB_CACHE to another disk",
        .cache.display()
    )]
    NotEnoughSpace { name: HubName, cache: PathBuf, needed: u64, available: u64 },
}

impl HubError {
    /// True if files that are in the cache may be used instead: the hub was not reached, or refused to tell.
    pub(super) fn lets_the_cache_answer(&self) -> bool {
        use HubError::{BadToken, Denied, Gated, NoHub, NoNetwork, NoSuchModel, Status};
        matches!(
            self,
            NoNetwork { .. }
                | BadToken { .. }
                | Gated { .. }
                | NoSuchModel { .. }
                | Denied { .. }
                | Status { .. }
                | NoHub { .. }
        )
    }

    /// Why the hub was not asked successfully, for a warning.
    pub(super) fn reason(&self) -> String {
        match self {
            HubError::NoNetwork { endpoint, reason, .. } => format!("{endpoint} cannot be reached ({reason})"),
            other => other.to_string(),
        }
    }
}

impl From<HubError> for Error {
    fn from(error: HubError) -> Self {
        let no_room = matches!(error, HubError::DiskFull { .. } | HubError::NotEnoughSpace { .. });
        Error::Hub { sentence: error.to_string(), no_room }
    }
}

fn sent(token: &Option<String>) -> String {
    token.as_ref().map_or(String::new(), |origin| format!(" (the token from {origin} was sent)"))
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map_or(String::new(), |message| format!(" ({message})"))
}
