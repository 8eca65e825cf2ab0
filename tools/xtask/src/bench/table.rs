//! A table for people: a label a row, a column a VMM.

use std::fmt::Write;

/// Lays rows out with each column as wide as its widest cell.
pub fn lay_out(rows: &[(&str, Vec<String>)]) -> String {
    let label = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let columns = rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|(_, cells)| cells.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (name, cells) in rows {
        let _ = write!(text, "{name:<label$}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}
