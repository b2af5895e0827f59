//! The sections `service` and `breaker`.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;

use crate::connection::Runtime;
use crate::control::window::{Window, Windows};
use crate::control::{Command, Container, Pm2, Preset, ServiceRule, Services, Timing, Unit, Word};

use super::file::span;
use super::globs;

/// When everything is stopped because too much happens at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// More services than this trip it.
    pub services: u32,
    /// More than this share of all services, between 0 and 1, trips it.
    pub share: f64,
    /// Counted over this span.
    pub within: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { services: 3, share: 0.05, within: Duration::from_secs(3600) }
    }
}

/// The section `breaker`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSection {
    services: Option<u32>,
    share: Option<String>,
    #[serde(deserialize_with = "span")]
    within: Option<Duration>,
}

/// One entry of `service`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSection {
    sessions: Option<Vec<String>>,
    name: Option<String>,
    systemd: Option<SystemdSection>,
    pm2: Option<Pm2Section>,
    docker: Option<DockerSection>,
    command: Option<CommandSection>,
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
    home: PathBuf,
    user: Option<String>,
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
    stop: Vec<String>,
    start: Vec<String>,
    gone: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowSection {
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
        Ok(Breaker {
            services: self.services.unwrap_or(default.services),
            share,
            within: self.within.unwrap_or(default.within),
        })
    }
}

/// Errors: a sentence that names the key.
pub fn build(sections: Vec<ServiceSection>, pattern: Option<&Regex>) -> Result<Services, String> {
    let rules = sections.into_iter().enumerate().map(|(index, section)| section.build(index, pattern));
    rules.collect::<Result<_, _>>().map(Services::new)
}

impl ServiceSection {
    fn build(self, index: usize, pattern: Option<&Regex>) -> Result<ServiceRule, String> {
        let key = |key: &str| format!("service[{index}].{key}");
        let preset = self.preset(&key, pattern)?;
        let name = match &self.name {
            Some(name) if name.is_empty() => return Err(format!("{} is empty", key("name"))),
            Some(name) => {
                Some(Word::parse(name, pattern).map_err(|error| format!("{}: {error}", key("name")))?)
            }
            None => None,
        };
        let windows = self.windows.iter().enumerate().map(|(at, window)| window.build(index, at));
        let windows = Windows::new(windows.collect::<Result<_, _>>()?);
        let default = Timing::default();
        let positive = |name: &str, given: Option<Duration>, default: Duration| match given {
            Some(span) if span < Duration::from_secs(1) => Err(format!("{}: not less than 1s", key(name))),
            span => Ok(span.unwrap_or(default)),
        };
        let timing = Timing {
            stop_timeout: positive("stop_timeout", self.stop_timeout, default.stop_timeout)?,
            gone_timeout: positive("gone_timeout", self.gone_timeout, default.gone_timeout)?,
            start_timeout: positive("start_timeout", self.start_timeout, default.start_timeout)?,
            connect_timeout: positive("connect_timeout", self.connect_timeout, default.connect_timeout)?,
            cooldown: self.cooldown.unwrap_or(default.cooldown),
            daily_budget: self.daily_budget.unwrap_or(default.daily_budget),
            windows,
        };
        let sessions = match &self.sessions {
            Some(sessions) => globs(sessions, &key("sessions"))?,
            None => globs(&["*".to_owned()], &key("sessions"))?,
        };
        ServiceRule::new(sessions, name, preset, timing).map_err(|error| format!("{} {error}", key("name")))
    }

    fn preset(&self, key: &impl Fn(&str) -> String, pattern: Option<&Regex>) -> Result<Preset, String> {
        let told = |name: &str, error: String| format!("{} {error}", key(name));
        match (&self.systemd, &self.pm2, &self.docker, &self.command) {
            (Some(systemd), None, None, None) => {
                Unit::new(&systemd.unit, pattern).map(Preset::Systemd).map_err(|e| told("systemd.unit:", e))
            }
            (None, Some(pm2), None, None) => Pm2::new(&pm2.name, &pm2.home, pm2.user.as_deref(), pattern)
                .map(Preset::Pm2)
                .map_err(|(name, error)| told(&format!("pm2.{name}:"), error)),
            (None, None, Some(docker), None) => Container::new(&docker.container, docker.runtime, pattern)
                .map(Preset::Container)
                .map_err(|e| told("docker.container:", e)),
            (None, None, None, Some(command)) => {
                Command::new(&command.stop, &command.start, &command.gone, pattern)
                    .map(Preset::Command)
                    .map_err(|(name, error)| told(&format!("command.{name}:"), error))
            }
            _ => Err(format!(
                "{} needs exactly one of systemd, pm2, docker and command",
                key("").trim_end_matches('.')
            )),
        }
    }
}

impl WindowSection {
    fn build(&self, service: usize, index: usize) -> Result<Window, String> {
        let at = format!("service[{service}].windows[{index}]");
        let Some(zone) = &self.zone else {
            return Err(format!("{at}.zone is missing; name the time zone, such as America/Lima or UTC"));
        };
        Window::parse(self.days.as_deref(), &self.from, &self.to, zone)
            .map_err(|(key, says)| format!("{at}.{key}: {says}"))
    }
}
