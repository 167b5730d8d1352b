//! A pruned digits model, a comparison of it, and its page.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use obsdiff::pictures::Picture;
use serde_json::{Value, json};

use crate::support::{Run, copy_folder, models, obsdiff, shared_folder, text};

/// Sections in the order of the page.
pub const SECTIONS: [&str; 11] = [
    "summary",
    "pictures",
    "timesteps",
    "layers",
    "sparsity",
    "hessians",
    "resources",
    "latency",
    "calibration",
    "command",
    "versions",
];

/// Prompts that would do harm where texts are not escaped.
pub const PROMPTS: [&str; 3] =
    ["the digit seven", "<script>document.title = 'broken'</script>", "\"><img src=x onerror=alert(1)> & 'so on'"];

/// The digits model without half of its weights; made once.
pub fn pruned() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let output = shared_folder().join("report-digits");
        let model = models("sd3_digits/pipeline");
        let recipe = models("sd3_digits/recipe.toml");
        let calibration = models("sd3_digits/ten_digits.safetensors");
        let arguments = [
            "prune",
            text(&model),
            "--recipe",
            text(&recipe),
            "--calibration",
            text(&calibration),
            "--ignore",
            "no such layer's name",
            "-o",
            text(&output),
        ];
        obsdiff(&arguments).succeeded();
        output
    })
}

/// A copy of [`pruned`] without its weights.
pub fn copy(into: &Path) -> PathBuf {
    let folder = into.join("pruned");
    fs::create_dir_all(&folder).unwrap();
    for name in ["obsdiff.json", "run.json", "recipe.toml"] {
        fs::copy(pruned().join(name), folder.join(name)).unwrap();
    }
    folder
}

/// A comparison as `obsdiff compare -o DIR` writes it, with [`PROMPTS`].
pub fn comparison(into: &Path) -> PathBuf {
    let folder = into.join("comparison");
    fs::create_dir_all(folder.join("pictures")).unwrap();
    let item = |(index, prompt): (usize, &&str)| {
        let name = |model: &str| format!("pictures/{model}-{index:04}.png");
        for (model, colour) in [("dense", [200, 40, 40]), ("pruned", [180, 60, 40])] {
            let side = if index == 0 { 1024 } else { 8 };
            let png = Picture::plain(side, side, colour).png().unwrap();
            fs::write(folder.join(name(model)), png).unwrap();
        }
        json!({
            "prompt": prompt, "latent_rel": 0.003, "psnr": 31.5, "ssim": 0.9, "lpips": null, "clip_score": null,
            "dense": name("dense"), "pruned": name("pruned"),
        })
    };
    let spread = json!({ "items": 3, "min": 1e-3, "median": 2e-3, "mean": 3e-3, "max": 6e-3, "std": 1e-3 });
    let decibels = json!({ "items": 3, "min": 28.0, "median": 31.5, "mean": 31.0, "max": 33.0, "std": 1.0 });
    let step = |step: usize| json!({ "step": step, "sigma": 1.0 - step as f64 / 20.0, "latent_rel": 1e-6 * 1.5f64.powi(step as i32) });
    let comparison = json!({
        "schema": "obsdiff.comparison/1", "dense": "dense", "pruned": "pruned", "command": ["obsdiff", "compare"],
        "num_inference_steps": 20, "guidance_scale": 2.0, "height": 8, "width": 8, "seed": 0,
        "latent_mse": 0.002, "latent_rel": 0.00297, "per_item": spread, "sparsity": 0.5,
        "bytes": { "dense": 8851984, "pruned": 8851984 }, "seconds_per_step": { "dense": 0.043, "pruned": 0.042 },
        "steps": (0..20).map(step).collect::<Vec<_>>(), "step_items": 3,
        "pictures": {
            "decoder": "latents", "psnr": decibels, "ssim": null, "lpips": null, "lpips_network": null,
            "clip_score": null, "frechet": null, "frechet_real": null,
        },
        "items": PROMPTS.iter().enumerate().map(item).collect::<Vec<_>>(), "grid": "grid.png",
    });
    fs::write(folder.join("comparison.json"), comparison.to_string()).unwrap();
    folder
}

/// Measurements of blocks as `obsdiff bench block --json` writes them.
pub fn bench(into: &Path) -> PathBuf {
    let path = into.join("bench.json");
    let time = |seconds: f64| json!({ "seconds": seconds, "spread": 1e-5 });
    let part = json!({
        "model": "flux.1-dev", "part": "double block", "dense": time(4e-3), "sparse": time(2.5e-3), "runs": 30,
        "ratio": 1.6,
    });
    let bench = json!({ "schema": "obsdiff.bench-block/1", "gpu": "Test GPU", "clocks": null, "parts": [part] });
    fs::write(&path, bench.to_string()).unwrap();
    path
}

/// Runs `obsdiff report FOLDER ...`.
pub fn report(folder: &Path, more: &[&str]) -> Run {
    let own = ["report", text(folder)];
    obsdiff(&own.iter().chain(more).copied().collect::<Vec<_>>())
}

/// A page with everything on it, in `into`; its text and its numbers.
pub fn full_page(into: &Path) -> (PathBuf, String, Value) {
    let (folder, comparison, bench) = (copy(into), comparison(into), bench(into));
    report(&folder, &["--comparison", text(&comparison), "--bench", text(&bench)]).succeeded();
    let page = folder.join("report.html");
    let html = fs::read_to_string(&page).unwrap();
    let numbers = crate::support::json(&folder.join("report.json"));
    (page, html, numbers)
}

/// A copy of a folder beside it.
pub fn duplicate(folder: &Path, name: &str) -> PathBuf {
    let copy = folder.with_file_name(name);
    copy_folder(folder, &copy);
    copy
}
