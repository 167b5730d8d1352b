//! Plots as SVG inside the page. Colours are names that the style sheet turns into those of light or dark mode.

mod axis;
mod bars;
mod curves;
mod heatmap;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use axis::Axis;
pub use bars::{Bar, bars, key_of_bars};
pub use curves::{Marker, Series, curves, key};
pub use heatmap::{HeatMap, heatmap};

use super::element::{Element, Html, el};
use crate::error::{Error, Result};

/// Units of the drawing per CSS pixel: plotters places everything on whole units.
const SCALE: i32 = 4;
/// Font size of labels in CSS pixels.
const TEXT: i32 = 12;
/// plotters divides font sizes by this when it writes SVG.
const FONT_FACTOR: f64 = 1.24;
const FONT: &str = "system-ui, sans-serif";

/// Text and axes; the style sheet knows these colours.
const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const MUTED: RGBColor = RGBColor(0x6E, 0x77, 0x81);
const GRID: RGBColor = RGBColor(0xE3, 0xE6, 0xEA);
/// Okabe and Ito's colours, which people with any colour vision tell apart; every series has its own marker besides.
const PALETTE: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xB8, 0x86, 0x0B),
];

/// A drawing of a fixed size in CSS pixels.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub width: i32,
    pub height: i32,
}

/// The width of a plot on wide screens, of one on phones, and of one of two side by side.
pub const WIDE: i32 = 920;
pub const NARROW: i32 = 356;
pub const PANEL: i32 = 400;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// One plot, whose `label` says what it shows to those who do not see it.
fn svg(frame: Frame, label: &str, draw: impl FnOnce(&Area) -> Drawn) -> Result<Html> {
    let mut text = String::new();
    {
        let size = ((frame.width * SCALE) as u32, (frame.height * SCALE) as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area)
            .and_then(|()| area.present())
            .map_err(|error| Error::Runtime(format!("a plot could not be drawn: {error}")))?;
    }
    // The library's opening tag has a fixed size and no label; ours replaces it.
    let inner = text.split_once('>').map_or("", |(_, inner)| inner);
    let inner = inner.trim_end().strip_suffix("</svg>").unwrap_or(inner);
    let element = el("svg")
        .attr("viewBox", &format!("0 0 {} {}", frame.width * SCALE, frame.height * SCALE))
        .attr("role", "img")
        .attr("aria-label", label)
        .child(el("title").text(label))
        .child(Html::trusted(inner.into()));
    Ok(element.into())
}

/// A plot in two sizes, of which the style sheet shows the one that fits the screen; heights go with them.
pub fn responsive(heights: [i32; 2], draw: impl Fn(Frame) -> Result<Html>) -> Result<Html> {
    let [wide, narrow] = heights;
    let mut both = Html::default();
    both.push(el("div").class("wide").child(draw(Frame { width: WIDE, height: wide })?));
    both.push(el("div").class("narrow").child(draw(Frame { width: NARROW, height: narrow })?));
    Ok(both)
}

/// A plot with a heading above and what its axes are below.
pub fn figure(title: &str, plot: Html, key: Option<Html>, caption: &str) -> Element {
    let mut figure = el("figure");
    if !title.is_empty() {
        figure = figure.child(el("h3").text(title));
    }
    if let Some(key) = key {
        figure = figure.child(key);
    }
    figure.child(plot).child(el("figcaption").text(caption))
}

fn px(pixels: i32) -> i32 {
    pixels * SCALE
}

fn font(pixels: i32, colour: RGBColor) -> TextStyle<'static> {
    let size = f64::from(px(pixels)) * FONT_FACTOR;
    (FontFamily::Name(FONT), size).into_font().color(&colour)
}

fn anchored(style: TextStyle<'static>, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    style.pos(Pos::new(horizontal, vertical))
}
