//! Planted defects: each kernel is changed in one place, compiled, and run through its own checks on the
//! interpreter. Every defect must be caught, under warps in turn and under random schedules alike: by a fault of
//! the expected kind, or by a result that the check refuses.

mod defect;

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use defect::{Defect, Expect};
use obsdiff_kernels::check::{Outcome, Scale};
use obsdiff_kernels::interpreted::{Interpreted, Schedule};
use obsdiff_kernels::{Device, Result};

type Check = fn(&Device, Scale, &mut dyn FnMut(Outcome)) -> Result<()>;

/// Schedules that every defect runs under.
const SCHEDULES: [Schedule; 3] = [Schedule::RoundRobin, Schedule::Random(1), Schedule::Random(2)];

/// What became of a changed kernel.
enum Verdict {
    Fault(String),
    WrongResult(String),
    NotCaught,
}

fn judge(operation: &'static str, check: Check, defect: &Defect) {
    let ptx = compile(operation, defect);
    for schedule in SCHEDULES {
        let interpreted = Interpreted::new("80", schedule, 4);
        interpreted.replace(operation, ptx.clone());
        let mut wrong = None;
        let outcome = check(&Device::new(interpreted), Scale::Small, &mut |outcome| {
            if !outcome.passed() && wrong.is_none() {
                wrong = Some(format!(
                    "{}: error {:e} over {:e}; {}",
                    outcome.case, outcome.error, outcome.bound, outcome.detail
                ));
            }
        });
        let verdict = match (outcome, wrong) {
            (_, Some(wrong)) => Verdict::WrongResult(wrong),
            (Err(fault), None) => Verdict::Fault(fault.to_string()),
            (Ok(()), None) => Verdict::NotCaught,
        };
        let name = format!("{operation}: {} ({schedule:?})", defect.name);
        match (verdict, &defect.expect) {
            (Verdict::NotCaught, _) => panic!("{name} was not caught"),
            (Verdict::WrongResult(_), Expect::WrongResult | Expect::Anything)
            | (Verdict::Fault(_), Expect::Anything) => {}
            (Verdict::Fault(said), Expect::Fault(words)) => {
                assert!(words.iter().any(|word| said.contains(word)), "{name}: expected {words:?}, found: {said}");
            }
            (Verdict::WrongResult(wrong), Expect::Fault(words)) => {
                panic!("{name}: expected a fault with {words:?}, found a wrong result: {wrong}")
            }
            (Verdict::Fault(said), Expect::WrongResult) => panic!("{name}: expected a wrong result, found: {said}"),
        }
    }
}

/// The PTX of `operation` with the defect in it.
fn compile(operation: &str, defect: &Defect) -> String {
    let kernels = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = kernels.join(format!("{operation}.cu"));
    let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = source.matches(defect.find).count();
    assert_eq!(found, 1, "{operation}: {}: the text to replace occurs {found} times in {operation}.cu", defect.name);
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    let changed = folder.path().join(format!("{operation}.cu"));
    let ptx = folder.path().join("changed.ptx");
    fs::write(&changed, source.replace(defect.find, defect.replace)).expect("the temporary folder can be written");
    let done = Command::new(env!("OBSDIFF_NVCC"))
        .args(["-O3", "-std=c++17", "-lineinfo", "-ptx", "-arch=sm_80", "-I"])
        .arg(&kernels)
        .arg(&changed)
        .arg("-o")
        .arg(&ptx)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", env!("OBSDIFF_NVCC")));
    assert!(
        done.status.success(),
        "{operation}: {} does not compile:\n{}",
        defect.name,
        String::from_utf8_lossy(&done.stderr)
    );
    fs::read_to_string(&ptx).expect("nvcc wrote it")
}
