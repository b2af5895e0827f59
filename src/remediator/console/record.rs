//! `runs show`: the full record of one run.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cli::{print, table};
use crate::config::Settings;

use super::super::quarantine::QuarantineName;
use super::super::store::Store;
use super::super::store::audit::{FileShown, RunDetails, RunKey, StepShown};
use super::{Exit, Output, fail, status_style};

/// `runs show ID`: the journal's number, or the run's name.
pub fn show(settings: &Settings, wanted: &str, output: Output) -> Exit {
    let wanted = match (wanted.parse(), QuarantineName::parse(wanted)) {
        (Ok(id), _) => RunKey::Id(id),
        (_, Some(name)) => RunKey::Name(name.as_str().to_owned()),
        _ => {
            return fail(&format!(
                "{wanted:?} is neither the number nor the name of a run; `baileys_remediator runs` lists both"
            ));
        }
    };
    let store = match Store::open_existing(&settings.state_path) {
        Ok(store) => store,
        Err(error) => return fail(&error.to_string()),
    };
    let record = match store.audit().show(&wanted) {
        Ok(Some(record)) => record,
        Ok(None) => {
            return fail(
                "no such run is on record; `baileys_remediator runs --limit=1000` lists them",
            );
        }
        Err(error) => return fail(&error.to_string()),
    };
    match output {
        Output::Json => match serde_json::to_string_pretty(&record) {
            Ok(text) => print(&text),
            Err(error) => return fail(&error.to_string()),
        },
        Output::Table => print(&describe(&record)),
    }
    Exit::Done
}

fn describe(record: &RunDetails) -> String {
    let run = &record.run;
    let mut out = table::Table::new(&["RUN", &run.id.to_string()]);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out.row(vec![table::plain(name), table::plain(value)]);
        }
    };
    line("session", Some(run.session.clone()));
    line("action", Some(run.action.label().to_owned()));
    line("requested by", Some(run.requested_by.to_string()));
    line("tier", run.tier.clone());
    let asked = record
        .steps
        .iter()
        .find_map(|step| step.facts.as_ref()?.get("receiver")?.as_str());
    line("receiver", asked.map(str::to_owned));
    line("asked for", Some(run.created.clone()));
    line("ended", run.finished.clone());
    out.row(vec![
        table::plain("status"),
        table::styled(run.status.label(), status_style(run.status)),
    ]);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out.row(vec![table::plain(name), table::plain(value)]);
        }
    };
    line("reason", run.reason.clone());
    line("detail", run.detail.clone());
    line("note", run.note.clone());
    if let (Some(before), Some(after)) = (run.accumulated_before, run.accumulated_after) {
        line("accumulated", Some(format!("{before} -> {after}")));
    }
    line("in the quarantine", run.run.clone());
    let related: Vec<String> = record.related.iter().map(i64::to_string).collect();
    line(
        "see also",
        (!related.is_empty()).then(|| related.join(", ")),
    );
    let mut text = out.to_string();
    let _ = write!(text, "\n\n{}", steps(&record.steps));
    if !record.moves.is_empty() {
        let _ = write!(
            text,
            "\n\n{}\n\n{}",
            summary(&record.moves),
            files(&record.moves)
        );
    }
    text
}

fn steps(steps: &[StepShown]) -> String {
    let mut out = table::Table::new(&["TIME", "STEP", "DETAIL"]);
    for step in steps {
        let detail = step.detail.clone().unwrap_or_default();
        out.row(vec![
            table::plain(&step.at),
            table::plain(&step.step),
            table::plain(detail),
        ]);
        let sources = step
            .facts
            .as_ref()
            .and_then(|facts| facts.get("sources")?.as_array());
        for source in sources.into_iter().flatten() {
            let word = |key: &str| {
                source
                    .get(key)
                    .and_then(|value| value.as_str())
                    .unwrap_or("?")
            };
            let said = format!(
                "  {}: {} ({})",
                word("source"),
                word("finding"),
                word("detail")
            );
            out.row(vec![table::plain(""), table::plain(""), table::plain(said)]);
        }
    }
    out.to_string()
}

fn summary(files: &[FileShown]) -> String {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for file in files {
        *counts.entry((&file.kind, &file.fate)).or_default() += 1;
    }
    let mut out = table::Table::new(&["KIND", "FATE", "FILES"]);
    for ((kind, fate), count) in counts {
        out.row(vec![
            table::plain(kind),
            table::plain(fate),
            table::right(count.to_string()),
        ]);
    }
    out.to_string()
}

fn files(files: &[FileShown]) -> String {
    let mut out = table::Table::new(&["KIND", "INODE", "BYTES", "MODIFIED", "FATE"]);
    for file in files {
        out.row(vec![
            table::plain(&file.kind),
            table::right(file.inode.to_string()),
            table::right(file.size.to_string()),
            table::plain(&file.modified),
            table::plain(&file.fate),
        ]);
    }
    out.to_string()
}
