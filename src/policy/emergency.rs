//! Whether a bot may be stopped for a clean-up. Pure; the table is [`may_stop`], and what
//! one process, or the whole fleet, has had to bear within a day is counted here.
//!
//! | asked in this order | refusal |
//! |---|---|
//! | creds.json is missing or broken | `creds_broken` |
//! | the live count is below the alert's tier | `stale_alert` |
//! | creds.json is not logged in | `not_logged_in` |
//! | the log says that WhatsApp ended the login (401) | `logged_out` |
//! | nobody can say whether the bot is connected, or its log alone says so while files are written | `connection_unknown` |
//! | dormant, woken recently, or nothing removable | the guard table's own reason |
//! | the plan would not bring the folder below the alert's tier | `not_worth_a_restart` |
//! | the service was stopped less than its cooldown ago | `service_cooldown` |
//! | the service was stopped as often as a day allows | `service_budget` |
//! | too many services within an hour | `breaker_open` |

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::connection::{Finding, State, Verdict};
use crate::folder::{Creds, Inventory, Timestamp};

use super::guard::{CleanRequest, CleanupMode, Limits, Plan, Refusal, plan};
use super::measure::{Batches, accumulated_files};
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
    },
    /// creds.json belongs to nobody who is logged in: a restart would show a QR code.
    NotLoggedIn,
    /// The last close of the connection was a 401: a restart would only spin.
    LoggedOut,
    /// Nobody can say whether the service runs.
    ServiceUnknown(String),
    /// The service was stopped less than its cooldown ago.
    Cooldown {
        /// When.
        stopped: Timestamp,
        /// The cooldown.
        cooldown: Duration,
    },
    /// The service was stopped as often as a day allows.
    Budget {
        /// The budget.
        budget: u32,
    },
    /// Too many services within the breaker's span, or the breaker is open since.
    BreakerOpen,
    /// A person has paused all action.
    Paused,
    /// Another run is under way on a session of the same process. No refusal: the run waits.
    Busy,
}

impl StopRefusal {
    /// Value of the label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            StopRefusal::Guard(refusal) => refusal.label(),
            StopRefusal::NotWorthARestart { .. } => "not_worth_a_restart",
            StopRefusal::NotLoggedIn => "not_logged_in",
            StopRefusal::LoggedOut => "logged_out",
            StopRefusal::ServiceUnknown(_) => "service_unknown",
            StopRefusal::Cooldown { .. } => "service_cooldown",
            StopRefusal::Budget { .. } => "service_budget",
            StopRefusal::BreakerOpen => "breaker_open",
            StopRefusal::Paused => "paused",
            StopRefusal::Busy => "busy",
        }
    }

    /// Every value of the label but the guard table's own.
    pub const LABELS: [&'static str; 8] = [
        "not_worth_a_restart",
        "not_logged_in",
        "logged_out",
        "service_unknown",
        "service_cooldown",
        "service_budget",
        "breaker_open",
        "paused",
    ];
}

impl fmt::Display for StopRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopRefusal::Guard(refusal) => refusal.fmt(f),
            StopRefusal::NotWorthARestart { after, threshold } => write!(
                f,
                "not worth a restart: {after} accumulated files would stay, and the alert's tier begins at {threshold}: a busy bot; raise its tiers, or move its keys to a database"
            ),
            StopRefusal::NotLoggedIn => {
                f.write_str("creds.json is not logged in: a restart would only show a QR code; pair the bot")
            }
            StopRefusal::LoggedOut => f.write_str(
                "the last close of the connection was a 401: WhatsApp has ended the login, and a restart would only spin; pair the bot again",
            ),
            StopRefusal::ServiceUnknown(why) => {
                write!(f, "nobody can say whether the service runs ({why}); see `processes` in the configuration")
            }
            StopRefusal::Cooldown { stopped, cooldown } => write!(
                f,
                "the service was stopped at {} for a clean-up, and is left alone for {}",
                stopped.rfc3339(),
                humantime::format_duration(*cooldown)
            ),
            StopRefusal::Budget { budget } => write!(
                f,
                "the service was stopped {budget} times within a day, which is all that service.daily_budget allows"
            ),
            StopRefusal::BreakerOpen => f.write_str(
                "the breaker is open: too many services needed this within a short time, which looks like a bad rule or a bad release; look at them, then: baileys_remediator resume",
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
    /// Whether the log's last word is that the login has ended.
    pub logged_out: bool,
    /// The limits.
    pub limits: &'a Limits,
    /// The mode of the clean-up.
    pub mode: CleanupMode,
    /// The tier of the alert that asks.
    pub tier: Tier,
    /// The service's own record.
    pub service: &'a RestartBudget,
}

/// The table: the plan for the time when the process is gone, or why it is left running.
pub fn may_stop(before: &StopInputs<'_>, now: Timestamp) -> Result<Plan, StopRefusal> {
    let StopInputs {
        inventory,
        verdict,
        limits,
        ..
    } = *before;
    let facts = match &inventory.creds {
        Creds::Valid(facts) => facts,
        broken => return Err(Refusal::CredsBroken(broken.word()).into()),
    };
    let live = accumulated_files(inventory, Batches::of(inventory, limits.batch).measured);
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
    // Whoever cannot tell that it is connected cannot tell that it is back. A file dated
    // ahead would look like a write after the stop.
    if !somebody_knows(verdict)
        || only_its_log_knows(verdict)
        || inventory
            .newest_write()
            .is_some_and(|written| written > now)
    {
        return Err(Refusal::ConnectionUnknown.into());
    }
    let ask = CleanRequest {
        mode: before.mode,
        tier: None,
        force: None,
    };
    let plan = plan(inventory, true, now, limits, &ask)?;
    if plan.accumulated_after >= threshold {
        return Err(StopRefusal::NotWorthARestart {
            after: plan.accumulated_after,
            threshold,
        });
    }
    before.service.may_be_stopped(now)?;
    Ok(plan)
}

/// Whether the sources agree on something: that it is connected, or that it is not. That
/// files were written just now is no doubt here, for the process will be gone.
fn somebody_knows(verdict: &Verdict) -> bool {
    let says = |finding| verdict.evidence.iter().any(|e| e.finding == finding);
    let negative = verdict.evidence.iter().any(|e| e.finding.is_negative());
    match verdict.state {
        State::Connected | State::Disconnected => true,
        State::Unknown => says(Finding::Connected) != negative && !says(Finding::NoAnswer),
    }
}

/// Whether the log is the only source, and the folder is not quiet: with the bot stopped
/// nobody could tell that it was this one, and the clean-up would be refused.
fn only_its_log_knows(verdict: &Verdict) -> bool {
    let mut sources = verdict
        .evidence
        .iter()
        .filter(|e| !matches!(e.source, "writes" | "sockets") && e.finding != Finding::NoAnswer);
    let quiet = verdict.evidence.iter().any(|e| e.finding == Finding::Quiet);
    !quiet && !verdict.evidence.is_empty() && sources.all(|e| e.source == "log")
}

/// What one service has had to bear: whole days of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartBudget {
    /// When it was stopped, in any order.
    pub stops: Vec<Timestamp>,
    /// It is left alone for this long.
    pub cooldown: Duration,
    /// So many times in 24 hours.
    pub daily_budget: u32,
}

impl RestartBudget {
    /// How many stops are left of the day's budget.
    pub fn budget_left(&self, now: Timestamp) -> u32 {
        let used = self
            .stops
            .iter()
            .filter(|at| is_within(**at, now, DAY))
            .count();
        self.daily_budget
            .saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// The stop that it still rests from.
    pub fn cooling_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.stops
            .iter()
            .copied()
            .filter(|at| is_within(*at, now, self.cooldown))
            .max()
    }

    /// Errors: cooldown or budget.
    pub fn may_be_stopped(&self, now: Timestamp) -> Result<(), StopRefusal> {
        if let Some(stopped) = self.cooling_since(now) {
            return Err(StopRefusal::Cooldown {
                stopped,
                cooldown: self.cooldown,
            });
        }
        match self.budget_left(now) {
            0 => Err(StopRefusal::Budget {
                budget: self.daily_budget,
            }),
            _ => Ok(()),
        }
    }
}

/// A time far in the future was written under a wrong clock and holds nobody up.
fn is_within(at: Timestamp, now: Timestamp, span: Duration) -> bool {
    at > now.minus(span) && at < now.plus(span)
}

/// How much of the fleet may be stopped within a span before that looks like a bad rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// So many services in any case.
    pub services: u32,
    /// This share of all services, where it is more.
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
        // `as` saturates, and makes 0 of what is no number.
        let by_share = (fleet as f64 * self.share).floor() as usize;
        by_share.max(self.services as usize)
    }

    /// Whether one more service may be stopped, beside those stopped since `since`. Two
    /// stops of one service are one.
    pub fn lets(&self, stops: &[Stopped], service: &str, fleet: usize, now: Timestamp) -> bool {
        let mut services: BTreeSet<&str> = stops
            .iter()
            .filter(|stop| is_within(stop.at, now, self.within))
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
    /// When.
    pub at: Timestamp,
    /// Whether within a maintenance window, and not in an emergency.
    pub in_window: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Evidence, fold};
    use crate::folder::{CredsFacts, Entry, FileName, Inside, Shape, Stamp};
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_secs(NOW)
    }

    fn ago(span: Duration) -> Timestamp {
        now().minus(span)
    }

    fn entry(name: &str, modified: Timestamp) -> Entry {
        let inside = if name.starts_with("session-") {
            Inside::Latest(Some(modified))
        } else {
            Inside::NotRead
        };
        let stamp = Stamp {
            modified,
            size: 10,
            ..Stamp::default()
        };
        Entry {
            name: FileName::new(name),
            shape: Shape::Regular,
            stamp,
            inside,
        }
    }

    /// So many sessions of today, so many of 40 days ago; logged in, alive all the time.
    fn folder(young: usize, old: usize) -> Inventory {
        let facts = CredsFacts {
            logged_in: true,
            next_pre_key_id: Some(31),
            ..CredsFacts::default()
        };
        let mut entries = vec![entry("creds.json", ago(DAY))];
        for n in 0..young {
            entries.push(entry(
                &format!("session-1{n:04}.0.json"),
                ago(DAY * (n as u32 % 10)),
            ));
        }
        for n in 0..old {
            entries.push(entry(&format!("session-2{n:04}.0.json"), ago(DAY * 40)));
        }
        Inventory::new(entries, Creds::Valid(facts))
    }

    fn verdict(findings: &[Finding]) -> Verdict {
        fold(
            findings
                .iter()
                .map(|finding| Evidence::new("test", *finding, ""))
                .collect(),
        )
    }

    fn rested() -> RestartBudget {
        RestartBudget {
            stops: Vec::new(),
            cooldown: DAY / 4,
            daily_budget: 2,
        }
    }

    struct Case {
        inventory: Inventory,
        verdict: Verdict,
        logged_out: bool,
        mode: CleanupMode,
        tier: Tier,
        service: RestartBudget,
    }

    fn case() -> Case {
        Case {
            inventory: folder(20, 180),
            verdict: verdict(&[Finding::Connected, Finding::Writing]),
            logged_out: false,
            mode: CleanupMode::Emergency,
            tier: Tier::Emergency,
            service: rested(),
        }
    }

    impl Case {
        fn asked(&self) -> Result<Plan, StopRefusal> {
            let Case {
                inventory,
                verdict,
                logged_out,
                mode,
                tier,
                service,
            } = self;
            let limits = Limits::default();
            let before = StopInputs {
                inventory,
                verdict,
                logged_out: *logged_out,
                limits: &limits,
                mode: *mode,
                tier: *tier,
                service,
            };
            may_stop(&before, now())
        }

        fn answer(&self) -> &'static str {
            self.asked().map_or_else(|hold| hold.label(), |_| "stop")
        }
    }

    fn with(change: impl FnOnce(&mut Case)) -> &'static str {
        let mut case = case();
        change(&mut case);
        case.answer()
    }

    #[test]
    fn the_table() {
        let plan = case().asked().unwrap();
        assert_eq!((plan.accumulated_before, plan.accumulated_after), (201, 21));
        assert_eq!(
            with(|case| case.inventory = folder(20, 158)),
            "stale_alert",
            "179"
        );
        assert_eq!(with(|case| case.inventory = folder(20, 159)), "stop", "180");
        assert_eq!(
            with(|case| case.inventory = folder(178, 40)),
            "stop",
            "179 stay"
        );
        assert_eq!(
            with(|case| case.inventory = folder(179, 40)),
            "not_worth_a_restart",
            "180 stay"
        );
        assert_eq!(
            with(|case| case.inventory = folder(300, 0)),
            "nothing_removable"
        );
        assert_eq!(with(|case| case.logged_out = true), "logged_out");
        let creds = |case: &mut Case, creds| case.inventory.creds = creds;
        assert_eq!(with(|case| creds(case, Creds::Missing)), "creds_broken");
        assert_eq!(
            with(|case| creds(case, Creds::Valid(CredsFacts::default()))),
            "not_logged_in"
        );
        assert_eq!(
            with(|case| case.service.stops = vec![ago(DAY / 8)]),
            "service_cooldown"
        );
        assert_eq!(with(|case| case.service.stops = vec![ago(DAY / 4)]), "stop");
        assert_eq!(
            with(|case| case.service.stops = vec![ago(DAY / 2), ago(DAY / 3)]),
            "service_budget"
        );
        assert_eq!(
            with(|case| case.service.stops = vec![ago(DAY), ago(DAY / 3)]),
            "stop"
        );
        assert_eq!(with(|case| case.service.daily_budget = 0), "service_budget");
        // A window's run is measured at 150, by the other column.
        let window = |young, old| {
            with(|case| {
                (case.mode, case.tier) = (CleanupMode::Cleanup, Tier::Cleanup);
                case.inventory = folder(young, old);
            })
        };
        assert_eq!(window(20, 128), "stale_alert");
        assert_eq!(window(20, 129), "stop");
        assert_eq!(window(149, 30), "not_worth_a_restart");
        // A file dated ahead would look like a write after the stop.
        let mut ahead = folder(20, 180).files().to_vec();
        ahead.push(entry(
            "app-state-sync-key-A.json",
            now().plus(Duration::from_secs(1)),
        ));
        let creds_of = folder(0, 0).creds;
        assert_eq!(
            with(|case| case.inventory = Inventory::new(ahead, creds_of)),
            "connection_unknown"
        );
    }

    #[test]
    fn nobody_is_stopped_whom_nobody_can_see() {
        use Finding::*;
        for (findings, answer) in [
            (&[Connected, Quiet][..], "stop"),
            (&[Connected, Writing], "stop"),
            (&[Connected, NoAnswer], "stop"),
            (&[Disconnected, Quiet], "stop"),
            // It writes while it tries to connect.
            (&[Disconnected, Writing], "stop"),
            (&[Connected, Disconnected, Quiet], "connection_unknown"),
            (&[NoAnswer, Quiet], "connection_unknown"),
            (&[Disconnected, NoAnswer, Quiet], "connection_unknown"),
            (&[Nothing, Quiet], "connection_unknown"),
            (&[Writing], "connection_unknown"),
            (&[], "connection_unknown"),
        ] {
            assert_eq!(
                with(|case| case.verdict = verdict(findings)),
                answer,
                "{findings:?}"
            );
        }
    }

    #[test]
    fn a_log_alone_stops_nobody_who_writes() {
        use Finding::*;
        let from = |sources: &[(&'static str, Finding)]| {
            let evidence = sources
                .iter()
                .map(|(source, finding)| Evidence::new(source, *finding, ""));
            let verdict = fold(evidence.collect());
            Case { verdict, ..case() }.answer()
        };
        let refused = "connection_unknown";
        assert_eq!(from(&[("log", Connected), ("writes", Writing)]), refused);
        assert_eq!(
            from(&[
                ("sockets", Connected),
                ("log", Connected),
                ("writes", Writing)
            ]),
            refused
        );
        assert_eq!(
            from(&[
                ("process", NoAnswer),
                ("log", Connected),
                ("writes", Writing)
            ]),
            refused
        );
        assert_eq!(from(&[("log", Connected), ("writes", Quiet)]), "stop");
        // Whoever watches the process will see it go.
        assert_eq!(
            from(&[
                ("process", Nothing),
                ("log", Connected),
                ("writes", Writing)
            ]),
            "stop"
        );
        assert_eq!(from(&[("probe", Connected), ("writes", Writing)]), "stop");
    }

    #[test]
    fn the_first_reason_is_the_one_that_matters() {
        let all_wrong = |inventory: Inventory| {
            with(|case| {
                case.inventory = inventory;
                case.logged_out = true;
                case.verdict = verdict(&[]);
                case.service.stops = vec![now()];
            })
        };
        let mut broken = folder(300, 0);
        broken.creds = Creds::Missing;
        assert_eq!(all_wrong(broken), "creds_broken");
        assert_eq!(all_wrong(folder(1, 1)), "stale_alert");
        assert_eq!(all_wrong(folder(300, 0)), "logged_out");
    }

    #[test]
    fn labels_are_whole() {
        let holds = [
            StopRefusal::NotWorthARestart {
                after: 1,
                threshold: 1,
            },
            StopRefusal::NotLoggedIn,
            StopRefusal::LoggedOut,
            StopRefusal::ServiceUnknown("x".into()),
            StopRefusal::Cooldown {
                stopped: now(),
                cooldown: DAY,
            },
            StopRefusal::Budget { budget: 2 },
            StopRefusal::BreakerOpen,
            StopRefusal::Paused,
        ];
        assert_eq!(
            holds.each_ref().map(StopRefusal::label),
            StopRefusal::LABELS
        );
        assert!(holds.iter().all(|hold| hold.to_string().len() > 20));
        assert!(
            StopRefusal::LABELS
                .iter()
                .all(|label| !Refusal::LABELS.contains(label))
        );
    }

    #[test]
    fn a_small_fleet_has_the_number_and_a_large_one_the_share() {
        let breaker = Breaker::default();
        for (fleet, limit) in [
            (0, 3),
            (1, 3),
            (5, 3),
            (60, 3),
            (79, 3),
            (80, 4),
            (200, 10),
            (1000, 50),
        ] {
            assert_eq!(breaker.limit(fleet), limit, "{fleet}");
        }
        assert_eq!(
            Breaker {
                share: f64::NAN,
                ..breaker
            }
            .limit(9000),
            3
        );
        let stop = |service: &str, minutes: u64| Stopped {
            service: service.into(),
            at: ago(Duration::from_secs(60 * minutes)),
            in_window: false,
        };
        let stops = [stop("a", 1), stop("b", 30), stop("b", 5), stop("c", 59)];
        assert!(
            breaker.lets(&stops, "c", 5, now()),
            "one of the three again"
        );
        assert!(!breaker.lets(&stops, "d", 5, now()), "a fourth");
        assert!(breaker.lets(&stops, "d", 80, now()), "5 % of 80 are four");
        assert!(
            breaker.lets(&[&stops[..3], &[stop("c", 60)]].concat(), "d", 5, now()),
            "an hour ago"
        );
        assert!(
            !Breaker {
                services: 0,
                ..breaker
            }
            .lets(&[], "a", 5, now())
        );
    }

    proptest! {
        /// What stops never makes worse: more stops never allow more, and an old one counts
        /// for nothing.
        #[test]
        fn more_stops_never_allow_more(
            minutes in proptest::collection::vec(0_u64..4_000, 0..6),
            more in 0_u64..4_000,
            budget in 0_u32..4,
        ) {
            let at = |minutes: u64| ago(Duration::from_secs(60 * minutes));
            let few = RestartBudget {
                stops: minutes.iter().map(|m| at(*m)).collect(),
                cooldown: DAY / 4,
                daily_budget: budget,
            };
            let mut many = few.clone();
            many.stops.push(at(more));
            prop_assert!(many.may_be_stopped(now()).is_err() || few.may_be_stopped(now()).is_ok());
            prop_assert!(many.budget_left(now()) <= few.budget_left(now()));
            if more >= 24 * 60 {
                prop_assert_eq!(many.may_be_stopped(now()), few.may_be_stopped(now()));
            }
            // Never more than the budget in a day, however it is asked.
            let in_a_day = few.stops.iter().filter(|at| at.until(now()) < DAY).count();
            if few.may_be_stopped(now()).is_ok() {
                prop_assert!(in_a_day < budget as usize);
            }
        }

        /// Asked before each stop, the breaker never lets more than its limit through.
        #[test]
        fn the_breaker_holds(
            asked in proptest::collection::vec((0_u64..40, 0_u64..30), 0..60),
            fleet in 0_usize..200,
        ) {
            let breaker = Breaker::default();
            let mut stops: Vec<Stopped> = Vec::new();
            let mut at = now();
            for (service, minutes) in asked {
                at = at.plus(Duration::from_secs(60 * minutes));
                let service = format!("s{service}");
                if breaker.lets(&stops, &service, fleet, at) {
                    stops.push(Stopped { service, at, in_window: false });
                }
                let recent: BTreeSet<&str> = stops
                    .iter()
                    .filter(|stop| stop.at > at.minus(breaker.within))
                    .map(|stop| stop.service.as_str())
                    .collect();
                prop_assert!(recent.len() <= breaker.limit(fleet));
            }
        }
    }
}
