//! Aligned text tables.

use std::fmt;

pub use crate::units::{bytes, count, seconds};

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows of text in columns as wide as their widest entry.
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
    has_heading: bool,
}

impl Table {
    /// With the heading of each column; no heading line if all are empty.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let heading: Vec<String> = columns.iter().map(|(name, _)| name.to_string()).collect();
        let has_heading = heading.iter().any(|name| !name.is_empty());
        let align = columns.iter().map(|&(_, align)| align).collect();
        Table { align, rows: if has_heading { vec![heading] } else { Vec::new() }, has_heading }
    }

    /// Adds a row with one text per column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for ((cell, &width), align) in row.iter().zip(&widths).zip(&self.align) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
            if self.has_heading && index == 0 {
                writeln!(f, "{}", "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)))?;
            }
        }
        Ok(())
    }
}
