//! Points over places, joined by lines.

use plotters::prelude::*;

use super::{Axis, Drawn, Frame, GRID, INK, MUTED, PALETTE, TEXT, font, px, svg};
use crate::error::Result;
use crate::report::html::element::{Html, el};

/// How points look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// The n-th colour and its marker.
    Series(usize),
    /// As [`Marker::Series`], points alone.
    Points(usize),
}

/// Points (place, value) in rising order of places.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub marker: Marker,
    pub points: Vec<(f64, f64)>,
}

/// Glyphs of the markers, in the order of the palette.
const GLYPHS: [&str; 5] = ["●", "▲", "■", "○", "✕"];

impl Marker {
    fn index(self) -> usize {
        match self {
            Marker::Series(index) | Marker::Points(index) => index % PALETTE.len(),
        }
    }
}

/// The names of series beside their markers.
pub fn key(series: &[Series]) -> Html {
    let entry = |series: &Series| {
        let index = series.marker.index();
        el("span")
            .child(el("i").class(&format!("s{index}")).attr("aria-hidden", "true").text(GLYPHS[index]))
            .text(&format!(" {}", series.name))
    };
    el("p").class("key").children(series.iter().map(entry)).into()
}

/// Draws series over the axes `x` and `y`; `axes` are their names.
pub fn curves(frame: Frame, label: &str, x: &Axis, y: &Axis, axes: [&str; 2], series: &[Series]) -> Result<Html> {
    svg(frame, label, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(px(8))
            .margin_right(px(10))
            .x_label_area_size(px(40))
            .y_label_area_size(px(62))
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID.stroke_width(px(1) as u32))
            .axis_style(MUTED.stroke_width(px(1) as u32))
            .label_style(font(TEXT, INK))
            .axis_desc_style(font(TEXT, INK))
            .x_label_formatter(&|value| x.label(value))
            .y_label_formatter(&|value| y.label(value))
            .x_desc(axes[0])
            .y_desc(axes[1])
            .set_all_tick_mark_size(px(4))
            .draw()?;
        for one in series {
            let colour = PALETTE[one.marker.index()];
            // What is not positive has no place on a logarithmic axis.
            let shown = |(_, value): &&(f64, f64)| value.is_finite() && *value >= y.low();
            let points: Vec<(f64, f64)> = one.points.iter().filter(shown).copied().collect();
            if matches!(one.marker, Marker::Series(_)) {
                chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(line_width(&points))))?;
            }
            let size = if points.len() > 80 { 2 } else { 3 };
            draw_markers(&mut chart, one.marker.index(), size, points)?;
        }
        Ok(())
    })
}

fn line_width(points: &[(f64, f64)]) -> u32 {
    (if points.len() > 80 { px(1) } else { px(3) / 2 }) as u32
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn draw_markers(chart: &mut Chart, index: usize, size: i32, points: Vec<(f64, f64)>) -> Drawn {
    let (colour, r) = (PALETTE[index], px(size));
    let (filled, thin) = (colour.filled(), colour.stroke_width(px(3) as u32 / 2));
    let points = points.into_iter().map(EmptyElement::at);
    match index {
        0 => chart.draw_series(points.map(|at| at + Circle::new((0, 0), r, filled))).map(drop),
        1 => {
            let corners = vec![(0, -r * 5 / 4), (-r * 5 / 4, r), (r * 5 / 4, r)];
            chart.draw_series(points.map(|at| at + Polygon::new(corners.clone(), filled))).map(drop)
        }
        2 => chart.draw_series(points.map(|at| at + Rectangle::new([(-r, -r), (r, r)], filled))).map(drop),
        3 => chart.draw_series(points.map(|at| at + Circle::new((0, 0), r, thin))).map(drop),
        _ => {
            let stroke = |from, to| PathElement::new(vec![from, to], thin);
            let cross = |at| at + stroke((-r, -r), (r, r)) + stroke((-r, r), (r, -r));
            chart.draw_series(points.map(cross)).map(drop)
        }
    }
}
