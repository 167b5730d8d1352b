//! Models that are in the cache already.

use std::fs;

use super::place::{Place, fill, pipeline};
use super::server::{COMMIT, FakeHub, NAME};
use crate::support::{copy_folder, text};

const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";

#[track_caller]
fn finds(place: &Place, model: &str) {
    let found = place.inspect(model).json();
    assert_eq!(found["architecture"]["class"], "SD3Transformer2DModel", "{found:#}");
}

#[test]
fn a_name_is_found_by_branch_tag_and_commit() {
    let place = Place::new().set("HF_HUB_OFFLINE", "1");
    fill(&place.cache(), &pipeline(), COMMIT, &["main", "v1.0", "refs/pr/3"]);
    finds(&place, NAME);
    for revision in ["main", "v1.0", "refs/pr/3", COMMIT] {
        finds(&place, &format!("{NAME}@{revision}"));
    }
    place.inspect(&format!("{NAME}@v2.0")).refused(
        3,
        &["maker/small-model@v2.0: this revision is not in the cache", "HF_HUB_OFFLINE forbids to fetch it"],
    );
    place.inspect(&format!("{NAME}@{OTHER}")).refused(3, &[OTHER, "model_index.json is not in the cache"]);
    place.inspect(&format!("{NAME}@a?b")).refused(2, &["`a?b` is not a revision", "branch, a tag or a commit"]);
}

#[test]
fn every_variable_that_places_the_cache_is_honoured_in_its_order() {
    // From the strongest to the weakest; each folder alone holds the model.
    let variables = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"];
    let place_of = |variable: &str| match variable {
        "HF_HOME" => "HF_HOME/hub".into(),
        "XDG_CACHE_HOME" => "XDG_CACHE_HOME/huggingface/hub".into(),
        other => other.to_string(),
    };
    for strongest in 0..variables.len() {
        let mut place = Place::new().set("HF_HUB_OFFLINE", "yes");
        for variable in &variables[strongest..] {
            let folder = place.path(variable);
            place = place.set(variable, text(&folder));
        }
        fill(&place.path(&place_of(variables[strongest])), &pipeline(), COMMIT, &["main"]);
        finds(&place, NAME);
        for variable in &variables[strongest..] {
            place = place.set(variable, "");
        }
        place.inspect(NAME).refused(3, &["is not in the cache", text(&place.cache())]);
    }
    let place = Place::new().set("HF_HUB_OFFLINE", "ON").set("HF_HOME", "~/below");
    fill(&place.path("below/hub"), &pipeline(), COMMIT, &["main"]);
    finds(&place, NAME);
}

#[test]
fn both_offline_variables_forbid_every_request() {
    let hub = FakeHub::serving(&pipeline());
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        let place = Place::with(&hub).set(variable, "1");
        place.inspect(NAME).refused(3, &[NAME, &format!("{variable} forbids"), "path of a local folder"]);
        fill(&place.cache(), &pipeline(), COMMIT, &["main"]);
        finds(&place, NAME);
    }
    assert!(hub.requests().is_empty());
    // Set to no, they forbid nothing.
    Place::with(&hub).set("HF_HUB_OFFLINE", "0").inspect(NAME).succeeded();
    assert!(!hub.requests().is_empty());
}

#[test]
fn a_file_that_the_cache_lacks_is_named() {
    let lacks = |file: &str, arguments: &[&str], named: &str| {
        let place = Place::new().set("HF_HUB_OFFLINE", "1");
        fill(&place.cache(), &pipeline(), COMMIT, &["main"]);
        fs::remove_file(place.snapshot().join(file)).unwrap();
        place.run(arguments).refused(3, &[NAME, named, "is not in the cache", text(&place.cache())]);
    };
    let plan = ["plan", NAME, "--device=cpu"];
    lacks("model_index.json", &plan, "model_index.json");
    lacks("transformer/config.json", &plan, "transformer/config.json");
    // Without it the published schedule would be taken, which is another one.
    lacks("scheduler/scheduler_config.json", &plan, "scheduler/scheduler_config.json");
    let weights = "transformer/diffusion_pytorch_model.safetensors";
    lacks(weights, &["inspect", NAME], weights);
    let prune = ["prune", NAME, "-o", "out", "--method=magnitude", "--refine=none", "--sparsity=0.5"];
    lacks("vae/diffusion_pytorch_model.safetensors", &prune, "vae/diffusion_pytorch_model.safetensors");
    lacks("text_encoder_3/model.safetensors", &prune, "text_encoder_3/model.safetensors");
}

#[test]
fn a_shard_that_the_cache_lacks_is_named() {
    let place = Place::new().set("HF_HUB_OFFLINE", "1");
    fill(&place.cache(), &crate::support::data("pipelines/sd35_medium_sharded_bf16"), COMMIT, &["main"]);
    finds(&place, NAME);
    let shard = "transformer/diffusion_pytorch_model-00003-of-00004.safetensors";
    // The link alone is no file.
    let blob = place.snapshot().join(shard).canonicalize().unwrap();
    fs::remove_file(blob).unwrap();
    place.inspect(NAME).refused(3, &[shard, "is not in the cache"]);
}

#[test]
fn what_exists_here_is_a_path_whatever_it_is_called() {
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    copy_folder(&pipeline(), &place.path(NAME));
    copy_folder(&pipeline(), &place.path("maker/small-model@main"));
    finds(&place, NAME);
    finds(&place, "maker/small-model@main");
    assert!(hub.requests().is_empty());
}

#[test]
fn what_looks_like_a_path_is_not_looked_for_on_the_hub() {
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    let names = ["model", "./maker/small-model", "../small-model", "/maker/small-model", "a/b/c", "~/small-model"];
    for path in names.into_iter().chain(["maker/model.safetensors"]) {
        place.inspect(path).refused(3, &[path, "does not exist; it is needed as the model folder"]);
    }
    assert!(hub.requests().is_empty());
}

#[test]
fn a_branch_without_network_is_taken_from_the_cache_with_a_warning() {
    let place = Place::new();
    fill(&place.cache(), &pipeline(), COMMIT, &["main"]);
    let run = place.inspect(NAME).succeeded();
    for part in ["http://127.0.0.1:1 cannot be reached", "taking maker/small-model as it is in the cache"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    // A commit cannot have moved: nobody is asked, and there is nothing to warn of.
    let run = place.inspect(&format!("{NAME}@{COMMIT}")).succeeded();
    assert_eq!(run.stderr, "");
}

#[test]
fn a_model_of_the_cache_is_pruned_like_its_folder() {
    let place = Place::new().set("HF_HUB_OFFLINE", "1");
    fill(&place.cache(), &pipeline(), COMMIT, &["main"]);
    let prune = |model: &str, output: &str| {
        let settings = ["--method=magnitude", "--refine=none", "--sparsity=0.5", "--device=cpu"];
        place.run(&[&["prune", model, "-o", output], &settings[..]].concat()).succeeded();
        let mut files = crate::support::files_below(&place.path(output));
        // The one file that differs from run to run.
        files.remove(std::path::Path::new("run.json")).unwrap();
        files
    };
    let (by_name, by_path) = (prune(NAME, "by-name"), prune(text(&pipeline()), "by-path"));
    assert_eq!(by_name.keys().collect::<Vec<_>>(), by_path.keys().collect::<Vec<_>>());
    let differing: Vec<_> = by_name.iter().filter(|(path, content)| by_path[*path] != **content).collect();
    let differing: Vec<_> = differing.iter().map(|(path, _)| path.display().to_string()).collect();
    assert!(differing.iter().all(|path| path == "README.md" || path == "obsdiff.json"), "{differing:?}");
    // Copies, not links into the cache.
    for path in by_name.keys() {
        let found = fs::symlink_metadata(place.path("by-name").join(path)).unwrap();
        assert!(found.is_file(), "{} is a link", path.display());
    }
    place.run(&["validate", "by-name", "--against", NAME]).succeeded();
}
