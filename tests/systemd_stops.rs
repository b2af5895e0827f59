//! What a real systemd notes of a stop that a person asked for, and of an end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use testkit::world::SOON;
use testkit::{process, systemd};

fn unit_file(name: &str, text: &str) {
    fs::write(Path::new(systemd::UNITS).join(name), text).unwrap();
}

/// Its supervisor says whether a person has stopped a unit that has ended. systemd notes the end
/// of a process before it leaves `active`, and a stop the other way round.
#[test]
fn what_systemd_notes_of_a_stop_and_of_an_end() {
    systemd::inside("what_systemd_notes_of_a_stop_and_of_an_end", || {
        const STAYS: &str = "ExecStart=/bin/sleep 1000";
        const NEVER: &str = "ExecStart=/bin/sleep 1000\nRestart=no";
        const CRASHES_ONCE: &str = "ExecStart=/bin/sh -c '[ -e /run/crashed ] && exec sleep 1000; touch /run/crashed; exit 1'\nRestart=on-failure\nRestartSec=0";
        let units = [
            ("stop", STAYS, true),
            (
                "stop",
                "ExecStart=/bin/sh -c 'trap \"exit 1\" TERM; while :; do sleep 0.05; done'",
                true,
            ),
            (
                "stop",
                "ExecStart=/bin/sh -c 'trap : TERM; while :; do sleep 0.05; done'\nTimeoutStopSec=1",
                true,
            ),
            (
                "stop",
                "ExecStart=/bin/sleep 1000\nExecStop=/bin/sh -c 'kill $MAINPID; sleep 0.2'",
                true,
            ),
            (
                "stop",
                "Type=forking\nPIDFile=/run/forks\nExecStart=/bin/sh -c 'sleep 1000 & echo $! >/run/forks'",
                true,
            ),
            (
                "stop",
                "ExecStart=/bin/sh -c 'sleep 1000 & exec sleep 1000'",
                true,
            ),
            ("stop", CRASHES_ONCE, true),
            ("kill", STAYS, false),
            ("", "ExecStart=/bin/sleep 0.3", false),
            ("", "ExecStart=/bin/sh -c 'sleep 0.3; exit 1'", false),
            (
                "",
                "ExecStart=/bin/sleep 0.3\nExecStop=/bin/sleep 0.3",
                false,
            ),
            ("", "ExecStart=/bin/sh -c 'sleep 1000 & sleep 0.3'", false),
            (
                "",
                "Type=forking\nPIDFile=/run/ends\nExecStart=/bin/sh -c 'sleep 0.3 & echo $! >/run/ends'",
                false,
            ),
            ("", "ExecStart=/bin/sleep 1000\nRuntimeMaxSec=1", false),
            ("", "ExecStart=/bin/sleep 1000\nWatchdogSec=1", false),
            ("stop, then a start that fails", NEVER, false),
        ];
        let wants = Path::new(systemd::UNITS).join("test.target.wants");
        fs::create_dir(&wants).unwrap();
        let systemctl = |args: &[&str]| {
            let systemctl = process::find(&["systemctl"]).unwrap();
            let (_, out, _) = process::run(&systemctl, args, SOON).unwrap();
            out.trim().to_owned()
        };
        let file = |name: &str, service: &str| {
            unit_file(
                name,
                &format!("[Unit]\nDefaultDependencies=no\n[Service]\n{service}\n"),
            );
        };
        let names: Vec<String> = (0..units.len())
            .map(|n| format!("bot{n}.service"))
            .collect();
        for (name, (_, service, _)) in names.iter().zip(units) {
            file(name, service);
            // systemd forgets a stopped unit that nothing wants.
            let path = Path::new(systemd::UNITS).join(name);
            std::os::unix::fs::symlink(path, wants.join(name)).unwrap();
        }
        systemctl(&["daemon-reload"]);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (name, (how, service, on_request)) in names.iter().zip(units) {
            systemctl(&["start", name]);
            let show = |key: &str| systemctl(&["show", "--value", "--property", key, name]);
            if how.starts_with("stop") || how == "kill" {
                let restarts = usize::from(service == CRASHES_ONCE).to_string();
                testkit::Patience::new(SOON)
                    .wait_until(SOON, "it runs", || {
                        match (show("ActiveState").as_str(), show("NRestarts") == restarts) {
                            ("active", true) => Ok(()),
                            other => Err(format!("{other:?}")),
                        }
                    })
                    .unwrap();
            }
            match how {
                "stop" => systemctl(&["stop", name]),
                "kill" => systemctl(&["kill", "--signal=KILL", name]),
                "" => String::new(),
                _ => {
                    systemctl(&["stop", name]);
                    file(name, "ExecStart=/nowhere");
                    systemctl(&["daemon-reload"]);
                    systemctl(&["start", name])
                }
            };
            let spec = supervisor::Spec::Systemd(
                supervisor::SystemdUnit::new(
                    name,
                    &supervisor::Placeholders::new("session", "session", None),
                )
                .unwrap(),
            );
            let unit = spec.fill("bot").unwrap();
            let query = supervisor::Query::default();
            let told = testkit::Patience::new(SOON).wait_until(SOON, "it has ended", || {
                match runtime.block_on(unit.observe(&query)).observation {
                    supervisor::Observation::Gone { on_request, .. } => Ok(on_request),
                    other => Err(format!("{other:?}")),
                }
            });
            let all = || systemctl(&["show", name]);
            assert_eq!(told.unwrap(), on_request, "{how}: {service}\n{}", all());
        }
    });
}

/// systemd forgets a unit that is not enabled as soon as it is stopped. Its process was seen before.
#[test]
fn a_stop_of_a_unit_that_is_not_enabled() {
    systemd::inside("a_stop_of_a_unit_that_is_not_enabled", || {
        let systemctl = |args: &[&str]| {
            let systemctl = process::find(&["systemctl"]).unwrap();
            let (_, out, _) = process::run(&systemctl, args, SOON).unwrap();
            out.trim().to_owned()
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (restart, on_request) in [("always", true), ("on-failure", false)] {
            let name = format!("{restart}.service");
            unit_file(
                &name,
                &format!(
                    "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000\nRestart={restart}\n"
                ),
            );
            systemctl(&["daemon-reload"]);
            systemctl(&["start", &name]);
            let placeholders = supervisor::Placeholders::new("session", "session", None);
            let unit = supervisor::SystemdUnit::new(&name, &placeholders).unwrap();
            let unit = supervisor::Spec::Systemd(unit).fill("bot").unwrap();
            let observe =
                |query: &supervisor::Query| runtime.block_on(unit.observe(query)).observation;
            let mark = testkit::Patience::new(SOON)
                .wait_until(SOON, "it runs", || {
                    match observe(&supervisor::Query::default()) {
                        supervisor::Observation::Running {
                            mark: Some(mark), ..
                        } => Ok(mark),
                        other => Err(format!("{other:?}")),
                    }
                })
                .unwrap();
            systemctl(&["stop", &name]);
            let told = |last_mark: Option<&str>| {
                let query = supervisor::Query {
                    last_mark: last_mark.map(str::to_owned),
                    ..supervisor::Query::default()
                };
                match observe(&query) {
                    supervisor::Observation::Gone { on_request, .. } => on_request,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(
                systemctl(&[
                    "show",
                    "--value",
                    "--property=InactiveEnterTimestampMonotonic",
                    &name
                ]),
                "0"
            );
            assert_eq!(told(Some(&mark)), on_request, "{restart}");
            assert!(!told(None), "{restart}: not seen before");
        }
    });
}
