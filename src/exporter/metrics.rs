//! From a snapshot to metric families. Each metric is declared here and nowhere else;
//! docs/metrics.md lists them, and a test holds the two together.

use std::collections::BTreeSet;

use crate::connection::State;
use crate::folder::discovery::SkipReason;
use crate::folder::{Creds, Kind, SessionName, Timestamp};
use crate::logs::{Patterns, Published, SessionLog};
use crate::policy::Tier;
use crate::reload::ReloadState;
use exporter_toolkit::declare_metrics;
use exporter_toolkit::metric_families::MetricFamilies;
use exporter_toolkit::process_metrics;

use super::latest::ConnectionReading;
use super::snapshot::{Measured, SessionView, Snapshot};

const SESSION: &[&str] = &["session"];
const SESSION_KIND: &[&str] = &["session", "kind"];

declare_metrics! {
    FILES: gauge "baileys_auth_files" SESSION_KIND,
        "Files in the auth folder by kind, .tmp and .bak companions included.";
    ACCUMULATED: gauge "baileys_auth_accumulated_files" SESSION,
        "Files that the tiers count: those a classic folder would hold, without the bookkeeping of Baileys 7 and without the pre-keys of one large batch, visibly minted together, beyond 30.";
    REMOVABLE: gauge "baileys_auth_removable_files" &["session", "kind", "action"],
        "Files that a clean-up could move away now under the guard table, whatever the connection, by action (cleanup or emergency).";
    PRE_KEYS: gauge "baileys_auth_pre_keys" SESSION,
        "One-time pre-keys in the auth folder.";
    BATCH: gauge "baileys_auth_pre_key_batch" SESSION,
        "Pre-keys that the bot's Baileys mints at login, as used for counting: configured, or 812 where such a batch is seen in the folder, else 30.";
    AMBIGUOUS: gauge "baileys_auth_pre_key_batch_ambiguous" SESSION,
        "1 if the folder does not tell the pre-key batch for sure: a copy has changed the file times, or many pre-keys were minted and nothing else shows Baileys 7. Set the batch.";
    SESSION_UNREADABLE: gauge "baileys_auth_session_unreadable" SESSION,
        "Session files that cannot be read or understood (torn, or in the form of another engine): none of them is ever moved.";
    NEXT_PRE_KEY: gauge "baileys_auth_next_pre_key_id" SESSION,
        "The id that the next minted pre-key gets, by creds.json; it grows by one with each pre-key minted.";
    NEWEST_MISSING: gauge "baileys_auth_newest_pre_key_missing" SESSION,
        "1 if creds.json counts a newest pre-key whose file is not there: a contact used it, or something deleted it.";
    DORMANT: gauge "baileys_auth_dormant" SESSION,
        "1 if no session and no sender-key was active within 14 days, so that a clean-up is refused as dormant.";
    OLDEST_ACTIVE: gauge "baileys_auth_oldest_active_session_timestamp_seconds" SESSION,
        "Last activity of the session file that has been silent longest among those active within 14 days, as Unix time.";
    THRESHOLD: gauge "baileys_auth_tier_threshold_files" &["session", "tier"],
        "Accumulated files from which on each tier begins.";
    OLDEST: gauge "baileys_auth_oldest_file_timestamp_seconds" SESSION_KIND,
        "Modification time of the oldest file of a kind, as Unix time.";
    NEWEST: gauge "baileys_auth_newest_file_timestamp_seconds" SESSION_KIND,
        "Modification time of the newest file of a kind, as Unix time.";
    OLDEST_AGE: gauge "baileys_auth_oldest_file_age_seconds" SESSION,
        "Age of the oldest file in the auth folder at the time of the scrape; negative if its modification time lies in the future.";
    NEWEST_AGE: gauge "baileys_auth_newest_file_age_seconds" SESSION,
        "Age of the newest file in the auth folder at the time of the scrape; negative if its modification time lies in the future.";
    SIZE: gauge "baileys_auth_size_bytes" SESSION,
        "Bytes in all files of the auth folder.";
    UP: gauge "baileys_auth_folder_up" SESSION,
        "1 if the auth folder could be looked at.";
    FOLDER_ERROR: gauge "baileys_auth_folder_error" &["session", "reason"],
        "1 for an auth folder that could not be looked at: missing, permission, link (the folder is a link), timeout (its file system hangs), not_an_auth_folder or io; absent for the others.";
    CREDS_VALID: gauge "baileys_auth_creds_valid" SESSION,
        "1 if creds.json is there and can be understood; 0 if it is missing, empty, cut off or unreadable. Absent where the creds are elsewhere.";
    CREDS_ELSEWHERE: gauge "baileys_auth_creds_elsewhere" SESSION,
        "Where the configuration says creds: elsewhere: 1 if the folder has, and had, no creds.json, so that none is missed; 0 if it has or had one, which is watched as usual.";
    LOGGED_IN: gauge "baileys_auth_logged_in" SESSION,
        "1 if creds.json says that the bot is paired with an account. Absent where the creds are elsewhere.";
    CONNECTION: gauge "baileys_auth_connection_state" &["session", "state"],
        "1 for what the evidence says of the bot's connection, 0 for the others; unknown without a verdict of the last 5 minutes. The remediator asks again before it acts.";
    UNRESOLVED: gauge "baileys_auth_connection_unresolved" SESSION,
        "1 if a probe or the process was asked about the connection and no verdict came of it: no answer that counts, or a contradiction. 0 where there is a verdict, or only a process that runs and logs to tell from. Absent without a source, and before the first verdict.";
    PROCESS_RESTARTS: counter "baileys_auth_process_restarts_total" SESSION,
        "How often the bot's process was another one than at the look before; looked at every 30 seconds. Absent until the process was seen running; begins again with the exporter.";
    WARNINGS: counter "baileys_auth_signal_warnings_total" &["session", "pattern"],
        "Signs of trouble in the session's logs by pattern, each event once. Kept across restarts.";
    LOG_LINES: counter "baileys_auth_log_lines_total" SESSION,
        "Lines read in the session's logs. Kept across restarts.";
    LOG_SECRETS: counter "baileys_auth_log_secret_lines_total" SESSION,
        "Lines in the session's logs that show a private key. Kept across restarts.";
    LOG_LAST_LINE: gauge "baileys_auth_log_last_line_timestamp_seconds" SESSION,
        "When the newest line in the session's logs was written, as Unix time.";
    REPORTS: counter "baileys_auth_signal_reports_total" &["session", "pattern"],
        "Of device_removed, connection_replaced, account_banned and creds_corrupt: events in a form that the library's logger or the bot's own report writes. Kept across restarts.";
    HALF_MONITORED: gauge "baileys_auth_log_half_monitored" &["session"],
        "1 where the session has log lines, but none of the library's logger was ever seen: only what the bot itself prints is counted.";
    LOG_MISSING: gauge "baileys_auth_log_missing" SESSION,
        "1 where a process of the session's own runs, and no log was found that belongs to the session and no line of it was ever read.";
    PATTERN_INFO: gauge "baileys_exporter_log_pattern_info" &["pattern", "severity"],
        "A pattern that is looked for in the logs; the value is 1.";
    LOG_FILES: gauge "baileys_exporter_log_files" &[],
        "Log files that are followed.";
    LOG_GLOB_MATCHED: gauge "baileys_exporter_log_glob_matched" &["glob"],
        "1 if a log file that is followed matches the configured glob.";
    LOG_UNREAD: gauge "baileys_exporter_log_unread_bytes" &[],
        "Bytes that stand in the logs and are not counted and saved yet.";
    LOG_UNPLACED: counter "baileys_exporter_log_lines_unplaced_total" &[],
        "Lines of logs that belong to no session that has a folder, had one within 30 days, or is declared. Kept across restarts.";
    LOG_UNPLACED_SIGNALS: counter "baileys_exporter_log_unplaced_signals_total" &["glob", "pattern"],
        "Signs of trouble in lines that belong to no session, by the configured glob that names the log, and by pattern. Kept across restarts.";
    LOG_OVERLONG: counter "baileys_exporter_log_overlong_lines_total" &[],
        "Lines of more than 64 KiB; they are judged to their end. Kept across restarts.";
    LOG_TRUNCATIONS: counter "baileys_exporter_log_truncations_total" &["copy"],
        "Logs that were emptied or taken away, by whether a copy of what had not been read was found. Kept across restarts.";
    LOG_READ_ERRORS: counter "baileys_exporter_log_read_errors_total" &[],
        "Attempts to look at a log that failed; the exporter's own log says which. Kept across restarts.";
    LOG_COMMITTED: gauge "baileys_exporter_log_last_commit_timestamp_seconds" &[],
        "When the counts of the logs were last known to be saved, as Unix time; they are not shown before.";
    BUILD_INFO: gauge "baileys_exporter_build_info" &["version"],
        "Version of the exporter; the value is 1.";
    SUCCESS: gauge "baileys_exporter_scrape_collector_success" &["collector"],
        "1 if everything that the collector was to look at could be looked at.";
    DURATION: gauge "baileys_exporter_scrape_collector_duration_seconds" &["collector"],
        "How long the collector took.";
    OLDEST_SCAN: gauge "baileys_exporter_oldest_scan_timestamp_seconds" &[],
        "The earliest time at which one of the auth folders was last scanned file by file, as Unix time; at most 5 minutes ago. Names, counts and creds.json are of the scrape itself, ages and activity of the scan.";
    SESSIONS: gauge "baileys_exporter_sessions" &[],
        "Auth folders found.";
    SKIPPED: gauge "baileys_exporter_sessions_skipped" &["reason"],
        "Auth folders and paths left out, by reason; the log says which.";
    RELOAD_SUCCESS: gauge "baileys_exporter_config_last_reload_successful" &[],
        "1 if the last load of the configuration succeeded; after a failure the former one stays in force.";
    RELOAD_TIME: gauge "baileys_exporter_config_last_reload_success_timestamp_seconds" &[],
        "When the configuration in force was loaded, as Unix time.";
}

/// Fills the metric families of one scrape. `connection` tells the latest verdict on a session.
pub fn metric_families(
    snapshot: &Snapshot,
    logs: Option<(&Published, &Patterns)>,
    reload: ReloadState,
    connection: impl Fn(&SessionName) -> ConnectionReading,
) -> MetricFamilies {
    let mut out = MetricFamilies::default();
    if let Some((logs, patterns)) = logs {
        add_logs(&mut out, snapshot, logs, patterns);
    }
    for view in &snapshot.sessions {
        add_session(&mut out, view, snapshot.at);
        let reading = connection(&view.session);
        let session = view.session.as_str();
        add_connection(&mut out, session, reading);
        if let Some((logs, _)) = logs.filter(|(logs, _)| !logs.is_first_reading) {
            let is_heard = logs.sessions.get(session).is_some_and(SessionLog::is_heard);
            let is_missing = reading.has_own_process && !is_heard;
            out.add(&LOG_MISSING, &[session], f64::from(is_missing));
        }
    }
    out.add(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    out.add(&SUCCESS, &["folders"], f64::from(snapshot.is_complete()));
    out.add(&DURATION, &["folders"], snapshot.took.as_secs_f64());
    if let Some(at) = snapshot.oldest_look {
        out.add(&OLDEST_SCAN, &[], at.seconds());
    }
    out.add(&SESSIONS, &[], snapshot.sessions.len() as f64);
    for reason in SkipReason::ALL {
        let skipped = snapshot
            .skipped
            .iter()
            .filter(|skipped| skipped.reason == reason)
            .count();
        out.add(&SKIPPED, &[reason.label()], skipped as f64);
    }
    out.add(&RELOAD_SUCCESS, &[], f64::from(reload.successful));
    out.add(&RELOAD_TIME, &[], reload.loaded_at.seconds());
    process_metrics::add(&mut out);
    out
}

fn add_connection(out: &mut MetricFamilies, session: &str, reading: ConnectionReading) {
    for state in State::ALL {
        let holds = f64::from(reading.state == state);
        out.add(&CONNECTION, &[session, state.label()], holds);
    }
    if let Some(unresolved) = reading.is_unresolved {
        out.add(&UNRESOLVED, &[session], f64::from(unresolved));
    }
    if let Some(restarts) = reading.restarts {
        out.add(&PROCESS_RESTARTS, &[session], restarts as f64);
    }
}

fn add_logs(out: &mut MetricFamilies, snapshot: &Snapshot, logs: &Published, patterns: &Patterns) {
    // Every session has every counter from the start, and so has one whose folder is gone or
    // elsewhere. While old lines are counted there is none, because a counter that grows is news.
    let folders = snapshot.sessions.iter().map(|view| view.session.as_str());
    let alone = logs
        .sessions
        .iter()
        .filter(|(_, log)| log.is_known)
        .map(|(name, _)| name.as_str());
    let all = folders.chain(alone).filter(|_| !logs.is_first_reading);
    for session in all.collect::<BTreeSet<_>>() {
        let log = logs.sessions.get(session).unwrap_or(&logs.unheard);
        for (pattern, events) in &log.events {
            out.add(&WARNINGS, &[session, pattern], *events as f64);
        }
        for (pattern, reports) in &log.reports {
            out.add(&REPORTS, &[session, pattern], *reports as f64);
        }
        out.add(&LOG_LINES, &[session], log.lines as f64);
        out.add(&LOG_SECRETS, &[session], log.secrets as f64);
        let half = f64::from(log.is_half_monitored());
        out.add(&HALF_MONITORED, &[session], half);
        if let Some(at) = log.last_line {
            out.add(&LOG_LAST_LINE, &[session], at.seconds());
        }
    }
    for pattern in patterns.patterns() {
        out.add(
            &PATTERN_INFO,
            &[&pattern.name, pattern.severity.label()],
            1.0,
        );
    }
    out.add(&LOG_FILES, &[], logs.files as f64);
    for (glob, is_matched) in &logs.globs_matched {
        out.add(&LOG_GLOB_MATCHED, &[glob], f64::from(*is_matched));
    }
    out.add(&LOG_UNREAD, &[], logs.unread_bytes as f64);
    out.add(&LOG_UNPLACED, &[], logs.unplaced as f64);
    let unplaced = logs.unplaced_events.iter();
    for (glob, events) in unplaced.filter(|_| !logs.is_first_reading) {
        for (pattern, events) in events {
            out.add(&LOG_UNPLACED_SIGNALS, &[glob, pattern], *events as f64);
        }
    }
    out.add(&LOG_OVERLONG, &[], logs.overlong as f64);
    out.add(&LOG_TRUNCATIONS, &["found"], logs.copies_found as f64);
    out.add(&LOG_TRUNCATIONS, &["missing"], logs.copies_missing as f64);
    out.add(&LOG_READ_ERRORS, &[], logs.read_errors as f64);
    out.add(&LOG_COMMITTED, &[], logs.committed_at.seconds());
}

fn add_session(out: &mut MetricFamilies, view: &SessionView, now: Timestamp) {
    let session = view.session.as_str();
    out.add(&UP, &[session], f64::from(view.state.is_ok()));
    for tier in Tier::ALL {
        out.add(
            &THRESHOLD,
            &[session, tier.label()],
            view.thresholds.of(tier) as f64,
        );
    }
    match &view.state {
        Ok(measured) => add_measured(out, session, measured, now),
        Err(error) => out.add(&FOLDER_ERROR, &[session, error.reason], 1.0),
    }
}

fn add_measured(out: &mut MetricFamilies, session: &str, measured: &Measured, now: Timestamp) {
    for kind in Kind::ALL {
        let files = measured.kinds.get(&kind).copied().unwrap_or_default();
        out.add(&FILES, &[session, kind.label()], files.count as f64);
        if let Some((oldest, newest)) = files.modified {
            out.add(&OLDEST, &[session, kind.label()], oldest.seconds());
            out.add(&NEWEST, &[session, kind.label()], newest.seconds());
        }
    }
    for (column, kinds) in &measured.removable {
        for kind in crate::policy::guard::MOVABLE_KINDS {
            let files = kinds.get(&kind).copied().unwrap_or(0);
            out.add(
                &REMOVABLE,
                &[session, kind.label(), column.label()],
                files as f64,
            );
        }
    }
    out.add(&ACCUMULATED, &[session], measured.accumulated as f64);
    out.add(&PRE_KEYS, &[session], measured.pre_keys as f64);
    out.add(&BATCH, &[session], f64::from(measured.batches.measured));
    out.add(
        &AMBIGUOUS,
        &[session],
        f64::from(measured.batches.is_ambiguous()),
    );
    out.add(
        &SESSION_UNREADABLE,
        &[session],
        measured.unreadable_sessions as f64,
    );
    if let Some(next) = measured
        .creds
        .facts()
        .and_then(|facts| facts.next_pre_key_id)
    {
        out.add(&NEXT_PRE_KEY, &[session], f64::from(next));
    }
    if let Some(missing) = measured.newest_pre_key_missing {
        out.add(&NEWEST_MISSING, &[session], f64::from(missing));
    }
    out.add(&DORMANT, &[session], f64::from(measured.dormant));
    if let Some(at) = measured.oldest_active_session {
        out.add(&OLDEST_ACTIVE, &[session], at.seconds());
    }
    let age = |at: Timestamp| now.seconds() - at.seconds();
    if let Some((oldest, newest)) = measured.files.modified {
        out.add(&OLDEST_AGE, &[session], age(oldest));
        out.add(&NEWEST_AGE, &[session], age(newest));
    }
    out.add(&SIZE, &[session], measured.files.bytes as f64);
    if let Some(holds) = measured.creds_elsewhere {
        out.add(&CREDS_ELSEWHERE, &[session], f64::from(holds));
    }
    if measured.creds_elsewhere == Some(true) {
        return;
    }
    out.add(
        &CREDS_VALID,
        &[session],
        f64::from(matches!(measured.creds, Creds::Valid(_))),
    );
    let logged_in = measured.creds.facts().is_some_and(|facts| facts.logged_in);
    out.add(&LOGGED_IN, &[session], f64::from(logged_in));
}
