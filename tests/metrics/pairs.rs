//! PSNR, SSIM and LPIPS of pairs of pictures.

use obsdiff::metrics::{Lpips, psnr, ssim};
use obsdiff::pictures::Picture;

use crate::common::{lpips_file, lpips_state, picture};
use crate::support::{data, full, json, save};

/// A recorded pair and its measures.
struct Pair {
    pictures: [Picture; 2],
    expected: serde_json::Value,
}

fn pairs() -> Vec<Pair> {
    let recorded = json(&data("metrics/pairs.json")).as_array().unwrap().clone();
    assert_eq!(recorded.len(), 5);
    let pair = |expected: serde_json::Value| {
        let size = |key: &str| expected[key].as_u64().unwrap() as usize;
        let pictures = [1, 2].map(|seed| picture(seed, size("width"), size("height")));
        Pair { pictures, expected }
    };
    recorded.into_iter().map(pair).collect()
}

#[track_caller]
fn assert_near(what: &str, found: f64, expected: &serde_json::Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found / expected - 1.0).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn psnr_and_ssim_are_those_of_scikit_image() {
    for Pair { pictures: [a, b], expected } in pairs() {
        let what = format!("{} x {}", a.width, a.height);
        assert_near(&what, psnr(&a, &b).unwrap(), &expected["psnr"], 1e-12);
        assert_near(&what, ssim(&a, &b).unwrap().unwrap(), &expected["ssim"], 1e-10);
        assert_eq!(psnr(&a, &b).unwrap(), psnr(&b, &a).unwrap());
        assert_eq!(ssim(&a, &b).unwrap(), ssim(&b, &a).unwrap());
        assert_eq!((psnr(&a, &a).unwrap(), ssim(&a, &a).unwrap()), (f64::INFINITY, Some(1.0)));
    }
}

#[test]
fn a_window_that_does_not_fit_gives_no_ssim() {
    for (width, height, fits) in [(10, 40, false), (40, 10, false), (8, 8, false), (11, 11, true)] {
        let pictures = [1, 2].map(|seed| picture(seed, width, height));
        assert_eq!(ssim(&pictures[0], &pictures[1]).unwrap().is_some(), fits, "{width} x {height}");
    }
    let (a, b) = (picture(1, 12, 13), picture(1, 13, 12));
    assert!(psnr(&a, &b).is_err() && ssim(&a, &b).is_err());
}

#[test]
fn lpips_is_that_of_its_package() {
    let folder = tempfile::tempdir().unwrap();
    for net in ["alex", "vgg"] {
        let lpips = Lpips::open(&lpips_file(folder.path(), net)).unwrap();
        assert_eq!(lpips.name(), net);
        for Pair { pictures: [a, b], expected } in pairs() {
            let expected = &expected[format!("lpips_{net}")];
            let what = format!("{net}, {} x {}", a.width, a.height);
            if expected.is_null() {
                let error = lpips.check(a.height, a.width).unwrap_err();
                assert_eq!(error.exit_code(), 2, "{what}");
                assert!(lpips.distance(&a, &b).is_err(), "{what}");
                continue;
            }
            lpips.check(a.height, a.width).unwrap();
            let found = lpips.distance(&a, &b).unwrap();
            println!("{what}: {:.1e}", found / expected.as_f64().unwrap() - 1.0);
            assert_near(&what, found, expected, 2e-6);
            assert_eq!(lpips.distance(&b, &a).unwrap(), found, "{what}: not symmetric");
            assert_eq!(lpips.distance(&a, &a).unwrap(), 0.0, "{what}: of equal pictures");
        }
    }
}

#[test]
fn the_smallest_pictures_of_lpips_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    for (net, smallest) in [("alex", 31), ("vgg", 16)] {
        let lpips = Lpips::open(&lpips_file(folder.path(), net)).unwrap();
        let distance = |side: usize| lpips.distance(&picture(1, side, 50), &picture(2, side, 50));
        assert!(distance(smallest).unwrap() > 0.0 && lpips.check(50, smallest).is_ok(), "{net}");
        assert!(distance(smallest - 1).is_err() && lpips.check(smallest - 1, 50).is_err(), "{net}");
    }
}

#[test]
fn files_that_are_no_lpips_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lpips.safetensors");
    let refused = |part: &str, code: u8| {
        let error = Lpips::open(&path).unwrap_err();
        assert!(error.to_string().contains(part) && error.exit_code() == code, "{part}: {error}");
    };
    refused("does not exist", 3);
    std::fs::write(&path, b"no safetensors").unwrap();
    refused("lpips.safetensors", 3);
    save(&path, &[("classifier.weight".to_string(), full(1.0, &[2, 2]))].into());
    refused("neither", 3);
    let mut state = lpips_state("alex", false);
    let lin = state.remove("lin3.model.1.weight").unwrap();
    save(&path, &state);
    refused("`lin3.model.1.weight` is missing", 3);
    state.insert("lins.3.model.1.weight".into(), lin);
    state.insert("net.slice2.3.bias".into(), full(0.0, &[64]));
    save(&path, &state);
    refused("has shape [64], expected [192], as lpips.LPIPS(net=\"alex\") has it", 3);
    state.insert("net.slice2.3.bias".into(), full(f32::NAN, &[192]));
    save(&path, &state);
    refused("holds NaN", 4);
}
