//! `obsdiff report`: one page about a pruned model.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::Bars;
use super::sampling_args::DeviceArg;
use super::{print, print_json};
use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::report::data::Data;
use crate::report::facts::Report;
use crate::report::html::{Shown, page};
use crate::showcase::{Outcome, Scratch, showcase};

/// Writes one HTML page about a pruned model, and its numbers as JSON beside it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The output folder of `obsdiff prune`
    #[arg(value_name = "OUT")]
    folder: PathBuf,
    /// The page; its numbers go beside it as .json [default: OUT/report.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Pictures and errors from this folder, which `obsdiff compare -o DIR` wrote
    #[arg(long, value_name = "DIR")]
    comparison: Option<PathBuf>,
    /// Without --comparison the report makes its own of so many rows of the calibration
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Make no comparison
    #[arg(long, conflicts_with_all = ["comparison", "samples"])]
    no_comparison: bool,
    /// Measurements that `obsdiff bench --json FILE` wrote
    #[arg(long, value_name = "FILE")]
    bench: Vec<PathBuf>,
    /// Pairs of pictures on the page, at most
    #[arg(long, value_name = "COUNT", default_value_t = 12)]
    pictures: usize,
    /// Print the numbers as one JSON object
    #[arg(long)]
    json: bool,
    /// Replace an earlier report
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    device: DeviceArg,
}

/// Writes the page and prints where it is to `out`.
///
/// # Errors
/// [`Error::OutputExists`]; [`Error::Usage`] for a page that would be its own JSON; those of reading, of comparing and
/// of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let html = args.output.clone().unwrap_or_else(|| args.folder.join("report.html"));
    let numbers = html.with_extension("json");
    if numbers == html {
        return Err(Error::Usage(format!("--output is {}; expected a name such as report.html", html.display())));
    }
    if let Some(path) = [&html, &numbers].into_iter().find(|path| !args.overwrite && path.exists()) {
        return Err(Error::OutputExists { path: path.clone() });
    }
    let mut data = Data::open(&args.folder)?;
    args.bench.iter().try_for_each(|path| data.add_bench(path))?;
    // Its pictures are read below, so that it lives until then.
    let _scratch = match &args.comparison {
        Some(folder) => {
            data.add_comparison(folder)?;
            None
        }
        None if args.no_comparison => None,
        None => compare_few(args, &mut data)?,
    };
    let report = Report::new(&data);
    let shown = match &data.comparison {
        Some((folder, comparison)) => Shown::read(folder, comparison, args.pictures)?,
        None => Shown::default(),
    };
    let text = page(&report, &shown)?;
    write_atomic(&html, text.as_bytes())?;
    let object = json!(report);
    write_atomic(&numbers, format!("{object:#}\n").as_bytes())?;
    if args.json {
        return print_json(out, &object);
    }
    print(out, &told(&html, &numbers, text.len() as u64, &shown))
}

/// Makes a comparison for the report; what stands in the way is told, there and on stderr.
fn compare_few(args: &Args, data: &mut Data) -> Result<Option<Scratch>> {
    let bars = Bars::new();
    match showcase(data, args.samples.into(), args.device.engine()?, std::env::args().collect(), &bars)? {
        Outcome::Made(scratch) => {
            data.add_comparison(&scratch.comparison())?;
            Ok(Some(scratch))
        }
        Outcome::Impossible(reason) => {
            tracing::warn!("no pictures: {reason}");
            data.no_comparison = Some(reason);
            Ok(None)
        }
    }
}

fn told(html: &Path, numbers: &Path, bytes: u64, shown: &Shown) -> String {
    let pictures = match shown.of {
        0 => "no pictures".to_string(),
        of => format!("{} of {of} pairs of pictures", shown.shots.len()),
    };
    let size = super::table::bytes(bytes);
    format!("wrote {} ({size}, {pictures}) and {}\n", html.display(), numbers.display())
}
