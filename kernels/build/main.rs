//! Compiles every kernel of this folder: one fatbin per `.cu` with machine code for each architecture and PTX
//! for those to come, the PTX that tests interpret, and a report of the resources each kernel uses.

mod nvcc;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use nvcc::Nvcc;

/// Machine code in every fatbin. `a` marks architecture-specific features (wgmma, tcgen05).
const ARCHITECTURES: [&str; 6] = ["80", "86", "89", "90a", "100a", "120a"];

/// PTX in every fatbin, compiled by the driver where no machine code fits.
const FALLBACK: &str = "80";

/// Targets whose PTX the interpreter runs.
const INTERPRETED: [&str; 2] = ["80", "120a"];

fn main() {
    println!("cargo:rerun-if-env-changed=OBSDIFF_CUDA_ARCHITECTURES");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let nvcc = Nvcc::find(&folder).unwrap_or_else(|sentence| stop(&sentence));
    // Tests compile changed kernels with the same compiler.
    println!("cargo:rustc-env=OBSDIFF_NVCC={}", nvcc.path().display());
    let architectures = architectures().unwrap_or_else(|sentence| stop(&sentence));

    let (sources, headers) = inputs(&folder);
    for path in sources.iter().chain(&headers) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    println!("cargo:rerun-if-changed={}", folder.display());

    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(sources.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = nvcc.compile(source, &headers, &architectures, FALLBACK, &INTERPRETED, &out) {
                        failures.lock().expect("no worker panics").push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no worker panics");
    if !failures.is_empty() {
        stop(&failures.join("\n"));
    }
    let names: Vec<String> = sources.iter().map(|path| stem(path)).collect();
    fs::write(out.join("images.rs"), images(&names, &architectures)).unwrap_or_else(|error| stop(&error.to_string()));
    report::write(&out, &names).unwrap_or_else(|error| stop(&error));
}

/// `OBSDIFF_CUDA_ARCHITECTURES=80,90a` compiles for these alone, which is quicker while a kernel is written.
fn architectures() -> Result<Vec<String>, String> {
    let Ok(list) = env::var("OBSDIFF_CUDA_ARCHITECTURES") else {
        return Ok(ARCHITECTURES.map(String::from).to_vec());
    };
    let chosen: Vec<String> = list.split(',').map(|name| name.trim().to_string()).collect();
    match chosen.iter().find(|name| !ARCHITECTURES.contains(&name.as_str())) {
        None => Ok(chosen),
        Some(unknown) => {
            Err(format!("OBSDIFF_CUDA_ARCHITECTURES names `{unknown}`; expected some of {}", ARCHITECTURES.join(",")))
        }
    }
}

/// The kernels, and the headers that any of them may include.
fn inputs(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| stop(&format!("{}: {error}", folder.display())))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let with = |extension: &str| -> Vec<PathBuf> {
        files.iter().filter(|path| path.extension().is_some_and(|found| found == extension)).cloned().collect()
    };
    (with("cu"), with("cuh"))
}

/// Rust constants that embed what was compiled.
fn images(names: &[String], architectures: &[String]) -> String {
    let mut text = String::from("/// Architectures that every image holds machine code for, oldest first.\n");
    text += &format!("pub const ARCHITECTURES: &[&str] = &{architectures:?};\n");
    text += "/// Compute capability of the PTX in every image, without the dot.\n";
    text += &format!("pub const FALLBACK: &str = {FALLBACK:?};\n");
    for name in names {
        text +=
            &format!("/// `{name}.cu`.\npub static {}: Image = Image {{\n    name: \"{name}\",\n", name.to_uppercase());
        text += &format!("    fatbin: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.fatbin\")),\n}};\n");
    }
    text += "/// Every image.\npub static ALL: &[&Image] = &[";
    text += &names.iter().map(|name| format!("&{}", name.to_uppercase())).collect::<Vec<_>>().join(", ");
    text += "];\n";
    text += "/// PTX of image `name` for compute capability `target`, with line information.\n";
    text += "#[cfg(feature = \"interpreter\")]\npub fn ptx(name: &str, target: &str) -> Option<&'static str> {\n";
    text += "    match (name, target) {\n";
    for name in names {
        for target in INTERPRETED {
            text += &format!(
                "        (\"{name}\", \"{target}\") => Some(include_str!(concat!(env!(\"OUT_DIR\"), \"/{name}.{target}.ptx\"))),\n"
            );
        }
    }
    text += "        _ => None,\n    }\n}\n";
    text
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Ends the build with one sentence.
fn stop(sentence: &str) -> ! {
    eprintln!("\n{sentence}\n");
    std::process::exit(1)
}
