//! Finds nvcc and runs it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Flags of every compilation.
const FLAGS: [&str; 3] = ["-O3", "-std=c++17", "-Werror=all-warnings"];

/// Flags of PTX that is interpreted: faults name the line of the source.
const INTERPRETED: [&str; 2] = ["-ptx", "-lineinfo"];

/// Flags of a fatbin. It goes into the program once per architecture, and a table of source lines would be most of it.
const FATBIN: [&str; 3] = ["-fatbin", "-Xptxas=-v", "--compress-mode=size"];

/// A compiler that answers.
pub struct Nvcc {
    path: PathBuf,
    version: String,
}

impl Nvcc {
    /// `NVCC`, then `CUDA_HOME`, then `PATH`, then the project's own `.cuda-toolkit`.
    pub fn find(kernels: &Path) -> Result<Self, String> {
        for variable in ["NVCC", "CUDA_HOME", "PATH"] {
            println!("cargo:rerun-if-env-changed={variable}");
        }
        let own = kernels.join("../.cuda-toolkit/nvidia/cu13/bin/nvcc");
        println!("cargo:rerun-if-changed={}", own.display());
        if let Some(named) = env::var_os("NVCC") {
            let path = PathBuf::from(named);
            return Self::ask(&path)
                .ok_or(format!("NVCC is {}, which does not run; unset it or correct it", path.display()));
        }
        let mut places = Vec::new();
        if let Some(home) = env::var_os("CUDA_HOME") {
            places.push(Path::new(&home).join("bin/nvcc"));
        }
        if let Some(path) = env::var_os("PATH") {
            places.extend(env::split_paths(&path).map(|folder| folder.join("nvcc")));
        }
        places.push(own);
        places.iter().filter(|place| place.is_file()).find_map(|place| Self::ask(place)).ok_or_else(|| {
            "the cuda feature needs nvcc 13 and found none in NVCC, CUDA_HOME, PATH or .cuda-toolkit; run \
             scripts/cuda-toolkit, which installs it into this project"
                .to_string()
        })
    }

    /// The program itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn ask(path: &Path) -> Option<Self> {
        let answer = Command::new(path).arg("--version").output().ok().filter(|answer| answer.status.success())?;
        Some(Nvcc { path: path.to_path_buf(), version: String::from_utf8_lossy(&answer.stdout).into_owned() })
    }

    /// Writes `NAME.fatbin`, `NAME.TARGET.ptx` and `NAME.log` (ptxas' account of resources) to `out`, unless they
    /// are there from the same source, headers, flags and compiler.
    pub fn compile(
        &self,
        source: &Path,
        headers: &[PathBuf],
        architectures: &[String],
        fallback: &str,
        interpreted: &[&str],
        out: &Path,
    ) -> Result<(), String> {
        let name = super::stem(source);
        let mut hash = Sha256::new();
        hash.update(&self.version);
        hash.update(FLAGS.concat() + &INTERPRETED.concat() + &FATBIN.concat());
        hash.update(architectures.concat() + fallback + &interpreted.concat());
        for path in headers.iter().map(PathBuf::as_path).chain([source]) {
            hash.update(fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        let fingerprint = format!("{:x}", hash.finalize());
        let stamp = out.join(format!("{name}.stamp"));
        if fs::read_to_string(&stamp).is_ok_and(|old| old == fingerprint) {
            return Ok(());
        }
        for target in interpreted {
            let target_flag = format!("-arch=sm_{target}");
            let file = out.join(format!("{name}.{target}.ptx"));
            self.run(source, &[INTERPRETED[0], INTERPRETED[1], &target_flag], &file)?;
        }
        let mut flags = FATBIN.map(String::from).to_vec();
        flags.extend(architectures.iter().map(|arch| format!("-gencode=arch=compute_{arch},code=sm_{arch}")));
        flags.push(format!("-gencode=arch=compute_{fallback},code=compute_{fallback}"));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let log = self.run(source, &flags, &out.join(format!("{name}.fatbin")))?;
        let write = |path: PathBuf, text: &str| fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
        write(out.join(format!("{name}.log")), &log)?;
        write(stamp, &fingerprint)
    }

    /// What nvcc said on stderr; its complaint is the error.
    fn run(&self, source: &Path, flags: &[&str], output: &Path) -> Result<String, String> {
        let mut command = Command::new(&self.path);
        command.args(FLAGS).args(flags).arg(source).arg("-o").arg(output);
        let done = command.output().map_err(|error| format!("{}: {error}", self.path.display()))?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        match done.status.success() {
            true => Ok(said),
            false => Err(format!("nvcc refused {}:\n{said}", source.display())),
        }
    }
}
