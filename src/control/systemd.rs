//! The preset `systemd`: a unit of the system's manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

use crate::connection::within;
use crate::folder::SessionName;

use super::calls::{act, bare, look, words};
use super::turn::Turn;
use super::word::Word;
use super::{ControlError, LOOK_TIMEOUT, Presence};

/// What `systemctl show` prints is read up to here.
const MAX_STATE_BYTES: u64 = 64 << 10;
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,MainPID,ControlPID,Job,ControlGroup,TasksCurrent,TriggeredBy,RequiredBy,RequisiteOf,BoundBy,ConsistsOf,PropagatesStopTo";
/// Units that systemd stops along with this one, and does not start again with it.
const STOPPED_ALONG: [&str; 5] = [
    "RequiredBy",
    "RequisiteOf",
    "BoundBy",
    "ConsistsOf",
    "PropagatesStopTo",
];
const NOT_UNDERSTOOD: &str = "not tried: the answer of systemctl cannot be understood";
const MEND: &str = "; may this user do it? See deploy/polkit and `systemctl status` of the unit";

/// A unit, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit(Word);

impl Unit {
    /// From the unit's name.
    ///
    /// Errors: not the name of a service.
    pub fn new(unit: &str, pattern: Option<&Regex>) -> Result<Self, String> {
        let word = Word::name(unit, pattern)?;
        // Without it systemctl guesses, and the end of a session's name would be the kind.
        match word.literal_end().ends_with(".service") {
            true => Ok(Self(word)),
            false => Err("must end in .service".into()),
        }
    }

    pub(super) fn word(&self) -> &Word {
        &self.0
    }

    pub(super) fn expand(&self, session: &SessionName) -> Result<OneUnit, ControlError> {
        let unit = self.0.fill(session)?;
        match is_unit(&unit) {
            true => Ok(OneUnit { unit }),
            false => Err(ControlError("not tried: it is not the name of a unit; letters without accents, digits and : _ . @ - are allowed".into())),
        }
    }
}

fn is_unit(name: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '\\' | '@' | '-');
    name.len() <= 255 && name.chars().all(allowed)
}

/// The unit of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OneUnit {
    unit: String,
}

impl OneUnit {
    pub(super) async fn stop(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        let state = self.show().await?;
        if let Some(problem) = state.problem() {
            return Err(ControlError(problem.into()));
        }
        let along = state.stopped_along();
        if !along.is_empty() {
            let answer = self.show_states(&along).await?;
            if let Some(problem) = answer.problem_of_those(along.len()) {
                return Err(ControlError(problem.into()));
            }
        }
        // The manager waits for its end; whoever asks looks for himself.
        let argv = words(&[
            "systemctl",
            "--no-ask-password",
            "--no-block",
            "stop",
            "--",
            &self.unit,
        ]);
        act("systemctl stop", bare(&argv, timeout, &[]), turn)
            .await
            .map_err(mend)
    }

    pub(super) async fn start(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        let argv = words(&["systemctl", "--no-ask-password", "start", "--", &self.unit]);
        act("systemctl start", bare(&argv, timeout, &[]), turn)
            .await
            .map_err(mend)
    }

    pub(super) async fn presence(&self) -> Presence {
        let state = match self.show().await {
            Ok(state) => state,
            Err(error) => return Presence::Unknown(error.to_string()),
        };
        let populated = match state.cgroup() {
            Some(dir) => {
                let look = move || Ok(populated(&dir));
                within("looking into the control group", LOOK_TIMEOUT, look)
                    .await
                    .ok()
                    .flatten()
            }
            None => None,
        };
        state.judge(populated)
    }

    async fn show(&self) -> Result<State, ControlError> {
        let argv = words(&[
            "systemctl",
            "--no-ask-password",
            "show",
            PROPERTIES,
            "--",
            &self.unit,
        ]);
        let answer = look(
            "systemctl show",
            bare(&argv, LOOK_TIMEOUT, &[]),
            MAX_STATE_BYTES,
        )
        .await?;
        Ok(State(String::from_utf8_lossy(&answer).into_owned()))
    }

    /// The states of other units, one block each.
    async fn show_states(&self, units: &[&str]) -> Result<State, ControlError> {
        if !units.iter().all(|unit| is_unit(unit)) {
            return Err(ControlError(NOT_UNDERSTOOD.into()));
        }
        let argv = [
            &[
                "systemctl",
                "--no-ask-password",
                "show",
                "--property=ActiveState",
                "--",
            ],
            units,
        ]
        .concat();
        let answer = look(
            "systemctl show",
            bare(&words(&argv), LOOK_TIMEOUT, &[]),
            MAX_STATE_BYTES,
        )
        .await?;
        Ok(State(String::from_utf8_lossy(&answer).into_owned()))
    }
}

fn mend(error: ControlError) -> ControlError {
    match error.0.contains("exited with") {
        true => ControlError(error.0 + MEND),
        false => error,
    }
}

/// What `systemctl show` printed.
#[derive(Debug)]
struct State(String);

impl State {
    /// `None`: it was not printed.
    fn value(&self, key: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// Why it must not be stopped.
    fn problem(&self) -> Option<&'static str> {
        match (self.value("LoadState"), self.value("TriggeredBy")) {
            (Some("loaded"), None | Some("")) => None,
            (Some("loaded"), Some(_)) => Some(
                "not tried: a timer, socket or path unit (TriggeredBy) could start the unit in the middle of the clean-up",
            ),
            (Some("not-found"), _) => Some("not tried: systemd knows no such unit"),
            (Some("masked"), _) => {
                Some("not tried: the unit is masked and could not be started again")
            }
            (Some(_), _) => Some("not tried: systemd cannot load the unit; see `systemctl status`"),
            (None, _) => Some(NOT_UNDERSTOOD),
        }
    }

    /// The units that a stop would take along. Not targets: they group units, and run nothing.
    fn stopped_along(&self) -> Vec<&str> {
        let units = STOPPED_ALONG
            .iter()
            .filter_map(|key| self.value(key))
            .flat_map(str::split_whitespace);
        let mut units: Vec<&str> = units.filter(|unit| !unit.ends_with(".target")).collect();
        units.sort_unstable();
        units.dedup();
        units
    }

    /// Why the unit must not be stopped because of those that would be stopped along: this
    /// is the answer about so many of them.
    fn problem_of_those(&self, units: usize) -> Option<&'static str> {
        let states: Vec<&str> = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix("ActiveState="))
            .collect();
        if states.len() != units {
            return Some(NOT_UNDERSTOOD);
        }
        let runs = states
            .iter()
            .any(|state| !matches!(*state, "inactive" | "failed"));
        runs.then_some(
            "not tried: another active unit would be stopped along with the unit and not be started again (its RequiredBy, RequisiteOf, BoundBy, ConsistsOf or PropagatesStopTo, see `systemctl show`); let that one only want it (Wants=, After=), or stop it",
        )
    }

    fn cgroup(&self) -> Option<PathBuf> {
        let path = self.value("ControlGroup")?.strip_prefix('/')?;
        let is_safe = !path.split('/').any(|part| part == "..");
        is_safe.then(|| Path::new("/sys/fs/cgroup").join(path))
    }

    /// `populated`: whether its control group holds processes, where that could be seen.
    fn judge(&self, populated: Option<bool>) -> Presence {
        let unknown = |why: &str| Presence::Unknown(why.to_owned());
        let (Some(load), Some(active), Some(sub)) = (
            self.value("LoadState"),
            self.value("ActiveState"),
            self.value("SubState"),
        ) else {
            return unknown("the answer of systemctl cannot be understood");
        };
        let (Some(main), Some(control)) = (self.number("MainPID"), self.number("ControlPID"))
        else {
            return unknown("systemctl did not say which processes the unit has");
        };
        if main > 0 || control > 0 {
            return Presence::Running;
        }
        if !matches!(load, "loaded" | "masked") {
            return unknown("systemd knows no such unit, or cannot load it");
        }
        let has_ended = matches!((active, sub), ("inactive", "dead") | ("failed", "failed"));
        if !has_ended {
            return match active {
                // Waiting for its restart, among others.
                "active" | "reloading" | "refreshing" | "activating" | "deactivating"
                | "inactive" | "failed" => Presence::Running,
                _ => unknown("the state of the unit is not known here"),
            };
        }
        if self.number("Job").is_some_and(|job| job > 0) {
            return Presence::Running;
        }
        let tasks = match self.value("TasksCurrent") {
            None | Some("" | "[not set]" | "18446744073709551615") => None,
            Some(number) => match number.parse::<u64>() {
                Ok(number) => Some(number),
                Err(_) => return unknown("the answer of systemctl cannot be understood"),
            },
        };
        match (self.value("ControlGroup"), tasks, populated) {
            // A unit with KillMode=process ends and leaves processes running.
            (_, Some(1..), _) | (_, _, Some(true)) => Presence::Running,
            (Some(""), ..) | (_, Some(0), _) | (_, _, Some(false)) => Presence::Gone,
            _ => unknown(
                "nobody can tell whether the unit has left processes running; set TasksAccounting=yes for it",
            ),
        }
    }
}

/// Whether a control group, or one below it, holds processes.
fn populated(dir: &Path) -> Option<bool> {
    let events = fs::read_to_string(dir.join("cgroup.events")).ok()?;
    match events
        .lines()
        .find_map(|line| line.strip_prefix("populated "))?
        .trim()
    {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: &str = "LoadState=loaded\nActiveState=inactive\nSubState=dead\nMainPID=0\nControlPID=0\nControlGroup=\nTasksCurrent=[not set]\nTriggeredBy=\n";

    fn word(text: &str, populated: Option<bool>) -> &'static str {
        match State(text.into()).judge(populated) {
            Presence::Running => "running",
            Presence::Gone => "gone",
            Presence::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn only_what_is_proven_is_gone() {
        assert_eq!(word(GONE, None), "gone");
        for (from, to, is) in [
            ("", "", "gone"),
            (
                "ActiveState=inactive\nSubState=dead",
                "ActiveState=failed\nSubState=failed",
                "gone",
            ),
            (
                "ActiveState=inactive\nSubState=dead",
                "ActiveState=active\nSubState=running",
                "running",
            ),
            (
                "ActiveState=inactive\nSubState=dead",
                "ActiveState=activating\nSubState=auto-restart",
                "running",
            ),
            (
                "ActiveState=inactive\nSubState=dead",
                "ActiveState=deactivating\nSubState=stop-sigterm",
                "running",
            ),
            // systemd 254 and later pass through these before a restart.
            (
                "SubState=dead",
                "SubState=dead-before-auto-restart",
                "running",
            ),
            (
                "ActiveState=inactive\nSubState=dead",
                "ActiveState=failed\nSubState=failed-before-auto-restart",
                "running",
            ),
            ("ActiveState=inactive", "ActiveState=maintenance", "unknown"),
            ("MainPID=0", "MainPID=77", "running"),
            ("ControlPID=0", "ControlPID=78", "running"),
            ("MainPID=0", "MainPID=", "unknown"),
            ("MainPID=0\n", "", "unknown"),
            ("ControlPID=0\n", "", "unknown"),
            ("LoadState=loaded", "LoadState=not-found", "unknown"),
            ("LoadState=loaded", "LoadState=masked", "gone"),
            ("TriggeredBy=", "Job=12", "running"),
            ("TriggeredBy=", "Job=0", "gone"),
            ("TasksCurrent=[not set]", "TasksCurrent=2", "running"),
            ("TasksCurrent=[not set]", "TasksCurrent=0", "gone"),
            ("TasksCurrent=[not set]", "TasksCurrent=many", "unknown"),
            (
                "ControlGroup=\n",
                "ControlGroup=/system.slice/bot.service\n",
                "unknown",
            ),
            ("ControlGroup=\n", "", "unknown"),
            (
                "ControlGroup=\nTasksCurrent=[not set]",
                "ControlGroup=/a\nTasksCurrent=0",
                "gone",
            ),
            (
                "ControlGroup=\nTasksCurrent=[not set]",
                "ControlGroup=/a\nTasksCurrent=1",
                "running",
            ),
        ] {
            assert_eq!(word(&GONE.replace(from, to), None), is, "{from} -> {to}");
        }
        assert_eq!(word("", None), "unknown");
        let left = GONE.replace("ControlGroup=", "ControlGroup=/a");
        assert_eq!(word(&left, Some(true)), "running");
        assert_eq!(word(&left, Some(false)), "gone");
        assert_eq!(word(GONE, Some(true)), "running");
    }

    #[test]
    fn a_control_group_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        for (events, says) in [
            ("populated 0\nfrozen 0\n", Some(false)),
            ("populated 1\nfrozen 0\n", Some(true)),
            ("frozen 0\n", None),
        ] {
            fs::write(dir.path().join("cgroup.events"), events).unwrap();
            assert_eq!(populated(dir.path()), says, "{events}");
        }
        assert_eq!(populated(&dir.path().join("none")), None);
        assert_eq!(State("ControlGroup=/../../x".into()).cgroup(), None);
        assert_eq!(State("ControlGroup=".into()).cgroup(), None);
    }

    #[test]
    fn what_must_not_be_stopped() {
        assert_eq!(State(GONE.into()).problem(), None);
        for (from, to, says) in [
            ("TriggeredBy=", "TriggeredBy=bot.timer", "TriggeredBy"),
            ("LoadState=loaded", "LoadState=not-found", "no such unit"),
            ("LoadState=loaded", "LoadState=masked", "masked"),
            ("LoadState=loaded", "LoadState=bad-setting", "cannot load"),
            ("LoadState=loaded\n", "", "cannot be understood"),
        ] {
            let problem = State(GONE.replace(from, to)).problem().unwrap();
            assert!(problem.contains(says), "{problem}");
        }
    }

    #[test]
    fn whoever_would_be_stopped_along_must_not_run() {
        let along = |more: &str| State(format!("{GONE}{more}")).stopped_along().join(" ");
        assert_eq!(along(""), "");
        assert_eq!(
            along("RequiredBy=multi-user.target\nBoundBy=\n"),
            "",
            "a target runs nothing"
        );
        for key in STOPPED_ALONG {
            assert_eq!(
                along(&format!("{key}=bots.target b.service a.socket\n")),
                "a.socket b.service",
                "{key}"
            );
            assert!(
                PROPERTIES.split(['=', ',']).any(|asked| asked == key),
                "{key}"
            );
        }
        assert_eq!(
            along("RequiredBy=a.service\nConsistsOf=a.service\n"),
            "a.service",
            "asked about once"
        );
        for (answer, units, says) in [
            ("ActiveState=inactive\n", 1, None),
            ("ActiveState=failed\n\nActiveState=inactive\n", 2, None),
            (
                "ActiveState=inactive\n\nActiveState=active\n",
                2,
                Some("stopped along"),
            ),
            ("ActiveState=activating\n", 1, Some("stopped along")),
            ("ActiveState=deactivating\n", 1, Some("stopped along")),
            ("ActiveState=inactive\n", 2, Some("cannot be understood")),
            ("", 1, Some("cannot be understood")),
        ] {
            let problem = State(answer.into()).problem_of_those(units);
            assert_eq!(problem.is_some(), says.is_some(), "{answer}");
            assert!(
                problem.is_none_or(|problem| problem.contains(says.unwrap())),
                "{answer}"
            );
        }
    }
}
