//! Publishes the counts, after each commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use log_tailer::Progress;

use crate::folder::Timestamp;
use crate::logs::counter::{Count, EVENT, REPORT, SessionCounts};
use crate::logs::log_name::redacted;
use crate::logs::pattern::REPORTED;

use super::{CountingSink, Published, SessionLog};

/// Everything is published at least this often, also if only counts change.
const PUBLISH_ALL: Duration = Duration::from_secs(10);

impl CountingSink {
    /// Publishes what the last commit changed, if that is all that changed. Returns whether it was.
    pub(super) fn publish_changed(&mut self, progress: &Progress<'_>) -> bool {
        let is_recent = |at| self.clock.since(at) < PUBLISH_ALL;
        if self.reads_old_lines || !self.published_all.is_some_and(is_recent) {
            return false;
        }
        let Some(changed) = self.changed.replace(Vec::new()) else {
            return false;
        };
        let counts = self.counter.counts();
        let mut shown = self
            .shared
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Copies it only if a scrape holds it.
        let published = Arc::make_mut(&mut *shown);
        for (session, name, value) in changed {
            let Some(counts) = counts.sessions.get(session.as_str()) else {
                // Unplaced, or waiting.
                continue;
            };
            let Some(log) = published.sessions.get_mut(&session) else {
                return false;
            };
            log.set(&name, value);
            log.last_line = log.last_line.max(counts.last_line);
            log.removed_at = counts.removed_at.value;
            log.opened_at = counts.opened_at.value;
        }
        let unplaced = published.unplaced_events.iter_mut();
        for (glob, events) in unplaced.filter(|(glob, _)| counts.unplaced.contains_key(*glob)) {
            for (pattern, value) in events {
                *value = value_of(&counts.unplaced[glob].events, pattern);
            }
        }
        published.unplaced = counts.unplaced_lines();
        published.waiting = counts.has_waiting();
        published.is_first_reading = counts.is_first_reading();
        published.files = progress.file_count();
        published.unread_bytes = progress.unread_bytes();
        published.committed_at = progress.at.into();
        true
    }

    /// Publishes everything.
    pub(super) fn publish_all(&mut self, progress: &Progress<'_>) {
        self.published_all = Some(self.clock.now());
        self.changed = Some(Vec::new());
        let resolver = self.counter.resolver();
        let mut with_files: HashMap<Arc<str>, Option<Timestamp>> = HashMap::new();
        for (log, written) in progress.logs() {
            if let Some(session) = resolver.session_of(log) {
                let newest = with_files.entry(session).or_default();
                *newest = (*newest).max(written.map(Timestamp::from));
            }
        }
        let declared = &self.settings.mapper.declared().names;
        let (known, logs) = (Arc::clone(resolver.sessions()), Arc::clone(resolver.logs()));
        // Shared by all sessions, because there may be thousands.
        let patterns: Vec<Arc<str>> = self
            .settings
            .patterns
            .patterns()
            .iter()
            .map(|pattern| Arc::from(pattern.name.as_ref()))
            .collect();
        let events = |counts: &SessionCounts| -> Vec<(Arc<str>, u64)> {
            patterns
                .iter()
                .map(|name| (Arc::clone(name), value_of(&counts.events, name)))
                .collect()
        };
        let reports = |counts: &SessionCounts| -> Vec<(Arc<str>, u64)> {
            patterns
                .iter()
                .filter(|name| REPORTED.contains(&name.as_ref()))
                .map(|name| (Arc::clone(name), value_of(&counts.reports, name)))
                .collect()
        };
        let none = SessionCounts::default();
        let counts = self.counter.counts();
        let names = counts
            .sessions
            .keys()
            .chain(with_files.keys())
            .chain(declared);
        let mut sessions: BTreeMap<String, SessionLog> = BTreeMap::new();
        for name in names {
            let counts = counts.sessions.get(name).unwrap_or(&none);
            let written = with_files.get(name).copied().flatten();
            let log = SessionLog {
                events: events(counts),
                reports: reports(counts),
                library: counts.library.value > 0,
                lines: counts.lines.value,
                secrets: counts.secrets.value,
                last_line: counts.last_line.max(written),
                removed_at: counts.removed_at.value,
                opened_at: counts.opened_at.value,
                has_file: with_files.contains_key(name),
                is_known: known.contains(name),
            };
            sessions.insert(name.to_string(), log);
        }
        if self.reads_old_lines {
            let former = Arc::make_mut(&mut self.former);
            former.extend(sessions.keys().map(|name| Arc::from(name.as_str())));
            former.extend(known.names().cloned());
        }
        let mut globs_matched: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for glob in &self.settings.globs {
            let is_matched = progress.logs().any(|(log, _)| glob.matches(log));
            let matched = globs_matched.entry(Arc::from(redacted(glob.as_str())));
            *matched.or_default() |= is_matched;
        }
        let globs = self
            .settings
            .globs
            .iter()
            .map(|glob| redacted(glob.as_str()));
        let unplaced_events = globs
            .map(|glob| {
                let counts = counts.unplaced.get(glob.as_str()).unwrap_or(&none);
                (Arc::from(glob.as_str()), events(counts))
            })
            .collect();
        let statistics = progress.statistics;
        let published = Published {
            sessions,
            unheard: SessionLog {
                events: events(&none),
                reports: reports(&none),
                ..SessionLog::default()
            },
            files: progress.file_count(),
            unplaced: counts.unplaced_lines(),
            unplaced_events,
            globs_matched,
            waiting: counts.has_waiting(),
            known,
            former: Arc::clone(&self.former),
            logs,
            overlong: statistics.overlong,
            copies_found: statistics.copies_found,
            copies_missing: statistics.copies_missing,
            read_errors: statistics.read_errors,
            unread_bytes: progress.unread_bytes(),
            committed_at: progress.at.into(),
            is_first_reading: counts.is_first_reading(),
        };
        self.reads_old_lines &= published.is_first_reading;
        *self
            .shared
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
    }
}

impl SessionLog {
    /// Sets the value that is saved under this name.
    fn set(&mut self, name: &str, saved: u64) {
        let set = |values: &mut Vec<(Arc<str>, u64)>, pattern: &str| {
            if let Some((_, value)) = values.iter_mut().find(|(of, _)| **of == *pattern) {
                *value = saved;
            }
        };
        match name {
            "lines" => self.lines = saved,
            "secrets" => self.secrets = saved,
            "library" => self.library = saved > 0,
            _ => {
                if let Some(pattern) = name.strip_prefix(REPORT) {
                    set(&mut self.reports, pattern);
                } else if let Some(pattern) = name.strip_prefix(EVENT) {
                    set(&mut self.events, pattern);
                }
            }
        }
    }
}

fn value_of(counts: &HashMap<String, Count>, name: &str) -> u64 {
    counts.get(name).map_or(0, |count| count.value)
}
