//! `obsdiff bench block`: blocks of whole models, dense against 2:4 sparse.

use std::io::Write;

use obsdiff_kernels::device::Backend;
use obsdiff_kernels::driver::Driver;
use serde_json::{Value, json};

use super::{Args, clocks};
use crate::bench::{BlockTime, measure, models};
use crate::cli::table::{Align, Table};
use crate::error::{Error, Result};
use crate::ops::cuda::cuda_engine;

/// Measures and prints to `out`.
///
/// # Errors
/// [`Error::Usage`] for flags of the kernels' measurement; [`Error::NoGpu`]; those of [`measure`].
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    if !args.only.is_empty() || args.baseline.is_some() {
        return Err(Error::Usage("--only and --baseline go with `obsdiff bench kernels`; leave them out".into()));
    }
    let ordinal = args.ordinal()?;
    let gpu = Driver::open(ordinal)?.properties().name.clone();
    let engine = cuda_engine(ordinal)?;
    let mut times = Vec::new();
    for model in models() {
        let measured = measure(&model, &engine, args.runs)?;
        for time in &measured {
            tracing::info!("{} {}: {:.2} times", time.model, time.part, time.ratio());
        }
        times.extend(measured);
    }
    args.write(&to_json(&gpu, &times))?;
    crate::cli::print(out, &text(&gpu, &times))
}

fn to_json(gpu: &str, times: &[BlockTime]) -> Value {
    let parts: Vec<Value> = times
        .iter()
        .map(|time| {
            let [dense, sparse] =
                [time.dense, time.sparse].map(|time| json!({"seconds": time.median, "spread": time.spread}));
            json!({
                "model": time.model, "part": time.part, "dense": dense, "sparse": sparse, "runs": time.dense.runs,
                "ratio": time.ratio(),
            })
        })
        .collect();
    json!({"schema": "obsdiff.bench-block/1", "gpu": gpu, "clocks": clocks(), "parts": parts})
}

fn text(gpu: &str, times: &[BlockTime]) -> String {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("part", Align::Left),
        ("dense ms", Align::Right),
        ("2:4 ms", Align::Right),
        ("spread", Align::Right),
        ("faster by", Align::Right),
        ("", Align::Left),
    ]);
    for time in times {
        let verdict = if time.ratio() > 1.0 { "" } else { "2:4 is NOT faster" };
        table.row([
            time.model.clone(),
            time.part.clone(),
            format!("{:.3}", time.dense.median * 1e3),
            format!("{:.3}", time.sparse.median * 1e3),
            format!("{:.3}", time.dense.spread.max(time.sparse.spread) * 1e3),
            format!("{:.2}", time.ratio()),
            verdict.to_string(),
        ]);
    }
    format!("{table}{gpu}; bf16, one row of 1024 x 1024 pixels, random weights; host time with the GPU waited for\n")
}

#[cfg(test)]
mod tests {
    use obsdiff_kernels::bench::Time;

    use super::*;

    #[test]
    fn a_sparse_block_that_is_not_faster_is_called_so() {
        let time = |median| Time { median, spread: 0.0, runs: 3 };
        let block = |part: &str, dense, sparse| BlockTime {
            model: "m".into(),
            part: part.into(),
            dense: time(dense),
            sparse: time(sparse),
        };
        let told = text("G", &[block("fast", 2.0, 1.0), block("slow", 1.0, 2.0), block("equal", 1.0, 1.0)]);
        let line = |part: &str| told.lines().find(|line| line.contains(part)).unwrap().to_string();
        assert!(!line("fast").contains("NOT faster") && line("fast").contains("2.00"), "{told}");
        assert!(line("slow").contains("NOT faster") && line("slow").contains("0.50"), "{told}");
        assert!(line("equal").contains("NOT faster"), "{told}");
        assert_eq!(to_json("G", &[block("slow", 1.0, 2.0)])["parts"][0]["ratio"], 0.5);
    }
}
