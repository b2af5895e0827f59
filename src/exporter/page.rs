//! `status` for a browser: what needs attention first, then all sessions to search and sort. No
//! outside asset, usable without script, readable on a phone.

use maud::{Markup, html};

use crate::folder::Timestamp;
use crate::page_links::PageLinks;
use crate::policy::Tier;
use exporter_toolkit::page::{self, Column};

use super::status::{COPY, SessionRow};

const STYLE: &str = include_str!("page.css");
/// Stands where a tier would, for a folder that could not be looked at.
const UNSEEN: &str = "not readable";

const SESSION: Column = Column("Session", false, "One auth folder of one bot.");
const TIER: Column = Column(
    "Tier",
    false,
    "How bad the accumulated files are; worst first. A broken folder comes before all.",
);
const ACCUMULATED: Column = Column(
    "Accumulated files",
    false,
    "What the tiers count: all files, without the bookkeeping of Baileys 7 and without the pre-keys above the first 30 of one batch.",
);
const FILES: Column = Column("Files", true, "Everything in the folder.");
const REMOVABLE: Column = Column(
    "Removable",
    true,
    "Files that a clean-up could move into the quarantine now, were the bot disconnected.",
);
const PRE_KEYS: Column = Column(
    "Pre-keys / batch",
    true,
    "Pre-keys in the folder, and how many this Baileys makes at each login.",
);
const OLDEST_ACTIVE: Column = Column(
    "Oldest active session",
    true,
    "Of the conversations that were active within the last 14 days, the last sign of the one that is silent longest. A clean-up leaves all of these alone.",
);
const CONNECTION: Column = Column(
    "Connection",
    false,
    "Whether the bot is connected to WhatsApp; open it to see what that rests on. Unknown: no probe is configured, it gave no clear answer, or a file was written within the quiet window. Unknown counts as connected: nothing is cleaned.",
);
const CREDS: Column = Column(
    "creds.json",
    false,
    "Whether the bot's identity file can be read and belongs to a login.",
);

const LINKS: Column = Column(
    "More",
    false,
    "plan: what a clean-up would move, on the remediator's page. runbook: what to do in this tier. dashboard: the session over time.",
);

const COLUMNS: [Column; 9] = [
    SESSION,
    TIER,
    ACCUMULATED,
    FILES,
    REMOVABLE,
    PRE_KEYS,
    OLDEST_ACTIVE,
    CONNECTION,
    CREDS,
];
/// Those of the table of all sessions, and whether a phone leaves them out.
const COMPACT: [(Column, bool); 10] = [
    (SESSION, false),
    (TIER, false),
    (Column("Accumulated", true, ACCUMULATED.2), false),
    (FILES, true),
    (REMOVABLE, true),
    (PRE_KEYS, true),
    (OLDEST_ACTIVE, true),
    (CONNECTION, false),
    (CREDS, true),
    (LINKS, true),
];

/// At most so many sessions that need attention are shown in full.
const MOST_PROBLEMS: usize = 20;
/// With more sessions than this, the table of all of them is closed at first.
const OPEN_UP_TO: usize = 50;

/// The page at `/`. `notes` stand above the table; `metrics_path` is linked.
pub fn page(
    rows: &[SessionRow],
    notes: &[String],
    at: Timestamp,
    metrics_path: &str,
    links: &PageLinks<'_>,
) -> String {
    let sessions = if rows.len() == 1 {
        "1 session".to_owned()
    } else {
        format!("{} sessions", rows.len())
    };
    let title = format!("baileys_exporter: {sessions}{}", worst(rows));
    let has_links = rows.iter().any(|row| !more(row, links).is_empty());
    // The last column is that of the links.
    let columns = &COMPACT[..COMPACT.len() - usize::from(!has_links)];
    let body = html! {
        header {
            h1 { "Baileys auth folders" }
            p.sub { (sessions) ", seen at " (to_the_second(at)) ". This page renews itself every minute." }
        }
        @for message in notes { p.note { (message) } }
        @if let Some(worst) = rows.first() {
            (summary(rows))
            (problems(rows, worst, links))
            (page::find("Find a session"))
            details.all open[rows.len() <= OPEN_UP_TO] {
                summary { "All sessions (" (rows.len()) ")" }
                (page::compact_table(columns, &compact_rows(rows, links, has_links)))
            }
            (page::meanings(&columns.iter().map(|(column, _)| *column).collect::<Vec<_>>()))
        } @else {
            p.note { "No auth folder was found. Check " code { "--sessions.path" } " and the log." }
        }
        footer {
            @if let Some(remediator) = links.remediator() { a href=(remediator) { "Clean-ups" } " · " }
            // Relative, so that it leads right below a path of a reverse proxy, too.
            a href={ "." (metrics_path) } { "Metrics" }
            " · baileys_exporter " (env!("CARGO_PKG_VERSION"))
        }
    };
    page::document(&title, STYLE, Some(60), &body)
}

/// The sessions that need attention, worst first.
fn problems(rows: &[SessionRow], worst: &SessionRow, links: &PageLinks<'_>) -> Markup {
    let all: Vec<&SessionRow> = rows.iter().filter(|row| row.needs_attention()).collect();
    let shown = all.iter().take(MOST_PROBLEMS);
    html! {
        h2 { "Need attention (" (all.len()) ")" }
        @if all.is_empty() {
            p.sub { "No session is in the tier warning or above, every creds.json is fine, and no bot is known to be disconnected." }
        } @else {
            (legend(worst))
            @if links.remediator().is_none() {
                p.sub { "What a clean-up would move: run " code { "baileys_remediator plan SESSION" } " on this host." }
            }
            (page::table(&COLUMNS, &shown.map(|row| table_row(row, links)).collect::<Vec<_>>()))
            @if all.len() > MOST_PROBLEMS {
                p.sub { "The " (MOST_PROBLEMS) " worst; " (all.len() - MOST_PROBLEMS) " more are in the table of all sessions." }
            }
        }
    }
}

/// What else there is of a session: a word and where it leads.
fn more(row: &SessionRow, links: &PageLinks<'_>) -> Vec<(&'static str, String)> {
    let runbook = row.runbook().and_then(|name| links.runbook(name));
    let all = [
        ("plan", links.plan(&row.session)),
        ("runbook", runbook),
        ("dashboard", links.dashboard(&row.session)),
    ];
    all.into_iter()
        .filter_map(|(word, url)| Some((word, url?)))
        .collect()
}

fn more_links(more: &[(&str, String)]) -> Markup {
    html! {
        @for (nth, (word, url)) in more.iter().enumerate() { @if nth > 0 { " · " } a href=(url) { (word) } }
    }
}

/// The rows of the table of all sessions. What is said of those in the table above is not said
/// again.
fn compact_rows(rows: &[SessionRow], links: &PageLinks<'_>, has_links: bool) -> Vec<Markup> {
    let mut above = MOST_PROBLEMS;
    let rows = rows.iter().map(|row| {
        let is_above = row.needs_attention() && above > 0;
        above -= usize::from(is_above);
        compact_row(row, links, !is_above, has_links)
    });
    rows.collect()
}

fn compact_row(
    row: &SessionRow,
    links: &PageLinks<'_>,
    has_notes: bool,
    has_links: bool,
) -> Markup {
    let number = |n: Option<usize>| n.map_or("?".to_owned(), |n| n.to_string());
    html! {
        tr data-find {
            td.name {
                @if let Some(plan) = links.plan(&row.session) { a href=(plan) { (row.session) } }
                @else { (row.session) }
                @if has_notes {
                    @for said in row.error.iter().chain(&row.notes) { span.error { (said) } }
                }
            }
            td data-v=(row.badness()) { (chip(tier_word(row), row.tier)) }
            td.n { (number(row.accumulated_files)) }
            td.n.more { (number(row.files)) }
            td.n.more { (number(row.removable_files)) }
            td.n.more data-v=[row.pre_keys] { (row.pre_keys_word()) }
            td.n.more data-v=[row.oldest_active_session_seconds] { (row.oldest_active_word()) }
            td title=(row.connection_evidence.join("; ")) { (row.connection) }
            td.more { (row.creds.unwrap_or("?")) }
            @if has_links { td.more { (more_links(&more(row, links))) } }
        }
    }
}

/// The worst tier of all rows, for the title. A row without a tier, or with a broken
/// creds.json, may stand before it.
fn worst(rows: &[SessionRow]) -> String {
    let words = rows.iter().filter_map(|row| row.tier);
    let words = words.filter(|word| *word != COPY);
    let unseen = rows.iter().filter(|row| row.tier.is_none()).count();
    let worst = words.max_by_key(|word| Tier::from_label(word));
    match (worst, unseen) {
        (None, 0) => String::new(),
        (None, _) => format!(", {UNSEEN}"),
        (Some(tier), 0) => format!(", worst: {tier}"),
        (Some(tier), unseen) => format!(", worst: {tier}, {unseen} {UNSEEN}"),
    }
}

/// `2026-01-02 03:04:05 UTC`.
fn to_the_second(at: Timestamp) -> String {
    let text = at.rfc3339();
    let seconds = text.get(..19).unwrap_or(&text);
    format!("{} UTC", seconds.replace('T', " "))
}

fn tier_word(row: &SessionRow) -> &'static str {
    row.tier.unwrap_or(UNSEEN)
}

fn chip(word: &str, tier: Option<&str>) -> Markup {
    html! { span class={ "tier " (tier.unwrap_or("unseen")) } { (word) } }
}

/// How many sessions are in which tier, worst first.
fn summary(rows: &[SessionRow]) -> Markup {
    let count = |tier: Option<&str>| rows.iter().filter(|row| row.tier == tier).count();
    let worst_first = Tier::ALL
        .into_iter()
        .rev()
        .map(Tier::label)
        .chain(["normal", COPY]);
    let broken = rows
        .iter()
        .filter(|row| row.tier.is_some() && !row.are_creds_fine())
        .count();
    html! {
        p.summary {
            @for tier in std::iter::once(None).chain(worst_first.map(Some)) {
                @if count(tier) > 0 { span.tally { (chip(tier.unwrap_or(UNSEEN), tier)) " " (count(tier)) } }
            }
            @if broken > 0 { span.bad { "creds.json not ok: " (broken) } }
        }
    }
}

fn legend(row: &SessionRow) -> Markup {
    let [warning, cleanup, emergency, fatal] = row.thresholds;
    html! {
        p.legend {
            span.bar { (ticks(row)) }
            span {
                "Accumulated files; the marks are " b { "warning " (warning) } ", " b { "clean-up " (cleanup) } " and "
                b { "emergency " (emergency) } ". The bar is full at " b { "fatal " (fatal) } "."
            }
        }
    }
}

fn table_row(row: &SessionRow, links: &PageLinks<'_>) -> Markup {
    let number = |n: Option<usize>| n.map_or("?".to_owned(), |n| n.to_string());
    let creds = row.creds.unwrap_or("?");
    let oldest = row.oldest_active_word();
    let label = |column: &Column| column.0;
    html! {
        tr data-session=(row.session) data-tier=(row.tier_word()) {
            td.name {
                (row.session)
                @let more = more(row, links);
                @if !more.is_empty() { span.links { (more_links(&more)) } }
                // Why it is here, where the tier does not say.
                @if !row.are_creds_fine() && row.creds.is_some() { span.error { "creds.json: " (creds) } }
                @else if row.connection == "disconnected" { span.error { "the bot is disconnected" } }
                @for said in row.error.iter().chain(&row.notes) { span.error { (said) } }
            }
            td data-label=(label(&TIER)) { (chip(tier_word(row), row.tier)) }
            td data-label=(label(&ACCUMULATED)) { span.gauge { (bar(row)) } }
            td.n data-label=(label(&FILES)) { (number(row.files)) }
            td.n data-label=(label(&REMOVABLE)) { (number(row.removable_files)) }
            td.n data-label=(label(&PRE_KEYS)) {
                span { (row.pre_keys_word()) }
                @if row.pre_key_batch_ambiguous == Some(true) { span.error { "set the batch" } }
            }
            td.n data-label=(label(&OLDEST_ACTIVE)) {
                (oldest) @if row.oldest_active_session_seconds.is_some() { " ago" }
            }
            td data-label=(label(&CONNECTION)) {
                details.why {
                    summary { span class={ "dot " (row.connection) } {} (row.connection) }
                    ul { @for evidence in &row.connection_evidence { li { (evidence) } } }
                }
            }
            td data-label=(label(&CREDS)) { span class=[(!row.are_creds_fine()).then_some("bad")] { (creds) } }
        }
    }
}

/// A bar of the accumulated files against warning, cleanup and emergency; full at fatal.
fn bar(row: &SessionRow) -> Markup {
    let [.., fatal] = row.thresholds;
    let word = row
        .accumulated_files
        .map_or("?".to_owned(), |n| n.to_string());
    html! {
        span.count { (word) }
        span.bar role="img" aria-label={ (word) " of " (fatal) " files" } {
            @if let Some(files) = row.accumulated_files {
                span class={ "fill " (row.tier_word()) } style=(format!("width:{:.1}%", percent(files, fatal))) {}
            }
            (ticks(row))
        }
    }
}

fn ticks(row: &SessionRow) -> Markup {
    let [warning, cleanup, emergency, fatal] = row.thresholds;
    html! {
        @for (at, name) in [(warning, "warning"), (cleanup, "cleanup"), (emergency, "emergency")] {
            span.tick style=(format!("left:{:.1}%", percent(at, fatal))) title=(format!("{name}: {at} files")) {}
        }
    }
}

fn percent(files: usize, fatal: usize) -> f64 {
    (files as f64 / fatal.max(1) as f64 * 100.0).min(100.0)
}
