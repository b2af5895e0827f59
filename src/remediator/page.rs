//! The pages of the remediator: the last runs, one run, and the plan of a session. They
//! change nothing and show no file name and no secret.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::cli::examples::grouped;
use crate::connection::State;
use crate::folder::Timestamp;
use crate::page_links::{PageLinks, plan_query};
use exporter_toolkit::page::{self, Column};

use super::overview::{Overview, StatusNoticeKind};
use super::plan_view::{PlanResult, PlanView};
use super::privileges::{FindingGroup, Weight};
use super::store::audit::{FileShown, RunDetails};
use super::store::pause::PauseState;
use super::store::runs::{Action, Run, Status};
use super::store::unstarted::UnstartedAlert;

const STYLE: &str = include_str!("page.css");
/// Most sessions that the page lists.
const MAX_SESSIONS: usize = 1_000;
/// With more sessions than this, their list is closed at first.
const OPEN_UP_TO: usize = 50;
/// Most rows of the list of runs.
const MAX_RUNS: usize = 50;
/// Most notices that the page lists.
const MAX_NOTICES: usize = 50;
/// Most files of one run that the page lists.
const MAX_FILES_SHOWN: usize = 500;

const SESSION: Column = Column("Session", false, "One auth folder of one bot.");
const ASKED: Column = Column("Asked for (UTC)", false, "When the run was asked for.");
const ACTION: Column = Column(
    "Action",
    false,
    "plan: a dry run. cleanup: moves files while the bot is disconnected. emergency: the same, for an alert of the emergency tier; may restart the bot. undo: puts files back. restore: puts a copy of creds.json back.",
);
const BY: Column = Column(
    "Requested by",
    false,
    "The fingerprint of the alert, or the operator who ran the command.",
);
const STATUS: Column = Column(
    "Status",
    false,
    "refused: a guard did not allow the run, and no file was touched. failed: an error; each file is still in exactly one place.",
);
const REASON: Column = Column(
    "Reason",
    false,
    "Why the run was refused or failed, or a note.",
);
const FILES: Column = Column(
    "Files",
    true,
    "Files moved or put back. For a plan: files that would be moved. For a restore: the creds.json that was put back.",
);
const ACCUMULATED: Column = Column(
    "Accumulated",
    true,
    "Files that the tiers count, before and after. See the exporter's page.",
);
const NUMBER: Column = Column("Run", true, "Opens the record of the run.");
const RUNS: [Column; 9] = [
    SESSION,
    ASKED,
    ACTION,
    BY,
    STATUS,
    REASON,
    FILES,
    ACCUMULATED,
    NUMBER,
];

const OUTCOME: Column = Column(
    "Why no run",
    false,
    "in_progress: a run waits or is under way. cooldown: a run succeeded within 6 hours. retry_later: a run was refused or failed within 4 minutes. unknown_session: no folder has this name.",
);
const UNSTARTED: [Column; 6] = [
    SESSION,
    ACTION,
    OUTCOME,
    Column("Alert", false, "The alert's fingerprint."),
    Column("Last (UTC)", false, "When the alert last arrived."),
    Column("Times", true, "How often the alert arrived."),
];

/// The content of the front page.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// Names of the sessions.
    pub sessions: Vec<String>,
    /// The state of the remediator.
    pub overview: Overview,
    /// Runs that wait or are under way, oldest first.
    pub waiting: Vec<Run>,
    /// The newest runs, newest first. Equal refusals are shown as one row.
    pub runs: Vec<Run>,
    /// Alerts that started no run.
    pub unstarted: Vec<UnstartedAlert>,
    /// Findings of the permission check.
    pub privileges: Vec<FindingGroup>,
}

/// The page at `/`.
pub fn front(front: &Front, at: Timestamp, links: &PageLinks<'_>) -> String {
    let count = match front.sessions.len() {
        1 => "1 session".to_owned(),
        more => format!("{more} sessions"),
    };
    let body = html! {
        header {
            h1 { "Baileys remediator" }
            p.sub { (count) ", seen at " (to_the_second(&at.rfc3339())) ". This page reloads every minute. It changes nothing." }
        }
        (summary(&front.overview))
        @for group in &front.privileges { (privilege(group)) }
        h2 { "Waiting and under way" }
        @if front.waiting.is_empty() { p.sub #idle { "No run waits." } }
        @else { (runs(&front.waiting)) }
        h2 { "Last runs" }
        @if front.runs.is_empty() { p.sub { "No run yet. An alert starts one, or the command " code { "baileys_remediator clean SESSION" } "." } }
        @else { (folded_runs(&front.runs)) (page::meanings(&RUNS)) }
        @if !front.unstarted.is_empty() {
            h2 { "Alerts that started no run" }
            (page::table(&UNSTARTED, &front.unstarted.iter().map(unstarted).collect::<Vec<_>>()))
            (page::meanings(&UNSTARTED))
        }
        h2 { "What would a clean-up do?" }
        @if front.sessions.is_empty() {
            p.note { "No auth folder was found. Check " code { "--sessions.path" } " and the log." }
        } @else {
            p.sub { "The plan of a session is made when you open it. No file is moved." }
            (page::find("Find a session"))
            details.all open[front.sessions.len() <= OPEN_UP_TO] {
                summary { "All sessions (" (front.sessions.len()) ")" }
                ul.sessions {
                    @for session in front.sessions.iter().take(MAX_SESSIONS) {
                        li data-find { a href={ "./" (plan_query(session)) } { (session) } }
                    }
                }
            }
            @if front.sessions.len() > MAX_SESSIONS {
                p.sub { "and " (front.sessions.len() - MAX_SESSIONS) " more: " code { "baileys_remediator plan SESSION" } }
            }
        }
        (footer(links))
    };
    page::document(
        &format!("baileys_remediator: {count}"),
        STYLE,
        Some(60),
        &body,
    )
}

/// Links are relative, so that they lead right below a path of a reverse proxy, too.
fn footer(links: &PageLinks<'_>) -> Markup {
    html! {
        footer {
            a href="./" { "Runs" } " · "
            @if let Some(exporter) = links.exporter() { a href=(exporter) { "Auth folders" } " · " }
            a href="./metrics" { "Metrics" } " · baileys_remediator " (env!("CARGO_PKG_VERSION"))
        }
    }
}

/// RFC 3339 as `2026-01-02 03:04:05 UTC`.
fn to_the_second(text: &str) -> String {
    format!("{} UTC", without_zone(text))
}

/// The same without `UTC`.
fn without_zone(text: &str) -> String {
    text.get(..19).unwrap_or(text).replace('T', " ")
}

/// A label with allowed line breaks after its underscores.
fn breakable(text: &str) -> Markup {
    html! { @for (nth, part) in text.split('_').enumerate() { @if nth > 0 { "_" wbr; } (part) } }
}

fn status_chip(status: Status) -> Markup {
    let colour = match status {
        Status::Done => "good",
        Status::Refused => "warn",
        Status::Failed => "crit",
        Status::Running => "info",
        Status::Queued => "plain",
    };
    html! { span class={ "chip " (colour) } { (status.label()) } }
}

fn summary(overview: &Overview) -> Markup {
    let notices = overview.notices();
    let count = |kind| notices.iter().filter(|notice| notice.kind == kind).count();
    let chips = [
        (StatusNoticeKind::NotBack, "crit"),
        (StatusNoticeKind::Restart, "warn"),
        (StatusNoticeKind::Armed, "warn"),
    ];
    html! {
        p.summary #state {
            @if overview.pause.paused.is_some() { span { span.chip.crit { "paused" } } }
            @if overview.pause.breaker.is_some() { span { span.chip.crit { "breaker open" } } }
            @if overview.pause == PauseState::default() { span { span.chip.good { "acting" } } }
            @for (kind, colour) in chips {
                @if count(kind) > 0 {
                    span { span class={ "chip " (colour) } { (kind.label().to_lowercase()) } " " (count(kind)) }
                }
            }
        }
        @for notice in notices.iter().take(MAX_NOTICES) { p.note { (notice.kind.label()) " " (notice.text) } }
        @if notices.len() > MAX_NOTICES {
            p.sub { "and " (notices.len() - MAX_NOTICES) " more: " code { "baileys_remediator status" } }
        }
    }
}

fn privilege(group: &FindingGroup) -> Markup {
    html! {
        p.note {
            b { @if group.finding.weight == Weight::Problem { "Cannot clean " } @else { "Warning" } }
            @if group.finding.weight == Weight::Problem { (group.subject()) }
            @else if !group.sessions.is_empty() { " (" (group.subject()) ")" }
            ": " (group.finding.message) ". To fix: " code { (group.finding.fix) }
        }
    }
}

fn runs(runs: &[Run]) -> Markup {
    page::table(
        &RUNS,
        &runs.iter().map(|run| run_row(run, &[])).collect::<Vec<_>>(),
    )
}

/// The latest runs. A run that is refused again and again is one row.
fn folded_runs(runs: &[Run]) -> Markup {
    let rows = folded(runs).into_iter().take(MAX_RUNS);
    page::table(
        &RUNS,
        &rows
            .map(|(run, earlier)| run_row(run, &earlier))
            .collect::<Vec<_>>(),
    )
}

/// Each run with the earlier ones like it: refusals of one session and action with one reason.
fn folded(runs: &[Run]) -> Vec<(&Run, Vec<&Run>)> {
    let groups = grouped(runs, |run| match run.status {
        Status::Refused => (Some((&run.session, run.action.label(), run.cause())), 0),
        _ => (None, run.id),
    });
    let mut rows: Vec<(&Run, Vec<&Run>)> = groups
        .into_iter()
        .filter_map(|group| {
            let (newest, earlier) = group.split_first()?;
            Some((*newest, earlier.to_vec()))
        })
        .collect();
    rows.sort_by_key(|(run, _)| std::cmp::Reverse(run.id));
    rows
}

fn run_row(run: &Run, earlier: &[&Run]) -> Markup {
    let label = |column: &Column| column.0;
    html! {
        tr data-run=(run.id) {
            td.name { a href={ "./run?id=" (run.id) } { (run.session) } }
            td data-label=(label(&ASKED)) { (without_zone(&run.created)) }
            td data-label=(label(&ACTION)) { (run.action.label()) }
            td.by data-label=(label(&BY)) { (run.requested_by) }
            td data-label=(label(&STATUS)) {
                (status_chip(run.status))
                @if let Some(first) = earlier.last() {
                    span.links { (earlier.len() + 1) " times since " (without_zone(&first.created)) }
                }
            }
            td.by data-label=(label(&REASON)) { (breakable(run.cause())) }
            td.n data-label=(label(&FILES)) { (run.moved()) }
            td.n data-label=(label(&ACCUMULATED)) { (run.accumulated("→")) }
            td.n data-label=(label(&NUMBER)) { a href={ "./run?id=" (run.id) } { "#" (run.id) } }
        }
    }
}

fn unstarted(skipped: &UnstartedAlert) -> Markup {
    let [_, action, outcome, alert, last, times] = UNSTARTED.map(|column| column.0);
    html! {
        tr {
            td.name { (skipped.session) }
            td data-label=(action) { (skipped.action) }
            td data-label=(outcome) { (skipped.outcome) }
            td.by data-label=(alert) { (skipped.fingerprint) }
            td data-label=(last) { (without_zone(&skipped.last)) }
            td.n data-label=(times) { (skipped.times) }
        }
    }
}

/// The page of a session's plan.
pub fn plan(view: &PlanView, at: Timestamp, links: &PageLinks<'_>) -> String {
    const KIND: Column = Column("Kind", false, "Kind of key.");
    const MOVED: Column = Column(
        "Files to move",
        true,
        "Into the quarantine inside the folder.",
    );
    let session = &view.session;
    let colour = match view.connection {
        State::Connected => "good",
        State::Disconnected => "info",
        State::Unknown => "plain",
    };
    let body = html! {
        header {
            h1 { "Plan for " (session) }
            p.sub {
                "Made at " (to_the_second(&at.rfc3339())) " from the current files. This page moves no file."
                @if let Some(dashboard) = links.dashboard(session) { " " a href=(dashboard) { "The session over time" } "." }
            }
        }
        p.summary { span { "The bot is " span class={ "chip " (colour) } { (view.connection.label()) } } }
        p #answer { (view.answer()) }
        @if let PlanResult::Planned(planned) = &view.result {
            div.small {
            (page::table(&[KIND, MOVED], &planned.files.iter().map(|(kind, files)| html! {
                tr { td.name { (kind) } td.n data-label=(MOVED.0) { (files) } }
            }).collect::<Vec<_>>()))
            }
        }
        h2 { "Connection sources" }
        ul { @for evidence in &view.evidence { li { (evidence) } } }
        (footer(links))
    };
    page::document(&format!("{session}: plan"), STYLE, None, &body)
}

/// The page of one run.
pub fn run(record: &RunDetails, links: &PageLinks<'_>) -> String {
    const STEP: Column = Column("Step", false, "The step of the run.");
    const TIME: Column = Column("Time", false, "UTC.");
    const DETAIL: Column = Column("Detail", false, "The result of the step.");
    const KIND: Column = Column("Kind", false, "Kind of key.");
    const FATE: Column = Column(
        "Result",
        false,
        "moved: in the quarantine. left, put_back: in the folder, as before. restored: put back by an undo, or the creds.json that a restore put back. blocked: left in the quarantine by an undo, because the folder has a newer file. deleted: deleted after the retention.",
    );
    const COUNT: Column = Column("Files", true, "Number of files.");
    const INODE: Column = Column("Inode", true, "Inode of the file; a rename keeps it.");
    const BYTES: Column = Column("Bytes", true, "Size when the plan was made.");
    const MODIFIED: Column = Column("Modified", false, "Last write, in UTC.");
    let run = &record.run;
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for file in &record.moves {
        *counts.entry((&file.kind, &file.fate)).or_default() += 1;
    }
    let body = html! {
        header {
            h1 { "Run #" (run.id) ": " (run.action.label()) " of " a href={ "./" (plan_query(&run.session)) } { (run.session) } }
            p.sub { "Requested by " (run.requested_by) ", " (to_the_second(&run.created)) "." }
        }
        p.summary {
            span { (status_chip(run.status)) }
            @if let (Some(before), Some(after)) = (run.accumulated_before, run.accumulated_after) {
                span { "accumulated files " (before) " → " (after) }
            }
        }
        @if let Some(detail) = run.detail.as_ref().or(run.note.as_ref()) { p.note { (detail) } }
        @if let Some(name) = &run.run {
            @if run.action == Action::Restore {
                p.sub { "The replaced file is in the quarantine as " code { "creds-" (name) "/replaced.json" } ". If it was logged in, it is also one of the copies: " code { "baileys_remediator creds list " (run.session) } ". To put it back: " code { "baileys_remediator creds restore " (run.session) " --version=N --force" } }
            } @else {
                p.sub { "In the quarantine as " code { (name) } ". To put the files back: " code { "baileys_remediator undo " (name) } }
            }
        }
        @if !record.related.is_empty() {
            p.sub { "Other runs with the same files:" @for id in &record.related { " " a href={ "./run?id=" (id) } { "#" (id) } } }
        }
        h2 { "Steps" }
        (page::table(&[STEP, TIME, DETAIL], &record.steps.iter().map(|step| html! {
            tr {
                td.name { (step.step) }
                td data-label=(TIME.0) { (step.at) }
                td.long data-label=(DETAIL.0) {
                    div {
                        (step.detail.as_deref().unwrap_or("-"))
                        @if let Some(sources) = step.facts.as_ref().and_then(|facts| facts.get("sources")?.as_array()) {
                            ul { @for source in sources { li { (source_line(source)) } } }
                        }
                    }
                }
            }
        }).collect::<Vec<_>>()))
        @if !counts.is_empty() {
            h2 { "Files" }
            div.small {
            (page::table(&[KIND, FATE, COUNT], &counts.iter().map(|((kind, fate), count)| html! {
                tr { td.name { (kind) } td data-label=(FATE.0) { (fate) } td.n data-label=(COUNT.0) { (count) } }
            }).collect::<Vec<_>>()))
            }
            details.meanings {
                summary { "Each file" }
                (page::table(&[KIND, INODE, BYTES, MODIFIED, FATE], &record.moves.iter().take(MAX_FILES_SHOWN).map(|file| file_row(file, [INODE.0, BYTES.0, MODIFIED.0, FATE.0])).collect::<Vec<_>>()))
                @if record.moves.len() > MAX_FILES_SHOWN {
                    p.sub { "and " (record.moves.len() - MAX_FILES_SHOWN) " more: " code { "baileys_remediator runs show " (run.id) } }
                }
            }
            (page::meanings(&[STEP, FATE, INODE]))
        }
        (footer(links))
    };
    page::document(
        &format!("run {}: {} of {}", run.id, run.action.label(), run.session),
        STYLE,
        None,
        &body,
    )
}

fn source_line(source: &serde_json::Value) -> String {
    let field = |key: &str| {
        source
            .get(key)
            .and_then(|value| value.as_str())
            .unwrap_or("?")
    };
    format!(
        "{}: {} – {}",
        field("source"),
        field("finding"),
        field("detail")
    )
}

fn file_row(file: &FileShown, [inode, bytes, modified, fate]: [&str; 4]) -> Markup {
    html! {
        tr {
            td.name { (file.kind) }
            td.n data-label=(inode) { (file.inode) }
            td.n data-label=(bytes) { (file.size) }
            td data-label=(modified) { (file.modified) }
            td data-label=(fate) { (file.fate) }
        }
    }
}

/// A page with a message.
pub fn message(title: &str, text: &str, links: &PageLinks<'_>) -> String {
    let body = html! { header { h1 { (title) } } p.note { (text) } (footer(links)) };
    page::document(title, STYLE, None, &body)
}

#[cfg(test)]
mod tests;
