//! What pages share: one document without script or outside asset, tables that become
//! cards on a phone, by day and by night.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");

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
            body { (body) }
        }
    }
    .into_string()
}

/// A table over rows that are written already.
pub fn table(columns: &[Column], rows: &[Markup]) -> Markup {
    html! {
        table {
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
