//! Settings that make no sense.

use std::fs;

use super::common::Scene;
use crate::support::obsdiff;

#[test]
fn settings_out_of_range_are_refused_by_their_key() {
    let scene = Scene::new();
    let cases: [(&[&str], &[&str]); 22] = [
        (&["--sparsity=1.0"], &["`sparsity`", "[0, 1)", "found 1"]),
        (&["--sparsity=-0.1"], &["`sparsity`", "[0, 1)", "found -0.1"]),
        (&["--sparsity", "-0.1"], &["`sparsity`", "[0, 1)", "found -0.1"]),
        (&["--weight-range", "-1", "1"], &["`weight_range`", "found -1 1"]),
        (&["--sparsity=nan"], &["`sparsity`", "[0, 1)", "found NaN"]),
        (&["--sparsity=abc"], &["'abc'", "--sparsity"]),
        (&["--pattern=4:2"], &["`pattern`", "found 4:2"]),
        (&["--pattern=0:4"], &["`pattern`", "found 0:4"]),
        (&["--pattern=2:4:8"], &["`pattern`", "found 2:4:8"]),
        (&["--pattern=half"], &["`pattern`", "unstructured or N:M", "found half"]),
        (&["--pattern=2:4", "--sparsity=0.6"], &["`sparsity`", "0.5", "2:4", "found 0.6"]),
        (&["--pattern=2:4", "--block-size=126"], &["`block_size`", "a multiple of 4", "found 126"]),
        (&["--pattern=2:7", "--block-size=126"], &["64 columns, which 7 does not divide", "--ignore"]),
        (&["--refine=pcg:0"], &["`refine`", "found pcg:0"]),
        (&["--packages=0"], &["`packages`", "found 0"]),
        (&["--weight-range", "1.2", "0.8"], &["`weight_range`", "found 1.2 0.8"]),
        (&["--dampening=inf"], &["`dampening`", "found inf"]),
        (&["--layers=*.to_qq"], &["no Linear", "*.to_qq"]),
        (&["--num-inference-steps=0"], &["--num-inference-steps"]),
        (&["--height=65"], &["--height is 65", "multiple of 16"]),
        (&["--max-vram=1GiB", "--device=cpu"], &["--max-vram", "on the CPU", "--device cuda"]),
        (&["--max-vram=1TiB"], &["--max-vram", "unknown unit `TiB`", "GiB"]),
    ];
    for (flags, parts) in cases {
        println!("{flags:?}");
        // The last of two sizes or steps would be an error of its own: these replace them.
        let own = scene.arguments("out", &[]);
        let replaced =
            |argument: &&String| !flags.iter().any(|flag| flag.split('=').next() == argument.split('=').next());
        let arguments: Vec<String> =
            own.iter().filter(replaced).cloned().chain(flags.iter().map(ToString::to_string)).collect();
        scene.refuses_run(2, parts, || crate::support::obsdiff(&arguments));
    }
}

#[test]
fn a_recipe_file_is_refused_by_its_line_and_key() {
    let scene = Scene::new();
    let recipe = scene.path("recipe.toml");
    let flag = format!("--recipe={}", recipe.display());
    scene.refuses(&[&flag], 3, &["recipe.toml does not exist", "as --recipe"]);
    let cases: [(&str, &[&str]); 5] = [
        ("sparsity = 0.5\nsparsty = 0.6\n", &["recipe.toml", "line 2", "unknown field `sparsty`"]),
        ("sparsity = \"half\"\n", &["recipe.toml", "line 1", "sparsity"]),
        ("method = \"obs\"\n", &["recipe.toml", "line 1", "obs-diff"]),
        ("sparsity 0.5\n", &["recipe.toml", "line 1"]),
        ("sparsity = 1.5\n", &["`sparsity`", "found 1.5"]),
    ];
    for (content, parts) in cases {
        println!("{content}");
        fs::write(&recipe, content).unwrap();
        scene.refuses(&[&flag], 2, parts);
    }
}

// A build with the CUDA engine may find a GPU.
#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_there_is_refused_in_one_sentence() {
    let scene = Scene::new();
    for device in ["cuda:0", "cuda:1"] {
        let named = format!("--device {device}: this build computes on the CPU only");
        let way_out = ["scripts/cuda-toolkit", "cargo build --release --features cuda"];
        scene.refuses(&[&format!("--device={device}")], 3, &[&[named.as_str()], &way_out[..]].concat());
    }
}

#[test]
fn every_command_that_computes_takes_the_same_devices() {
    let commands: [&[&str]; 5] = [
        &["sample", "absent", "--conditioning", "absent", "-o", "absent/out"],
        &["compare", "absent", "absent", "--conditioning", "absent"],
        &["prune", "absent", "-o", "absent/out"],
        &["layer", "--weight", "absent:w", "--hessian", "absent:h", "-o", "absent/out"],
        &["plan", "absent"],
    ];
    for command in commands {
        obsdiff(&[command, &["--device=cuda:3"]].concat()).refused(3, &["no GPU"]);
        obsdiff(&[command, &["--device=cuda:x"]].concat()).refused(2, &["auto, cpu, cuda or cuda:N", "cuda:x"]);
        obsdiff(&[command, &["--device=tpu"]].concat()).refused(2, &["tpu"]);
        obsdiff(&[command, &["--device=cpu"]].concat()).refused(3, &["absent"]);
        let chosen = obsdiff(command).refused(3, &["device auto: ", "absent"]);
        assert_eq!(obsdiff(&[command, &["--device=auto"]].concat()).stderr, chosen.stderr, "auto is the default");
    }
}
