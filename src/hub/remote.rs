//! Questions to the hub, and downloads. Content is checked before it gets its name, and the token goes to the hub alone:
//! neither holds for the downloads of the `hf-hub` crate, which is why only names and paths are taken from there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use hf_hub::{Repo, RepoType};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode};

use super::cache::ModelCache;
use super::error::HubError;
use super::name::{HubName, is_commit};
use super::parts::stays_inside;
use super::settings::Settings;
use crate::error::{Error, Result};

/// Waits before a download that stopped goes on; progress starts the list again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Bytes that are read at a time.
const BLOCK: usize = 1 << 20;
/// Redirects that are followed to learn of a file, such as those of a renamed repository.
const MAX_REDIRECTS: usize = 5;
/// Largest list of files that is read.
const MAX_LISTING: u64 = 64 << 20;

/// A repository at a revision, on the hub.
pub(super) struct Remote<'a> {
    settings: &'a Settings,
    name: &'a HubName,
    agent: Agent,
}

/// The files of a repository at a commit.
pub(super) struct Listing {
    pub commit: String,
    pub names: BTreeSet<String>,
}

/// What the hub says of a file before it is downloaded.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub name: String,
    /// The name of its content in the cache: the SHA-256 of a large file, git's hash of a small one.
    pub etag: String,
    pub size: u64,
}

impl<'a> Remote<'a> {
    pub fn new(settings: &'a Settings, name: &'a HubName) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(format!("obsdiff/{}", env!("CARGO_PKG_VERSION")))
            // A compressed answer would have another length, and could not be continued.
            .accept_encoding("identity")
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(settings.answer_timeout))
            .build()
            .into();
        Remote { settings, name, agent }
    }

    /// Asks which files the revision has.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn list(&self) -> Result<Listing, HubError> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let url = format!("{}/api/{}", self.settings.endpoint, self.repo(&self.name.revision).api_url());
        let mut answer = self.ask(&url, "GET", 10)?;
        self.check(answer.status(), answer.headers(), None)?;
        let text = answer.body_mut().with_config().limit(MAX_LISTING).read_to_vec().map_err(|e| self.unreachable(e))?;
        let info: Info = serde_json::from_slice(&text)
            .map_err(|e| self.no_hub(format!("its list of files is not readable: {e}")))?;
        if !is_commit(&info.sha) {
            return Err(self.no_hub(format!("`{}` as a commit", info.sha)));
        }
        let names = info.siblings.into_iter().map(|file| file.rfilename).filter(|name| stays_inside(name)).collect();
        Ok(Listing { commit: info.sha, names })
    }

    /// Asks for the size and the ETag of a file.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn look_up(&self, commit: &str, file: &str) -> Result<RemoteFile, HubError> {
        let mut url = self.url(commit, file);
        for _ in 0..MAX_REDIRECTS {
            let answer = self.ask(&url, "HEAD", 0)?;
            let headers = answer.headers();
            let location = text(headers, "location");
            if answer.status().is_redirection()
                && header(headers, "x-linked-etag").is_none()
                && let Some(path) = location.filter(|location| location.starts_with('/') && !location.starts_with("//"))
            {
                // A renamed repository; the content's own place is a whole address.
                url = format!("{}{path}", origin(&self.settings.endpoint));
                continue;
            }
            self.check(answer.status(), headers, Some(file))?;
            let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
            let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
            let etag =
                etag.filter(|etag| !etag.is_empty() && etag.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'));
            let etag = etag.ok_or_else(|| self.no_hub(format!("{file} without an ETag")))?;
            let size = size.and_then(|size| size.parse().ok());
            let size = size.ok_or_else(|| self.no_hub(format!("{file} without its size")))?;
            return Ok(RemoteFile { name: file.into(), etag, size });
        }
        Err(self.no_hub(format!("more than {MAX_REDIRECTS} redirects for {file}")))
    }

    /// Downloads a file into the cache under its ETag, going on where an earlier download stopped; `at` hears how many
    /// bytes are there.
    ///
    /// # Errors
    /// [`HubError`], [`Error::Io`].
    pub fn download(&self, cache: &ModelCache, commit: &str, file: &RemoteFile, at: &mut dyn FnMut(u64)) -> Result<()> {
        let partial = cache.incomplete(&file.etag);
        let mut gathered = Gathered::open(cache, &partial, file)?;
        let mut failures = 0;
        let mut furthest = gathered.bytes;
        at(gathered.bytes);
        while gathered.bytes < file.size {
            let stopped = match self.continue_download(commit, file, &mut gathered, at) {
                Ok(()) => continue,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Stopped(reason)) => reason,
            };
            if gathered.bytes > furthest {
                (furthest, failures) = (gathered.bytes, 0);
            }
            let Some(&pause) = PAUSES.get(failures) else {
                gathered.finish()?;
                return Err(self.stopped(file, gathered.bytes, stopped).into());
            };
            failures += 1;
            tracing::debug!("{} of {} stopped at {} bytes: {stopped}", file.name, self.name, gathered.bytes);
            std::thread::sleep(pause);
        }
        gathered.finish()?;
        if let Some(problem) = gathered.damage() {
            std::fs::remove_file(&partial).map_err(|e| Error::io(&partial, e))?;
            return Err(HubError::Damaged { name: self.name.clone(), file: file.name.clone(), problem }.into());
        }
        let blob = cache.blob(&file.etag);
        std::fs::rename(&partial, &blob).map_err(|e| cache.failed(&blob, e))
    }

    /// One request, until the file is whole or the connection ends.
    fn continue_download(
        &self,
        commit: &str,
        file: &RemoteFile,
        gathered: &mut Gathered,
        at: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let from = gathered.bytes;
        let mut request = self.agent.get(self.url(commit, &file.name));
        if let Some(token) = &self.settings.token {
            request = request.header("authorization", format!("Bearer {}", token.secret));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let limits = request.config().timeout_recv_response(Some(self.settings.download_timeout));
        let request = limits.timeout_per_read(Some(self.settings.download_timeout)).build();
        let answer = request.call().map_err(|e| Failure::Stopped(reason(&e)))?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(answer.headers(), from) => (),
            // Whoever ignores the range sends the whole file.
            StatusCode::OK => gathered.restart()?,
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
                gathered.restart()?;
                return Err(Failure::Stopped(format!("the server cannot go on at byte {from}")));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Stopped(format!("{} answered {status}", self.settings.endpoint)));
            }
            status => {
                self.check(status, answer.headers(), Some(&file.name)).map_err(|e| Failure::Final(e.into()))?;
                return Err(Failure::Final(self.no_hub(format!("{status} for {}", file.name)).into()));
            }
        }
        let mut body = answer.into_body().into_reader();
        let mut block = vec![0; BLOCK];
        while gathered.bytes < file.size {
            let read = body.read(&mut block).map_err(|e| Failure::Stopped(e.to_string()))?;
            if read == 0 {
                return Err(Failure::Stopped("the connection ended".into()));
            }
            gathered.add(&block[..read])?;
            at(gathered.bytes.min(file.size));
        }
        Ok(())
    }

    /// Sends a question with the token; at most `redirects` are followed.
    fn ask(&self, url: &str, method: &str, redirects: u32) -> Result<Response<ureq::Body>, HubError> {
        let mut request = if method == "HEAD" { self.agent.head(url) } else { self.agent.get(url) };
        if let Some(token) = &self.settings.token {
            request = request.header("authorization", format!("Bearer {}", token.secret));
        }
        let limit = Some(self.settings.answer_timeout);
        let limits = request.config().max_redirects(redirects).timeout_recv_response(limit).timeout_per_read(limit);
        limits.build().call().map_err(|e| self.unreachable(e))
    }

    /// Turns a status other than success and redirection into its sentence.
    fn check(&self, status: StatusCode, headers: &HeaderMap, file: Option<&str>) -> Result<(), HubError> {
        if status.is_success() || status.is_redirection() {
            return Ok(());
        }
        let (name, endpoint) = (self.name.clone(), self.settings.endpoint.clone());
        let message = text(headers, "x-error-message").map(String::from);
        let token = self.settings.token.as_ref().map(|token| token.origin.clone());
        let bad_token = message.as_deref() == Some("Invalid credentials in Authorization header");
        Err(match (text(headers, "x-error-code"), status.as_u16(), file, token) {
            (Some("RevisionNotFound"), ..) => HubError::NoSuchRevision { name, endpoint },
            (Some("EntryNotFound"), _, Some(file), _) => HubError::NoSuchFile { name, endpoint, file: file.into() },
            (Some("GatedRepo"), _, _, token) => HubError::Gated { name, endpoint, token },
            (_, 401, _, Some(origin)) if bad_token => HubError::BadToken { endpoint, origin },
            (Some("RepoNotFound"), _, _, token) | (_, 401, _, token) | (_, 404, None, token) => {
                HubError::NoSuchModel { name, endpoint, token }
            }
            (_, 404, Some(file), _) => HubError::NoSuchFile { name, endpoint, file: file.into() },
            (_, 403, _, token) => HubError::Denied { name, endpoint, message, token },
            _ => HubError::Status { name, endpoint, status: status.to_string(), message },
        })
    }

    /// The error that the repository lacks `file`.
    pub fn absent(&self, file: &str) -> HubError {
        HubError::NoSuchFile { name: self.name.clone(), endpoint: self.settings.endpoint.clone(), file: file.into() }
    }

    fn unreachable(&self, error: ureq::Error) -> HubError {
        HubError::NoNetwork {
            name: self.name.clone(),
            cache: self.settings.cache.clone(),
            endpoint: self.settings.endpoint.clone(),
            reason: reason(&error),
        }
    }

    fn no_hub(&self, problem: String) -> HubError {
        HubError::NoHub { name: self.name.clone(), endpoint: self.settings.endpoint.clone(), problem }
    }

    fn stopped(&self, file: &RemoteFile, done: u64, reason: String) -> HubError {
        HubError::Stopped { name: self.name.clone(), file: file.name.clone(), done, size: file.size, reason }
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.repository.clone(), RepoType::Model, revision.into())
    }

    fn url(&self, commit: &str, file: &str) -> String {
        let repo = self.repo(commit);
        format!("{}/{}/resolve/{}/{}", self.settings.endpoint, repo.url(), repo.url_revision(), escape(file))
    }
}

/// Why one request did not bring the whole file.
enum Failure {
    /// Another request may go on.
    Stopped(String),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// The part of a file that is there, and its hash so far.
struct Gathered<'a> {
    cache: &'a ModelCache,
    path: &'a Path,
    file: File,
    bytes: u64,
    /// For large files, whose ETag is their SHA-256.
    expected: Option<&'a str>,
    hash: Sha256,
    size: u64,
}

impl<'a> Gathered<'a> {
    fn open(cache: &'a ModelCache, path: &'a Path, wanted: &'a RemoteFile) -> Result<Self> {
        if let Some(folder) = path.parent() {
            cache.create_folder(folder)?;
        }
        let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = options.map_err(|e| cache.failed(path, e))?;
        let is_sha256 = wanted.etag.len() == 64 && wanted.etag.bytes().all(|c| c.is_ascii_hexdigit());
        let expected = is_sha256.then_some(wanted.etag.as_str());
        let mut gathered = Gathered { cache, path, file, bytes: 0, expected, hash: Sha256::new(), size: wanted.size };
        gathered.read_existing()?;
        Ok(gathered)
    }

    /// Takes over what an earlier download left, unless it is more than the file.
    fn read_existing(&mut self) -> Result<()> {
        let length = self.file.metadata().map_err(|e| Error::io(self.path, e))?.len();
        if length > self.size {
            return self.restart();
        }
        if self.expected.is_some() {
            let mut block = vec![0; BLOCK];
            loop {
                match self.file.read(&mut block).map_err(|e| Error::io(self.path, e))? {
                    0 => break,
                    read => self.hash.update(&block[..read]),
                }
            }
        }
        self.file.seek(SeekFrom::Start(length)).map_err(|e| Error::io(self.path, e))?;
        self.bytes = length;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|e| Error::io(self.path, e))?;
        (self.bytes, self.hash) = (0, Sha256::new());
        Ok(())
    }

    fn add(&mut self, block: &[u8]) -> Result<()> {
        self.file.write_all(block).map_err(|e| self.cache.failed(self.path, e))?;
        if self.expected.is_some() {
            self.hash.update(block);
        }
        self.bytes += block.len() as u64;
        Ok(())
    }

    /// Brings what is there to the disk.
    fn finish(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.cache.failed(self.path, e))
    }

    /// What is wrong with the whole content.
    fn damage(&self) -> Option<String> {
        if self.bytes != self.size {
            return Some(format!("{} bytes instead of {}", self.bytes, self.size));
        }
        let expected = self.expected?;
        let found: String = self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (!found.eq_ignore_ascii_case(expected)).then(|| format!("SHA-256 {found} instead of {expected}"))
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// An ETag without the quotes and the mark of a weak one.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = text(headers, name)?;
    Some(value.trim().trim_start_matches("W/").trim_matches('"').to_string())
}

/// True if `Content-Range: bytes FROM-TO/SIZE` begins where it was asked to.
fn starts_at(headers: &HeaderMap, from: u64) -> bool {
    let range = text(headers, "content-range").and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.parse().ok()) == Some(from)
}

/// Scheme and host of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

/// What went wrong, without the name of the layer that saw it.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// Percent-encodes what is not plain in a path.
fn escape(file: &str) -> String {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b"-._~/".contains(c);
    file.bytes().map(|c| if plain(&c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped_and_cut() {
        assert_eq!(escape("a b/c#1.json"), "a%20b/c%231.json");
        assert_eq!(origin("http://localhost:80/mirror"), "http://localhost:80");
        assert_eq!(origin("https://hub"), "https://hub");
    }
}
