//! `plan`: numbers of the published models, and the same plan that a prune follows.

use super::common::{PIPELINES, model, pruned, report, sampling};
use crate::support::{json, models, obsdiff, text};

#[test]
fn published_models_have_their_published_sizes() {
    // Parameters: those that `sum(p.numel())` gives for the published transformers, plus for SD3 the table of
    // positions, a buffer of pos_embed_max_size^2 * d that is stored with them.
    // Prunable, with d the width: an SD3 block has 8 d^2 in attention (q, k, v and out of both streams) and
    // 2 * 8 d^2 in its FFNs; the last one lacks to_add_out (d^2) and ff_context (8 d^2); dual attention adds
    // 4 d^2. A FLUX double block has 24 d^2 too, a single one 3 d^2 + 4 d^2 + 5 d^2.
    // Hessians: 8 per joint block (inputs, outputs, FFN in, FFN middle of both streams), 3 fewer in the last
    // SD3 block, 2 more with dual attention, 2 per single block.
    let sd3 = |d: u64, blocks: u64, dual: u64| (24 * blocks - 9 + 4 * dual) * d * d;
    let flux = (24 * 19 + 12 * 38) * 3072 * 3072;
    let expected: [(&str, u64, u64, u64); 5] = [
        ("flux.1-dev", 11_901_408_320, flux, 19 * 8 + 38 * 2),
        ("flux.1-schnell", 11_891_178_560, flux, 19 * 8 + 38 * 2),
        ("sd3-medium", 2_028_328_000 + 192 * 192 * 1536, sd3(1536, 24, 0), 24 * 8 - 3),
        ("sd3.5-medium", 2_243_171_520 + 384 * 384 * 1536, sd3(1536, 24, 13), 24 * 8 - 3 + 13 * 2),
        ("sd3.5-large", 8_056_627_520 + 192 * 192 * 2432, sd3(2432, 38, 0), 38 * 8 - 3),
    ];
    for (name, parameters, prunable, hessians) in expected {
        let plan = obsdiff(&["plan", "--arch", name, "--json"]).json()["plan"].clone();
        assert_eq!(plan["parameters"], parameters, "{name}");
        assert_eq!(plan["prunable_parameters"], prunable, "{name}");
        assert_eq!(plan["hessians"], hessians, "{name}");
        assert_eq!(plan["weight_bytes"], 4 * parameters, "{name}");
    }
    obsdiff(&["plan", "--arch", "sdxl"]).refused(2, &["sdxl", "flux.1-dev, flux.1-schnell, sd3-medium"]);
}

#[test]
fn plan_of_a_model_is_the_plan_that_its_prune_follows() {
    for name in PIPELINES {
        for flags in [&["--sparsity=0.5"][..], &["--pattern=2:4"], &["--packages=3"]] {
            let output = pruned(name, flags);
            let (followed, run) = (report(&output), json(&output.join("run.json")));
            let (samples, tokens) = (&followed["calibration"]["samples"], &followed["calibration"]["text_tokens"]);
            let counts = [format!("--samples={samples}"), format!("--text-tokens={tokens}")];
            let model = model(name);
            let own = ["plan", text(&model), "--json"];
            let all = own.iter().chain(flags).map(ToString::to_string).chain(counts).chain(sampling(name));
            let planned = obsdiff(&all.collect::<Vec<_>>()).json();
            assert_eq!(planned["plan"], run["plan"], "{name} {flags:?}");
        }
    }
}

#[test]
fn less_memory_means_more_packages_until_nothing_fits() {
    let model = models("sd3_digits/pipeline");
    let packages = |memory: &str| {
        let plan = obsdiff(&["plan", text(&model), "--batch-size=1", "--memory", memory, "--json"]).json();
        let peak = plan["plan"]["peak_bytes"].as_u64().unwrap();
        (plan["plan"]["packages"].as_array().unwrap().len(), peak)
    };
    let (one, peak) = packages("1GiB");
    assert_eq!(one, 1);
    let (more, lower) = packages(&(peak - 1).to_string());
    assert!(more > 1 && lower < peak, "{more} packages need {lower} bytes, one {peak}");
    obsdiff(&["plan", text(&model), "--memory=1MiB"]).refused(5, &["1048576", "--batch-size"]);
}
