//! The configuration: one YAML file for both programs, and flags for the simple case.
//!
//! A flag wins over the file. [`Settings`] is what the rest of the program sees.

mod alert_match;
mod alertmanager;
pub mod check;
mod error;
mod file;
mod flags;
mod globs;
mod hint;
mod labels;
mod list;
mod metric_groups;
mod notify;
mod placeholders;
mod position;
mod processes;
mod source;
mod span;
mod trigger;

pub use alert_match::AlertMatch;
pub use alertmanager::{AlertmanagerSettings, Alertmanagers};
pub use error::ConfigError;
pub use file::Insurance;
#[cfg(test)]
pub(crate) use flags::flags_in;
pub use flags::{CommonFlags, ExporterFlags, LogFlags, LogFormat, RemediatorFlags};
pub use labels::CustomLabels;
pub use metric_groups::{MetricGroup, MetricGroups};
pub use notify::{Notify, NotifyUrl, NotifyWebhook};
pub use placeholders::{Placeholders, System};
pub use position::Position;
pub use source::{ConfigSource, OF_THE_MACHINE, VARIABLE};
pub use span::parse_span;
pub use trigger::TriggerSource;

use self::processes::MAX_TIMEOUT;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;
use regex::Regex;

use crate::connection::{ConnectionSettings, Probe};
use crate::control::Services;
use crate::folder::{AllSessions, Discovery, SessionName, SessionsPath};
use crate::host;
use crate::logs::sessions::DeclaredSessions;
use crate::logs::{self, LogGlob, LogSettings, Patterns, SessionMapper};
use crate::page_links::PageAddresses;
use crate::policy::guard::INACTIVE_FOR;
use crate::policy::{BatchSetting, Breaker, CredsPlace, Limits, Thresholds};
use crate::rules::{self, OwnTiers, RuleSettings};

use globs::globs;

/// How long the quarantine keeps what was moved, unless configured.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// The least that can be configured.
const MIN_RETENTION: Duration = Duration::from_secs(86_400);
/// How many bytes one folder's quarantine may hold, unless configured.
pub const DEFAULT_QUARANTINE_BYTES: u64 = 256 << 20;
/// Where the remediator keeps its journal, unless configured.
pub const DEFAULT_STATE_PATH: &str = "/var/lib/baileys_remediator";

/// How armed runs wait: those whose bot is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// How often their bots are looked at.
    pub look_every: Duration,
    /// They are dropped if their alert was not repeated for this long.
    pub keep_for: Duration,
}

/// Everything that was configured, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration file, if one was read.
    pub config_file: Option<PathBuf>,
    /// Where to look for auth folders.
    pub sources: Vec<SessionsPath>,
    /// Directory names in a root to look at; all where `None`.
    pub include: Option<GlobSet>,
    /// Directory names in a root to leave out.
    pub exclude: GlobSet,
    /// Auth folders that the exporter scans at the same time; one for each processor where
    /// `None`.
    pub scan_threads: Option<NonZeroUsize>,
    /// Labels on every series of both programs.
    pub labels: CustomLabels,
    /// Which groups of metrics the exporter shows.
    pub metric_groups: MetricGroups,
    /// How to find out whether a bot is connected.
    pub connection: ConnectionSettings,
    /// Which logs are read, and what for.
    pub logs: Arc<LogSettings>,
    /// Where `serve` gets to know that a folder has reached a tier.
    pub trigger: TriggerSource,
    /// Labels an alert must carry before it acts.
    pub alert_match: AlertMatch,
    /// The Alertmanagers that are polled, if any.
    pub alertmanagers: Option<AlertmanagerSettings>,
    /// How a person gets a message about what `serve` has done, if at all.
    pub notify: Option<Notify>,
    /// File with the webhook's bearer token.
    pub token_file: Option<PathBuf>,
    /// How long the quarantine keeps what was moved.
    pub retention: Duration,
    /// How many bytes one folder's quarantine may hold.
    pub quarantine_bytes: u64,
    /// The remediator's copies of each creds.json.
    pub insurance: Insurance,
    /// The remediator's state directory.
    pub state_path: PathBuf,
    /// The bots' processes, and which of them may be stopped and started.
    pub services: Services,
    /// When everything is stopped because too much happens at once.
    pub breaker: Breaker,
    /// Runs that wait for a better moment.
    pub armed: Armed,
    /// What the alerting rules are printed with, beside the tiers.
    pub rules: RuleSettings,
    /// Where the pages of both programs are.
    pub pages: PageAddresses,
    limits: Limits,
    overrides: Vec<Override>,
}

/// What holds for some sessions in the place of what holds for all.
#[derive(Clone, Debug)]
struct Override {
    /// Globs of host names; empty for every host.
    hosts: Vec<String>,
    /// Whether one of them is this host.
    is_here: bool,
    /// Globs of session names.
    sessions: Vec<String>,
    globs: GlobSet,
    batch: Option<BatchSetting>,
    thresholds: Option<Thresholds>,
    creds: Option<CredsPlace>,
}

const ASCENDING: &str =
    "each must begin above the one before: monitor < warning < cleanup < emergency < fatal";

impl Settings {
    /// Reads the configuration file, if there is one, and lays the flags over it.
    ///
    /// Errors: the file may not be read, or a key or flag is not what it should be.
    pub fn load(flags: &CommonFlags, remediator: &RemediatorFlags) -> Result<Self, ConfigError> {
        let variable = |name: &str| std::env::var_os(name);
        let Some(source) = ConfigSource::find(flags.config_file.as_deref(), variable) else {
            return Ok(Self::build(flags, remediator, file::File::default())?);
        };
        let text = source.read()?;
        let in_file = |error: ConfigError| ConfigError {
            file: Some(source.path.clone()),
            ..error
        };
        let file = file::parse(&text).map_err(in_file)?;
        let mut settings = Self::build(flags, remediator, file).map_err(|message| {
            let position = position::of_key(&text, &message);
            let error = ConfigError {
                position,
                ..ConfigError::from(message)
            };
            // Without a place in the file it may be about a flag.
            match position {
                Some(_) => in_file(error),
                None => error,
            }
        })?;
        settings.config_file = Some(source.path);
        Ok(settings)
    }

    /// What a file with this text says, without any flag: for the fuzz targets, which know
    /// an error of the file's shape (outer) from one of a value (inner).
    #[doc(hidden)]
    pub fn of_text(text: &str) -> Result<Result<Self, String>, String> {
        let file = file::parse(text).map_err(|error| error.to_string())?;
        Ok(Self::build(
            &CommonFlags::default(),
            &RemediatorFlags::default(),
            file,
        ))
    }

    fn build(
        flags: &CommonFlags,
        remediator: &RemediatorFlags,
        file: file::File,
    ) -> Result<Self, String> {
        let sources = if flags.sessions_path.is_empty() {
            file.sessions
                .paths
                .iter()
                .map(|path| SessionsPath::parse(path.as_ref()))
                .collect::<Result<Vec<_>, _>>()
        } else {
            Ok(flags.sessions_path.clone())
        }?;
        let named = sources.into_iter().map(|source| SessionsPath {
            name: source
                .name
                .map(|name| SessionName::from_text(&host::fill(name.as_str()))),
            ..source
        });
        let sources: Vec<SessionsPath> = named.collect();
        for (index, source) in sources.iter().enumerate() {
            if let Some(name) = &source.name
                && sources[..index]
                    .iter()
                    .any(|other| other.name.as_ref() == Some(name))
            {
                return Err(format!(
                    "two auth folders are named {name}; give each --sessions.path=NAME=PATH a name of its own"
                ));
            }
        }
        // With what names it in an error.
        let or_file = |flag: &[String], file: Vec<String>, key: &str| match flag {
            [] => (file, key.to_owned()),
            flag => (flag.to_vec(), format!("--{key}")),
        };
        let include = or_file(
            &flags.sessions_include,
            file.sessions.include,
            "sessions.include",
        );
        let exclude = or_file(
            &flags.sessions_exclude,
            file.sessions.exclude,
            "sessions.exclude",
        );

        let pattern = match &file.connection.session_pattern {
            Some(pattern) => Some(
                Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|e| format!("connection.session_pattern: {e}"))?,
            ),
            None => None,
        };
        let command = match (&flags.connection_command, &file.connection.command) {
            (Some(line), _) => Some(
                Probe::command_line(line, pattern.as_ref())
                    .map_err(|e| format!("--connection.command: {e}"))?,
            ),
            (None, Some(argv)) => Some(
                Probe::command(argv, pattern.as_ref())
                    .map_err(|e| format!("connection.command: {e}"))?,
            ),
            (None, None) => None,
        };
        let mut probes = Vec::new();
        if let Some(command) = command {
            let command = command.with_env(&file.connection.env);
            probes.push(command.map_err(|error| error.to_string())?);
        }
        if let Some(http) = file.connection.http {
            probes.push(http.probe(pattern.as_ref())?);
        }
        let state_path = remediator
            .state_path
            .clone()
            .or(file.state.path)
            .unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_PATH));
        // It is put on record: another directory of the same relative path is another one.
        let state_path =
            std::path::absolute(state_path).map_err(|error| format!("state.path: {error}"))?;
        let services = processes::build(file.processes, pattern.as_ref())?;
        let trust = or_file(
            &flags.connection_trust,
            file.connection.trust,
            "connection.trust",
        );
        let log_settings = Arc::new(logs(&flags.logs_path, file.logs)?);
        let defaults = ConnectionSettings::default();
        let connection = ConnectionSettings {
            quiet: flags
                .connection_quiet
                .or(file.connection.quiet)
                .unwrap_or(defaults.quiet),
            timeout: file.connection.timeout.unwrap_or(defaults.timeout),
            probes,
            processes: services.clone(),
            sockets: file.connection.sockets.unwrap_or(defaults.sockets),
            log_fresh: file.connection.log_fresh.unwrap_or(defaults.log_fresh),
            trust: globs(&trust.0, &trust.1)?,
        };

        if connection.quiet.is_zero() {
            let flag = flags.connection_quiet.map_or("", |_| "--");
            return Err(format!("{flag}connection.quiet: must be more than 0s"));
        }
        if connection.timeout.is_zero() {
            return Err("connection.timeout: must be more than 0s".into());
        }
        if connection.timeout > MAX_TIMEOUT {
            return Err("connection.timeout: not more than 1h".into());
        }

        let mut limits = Limits::default();
        limits.thresholds = file.tiers.thresholds(limits.thresholds);
        if !limits.thresholds.is_ascending() {
            return Err(format!("tiers: {ASCENDING}"));
        }
        limits.batch = flags
            .pre_key_batch
            .or(file.pre_key_batch.map(|b| b.0))
            .unwrap_or_default();
        if let Some(span) = file.limits.inactive_for {
            if span < INACTIVE_FOR {
                return Err("limits.inactive_for: not less than 14d; only a person may go below it, with `clean --force --inactive-for`".into());
            }
            limits.inactive_for = span;
        }
        if let Some(kept) = file.limits.pre_keys_kept {
            if kept < limits.pre_keys_kept {
                return Err(
                    "limits.pre_keys_kept: not less than 50; a larger number keeps more".into(),
                );
            }
            limits.pre_keys_kept = kept;
        }
        if let Some(age) = file.emergency.pre_key_min_age {
            limits.emergency_pre_key_min_age = age;
        }
        if file
            .quarantine
            .retention
            .is_some_and(|span| span < MIN_RETENTION)
        {
            return Err(
                "quarantine.retention: not less than 1d: until then `undo` is the way back".into(),
            );
        }
        let mut overrides = Vec::new();
        for (index, entry) in file.overrides.into_iter().enumerate() {
            let key = format!("overrides[{index}]");
            if entry.sessions.is_empty() && entry.hosts.is_empty() {
                return Err(format!(
                    "{key}.sessions: at least one glob of session names, or hosts with one of host names"
                ));
            }
            let sessions = match entry.sessions.is_empty() {
                true => vec!["*".to_owned()],
                false => entry.sessions,
            };
            let hosts = globs(&entry.hosts, &format!("{key}.hosts"))?;
            if entry.pre_key_batch.is_none() && entry.tiers.is_none() && entry.creds.is_none() {
                return Err(format!(
                    "{key}: at least one of pre_key_batch, tiers and creds"
                ));
            }
            let thresholds = entry.tiers.map(|tiers| tiers.thresholds(limits.thresholds));
            if thresholds.is_some_and(|thresholds| !thresholds.is_ascending()) {
                return Err(format!(
                    "{key}.tiers, with what they leave to tiers: {ASCENDING}"
                ));
            }
            overrides.push(Override {
                globs: globs(&sessions, &format!("{key}.sessions"))?,
                sessions,
                is_here: entry.hosts.is_empty() || hosts.is_match(host::name()),
                hosts: entry.hosts,
                batch: entry.pre_key_batch.map(|batch| batch.0),
                thresholds,
                creds: entry.creds.map(file::CredsKey::place),
            });
        }
        let labels = CustomLabels::new(file.labels)?;
        let mut rules = file.rules.build()?;
        rules.labels = labels.names().map(str::to_owned).collect();

        let breaker = file.breaker.build()?;
        let armed = Armed {
            look_every: file.armed.look_every.unwrap_or(Duration::from_secs(60)),
            keep_for: file.armed.keep_for.unwrap_or(Duration::from_secs(86_400)),
        };
        if armed.look_every < Duration::from_secs(1) {
            return Err("armed.look_every: not less than 1s".into());
        }
        if armed.look_every > MAX_TIMEOUT {
            return Err("armed.look_every: not more than 1h".into());
        }
        let alertmanagers = file
            .alertmanager
            .map(alertmanager::AlertmanagerSection::build)
            .transpose()?;
        let mut alert_match = file.webhook.r#match;
        if !remediator.webhook_match.is_empty() {
            alert_match = remediator.webhook_match.iter().cloned().collect();
        }
        Ok(Self {
            config_file: None,
            sources,
            include: if include.0.is_empty() {
                None
            } else {
                Some(globs(&include.0, &include.1)?)
            },
            exclude: globs(&exclude.0, &exclude.1)?,
            scan_threads: None,
            labels,
            metric_groups: MetricGroups::build(file.collectors)?,
            connection,
            logs: log_settings,
            trigger: remediator.trigger.or(file.trigger).unwrap_or_default(),
            alert_match: AlertMatch::new("webhook.match", alert_match)?,
            alertmanagers,
            notify: file.notify.map(notify::NotifySection::build).transpose()?,
            token_file: remediator
                .webhook_token_file
                .clone()
                .or(file.webhook.token_file),
            retention: file.quarantine.retention.unwrap_or(DEFAULT_RETENTION),
            insurance: file.insurance.build()?,
            quarantine_bytes: file
                .quarantine
                .max_bytes
                .unwrap_or(DEFAULT_QUARANTINE_BYTES),
            state_path,
            services,
            breaker,
            armed,
            rules,
            pages: file.pages.build()?,
            limits,
            overrides,
        })
    }

    /// Lays the exporter's own flags over it.
    #[must_use]
    pub fn with_flags(mut self, flags: &ExporterFlags) -> Self {
        let mut logs = LogSettings::clone(&self.logs);
        logs.from_start |= flags.logs_from_start;
        if let Some(path) = &flags.logs_state_path {
            logs.state_path.clone_from(path);
        }
        self.logs = Arc::new(logs);
        self.scan_threads = flags.scan_threads;
        self.metric_groups.apply(&flags.collectors);
        self
    }

    /// Errors: no path was named.
    pub fn require_sessions(&self) -> Result<(), String> {
        if self.sources.is_empty() {
            return Err("no auth folder is named; give --sessions.path=[NAME=]PATH, a root of auth folders or one of them (or sessions.paths in the configuration file)".into());
        }
        Ok(())
    }

    /// Errors: `serve` would learn of no tier, or the local trigger is combined with alerts.
    pub fn require_trigger(&self) -> Result<(), String> {
        let has_token = self.token_file.is_some();
        match self.trigger {
            TriggerSource::Local => {
                let configured = [
                    ("--webhook.token-file (webhook.token_file)", has_token),
                    (
                        "--webhook.match (webhook.match)",
                        !self.alert_match.is_empty(),
                    ),
                    ("alertmanager", self.alertmanagers.is_some()),
                ];
                match configured.iter().find(|(_, is_configured)| *is_configured) {
                    Some((key, _)) => Err(format!(
                        "--trigger=local (trigger: local) excludes {key}: with it no alert is accepted, pushed or polled; remove one of the two"
                    )),
                    None => Ok(()),
                }
            }
            TriggerSource::Alerts if has_token || self.alertmanagers.is_some() => Ok(()),
            TriggerSource::Alerts => Err("no source of alerts: --webhook.token-file is missing (it holds the bearer token that Alertmanager sends; make one with: (umask 077; head -c 32 /dev/urandom | base64 > webhook.token)), and so is alertmanager.urls in the configuration (Alertmanager is polled then, without a token); without Prometheus and Alertmanager, set --trigger=local".into()),
        }
    }

    /// A [`Discovery`] over the configured paths.
    pub fn discovery(&self) -> Discovery {
        Discovery::new(
            self.sources.clone(),
            self.include.clone(),
            self.exclude.clone(),
        )
    }

    /// The same without a filter; `None` where there is none.
    pub fn unfiltered_discovery(&self) -> Option<Discovery> {
        let is_filtered = self.include.is_some() || !self.exclude.is_empty();
        is_filtered.then(|| Discovery::new(self.sources.clone(), None, GlobSet::empty()))
    }

    /// All sessions of the configured paths, whatever `include` and `exclude` leave out.
    pub fn all_sessions(&self) -> AllSessions {
        AllSessions::new(self.sources.clone())
    }

    /// A sentence for each source of the connection that cannot answer as it is configured.
    pub fn connection_problems(&self) -> Vec<String> {
        self.connection.problems(!self.logs.globs.is_empty())
    }

    /// A sentence for each source that answers for several sessions. Blocks.
    pub fn shared_sources(&self) -> Vec<String> {
        let all = self.all_sessions().list_now();
        self.connection.shared_sources(&all)
    }

    /// Whether there are auth folders beside the only one that is watched. Blocks.
    pub fn has_others(&self) -> bool {
        let survey = self.discovery().survey();
        let [only] = survey.found.as_slice() else {
            return false;
        };
        let parent = SessionsPath {
            name: None,
            path: only.place.parent.clone(),
        };
        let beside = Discovery::new(vec![parent], None, GlobSet::empty()).survey();
        beside.found.iter().any(|found| found.place != only.place)
    }

    /// Which log is whose, and what is likely to be wrong with the configured paths, for a
    /// command that runs once. Blocks.
    pub fn log_overview<'a>(
        &self,
        folders: impl IntoIterator<Item = &'a SessionName>,
    ) -> logs::overview::LogOverview {
        let mut overview = logs::overview::LogOverview::default();
        if !self.logs.globs.is_empty() {
            let names = folders.into_iter().map(|name| Arc::from(name.as_str()));
            let seen = logs::SessionsSeen {
                found: names.collect(),
                complete: true,
                others: self.has_others(),
                ..logs::SessionsSeen::default()
            };
            overview = logs::overview::look_once(&self.logs, &seen);
        }
        overview.warnings.splice(0..0, self.quoted_homes());
        overview
    }

    /// Paths that begin with a `~` that no shell has expanded, a sentence each.
    pub fn quoted_homes(&self) -> Vec<String> {
        let sources = self.sources.iter().map(|source| {
            let path = source.path.to_string_lossy().into_owned();
            ("--sessions.path", path)
        });
        let globs = self.logs.globs.iter();
        let globs = globs.map(|glob| ("--logs.path", logs::log_name::redacted(glob.as_str())));
        sources
            .chain(globs)
            .filter(|(_, path)| path.starts_with('~'))
            .map(|(flag, path)| {
                format!("{flag} {path}: ~ was not expanded (it was quoted, or follows a = or stands in a file); write the home directory in full or use $HOME")
            })
            .collect()
    }

    /// The limits that hold for one session: of each the first override that matches its
    /// name and has it.
    pub fn limits(&self, session: &SessionName) -> Limits {
        let name = Path::new(session.as_str());
        let matching = || {
            self.overrides
                .iter()
                .filter(|entry| entry.is_here && entry.globs.is_match(name))
        };
        Limits {
            batch: matching()
                .find_map(|entry| entry.batch)
                .unwrap_or(self.limits.batch),
            thresholds: matching()
                .find_map(|entry| entry.thresholds)
                .unwrap_or(self.limits.thresholds),
            creds: matching()
                .find_map(|entry| entry.creds)
                .unwrap_or(self.limits.creds),
            ..self.limits
        }
    }

    /// The alerting rules for the configured thresholds, as a file for Prometheus.
    ///
    /// Errors: a glob of `overrides` that a Prometheus rule cannot express.
    pub fn alerting_rules(&self) -> Result<String, String> {
        let own = self.overrides.iter().filter_map(|entry| {
            entry.thresholds.map(|thresholds| OwnTiers {
                hosts: &entry.hosts,
                sessions: &entry.sessions,
                thresholds,
            })
        });
        rules::render(self.limits.thresholds, own, &self.rules)
    }
}

fn logs(paths: &[String], file: file::Logs) -> Result<LogSettings, String> {
    let (key, paths) = match paths {
        [] => ("logs.paths", file.paths.as_slice()),
        paths => ("--logs.path", paths),
    };
    let mut log_globs = Vec::new();
    let mut of_sessions = Vec::new();
    for text in paths {
        let (name, text) = logs::split_name(text).map_err(|error| format!("{key}: {error}"))?;
        let glob = LogGlob::new(text).map_err(|error| format!("{key}: {error}"))?;
        if let Some(name) = name {
            of_sessions.push((glob.clone(), Arc::from(host::fill(&name))));
        }
        log_globs.push(glob);
    }
    let is_glob = |name: &&String| name.contains(['*', '?', '[', '{']);
    let sessions: Vec<String> = file.sessions.iter().map(|name| host::fill(name)).collect();
    let (patterns, names): (Vec<&String>, Vec<&String>) = sessions.iter().partition(is_glob);
    let patterns: Vec<String> = patterns.into_iter().cloned().collect();
    let declared = DeclaredSessions {
        names: names
            .into_iter()
            .map(|name| Arc::from(name.as_str()))
            .collect(),
        globs: globs(&patterns, "logs.sessions")?,
    };
    let mapper = SessionMapper::new(
        file.session_path.as_deref(),
        file.session_line.as_deref(),
        file.session_name.as_deref(),
        file.default_session
            .map(|name| host::fill(&name))
            .as_deref(),
    )
    .map_err(|(key, error)| format!("logs.{key}: {error}"))?
    .with_sessions(of_sessions, declared);
    let own: Vec<_> = file
        .patterns
        .iter()
        .map(file::LogPattern::pattern)
        .collect();
    let patterns = Patterns::shipped_and(&own)
        .map_err(|error| format!("logs.patterns[{}]: {error}", error.index))?;
    Ok(LogSettings {
        globs: log_globs,
        from_start: file.from_start,
        state_path: file
            .state_path
            .unwrap_or_else(|| PathBuf::from(logs::DEFAULT_STATE_PATH)),
        mapper,
        patterns: Arc::new(patterns),
    })
}

#[cfg(test)]
mod tests;
