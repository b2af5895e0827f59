//! The configuration: one YAML file for both programs, and flags for the simple case.
//!
//! A flag wins over the file. [`Settings`] is what the rest of the program sees.

mod file;
mod flags;
mod processes;

pub use flags::{CommonFlags, ExporterFlags, LogFlags, LogFormat, RemediatorFlags};
pub use processes::Breaker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use regex::Regex;

use crate::connection::{Connection, LogView, Probe};
use crate::control::Services;
use crate::folder::{Discovery, SessionName, Source};
use crate::logs::sessions::Declared;
use crate::logs::{self, LastEventReader, LogGlob, LogSettings, Patterns, SessionMapper};
use crate::policy::guard::INACTIVE_FOR;
use crate::policy::insurance::Keep;
use crate::policy::{BatchSetting, Limits, Thresholds};
use crate::rules::{self, RuleSettings};

/// How long the quarantine keeps what was moved, unless configured.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// The least that can be configured.
const MIN_RETENTION: Duration = Duration::from_secs(86_400);
/// How many bytes one folder's quarantine may hold, unless configured.
pub const DEFAULT_QUARANTINE_BYTES: u64 = 256 << 20;
/// Where the remediator keeps its journal, unless configured.
pub const DEFAULT_STATE_PATH: &str = "/var/lib/baileys_remediator";

/// Whether and how long copies of each creds.json are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insurance {
    /// Whether `serve` takes copies and lets old ones go.
    pub enabled: bool,
    /// How many, and how long.
    pub keep: Keep,
}

impl Default for Insurance {
    fn default() -> Self {
        Self {
            enabled: true,
            keep: Keep::default(),
        }
    }
}

/// How runs wait whose bot is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// How often their bots are looked at.
    pub look_every: Duration,
    /// They are dropped when nobody has repeated their alert for so long.
    pub keep_for: Duration,
}

/// Everything that was configured, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to look for auth folders.
    pub sources: Vec<Source>,
    /// Directory names in a root to look at; all where `None`.
    pub include: Option<GlobSet>,
    /// Directory names in a root to leave out.
    pub exclude: GlobSet,
    /// How to find out whether a bot is connected.
    pub connection: Connection,
    /// Which logs are read, and what for.
    pub logs: Arc<LogSettings>,
    /// Labels an alert must carry before it acts.
    pub alert_match: BTreeMap<String, String>,
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
    limits: Limits,
    overrides: Vec<Override>,
}

/// What holds for some sessions in the place of what holds for all.
#[derive(Clone, Debug)]
struct Override {
    globs: GlobSet,
    patterns: Vec<String>,
    batch: Option<BatchSetting>,
    thresholds: Option<Thresholds>,
}

const ASCENDING: &str =
    "each must begin above the one before: monitor < warning < cleanup < emergency < fatal";

impl Settings {
    /// Reads the file, if one is named, and lays the flags over it.
    ///
    /// Errors: a sentence that names the key or flag and says what it should be.
    pub fn load(flags: &CommonFlags, remediator: &RemediatorFlags) -> Result<Self, String> {
        let file = match &flags.config_file {
            Some(path) => file::read(path)?,
            None => file::File::default(),
        };
        Self::build(flags, remediator, file)
    }

    /// What a file with this text says, without any flag: for the fuzz targets, which know
    /// an error of the file's shape (outer) from one of a value (inner).
    #[doc(hidden)]
    pub fn of_text(text: &str) -> Result<Result<Self, String>, String> {
        let file = file::parse(text)?;
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
                .map(|path| Source::parse(path.as_ref()))
                .collect::<Result<Vec<_>, _>>()
        } else {
            Ok(flags.sessions_path.clone())
        }?;
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
        let or_file =
            |flag: &[String], file: Vec<String>| if flag.is_empty() { file } else { flag.to_vec() };
        let include = or_file(&flags.sessions_include, file.sessions.include);
        let exclude = or_file(&flags.sessions_exclude, file.sessions.exclude);

        let pattern = match &file.connection.session_pattern {
            Some(pattern) => Some(
                Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|e| format!("connection.session_pattern: {e}"))?,
            ),
            None => None,
        };
        let mut probes = Vec::new();
        match (&flags.connection_command, &file.connection.command) {
            (Some(line), _) => probes.push(
                Probe::command_line(line, pattern.as_ref())
                    .map_err(|e| format!("--connection.command: {e}"))?,
            ),
            (None, Some(argv)) => probes.push(
                Probe::command(argv, pattern.as_ref())
                    .map_err(|e| format!("connection.command: {e}"))?,
            ),
            (None, None) => {}
        }
        if let Some(http) = file.connection.http {
            probes.push(http.probe(pattern.as_ref())?);
        }
        let state_path = remediator
            .state_path
            .clone()
            .or(file.state.path)
            .unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_PATH));
        let services = processes::build(file.processes, pattern.as_ref())?;
        let trust = or_file(&flags.connection_trust, file.connection.trust);
        let log_settings = Arc::new(logs(&flags.logs_path, file.logs)?);
        let log = (!log_settings.globs.is_empty()).then(|| {
            let reader = LastEventReader::new(
                Arc::clone(&log_settings),
                sources.clone(),
                clock::Clock::system(),
            );
            Arc::new(reader) as Arc<dyn LogView>
        });
        let defaults = Connection::default();
        let connection = Connection {
            quiet: flags
                .connection_quiet
                .or(file.connection.quiet)
                .unwrap_or(defaults.quiet),
            timeout: file.connection.timeout.unwrap_or(defaults.timeout),
            probes,
            processes: services.clone(),
            sockets: file.connection.sockets.unwrap_or(defaults.sockets),
            log,
            log_fresh: file.connection.log_fresh.unwrap_or(defaults.log_fresh),
            trust: globs(&trust, "connection.trust")?,
            ..defaults
        };

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
            if entry.sessions.is_empty() {
                return Err(format!(
                    "{key}.sessions: at least one glob of session names"
                ));
            }
            if entry.pre_key_batch.is_none() && entry.tiers.is_none() {
                return Err(format!("{key}: pre_key_batch or tiers, or both"));
            }
            let thresholds = entry.tiers.map(|tiers| tiers.thresholds(limits.thresholds));
            if thresholds.is_some_and(|thresholds| !thresholds.is_ascending()) {
                return Err(format!(
                    "{key}.tiers, with what they leave to tiers: {ASCENDING}"
                ));
            }
            overrides.push(Override {
                globs: globs(&entry.sessions, &format!("{key}.sessions"))?,
                patterns: entry.sessions,
                batch: entry.pre_key_batch.map(|batch| batch.0),
                thresholds,
            });
        }
        let rules = file.rules.build()?;

        let breaker = file.breaker.build()?;
        let armed = Armed {
            look_every: file.armed.look_every.unwrap_or(Duration::from_secs(60)),
            keep_for: file.armed.keep_for.unwrap_or(Duration::from_secs(86_400)),
        };
        if armed.look_every < Duration::from_secs(1) {
            return Err("armed.look_every: not less than 1s".into());
        }
        let mut alert_match = file.webhook.r#match;
        if !remediator.webhook_match.is_empty() {
            alert_match = remediator.webhook_match.iter().cloned().collect();
        }
        Ok(Self {
            sources,
            include: if include.is_empty() {
                None
            } else {
                Some(globs(&include, "sessions.include")?)
            },
            exclude: globs(&exclude, "sessions.exclude")?,
            connection,
            logs: log_settings,
            alert_match,
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
        self
    }

    /// Errors: no path was named.
    pub fn require_sessions(&self) -> Result<(), String> {
        if self.sources.is_empty() {
            return Err("no auth folder is named; give --sessions.path=[NAME=]PATH, a root of auth folders or one of them (or sessions.paths in the configuration file)".into());
        }
        Ok(())
    }

    /// A [`Discovery`] over the configured paths.
    pub fn discovery(&self) -> Discovery {
        Discovery::new(
            self.sources.clone(),
            self.include.clone(),
            self.exclude.clone(),
        )
    }

    /// Whether there are auth folders beside the only one that is watched. Blocks.
    pub fn has_others(&self) -> bool {
        let survey = self.discovery().survey();
        let [only] = survey.found.as_slice() else {
            return false;
        };
        let parent = Source {
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
    ) -> logs::overview::Overview {
        let mut overview = logs::overview::Overview::default();
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
                .filter(|entry| entry.globs.is_match(name))
        };
        Limits {
            batch: matching()
                .find_map(|entry| entry.batch)
                .unwrap_or(self.limits.batch),
            thresholds: matching()
                .find_map(|entry| entry.thresholds)
                .unwrap_or(self.limits.thresholds),
            ..self.limits
        }
    }

    /// The alerting rules for the configured thresholds, as a file for Prometheus.
    ///
    /// Errors: a glob of `overrides` that Prometheus cannot be told.
    pub fn alerting_rules(&self) -> Result<String, String> {
        let own = self.overrides.iter().filter_map(|entry| {
            entry
                .thresholds
                .map(|thresholds| (entry.patterns.as_slice(), thresholds))
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
            of_sessions.push((glob.clone(), name));
        }
        log_globs.push(glob);
    }
    let is_glob = |name: &&String| name.contains(['*', '?', '[', '{']);
    let (patterns, names): (Vec<&String>, Vec<&String>) = file.sessions.iter().partition(is_glob);
    let patterns: Vec<String> = patterns.into_iter().cloned().collect();
    let declared = Declared {
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
        file.default_session.as_deref(),
    )
    .map_err(|(key, error)| format!("logs.{key}: {error}"))?
    .with_sessions(of_sessions, declared);
    let own: Vec<_> = file
        .patterns
        .iter()
        .map(|pattern| pattern.value.pattern())
        .collect();
    let patterns = Patterns::shipped_and(&own).map_err(|error| {
        let line = file
            .patterns
            .get(error.index)
            .map_or(0, |pattern| pattern.referenced.line());
        format!("logs.patterns, line {line}: {error}")
    })?;
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

fn globs(patterns: &[String], key: &str) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|error| format!("{key}: {error}"))?);
    }
    set.build().map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Tier;
    use clap::Parser;
    use std::ffi::OsStr;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        common: CommonFlags,
        #[command(flatten)]
        remediator: RemediatorFlags,
    }

    fn load(flags: &[&str], yaml: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yml");
        std::fs::write(&path, yaml).unwrap();
        let config = format!("--config.file={}", path.display());
        let all = ["test", &config].into_iter().chain(flags.iter().copied());
        let cli = Cli::try_parse_from(all).map_err(|e| e.to_string())?;
        let settings = Settings::load(&cli.common, &cli.remediator)?;
        settings.require_sessions().map(|()| settings)
    }

    fn session(name: &str) -> SessionName {
        SessionName::from_dir(OsStr::new(name))
    }

    #[test]
    fn a_full_file() {
        let settings = load(
            &[],
            r#"
sessions:
  paths: [/a, bot=/b]
  include: ["company_*"]
  exclude: ["*_old"]
tiers: {monitor: 10, warning: 20, cleanup: 30, emergency: 40, fatal: 50}
pre_key_batch: auto
overrides:
  - sessions: ["legacy_*"]
    pre_key_batch: 30
limits: {inactive_for: 21d, pre_keys_kept: 60}
emergency: {pre_key_min_age: 36h}
connection:
  quiet: 5m
  timeout: 3s
  session_pattern: 'company_(?<id>\d+)'
  http:
    url: http://localhost:3000/webhook/whatsapp/baileys/status/{id}
    pointer: /status/connected
    connected: [true]
    disconnected: [false]
  sockets: false
  trust: ["company_1*"]
  log_fresh: 20m
processes:
  - pm2: {name: 'ai-admin-{id}', home: /home/bot/.pm2}
webhook:
  token_file: /etc/token
  match: {instance: "host1:10273"}
quarantine: {retention: 60d, max_bytes: 1000}
insurance: {enabled: false, keep: 5, for: 90d}
state: {path: /var/lib/x}
"#,
        )
        .unwrap();
        assert_eq!(settings.sources.len(), 2);
        assert_eq!(
            settings.limits(&session("legacy_1")).batch,
            BatchSetting::Fixed(30)
        );
        assert_eq!(
            settings.limits(&session("company_1")).batch,
            BatchSetting::Auto
        );
        assert_eq!(settings.limits(&session("x")).thresholds.fatal, 50);
        assert_eq!(settings.connection.quiet, Duration::from_secs(300));
        assert!(settings.connection.processes.has_observed() && settings.services.is_empty());
        assert!(!settings.connection.sockets);
        assert!(
            settings.connection.trust.is_match("company_12")
                && !settings.connection.trust.is_match("x")
        );
        assert_eq!(settings.connection.log_fresh, Duration::from_secs(1200));
        assert_eq!(settings.alert_match["instance"], "host1:10273");
        assert_eq!(settings.retention, Duration::from_secs(60 * 86_400));
        let keep = Keep {
            per_identity: 5,
            keep_for: Duration::from_secs(90 * 86_400),
        };
        assert_eq!(
            settings.insurance,
            Insurance {
                enabled: false,
                keep
            }
        );
    }

    /// Of each key the first entry that matches and has it; what its tiers do not name is
    /// that of all.
    #[test]
    fn sessions_may_have_tiers_of_their_own() {
        let settings = load(
            &["--sessions.path=/a"],
            r#"
tiers: {warning: 130}
overrides:
  - sessions: ["legacy_*"]
    pre_key_batch: 30
  - sessions: ["legacy_7", "vip_*"]
    pre_key_batch: 812
    tiers: {cleanup: 160, emergency: 190}
  - sessions: ["*"]
    tiers: {fatal: 900}
"#,
        )
        .unwrap();
        let of = |name: &str| {
            let limits = settings.limits(&session(name));
            let tiers = Tier::ALL.map(|tier| limits.thresholds.of(tier));
            (limits.batch, tiers)
        };
        assert_eq!(
            of("legacy_7"),
            (BatchSetting::Fixed(30), [100, 130, 160, 190, 200])
        );
        assert_eq!(
            of("vip_1"),
            (BatchSetting::Fixed(812), [100, 130, 160, 190, 200])
        );
        assert_eq!(
            of("legacy_1"),
            (BatchSetting::Fixed(30), [100, 130, 150, 180, 900])
        );
        assert_eq!(of("other"), (BatchSetting::Auto, [100, 130, 150, 180, 900]));
        let rules = settings.alerting_rules().unwrap();
        assert!(
            rules.contains(">= 160\n") && rules.contains(">= 900\n"),
            "{rules}"
        );
    }

    #[test]
    fn flags_win() {
        let settings = load(
            &[
                "--sessions.path=/c",
                "--connection.quiet=1s",
                "--webhook.match=instance=x=y",
                "--pre-keys.batch=812",
            ],
            "sessions: {paths: [/a]}\nconnection: {quiet: 5m}\nwebhook: {match: {job: j}}",
        )
        .unwrap();
        assert_eq!(settings.sources[0].path, Path::new("/c"));
        assert_eq!(settings.connection.quiet, Duration::from_secs(1));
        assert_eq!(
            settings.alert_match,
            BTreeMap::from([("instance".into(), "x=y".into())])
        );
        assert_eq!(
            settings.limits(&session("x")).batch,
            BatchSetting::Fixed(812)
        );
    }

    #[test]
    fn errors_say_where_and_what() {
        let path = &["--sessions.path=/a"][..];
        for (flags, yaml, says) in [
            (&[][..], "", "--sessions.path"),
            (path, "sesions: {}", "sesions"),
            (path, "limits: {inactive_for: 3d}", "not less than 14d"),
            (path, "limits: {inactive_for: soon}", "not a time span"),
            (path, "limits: {pre_keys_kept: 5}", "not less than 50"),
            (path, "tiers: {warning: 300}", "each must begin above"),
            (path, "quarantine: {retention: 0s}", "not less than 1d"),
            (
                path,
                "insurance: {for: 1h}",
                "insurance.for: not less than 1d",
            ),
            (path, "insurance: {keep: 0}", "insurance.keep: from 1 to 20"),
            (path, "pre_key_batch: 31", "30, 812 or auto"),
            (
                path,
                "connection: {session_pattern: '('}",
                "session_pattern",
            ),
            (path, "connection: {command: []}", "empty"),
            (
                path,
                "connection: {command: [check, '{id}']}",
                "nothing fills {id}",
            ),
            (
                path,
                "connection: {process: {pid_file: /a}}",
                "unknown field `process`",
            ),
            (
                path,
                "service: [{systemd: {unit: a.service}}]",
                "one section `processes`",
            ),
            (
                path,
                "processes: [{docker: {container: b, runtime: lxc}}]",
                "expected one of docker",
            ),
            (path, "connection: {trust: ['[']}", "connection.trust"),
            (
                path,
                "overrides: [{sessions: ['['], pre_key_batch: 30}]",
                "overrides[0].sessions",
            ),
            (
                path,
                "overrides: [{sessions: [a]}]",
                "overrides[0]: pre_key_batch or tiers",
            ),
            (
                path,
                "overrides: [{sessions: [], pre_key_batch: 30}]",
                "overrides[0].sessions: at least one",
            ),
            (
                path,
                "overrides: [{sessions: [a], tiers: {warning: 170}}]",
                "overrides[0].tiers",
            ),
            (path, "rules: {runbooks: nowhere}", "rules.runbooks"),
            (path, "rules: {jump_files: 0}", "rules.jump_files"),
            (
                path,
                "logs:\n  patterns:\n    - {name: a, regex: x, severity: info, help: h}\n    - {name: b, regex: 'x\\ny', severity: info, help: h}\n",
                "logs.patterns, line 4:",
            ),
            (
                path,
                "logs:\n  patterns:\n    - {name: a, regex: '(', severity: info, help: h}\n",
                "logs.patterns, line 3:",
            ),
            (path, "logs: {paths: ['[']}", "logs.paths"),
            (path, "logs: {session_line: x}", "logs.session_line"),
            (path, "logs: {session_path: '('}", "logs.session_path"),
            (&["--sessions.path=/a", "--logs.path=["], "", "--logs.path"),
            (
                &["--sessions.path=a=/x", "--sessions.path=a=/y"],
                "",
                "two auth folders are named a",
            ),
            (
                &["--sessions.path=/a", "--sessions.include=["],
                "",
                "sessions.include",
            ),
        ] {
            let error = load(flags, yaml).unwrap_err();
            assert!(error.contains(says), "{yaml}: {error}");
        }
        // A value may stand in the wrong place, and may be a secret.
        for yaml in [
            "limits: {inactive_for: 1hunter}",
            "pre_key_batch: hunter",
            "processes: [{docker: {container: b, runtime: hunter}}]",
        ] {
            let error = load(path, yaml).unwrap_err();
            assert!(!error.contains("hunter"), "{yaml}: {error}");
        }
        for (http, says) in [
            ("{}", "needs either preset and base_url, or url"),
            (
                "{url: 'http://a/'}",
                "needs either preset and base_url, or url",
            ),
            ("{url: 'http://a/', pointer: /a}", "the values that mean"),
            (
                "{url: 'http://a/', pointer: a, connected: [1], disconnected: [0]}",
                "must be a JSON pointer",
            ),
            (
                "{url: 'http://a/', pointer: /a, connected: [1], disconnected: [0], ca_file: /}",
                "ca_file is for",
            ),
            (
                "{preset: waha, base_url: 'https://a', ca_file: a}",
                "ca_file must be a path",
            ),
            (
                "{preset: waha, base_url: 'https://a', ca_file: /nowhere/ca.crt}",
                "/nowhere/ca.crt: No such file",
            ),
            (
                "{url: 'http://a/', pointer: /a, connected: [1], disconnected: [1]}",
                "one value is listed",
            ),
            (
                "{url: 'http://a/', instance: b, pointer: /a}",
                "base_url and instance belong to a preset",
            ),
            (
                "{base_url: 'http://a'}",
                "base_url and instance belong to a preset",
            ),
            ("{preset: waha}", "connection.http.base_url is missing"),
            (
                "{preset: waha, base_url: 'http://a', url: 'http://a/'}",
                "give it base_url instead",
            ),
            (
                "{preset: waha, base_url: 'http://a', pointer: /a}",
                "give it base_url instead",
            ),
            (
                "{preset: waha, base_url: 'http://a', disconnected: [x]}",
                "give it base_url instead",
            ),
            (
                "{preset: WAHA, base_url: 'http://a'}",
                "there is evolution, waha and wppconnect",
            ),
            (
                "{preset: waha, base_url: 'a:3000'}",
                "base_url must begin with http://",
            ),
            (
                "{preset: waha, base_url: 'http://{session}'}",
                "without a placeholder in the host",
            ),
            (
                "{preset: waha, base_url: 'http://a:3000{session}'}",
                "without a placeholder in the host",
            ),
            (
                "{preset: waha, base_url: 'http://a/?b={session}'}",
                "must end before the API's own path",
            ),
            (
                "{preset: waha, base_url: 'http://a/{id}'}",
                "nothing fills {id}",
            ),
            (
                "{preset: waha, base_url: 'http://a', instance: '{id}'}",
                "connection.http.instance: nothing",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: {name: a}}",
                "file",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: {file: ''}}",
                "header.file must be the path",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: {file: TOPSECRET123}}",
                "header.file must be the path",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: {file: /no/key}}",
                "named by connection.http.header.file does not exist",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: {file: '/{id}'}}",
                "header.file: nothing fills",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: {name: 'a b', file: /dev/null}}",
                "header.name",
            ),
            (
                "{url: 'http://a/', pointer: /a, connected: [1], disconnected: [0], header: {file: /dev/null}}",
                "connection.http.header.name is missing",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: {value: TOPSECRET123}}",
                "unknown field `value`",
            ),
            (
                "{preset: waha, base_url: 'http://a', header: TOPSECRET123}",
                "expected mapping",
            ),
        ] {
            let error = load(path, &format!("connection: {{http: {http}}}")).unwrap_err();
            assert!(
                error.contains(says) && !error.contains("TOPSECRET"),
                "{http}: {error}"
            );
        }
        for http in [
            "{preset: evolution, base_url: 'http://a'}",
            "{preset: waha, base_url: 'http://[::1]:3000/x/', instance: 'company_{session}'}",
            "{preset: wppconnect, base_url: 'http://a/{session}', header: {file: '/keys/{session}'}}",
            "{url: 'http://a', pointer: '', connected: [up], disconnected: [down], header: {name: X, file: /}}",
        ] {
            load(path, &format!("connection: {{http: {http}}}")).unwrap();
        }
        for yaml in [
            "connection:\n  command: [curl, -H, 'apikey: TOPSECRET123']\n  tiemout: 3s\n",
            "connection:\n  command: 'curl -H \"apikey: TOPSECRET123\", really'\n",
            "connection:\n  timeout: {curl: TOPSECRET123}\n",
        ] {
            let error = load(path, yaml).unwrap_err();
            assert!(!error.contains("TOPSECRET"), "{error}");
            assert!(error.contains("line "), "{error}");
        }
        let error = load(path, "tiers:\n  warning: many\n").unwrap_err();
        assert!(
            error.contains("line 2") || error.contains("2:"),
            "the line is named: {error}"
        );
    }
}
