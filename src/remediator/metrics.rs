//! The metrics of the remediator. Each is declared here and nowhere else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::folder::Timestamp;
use crate::policy::guard::MOVABLE_KINDS;
use crate::policy::insurance::RestoreRefusal;
use crate::reload::ReloadState;
use exporter_toolkit::metric_families::MetricFamilies;
use exporter_toolkit::{declare_metrics, process_metrics};

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
        "1 if the journal can be read and written and is still the file in the state directory. At 0 no run begins; where it cannot be read, the metrics that come from it are absent.";
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
        "How long the run has waited that has waited longest, by action (plan, cleanup, emergency); 0 where none waits.";
    LAST_SUCCESS: gauge "baileys_remediator_last_success_timestamp_seconds" &[],
        "When the last clean-up that moved files ended, as Unix time; 0 if there was none.";
    CLEANUPS: counter "baileys_remediator_cleanups_total" &["action"],
        "Clean-ups that moved files and succeeded, by action: cleanup, emergency. An undo does not lower it. Kept across restarts.";
    LAST_RUN: gauge "baileys_remediator_last_run_timestamp_seconds" &["session", "action", "status", "reason"],
        "When the session's latest clean-up run ended, as Unix time, with what it was (cleanup, emergency) and how it ended (done, refused, failed); one series a session, absent before its first.";
    REFUSED_SINCE: gauge "baileys_remediator_refused_since_timestamp_seconds" &["session", "reason"],
        "Since when the clean-ups that alerts ask for are being refused, as Unix time, with the reason of the latest refusal; absent unless the latest was refused and ended within the last hour.";
    LAST_CLEANUP: gauge "baileys_remediator_last_cleanup_timestamp_seconds" &["session"],
        "When the session's last clean-up that moved files ended, as Unix time, even if it was undone since.";
    LAST_CLEANUP_FILES: gauge "baileys_remediator_last_cleanup_accumulated_files" &["session"],
        "Accumulated files right after the session's last clean-up that moved files.";
    LAST_CLEANUP_LEAD: gauge "baileys_remediator_last_cleanup_lead_seconds" &["session"],
        "From the first alert of the episode to the end of the session's last clean-up that moved files; absent if an operator cleaned without an alert.";
    ARMED: gauge "baileys_remediator_armed_runs" &["session", "action"],
        "1 for each clean-up that was refused because its bot is connected, and waits until the bot is found stopped or for a maintenance window.";
    PAUSED: gauge "baileys_remediator_paused" &[],
        "1 while an operator has paused automatic actions.";
    BREAKER_OPEN: gauge "baileys_remediator_breaker_open" &[],
        "1 while the circuit breaker is open: automatic actions are off until an operator resumes them.";
    STOPS: counter "baileys_remediator_service_stops_total" &[],
        "Services stopped for a clean-up. Kept across restarts.";
    DOWN: gauge "baileys_remediator_services_down" &[],
        "Services with a pending restart: the remediator has stopped them, or was about to, and has not seen them run again.";
    NOT_BACK: gauge "baileys_remediator_service_not_back" &["service", "session", "reason", "run"],
        "1 for each session that has not come back after a restart of its service: not_connected (it runs) or down (it does not run, or that is unknown). The label run is the session's own run, for undo; - if no file was moved.";
    QUARANTINED: gauge "baileys_remediator_quarantined_bytes" &[],
        "Bytes in all quarantines, as of the last sweep or run.";
    INSURED: gauge "baileys_remediator_creds_insured_sessions" &[],
        "Sessions with a copy of their creds.json, as of the last check.";
    INSURED_AT: gauge "baileys_remediator_creds_insured_timestamp_seconds" &["session"],
        "When the newest copy of the session's creds.json last matched the folder, as Unix time; absent without a copy.";
    INSURANCE_LOOK: gauge "baileys_remediator_creds_insurance_last_look_timestamp_seconds" &[],
        "When every creds.json was last checked, as Unix time; 0 before the first check.";
    NOT_INSURED: counter "baileys_remediator_creds_copy_failures_total" &[],
        "Checks of a creds.json since the start that failed to keep a copy; the log has the reason.";
    SESSIONS: gauge "baileys_remediator_sessions" &[],
        "Auth folders that this remediator knows, as of the last scan.";
    PERMISSION_PROBLEMS: gauge "baileys_remediator_permission_problems" &[],
        "Auth folders where the last permission check found a problem that makes clean-ups fail, such as a read-only mount, configured paths that are missing or cannot be looked into, and problems of the state directory and the token file; checked at the start and every 10 minutes, see `doctor`.";
    REQUESTS: counter "baileys_remediator_webhook_requests_total" &["code"],
        "Requests to the webhook since the start, by HTTP status.";
    ALERTS: counter "baileys_remediator_webhook_alerts_total" &["outcome"],
        "Alerts in accepted requests since the start, by outcome.";
    ALERTMANAGER_UP: gauge "baileys_remediator_alertmanager_up" &["alertmanager"],
        "1 if the last poll of this Alertmanager succeeded, else 0; absent where none is polled.";
    POLLED: gauge "baileys_remediator_polled_alerts" &["outcome"],
        "Alerts for this host at the last poll of the Alertmanagers, or at the last evaluation of the local trigger, by outcome; absent with neither.";
    LOCAL_EVALUATED: gauge "baileys_remediator_local_evaluation_timestamp_seconds" &[],
        "When the local trigger last evaluated all folders, as Unix time; 0 before the first time, and without --trigger=local.";
    LOCAL_UNREAD: gauge "baileys_remediator_local_unread_sessions" &[],
        "Auth folders that the local trigger could not read at its last evaluation; 0 without --trigger=local.";
    NOTIFICATIONS: counter "baileys_remediator_notifications_total" &["outcome"],
        "Messages of `notify` since the start, by outcome: sent, failed (and tried again).";
    OTHER_HOSTS: gauge "baileys_remediator_unmatched_alerts" &[],
        "Alerts about auth folders while none of them has the labels of this host: alertmanager.match, as of the last look at all hosts, and webhook.match, as of the last hour; 0 while one has (webhook: within 24 hours).";
    RELOAD_SUCCESS: gauge "baileys_remediator_config_last_reload_successful" &[],
        "1 if the last load of the configuration succeeded; after a failure the former one stays in force.";
    RELOAD_TIME: gauge "baileys_remediator_config_last_reload_success_timestamp_seconds" &[],
        "When the configuration in force was loaded, as Unix time.";
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

/// Fills the metric families of one scrape. Every known series exists from the start, at 0;
/// those from the journal are absent while it cannot be read.
pub fn metric_families(
    process: &ProcessState<'_>,
    journal: Option<(&CounterTotals, &Overview)>,
) -> MetricFamilies {
    let mut out = MetricFamilies::default();
    process_metrics::add(&mut out);
    out.add(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    out.add(&JOURNAL_UP, &[], f64::from(process.is_journal_up));
    out.add(&SESSIONS, &[], process.sessions as f64);
    out.add(&RELOAD_SUCCESS, &[], f64::from(process.reload.successful));
    out.add(&RELOAD_TIME, &[], process.reload.loaded_at.seconds());
    if let Some((totals, overview)) = journal {
        add_journal(&mut out, totals, overview);
    }
    add_live(&mut out, process.live);
    out
}

/// What the journal says.
fn add_journal(out: &mut MetricFamilies, totals: &CounterTotals, overview: &Overview) {
    let number =
        |map: &BTreeMap<String, u64>, label: &str| map.get(label).copied().unwrap_or(0) as f64;
    for action in Action::ALL {
        out.add(
            &RUNS,
            &[action.label()],
            number(&totals.runs, action.label()),
        );
        out.add(
            &FAILURES,
            &[action.label()],
            number(&totals.failures, action.label()),
        );
    }
    for reason in RunError::refusals().chain(RestoreRefusal::LABELS) {
        out.add(&REFUSALS, &[reason], number(&totals.refusals, reason));
    }
    for kind in MOVABLE_KINDS {
        out.add(&MOVED, &[kind.label()], number(&totals.moved, kind.label()));
    }
    out.add(&RESTORED, &[], totals.restored as f64);
    out.add(&PURGED, &[], totals.purged as f64);
    out.add(&QUEUE, &[], totals.queued as f64);
    for action in [Action::Plan, Action::Cleanup, Action::Emergency] {
        let age = overview.queue_age.get(action.label());
        out.add(
            &QUEUE_AGE,
            &[action.label()],
            age.copied().unwrap_or(0) as f64,
        );
    }
    out.add(
        &LAST_SUCCESS,
        &[],
        totals.last_success.map_or(0.0, |at| at.seconds()),
    );
    for action in [Action::Cleanup, Action::Emergency] {
        out.add(
            &CLEANUPS,
            &[action.label()],
            number(&totals.cleanups, action.label()),
        );
    }
    for latest in &overview.session_status {
        let session = latest.session.as_str();
        let (action, status) = (latest.action.label(), latest.status.label());
        let reason = reason_of(latest.status, latest.reason.as_deref());
        out.add(
            &LAST_RUN,
            &[session, action, status, reason],
            latest.ended.seconds(),
        );
        if let Some(refused) = &latest.refused {
            let reason = reason_of(Status::Refused, Some(&refused.reason));
            out.add(&REFUSED_SINCE, &[session, reason], refused.since.seconds());
        }
        let Some(cleaned) = &latest.cleaned else {
            continue;
        };
        out.add(&LAST_CLEANUP, &[session], cleaned.ended.seconds());
        if let Some(files) = cleaned.files {
            out.add(&LAST_CLEANUP_FILES, &[session], files as f64);
        }
        if let Some(lead) = cleaned.lead {
            out.add(&LAST_CLEANUP_LEAD, &[session], lead.as_secs_f64());
        }
    }
    for armed in &overview.armed {
        out.add(&ARMED, &[&armed.session, armed.action.label()], 1.0);
    }
    out.add(&PAUSED, &[], f64::from(overview.pause.paused.is_some()));
    out.add(
        &BREAKER_OPEN,
        &[],
        f64::from(overview.pause.breaker.is_some()),
    );
    out.add(&STOPS, &[], totals.stops as f64);
    out.add(&DOWN, &[], overview.down as f64);
    for late in &overview.not_back {
        let run = late.run.as_deref().unwrap_or("-");
        let labels = [&late.service, &late.session, late.reason, run];
        out.add(&NOT_BACK, &labels, 1.0);
    }
}

/// What is known without the journal.
fn add_live(out: &mut MetricFamilies, live: &Live) {
    out.add(
        &QUARANTINED,
        &[],
        live.quarantined.load(Ordering::Relaxed) as f64,
    );
    out.add(
        &PERMISSION_PROBLEMS,
        &[],
        live.permission_problems.load(Ordering::Relaxed) as f64,
    );
    {
        let insurance = live
            .insurance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        out.add(&INSURED, &[], insurance.insured.len() as f64);
        out.add(
            &INSURANCE_LOOK,
            &[],
            insurance.ended.map_or(0.0, |at| at.seconds()),
        );
        out.add(&NOT_INSURED, &[], insurance.failures as f64);
        for (session, at) in &insurance.insured {
            out.add(&INSURED_AT, &[session], at.seconds());
        }
    }
    let alertmanagers = live
        .alertmanagers
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for (name, is_up) in alertmanagers.iter() {
        out.add(&ALERTMANAGER_UP, &[name], f64::from(*is_up == Some(true)));
    }
    let evaluated = *live
        .evaluated
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let (at, unread) = evaluated.map_or((0.0, 0), |(at, unread)| (at.seconds(), unread));
    out.add(&LOCAL_EVALUATED, &[], at);
    out.add(&LOCAL_UNREAD, &[], unread as f64);
    if !alertmanagers.is_empty() || evaluated.is_some() {
        let polled = live.polled.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in OUTCOMES.into_iter().chain([SUPPRESSED]) {
            let alerts = polled.get(outcome).copied().unwrap_or(0);
            out.add(&POLLED, &[outcome], alerts as f64);
        }
    }
    for (outcome, count) in [
        ("sent", &live.notifications_sent),
        ("failed", &live.notifications_failed),
    ] {
        let count = count.load(Ordering::Relaxed) as f64;
        out.add(&NOTIFICATIONS, &[outcome], count);
    }
    out.add(
        &OTHER_HOSTS,
        &[],
        (live.others.load(Ordering::Relaxed) + live.unmatched.load(Ordering::Relaxed)) as f64,
    );
    out.add(
        &TRUNCATED,
        &[],
        live.truncated.load(Ordering::Relaxed) as f64,
    );
    let requests = live.requests.lock().unwrap_or_else(PoisonError::into_inner);
    let codes: std::collections::BTreeSet<u16> =
        CODES.into_iter().chain(requests.keys().copied()).collect();
    for code in codes {
        out.add(
            &REQUESTS,
            &[&code.to_string()],
            requests.get(&code).copied().unwrap_or(0) as f64,
        );
    }
    let alerts = live.alerts.lock().unwrap_or_else(PoisonError::into_inner);
    for outcome in OUTCOMES.into_iter().chain(Ignored::LABELS) {
        out.add(
            &ALERTS,
            &[outcome],
            alerts.get(outcome).copied().unwrap_or(0) as f64,
        );
    }
}

#[cfg(test)]
mod tests;
