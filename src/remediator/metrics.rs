//! The metrics of the remediator. Each is declared here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::folder::{Kind, Timestamp};
use crate::policy::guard::MOVABLE_KINDS;
use crate::policy::insurance::RestoreRefusal;
use crate::reload::ReloadState;
use exporter_toolkit::metric_families::MetricFamilies;
use exporter_toolkit::{Samples, declare_metrics, process_metrics};

use super::insurance::watch::Report;
use super::outcome::RunError;
use super::overview::Overview;
use super::store::counters::CounterTotals;
use super::store::runs::{Action, Status};
use super::webhook::Ignored;

declare_metrics! {
    BUILD_INFO: gauge "baileys_remediator_build_info" &["version"],
        "Version of the remediator; the value is 1.";
    JOURNAL_UP: gauge "baileys_remediator_journal_up" &[],
        "1 if the journal can be read and written; at 0 no run begins.";
    RUNS: counter "baileys_remediator_runs_total" &["action"],
        "Runs that ended, by action: plan (dry run), cleanup, emergency, undo, restore (of a creds.json). Kept across restarts.";
    FAILURES: counter "baileys_remediator_run_failures_total" &["action"],
        "Runs that failed because something broke, by action. Kept across restarts.";
    REFUSALS: counter "baileys_remediator_refusals_total" &["reason"],
        "Runs that a guard refused, by reason. Kept across restarts.";
    MOVED: counter "baileys_remediator_files_moved_total" &["kind"],
        "Files moved into a quarantine, by kind. Kept across restarts.";
    RESTORED: counter "baileys_remediator_files_restored_total" &[],
        "Files put back by an undo. Kept across restarts.";
    PURGED: counter "baileys_remediator_runs_purged_total" &[],
        "Runs whose files were deleted after the quarantine's retention. Kept across restarts.";
    QUEUE: gauge "baileys_remediator_queue_length" &[],
        "Runs accepted and not ended.";
    QUEUE_AGE: gauge "baileys_remediator_queue_age_seconds" &["action"],
        "How long the oldest waiting run has waited, by action (plan, cleanup, emergency); 0 where none waits.";
    LAST_SUCCESS: gauge "baileys_remediator_last_success_timestamp_seconds" &[],
        "When the last clean-up that moved files ended; 0 if there was none.";
    CLEANUPS: counter "baileys_remediator_cleanups_total" &["action"],
        "Clean-ups that moved files and succeeded, by action (cleanup, emergency), also if undone since. Kept across restarts.";
    LAST_RUN: gauge "baileys_remediator_last_run_timestamp_seconds" &["session", "action", "status", "reason"],
        "When the session's latest clean-up run ended, with its action and how it ended; absent before its first.";
    REFUSED_SINCE: gauge "baileys_remediator_refused_since_timestamp_seconds" &["session", "reason"],
        "Since when the clean-ups that alerts ask for are refused, with the latest reason; absent unless the latest was refused and ended within the last hour.";
    LAST_CLEANUP: gauge "baileys_remediator_last_cleanup_timestamp_seconds" &["session"],
        "When the session's last clean-up that moved files ended, also if undone since.";
    LAST_CLEANUP_FILES: gauge "baileys_remediator_last_cleanup_accumulated_files" &["session"],
        "Accumulated files right after the session's last clean-up that moved files.";
    LAST_CLEANUP_LEAD: gauge "baileys_remediator_last_cleanup_lead_seconds" &["session"],
        "From the first alert of the episode to the end of the session's last clean-up that moved files; absent without an alert.";
    ARMED: gauge "baileys_remediator_armed_runs" &["session", "action"],
        "1 for each clean-up that waits until its bot is found stopped, or for a maintenance window.";
    PAUSED: gauge "baileys_remediator_paused" &[],
        "1 while an operator has paused automatic actions.";
    BREAKER_OPEN: gauge "baileys_remediator_breaker_open" &[],
        "1 while the circuit breaker is open: no automatic actions until an operator resumes them.";
    STOPS: counter "baileys_remediator_service_stops_total" &[],
        "Services stopped for a clean-up. Kept across restarts.";
    DOWN: gauge "baileys_remediator_services_down" &[],
        "Services that the remediator has stopped, or was about to stop, and has not seen run again.";
    NOT_BACK: gauge "baileys_remediator_service_not_back" &["service", "session", "reason", "run"],
        "1 for each session that has not come back after a restart: not_connected (it runs) or down (it does not run, or that is unknown). run is the session's own run, for undo, or -.";
    QUARANTINED: gauge "baileys_remediator_quarantined_bytes" &[],
        "Bytes in all quarantines, as of the last sweep or run.";
    INSURED: gauge "baileys_remediator_creds_insured_sessions" &[],
        "Sessions with a copy of their creds.json, as of the last check.";
    INSURED_AT: gauge "baileys_remediator_creds_insured_timestamp_seconds" &["session"],
        "When the newest copy of the session's creds.json last matched the folder; absent without a copy.";
    INSURANCE_LOOK: gauge "baileys_remediator_creds_insurance_last_look_timestamp_seconds" &[],
        "When every creds.json was last checked; 0 before the first check.";
    NOT_INSURED: counter "baileys_remediator_creds_copy_failures_total" &[],
        "Checks of a creds.json since the start that failed to keep a copy; the log has the reason.";
    SESSIONS: gauge "baileys_remediator_sessions" &[],
        "Auth folders that this remediator knows, as of the last scan.";
    PERMISSION_PROBLEMS: gauge "baileys_remediator_permission_problems" &[],
        "What the last permission check found that makes clean-ups fail, in folders, paths, state directory and token file; see `doctor`.";
    REQUESTS: counter "baileys_remediator_webhook_requests_total" &["code"],
        "Requests to the webhook since the start, by HTTP status.";
    ALERTS: counter "baileys_remediator_webhook_alerts_total" &["outcome"],
        "Alerts in accepted requests since the start, by outcome.";
    ALERTMANAGER_UP: gauge "baileys_remediator_alertmanager_up" &["alertmanager"],
        "1 if the last poll of this Alertmanager succeeded, else 0; absent where none is polled.";
    POLLED: gauge "baileys_remediator_polled_alerts" &["outcome"],
        "Alerts for this host at the last poll, or at the last evaluation of the local trigger, by outcome; absent with neither.";
    LOCAL_EVALUATED: gauge "baileys_remediator_local_evaluation_timestamp_seconds" &[],
        "When the local trigger last evaluated all folders; 0 before, and without it.";
    LOCAL_UNREAD: gauge "baileys_remediator_local_unread_sessions" &[],
        "Auth folders that the local trigger could not read at its last evaluation; 0 without it.";
    NOTIFICATIONS: counter "baileys_remediator_notifications_total" &["outcome"],
        "Messages of `notify` since the start, by outcome: sent, failed (and tried again).";
    OTHER_HOSTS: gauge "baileys_remediator_unmatched_alerts" &[],
        "Alerts about auth folders while none of them has the labels of this host (alertmanager.match, webhook.match); 0 while one has.";
    RELOAD_SUCCESS: gauge "baileys_remediator_config_last_reload_successful" &[],
        "1 if the last load of the configuration succeeded; after a failure the former one stays in force.";
    RELOAD_TIME: gauge "baileys_remediator_config_last_reload_success_timestamp_seconds" &[],
        "When the configuration in force was loaded.";
    TRUNCATED: counter "baileys_remediator_webhook_alerts_truncated_total" &[],
        "Alerts that Alertmanager truncated from its requests (max_alerts) since the start; they start no run.";
}

const CODES: [u16; 8] = [202, 400, 401, 405, 408, 413, 500, 503];
/// Outcomes of an alert that was not ignored.
pub const OUTCOMES: [&str; 5] = [
    "queued",
    "in_progress",
    "cooldown",
    "retry_later",
    "unknown_session",
];
/// Outcome, beside these, of a polled alert that is silenced, inhibited or muted.
pub const SUPPRESSED: &str = "suppressed";
/// Reason of a run that waited while its session was cleaned or undone.
const COOLED: &str = "cooldown";
/// Any other reason, from an older or newer version.
const OTHER: &str = "other";

/// Every reason of a refused clean-up.
fn refusals() -> impl Iterator<Item = &'static str> {
    RunError::refusals().chain([COOLED])
}

/// The value of a label `reason` of a clean-up: always a listed one.
fn reason_of(status: Status, reason: Option<&str>) -> &'static str {
    let is_it = |known: &&'static str| Some(*known) == reason;
    let known = match status {
        Status::Refused => refusals().find(is_it),
        Status::Failed => RunError::FAILURES.into_iter().find(is_it),
        Status::Done | Status::Queued | Status::Running => return "",
    };
    known.unwrap_or(OTHER)
}

/// Numbers that start at 0 with the process.
#[derive(Debug, Default)]
pub struct Live {
    requests: Mutex<BTreeMap<u16, u64>>,
    alerts: Mutex<BTreeMap<&'static str, u64>>,
    /// Whether each polled Alertmanager has answered; `None` before the first poll.
    alertmanagers: Mutex<BTreeMap<String, Option<bool>>>,
    polled: Mutex<BTreeMap<&'static str, u64>>,
    /// When the local trigger last evaluated, and how many folders it could not read.
    evaluated: Mutex<Option<(Timestamp, usize)>>,
    notifications_sent: AtomicU64,
    notifications_failed: AtomicU64,
    /// Alerts of other hosts where none is of this one.
    pub others: AtomicU64,
    /// The same of the webhook.
    pub unmatched: AtomicU64,
    /// Alerts truncated by Alertmanager.
    pub truncated: AtomicU64,
    /// Bytes in all quarantines.
    pub quarantined: AtomicU64,
    /// Folders, configured paths, and things of the program itself, with a problem of the permission check.
    pub permission_problems: AtomicU64,
    insurance: Mutex<Report>,
}

impl Live {
    /// Counts a request by its status.
    pub fn request(&self, code: u16) {
        *self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(code)
            .or_default() += 1;
    }

    /// Stores the report of the last check of every creds.json.
    pub fn insured(&self, mut report: Report) {
        let mut known = self
            .insurance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        report.failures += known.failures;
        *known = report;
    }

    /// These Alertmanagers are polled, and no other.
    pub fn polls(&self, names: &[String]) {
        let alertmanagers = self.alertmanagers.lock();
        let mut alertmanagers = alertmanagers.unwrap_or_else(PoisonError::into_inner);
        alertmanagers.retain(|known, _| names.contains(known));
        for name in names {
            alertmanagers.entry(name.clone()).or_default();
        }
    }

    /// Stores whether an Alertmanager answered, and says whether that is new.
    pub fn alertmanager(&self, name: &str, is_up: bool) -> bool {
        self.alertmanagers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), Some(is_up))
            != Some(Some(is_up))
    }

    /// Counts a message of `notify`.
    pub fn notified(&self, is_sent: bool) {
        let count = match is_sent {
            true => &self.notifications_sent,
            false => &self.notifications_failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The local trigger has evaluated all folders but those that could not be read.
    pub fn evaluated(&self, at: Timestamp, unread: usize) {
        *self
            .evaluated
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((at, unread));
    }

    /// Stores the alerts of a poll, or of a local evaluation, by their outcome.
    pub fn polled(&self, outcomes: &BTreeMap<&'static str, u64>) {
        self.polled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(outcomes);
    }

    /// Counts alerts by their outcome.
    pub fn alert(&self, outcome: &'static str, alerts: u64) {
        *self
            .alerts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(outcome)
            .or_default() += alerts;
    }
}

/// What the process knows without the journal.
#[derive(Clone, Copy, Debug)]
pub struct ProcessState<'a> {
    /// Numbers that start at 0.
    pub live: &'a Live,
    /// Auth folders known.
    pub sessions: usize,
    /// Whether the journal can be used.
    pub is_journal_up: bool,
    /// The last load of the configuration.
    pub reload: ReloadState,
}

/// The metrics of one scrape. Every known series exists from the start, at 0; those from the
/// journal are absent while it cannot be read.
pub fn metric_families<'a>(
    process: &ProcessState<'a>,
    journal: Option<(&'a CounterTotals, &'a Overview)>,
) -> MetricFamilies<'a> {
    let mut out = MetricFamilies::default();
    process_metrics::add(&mut out);
    out.add(&BUILD_INFO, |out| {
        out.add(&[env!("CARGO_PKG_VERSION")], 1.0);
    });
    out.add_value(&JOURNAL_UP, f64::from(process.is_journal_up));
    out.add_value(&SESSIONS, process.sessions as f64);
    out.add_value(&RELOAD_SUCCESS, f64::from(process.reload.successful));
    out.add_value(&RELOAD_TIME, process.reload.loaded_at.seconds());
    if let Some((totals, overview)) = journal {
        add_totals(&mut out, totals, overview);
        add_sessions(&mut out, overview);
    }
    add_live(&mut out, process.live);
    out
}

/// The numbers of the journal.
fn add_totals<'a>(out: &mut MetricFamilies<'a>, totals: &'a CounterTotals, overview: &'a Overview) {
    let each = |out: &mut Samples<'_>,
                labels: &mut dyn Iterator<Item = &'static str>,
                numbers: &BTreeMap<String, u64>| {
        for label in labels {
            let number = numbers.get(label).copied().unwrap_or(0);
            out.add(&[label], number as f64);
        }
    };
    let actions = || Action::ALL.into_iter().map(Action::label);
    let cleaning = || [Action::Cleanup, Action::Emergency].into_iter();
    out.add(&RUNS, move |out| each(out, &mut actions(), &totals.runs));
    out.add(&FAILURES, move |out| {
        each(out, &mut actions(), &totals.failures);
    });
    out.add(&REFUSALS, move |out| {
        let mut reasons = RunError::refusals().chain(RestoreRefusal::LABELS);
        each(out, &mut reasons, &totals.refusals);
    });
    out.add(&MOVED, move |out| {
        let mut kinds = MOVABLE_KINDS.into_iter().map(Kind::label);
        each(out, &mut kinds, &totals.moved);
    });
    out.add_value(&RESTORED, totals.restored as f64);
    out.add_value(&PURGED, totals.purged as f64);
    out.add_value(&QUEUE, totals.queued as f64);
    out.add(&QUEUE_AGE, move |out| {
        let mut actions = [Action::Plan].into_iter().chain(cleaning());
        each(
            out,
            &mut actions.by_ref().map(Action::label),
            &overview.queue_age,
        );
    });
    out.add_value(
        &LAST_SUCCESS,
        totals.last_success.map_or(0.0, |at| at.seconds()),
    );
    out.add(&CLEANUPS, move |out| {
        each(out, &mut cleaning().map(Action::label), &totals.cleanups);
    });
    out.add_value(&PAUSED, f64::from(overview.pause.paused.is_some()));
    out.add_value(&BREAKER_OPEN, f64::from(overview.pause.breaker.is_some()));
    out.add_value(&STOPS, totals.stops as f64);
    out.add_value(&DOWN, overview.down as f64);
}

/// What the journal says of each session.
fn add_sessions<'a>(out: &mut MetricFamilies<'a>, overview: &'a Overview) {
    out.add(&LAST_RUN, |out| {
        for latest in &overview.session_status {
            let reason = reason_of(latest.status, latest.reason.as_deref());
            let (action, status) = (latest.action.label(), latest.status.label());
            let labels = [latest.session.as_str(), action, status, reason];
            out.add(&labels, latest.ended.seconds());
        }
    });
    out.add(&REFUSED_SINCE, |out| {
        for latest in &overview.session_status {
            if let Some(refused) = &latest.refused {
                let reason = reason_of(Status::Refused, Some(&refused.reason));
                out.add(&[&latest.session, reason], refused.since.seconds());
            }
        }
    });
    let cleaned = || {
        let latest = overview.session_status.iter();
        latest.filter_map(|latest| Some((latest.session.as_str(), latest.cleaned.as_ref()?)))
    };
    out.add(&LAST_CLEANUP, move |out| {
        for (session, cleaned) in cleaned() {
            out.add(&[session], cleaned.ended.seconds());
        }
    });
    out.add(&LAST_CLEANUP_FILES, move |out| {
        for (session, cleaned) in cleaned() {
            if let Some(files) = cleaned.files {
                out.add(&[session], files as f64);
            }
        }
    });
    out.add(&LAST_CLEANUP_LEAD, move |out| {
        for (session, cleaned) in cleaned() {
            if let Some(lead) = cleaned.lead {
                out.add(&[session], lead.as_secs_f64());
            }
        }
    });
    out.add(&ARMED, |out| {
        for armed in &overview.armed {
            out.add(&[&armed.session, armed.action.label()], 1.0);
        }
    });
    out.add(&NOT_BACK, |out| {
        for late in &overview.not_back {
            let run = late.run.as_deref().unwrap_or("-");
            out.add(&[&late.service, &late.session, late.reason, run], 1.0);
        }
    });
}

/// What is known without the journal.
fn add_live<'a>(out: &mut MetricFamilies<'a>, live: &'a Live) {
    let number = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
    out.add_value(&QUARANTINED, number(&live.quarantined));
    out.add_value(&PERMISSION_PROBLEMS, number(&live.permission_problems));
    {
        let insurance = locked(&live.insurance);
        out.add_value(&INSURED, insurance.insured.len() as f64);
        out.add_value(
            &INSURANCE_LOOK,
            insurance.ended.map_or(0.0, |at| at.seconds()),
        );
        out.add_value(&NOT_INSURED, insurance.failures as f64);
    }
    out.add(&INSURED_AT, |out| {
        for (session, at) in &locked(&live.insurance).insured {
            out.add(&[session], at.seconds());
        }
    });
    let is_polling = !locked(&live.alertmanagers).is_empty();
    out.add(&ALERTMANAGER_UP, |out| {
        for (name, is_up) in locked(&live.alertmanagers).iter() {
            out.add(&[name], f64::from(*is_up == Some(true)));
        }
    });
    let evaluated = *locked(&live.evaluated);
    let (at, unread) = evaluated.map_or((0.0, 0), |(at, unread)| (at.seconds(), unread));
    out.add_value(&LOCAL_EVALUATED, at);
    out.add_value(&LOCAL_UNREAD, unread as f64);
    if is_polling || evaluated.is_some() {
        out.add(&POLLED, |out| {
            let polled = locked(&live.polled);
            for outcome in OUTCOMES.into_iter().chain([SUPPRESSED]) {
                let alerts = polled.get(outcome).copied().unwrap_or(0);
                out.add(&[outcome], alerts as f64);
            }
        });
    }
    out.add(&NOTIFICATIONS, move |out| {
        out.add(&["sent"], number(&live.notifications_sent));
        out.add(&["failed"], number(&live.notifications_failed));
    });
    out.add_value(&OTHER_HOSTS, number(&live.others) + number(&live.unmatched));
    out.add_value(&TRUNCATED, number(&live.truncated));
    out.add(&REQUESTS, |out| {
        let requests = locked(&live.requests);
        let codes: BTreeSet<u16> = CODES.into_iter().chain(requests.keys().copied()).collect();
        for code in codes {
            let count = requests.get(&code).copied().unwrap_or(0);
            out.add(&[&code.to_string()], count as f64);
        }
    });
    out.add(&ALERTS, |out| {
        let alerts = locked(&live.alerts);
        for outcome in OUTCOMES.into_iter().chain(Ignored::LABELS) {
            let count = alerts.get(outcome).copied().unwrap_or(0);
            out.add(&[outcome], count as f64);
        }
    });
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
