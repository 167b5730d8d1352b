//! `layer` with inputs that cannot be pruned with.

use std::path::PathBuf;

use obsdiff::ops::Tensor;

use crate::support::{Run, names_in, noises, obsdiff, save, text};

const COLUMNS: usize = 8;

/// A folder with a weight `w`, [4, 8], and further tensors, in `in.safetensors`.
struct Single {
    folder: tempfile::TempDir,
}

impl Single {
    fn new(tensors: &[(&str, &[usize], Vec<f32>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let weight = ("w", &[4, COLUMNS][..], noises(1, 4 * COLUMNS));
        let all = std::iter::once(&weight)
            .chain(tensors)
            .map(|(name, shape, values)| (name.to_string(), Tensor::from_vec(values.clone(), *shape).unwrap()))
            .collect();
        save(&folder.path().join("in.safetensors"), &all);
        Single { folder }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out.safetensors")
    }

    fn run(&self, sources: &[(&str, &str)], flags: &[&str]) -> Run {
        let name = |tensor: &str| format!("{}/in.safetensors:{tensor}", self.folder.path().display());
        let output = self.output();
        let mut arguments = vec!["layer".to_string(), "--json".into(), "-o".into(), text(&output).into()];
        let given = sources.iter().any(|(flag, _)| *flag == "--weight");
        for (flag, tensor) in sources.iter().chain(if given { &[][..] } else { &[("--weight", "w")] }) {
            arguments.extend([flag.to_string(), name(tensor)]);
        }
        arguments.extend(flags.iter().map(ToString::to_string));
        obsdiff(&arguments)
    }

    #[track_caller]
    fn refuses(&self, sources: &[(&str, &str)], flags: &[&str], code: i32, parts: &[&str]) {
        self.run(sources, flags).refused(code, parts);
        assert_eq!(names_in(self.folder.path()), ["in.safetensors"]);
    }
}

/// Ones on the diagonal, `off` between columns 2 and 3.
fn hessian(off: f32) -> Vec<f32> {
    let at = |i: usize, j: usize| match (i, j) {
        (2, 3) | (3, 2) => off,
        _ => f32::from(u8::from(i == j)),
    };
    (0..COLUMNS * COLUMNS).map(|k| at(k / COLUMNS, k % COLUMNS)).collect()
}

const SQUARE: &[usize] = &[COLUMNS, COLUMNS];

#[test]
fn nothing_but_zeros_is_no_calibration_data() {
    let single = Single::new(&[("h", SQUARE, vec![0.0; 64]), ("x", &[3, COLUMNS], vec![0.0; 3 * COLUMNS])]);
    for source in [("--hessian", "h"), ("--inputs", "x")] {
        single.refuses(&[source], &[], 4, &["`w` never saw a non-zero input", "no calibration data"]);
    }
}

#[test]
fn a_matrix_that_is_no_hessian_is_refused_by_its_place() {
    let mut lopsided = hessian(0.5);
    lopsided[3 * COLUMNS + 2] = 0.4;
    let mut negative = hessian(0.0);
    negative[5 * COLUMNS + 5] = -1.0;
    let mut nan = hessian(0.0);
    nan[9] = f32::NAN;
    let single = Single::new(&[
        ("lopsided", SQUARE, lopsided),
        ("negative", SQUARE, negative),
        ("nan", SQUARE, nan),
        ("small", &[7, 7], vec![1.0; 49]),
        ("x", &[3, 7], vec![1.0; 21]),
    ]);
    let refuses = |source, code, parts: &[&str]| single.refuses(&[source], &[], code, parts);
    refuses(("--hessian", "lopsided"), 3, &["in.safetensors", "`lopsided` is not symmetric at row 3, column 2"]);
    refuses(("--hessian", "negative"), 3, &["`negative`", "diagonal entry 5 is negative"]);
    refuses(("--hessian", "nan"), 4, &["`nan` holds NaN", "position 9"]);
    refuses(("--hessian", "small"), 3, &["`small` has shape [7, 7]", "[8, 8]"]);
    refuses(("--inputs", "x"), 3, &["`x` has shape [3, 7]", "[..., 8]"]);
    refuses(("--hessian", "absent"), 3, &["in.safetensors", "`absent`"]);
}

#[test]
fn sources_that_do_not_go_together_are_refused() {
    let single = Single::new(&[
        ("x", &[2, 3, COLUMNS], vec![1.0; 6 * COLUMNS]),
        ("three", &[3], vec![1.0; 3]),
        ("vector", &[COLUMNS], vec![1.0; COLUMNS]),
        ("h", SQUARE, hessian(0.0)),
    ]);
    single.refuses(&[("--inputs", "x"), ("--input-weights", "three")], &[], 3, &["`three` has shape [3]", "[2]"]);
    single.refuses(
        &[("--weight", "vector"), ("--hessian", "h")],
        &[],
        3,
        &["`vector` has shape [8]", "[rows, columns]"],
    );
    single.refuses(&[("--hessian", "h"), ("--inputs", "x")], &[], 2, &["--hessian", "--inputs"]);
    single.refuses(&[], &[], 2, &["--hessian"]);
    single.refuses(
        &[("--hessian", "h")],
        &["--pattern=1:3", "--block-size=126"],
        2,
        &["8 columns", "3 does not divide"],
    );
}

#[test]
fn an_indefinite_hessian_climbs_the_damping_ladder_and_stops_with_the_pivot() {
    // The eigenvalue 1 - 5 stays negative even with the last damping, 1.
    let single = Single::new(&[("h", SQUARE, hessian(5.0))]);
    let parts = ["Hessian of `w` is not positive definite", "pivot", "of 8", "even with damping 1e0", "--dampening"];
    single.refuses(&[("--hessian", "h")], &["--dampening=0.01"], 4, &parts);
    let message = single.run(&[("--hessian", "h")], &[]).stderr;
    assert!(message.contains("pivot 2 ") || message.contains("pivot 3 "), "neither of the two columns: {message}");
}

#[test]
fn a_hessian_that_needs_more_damping_gets_it_and_the_report_says_so() {
    // The eigenvalue 1 - 1.05 is negative with damping 0.01 and positive with 0.1.
    let single = Single::new(&[("h", SQUARE, hessian(1.05))]);
    let run = single.run(&[("--hessian", "h")], &["--dampening=0.01"]).succeeded();
    assert!(run.stderr.contains("the damped Hessian is indefinite"), "{}", run.stderr);
    let summary = run.json();
    assert_eq!(summary["dampening_attempts"], serde_json::json!([0.01, 0.1]));
    assert!(summary["smallest_pivot"].as_f64().unwrap() > 0.0);
    assert_eq!(summary["pruned"], 16);
}
