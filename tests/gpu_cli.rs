//! What the commands for a GPU say where there is none: in a build for the CPU, and in one with the CUDA engine on a
//! machine without a driver. Where there is a GPU the latter print SKIP: `scripts/gpu-check` runs the commands there.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Run, models, obsdiff, obsdiff_with, text};

/// `self-test` as if nothing in the environment asked for a GPU.
fn self_test(arguments: &[&str]) -> Run {
    obsdiff_with(&[&["self-test"], arguments].concat(), |command| {
        command.env_remove("OBSDIFF_REQUIRE_GPU");
    })
}

fn doctor() -> Value {
    obsdiff(&["doctor", "--json"]).json()
}

/// Every command that computes on a GPU when told to.
fn asked_for_a_gpu(output: &Path) -> Vec<(&'static str, Run)> {
    let (model, calibration) = (models("sd3_digits/pipeline"), models("sd3_digits/calibration.safetensors"));
    let prune = ["prune", text(&model), "-o", text(output), "--calibration", text(&calibration), "--device=cuda"];
    let sample = ["sample", text(&model), "-o", text(output), "--conditioning", text(&calibration), "--device=cuda:0"];
    vec![
        ("self-test", self_test(&["--device", "cuda"])),
        ("bench", obsdiff(&["bench"])),
        ("bench kernels", obsdiff(&["bench", "kernels", "--device=cuda:0"])),
        ("bench block", obsdiff(&["bench", "block"])),
        ("prune", obsdiff(&prune)),
        ("sample", obsdiff(&sample)),
    ]
}

#[test]
fn doctor_describes_the_machine() {
    let found = doctor();
    assert_eq!(found["schema"], "obsdiff.doctor/1");
    assert_eq!(found["obsdiff"], env!("CARGO_PKG_VERSION"));
    assert_eq!(found["cuda_build"], cfg!(feature = "cuda"));
    assert!(found["cpu_threads"].as_u64().unwrap() > 0, "{found}");
    assert!(found["memory_available"].as_u64().unwrap() > 0, "{found}");
    for list in ["gpus", "libraries", "problems"] {
        assert!(found[list].is_array(), "{list}: {found}");
    }
    let told = obsdiff(&["doctor"]).succeeded().stdout;
    for line in ["obsdiff ", "CPU ", "memory "] {
        assert!(told.lines().any(|own| own.starts_with(line)), "no line of {line}in: {told}");
    }
    // The last line says whether --device cuda works, and why not.
    let verdict = told.lines().last().unwrap();
    match found["problems"].as_array().unwrap().as_slice() {
        [] => assert!(verdict.starts_with("--device cuda works here"), "{told}"),
        problems => {
            assert!(verdict.starts_with("--device cuda does not work here: "), "{told}");
            problems.iter().for_each(|problem| assert!(verdict.contains(problem.as_str().unwrap()), "{told}"));
        }
    }
}

#[test]
fn sparse_products_are_refused_on_the_cpu() {
    let output = tempfile::tempdir().unwrap();
    let (model, conditioning) = (models("sd3_digits/pipeline"), models("sd3_digits/calibration.safetensors"));
    let folder = output.path().join("latents");
    let own = ["sample", text(&model), "-o", text(&folder), "--conditioning", text(&conditioning), "--sparse"];
    let refused = obsdiff(&[&own[..], &["--device=cpu", "--dtype=bf16"]].concat())
        .refused(2, &["--sparse runs on the sparse tensor cores of a GPU and the device is cpu", "--device cuda"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    assert!(!folder.exists(), "a refusal left {}", folder.display());
}

#[cfg(not(feature = "cuda"))]
mod without_cuda {
    use super::*;

    /// What to run, and what to build with.
    const REMEDY: [&str; 3] = ["computes on the CPU only", "scripts/cuda-toolkit", "--features cuda"];

    #[test]
    fn every_command_names_the_build_that_has_the_gpu() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        for (command, run) in asked_for_a_gpu(&output) {
            println!("{command}");
            run.refused(3, &REMEDY);
        }
        assert!(!output.exists(), "a refusal left {}", output.display());
    }

    #[test]
    fn doctor_names_it_too() {
        let problems = doctor()["problems"].to_string();
        REMEDY.iter().for_each(|part| assert!(problems.contains(part), "{problems}"));
    }

    #[test]
    fn a_self_test_that_checks_nothing_is_no_success() {
        self_test(&[]).refused(3, &REMEDY);
    }
}

#[cfg(feature = "cuda")]
mod with_cuda {
    use super::*;

    /// Whether this machine has no driver, as the tests below need; says so if not.
    fn has_no_driver() -> bool {
        let found = doctor();
        let absent = found["driver"].is_null();
        if !absent {
            println!("SKIP: this machine has the NVIDIA driver {}", found["driver"]);
        }
        absent
    }

    #[test]
    fn every_command_names_the_missing_driver() {
        if !has_no_driver() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        for (command, run) in asked_for_a_gpu(&output) {
            println!("{command}");
            run.refused(3, &["no GPU to compute on", "libcuda.so.1", "install the driver"]);
        }
        assert!(!output.exists(), "a refusal left {}", output.display());
        let problems = doctor()["problems"].to_string();
        assert!(problems.contains("libcuda.so.1"), "{problems}");
    }

    #[test]
    fn a_self_test_without_a_gpu_is_skipped_counted_and_refused_where_one_is_required() {
        if !has_no_driver() {
            return;
        }
        let told = self_test(&[]).succeeded().stdout;
        assert!(told.starts_with("SKIP: ") && told.contains("libcuda.so.1"), "{told}");
        let counts: Vec<&str> = told.lines().last().unwrap().split(", ").collect();
        let [passed, failed, skipped] = counts[..] else { panic!("{told}") };
        assert_eq!((passed, failed), ("0 passed", "0 failed"));
        let skipped = skipped.strip_suffix(" skipped").and_then(|count| count.parse::<usize>().ok());
        assert!(skipped.is_some_and(|count| count > 0), "{told}");
        let one = self_test(&["--only", "gram"]).succeeded().stdout;
        assert!(one.ends_with("0 passed, 0 failed, 1 skipped\n"), "{one}");
        assert!(self_test(&["--json"]).json()["skipped"].as_str().unwrap().contains("libcuda.so.1"));
        obsdiff_with(&["self-test"], |command| {
            command.env("OBSDIFF_REQUIRE_GPU", "1");
        })
        .refused(3, &["no GPU to compute on", "libcuda.so.1"]);
    }

    #[test]
    fn flags_are_checked_before_a_gpu_is_looked_for() {
        for arguments in [
            ["self-test", "--only", "nothing"],
            ["self-test", "--device", "gpu"],
            ["bench", "--only", "nothing"],
            ["bench", "--device", "cpu"],
        ] {
            obsdiff(&arguments).refused(2, &["expected"]);
        }
        obsdiff(&["bench", "block", "--only", "gram"]).refused(2, &["obsdiff bench kernels"]);
    }
}
