//! Models by name: from the cache that Python's `huggingface_hub` keeps, and from the hub what is not there.
//!
//! ```text
//! name -> settings -> listing -> parts (which files) -> remote (downloads) -> cache (snapshot folder)
//! ```
//!
//! A branch or tag is looked up on the hub each time, with one request, since it can move; if the hub does not answer,
//! the commit that it last had is taken from the cache with a warning. A whole commit hash whose files are in the cache
//! needs no request, and neither does anything when `HF_HUB_OFFLINE` is set.

mod cache;
mod error;
mod name;
mod parts;
mod remote;
mod settings;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use self::cache::ModelCache;
pub use self::error::HubError;
pub use self::name::HubName;
pub use self::parts::Part;
use self::parts::{Files, select};
use self::remote::{Listing, Remote, RemoteFile};
pub use self::settings::{Settings, is_true};
use crate::checkpoint::output::check_free_space;
use crate::checkpoint::pipeline::read_json;
use crate::error::{Error, Result};

/// Hears how far a download is.
pub trait Progress {
    /// A download of so many files and bytes begins.
    fn begin(&self, name: &HubName, files: usize, bytes: u64);
    /// So many bytes of all are there; `file` is being fetched.
    fn at(&self, file: &str, bytes: u64);
    /// All is there, or nothing more will come.
    fn end(&self);
}

/// Finds the files of a model that `parts` need, downloads what is not in the cache, and returns the folder in which
/// they lie as in the repository.
///
/// # Errors
/// [`HubError`], [`Error::Io`]; those of reading `model_index.json` and indexes of weights.
pub fn fetch(settings: &Settings, name: &HubName, parts: &[Part], progress: &dyn Progress) -> Result<PathBuf> {
    let cache = ModelCache::new(&settings.cache, name);
    if let Some(variable) = settings.offline {
        let absent = |what: &str| {
            let (name, cache, what) = (name.clone(), settings.cache.clone(), what.to_string());
            Error::from(HubError::Offline { name, what, cache, variable })
        };
        return from_cache(&cache, parts, &absent);
    }
    let nowhere = |_: &str| Error::Usage(format!("{name} is not whole in the cache"));
    if name.is_commit()
        && let Ok(folder) = from_cache(&cache, parts, &nowhere)
    {
        return Ok(folder);
    }
    let remote = Remote::new(settings, name);
    match remote.list() {
        Ok(listing) => from_hub(settings, &cache, &remote, name, &listing, parts, progress),
        Err(error) if error.lets_the_cache_answer() => match from_cache(&cache, parts, &nowhere) {
            Ok(folder) => {
                tracing::warn!("{}; taking {name} as it is in the cache", error.reason());
                Ok(folder)
            }
            Err(_) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The snapshot that the cache has, if it is whole.
fn from_cache(cache: &ModelCache, parts: &[Part], absent: &dyn Fn(&str) -> Error) -> Result<PathBuf> {
    let commit = cache.commit().ok_or_else(|| absent("this revision"))?;
    select(&cache.files(&commit, absent), parts)?;
    Ok(cache.snapshot(&commit))
}

fn from_hub(
    settings: &Settings,
    cache: &ModelCache,
    remote: &Remote,
    name: &HubName,
    listing: &Listing,
    parts: &[Part],
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let commit = &listing.commit;
    let files = HubFiles { cache, remote, listing };
    let wanted = select(&files, parts)?;
    let snapshot = cache.snapshot(commit);
    let missing = wanted.iter().filter(|file| !snapshot.join(file).is_file());
    let missing = missing.map(|file| Ok(remote.look_up(commit, file)?)).collect::<Result<Vec<RemoteFile>>>()?;

    // Content that another revision has too is linked, not fetched.
    let (there, missing): (Vec<_>, Vec<_>) = missing.into_iter().partition(|file| cache.blob(&file.etag).is_file());
    there.iter().try_for_each(|file| cache.link(commit, &file.name, &file.etag))?;
    if !missing.is_empty() {
        cache.create_folder(&cache.folder().join("blobs"))?;
        check_room(settings, cache, name, &missing)?;
        progress.begin(name, missing.len(), missing.iter().map(|file| file.size).sum());
        let done = missing.iter().try_fold(0, |before, file| {
            get(cache, remote, commit, file, &mut |bytes| progress.at(&file.name, before + bytes))?;
            Ok::<_, Error>(before + file.size)
        });
        progress.end();
        done?;
    }
    cache.remember(commit)?;
    Ok(snapshot)
}

/// Downloads one file, unless another process just has.
fn get(cache: &ModelCache, remote: &Remote, commit: &str, file: &RemoteFile, at: &mut dyn FnMut(u64)) -> Result<()> {
    let lock = cache.lock(&file.etag, &file.name)?;
    if !cache.blob(&file.etag).is_file() {
        remote.download(cache, commit, file, at)?;
    }
    drop(lock);
    cache.link(commit, &file.name, &file.etag)
}

/// Refuses before the first byte what the disk cannot hold.
fn check_room(settings: &Settings, cache: &ModelCache, name: &HubName, files: &[RemoteFile]) -> Result<()> {
    let there = |file: &RemoteFile| std::fs::metadata(cache.incomplete(&file.etag)).map_or(0, |partial| partial.len());
    let needed = files.iter().map(|file| file.size.saturating_sub(there(file))).sum();
    check_free_space(&settings.cache, needed).map_err(|error| match error {
        Error::NotEnoughSpace { needed, available, .. } => {
            HubError::NotEnoughSpace { name: name.clone(), cache: settings.cache.clone(), needed, available }.into()
        }
        other => other,
    })
}

/// The files of a commit on the hub; those that are read to know what else is needed are fetched at once.
struct HubFiles<'a> {
    cache: &'a ModelCache,
    remote: &'a Remote<'a>,
    listing: &'a Listing,
}

impl Files for HubFiles<'_> {
    fn names(&self) -> &BTreeSet<String> {
        &self.listing.names
    }

    fn are_all(&self) -> bool {
        true
    }

    fn read(&self, file: &str) -> Result<Value> {
        let commit = &self.listing.commit;
        let path = self.cache.snapshot(commit).join(file);
        if !path.is_file() {
            let found = self.remote.look_up(commit, file)?;
            get(self.cache, self.remote, commit, &found, &mut |_| ())?;
        }
        read_json(&path, "")
    }

    fn absent(&self, file: &str) -> Error {
        self.remote.absent(file).into()
    }
}
