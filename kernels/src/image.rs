//! The compiled kernels, embedded.

use std::fmt;

/// One `.cu` file as a fatbin: machine code for every architecture and PTX for those to come.
pub struct Image {
    /// The file's name without `.cu`.
    pub name: &'static str,
    pub fatbin: &'static [u8],
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}, {} bytes)", self.name, self.fatbin.len())
    }
}

/// What of an image runs on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Machine code for this architecture, such as `sm_90a`.
    MachineCode(&'static str),
    /// None for it, but the driver can compile the embedded PTX, which takes seconds at the first start.
    CompiledByDriver,
    /// The GPU is older than the kernels.
    None,
}

/// What runs on a GPU of this compute capability. Machine code runs on its own architecture and, without an `a`,
/// on later minor revisions of it (CUDA C++ Programming Guide, binary compatibility).
pub fn fit(compute_capability: (u32, u32)) -> Fit {
    let number = compute_capability.0 * 10 + compute_capability.1;
    let runs = |name: &&&str| match name.strip_suffix('a') {
        Some(exact) => exact.parse() == Ok(number),
        None => name.parse().is_ok_and(|base: u32| base / 10 == compute_capability.0 && base <= number),
    };
    match ARCHITECTURES.iter().rev().find(runs) {
        Some(name) => Fit::MachineCode(name),
        None if FALLBACK.parse().is_ok_and(|oldest: u32| number >= oldest) => Fit::CompiledByDriver,
        None => Fit::None,
    }
}

include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// What ptxas says that each kernel uses: tab-separated, one line per kernel and architecture, with a header.
pub const RESOURCES: &str = include_str!(concat!(env!("OUT_DIR"), "/resources.tsv"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_is_found_where_it_runs() {
        if ARCHITECTURES.len() == 6 {
            let machine_code =
                [((8, 0), "80"), ((8, 6), "86"), ((8, 7), "86"), ((8, 9), "89"), ((9, 0), "90a"), ((12, 0), "120a")];
            for (capability, name) in machine_code {
                assert_eq!(fit(capability), Fit::MachineCode(name), "{capability:?}");
            }
        }
        for capability in [(10, 3), (11, 0), (12, 1), (13, 0)] {
            assert_eq!(fit(capability), Fit::CompiledByDriver, "{capability:?}");
        }
        assert_eq!(fit((7, 5)), Fit::None);
    }
}
