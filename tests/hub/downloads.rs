//! Models that are downloaded: which files, once, whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::place::{Place, pipeline};
use super::server::{COMMIT, FakeHub, Fault, NAME, etag};
use crate::support::{Run, data, files_below};

const CONFIGS: [&str; 4] =
    ["model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json"];
const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";

#[test]
fn every_command_fetches_what_it_needs_and_nothing_twice() {
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    let run = place.plan(NAME).succeeded();
    // model_index.json is read first, to know the rest.
    assert!(run.stderr.contains("downloading 3 files of maker/small-model"), "{}", run.stderr);
    assert_eq!(hub.fetched(), CONFIGS);

    place.inspect(NAME).succeeded();
    assert_eq!(hub.fetched(), [WEIGHTS]);

    let prune = ["prune", NAME, "-o", "out", "--method=magnitude", "--refine=none", "--sparsity=0.5", "--device=cpu"];
    place.run(&prune).succeeded();
    // What two folders share, such as a vocabulary, is fetched once.
    let rest: BTreeMap<String, String> = files_below(&pipeline())
        .into_iter()
        .rev()
        .map(|(path, content)| (path.display().to_string(), content))
        .filter(|(file, _)| !CONFIGS.contains(&file.as_str()) && file != WEIGHTS)
        .map(|(file, content)| (etag(&file, &content), file))
        .collect();
    let mut rest: Vec<_> = rest.into_values().collect();
    rest.sort();
    assert_eq!(hub.fetched(), rest);

    // One question for where the branch is, and none for a commit.
    place.inspect(NAME).succeeded();
    let asked = hub.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].path, format!("/api/models/{NAME}/revision/main"));
    place.inspect(&format!("{NAME}@{COMMIT}")).succeeded();
    assert!(hub.requests().is_empty());
}

#[test]
fn the_cache_is_laid_out_as_pythons() {
    let hub = FakeHub::serving(&pipeline());
    hub.revision("refs/pr/1", COMMIT);
    let place = Place::with(&hub);
    place.inspect(&format!("{NAME}@refs/pr/1")).succeeded();
    assert_eq!(fs::read_to_string(place.model().join("refs/refs/pr/1")).unwrap(), COMMIT);
    let needed = ["model_index.json", "transformer/config.json", WEIGHTS];
    for file in needed {
        let content = fs::read(pipeline().join(file)).unwrap();
        let pointer = place.snapshot().join(file);
        assert_eq!(fs::read(&pointer).unwrap(), content, "{file}");
        #[cfg(unix)]
        {
            let depth = if file.contains('/') { "../../../" } else { "../../" };
            let target = format!("{depth}blobs/{}", etag(file, &content));
            assert_eq!(fs::read_link(&pointer).unwrap(), Path::new(&target));
        }
    }
    let blobs = place.cached().iter().filter(|path| path.starts_with("blobs/")).count();
    assert_eq!(blobs, needed.len(), "{:?}", place.cached());
    // A commit is no branch.
    place.inspect(&format!("{NAME}@{COMMIT}")).succeeded();
    assert!(!place.model().join("refs").join(COMMIT).exists());
}

#[test]
fn a_branch_that_moved_brings_only_what_changed() {
    const LATER: &str = "89abcdef0123456789abcdef0123456789abcdef";
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    place.inspect(NAME).succeeded();
    hub.requests();
    hub.revision("main", LATER);
    let config = fs::read_to_string(pipeline().join("transformer/config.json")).unwrap();
    hub.put("transformer/config.json", format!("{config}\n").as_bytes());
    place.inspect(NAME).succeeded();
    let got = hub.requests().into_iter().filter(|r| r.method == "GET" && r.path.contains("/resolve/"));
    let got: Vec<String> = got.map(|request| request.path).collect();
    assert_eq!(got, [format!("/{NAME}/resolve/{LATER}/transformer/config.json")]);
    assert_eq!(fs::read_to_string(place.model().join("refs/main")).unwrap(), LATER);
    // The commit before is still whole.
    place.inspect(&format!("{NAME}@{COMMIT}")).succeeded();
    assert!(hub.requests().is_empty());
}

#[test]
fn the_shards_that_the_index_names_are_fetched() {
    let hub = FakeHub::serving(&data("pipelines/sd35_medium_sharded_bf16"));
    hub.put("transformer/diffusion_pytorch_model.fp16-00001-of-00002.safetensors", b"another precision");
    hub.put("transformer/diffusion_pytorch_model-00005-of-00005.safetensors", b"of nobody");
    let place = Place::with(&hub);
    place.inspect(NAME).succeeded();
    let fetched = hub.fetched();
    let shards: Vec<_> = fetched.iter().filter(|file| file.ends_with(".safetensors")).collect();
    assert_eq!(shards.len(), 4, "{fetched:?}");
    assert!(shards.iter().all(|file| file.contains("-of-00004")), "{fetched:?}");
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let hub = FakeHub::serving(&pipeline());
    hub.fault("/cdn/transformer", Fault::Cut(2));
    let place = Place::with(&hub);
    place.inspect(NAME).succeeded();
    let size = fs::metadata(pipeline().join(WEIGHTS)).unwrap().len();
    let requests = hub.requests();
    let parts: Vec<_> = requests.iter().filter(|request| request.path.starts_with("/cdn/")).collect();
    let ranges: Vec<_> = parts.iter().map(|request| request.headers.get("range").cloned()).collect();
    let (half, rest) = (size / 2, (size - size / 2) / 2);
    assert_eq!(ranges, [None, Some(format!("bytes={half}-")), Some(format!("bytes={}-", half + rest))]);
    assert_eq!(fs::read(place.snapshot().join(WEIGHTS)).unwrap(), fs::read(pipeline().join(WEIGHTS)).unwrap());
}

#[test]
fn a_server_without_ranges_sends_the_file_again() {
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    let content = fs::read(pipeline().join(WEIGHTS)).unwrap();
    let partial = place.model().join(format!("blobs/{}.incomplete", etag(WEIGHTS, &content)));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, &content[..1000]).unwrap();
    hub.fault("/cdn/", Fault::NoRanges);
    place.inspect(NAME).succeeded();
    assert_eq!(fs::read(place.snapshot().join(WEIGHTS)).unwrap(), content);
    assert!(!partial.exists());
}

#[test]
fn an_aborted_download_leaves_no_file_and_goes_on_later() {
    let hub = FakeHub::serving(&pipeline());
    hub.fault("/cdn/transformer", Fault::FirstHalf);
    let place = Place::with(&hub);
    let content = fs::read(pipeline().join(WEIGHTS)).unwrap();
    let half = content.len() / 2;
    let sizes = format!("stopped after {half} of {} bytes", content.len());
    place.inspect(NAME).refused(3, &[WEIGHTS, &sizes, "run the same command again"]);
    assert!(!place.snapshot().join(WEIGHTS).exists());
    let blob = format!("blobs/{}", etag(WEIGHTS, &content));
    let cached = place.cached();
    assert!(!cached.contains(&blob) && cached.contains(&format!("{blob}.incomplete")), "{cached:?}");
    // The branch is not said to be there either.
    assert!(!place.model().join("refs/main").exists());

    hub.well_again();
    hub.requests();
    place.inspect(NAME).succeeded();
    let parts = hub.requests().into_iter().filter(|request| request.path.starts_with("/cdn/"));
    let ranges: Vec<_> = parts.map(|request| request.headers["range"].clone()).collect();
    assert_eq!(ranges, [format!("bytes={half}-")]);
    assert_eq!(fs::read(place.snapshot().join(WEIGHTS)).unwrap(), content);
    assert!(!place.cached().iter().any(|path| path.ends_with("incomplete")));
}

#[test]
fn damaged_content_is_refused_and_removed() {
    let hub = FakeHub::serving(&pipeline());
    hub.fault("/cdn/transformer", Fault::Damage);
    let place = Place::with(&hub);
    place.inspect(NAME).refused(3, &[WEIGHTS, "arrived damaged", "SHA-256", "run the same command again"]);
    assert!(!place.snapshot().join(WEIGHTS).exists());
    assert!(!place.cached().iter().any(|path| path.contains("incomplete")), "{:?}", place.cached());
    hub.well_again();
    place.inspect(NAME).succeeded();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_one() {
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    place.plan(NAME).succeeded();
    let kilobytes = fs::metadata(pipeline().join(WEIGHTS)).unwrap().len() / 2048;
    let output = Command::new("bash")
        .args(["-c", &format!("ulimit -f {kilobytes} && exec \"$@\""), "bash", env!("CARGO_BIN_EXE_obsdiff")])
        .args(["inspect", NAME])
        .env_clear()
        .envs([("HOME", place.path("").to_str().unwrap()), ("HF_ENDPOINT", &hub.endpoint()), ("PATH", "/usr/bin:/bin")])
        .output()
        .unwrap();
    let run = Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    run.refused(5, &["no space left in the cache", "HF_HUB_CACHE", "goes on where it stopped"]);
    assert!(!place.snapshot().join(WEIGHTS).exists());
    place.inspect(NAME).succeeded();
}

#[test]
fn two_runs_at_once_download_once() {
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| place.inspect(NAME).succeeded())).collect();
        runs.into_iter().for_each(|run| drop(run.join().unwrap()));
    });
    let fetched = hub.fetched();
    assert_eq!(fetched.iter().filter(|file| file.as_str() == WEIGHTS).count(), 1, "{fetched:?}");
}

#[test]
fn names_that_leave_the_model_folder_are_not_written() {
    let hub = FakeHub::serving(&data("pipelines/sd35_medium_sharded_bf16"));
    hub.put("transformer/../../../../escaped.json", b"{}");
    let place = Place::with(&hub);
    place.inspect(NAME).succeeded();
    assert!(!hub.fetched().iter().any(|file| file.contains("escaped")));
    let index = "transformer/diffusion_pytorch_model.safetensors.index.json";
    hub.put(index, br#"{"weight_map": {"a": "../../../../../escaped.safetensors"}}"#);
    hub.revision("other", "1111111111111111111111111111111111111111");
    place.inspect(&format!("{NAME}@other")).refused(3, &["escaped.safetensors", "not a plain file name"]);
}
