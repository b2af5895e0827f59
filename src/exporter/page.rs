//! The table of `status` for a browser: no script, no outside asset, readable on a phone.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::folder::Timestamp;

use super::status::Row;

const STYLE: &str = include_str!("page.css");

/// The page at `/`. `metrics_path` is linked.
pub fn page(rows: &[Row], skipped: &[String], at: Timestamp, metrics_path: &str) -> String {
    let worst = rows.iter().map(|row| row.tier_word()).next().unwrap_or("none");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="60";
                title { "baileys_exporter: " (rows.len()) " sessions, worst " (worst) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Baileys auth folders" }
                    p.sub { (rows.len()) " sessions at " (at.rfc3339()) ", renewed every minute" }
                }
                @for message in skipped { p.note { (message) } }
                @if rows.is_empty() {
                    p.note { "No auth folder was found. Check " code { "--sessions.path" } " and the log." }
                } @else { (table(rows)) }
                footer {
                    a href=(metrics_path) { "Metrics" } " · baileys_exporter " (env!("CARGO_PKG_VERSION"))
                }
            }
        }
    }
    .into_string()
}

fn table(rows: &[Row]) -> Markup {
    html! {
        table {
            thead { tr {
                th { "Session" } th { "Tier" } th { "Accumulated files" } th.n { "Files" } th.n { "Removable" }
                th.n { "Pre-keys / batch" } th.n { "Oldest active session" } th { "Connection" } th { "creds.json" }
            } }
            tbody { @for row in rows { (table_row(row)) } }
        }
    }
}

fn table_row(row: &Row) -> Markup {
    let number = |n: Option<usize>| n.map_or("?".to_owned(), |n| n.to_string());
    let creds = row.creds.unwrap_or("?");
    html! {
        tr data-session=(row.session) data-tier=(row.tier_word()) {
            td.name { (row.session) @if let Some(error) = &row.error { span.error { (error) } } }
            td data-label="Tier" { span class={ "tier " (row.tier.unwrap_or("unseen")) } { (row.tier_word()) } }
            td data-label="Accumulated files" { (bar(row)) }
            td.n data-label="Files" { (number(row.files)) }
            td.n data-label="Removable" { (number(row.removable_files)) }
            td.n data-label="Pre-keys / batch" {
                (row.pre_keys_word())
                @if row.pre_key_batch_ambiguous == Some(true) { span.error { "set the batch" } }
            }
            td.n data-label="Oldest active session" { (row.oldest_active_word()) }
            td data-label="Connection" title=(row.connection_evidence.join("; ")) {
                span class={ "dot " (row.connection) } {} (row.connection)
            }
            td data-label="creds.json" class=[(creds != "ok").then_some("bad")] { (creds) }
        }
    }
}

/// A bar of the accumulated files against warning, cleanup and emergency; full at fatal.
fn bar(row: &Row) -> Markup {
    let [warning, cleanup, emergency, fatal] = row.thresholds;
    let at = |files: usize| format!("left:{:.1}%", percent(files, fatal));
    html! {
        span.count { (row.accumulated_files.map_or("?".to_owned(), |n| n.to_string())) }
        span.bar role="img" aria-label={ "against " (warning) ", " (cleanup) " and " (emergency) } {
            @if let Some(files) = row.accumulated_files {
                span class={ "fill " (row.tier_word()) } style=(format!("width:{:.1}%", percent(files, fatal))) {}
            }
            @for (tick, name) in [(warning, "warning"), (cleanup, "cleanup"), (emergency, "emergency")] {
                span.tick style=(at(tick)) title=(format!("{name} {tick}")) {}
            }
        }
    }
}

fn percent(files: usize, fatal: usize) -> f64 {
    (files as f64 / fatal.max(1) as f64 * 100.0).min(100.0)
}
