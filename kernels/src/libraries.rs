//! NVIDIA's libraries that benchmarks compare with: never needed, opened by name where they are installed.

use std::ffi::c_int;

use libloading::{Library, Symbol};

/// A library by the names that its versions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub name: &'static str,
    /// File names, newest first.
    files: &'static [&'static str],
    /// `int f(libraryPropertyType, int*)`.
    property: &'static str,
}

/// Dense matrix products.
pub const CUBLASLT: Known =
    Known { name: "cuBLASLt", files: &["libcublasLt.so.13", "libcublasLt.so.12"], property: "cublasLtGetProperty" };
/// Dense factorisations.
pub const CUSOLVER: Known =
    Known { name: "cuSOLVER", files: &["libcusolver.so.12", "libcusolver.so.11"], property: "cusolverGetProperty" };
/// 2:4 sparse matrix products.
pub const CUSPARSELT: Known =
    Known { name: "cuSPARSELt", files: &["libcusparseLt.so.0"], property: "cusparseLtGetProperty" };

/// Every library above.
pub const ALL: [Known; 3] = [CUBLASLT, CUSOLVER, CUSPARSELT];

/// A library that was opened.
pub struct Opened {
    pub library: Library,
    /// The name that worked.
    pub file: &'static str,
    /// Major, minor, patch, if the library tells.
    pub version: Option<[c_int; 3]>,
}

/// Opens a library where the system's loader looks (LD_LIBRARY_PATH, then the system's folders). `Err` holds what
/// was tried.
///
/// # Errors
/// The names tried, if none opens.
pub fn open(known: &Known) -> Result<Opened, String> {
    for &file in known.files {
        // SAFETY: NVIDIA's libraries run no code of consequence when they are opened.
        let Ok(library) = (unsafe { Library::new(file) }) else { continue };
        let version = version(&library, known.property);
        return Ok(Opened { library, file, version });
    }
    Err(format!("{} is not installed (looked for {})", known.name, known.files.join(", ")))
}

fn version(library: &Library, function: &str) -> Option<[c_int; 3]> {
    type GetProperty = unsafe extern "C" fn(c_int, *mut c_int) -> c_int;
    // SAFETY: the three libraries document this signature for their GetProperty functions.
    let get: Symbol<GetProperty> = unsafe { library.get(function) }.ok()?;
    let mut version = [0; 3];
    for (property, place) in version.iter_mut().enumerate() {
        // SAFETY: properties 0, 1, 2 are major, minor and patch; `place` is a live c_int.
        if unsafe { get(property as c_int, place) } != 0 {
            return None;
        }
    }
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let nowhere = Known { name: "cuNothing", files: &["libcunothing.so.1"], property: "f" };
        let said = open(&nowhere).err().unwrap_or_default();
        assert_eq!(said, "cuNothing is not installed (looked for libcunothing.so.1)");
    }
}
