//! A table of aligned columns without rules, as `kubectl` and `docker` print them.

use std::fmt;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::neutral::{fit, neutral_line};

/// A cell that is not the last of its row is cut to this many terminal columns.
const MAX_COLUMNS: usize = 48;

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
    right: bool,
}

/// A cell without colour.
pub fn plain(text: impl Into<String>) -> Cell {
    Cell {
        text: neutral_line(&text.into()).into_owned(),
        style: Style::new(),
        right: false,
    }
}

/// A number, aligned to the right.
pub fn right(text: impl Into<String>) -> Cell {
    Cell {
        right: true,
        ..plain(text)
    }
}

/// A cell with a colour.
pub fn styled(text: impl Into<String>, style: Style) -> Cell {
    Cell {
        style,
        ..plain(text)
    }
}

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub fn new(head: &[&str]) -> Self {
        Self {
            head: head
                .iter()
                .map(|text| styled(*text, Style::new().bold()))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, mut cells: Vec<Cell>) {
        let last = cells.len().saturating_sub(1);
        for cell in cells.iter_mut().take(last) {
            cell.text = fit(&cell.text, MAX_COLUMNS).into_owned();
        }
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = |index: usize| self.rows.iter().filter_map(move |row| row.get(index));
        for (number, row) in std::iter::once(&self.head).chain(&self.rows).enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            for (index, cell) in row.iter().enumerate() {
                let widest = self
                    .head
                    .iter()
                    .skip(index)
                    .take(1)
                    .chain(column(index))
                    .map(|c| c.text.width())
                    .max();
                let pad = " ".repeat(widest.unwrap_or(0).saturating_sub(cell.text.width()));
                let is_right = cell.right || column(index).next().is_some_and(|c| c.right);
                let (before, after) = if is_right {
                    (pad.as_str(), "")
                } else {
                    ("", pad.as_str())
                };
                let gap = if index == 0 { "" } else { "  " };
                let is_last = index + 1 == row.len();
                let after = if is_last { "" } else { after };
                write!(
                    f,
                    "{gap}{before}{}{}{}{after}",
                    cell.style.render(),
                    cell.text,
                    cell.style.render_reset()
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
