//! Timestep weights and packages against those of the official code.

use std::collections::BTreeSet;

use obsdiff::calibration::TimestepWeights;
use obsdiff::calibration::packages::split;
use obsdiff::checkpoint::config::{Architecture, Sd3Config};
use obsdiff::model::taps::units;

use crate::support::{data, json};

#[test]
fn timestep_weights_are_the_official_ones() {
    let recorded = json(&data("layers/timestep_weights.json"));
    let mut compared = 0;
    for (steps, schedules) in recorded.as_object().unwrap() {
        let steps: usize = steps.parse().unwrap();
        let sigmas: Vec<f32> = (0..=steps).map(|t| 1.0 - t as f32 / steps as f32).collect();
        for (name, expected) in schedules.as_object().unwrap() {
            let schedule: TimestepWeights = name.replace('_', "-").parse().unwrap();
            let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|a| a.as_f64().unwrap()).collect();
            let found = schedule.weights(&sigmas, (0.8, 1.2));
            assert_eq!(found.len(), expected.len(), "{name}, {steps} steps");
            for (t, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() <= 1e-12, "{name}, step {t} of {steps}: {found}, not {expected}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 10, "only {compared} schedules are recorded");
}

#[test]
fn packages_hold_the_official_modules_in_the_official_order() {
    let recorded = json(&data("layers/grouping.json"));
    let mut compared = 0;
    for (case, expected) in recorded.as_object().unwrap() {
        let (blocks, packages) = case.strip_prefix("blocks").unwrap().split_once("_groups").unwrap();
        let config = Sd3Config { num_layers: blocks.parse().unwrap(), ..Sd3Config::default() };
        let found: Vec<BTreeSet<String>> = split(units(&Architecture::Sd3(config)), packages.parse().unwrap())
            .into_iter()
            .map(|package| {
                let linears = package.into_iter().flatten().flat_map(|tap| tap.linears);
                linears.map(|linear| linear.name.strip_prefix("transformer_blocks.").unwrap().to_string()).collect()
            })
            .collect();
        // Of the large models only the number of modules in each package is recorded.
        let sizes = serde_json::from_value::<Vec<usize>>(expected.clone());
        match sizes {
            Ok(sizes) => assert_eq!(found.iter().map(BTreeSet::len).collect::<Vec<_>>(), sizes, "{case}"),
            Err(_) => {
                let modules: Vec<BTreeSet<String>> = serde_json::from_value(expected.clone()).unwrap();
                assert_eq!(found, modules, "{case}");
            }
        }
        compared += 1;
    }
    assert!(compared >= 20, "only {compared} groupings are recorded");
}
