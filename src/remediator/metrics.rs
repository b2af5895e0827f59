//! The remediator's metrics, each declared here and nowhere else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::policy::Refusal;
use crate::policy::guard::MOVABLE_KINDS;
use crate::web::families::{Families, declare};

use super::journal::{Action, Totals};
use super::quarantine::Obstacle;
use super::webhook::Ignored;

declare! {
    BUILD_INFO: gauge "baileys_remediator_build_info" &["version"],
        "Version of the remediator; the value is 1.";
    RUNS: counter "baileys_remediator_runs_total" &["action"],
        "Runs that ended, by action: plan (dry run), cleanup, emergency, undo. Kept across restarts.";
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
    LAST_SUCCESS: gauge "baileys_remediator_last_success_timestamp_seconds" &[],
        "When the last clean-up that moved files ended, as Unix time; 0 if there was none.";
    QUARANTINED: gauge "baileys_remediator_quarantined_bytes" &[],
        "Bytes in all quarantines, as of the last sweep or run.";
    SESSIONS: gauge "baileys_remediator_sessions" &[],
        "Auth folders that this remediator knows, as of the last look.";
    REQUESTS: counter "baileys_remediator_webhook_requests_total" &["code"],
        "Requests to the webhook since the start, by HTTP status.";
    ALERTS: counter "baileys_remediator_webhook_alerts_total" &["outcome"],
        "Alerts in accepted requests since the start, by what became of them.";
    TRUNCATED: counter "baileys_remediator_webhook_alerts_truncated_total" &[],
        "Alerts that Alertmanager says it left out of its requests since the start; every folder is looked at in their place.";
}

const CODES: [u16; 8] = [202, 400, 401, 405, 408, 413, 500, 503];
/// What can become of an alert that was not ignored.
pub const OUTCOMES: [&str; 5] = ["queued", "in_progress", "cooldown", "retry_later", "unknown_session"];
const OTHER_REFUSALS: [&str; 1] = ["unknown_session"];

/// Numbers that live with the process.
#[derive(Debug, Default)]
pub struct Live {
    requests: Mutex<BTreeMap<u16, u64>>,
    alerts: Mutex<BTreeMap<&'static str, u64>>,
    /// Alerts left out by Alertmanager.
    pub truncated: AtomicU64,
    /// Bytes in all quarantines.
    pub quarantined: AtomicU64,
    /// Sessions known.
    pub sessions: AtomicU64,
}

impl Live {
    /// Counts a request by its status.
    pub fn request(&self, code: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Counts an alert by what became of it.
    pub fn alert(&self, outcome: &'static str) {
        *self.alerts.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }
}

/// Fills the families of one scrape. Every known series is there from the start, at 0.
pub fn families(live: &Live, totals: &Totals) -> Families {
    let mut out = Families::default();
    out.add(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    let number = |map: &BTreeMap<String, u64>, label: &str| map.get(label).copied().unwrap_or(0) as f64;
    for action in Action::ALL {
        out.add(&RUNS, &[action.label()], number(&totals.runs, action.label()));
        out.add(&FAILURES, &[action.label()], number(&totals.failures, action.label()));
    }
    for reason in Refusal::LABELS.into_iter().chain(Obstacle::REFUSALS).chain(OTHER_REFUSALS) {
        out.add(&REFUSALS, &[reason], number(&totals.refusals, reason));
    }
    for kind in MOVABLE_KINDS {
        out.add(&MOVED, &[kind.label()], number(&totals.moved, kind.label()));
    }
    out.add(&RESTORED, &[], totals.restored as f64);
    out.add(&PURGED, &[], totals.purged as f64);
    out.add(&QUEUE, &[], totals.queued as f64);
    out.add(&LAST_SUCCESS, &[], totals.last_success.map_or(0.0, |at| at.seconds()));
    out.add(&QUARANTINED, &[], live.quarantined.load(Ordering::Relaxed) as f64);
    out.add(&SESSIONS, &[], live.sessions.load(Ordering::Relaxed) as f64);
    out.add(&TRUNCATED, &[], live.truncated.load(Ordering::Relaxed) as f64);
    let requests = live.requests.lock().unwrap_or_else(PoisonError::into_inner);
    let codes: std::collections::BTreeSet<u16> = CODES.into_iter().chain(requests.keys().copied()).collect();
    for code in codes {
        out.add(&REQUESTS, &[&code.to_string()], requests.get(&code).copied().unwrap_or(0) as f64);
    }
    let alerts = live.alerts.lock().unwrap_or_else(PoisonError::into_inner);
    for outcome in OUTCOMES.into_iter().chain(Ignored::LABELS) {
        out.add(&ALERTS, &[outcome], alerts.get(outcome).copied().unwrap_or(0) as f64);
    }
    out
}
