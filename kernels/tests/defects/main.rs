//! Planted defects: each kernel is changed in one place, compiled, and run through its own checks on the
//! interpreter. Every defect must be caught, under warps in turn and under a random schedule alike: by a fault of
//! the expected kind, or by a result that the check refuses.

mod attention;
mod defect;
mod elementwise;
mod factor;
mod gemm;
mod gram;
mod normalize;
mod pack24;
mod rearrange;
mod refine;
mod source;
mod spmm24;
mod sweep;
mod symm;

use defect::{Defect, Expect};
use obsdiff_kernels::Device;
use obsdiff_kernels::check::{self, Run, Scale};
use obsdiff_kernels::interpreted::{Interpreted, Schedule};

/// Schedules that every defect runs under.
const SCHEDULES: [Schedule; 2] = [Schedule::RoundRobin, Schedule::Random(1)];

/// Every list with the image that it changes.
const LISTS: [(&str, &[Defect]); 14] = [
    ("attention", attention::DEFECTS),
    ("elementwise", elementwise::DEFECTS),
    ("factor", factor::DEFECTS),
    ("gemm", gemm::DEFECTS),
    ("gram", gram::DEFECTS),
    ("normalize", normalize::DEFECTS),
    ("pack24", pack24::DEFECTS),
    ("rearrange", rearrange::DEFECTS),
    ("refine", refine::DEFECTS),
    ("spmm24", spmm24::DEFECTS),
    ("sweep_select", sweep::SELECT),
    ("sweep_columns", sweep::COLUMNS),
    ("sweep_trailing", sweep::TRAILING),
    ("symm", symm::DEFECTS),
];

/// What became of a changed kernel.
#[derive(Debug)]
enum Verdict {
    Fault(String),
    WrongResult(String),
    NotCaught,
}

/// Plants every defect of an image's list and panics with those that `check` let pass.
fn assert_caught(image: &'static str, check: Run) {
    let (_, defects) = LISTS.into_iter().find(|(name, _)| *name == image).expect("a list for the image");
    let mut missed = Vec::new();
    for defect in defects {
        let ptx = source::compile(image, defect);
        for schedule in SCHEDULES {
            let verdict = judge(image, &ptx, schedule, check);
            println!("{image}: {} ({schedule:?}): {verdict:?}", defect.name);
            if let Err(problem) = as_expected(verdict, &defect.expect) {
                missed.push(format!("{} ({schedule:?}): {problem}", defect.name));
            }
        }
    }
    assert!(missed.is_empty(), "{image}:\n{}", missed.join("\n"));
}

fn judge(image: &'static str, ptx: &str, schedule: Schedule, check: Run) -> Verdict {
    let interpreted = Interpreted::new("80", schedule, 4);
    interpreted.replace(image, ptx.to_string());
    let mut wrong = None;
    let done = check(&Device::new(interpreted.clone()), Scale::Small, &mut |outcome| {
        if !outcome.passed() && wrong.is_none() {
            wrong = Some(format!(
                "{}: error {:e} over {:e}; {}",
                outcome.case, outcome.error, outcome.bound, outcome.detail
            ));
            // Without a kernel the next launch fails, and the check ends here.
            interpreted.replace(image, String::new());
        }
    });
    match (done, wrong) {
        (_, Some(wrong)) => Verdict::WrongResult(wrong),
        (Err(fault), None) => {
            let said = fault.to_string();
            // PTX that the interpreter does not take says nothing about the defect.
            assert!(!said.starts_with("loading"), "{image}: {said}");
            Verdict::Fault(said)
        }
        (Ok(()), None) => Verdict::NotCaught,
    }
}

/// Whether a defect showed as it should; the error says what it did instead.
fn as_expected(verdict: Verdict, expect: &Expect) -> Result<(), String> {
    match (verdict, expect) {
        (Verdict::NotCaught, _) => Err("not caught".into()),
        (Verdict::WrongResult(_), Expect::WrongResult | Expect::Anything) | (Verdict::Fault(_), Expect::Anything) => {
            Ok(())
        }
        (Verdict::Fault(said), Expect::Fault(words)) if words.iter().any(|word| said.contains(word)) => Ok(()),
        (Verdict::Fault(said), Expect::Fault(words)) => Err(format!("expected {words:?}, found the fault {said}")),
        (Verdict::WrongResult(wrong), Expect::Fault(words)) => {
            Err(format!("expected a fault with {words:?}, found the wrong result {wrong}"))
        }
        (Verdict::Fault(said), Expect::WrongResult) => Err(format!("expected a wrong result, found the fault {said}")),
    }
}

#[test]
fn attention_notices_its_defects() {
    assert_caught("attention", check::attention::run);
}

#[test]
fn elementwise_notices_its_defects() {
    assert_caught("elementwise", check::elementwise::run);
}

#[test]
fn factor_notices_its_defects() {
    assert_caught("factor", check::factor::run);
}

#[test]
fn gemm_notices_its_defects() {
    assert_caught("gemm", check::gemm::run);
}

#[test]
fn gram_notices_its_defects() {
    assert_caught("gram", check::gram::run);
}

#[test]
fn normalize_notices_its_defects() {
    assert_caught("normalize", check::normalize::run);
}

#[test]
fn pack24_notices_its_defects() {
    assert_caught("pack24", check::pack24::run);
}

#[test]
fn rearrange_notices_its_defects() {
    assert_caught("rearrange", check::rearrange::run);
}

#[test]
fn refine_notices_its_defects() {
    assert_caught("refine", check::refine::run);
}

#[test]
fn spmm24_notices_its_defects() {
    assert_caught("spmm24", check::spmm24::run);
}

#[test]
fn sweep_notices_defects_of_the_selection() {
    assert_caught("sweep_select", check::sweep::run);
}

#[test]
fn sweep_notices_defects_of_the_columns() {
    assert_caught("sweep_columns", check::sweep::run);
}

#[test]
fn sweep_notices_defects_of_the_trailing_update() {
    assert_caught("sweep_trailing", check::sweep::run);
}

#[test]
fn symm_notices_its_defects() {
    assert_caught("symm", check::symm::run);
}

#[test]
fn there_are_at_least_18_defects_and_every_list_has_some() {
    assert!(LISTS.iter().all(|(_, defects)| !defects.is_empty()));
    assert!(LISTS.iter().map(|(_, defects)| defects.len()).sum::<usize>() >= 18);
}
