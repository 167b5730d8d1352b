//! The page of `obsdiff report`: what it says, that it needs nothing else, and how a browser shows it.

mod support;

#[path = "report_page/browser.rs"]
mod browser;
#[path = "report_page/common.rs"]
mod common;
#[path = "report_page/content.rs"]
mod content;
#[path = "report_page/own.rs"]
mod own;
#[path = "report_page/pivots.rs"]
mod pivots;
#[path = "report_page/refusals.rs"]
mod refusals;
