//! The sections `processes` and `breaker`.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use supervisor::{
    ArgTemplate, Commands, Container, PidFile, Placeholders, Pm2, Runtime, Spec, SystemdUnit,
};

use crate::control::window::{Window, Windows};
use crate::control::{ServiceRule, Services, Timing, placeholders};
use crate::policy::Breaker;

use super::globs::globs;
use super::list::{optional_list, optional_words, words};
use super::span::span;

/// What to write in the place of the two sections that `processes` has replaced.
pub const MOVED: &str = "`service` and `connection.process` are now one section `processes`, which names each process once: an entry holds one of systemd: {unit}, pm2: {name, home}, docker: {container}, command and pid_file; one that may also be stopped and started needs `allow_restart: true`; see docs/restarts.md";

/// No time of a process may be longer: what waits for it must end.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// The section `breaker`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSection {
    services: Option<u32>,
    share: Option<String>,
    #[serde(deserialize_with = "span")]
    within: Option<Duration>,
}

/// One entry of `processes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSection {
    #[serde(default, deserialize_with = "optional_list")]
    sessions: Option<Vec<String>>,
    name: Option<String>,
    systemd: Option<SystemdSection>,
    pm2: Option<Pm2Section>,
    docker: Option<DockerSection>,
    command: Option<CommandSection>,
    pid_file: Option<String>,
    #[serde(default)]
    allow_restart: bool,
    #[serde(default, deserialize_with = "span")]
    stop_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    gone_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    start_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    cooldown: Option<Duration>,
    daily_budget: Option<u32>,
    #[serde(default)]
    windows: Vec<WindowSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemdSection {
    unit: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pm2Section {
    name: String,
    home: Option<PathBuf>,
}

impl Pm2Section {
    /// As pm2 itself finds it for the user of this program.
    fn home(&self) -> Result<PathBuf, (&'static str, String)> {
        let own = || {
            std::env::var_os("PM2_HOME")
                .map(PathBuf::from)
                .or_else(|| std::env::home_dir().map(|home| home.join(".pm2")))
        };
        self.home.clone().or_else(own).ok_or((
            "home",
            "is missing, and this user has no home directory".into(),
        ))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DockerSection {
    container: String,
    #[serde(default)]
    runtime: Runtime,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandSection {
    #[serde(deserialize_with = "words")]
    gone: Vec<String>,
    #[serde(default, deserialize_with = "optional_words")]
    stop: Option<Vec<String>>,
    #[serde(default, deserialize_with = "optional_words")]
    start: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowSection {
    #[serde(default, deserialize_with = "optional_list")]
    days: Option<Vec<String>>,
    from: String,
    to: String,
    zone: Option<String>,
}

impl BreakerSection {
    /// Errors: a sentence that names the key.
    pub fn build(self) -> Result<Breaker, String> {
        let default = Breaker::default();
        let share = match self.share {
            None => default.share,
            Some(text) => text
                .strip_suffix('%')
                .and_then(|number| number.trim().parse::<f64>().ok())
                .filter(|percent| (0.0..=100.0).contains(percent))
                .map(|percent| percent / 100.0)
                .ok_or("breaker.share: a percentage such as 5%")?,
        };
        if self
            .within
            .is_some_and(|within| within < Duration::from_secs(60))
        {
            return Err("breaker.within: not less than 1m".into());
        }
        Ok(Breaker {
            services: self.services.unwrap_or(default.services),
            share,
            within: self.within.unwrap_or(default.within),
        })
    }
}

/// Errors: a sentence that names the key.
pub fn build(sections: Vec<ProcessSection>, pattern: Option<&Regex>) -> Result<Services, String> {
    let placeholders = placeholders(pattern);
    let rules = sections
        .into_iter()
        .enumerate()
        .map(|(index, section)| section.build(index, &placeholders));
    Services::new(rules.collect::<Result<_, _>>()?)
}

impl ProcessSection {
    fn build(self, index: usize, placeholders: &Placeholders) -> Result<ServiceRule, String> {
        let key = |key: &str| format!("processes[{index}].{key}");
        let spec = self.spec(&key, placeholders)?;
        if self.allow_restart && !spec.can_restart() {
            return Err(match spec {
                Spec::Commands(_) => format!(
                    "{} needs the commands stop and start as well",
                    key("allow_restart")
                ),
                _ => format!(
                    "{}: a process with a pid file can only be observed; name its unit, its pm2 process, its container or commands",
                    key("allow_restart")
                ),
            });
        }
        let name = match &self.name {
            Some(name) if name.is_empty() => return Err(format!("{} is empty", key("name"))),
            Some(name) => Some(
                ArgTemplate::parse(name, placeholders)
                    .map_err(|error| format!("{}: {error}", key("name")))?,
            ),
            None => None,
        };
        let windows = self
            .windows
            .iter()
            .enumerate()
            .map(|(at, window)| window.build(index, at));
        let windows = Windows::new(windows.collect::<Result<_, _>>()?);
        let default = Timing::default();
        let positive = |name: &str, given: Option<Duration>, default: Duration| match given {
            Some(span) if span < Duration::from_secs(1) => {
                Err(format!("{}: not less than 1s", key(name)))
            }
            Some(span) if span > MAX_TIMEOUT => Err(format!("{}: not more than 1h", key(name))),
            span => Ok(span.unwrap_or(default)),
        };
        let timing = Timing {
            stop_timeout: positive("stop_timeout", self.stop_timeout, default.stop_timeout)?,
            gone_timeout: positive("gone_timeout", self.gone_timeout, default.gone_timeout)?,
            start_timeout: positive("start_timeout", self.start_timeout, default.start_timeout)?,
            connect_timeout: positive(
                "connect_timeout",
                self.connect_timeout,
                default.connect_timeout,
            )?,
            cooldown: self.cooldown.unwrap_or(default.cooldown),
            daily_budget: self.daily_budget.unwrap_or(default.daily_budget),
            windows,
        };
        let sessions = match &self.sessions {
            Some(sessions) => Some(globs(sessions, &key("sessions"))?),
            None => None,
        };
        ServiceRule::new(sessions, name, spec, self.allow_restart, timing)
            .map_err(|error| format!("{} {error}", key("name")))
    }

    fn spec(
        &self,
        key: &impl Fn(&str) -> String,
        placeholders: &Placeholders,
    ) -> Result<Spec, String> {
        let at = |name: &str, error: String| format!("{}: {error}", key(name));
        let Self {
            systemd,
            pm2,
            docker,
            command,
            pid_file,
            ..
        } = self;
        match (systemd, pm2, docker, command, pid_file) {
            (Some(systemd), None, None, None, None) => {
                SystemdUnit::new(&systemd.unit, placeholders)
                    .map(Spec::Systemd)
                    .map_err(|error| at("systemd.unit", error))
            }
            (None, Some(pm2), None, None, None) => pm2
                .home()
                .and_then(|home| Pm2::new(&pm2.name, &home, placeholders))
                .map(Spec::Pm2)
                .map_err(|(name, error)| at(&format!("pm2.{name}"), error)),
            (None, None, Some(docker), None, None) => {
                Container::new(&docker.container, docker.runtime, placeholders)
                    .map(Spec::Container)
                    .map_err(|error| at("docker.container", error))
            }
            (None, None, None, Some(command), None) => Commands::new(
                &command.gone,
                command.stop.as_deref(),
                command.start.as_deref(),
                placeholders,
            )
            .map(Spec::Commands)
            .map_err(|(name, error)| at(&format!("command.{name}"), error)),
            (None, None, None, None, Some(path)) => PidFile::new(path, placeholders)
                .map(Spec::PidFile)
                .map_err(|error| at("pid_file", error)),
            _ => Err(format!(
                "{} needs exactly one of systemd, pm2, docker, command and pid_file",
                key("").trim_end_matches('.')
            )),
        }
    }
}

impl WindowSection {
    fn build(&self, process: usize, index: usize) -> Result<Window, String> {
        let at = format!("processes[{process}].windows[{index}]");
        let Some(zone) = &self.zone else {
            return Err(format!(
                "{at}.zone is missing; name the time zone, such as America/Lima or UTC"
            ));
        };
        Window::parse(self.days.as_deref(), &self.from, &self.to, zone)
            .map_err(|(key, says)| format!("{at}.{key}: {says}"))
    }
}

#[cfg(test)]
mod tests;
