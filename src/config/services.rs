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
        Self {
            services: 3,
            share: 0.05,
            within: Duration::from_secs(3600),
        }
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
pub fn build(sections: Vec<ServiceSection>, pattern: Option<&Regex>) -> Result<Services, String> {
    let rules = sections
        .into_iter()
        .enumerate()
        .map(|(index, section)| section.build(index, pattern));
    Services::new(rules.collect::<Result<_, _>>()?)
}

impl ServiceSection {
    fn build(self, index: usize, pattern: Option<&Regex>) -> Result<ServiceRule, String> {
        let key = |key: &str| format!("service[{index}].{key}");
        let preset = self.preset(&key, pattern)?;
        let name = match &self.name {
            Some(name) if name.is_empty() => return Err(format!("{} is empty", key("name"))),
            Some(name) => Some(
                Word::parse(name, pattern).map_err(|error| format!("{}: {error}", key("name")))?,
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
            Some(sessions) => globs(sessions, &key("sessions"))?,
            None => globs(&["*".to_owned()], &key("sessions"))?,
        };
        ServiceRule::new(sessions, name, preset, timing)
            .map_err(|error| format!("{} {error}", key("name")))
    }

    fn preset(
        &self,
        key: &impl Fn(&str) -> String,
        pattern: Option<&Regex>,
    ) -> Result<Preset, String> {
        let told = |name: &str, error: String| format!("{} {error}", key(name));
        match (&self.systemd, &self.pm2, &self.docker, &self.command) {
            (Some(systemd), None, None, None) => Unit::new(&systemd.unit, pattern)
                .map(Preset::Systemd)
                .map_err(|e| told("systemd.unit:", e)),
            (None, Some(pm2), None, None) => {
                Pm2::new(&pm2.name, &pm2.home, pm2.user.as_deref(), pattern)
                    .map(Preset::Pm2)
                    .map_err(|(name, error)| told(&format!("pm2.{name}:"), error))
            }
            (None, None, Some(docker), None) => {
                Container::new(&docker.container, docker.runtime, pattern)
                    .map(Preset::Container)
                    .map_err(|e| told("docker.container:", e))
            }
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
            return Err(format!(
                "{at}.zone is missing; name the time zone, such as America/Lima or UTC"
            ));
        };
        Window::parse(self.days.as_deref(), &self.from, &self.to, zone)
            .map_err(|(key, says)| format!("{at}.{key}: {says}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::SessionName;
    use std::ffi::OsStr;

    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        service: Vec<ServiceSection>,
        #[serde(default)]
        breaker: BreakerSection,
    }

    fn load(yaml: &str) -> Result<(Services, Breaker), String> {
        let pattern = Regex::new(r"^(?:company_(?<id>\d+))$").unwrap();
        let file: File = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        Ok((build(file.service, Some(&pattern))?, file.breaker.build()?))
    }

    fn session(name: &str) -> SessionName {
        SessionName::from_dir(OsStr::new(name))
    }

    #[test]
    fn the_first_entry_that_matches_counts() {
        let (services, breaker) = load(
            r#"
service:
  - sessions: ["company_1*"]
    systemd: {unit: 'bot@{id}.service'}
    stop_timeout: 10s
    daily_budget: 1
    windows: [{days: [mon], from: "03:00", to: "04:30", zone: America/Lima}]
  - name: all-in-one
    command: {stop: [a, stop], start: [a, start], gone: [a, gone]}
breaker: {services: 5, share: 10%, within: 2h}
"#,
        )
        .unwrap();
        let one = services.of(&session("company_17")).unwrap();
        assert_eq!(
            (one.name.as_str(), one.preset(), one.daily_budget),
            ("bot@17.service", "systemd", 1)
        );
        assert_eq!(one.stop_timeout, Duration::from_secs(10));
        assert_eq!(one.connect_timeout, Duration::from_secs(180));
        assert!(!one.windows.is_empty() && one.check().is_ok());
        let shared = services.of(&session("company_2")).unwrap();
        assert_eq!(
            (shared.name.as_str(), shared.preset()),
            ("all-in-one", "command")
        );
        assert!(shared.windows.is_empty());
        let sessions = ["company_17", "company_2", "x"].map(session);
        let names = services.names(&sessions);
        assert_eq!(names["all-in-one"].len(), 2);
        assert_eq!(names.len(), 2);
        assert_eq!(
            breaker,
            Breaker {
                services: 5,
                share: 0.1,
                within: Duration::from_secs(7200)
            }
        );

        let (none, breaker) = load("{}").unwrap();
        assert!(none.is_empty() && none.of(&session("a")).is_none());
        assert_eq!(breaker, Breaker::default());
    }

    #[tokio::test]
    async fn a_session_whose_name_does_not_fit_is_neither_stopped_nor_gone() {
        use crate::control::Presence;
        let (services, _) =
            load("service: [{name: '{session}', command: {stop: ['true'], start: ['true'], gone: ['true', '{id}']}}]")
                .unwrap();
        for name in ["other", "company_x", "-rf"] {
            let service = services.of(&session(name)).unwrap();
            assert_eq!((service.name.as_str(), service.preset()), (name, "none"));
            assert!(
                service.check().is_err()
                    && service.stop().await.is_err()
                    && service.start().await.is_err()
            );
            assert!(matches!(service.presence().await, Presence::Unknown(_)));
        }
        assert_eq!(
            services.of(&session("company_7")).unwrap().presence().await,
            Presence::Gone
        );
    }

    #[test]
    fn two_processes_of_one_name_are_refused() {
        let of_a = "sessions: ['a*']";
        let pm2 = |name: &str, home: &str| format!("pm2: {{name: {name}, home: {home}}}");
        let command = |stop: &str| format!("command: {{stop: [{stop}], start: [b], gone: [c]}}");
        for (first, second) in [
            (pm2("bot", "/home/a/.pm2"), pm2("bot", "/home/b/.pm2")),
            (
                pm2("bot", "/p"),
                "pm2: {name: bot, home: /p, user: b}".into(),
            ),
            (
                "docker: {container: bot}".into(),
                "docker: {container: bot, runtime: podman}".into(),
            ),
            ("docker: {container: bot}".into(), pm2("bot", "/p")),
            (
                "systemd: {unit: a.service}, name: bots".into(),
                "systemd: {unit: b.service}, name: bots".into(),
            ),
            (
                format!("name: bots, {}", command("a")),
                format!("name: bots, {}", command("b")),
            ),
            // a_7 and b_7 would be one.
            (pm2("'bot-{id}'", "/a"), pm2("'bot-{id}'", "/b")),
        ] {
            let yaml = format!(
                "service: [{{{of_a}, {first}}}, {{sessions: [x], systemd: {{unit: x.service}}}}, {{{second}}}]"
            );
            let error = load(&yaml).map(|_| ()).unwrap_err();
            assert!(
                error.contains("service[0] and service[2] have the same name"),
                "{yaml}: {error}"
            );
            assert!(error.contains("another `name`"), "{error}");
            let named =
                format!("service: [{{{of_a}, {first}}}, {{{second}, name: 'b-{{session}}'}}]");
            if !second.contains("name: bots") {
                load(&named).unwrap_or_else(|error| panic!("{named}: {error}"));
            }
            let same = format!("service: [{{{of_a}, {first}}}, {{{first}, cooldown: 1h}}]");
            load(&same).unwrap_or_else(|error| panic!("{same}: {error}"));
        }
        // Of different sessions these are different names.
        load(&format!(
            "service: [{{{of_a}, {}}}, {{{}}}]",
            pm2("'{session}'", "/a"),
            pm2("'{session}'", "/b")
        ))
        .unwrap();
    }

    #[tokio::test]
    async fn a_name_that_turns_out_to_be_another_process_has_neither_stop_nor_start() {
        use crate::control::Presence;
        let one =
            |names: &str| format!("command: {{stop: ['true'], start: ['true'], gone: [{names}]}}");
        let (services, _) = load(&format!(
            "service: [{{sessions: [a, c], name: b, {}}}, {{name: '{{session}}', {}}}]",
            one("'true'"),
            one("'true', '{session}'")
        ))
        .unwrap();
        let all = ["a", "b", "c", "d"].map(session);
        for (name, sessions, is_known) in [
            ("a", &all[..], false),
            ("b", &all[..], false),
            ("c", &all[..], false),
            ("d", &all[..], true),
            // Without a session b there is one process, of two sessions.
            ("a", &[session("a"), session("c"), session("d")][..], true),
        ] {
            let service = services.among(&session(name), sessions).unwrap();
            assert_eq!(service.check().is_ok(), is_known, "{name}");
            assert_eq!(
                service.presence().await == Presence::Gone,
                is_known,
                "{name}"
            );
            assert_eq!(service.stop().await.is_ok(), is_known, "{name}");
        }
    }

    #[test]
    fn errors_name_the_key() {
        for (service, says) in [
            (
                "{}",
                "service[0] needs exactly one of systemd, pm2, docker and command",
            ),
            (
                "{systemd: {unit: a.service}, docker: {container: b}}",
                "service[0] needs exactly one of",
            ),
            (
                "{systemd: {unit: a}}",
                "service[0].systemd.unit: must end in .service",
            ),
            ("{systemd: {unit: 'a@{id}'}}", "must end in .service"),
            ("{systemd: {unit: '{session}'}}", "must end in .service"),
            (
                "{systemd: {unit: -a.service}}",
                "service[0].systemd.unit: must be a name",
            ),
            (
                "{systemd: {unit: '{nope}.service'}}",
                "nothing fills {nope}",
            ),
            ("{systemd: {unit: a.service, user: b}}", "user"),
            (
                "{systemd: {unit: 'bot@{id}.service'}, name: bots}",
                "service[0].name must hold {id} as well",
            ),
            (
                "{systemd: {unit: 'bot@{session}.service'}, name: 'b{id}'}",
                "service[0].name must hold {session}",
            ),
            (
                "{systemd: {unit: a.service}, name: ''}",
                "service[0].name is empty",
            ),
            ("{pm2: {name: a}}", "home"),
            (
                "{pm2: {name: a, home: b}}",
                "service[0].pm2.home: must be an absolute path",
            ),
            (
                "{pm2: {name: '', home: /b}}",
                "service[0].pm2.name: must be a name",
            ),
            (
                "{pm2: {name: a, home: /b, user: '-x'}}",
                "service[0].pm2.user: must be the name of a user",
            ),
            (
                "{pm2: {name: a, home: /b, user: 'a b'}}",
                "service[0].pm2.user",
            ),
            ("{docker: {container: a, runtime: lxc}}", "lxc"),
            ("{command: {stop: [a], start: [a]}}", "gone"),
            (
                "{command: {stop: [a], start: [a], gone: [a]}}",
                "service[0].name is missing",
            ),
            (
                "{name: a, command: {stop: [], start: [a], gone: [a]}}",
                "service[0].command.stop: is empty",
            ),
            (
                "{name: a, command: {stop: [a], start: ['{session}'], gone: [a]}}",
                "command.start: the program may",
            ),
            (
                "{name: a, command: {stop: [a], start: [a], gone: [sh, -c, a]}}",
                "command.gone: sh -c would run",
            ),
            (
                "{name: a, command: {stop: [a, '{session}'], start: [a], gone: [a]}}",
                "must hold {session}",
            ),
            (
                "{name: a, command: {stop: a b, start: [a], gone: [a]}}",
                "line",
            ),
            (
                "{systemd: {unit: a.service}, sessions: ['[']}",
                "service[0].sessions",
            ),
            (
                "{systemd: {unit: a.service}, stop_timeout: 0s}",
                "service[0].stop_timeout: not less than 1s",
            ),
            (
                "{systemd: {unit: a.service}, cooldown: soon}",
                "not a time span",
            ),
            (
                "{systemd: {unit: a.service}, windows: [{from: '03:00', to: '04:00'}]}",
                "service[0].windows[0].zone is missing; name the time zone",
            ),
            (
                "{systemd: {unit: a.service}, windows: [{from: '03:00', to: '04:00', zone: Lima}]}",
                "service[0].windows[0].zone: ",
            ),
            (
                "{systemd: {unit: a.service}, windows: [{from: 3am, to: '04:00', zone: UTC}]}",
                "service[0].windows[0].from: ",
            ),
        ] {
            let error = load(&format!("service: [{service}]"))
                .map(|_| ())
                .unwrap_err();
            assert!(error.contains(says), "{service}: {error}");
        }
        for (breaker, says) in [
            ("{share: 5}", "breaker.share: a percentage such as 5%"),
            ("{share: 500%}", "breaker.share"),
            ("{share: -1%}", "breaker.share"),
            ("{share: NaN%}", "breaker.share"),
            ("{within: 1s}", "breaker.within"),
            ("{services: -1}", "line"),
            ("{nope: 1}", "nope"),
        ] {
            let error = load(&format!("breaker: {breaker}"))
                .map(|_| ())
                .unwrap_err();
            assert!(error.contains(says), "{breaker}: {error}");
        }
    }
}
