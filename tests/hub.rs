//! Models by name: the program as a user runs it, with a cache that the test makes and a hub that the test plays.

#[path = "hub/asking.rs"]
mod asking;
#[path = "hub/cached.rs"]
mod cached;
#[path = "hub/downloads.rs"]
mod downloads;
#[path = "hub/place.rs"]
mod place;
#[path = "hub/server.rs"]
mod server;
mod support;
