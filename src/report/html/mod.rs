//! The report as one HTML page that needs nothing else: style, plots and pictures are inside, and no script.
//!
//! ```text
//! facts, pictures -> sections (plots, numbers) -> page
//! ```

mod element;
mod numbers;
mod page;
mod pictures;
mod plots;
mod sections;

use super::facts::Report;
use crate::error::Result;

pub use pictures::{Shot, Shown};

/// The page of a report; `shown` are the pictures to embed.
///
/// # Errors
/// [`crate::Error::Runtime`] if a plot cannot be drawn.
pub fn page(report: &Report, shown: &Shown) -> Result<String> {
    let sections = sections::all(report, shown)?;
    Ok(page::page(report, &sections))
}
