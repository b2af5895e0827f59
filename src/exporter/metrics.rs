//! From a snapshot to metric families. Each metric is declared here and nowhere else;
//! docs/metrics.md lists them, and a test holds the two together.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{MetricGroup, MetricGroups};
use crate::connection::State;
use crate::folder::discovery::SkipReason;
use crate::folder::{Creds, Kind, SessionName, Timestamp};
use crate::logs::{Patterns, Published, SessionLog};
use crate::policy::Tier;
use crate::policy::guard::MOVABLE_KINDS;
use crate::reload::ReloadState;
use exporter_toolkit::metric_families::{MetricDeclaration, MetricFamilies};
use exporter_toolkit::{Samples, declare_metrics, process_metrics};

use super::latest::ConnectionReading;
use super::snapshot::{Measured, SessionView, Snapshot};
use super::status::COPY;

const SESSION: &[&str] = &["session"];
const SESSION_KIND: &[&str] = &["session", "kind"];

declare_metrics! {
    FILES: gauge [files] "baileys_auth_files" SESSION_KIND,
        "Files in the auth folder by kind, with their .tmp and .bak. Without the collector empty_kinds, absent for a kind without files.";
    ACCUMULATED: gauge "baileys_auth_accumulated_files" SESSION,
        "Files that the tiers count: without the bookkeeping of Baileys 7, and of one large batch of pre-keys only 30.";
    REMOVABLE: gauge [removable] "baileys_auth_removable_files" &["session", "kind", "action"],
        "Files that the guard table would let a clean-up move now, whatever the connection, by action (cleanup or emergency).";
    PRE_KEYS: gauge [pre_keys] "baileys_auth_pre_keys" SESSION,
        "One-time pre-keys in the auth folder.";
    BATCH: gauge [pre_keys] "baileys_auth_pre_key_batch" SESSION,
        "Pre-keys that the bot's Baileys mints at login, as used for counting: configured, or 812 where the folder shows such a batch, else 30.";
    AMBIGUOUS: gauge [pre_keys] "baileys_auth_pre_key_batch_ambiguous" SESSION,
        "1 if the folder does not tell the pre-key batch for sure, for example after a copy without file times: set the batch.";
    SESSION_UNREADABLE: gauge "baileys_auth_session_unreadable" SESSION,
        "Session files that cannot be read or understood; none of them is ever moved.";
    NEXT_PRE_KEY: gauge [pre_keys] "baileys_auth_next_pre_key_id" SESSION,
        "Id of the next pre-key to be minted, by creds.json.";
    NEWEST_MISSING: gauge [pre_keys] "baileys_auth_newest_pre_key_missing" SESSION,
        "1 if the file of the newest pre-key by creds.json is missing: a contact used it, or something deleted it.";
    DORMANT: gauge "baileys_auth_dormant" SESSION,
        "1 if no session and no sender-key was active within 14 days; a clean-up is refused then.";
    OLDEST_ACTIVE: gauge "baileys_auth_oldest_active_session_timestamp_seconds" SESSION,
        "Last activity of the session that was silent longest among those active within 14 days.";
    THRESHOLD: gauge "baileys_auth_tier_threshold_files" &["session", "tier"],
        "Accumulated files from which on each tier begins.";
    OLDEST: gauge [file_times] "baileys_auth_oldest_file_timestamp_seconds" SESSION_KIND,
        "Modification time of the oldest file of a kind.";
    NEWEST: gauge [file_times] "baileys_auth_newest_file_timestamp_seconds" SESSION_KIND,
        "Modification time of the newest file of a kind.";
    OLDEST_AGE: gauge "baileys_auth_oldest_file_age_seconds" SESSION,
        "Age of the oldest file in the auth folder; negative if its time lies in the future.";
    NEWEST_AGE: gauge "baileys_auth_newest_file_age_seconds" SESSION,
        "Age of the newest file in the auth folder that is no message store; negative if its time lies in the future.";
    SIZE: gauge [size] "baileys_auth_size_bytes" SESSION,
        "Bytes in all files of the auth folder.";
    UP: gauge "baileys_auth_folder_up" SESSION,
        "1 if the auth folder could be looked at.";
    FOLDER_ERROR: gauge "baileys_auth_folder_error" &["session", "reason"],
        "1 for an auth folder that could not be looked at: missing, permission, link (the folder is a link), timeout (its file system hangs), not_an_auth_folder or io; absent for the others.";
    CREDS_VALID: gauge "baileys_auth_creds_valid" SESSION,
        "1 if creds.json is there and can be understood, else 0. Absent where the creds are elsewhere.";
    CREDS_ELSEWHERE: gauge "baileys_auth_creds_elsewhere" SESSION,
        "With creds: elsewhere: 1 if the folder never had a creds.json; 0 if it has or had one, which is watched as usual.";
    LOGGED_IN: gauge "baileys_auth_logged_in" SESSION,
        "1 if creds.json says that the bot is paired with an account. Absent where the creds are elsewhere.";
    CONNECTION: gauge [connection] "baileys_auth_connection_state" &["session", "state"],
        "1 for the state of the bot's connection, 0 for the others; unknown without a verdict of the last 5 minutes.";
    UNRESOLVED: gauge [connection] "baileys_auth_connection_unresolved" SESSION,
        "1 if a probe or the process was asked and no verdict came of it, the log shows that the process has not connected or has ended, or no connection of its sockets lasts or has lasted until now. 0 where there is a verdict, or only a process that runs and logs. Absent without a source, and before the first verdict.";
    SHARED_CONNECTION: gauge [connection] "baileys_auth_shared_connection" SESSION,
        "1 if the process of several sessions has a connection that has lasted, or a probe that is asked about several says connected: it may be that of any of them. Absent otherwise.";
    PROCESS_RUNNING: gauge [connection] "baileys_auth_process_running" SESSION,
        "1 if the session's process runs; 0 if it has ended and nothing shows a connection: it is proven gone, or its supervisor does not run or has no such process and the process that was last seen has ended. Absent otherwise, and while several sessions have one process that runs.";
    STOPPED_ON_REQUEST: gauge [connection] "baileys_auth_stopped_on_request" SESSION,
        "1 if the bot's process has ended, and its supervisor shows that it was asked to stop it, or no longer has it although the machine was not rebooted; else 0. Absent without a probe or a process.";
    PROCESS_RESTARTS: counter [connection] "baileys_auth_process_restarts_total" SESSION,
        "How often the bot's process was restarted since the start of the exporter. pm2, systemd, docker and podman count that; a restart that they do not count, and one under another supervisor, is seen where the process is another one than 30 seconds before. Absent until the process was seen running or its supervisor told a count.";
    WARNINGS: counter [logs] "baileys_auth_signal_warnings_total" &["session", "pattern"],
        "Signs of trouble in the session's logs by pattern, each event once. Kept across restarts.";
    LOG_LINES: counter [logs] "baileys_auth_log_lines_total" SESSION,
        "Lines read in the session's logs. Kept across restarts.";
    LOG_SECRETS: counter [logs] "baileys_auth_log_secret_lines_total" SESSION,
        "Lines in the session's logs that show a private key. Kept across restarts.";
    LOG_LAST_LINE: gauge [logs] "baileys_auth_log_last_line_timestamp_seconds" SESSION,
        "When the newest line in the session's logs was written.";
    LAST_REMOVAL: gauge [logs] "baileys_auth_last_removal_timestamp_seconds" SESSION,
        "When the session's logs last said that WhatsApp has removed the device; 0 if they never did. Kept across restarts.";
    LAST_OPEN: gauge [logs] "baileys_auth_last_open_timestamp_seconds" SESSION,
        "When the session's logs last said that the connection was opened; 0 if they never did. Kept across restarts.";
    REPORTS: counter [logs] "baileys_auth_signal_reports_total" &["session", "pattern"],
        "Events of device_removed, connection_replaced, account_banned and creds_corrupt that the library's logger or the bot itself reported. Kept across restarts.";
    HALF_MONITORED: gauge [logs] "baileys_auth_log_half_monitored" &["session"],
        "1 where the session has log lines, but none of the library's logger was ever seen.";
    LOG_MISSING: gauge [logs] "baileys_auth_log_missing" SESSION,
        "1 where a process of the session's own runs, and no log of the session was ever found.";
    PATTERN_INFO: gauge "baileys_exporter_log_pattern_info" &["pattern", "severity"],
        "A pattern that is looked for in the logs; the value is 1.";
    LOG_FILES: gauge "baileys_exporter_log_files" &[],
        "Log files that are followed.";
    LOG_GLOB_MATCHED: gauge "baileys_exporter_log_glob_matched" &["glob"],
        "1 if a log file that is followed matches the configured glob.";
    LOG_UNREAD: gauge "baileys_exporter_log_unread_bytes" &[],
        "Bytes of the logs that are not counted and saved yet.";
    LOG_UNPLACED: counter "baileys_exporter_log_lines_unplaced_total" &[],
        "Log lines that belong to no known session. Kept across restarts.";
    LOG_UNPLACED_SIGNALS: counter "baileys_exporter_log_unplaced_signals_total" &["glob", "pattern"],
        "Signs of trouble in lines that belong to no session, by the configured glob of the log and by pattern. Kept across restarts.";
    LOG_OVERLONG: counter "baileys_exporter_log_overlong_lines_total" &[],
        "Lines of more than 64 KiB. Kept across restarts.";
    LOG_TRUNCATIONS: counter "baileys_exporter_log_truncations_total" &["copy"],
        "Logs that were emptied or taken away, by whether a copy of the unread part was found. Kept across restarts.";
    LOG_READ_ERRORS: counter "baileys_exporter_log_read_errors_total" &[],
        "Failed attempts to look at a log; the exporter's own log says which. Kept across restarts.";
    LOG_COMMITTED: gauge "baileys_exporter_log_last_commit_timestamp_seconds" &[],
        "When the counts of the logs were last saved, or there was nothing to save; 0 before the first look.";
    BUILD_INFO: gauge "baileys_exporter_build_info" &["version"],
        "Version of the exporter; the value is 1.";
    SUCCESS: gauge "baileys_exporter_scrape_collector_success" &["collector"],
        "1 if everything that the collector was to look at could be looked at.";
    OLDEST_SCAN: gauge "baileys_exporter_oldest_scan_timestamp_seconds" &[],
        "The earliest time at which one of the auth folders was last scanned file by file; at most 5 minutes ago.";
    DURATION: gauge "baileys_exporter_scrape_collector_duration_seconds" &["collector"],
        "How long the collector took.";
    SESSIONS: gauge "baileys_exporter_sessions" &[],
        "Auth folders found.";
    SKIPPED: gauge "baileys_exporter_sessions_skipped" &["reason"],
        "Auth folders and paths left out, by reason; the log says which. A copy of a session's folder is counted, and has no tiers.";
    RELOAD_SUCCESS: gauge "baileys_exporter_config_last_reload_successful" &[],
        "1 if the last load of the configuration succeeded; after a failure the former one stays in force.";
    RELOAD_TIME: gauge "baileys_exporter_config_last_reload_success_timestamp_seconds" &[],
        "When the configuration in force was loaded.";
}

/// The metrics of one scrape, without the groups that are left out. `connection` tells the latest
/// verdict on a session.
pub fn metric_families<'a>(
    snapshot: &'a Snapshot,
    logs: Option<(&'a Published, &'a Patterns)>,
    reload: ReloadState,
    groups: &MetricGroups,
    connection: impl Fn(&SessionName) -> ConnectionReading,
) -> MetricFamilies<'a> {
    let mut out = ShownMetrics {
        families: MetricFamilies::default(),
        groups,
    };
    let readings: Readings<'_> = sessions(snapshot)
        .map(|view| (view.session.as_str(), connection(&view.session)))
        .collect();
    add_folders(&mut out, snapshot);
    add_connection(&mut out, &readings);
    if let Some((logs, patterns)) = logs {
        add_session_logs(&mut out, snapshot, logs, &readings);
        add_logs(&mut out, logs, patterns);
    }
    out.add(&BUILD_INFO, |out| {
        out.add(&[env!("CARGO_PKG_VERSION")], 1.0);
    });
    out.add(&SUCCESS, |out| {
        out.add(&["folders"], f64::from(snapshot.is_complete()));
    });
    out.add(&DURATION, |out| {
        out.add(&["folders"], snapshot.took.as_secs_f64());
    });
    if let Some(at) = snapshot.oldest_scan {
        out.add_value(&OLDEST_SCAN, at.seconds());
    }
    out.add_value(&SESSIONS, snapshot.sessions.len() as f64);
    out.add(&SKIPPED, |out| {
        for reason in SkipReason::ALL {
            let skipped = snapshot.skipped.iter();
            let skipped = skipped.filter(|skipped| skipped.reason == reason).count();
            out.add(&[reason.label()], skipped as f64);
        }
        let copies = snapshot.sessions.iter().filter(|view| view.is_copy());
        out.add(&[COPY], copies.count() as f64);
    });
    out.add_value(&RELOAD_SUCCESS, f64::from(reload.successful));
    out.add_value(&RELOAD_TIME, reload.loaded_at.seconds());
    process_metrics::add(&mut out.families);
    out.families
}

/// The metrics of the groups that are shown.
struct ShownMetrics<'a, 'g> {
    families: MetricFamilies<'a>,
    groups: &'g MetricGroups,
}

impl<'a> ShownMetrics<'a, '_> {
    fn add(&mut self, declared: &MetricDeclaration, source: impl FnOnce(&mut Samples<'_>) + 'a) {
        if declared
            .group
            .is_none_or(|group| self.groups.has_named(group))
        {
            self.families.add(declared, source);
        }
    }

    fn add_value(&mut self, declared: &MetricDeclaration, value: f64) {
        self.add(declared, move |out| out.add(&[], value));
    }

    /// One value of each folder that could be looked at, copies included, or none.
    fn add_of_folders(
        &mut self,
        declared: &MetricDeclaration,
        snapshot: &'a Snapshot,
        value: impl Fn(&Measured) -> Option<f64> + 'a,
    ) {
        self.add(declared, move |out| {
            for (session, measured) in measured(snapshot) {
                if let Some(value) = value(measured) {
                    out.add(&[session], value);
                }
            }
        });
    }

    /// One value of each session whose folder could be looked at, or none.
    fn add_of_sessions(
        &mut self,
        declared: &MetricDeclaration,
        snapshot: &'a Snapshot,
        value: impl Fn(&Measured) -> Option<f64> + 'a,
    ) {
        self.add(declared, move |out| {
            for (session, measured) in measured_sessions(snapshot) {
                if let Some(value) = value(measured) {
                    out.add(&[session], value);
                }
            }
        });
    }
}

/// The folders that could be looked at.
fn measured(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Measured)> {
    let sessions = snapshot.sessions.iter();
    sessions.filter_map(|view| Some((view.session.as_str(), view.state.as_deref().ok()?)))
}

/// The sessions: what has a login of its own.
fn sessions(snapshot: &Snapshot) -> impl Iterator<Item = &SessionView> {
    snapshot.sessions.iter().filter(|view| !view.is_copy())
}

/// The sessions whose folder could be looked at.
fn measured_sessions(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Measured)> {
    sessions(snapshot).filter_map(|view| Some((view.session.as_str(), view.state.as_deref().ok()?)))
}

/// By session, in the order of the snapshot.
type Readings<'a> = Rc<[(&'a str, ConnectionReading)]>;

fn add_connection<'a>(out: &mut ShownMetrics<'a, '_>, readings: &Readings<'a>) {
    let all = Rc::clone(readings);
    out.add(&CONNECTION, move |out| {
        for (session, reading) in all.iter() {
            for state in State::ALL {
                let holds = f64::from(reading.state == state);
                out.add(&[session, state.label()], holds);
            }
        }
    });
    let all = Rc::clone(readings);
    out.add(&UNRESOLVED, move |out| {
        for (session, reading) in all.iter() {
            if let Some(unresolved) = reading.is_unresolved {
                out.add(&[session], f64::from(unresolved));
            }
        }
    });
    let all = Rc::clone(readings);
    out.add(&SHARED_CONNECTION, move |out| {
        for (session, _) in all.iter().filter(|(_, one)| one.has_shared_connection) {
            out.add(&[session], 1.0);
        }
    });
    let all = Rc::clone(readings);
    out.add(&PROCESS_RUNNING, move |out| {
        for (session, reading) in all.iter() {
            if let Some(running) = reading.process_running {
                out.add(&[session], f64::from(running));
            }
        }
    });
    let all = Rc::clone(readings);
    out.add(&STOPPED_ON_REQUEST, move |out| {
        for (session, reading) in all.iter() {
            if let Some(stopped) = reading.is_stopped_on_request {
                out.add(&[session], f64::from(stopped));
            }
        }
    });
    let all = Rc::clone(readings);
    out.add(&PROCESS_RESTARTS, move |out| {
        for (session, reading) in all.iter() {
            if let Some(restarts) = reading.restarts {
                out.add(&[session], restarts as f64);
            }
        }
    });
}

/// PatternCounts by pattern.
type PatternCounts = [(Arc<str>, u64)];

/// What the logs of each session say. While old lines are counted there is nothing, because a
/// counter that grows is news.
fn add_session_logs<'a>(
    out: &mut ShownMetrics<'a, '_>,
    snapshot: &'a Snapshot,
    logs: &'a Published,
    readings: &Readings<'a>,
) {
    if logs.is_first_reading {
        return;
    }
    // Every session has every counter from the start, and so has one whose folder is gone or
    // elsewhere.
    let folders = snapshot.sessions.iter().map(|view| view.session.as_str());
    let known = logs.sessions.iter().filter(|(_, log)| log.is_known);
    let names: BTreeSet<&str> = folders
        .chain(known.map(|(name, _)| name.as_str()))
        .collect();
    let all = names
        .into_iter()
        .map(|name| (name, logs.sessions.get(name).unwrap_or(&logs.unheard)));
    let sessions: Rc<[(&str, &SessionLog)]> = all.collect();

    let by_pattern = |out: &mut ShownMetrics<'a, '_>,
                      declared: &MetricDeclaration,
                      counts: fn(&SessionLog) -> &PatternCounts| {
        let sessions = Rc::clone(&sessions);
        out.add(declared, move |out| {
            for (session, log) in sessions.iter() {
                for (pattern, count) in counts(log) {
                    out.add(&[session, pattern], *count as f64);
                }
            }
        });
    };
    by_pattern(out, &WARNINGS, |log| &log.events);
    by_pattern(out, &REPORTS, |log| &log.reports);
    let value = |out: &mut ShownMetrics<'a, '_>,
                 declared: &MetricDeclaration,
                 value: fn(&SessionLog) -> Option<f64>| {
        let sessions = Rc::clone(&sessions);
        out.add(declared, move |out| {
            for (session, log) in sessions.iter() {
                if let Some(value) = value(log) {
                    out.add(&[session], value);
                }
            }
        });
    };
    value(out, &LOG_LINES, |log| Some(log.lines as f64));
    value(out, &LOG_SECRETS, |log| Some(log.secrets as f64));
    value(out, &HALF_MONITORED, |log| {
        Some(f64::from(log.is_half_monitored()))
    });
    value(out, &LOG_LAST_LINE, |log| Some(log.last_line?.seconds()));
    value(out, &LAST_REMOVAL, |log| Some(log.removed_at as f64));
    value(out, &LAST_OPEN, |log| Some(log.opened_at as f64));
    let readings = Rc::clone(readings);
    out.add(&LOG_MISSING, move |out| {
        for (session, reading) in readings.iter() {
            let is_heard = logs
                .sessions
                .get(*session)
                .is_some_and(SessionLog::is_heard);
            let is_missing = reading.process_running == Some(true) && !is_heard;
            out.add(&[session], f64::from(is_missing));
        }
    });
}

/// What all logs say together.
fn add_logs<'a>(out: &mut ShownMetrics<'a, '_>, logs: &'a Published, patterns: &'a Patterns) {
    out.add(&PATTERN_INFO, |out| {
        for pattern in patterns.patterns() {
            out.add(&[&pattern.name, pattern.severity.label()], 1.0);
        }
    });
    out.add_value(&LOG_FILES, logs.files as f64);
    out.add(&LOG_GLOB_MATCHED, |out| {
        for (glob, is_matched) in &logs.globs_matched {
            out.add(&[glob], f64::from(*is_matched));
        }
    });
    out.add_value(&LOG_UNREAD, logs.unread_bytes as f64);
    out.add_value(&LOG_UNPLACED, logs.unplaced as f64);
    out.add(&LOG_UNPLACED_SIGNALS, |out| {
        let unplaced = logs.unplaced_events.iter();
        for (glob, events) in unplaced.filter(|_| !logs.is_first_reading) {
            for (pattern, events) in events {
                out.add(&[glob, pattern], *events as f64);
            }
        }
    });
    out.add_value(&LOG_OVERLONG, logs.overlong as f64);
    out.add(&LOG_TRUNCATIONS, |out| {
        out.add(&["found"], logs.copies_found as f64);
        out.add(&["missing"], logs.copies_missing as f64);
    });
    out.add_value(&LOG_READ_ERRORS, logs.read_errors as f64);
    out.add_value(&LOG_COMMITTED, logs.committed_at.seconds());
}

fn add_folders<'a>(out: &mut ShownMetrics<'a, '_>, snapshot: &'a Snapshot) {
    out.add(&UP, |out| {
        for view in &snapshot.sessions {
            out.add(&[view.session.as_str()], f64::from(view.state.is_ok()));
        }
    });
    out.add(&THRESHOLD, |out| {
        for view in sessions(snapshot) {
            for tier in Tier::ALL {
                let files = view.thresholds.of(tier) as f64;
                out.add(&[view.session.as_str(), tier.label()], files);
            }
        }
    });
    out.add(&FOLDER_ERROR, |out| {
        for view in &snapshot.sessions {
            if let Err(error) = &view.state {
                out.add(&[view.session.as_str(), error.reason], 1.0);
            }
        }
    });
    add_measured(out, snapshot);
}

fn add_measured<'a>(out: &mut ShownMetrics<'a, '_>, snapshot: &'a Snapshot) {
    let shows_empty = out.groups.has(MetricGroup::EmptyKinds);
    out.add(&FILES, move |out| {
        for (session, measured) in measured(snapshot) {
            for kind in Kind::ALL {
                let files = measured.count(kind);
                if files > 0 || shows_empty {
                    out.add(&[session, kind.label()], files as f64);
                }
            }
        }
    });
    out.add(&OLDEST, move |out| {
        for (session, measured) in measured_sessions(snapshot) {
            for (kind, files) in &measured.kinds {
                if let Some((oldest, _)) = files.modified {
                    out.add(&[session, kind.label()], oldest.seconds());
                }
            }
        }
    });
    out.add(&NEWEST, move |out| {
        for (session, measured) in measured_sessions(snapshot) {
            for (kind, files) in &measured.kinds {
                if let Some((_, newest)) = files.modified {
                    out.add(&[session, kind.label()], newest.seconds());
                }
            }
        }
    });
    out.add(&REMOVABLE, move |out| {
        for (session, measured) in measured_sessions(snapshot) {
            for (column, kinds) in &measured.removable {
                // While the process may live, no sender-key-memory is moved.
                for kind in MOVABLE_KINDS
                    .into_iter()
                    .filter(|kind| *kind != Kind::SenderKeyMemory)
                {
                    let files = kinds.get(&kind).copied().unwrap_or(0);
                    out.add(&[session, kind.label(), column.label()], files as f64);
                }
            }
        }
    });
    out.add_of_sessions(&ACCUMULATED, snapshot, |of| Some(of.accumulated as f64));
    out.add_of_sessions(&PRE_KEYS, snapshot, |of| Some(of.pre_keys as f64));
    out.add_of_sessions(&BATCH, snapshot, |of| Some(f64::from(of.batches.measured)));
    out.add_of_sessions(&AMBIGUOUS, snapshot, |of| {
        Some(f64::from(of.batches.is_ambiguous()))
    });
    out.add_of_sessions(&SESSION_UNREADABLE, snapshot, |of| {
        Some(of.unreadable_sessions as f64)
    });
    out.add_of_sessions(&NEXT_PRE_KEY, snapshot, |of| {
        Some(f64::from(of.creds.facts()?.next_pre_key_id?))
    });
    out.add_of_sessions(&NEWEST_MISSING, snapshot, |of| {
        of.newest_pre_key_missing.map(f64::from)
    });
    out.add_of_sessions(&DORMANT, snapshot, |of| Some(f64::from(of.dormant)));
    out.add_of_sessions(&OLDEST_ACTIVE, snapshot, |of| {
        Some(of.oldest_active_session?.seconds())
    });
    let age = |at: Timestamp| snapshot.at.seconds() - at.seconds();
    out.add_of_sessions(&OLDEST_AGE, snapshot, move |of| {
        Some(age(of.files.modified?.0))
    });
    out.add_of_sessions(&NEWEST_AGE, snapshot, move |of| {
        Some(age(of.newest_write?.at))
    });
    out.add_of_folders(&SIZE, snapshot, |of| Some(of.files.bytes as f64));
    out.add_of_sessions(&CREDS_ELSEWHERE, snapshot, |of| {
        of.creds_elsewhere.map(f64::from)
    });
    out.add_of_folders(&CREDS_VALID, snapshot, |of| {
        let is_valid = matches!(of.creds, Creds::Valid(_));
        has_creds(of).then_some(f64::from(is_valid))
    });
    out.add_of_folders(&LOGGED_IN, snapshot, |of| {
        let facts = of.creds.facts();
        let is_logged_in = facts.is_some_and(|facts| facts.logged_in);
        has_creds(of).then_some(f64::from(is_logged_in))
    });
}

/// Whether its creds.json is to be there.
fn has_creds(measured: &Measured) -> bool {
    measured.creds_elsewhere != Some(true)
}
