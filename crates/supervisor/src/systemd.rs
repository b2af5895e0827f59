//! A unit of the system's systemd.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};

use crate::bounded::within;
use crate::exec::{Exec, argv};
use crate::obstacle::UnitFile;
use crate::proc::{have_ended, is_of_this_boot, with_mark};
use crate::{
    Absence, ArgTemplate, CallError, CallOptions, ExecError, Observation, Observed, Placeholders,
    QUERY_TIMEOUT, Query, RestartObstacle, Supervisor, Template,
};

/// What `systemctl show` prints is read up to here.
const MAX_STATE_BYTES: u64 = 64 << 10;
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,MainPID,ControlPID,Job,ControlGroup,TasksCurrent,TriggeredBy,UpheldBy,RequiredBy,RequisiteOf,BoundBy,ConsistsOf,PropagatesStopTo,InactiveEnterTimestampMonotonic,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,ActiveExitTimestampMonotonic,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic,Type,NotifyAccess,RuntimeMaxUSec,StopWhenUnneeded,CollectMode,Result,Restart,NRestarts,RestartPreventExitStatus,CanStart,ConditionResult,AssertResult,Transient,FragmentPath,NeedDaemonReload,BindsTo,Requires,Requisite,PartOf,StopPropagatedFrom";
/// A unit, and what its stop takes along: the names are those of [`STOPPED_ALONG`].
const ALONG: &str =
    "--property=Id,ActiveState,RequiredBy,RequisiteOf,BoundBy,ConsistsOf,PropagatesStopTo";
/// At most this many units are asked what their stop takes along.
const MAX_ALONG: usize = 256;
/// Units that systemd stops along with this one, and does not start again with it.
const STOPPED_ALONG: [&str; 5] = [
    "RequiredBy",
    "RequisiteOf",
    "BoundBy",
    "ConsistsOf",
    "PropagatesStopTo",
];
/// Units whose stop stops this one.
const STOPPED_BY: [&str; 4] = ["Requires", "Requisite", "PartOf", "StopPropagatedFrom"];
/// Kinds of units that run no program of their own: they stop by a request.
const WITHOUT_PROGRAM: [&str; 4] = [".target", ".slice", ".mount", ".socket"];
const NOT_UNDERSTOOD: &str = "the answer of systemctl cannot be understood";
const NOT_TRIED: &str = "not tried: the answer of systemctl cannot be understood";
const HINT: &str = "; may this user do it? See deploy/polkit and `systemctl status` of the unit";

/// A unit, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemdUnit(ArgTemplate);

impl SystemdUnit {
    /// From the unit's name.
    ///
    /// Errors: not the name of a service.
    pub fn new(unit: &str, placeholders: &Placeholders) -> Result<Self, String> {
        let name = ArgTemplate::name(unit, placeholders)?;
        // Without it systemctl guesses, and the end of a subject's name would be the kind.
        match name.template().literal_end().ends_with(".service") {
            true => Ok(Self(name)),
            false => Err("must end in .service".into()),
        }
    }

    pub(crate) fn template(&self) -> &Template {
        self.0.template()
    }

    pub(crate) fn fill(&self, subject: &str) -> Result<Systemd, String> {
        let unit = self.0.fill(subject)?;
        match is_unit(&unit) {
            true => Ok(Systemd { unit }),
            false => Err("not tried: it is not the name of a unit; letters without accents, digits and : _ . @ - are allowed".into()),
        }
    }
}

fn is_unit(name: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '\\' | '@' | '-');
    name.len() <= 255 && name.chars().all(allowed)
}

/// One unit.
#[derive(Debug)]
pub(crate) struct Systemd {
    unit: String,
}

#[async_trait]
impl Supervisor for Systemd {
    fn kind(&self) -> &'static str {
        "systemd"
    }

    fn id(&self) -> String {
        format!("systemd {}", self.unit)
    }

    async fn observe(&self, query: &Query) -> Observed {
        let state = match self.show(query.timeout).await {
            Ok(state) => state,
            Err(why) => return Observation::Unknown(why).into(),
        };
        let populated = match state.cgroup() {
            Some(dir) => {
                let work = move || Ok(populated(&dir));
                within("reading the control group", query.timeout, work)
                    .await
                    .ok()
                    .flatten()
            }
            None => None,
        };
        let mut observed = state.judge(populated);
        if let Observation::Gone { on_request, .. } = &mut observed
            && !*on_request
            && state.was_unloaded()
            && let Some(mark) = query
                .last_mark
                .as_deref()
                .filter(|mark| is_of_this_boot(mark))
        {
            *on_request = have_ended(mark, query.timeout).await == Some(true);
        }
        // At a shutdown the machine stops all units; no person asked for this one.
        if let Observation::Gone { on_request, .. } = &mut observed
            && *on_request
        {
            *on_request = match self
                .query("--property=SystemState", &[], query.timeout)
                .await
            {
                Ok(manager) => manager
                    .value("SystemState")
                    .is_some_and(|state| state != "stopping"),
                Err(_) => false,
            };
        }
        Observed {
            absence: state
                .absence()
                .filter(|_| matches!(observed, Observation::Unknown(_))),
            observation: with_mark(observed, query.timeout).await,
            restarts: state.restarts(),
        }
    }

    async fn check_restart(&self, query: &Query) -> Result<Option<RestartObstacle>, String> {
        let state = self.show(query.timeout).await?;
        self.obstacle(&state, query.timeout).await
    }

    async fn stop(&self, call: CallOptions) -> Result<(), CallError> {
        let not_called = CallError::NotCalled;
        let state = self.show(QUERY_TIMEOUT).await.map_err(not_called)?;
        // The next look finds what the unit may have left running. The caller learns that a unit
        // could not be started again even if it is down already.
        let is_down = matches!(state.judge(Some(false)), Observation::Gone { .. });
        let obstacle = match is_down {
            true => state.obstacle_at(QUERY_TIMEOUT).await,
            false => self.obstacle(&state, QUERY_TIMEOUT).await,
        };
        if let Some(obstacle) = obstacle.map_err(not_called)? {
            return Err(obstacle.into());
        }
        if let Some(problem) = state.problem() {
            return Err(not_called(problem.into()));
        }
        if is_down {
            return Err(CallError::AlreadyStopped);
        }
        // systemd waits for its end; the caller observes it.
        let argv = argv(&[
            "systemctl",
            "--no-ask-password",
            "--no-block",
            "stop",
            "--",
            &self.unit,
        ]);
        let exec = Exec::new(&argv, call.timeout).clean_env(&[]);
        exec.act("systemctl stop", &call).await.map_err(with_hint)
    }

    async fn start(&self, call: CallOptions) -> Result<(), CallError> {
        let argv = argv(&["systemctl", "--no-ask-password", "start", "--", &self.unit]);
        let exec = Exec::new(&argv, call.timeout).clean_env(&[]);
        exec.act("systemctl start", &call).await.map_err(with_hint)
    }
}

impl Systemd {
    async fn show(&self, timeout: Duration) -> Result<UnitState, String> {
        self.query(PROPERTIES, &[&self.unit], timeout).await
    }

    /// What stands in the way of a stop and a start of this unit.
    async fn obstacle(
        &self,
        state: &UnitState,
        timeout: Duration,
    ) -> Result<Option<RestartObstacle>, String> {
        if let Some(obstacle) = state.obstacle_at(timeout).await? {
            return Ok(Some(obstacle));
        }
        let stops_others = self.stops_others(state, timeout).await?;
        Ok(stops_others.then_some(RestartObstacle::StopsOthers))
    }

    /// Whether a stop ends another unit that runs. A target and a unit that is down pass the stop
    /// on to others.
    ///
    /// Errors: that is unknown.
    async fn stops_others(&self, state: &UnitState, timeout: Duration) -> Result<bool, String> {
        let mut known = HashSet::from([self.unit.clone()]);
        let mut next = state.stopped_along();
        loop {
            next.retain(|unit| known.insert(unit.clone()));
            if next.is_empty() {
                return Ok(false);
            }
            if known.len() > MAX_ALONG || !next.iter().all(|unit| is_unit(unit)) {
                return Err(NOT_TRIED.into());
            }
            let units: Vec<&str> = next.iter().map(String::as_str).collect();
            let answers = self.query(ALONG, &units, timeout).await?.of_each();
            if answers.len() != units.len() {
                return Err(NOT_TRIED.into());
            }
            if answers.iter().any(UnitState::runs_a_program) {
                return Ok(true);
            }
            next = answers.iter().flat_map(UnitState::stopped_along).collect();
        }
    }

    async fn query(
        &self,
        properties: &str,
        units: &[&str],
        timeout: Duration,
    ) -> Result<UnitState, String> {
        let show = ["systemctl", "--no-ask-password", "show", properties, "--"];
        let argv = argv(&[&show, units].concat());
        let exec = Exec::new(&argv, timeout).clean_env(&[]);
        let answer = exec.query("systemctl show", MAX_STATE_BYTES).await?;
        Ok(UnitState(String::from_utf8_lossy(&answer).into_owned()))
    }
}

fn with_hint(error: CallError) -> CallError {
    match error {
        CallError::Failed {
            call,
            error: error @ ExecError::Exit(_),
            ..
        } => CallError::Failed {
            call,
            error,
            hint: HINT,
        },
        error => error,
    }
}

/// What `systemctl show` printed.
#[derive(Debug)]
struct UnitState(String);

impl UnitState {
    /// `None`: it was not printed.
    fn value(&self, key: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    fn number<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        self.value(key)?.parse().ok()
    }

    /// How often systemd has restarted it by itself, since a person started it. Of a unit without
    /// a file systemd prints 0.
    fn restarts(&self) -> Option<u64> {
        let is_loaded = self.value("LoadState") == Some("loaded");
        self.number("NRestarts").filter(|_| is_loaded)
    }

    fn names_units(&self, key: &str) -> bool {
        self.value(key).is_some_and(|units| !units.is_empty())
    }

    /// What systemd tells of a unit that it cannot start, or whose processes it does not count.
    fn absence(&self) -> Option<Absence> {
        let has_none = |key| self.number::<u32>(key) == Some(0);
        let is_down = matches!(self.value("ActiveState"), Some("inactive" | "failed"));
        match self.value("LoadState")? {
            "not-found" => Some(Absence::HasNone),
            _ if !is_down || !has_none("MainPID") || !has_none("ControlPID") => None,
            // A person has masked it.
            "masked" => Some(Absence::HasNone),
            "loaded" | "bad-setting" | "error" => Some(Absence::RunsNone),
            _ => None,
        }
    }

    /// Why it is unknown whether it may be stopped.
    fn problem(&self) -> Option<&'static str> {
        match self.value("LoadState") {
            Some("loaded") => None,
            Some(_) => Some("not tried: the unit is not loaded; see `systemctl status`"),
            None => Some(NOT_TRIED),
        }
    }

    /// What stands in the way of a stop and a start of this unit alone.
    async fn obstacle_at(&self, timeout: Duration) -> Result<Option<RestartObstacle>, String> {
        let file = match self.changed_file() {
            Some(path) => {
                let work = move || Ok(UnitFile::at(&path));
                within("looking for the file of the unit", timeout, work).await?
            }
            None => UnitFile::Other,
        };
        Ok(self.obstacle(file))
    }

    /// The same, with what its file is now.
    fn obstacle(&self, file: UnitFile) -> Option<RestartObstacle> {
        match (self.value("LoadState")?, file) {
            ("loaded", _) if self.value("Transient") == Some("yes") => {
                Some(RestartObstacle::TransientUnit)
            }
            ("not-found", _) | ("loaded", UnitFile::Missing) => Some(RestartObstacle::NoUnitFile),
            ("masked", _) | ("loaded", UnitFile::Masks) => Some(RestartObstacle::MaskedUnit),
            ("bad-setting" | "error", _) => Some(RestartObstacle::UnloadableUnit),
            ("loaded", _) if self.value("CanStart") == Some("no") => {
                Some(RestartObstacle::NoManualStart)
            }
            ("loaded", _) if self.names_units("TriggeredBy") => {
                Some(RestartObstacle::TriggeredUnit)
            }
            ("loaded", _) if self.names_units("UpheldBy") => Some(RestartObstacle::UpheldUnit),
            _ => None,
        }
    }

    /// The file that systemd has loaded, where systemd says that it has changed or is gone: what
    /// this program alone does not see may be outside its own mounts.
    fn changed_file(&self) -> Option<PathBuf> {
        let path = self.value("FragmentPath").filter(|path| !path.is_empty())?;
        (self.value("NeedDaemonReload") == Some("yes")).then(|| path.into())
    }

    /// The units that a stop takes along.
    fn stopped_along(&self) -> Vec<String> {
        let units = STOPPED_ALONG.iter().filter_map(|key| self.value(key));
        let names = units.flat_map(str::split_whitespace);
        names.map(str::to_owned).collect()
    }

    /// Splits an answer about several units into one for each.
    fn of_each(&self) -> Vec<Self> {
        let blocks = self
            .0
            .split("\n\n")
            .filter(|block| block.contains("ActiveState="));
        blocks.map(|block| Self(block.to_owned())).collect()
    }

    /// Whether a stop would end something. A target groups units, and runs nothing.
    fn runs_a_program(&self) -> bool {
        let is_target = self
            .value("Id")
            .is_some_and(|unit| unit.ends_with(".target"));
        let is_down = matches!(self.value("ActiveState"), Some("inactive" | "failed"));
        !is_target && !is_down
    }

    fn cgroup(&self) -> Option<PathBuf> {
        let path = self.value("ControlGroup")?.strip_prefix('/')?;
        let is_safe = !path.split('/').any(|part| part == "..");
        is_safe.then(|| Path::new("/sys/fs/cgroup").join(path))
    }

    /// Whether it is down because someone asked for that.
    fn was_asked_to_stop(&self) -> bool {
        let is = |key, value| self.value(key) == Some(value);
        // If systemd skipped the last start, the other values belong to an earlier one.
        is("ConditionResult", "yes")
            && is("AssertResult", "yes")
            // Otherwise the end of that other unit also stops it.
            && is("BindsTo", "")
            && self.stops_alone()
            // It has run since the boot.
            && self.number::<u64>("InactiveEnterTimestampMonotonic").is_some_and(|at| at > 0)
            && (self.stop_came_first() || self.would_have_restarted())
    }

    /// Whether systemd has unloaded it since it ran, as it does with a stopped unit that is not
    /// enabled: it then knows no times. A unit that ends by itself is started again, or has failed
    /// and stays loaded. So someone has stopped this one, or has run `systemctl reset-failed`.
    fn was_unloaded(&self) -> bool {
        let is = |key, value| self.value(key) == Some(value);
        is("ActiveState", "inactive")
            && is("InactiveEnterTimestampMonotonic", "0")
            && (is("Restart", "always") || is("Restart", "on-success"))
            && is("RestartPreventExitStatus", "")
            && is("CollectMode", "inactive")
            && is("StopWhenUnneeded", "no")
            && is("BindsTo", "")
            && self.stops_alone()
    }

    /// Whether systemd began to stop it before its main process ended. If a process ends by
    /// itself, systemd records that first. Measured with systemd 252: in 120 such ends the process
    /// had ended at least 98 microseconds before the unit left `active`, and in 60 stops at least
    /// 124 after it. `tests/systemd_stops.rs` checks the order for each kind of unit.
    fn stop_came_first(&self) -> bool {
        let is = |key, value| self.value(key) == Some(value);
        let at = |key| self.number::<u64>(key).filter(|at| *at > 0);
        let times = (
            at("InactiveExitTimestampMonotonic"),
            at("ActiveEnterTimestampMonotonic"),
            at("ExecMainStartTimestampMonotonic"),
            at("ActiveExitTimestampMonotonic"),
            at("ExecMainExitTimestampMonotonic"),
        );
        let (Some(begun), Some(active), Some(started), Some(left), Some(ended)) = times else {
            return false;
        };
        // All times must belong to the last start: one that failed early keeps the older times.
        let is_of_last_start = begun <= active && active <= left && started < left;
        let results = ["success", "exit-code", "signal", "core-dump"];
        let is_of_a_stop = results.into_iter().any(|result| is("Result", result))
            // TimeoutStopSec ended it, not RuntimeMaxSec.
            || is("Result", "timeout") && is("RuntimeMaxUSec", "infinity");
        is_of_last_start
            && left < ended
            && is_of_a_stop
            // Such a unit may report its own stop, or leave the bus.
            && is("NotifyAccess", "none")
            && self.value("Type").is_some_and(|kind| kind != "dbus")
            && is("StopWhenUnneeded", "no")
    }

    /// Whether systemd would have started it again had it ended by itself. For what
    /// [`UnitState::stop_came_first`] cannot tell: a unit that notifies, and one that was stopped
    /// before it was active or while it waited for its restart.
    fn would_have_restarted(&self) -> bool {
        let is = |key, value| self.value(key) == Some(value);
        let ended = match self.value("ActiveState") {
            Some("inactive") => {
                is("Result", "success") && (is("Restart", "always") || is("Restart", "on-success"))
            }
            // It ends with another code on SIGTERM. A unit at its start limit looks the same, but
            // was started again before.
            Some("failed") => {
                let results = ["exit-code", "signal", "timeout"];
                results.into_iter().any(|result| is("Result", result))
                    && (is("Restart", "always") || is("Restart", "on-failure"))
                    && is("NRestarts", "0")
            }
            _ => false,
        };
        ended && is("RestartPreventExitStatus", "")
    }

    /// Whether no unit that runs a program takes it along when it stops.
    fn stops_alone(&self) -> bool {
        let units = STOPPED_BY.iter().filter_map(|key| self.value(key));
        units
            .flat_map(str::split_whitespace)
            .all(|unit| WITHOUT_PROGRAM.iter().any(|kind| unit.ends_with(kind)))
    }

    /// `populated`: whether its control group holds processes, where that could be seen.
    fn judge(&self, populated: Option<bool>) -> Observation {
        let unknown = |why: &str| Observation::Unknown(why.to_owned());
        let (Some(load), Some(active), Some(sub)) = (
            self.value("LoadState"),
            self.value("ActiveState"),
            self.value("SubState"),
        ) else {
            return unknown(NOT_UNDERSTOOD);
        };
        let (Some(main), Some(control)) = (
            self.number::<u32>("MainPID"),
            self.number::<u32>("ControlPID"),
        ) else {
            return unknown("systemctl did not say which processes the unit has");
        };
        let changing = |why: &str| Observation::Changing(format!("the unit is {active}{why}"));
        // Masked, or with a file that is gone, it runs on.
        if active == "active" && main > 0 {
            return Observation::Running {
                pids: vec![main],
                mark: None,
            };
        }
        if main > 0 || control > 0 {
            return Observation::Changing("the unit has a process and is not active".into());
        }
        match load {
            "loaded" => {}
            "masked" => return unknown("the unit is masked"),
            _ => return unknown("systemd knows no such unit, or cannot load it"),
        }
        let has_ended = matches!((active, sub), ("inactive", "dead") | ("failed", "failed"));
        if !has_ended {
            return match active {
                // Waiting for its restart, among others.
                "active" | "reloading" | "refreshing" | "activating" | "deactivating"
                | "inactive" | "failed" => changing(" and has no main process"),
                _ => unknown("the state of the unit is not known here"),
            };
        }
        if self.number::<u64>("Job").is_some_and(|job| job > 0) {
            return changing(", with a job queued");
        }
        let tasks = match self.value("TasksCurrent") {
            None | Some("" | "[not set]" | "18446744073709551615") => None,
            Some(number) => match number.parse::<u64>() {
                Ok(number) => Some(number),
                Err(_) => return unknown(NOT_UNDERSTOOD),
            },
        };
        match (self.value("ControlGroup"), tasks, populated) {
            // A unit with KillMode=process ends and leaves processes running.
            (_, Some(1..), _) | (_, _, Some(true)) => {
                changing(" and has left processes running (see KillMode)")
            }
            (Some(""), ..) | (_, Some(0), _) | (_, _, Some(false)) => Observation::Gone {
                how: format!("the unit is {active}"),
                ended_by: self
                    .number("InactiveEnterTimestampMonotonic")
                    .and_then(wall_time),
                last_start: None,
                on_request: self.was_asked_to_stop(),
            },
            _ => unknown(
                "it is unknown whether the unit has left processes running; set TasksAccounting=yes for it",
            ),
        }
    }
}

/// The wall time of a monotonic time in microseconds; 0 means none. After a suspend of the
/// machine it is late by the length of the suspend, never early.
fn wall_time(micros: u64) -> Option<SystemTime> {
    let read = |clock| Duration::try_from(clock_gettime(clock)).ok();
    let since = read(ClockId::Monotonic)?.checked_sub(Duration::from_micros(micros))?;
    let at = read(ClockId::Realtime)?.checked_sub(since)?;
    (micros > 0).then_some(SystemTime::UNIX_EPOCH + at)
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
mod tests;
