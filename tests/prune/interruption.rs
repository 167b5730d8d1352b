//! An interrupted prune cleans up after itself.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{models, names_in, text};

#[test]
fn an_interrupted_prune_exits_with_130_and_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        let (model, calibration) = (models("sd3_digits/pipeline"), models("sd3_digits/calibration.safetensors"));
        let child = Command::new(env!("CARGO_BIN_EXE_obsdiff"))
            .args(["prune", text(&model), "-o", text(&output), "--calibration", text(&calibration)])
            .args(["--num-inference-steps=500", "--guidance-scale=2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let hidden = format!(".out.partial-{}", child.id());
        let start = Instant::now();
        while names_in(folder.path()) != [hidden.as_str()] {
            assert!(start.elapsed() < Duration::from_secs(60), "{hidden} never appeared");
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let result = child.wait_with_output().unwrap();
        assert_eq!(result.status.code(), Some(130), "SIG{signal}");
        assert_eq!(String::from_utf8(result.stdout).unwrap(), "");
        let message = String::from_utf8(result.stderr).unwrap();
        assert!(message.contains("interrupted; no output was written"), "SIG{signal}: {message}");
        assert_eq!(names_in(folder.path()), [""; 0], "SIG{signal}");
    }
}
