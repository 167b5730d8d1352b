//! What the environment says about the hub: the variables that `huggingface_hub` reads, with its defaults.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where models come from and where they are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of all models: `models--owner--name` lie in it.
    pub cache: PathBuf,
    /// The hub, without a slash at its end.
    pub endpoint: String,
    /// Sent to the hub, and to nobody else.
    pub token: Option<Token>,
    /// The variable that forbids every request.
    pub offline: Option<&'static str>,
    /// How long the hub may take to answer a question.
    pub answer_timeout: Duration,
    /// How long a download may stand still.
    pub download_timeout: Duration,
}

/// A token and where it was found.
#[derive(Clone)]
pub struct Token {
    pub secret: String,
    pub origin: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token from {}", self.origin)
    }
}

impl Settings {
    /// Reads `HF_HOME`, `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `XDG_CACHE_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`,
    /// `TRANSFORMERS_OFFLINE`, `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`,
    /// `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT`.
    pub fn from_env() -> Self {
        let home = home();
        let expanded = |name| variable(name).map(|path| expand(&path, &home));
        let hf_home = expanded("HF_HOME")
            .unwrap_or_else(|| expanded("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")).join("huggingface"));
        let cache = expanded("HF_HUB_CACHE").or_else(|| expanded("HUGGINGFACE_HUB_CACHE"));
        let token_file = expanded("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| variable(name).is_some());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Settings {
            cache: absolute(cache.unwrap_or_else(|| hf_home.join("hub"))),
            endpoint: endpoint.trim_end_matches('/').into(),
            token: if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { token(&token_file) },
            offline: offline.filter(|name| is_true(name)),
            answer_timeout: seconds("HF_HUB_ETAG_TIMEOUT"),
            download_timeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT"),
        }
    }
}

/// True for a variable that says 1, on, yes or true.
pub fn is_true(name: &str) -> bool {
    variable(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str()))
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn seconds(name: &str) -> Duration {
    let given = variable(name).and_then(|value| value.parse().ok()).filter(|&seconds: &u64| seconds > 0);
    Duration::from_secs(given.unwrap_or(10))
}

fn token(file: &Path) -> Option<Token> {
    let clean = |text: String, origin: String| {
        // A line break in a header would be a second header.
        let secret = text.replace(['\r', '\n'], "").trim().to_string();
        (!secret.is_empty() && secret.bytes().all(|c| c.is_ascii_graphic())).then_some(Token { secret, origin })
    };
    let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(|name| Some((variable(name)?, name)));
    match named {
        Some((text, name)) => clean(text, name.into()),
        None => clean(std::fs::read_to_string(file).ok()?, file.display().to_string()),
    }
}

fn home() -> PathBuf {
    env::home_dir().filter(|home| !home.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."))
}

/// `~` and `~/...` stand for the home folder.
fn expand(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(below) if below.starts_with('/') => home.join(below.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
