//! The sections `service` and `breaker`.

use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use regex::Regex;
use serde::{Deserialize, Deserializer, de};

use crate::connection::Template;
use crate::control::window::{Window, Windows};
use crate::control::{Preset, ServiceRule, Services, Timing};

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
        let template = |name: &str, text: &str| {
            Template::parse(text, pattern).map_err(|e| format!("{}: {e}", key(name)))
        };
        let argv = |name: &str, words: &[String]| match words {
            [] => Err(format!("{} is empty; give the program and its arguments", key(name))),
            words => words.iter().map(|word| template(name, word)).collect::<Result<Vec<_>, _>>(),
        };
        let Some(command) = &self.command else {
            return Err(format!("service[{index}] needs exactly one of systemd, pm2, docker and command"));
        };
        let Some(name) = &self.name else { return Err(format!("{} is missing", key("name"))) };
        let name = template("name", name)?;
        let preset = Preset::Command {
            stop: argv("command.stop", &command.stop)?,
            start: argv("command.start", &command.start)?,
            gone: argv("command.gone", &command.gone)?,
        };
        let default = Timing::default();
        let windows = self.windows.iter().enumerate().map(|(at, window)| window.build(index, at));
        Ok(ServiceRule {
            sessions: globs(self.sessions.as_deref(), &key("sessions"))?,
            name,
            preset,
            timing: Timing {
                stop_timeout: self.stop_timeout.unwrap_or(default.stop_timeout),
                gone_timeout: self.gone_timeout.unwrap_or(default.gone_timeout),
                start_timeout: self.start_timeout.unwrap_or(default.start_timeout),
                connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
                cooldown: self.cooldown.unwrap_or(default.cooldown),
                daily_budget: self.daily_budget.unwrap_or(default.daily_budget),
                windows: Windows::new(windows.collect::<Result<_, _>>()?),
            },
        })
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

fn globs(patterns: Option<&[String]>, key: &str) -> Result<GlobSet, String> {
    let all = ["*".to_owned()];
    let mut set = GlobSetBuilder::new();
    for pattern in patterns.unwrap_or(&all) {
        set.add(Glob::new(pattern).map_err(|error| format!("{key}: {error}"))?);
    }
    set.build().map_err(|error| format!("{key}: {error}"))
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map(Some)
        .map_err(|error| de::Error::custom(format!("not a time span such as 10m or 14d: {error}")))
}
