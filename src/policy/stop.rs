//! Whether a bot may be stopped for a clean-up. Pure; the table is [`may_stop`]. The stops of
//! one process and of all are counted here as well: [`Breaker::lets`] decides after the table,
//! and at last each creds.json is copied.
//!
//! | checked in this order | refusal |
//! |---|---|
//! | the creds are elsewhere, so it is unknown whether the bot is logged in | `creds_elsewhere` |
//! | creds.json is missing or broken | `creds_broken` |
//! | the live count is below the alert's tier | `stale_alert` |
//! | creds.json is not logged in | `not_logged_in` |
//! | the log says that WhatsApp ended the login (401) | `logged_out` |
//! | the clock of this machine was set within the quiet window, or within 10 minutes | `connection_unknown` |
//! | it is unknown whether the bot is connected, or only its log says so while files are written | `connection_unknown` |
//! | dormant, woken recently, or nothing removable | the guard table's own reason |
//! | the plan would not bring the folder below the alert's tier | `not_worth_a_restart` |
//! | the service could not be started again, or not be stopped alone and for long enough | `not_restartable` |
//! | the service was stopped less than its cooldown ago | `service_cooldown` |
//! | the service was stopped as often as a day allows | `service_budget` |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::connection::{Finding, RecentStep, State, Verdict};
use crate::control::RestartObstacle;
use crate::folder::{FileName, Inventory, Timestamp};

use super::guard::{CleanRequest, CleanupMode, Limits, Plan, Refusal, facts, plan};
use super::immovable::without_immovable;
use super::left_out::Immovable;
use super::measure::accumulated_files;
use super::tiers::Tier;

const DAY: Duration = Duration::from_secs(86_400);

/// Why a bot is not stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopRefusal {
    /// The guard table, the tier or the connection.
    Guard(Refusal),
    /// A restart would not help: this many accumulated files would stay.
    NotWorthARestart {
        /// Accumulated files after the plan.
        after: usize,
        /// Where the alert's tier begins.
        threshold: usize,
        /// Files that the table allows to move, but that cannot be moved.
        immovable: usize,
    },
    /// It could not be stopped and started again for a clean-up.
    NotRestartable(RestartObstacle),
    /// The creds are not in the folder, so it is unknown whether the bot is logged in.
    CredsElsewhere,
    /// creds.json is not logged in: a restart would show a QR code.
    NotLoggedIn,
    /// The last close of the connection was a 401: after a restart the bot could not connect.
    LoggedOut,
    /// The wall clock was set: after the stop nothing could prove that nothing writes, so the
    /// stop would clean nothing.
    ClockSet(RecentStep),
    /// It is unknown whether the service runs.
    ServiceUnknown(String),
    /// The service was stopped less than its cooldown ago.
    Cooldown {
        /// So long ago.
        ago: Duration,
        /// The cooldown.
        cooldown: Duration,
    },
    /// The service has used up its daily budget of stops.
    Budget {
        /// The budget.
        budget: u32,
    },
    /// Too many services were stopped within the breaker's time span, or the breaker is open.
    BreakerOpen,
    /// A creds.json of the service could not be copied, or the copy could not be put back: a stop
    /// that damages it would cost the identity.
    CredsNotCopied {
        /// Whose.
        session: String,
        /// What failed.
        why: String,
    },
    /// An operator has paused automatic actions.
    Paused,
    /// Another run is under way on a session of the same process. The run waits instead of
    /// ending as refused.
    Busy,
}

impl StopRefusal {
    /// Value of the label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            StopRefusal::Guard(refusal) => refusal.label(),
            StopRefusal::NotWorthARestart { .. } => "not_worth_a_restart",
            StopRefusal::NotRestartable(_) => "not_restartable",
            StopRefusal::CredsElsewhere => "creds_elsewhere",
            StopRefusal::NotLoggedIn => "not_logged_in",
            StopRefusal::LoggedOut => "logged_out",
            StopRefusal::ClockSet(_) => Refusal::ConnectionUnknown.label(),
            StopRefusal::ServiceUnknown(_) => "service_unknown",
            StopRefusal::Cooldown { .. } => "service_cooldown",
            StopRefusal::Budget { .. } => "service_budget",
            StopRefusal::BreakerOpen => "breaker_open",
            StopRefusal::CredsNotCopied { .. } => "creds_not_copied",
            StopRefusal::Paused => "paused",
            StopRefusal::Busy => "busy",
        }
    }

    /// Every value of the label, except those of the guard table.
    pub const LABELS: [&'static str; 11] = [
        "creds_elsewhere",
        "not_worth_a_restart",
        "not_restartable",
        "not_logged_in",
        "logged_out",
        "service_unknown",
        "service_cooldown",
        "service_budget",
        "breaker_open",
        "creds_not_copied",
        "paused",
    ];
}

impl StopRefusal {
    /// Whether an emergency with this refusal still does what the cleanup tier would do: the
    /// bot may not be stopped, but nothing else is wrong.
    pub const fn leaves_a_cleanup(&self) -> bool {
        matches!(
            self,
            StopRefusal::CredsElsewhere
                | StopRefusal::Cooldown { .. }
                | StopRefusal::Budget { .. }
                | StopRefusal::BreakerOpen
                | StopRefusal::CredsNotCopied { .. }
                | StopRefusal::NotWorthARestart { .. }
                | StopRefusal::NotRestartable(_)
        )
    }
}

impl fmt::Display for StopRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopRefusal::Guard(refusal) => refusal.fmt(f),
            StopRefusal::NotWorthARestart {
                after,
                threshold,
                immovable: 1..,
            } => write!(
                f,
                "not worth a restart: {after} accumulated files would stay, and the alert's tier begins at {threshold}; some files cannot be moved: run baileys_remediator doctor"
            ),
            StopRefusal::NotWorthARestart { after, threshold, .. } => write!(
                f,
                "not worth a restart: {after} accumulated files would stay, and the alert's tier begins at {threshold}; the bot is busy: raise its tiers, or move its keys to a database"
            ),
            StopRefusal::NotRestartable(obstacle) => write!(
                f,
                "the service is not stopped, because {}: {obstacle}; to fix: {}",
                obstacle.consequence(),
                obstacle.fix()
            ),
            StopRefusal::CredsElsewhere => f.write_str(
                "the creds of this session are not in its folder: nothing tells whether it is logged in, so it is not stopped; it is cleaned while it is disconnected",
            ),
            StopRefusal::NotLoggedIn => {
                f.write_str("creds.json is not logged in: a restart would only show a QR code; pair the bot")
            }
            StopRefusal::LoggedOut => f.write_str(
                "the last close of the connection was a 401: WhatsApp has ended the login, so the bot could not connect after a restart; pair it again",
            ),
            StopRefusal::ClockSet(step) => write!(
                f,
                "{step}: after a stop nothing could show that no process writes, so the bot is not stopped now"
            ),
            StopRefusal::ServiceUnknown(why) => {
                write!(f, "it is unknown whether the service runs ({why}); see `processes` in the configuration")
            }
            StopRefusal::Cooldown { ago, cooldown } => write!(
                f,
                "the service was stopped {} ago for a clean-up, and is left alone for {}",
                humantime::format_duration(Duration::from_secs(ago.as_secs())),
                humantime::format_duration(*cooldown)
            ),
            StopRefusal::Budget { budget } => write!(
                f,
                "the service was stopped {budget} times within 24 hours, which is the limit (`daily_budget` in `processes`)"
            ),
            StopRefusal::BreakerOpen => f.write_str(
                "the circuit breaker is open: too many services had an emergency within a short time, perhaps because of a bad rule or a bad release; check them, then run: baileys_remediator resume",
            ),
            StopRefusal::CredsNotCopied { session, why } => write!(
                f,
                "creds.json of {session} is not safe from a stop ({why}), so the service is not stopped: a stop could damage it, and nothing could be put back. Fix that; baileys_remediator creds list {session} shows the copies"
            ),
            StopRefusal::Paused => f.write_str("a person has paused all action; baileys_remediator resume ends it"),
            StopRefusal::Busy => f.write_str("another run is under way on a session of the same process"),
        }
    }
}

impl From<Refusal> for StopRefusal {
    fn from(refusal: Refusal) -> Self {
        Self::Guard(refusal)
    }
}

/// What is known before a service is stopped for one session.
#[derive(Clone, Copy, Debug)]
pub struct StopInputs<'a> {
    /// The folder, scanned after the sources were asked.
    pub inventory: &'a Inventory,
    /// The verdict on the connection.
    pub verdict: &'a Verdict,
    /// Whether the last close in the log says that the login has ended.
    pub logged_out: bool,
    /// The wall clock was set just now.
    pub clock_set: Option<RecentStep>,
    /// The limits.
    pub limits: &'a Limits,
    /// The mode of the clean-up.
    pub mode: CleanupMode,
    /// The tier of the alert that asks.
    pub tier: Tier,
    /// Files of the folder that cannot be moved.
    pub immovable: &'a BTreeMap<FileName, Immovable>,
    /// What stands in the way of a stop and a start of the service.
    pub obstacle: Option<RestartObstacle>,
    /// The service's own record.
    pub service: &'a RestartBudget,
}

/// The table: the plan for when the process is gone, or why it is not stopped.
pub fn may_stop(before: &StopInputs<'_>, now: Timestamp) -> Result<Plan, StopRefusal> {
    let StopInputs {
        inventory,
        verdict,
        limits,
        ..
    } = *before;
    if limits.creds.is_elsewhere(inventory) {
        return Err(StopRefusal::CredsElsewhere);
    }
    let facts = facts(limits.creds, inventory)?;
    let live = accumulated_files(inventory, limits.batch);
    let threshold = limits.thresholds.of(before.tier);
    if live < threshold {
        return Err(Refusal::StaleAlert { live, threshold }.into());
    }
    if !facts.logged_in {
        return Err(StopRefusal::NotLoggedIn);
    }
    if before.logged_out {
        return Err(StopRefusal::LoggedOut);
    }
    if let Some(step) = before.clock_set {
        return Err(StopRefusal::ClockSet(step));
    }
    // If the sources cannot show that the bot is connected, they cannot show that it is back. A
    // file with a time in the future would look like a write after the stop.
    if !is_known(verdict)
        || only_its_log_knows(verdict)
        || inventory
            .newest_write()
            .is_some_and(|written| written.at > now)
    {
        return Err(Refusal::ConnectionUnknown.into());
    }
    let ask = CleanRequest {
        mode: before.mode,
        tier: None,
        force: None,
    };
    let plan = plan(inventory, true, now, limits, &ask)?;
    let plan = without_immovable(plan, inventory, limits, before.immovable);
    if plan.accumulated_after >= threshold {
        return Err(StopRefusal::NotWorthARestart {
            after: plan.accumulated_after,
            threshold,
            immovable: plan.left_out.values().sum(),
        });
    }
    if let Some(obstacle) = before.obstacle {
        return Err(StopRefusal::NotRestartable(obstacle));
    }
    before.service.may_be_stopped()?;
    Ok(plan)
}

/// Whether the sources agree that it is connected, or agree that it is not. Recent writes to
/// files do not count as doubt here, because the process will be gone. Nor does it whether a
/// connection has lasted: what shows it now can show that the bot is back. A connection that may be
/// another session's cannot, and after the stop a probe that reports it would forbid the clean-up.
fn is_known(verdict: &Verdict) -> bool {
    if verdict.outlasts_a_stop() {
        return false;
    }
    let says = |finding| verdict.evidence.iter().any(|e| e.finding == finding);
    let negative = verdict.evidence.iter().any(|e| e.finding.is_negative());
    let silent = says(Finding::NoAnswer) || says(Finding::Unreachable);
    match verdict.state {
        State::Connected | State::Disconnected => true,
        State::Unknown if says(Finding::Shared) => false,
        State::Unknown if says(Finding::Connecting) => !negative,
        State::Unknown => says(Finding::Connected) != negative && !silent,
    }
}

/// Whether the log is the only source, and the folder is not quiet: after the stop nothing
/// would prove that the right bot was stopped, and the clean-up would be refused.
fn only_its_log_knows(verdict: &Verdict) -> bool {
    let is_silent = |e: &crate::connection::Evidence| {
        matches!(
            e.finding,
            Finding::NoAnswer | Finding::Unreachable | Finding::Ambiguous
        )
    };
    let mut sources = verdict
        .evidence
        .iter()
        .filter(|e| !matches!(e.source, "writes" | "sockets") && !is_silent(e));
    let quiet = verdict.evidence.iter().any(|e| e.finding == Finding::Quiet);
    !quiet && !verdict.evidence.is_empty() && sources.all(|e| e.source == "log")
}

/// The recent stops of one service, and its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartBudget {
    /// How long ago it was stopped, in any order.
    pub stops: Vec<Duration>,
    /// After a stop it is not stopped again for this long.
    pub cooldown: Duration,
    /// Stops allowed within 24 hours.
    pub daily_budget: u32,
}

impl RestartBudget {
    /// How many stops are left of the day's budget.
    pub fn budget_left(&self) -> u32 {
        let used = self.stops.iter().filter(|ago| **ago < DAY).count();
        self.daily_budget
            .saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// How long ago the stop was that it still rests from.
    pub fn cooling_since(&self) -> Option<Duration> {
        let stops = self.stops.iter().copied();
        stops.filter(|ago| *ago < self.cooldown).min()
    }

    /// Errors: cooldown or budget.
    pub fn may_be_stopped(&self) -> Result<(), StopRefusal> {
        if let Some(ago) = self.cooling_since() {
            return Err(StopRefusal::Cooldown {
                ago,
                cooldown: self.cooldown,
            });
        }
        match self.budget_left() {
            0 => Err(StopRefusal::Budget {
                budget: self.daily_budget,
            }),
            _ => Ok(()),
        }
    }
}

/// How many services may be stopped within a time span before the breaker opens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// This many services, however small the fleet is.
    pub services: u32,
    /// This share of all services, if that is more.
    pub share: f64,
    /// Counted within this span.
    pub within: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            services: 3,
            share: 0.05,
            within: Duration::from_secs(3_600),
        }
    }
}

impl Breaker {
    /// How many services of a fleet may be stopped: the larger of the number and the share,
    /// so that 5 % of a small fleet, a fraction of one, does not forbid everything.
    pub fn limit(&self, fleet: usize) -> usize {
        // `as` saturates, and turns NaN into 0.
        let by_share = (fleet as f64 * self.share).floor() as usize;
        by_share.max(self.services as usize)
    }

    /// Whether one more service may be stopped, beside those stopped before. Two
    /// stops of one service count as one.
    pub fn lets(&self, stops: &[Stopped], service: &str, fleet: usize) -> bool {
        let mut services: BTreeSet<&str> = stops
            .iter()
            .filter(|stop| stop.ago < self.within)
            .map(|stop| stop.service.as_str())
            .collect();
        services.insert(service);
        services.len() <= self.limit(fleet)
    }
}

/// A service was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Which.
    pub service: String,
    /// How long ago, by a clock that is never set.
    pub ago: Duration,
    /// Whether within a maintenance window, and not in an emergency.
    pub in_window: bool,
}

#[cfg(test)]
mod tests;
