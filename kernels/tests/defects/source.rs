//! The sources of an image, changed in one place and compiled.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::defect::Defect;

/// The PTX of `image` with the defect in it, for compute capability 8.0.
pub fn compile(image: &str, defect: &Defect) -> String {
    let source = format!("{image}.cu");
    let mut files = BTreeMap::new();
    read(&source, &mut files);
    plant(&mut files, image, defect);
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    for (name, text) in &files {
        fs::write(folder.path().join(name), text).expect("the temporary folder can be written");
    }
    let ptx = folder.path().join("changed.ptx");
    let done = Command::new(env!("OBSDIFF_NVCC"))
        .args(["-O3", "-std=c++17", "-lineinfo", "-ptx", "-arch=sm_80"])
        .arg(folder.path().join(&source))
        .arg("-o")
        .arg(&ptx)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", env!("OBSDIFF_NVCC")));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{image}: {} does not compile:\n{said}", defect.name);
    fs::read_to_string(&ptx).expect("nvcc wrote it")
}

/// Reads a source and every file that it includes in quotes.
fn read(name: &str, files: &mut BTreeMap<String, String>) {
    if files.contains_key(name) {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    files.insert(name.to_string(), text.clone());
    let included = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
    included.for_each(|header| read(header, files));
}

/// Replaces the one place that the defect names.
fn plant(files: &mut BTreeMap<String, String>, image: &str, defect: &Defect) {
    let holders: Vec<&String> =
        files.iter().flat_map(|(name, text)| text.matches(defect.find).map(move |_| name)).collect();
    assert_eq!(holders.len(), 1, "{image}: {}: the text to replace must occur once, it is in {holders:?}", defect.name);
    for text in files.values_mut() {
        *text = text.replace(defect.find, defect.replace);
    }
}
