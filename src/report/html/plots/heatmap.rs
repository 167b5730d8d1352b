//! A map of cells, dark for low and bright for high values, with a scale below.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Drawn, Frame, INK, TEXT, anchored, font, px, svg};
use crate::error::Result;
use crate::report::html::element::Html;

/// Cells by row and column.
#[derive(Debug, Clone)]
pub struct HeatMap {
    pub rows: Vec<String>,
    /// Indices of the blocks.
    pub columns: Vec<usize>,
    /// `values[row][column]`, in [0, 1].
    pub values: Vec<Vec<Option<f64>>>,
}

/// CSS pixels of the column labels, their name and the scale below the cells.
const BELOW: i32 = 74;
const ROW: i32 = 20;

impl HeatMap {
    /// The height of its drawing.
    pub fn height(&self) -> i32 {
        self.rows.len() as i32 * ROW + BELOW
    }
}

/// Draws a map.
pub fn heatmap(width: i32, label: &str, map: &HeatMap) -> Result<Html> {
    let text = if width < 500 { TEXT - 2 } else { TEXT };
    let longest = map.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0) as i32;
    let left = px(longest * text * 11 / 20 + 10);
    svg(Frame { width, height: map.height() }, label, |area| {
        let columns = map.columns.len().max(1) as i32;
        // Cells are not wider than three times their height, and as wide as there is room.
        let cell = ((px(width) - left - px(8)) / columns).min(px(ROW) * 4);
        for (row, name) in map.rows.iter().enumerate() {
            let top = row as i32 * px(ROW);
            let style = anchored(font(text, INK), HPos::Right, VPos::Center);
            area.draw(&Text::new(name.clone(), (left - px(6), top + px(ROW) / 2), style))?;
            for (column, value) in map.values[row].iter().enumerate() {
                let Some(value) = value else { continue };
                let corner = (left + column as i32 * cell, top);
                draw_cell(area, corner, cell, *value)?;
            }
        }
        let bottom = map.rows.len() as i32 * px(ROW);
        let every = (px(24) / cell.max(1) + 1).max(1) as usize;
        let every = if every > 2 { every.next_multiple_of(5) } else { every };
        for (column, block) in map.columns.iter().enumerate() {
            if block.is_multiple_of(every) {
                let at = (left + column as i32 * cell + cell / 2, bottom + px(5));
                area.draw(&Text::new(block.to_string(), at, anchored(font(text, INK), HPos::Center, VPos::Top)))?;
            }
        }
        let middle = left + cell * columns / 2;
        let style = anchored(font(text, INK), HPos::Center, VPos::Top);
        area.draw(&Text::new("block", (middle, bottom + px(22)), style))?;
        draw_scale(area, (left, bottom + px(46)), text)
    })
}

/// A cell, with its value in it if there is room.
fn draw_cell(area: &Area, (x, y): (i32, i32), width: i32, value: f64) -> Drawn {
    let gap = if width > px(8) { px(1) } else { px(1) / 2 };
    let corners = [(x, y), (x + width - gap, y + px(ROW) - px(1))];
    area.draw(&Rectangle::new(corners, colour(value).filled()))?;
    if width >= px(34) {
        let ink = if value > 0.6 { RGBColor(0, 0, 1) } else { RGBColor(255, 255, 254) };
        let style = anchored(font(TEXT - 1, ink), HPos::Center, VPos::Center);
        area.draw(&Text::new(format!("{:.1}", 100.0 * value), (x + width / 2, y + px(ROW) / 2), style))?;
    }
    Ok(())
}

/// The colours from 0 % to 100 %.
fn draw_scale(area: &Area, (x, y): (i32, i32), text: i32) -> Drawn {
    const STEPS: i32 = 50;
    let step = px(3);
    for index in 0..STEPS {
        let corners = [(x + index * step, y), (x + (index + 1) * step + px(1) / 2, y + px(9))];
        area.draw(&Rectangle::new(corners, colour(f64::from(index) / f64::from(STEPS - 1)).filled()))?;
    }
    for (share, position) in [(0, HPos::Left), (50, HPos::Center), (100, HPos::Right)] {
        let style = anchored(font(text - 1, INK), position, VPos::Top);
        area.draw(&Text::new(format!("{share} %"), (x + STEPS * step * share / 100, y + px(12)), style))?;
    }
    Ok(())
}

/// The colour of a share; readable without colour vision, as its lightness rises with the value.
fn colour(value: f64) -> RGBColor {
    ViridisRGB.get_color(value.clamp(0.0, 1.0))
}
