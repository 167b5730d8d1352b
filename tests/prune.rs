//! `prune`, `layer` and `plan` as a user runs them: what they write, that it repeats, and what each setting does.

#[path = "prune/common.rs"]
mod common;
#[path = "prune/interruption.rs"]
mod interruption;
#[path = "prune/layer.rs"]
mod layer;
#[path = "prune/methods.rs"]
mod methods;
#[path = "prune/outputs.rs"]
mod outputs;
#[path = "prune/packages.rs"]
mod packages;
#[path = "prune/planning.rs"]
mod planning;
#[path = "prune/repeating.rs"]
mod repeating;
#[path = "prune/settings.rs"]
mod settings;
mod support;
