//! What is sent to the hub, and what is said when it refuses.

use std::fs;

use super::place::{Place, fill, pipeline};
use super::server::{COMMIT, FakeHub, Fault, NAME};
use crate::support::text;

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let hub = FakeHub::serving(&pipeline());
    let sent = |place: &Place| {
        place.inspect(NAME).succeeded();
        let requests = hub.requests();
        let (others, own): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.path.starts_with("/cdn/"));
        assert_eq!(others.len(), 1);
        assert!(others.iter().all(|request| !request.headers.contains_key("authorization")), "{others:?}");
        assert!(own.iter().all(|request| request.headers["user-agent"].starts_with("obsdiff/")), "{own:?}");
        let tokens: Vec<_> = own.iter().map(|request| request.headers.get("authorization").cloned()).collect();
        assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]), "{tokens:?}");
        tokens[0].clone()
    };
    let with_file = |name: &str| {
        let place = Place::with(&hub);
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        fs::write(place.path(name), "hf_file\n").unwrap();
        place
    };
    let stored = ".cache/huggingface/token";
    assert_eq!(sent(&Place::with(&hub)), None);
    assert_eq!(sent(&with_file(stored)).unwrap(), "Bearer hf_file");
    assert_eq!(sent(&with_file("home/token").set("HF_HOME", "~/home")).unwrap(), "Bearer hf_file");
    assert_eq!(sent(&with_file("secret").set("HF_TOKEN_PATH", "~/secret")).unwrap(), "Bearer hf_file");
    let named = with_file(stored).set("HUGGING_FACE_HUB_TOKEN", "hf_old");
    assert_eq!(sent(&named).unwrap(), "Bearer hf_old");
    let named = with_file(stored).set("HUGGING_FACE_HUB_TOKEN", "hf_old").set("HF_TOKEN", " hf_new\n");
    assert_eq!(sent(&named).unwrap(), "Bearer hf_new");
    assert_eq!(sent(&with_file(stored).set("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")), None);
}

#[test]
fn a_gated_model_says_how_to_get_in() {
    let hub = FakeHub::serving(&pipeline());
    let page = format!("{}/{NAME}", hub.endpoint());
    for status in [401, 403] {
        // The list of files is public, the files are not.
        hub.well_again();
        hub.fault("/resolve/", Fault::Status(status, "GatedRepo", "Access to model is restricted"));
        let place = Place::with(&hub);
        place.inspect(NAME).refused(3, &["is gated", "accept its licence on", &page, "set HF_TOKEN"]);
        let known = Place::with(&hub).set("HF_TOKEN", "hf_other");
        known.inspect(NAME).refused(3, &["is gated", &page, "the token from HF_TOKEN was sent"]);
        assert!(!known.cached().iter().any(|file| file.starts_with("blobs")), "{:?}", known.cached());
    }
}

#[test]
fn every_refusal_is_one_sentence() {
    let hub = FakeHub::serving(&pipeline());
    let refuses = |fault: Fault, path: &str, parts: &[&str]| {
        hub.well_again();
        hub.fault(path, fault);
        let run = Place::with(&hub).set("HF_TOKEN", "hf_x").inspect(NAME);
        let run = run.refused(3, &[parts, &["maker/small-model"]].concat());
        let lines = run.stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!((lines, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
    };
    let nobody = ["neither a folder here nor a model that", "check the name", "the token from HF_TOKEN was sent"];
    refuses(Fault::Status(404, "RepoNotFound", "Repository not found"), "/api/", &nobody);
    refuses(Fault::Status(401, "RepoNotFound", "Invalid username or password."), "/api/", &nobody);
    refuses(Fault::Status(401, "", ""), "/api/", &nobody);
    refuses(Fault::Status(403, "", "Forbidden by policy"), "/api/", &["denies access", "(Forbidden by policy)"]);
    refuses(Fault::Status(500, "", "boom"), "/api/", &["answered 500", "boom", "try again later"]);
    refuses(Fault::Status(500, "", ""), "/resolve/", &["answered 500", "try again later"]);
    refuses(Fault::Portal, "/api/", &["no model hub does", "HF_ENDPOINT"]);
    refuses(Fault::Portal, "/resolve/", &["no model hub does", "without an ETag"]);
    let gone = Fault::Status(404, "EntryNotFound", "Entry not found");
    refuses(gone, "/resolve/", &["has no model_index.json on", "layout of diffusers"]);

    hub.well_again();
    let place = Place::with(&hub);
    place.inspect(&format!("{NAME}@v9")).refused(3, &["has no branch, tag or commit `v9`", "after the @"]);
    place.inspect("maker/another").refused(3, &["maker/another is neither a folder here", "set HF_TOKEN"]);
    hub.fault("/api/", Fault::Status(401, "", "Invalid credentials in Authorization header"));
    let place = place.set("HF_TOKEN", "hf_wrong");
    place.inspect(NAME).refused(3, &["refuses the token from HF_TOKEN", "set HF_TOKEN to a valid one"]);
}

#[test]
fn a_repository_without_the_weights_says_so() {
    let hub = FakeHub::serving(&pipeline());
    hub.remove("transformer/diffusion_pytorch_model.safetensors");
    Place::with(&hub)
        .inspect(NAME)
        .refused(3, &["has no transformer/diffusion_pytorch_model.safetensors", "safetensors weights"]);
    hub.remove("model_index.json");
    Place::with(&hub).plan(NAME).refused(3, &["has no model_index.json", "layout of diffusers"]);
}

#[test]
fn without_network_and_cache_both_are_named() {
    let place = Place::new();
    let parts = ["maker/small-model is neither a folder here nor whole in the cache", "http://127.0.0.1:1"];
    let more = [text(&place.cache()).to_string(), "check the network".into(), "path of a local folder".into()];
    let all: Vec<&str> = parts.into_iter().chain(more.iter().map(String::as_str)).collect();
    place.inspect(NAME).refused(3, &all);
    assert!(place.cached().is_empty(), "{:?}", place.cached());
    let nowhere = Place::new().set("HF_ENDPOINT", "http://no-such-host.invalid");
    nowhere.inspect(NAME).refused(3, &["http://no-such-host.invalid cannot be reached"]);
}

#[test]
fn a_hub_that_refuses_lets_the_cache_answer_but_not_for_a_revision_that_is_gone() {
    let hub = FakeHub::serving(&pipeline());
    let place = Place::with(&hub);
    fill(&place.cache(), &pipeline(), COMMIT, &["main"]);
    for fault in [Fault::Status(500, "", ""), Fault::Status(401, "RepoNotFound", ""), Fault::Portal] {
        hub.well_again();
        hub.fault("/api/", fault);
        let run = place.inspect(NAME).succeeded();
        assert!(run.stderr.contains("as it is in the cache"), "{}", run.stderr);
    }
    hub.well_again();
    hub.fault("/api/", Fault::Status(404, "RevisionNotFound", ""));
    place.inspect(NAME).refused(3, &["has no branch, tag or commit `main`"]);
}

#[test]
fn a_hub_that_does_not_answer_is_given_up() {
    // Accepts the connection, and that is all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let place = Place::new().set("HF_ENDPOINT", &endpoint).set("HF_HUB_ETAG_TIMEOUT", "1");
    place.inspect(NAME).refused(3, &[&endpoint, "cannot be reached", "timeout"]);
}
