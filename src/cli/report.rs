//! `obsdiff report`: one page about a pruned model.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{print, print_json};
use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::report::data::Data;
use crate::report::facts::Report;
use crate::report::html::{Shown, page};

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
    /// Make no comparison where --comparison names none
    #[arg(long, conflicts_with = "comparison")]
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
}

/// Writes the page and prints where it is to `out`.
///
/// # Errors
/// [`Error::OutputExists`]; [`Error::Usage`] for a page that would be its own JSON; those of reading and writing.
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
    if let Some(folder) = &args.comparison {
        data.add_comparison(folder)?;
    }
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

fn told(html: &Path, numbers: &Path, bytes: u64, shown: &Shown) -> String {
    let pictures = match shown.of {
        0 => "no pictures".to_string(),
        of => format!("{} of {of} pairs of pictures", shown.shots.len()),
    };
    let size = super::table::bytes(bytes);
    format!("wrote {} ({size}, {pictures}) and {}\n", html.display(), numbers.display())
}
