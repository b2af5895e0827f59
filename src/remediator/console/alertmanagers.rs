//! `doctor`: what the polled Alertmanagers answer.

use std::sync::Arc;

use anstyle::AnsiColor;
use serde::Serialize;

use crate::cli::table;
use crate::config::{Settings, System};
use crate::remediator::pull::merge::Absences;
use crate::remediator::pull::{Poll, Poller};

/// What all of them said. As JSON the key `alertmanagers` of `doctor`.
#[derive(Debug, Serialize)]
pub(super) struct Polled {
    /// The labels that an alert for this host carries, in one line.
    labels: String,
    /// Each of them.
    answers: Vec<AskedAlertmanager>,
    /// What to do, a sentence each.
    to_fix: Vec<String>,
}

/// What one said.
#[derive(Debug, Serialize)]
struct AskedAlertmanager {
    /// Its host and port.
    name: String,
    /// Why it does not answer.
    error: Option<String>,
    /// Its alerts about auth folders of all hosts that ask for an action.
    all_hosts: usize,
    /// Those for this host.
    this_host: usize,
}

/// Asks the configured Alertmanagers for the alerts of all hosts; `None`: none is polled.
pub(super) async fn ask(settings: Arc<Settings>) -> Option<Polled> {
    let configured = settings.alertmanagers.as_ref()?;
    match configured.resolve(&System) {
        Ok(alertmanagers) => {
            let poller = Poller::new(alertmanagers);
            let poll = poller.poll(true).await;
            Some(judge(&poller, poll))
        }
        Err(error) => Some(Polled {
            labels: String::new(),
            answers: Vec::new(),
            to_fix: vec![error],
        }),
    }
}

fn judge(poller: &Poller, poll: Poll) -> Polled {
    let (mut answers, mut to_fix) = (Vec::new(), Vec::new());
    let count = |alerts: Vec<_>| {
        let merged = Absences::default().merge(&[Some(alerts)], poller.matches(), &[]);
        (merged.own + merged.others, merged.own)
    };
    for (name, answer) in poller.names().iter().zip(poll) {
        let (error, (all_hosts, this_host)) = match answer {
            Ok(alerts) => (None, count(alerts)),
            Err(error) => (Some(error.to_string()), (0, 0)),
        };
        to_fix.extend(error.iter().map(|error| format!("{name}: {error}")));
        answers.push(AskedAlertmanager {
            name: name.clone(),
            error,
            all_hosts,
            this_host,
        });
    }
    let labels = poller.matches_text();
    if labels.is_empty() {
        to_fix.push("no label is demanded, so an alert of another host about a session of the same name acts here: with more than one host set alertmanager.match".into());
    }
    let any =
        |count: fn(&AskedAlertmanager) -> usize| answers.iter().any(|answer| count(answer) > 0);
    if any(|answer| answer.all_hosts) && !any(|answer| answer.this_host) {
        to_fix.push(format!("there are alerts about auth folders, and none has the labels of this host ({labels}): correct alertmanager.match, unless they are all about other hosts"));
    }
    Polled {
        labels,
        answers,
        to_fix,
    }
}

/// For a person.
pub(super) fn table(polled: &Polled) -> String {
    let mut out = table::Table::new(&["ALERTMANAGER", "ANSWERS", "ALERTS", "FOR THIS HOST"]);
    for answer in &polled.answers {
        let (answers, style) = match answer.error {
            None => ("yes", AnsiColor::Green),
            Some(_) => ("no", AnsiColor::Red),
        };
        let number = |number: usize| match answer.error {
            None => number.to_string(),
            Some(_) => "-".to_owned(),
        };
        out.row(vec![
            table::plain(&*answer.name),
            table::styled(answers, style.on_default()),
            table::plain(number(answer.all_hosts)),
            table::plain(number(answer.this_host)),
        ]);
    }
    let fixes = polled.to_fix.iter();
    let fixes: String = fixes.map(|fix| format!("\n  to fix: {fix}")).collect();
    format!("{out}{fixes}")
}

#[cfg(test)]
mod tests;
