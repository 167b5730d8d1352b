//! Horizontal bars with their names left and their values right.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Frame, INK, MUTED, PALETTE, TEXT, anchored, font, px, svg};
use crate::error::Result;
use crate::report::html::element::{Html, el};

/// One bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Empty: it belongs to the bar above.
    pub name: String,
    pub value: f64,
    /// What is written beside it.
    pub text: String,
    /// Index of its colour.
    pub colour: usize,
}

/// CSS pixels per bar, between groups, and above and below all.
const BAR: i32 = 15;
const GAP: i32 = 9;
const MARGIN: i32 = 4;

/// The height of a drawing of `bars`.
pub fn height(bars: &[Bar]) -> i32 {
    let groups = bars.iter().filter(|bar| !bar.name.is_empty()).count() as i32;
    2 * MARGIN + bars.len() as i32 * BAR + groups * GAP
}

/// Draws bars as long as their values; `names` and `texts` are the widths left and right of them.
pub fn bars(width: i32, label: &str, bars: &[Bar], names: i32, texts: i32) -> Result<Html> {
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    svg(Frame { width, height: height(bars) }, label, |area| {
        let room = f64::from(px(width - names - texts));
        let left = px(names);
        let mut top = px(MARGIN);
        for bar in bars {
            let middle = |top: i32| top + px(BAR) / 2;
            if !bar.name.is_empty() {
                top += px(GAP);
                let style = anchored(font(TEXT, INK), HPos::Right, VPos::Center);
                area.draw(&Text::new(bar.name.clone(), (left - px(8), middle(top)), style))?;
            }
            let length = (room * bar.value.max(0.0) / longest).round() as i32;
            let (from, to) = ((left, top + px(1)), (left + length.max(px(1)), top + px(BAR) - px(1)));
            area.draw(&Rectangle::new([from, to], PALETTE[bar.colour % PALETTE.len()].filled()))?;
            let style = anchored(font(TEXT - 1, MUTED), HPos::Left, VPos::Center);
            area.draw(&Text::new(bar.text.clone(), (left + length + px(6), middle(top)), style))?;
            top += px(BAR);
        }
        Ok(())
    })
}

/// The names of the first colours.
pub fn key_of_bars(names: &[&str]) -> Html {
    let entry = |(index, name): (usize, &&str)| {
        let swatch = el("i").class(&format!("s{index}")).attr("aria-hidden", "true").text("■");
        el("span").child(swatch).text(&format!(" {name}"))
    };
    el("p").class("key").children(names.iter().enumerate().map(entry)).into()
}
