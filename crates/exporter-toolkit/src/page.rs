//! What pages share: one document without outside asset, tables that become cards on a phone,
//! by day and by night. A few lines of script search and sort a long list; without them it is
//! all there.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");
/// Searches what [`find`] stands above, and sorts tables of class `sortable`.
pub(crate) const SCRIPT: &str = include_str!("page.js");

/// A column of a table: its heading, whether it holds numbers, and what it means. Cells
/// carry the heading as `data-label`, which stands before them where the heading has no room.
#[derive(Clone, Copy, Debug)]
pub struct Column(pub &'static str, pub bool, pub &'static str);

/// A whole document; `more_style` comes after the shared style, and `refresh` is the number
/// of seconds after which the page renews itself.
pub fn document(title: &str, more_style: &str, refresh: Option<u32>, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = refresh { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(more_style)) }
            }
            body { (body) script { (PreEscaped(SCRIPT)) } }
        }
    }
    .into_string()
}

/// A search box for everything with the attribute `data-find`. The script shows it: without
/// script it could do nothing.
pub fn find(what: &str) -> Markup {
    html! {
        p.find hidden {
            label { (what) " " input type="search" autocomplete="off" spellcheck="false"; }
            " " span role="status" {}
        }
    }
}

/// A dense table that stays one on a phone: only what is not of class `more` is shown there.
/// A cell with `data-v` is sorted by that. `more` says which columns a phone leaves out.
pub fn compact_table(columns: &[(Column, bool)], rows: &[Markup]) -> Markup {
    html! {
        table.compact.sortable {
            thead { tr {
                @for (Column(heading, numbers, meaning), more) in columns {
                    th scope="col" class=[class(*numbers, *more)] title=(meaning) { (heading) }
                }
            } }
            tbody { @for row in rows { (row) } }
        }
    }
}

fn class(numbers: bool, more: bool) -> Option<&'static str> {
    match (numbers, more) {
        (true, true) => Some("n more"),
        (true, false) => Some("n"),
        (false, true) => Some("more"),
        (false, false) => None,
    }
}

/// A table over rows that are written already.
pub fn table(columns: &[Column], rows: &[Markup]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                @for Column(heading, numbers, meaning) in columns {
                    th scope="col" class=[numbers.then_some("n")] title=(meaning) { (heading) }
                }
            } }
            tbody { @for row in rows { (row) } }
        }
    }
}

/// The titles of the headings again, for screens that have no pointer to rest on them.
pub fn meanings(columns: &[Column]) -> Markup {
    html! {
        details.meanings {
            summary { "What the columns mean" }
            dl { @for Column(heading, _, meaning) in columns { dt { (heading) } dd { (meaning) } } }
        }
    }
}
