//! `obsdiff bench kernels`: every kernel by itself, beside NVIDIA's libraries in the same run.

use std::io::Write;
use std::path::Path;

use obsdiff_kernels::bench::{Ceilings, Measurement, Timer, ceilings, suite};
use obsdiff_kernels::device::Backend;
use obsdiff_kernels::driver::Driver;
use serde_json::{Value, json};

use super::{Args, clocks};
use crate::cli::table::{Align, Table};
use crate::error::{Error, Result};

/// A measurement may be this much slower than the baseline before it counts.
const TOLERANCE: f64 = 1.03;
/// And this many spreads.
const SPREADS: f64 = 3.0;

/// Measures and prints to `out`.
///
/// # Errors
/// [`Error::NoGpu`], [`Error::Usage`]; [`Error::CheckFailed`] if something is slower than the baseline.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let names: Vec<&str> = suite::ALL.iter().map(|bench| bench.operation).collect();
    if let Some(unknown) = args.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(Error::Usage(format!("--only names `{unknown}`; expected some of {}", names.join(", "))));
    }
    let baseline = args.baseline.as_deref().map(read).transpose()?;
    let driver = Driver::open(args.ordinal()?)?;
    let timer = Timer::new(driver.clone(), args.runs)?;
    let ceilings = ceilings(&timer)?;
    let mut measurements = Vec::new();
    for bench in suite::ALL {
        if args.only.is_empty() || args.only.iter().any(|name| name == bench.operation) {
            (bench.run)(&timer, &mut |measurement| {
                tracing::info!("{} {}: {:.3} ms", measurement.kernel, measurement.case, measurement.time.median * 1e3);
                measurements.push(measurement);
            })?;
        }
    }
    let gpu = driver.properties().name.clone();
    let report = to_json(&gpu, &ceilings, &measurements);
    args.write(&report)?;
    crate::cli::print(out, &text(&gpu, &ceilings, &measurements))?;
    match (&baseline, &args.baseline) {
        (Some(baseline), Some(path)) => compare(&gpu, &measurements, baseline, path),
        _ => Ok(()),
    }
}

fn to_json(gpu: &str, ceilings: &Ceilings, measurements: &[Measurement]) -> Value {
    let cases: Vec<Value> = measurements
        .iter()
        .map(|measured| {
            let peer = measured.peer.as_ref().map(|(name, time)| match time {
                Ok(time) => json!({"name": name, "seconds": time.median, "spread": time.spread}),
                Err(reason) => json!({"name": name, "absent": reason}),
            });
            json!({
                "kernel": measured.kernel,
                "case": measured.case,
                "seconds": measured.time.median,
                "spread": measured.time.spread,
                "runs": measured.time.runs,
                "tflops": measured.tflops(),
                "bytes": measured.bytes,
                "peer": peer,
                "ratio": measured.ratio(),
            })
        })
        .collect();
    json!({
        "schema": "obsdiff.bench/1",
        "gpu": gpu,
        "dense_tflops": ceilings.dense_tflops,
        "bytes_per_second": ceilings.bytes_per_second,
        "clocks": clocks(),
        "measurements": cases,
    })
}

fn text(gpu: &str, ceilings: &Ceilings, measurements: &[Measurement]) -> String {
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("case", Align::Left),
        ("ms", Align::Right),
        ("spread", Align::Right),
        ("TFLOP/s", Align::Right),
        ("of peak", Align::Right),
        ("peer", Align::Left),
        ("peer ms", Align::Right),
        ("faster by", Align::Right),
    ]);
    for measured in measurements {
        let share = ceilings.dense_tflops.map(|peak| format!("{:.0} %", 100.0 * measured.tflops() / peak));
        let (name, time) = match &measured.peer {
            None => (String::new(), String::new()),
            Some((name, Ok(time))) => ((*name).to_string(), format!("{:.3}", time.median * 1e3)),
            Some((name, Err(reason))) => (format!("{name}: {reason}"), String::new()),
        };
        table.row([
            measured.kernel.to_string(),
            measured.case.clone(),
            format!("{:.3}", measured.time.median * 1e3),
            format!("{:.3}", measured.time.spread * 1e3),
            format!("{:.1}", measured.tflops()),
            share.unwrap_or_default(),
            name,
            time,
            measured.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    let peak = ceilings.dense_tflops.map_or("cuBLASLt is not installed, so the peak is unknown".to_string(), |peak| {
        format!("peak: {peak:.0} TFLOP/s (bf16, cuBLASLt at 8192^3)")
    });
    let copy = ceilings.bytes_per_second / 1e12;
    format!("{table}{gpu}; {peak}; copies at {copy:.2} TB/s; medians from a cold cache\n")
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    serde_json::from_str(&text).map_err(|error| Error::malformed(path, error.to_string()))
}

/// Refuses what became slower.
fn compare(gpu: &str, measurements: &[Measurement], baseline: &Value, path: &Path) -> Result<()> {
    if baseline["gpu"] != gpu {
        let problem = format!("its measurements are of {}, this GPU is {gpu}", baseline["gpu"]);
        return Err(Error::malformed(path, problem));
    }
    let nothing = Vec::new();
    let old = baseline["measurements"].as_array().unwrap_or(&nothing);
    let mut slower = Vec::new();
    for measured in measurements {
        let same = |old: &&Value| old["kernel"] == measured.kernel && old["case"] == measured.case.as_str();
        let Some(old) = old.iter().find(same) else { continue };
        let (seconds, spread) = (old["seconds"].as_f64().unwrap_or(0.0), old["spread"].as_f64().unwrap_or(0.0));
        let now = measured.time.median;
        if now > TOLERANCE * seconds && now > seconds + SPREADS * spread.max(measured.time.spread) {
            let (now, then) = (now * 1e3, seconds * 1e3);
            slower.push(format!("{} {}: {now:.3} ms, {then:.3} before", measured.kernel, measured.case));
        }
    }
    match slower.as_slice() {
        [] => Ok(()),
        slower => Err(Error::CheckFailed(format!("slower than {}: {}", path.display(), slower.join("; ")))),
    }
}
