use std::collections::{BTreeMap, BTreeSet};

use super::super::state::{CheckResult, Forbids, Returned};
use super::*;

mod model;
mod resumed;
mod retired;
mod torn;
mod untouched;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn times() -> Times {
    Times {
        stop: SECOND * 60,
        gone: SECOND * 120,
        start: SECOND * 60,
        shows: SHOWS_WITHIN,
        connect: SECOND * 180,
        sockets: SECOND * 35,
        clean: SECOND * 600,
        retry: SECOND * 60,
    }
}

pub(super) fn restart() -> Restart {
    let mut restart = Restart::new("bots", "a", 1, Trigger::Emergency, 0, times());
    restart.waiting.push(WaitingSession {
        session: "b".into(),
        run_id: 1,
        seen: 0,
    });
    restart
}

/// A deterministic source of choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn events(id: u64, choices: &mut Choices) -> Event {
    let process = [None, Some("1".to_owned()), Some("2".to_owned())][choices.below(3)].clone();
    let seen = match choices.below(7) {
        0..3 => Seen::Running(process),
        3 => Seen::Gone,
        4 => Seen::Unknown,
        5 => Seen::Changing,
        _ => Seen::Contradicted,
    };
    let connected = match choices.below(3) {
        0 => BTreeSet::new(),
        1 => BTreeSet::from(["a".to_owned()]),
        _ => BTreeSet::from(["a".to_owned(), "b".to_owned()]),
    };
    let look = Look {
        seen,
        connected,
        paused: choices.below(2) == 0,
        call_ended: choices.below(8) == 0,
        on_request: choices.below(2) == 0,
        is_retired: choices.below(8) != 0,
    };
    // The last one ends a walk, and is rare.
    let returned = match choices.below(17) {
        16 => Returned::AlreadyStopped,
        n => [
            Returned::Ok,
            Returned::Failed,
            Returned::Timeout,
            Returned::NotSpawned,
        ][n % 4],
    };
    match choices.below(40) {
        0..15 => Event::Looked(id, look),
        15..18 => Event::Saved(id),
        18 => Event::NotSaved(id),
        19..22 => Event::Locked(id),
        22 => Event::LockBusy(id),
        23..26 => Event::Checked(id, CheckResult::Go),
        26 => Event::Checked(id, CheckResult::No),
        27..31 => Event::Returned(id, returned),
        31 => Event::Cleaned(id),
        38 => Event::Torn(id),
        32 => Event::Deadline(id),
        33 if choices.below(4) == 0 => Event::LockLost,
        34 if choices.below(4) == 0 => Event::OwnRestart,
        35 | 37 => match choices.below(12) {
            0 => Event::Forbidden(Forbids::Removed),
            1 => Event::Forbidden(Forbids::NotAllowed),
            _ => Event::Configured,
        },
        36 if choices.below(6) == 0 => Event::Signal,
        _ => Event::Alert,
    }
}

/// Which event is sensible for what is awaited: walks go deep only with these.
fn is_sensible(event: &Event, awaited: Option<Effect>) -> bool {
    match (event, awaited) {
        (Event::Looked(_, look), Some(Effect::Observe(_, sources))) => match sources {
            Sources::No => look.seen != Seen::Contradicted,
            Sources::Live | Sources::Connection => true,
        },
        (Event::Looked(..), _) => false,
        (Event::Saved(_) | Event::NotSaved(_), awaited) => awaited == Some(Effect::Persist),
        (Event::Locked(_) | Event::LockBusy(_), awaited) => {
            matches!(awaited, Some(Effect::Lock(_)))
        }
        (Event::Checked(..), awaited) => awaited == Some(Effect::Check),
        (Event::Returned(_, Returned::AlreadyStopped), awaited) => awaited == Some(Effect::Stop),
        (Event::Returned(..), awaited) => {
            matches!(awaited, Some(Effect::Stop | Effect::Start))
        }
        (Event::Cleaned(_) | Event::Torn(_), awaited) => {
            matches!(awaited, Some(Effect::Clean | Effect::PutBackCreds))
        }
        (Event::Deadline(_), awaited) => {
            !matches!(awaited, None | Some(Effect::Observe(..) | Effect::Check))
        }
        (Event::Alert, awaited) => awaited.is_none(),
        _ => true,
    }
}

pub(super) fn awaited(effects: &[Effect]) -> Option<Effect> {
    effects.iter().copied().find(|effect| {
        matches!(
            effect,
            Effect::Lock(_)
                | Effect::Check
                | Effect::Persist
                | Effect::Observe(..)
                | Effect::Stop
                | Effect::Clean
                | Effect::PutBackCreds
                | Effect::Start
        )
    })
}

type Row = (String, String, String, Vec<String>);

/// Every expanded row of the table; an effect in parentheses gives two.
fn table() -> BTreeMap<Row, usize> {
    let mut rows = BTreeMap::new();
    let text = include_str!("../machine.rs");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|line| !line.starts_with("phase |"));
    for (number, line) in lines.enumerate() {
        let cells: Vec<&str> = line
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let [phases, events, _, next, effects] = cells[..] else {
            panic!("{line}");
        };
        let phases = phases.split(", ").flat_map(|phase| match phase {
            "pending" => Phase::ALL
                .iter()
                .filter(|phase| phase.is_pending())
                .map(|phase| phase.label())
                .filter(|phase| *phase != "removed")
                .collect(),
            phase => vec![phase],
        });
        for phase in phases {
            for event in events.split(", ") {
                let next = if next == "the same" { phase } else { next };
                for with in [true, false] {
                    let effects = effects
                        .split(", ")
                        .filter(|effect| with || !effect.starts_with('('))
                        .map(|effect| effect.trim_matches(['(', ')']).to_owned())
                        .collect();
                    let row = (phase.into(), event.into(), next.into(), effects);
                    rows.insert(row, number);
                }
            }
        }
    }
    rows
}

#[test]
fn the_table_is_what_the_function_does() {
    let table = table();
    let mut choices = Choices(1);
    let mut seen: BTreeSet<Row> = BTreeSet::new();
    for _ in 0..60_000 {
        let mut state = restart();
        let mut now = Now {
            boot: 1,
            at: SECOND,
        };
        let mut pending = None;
        for _ in 0..600 {
            let event = events(state.awaited, &mut choices);
            if !is_sensible(&event, pending) {
                continue;
            }
            let pause = [0, 0, 0, 1, 1, 20, 70, 1000][choices.below(8)];
            now.at += SECOND * pause;
            if event == Event::OwnRestart && choices.below(4) == 0 {
                now.boot += 1;
            }
            let (after, effects) = next(&state, &event, now);
            let moved = after.phase != state.phase || !effects.is_empty();
            let may_leave = after.leaving && event != Event::Signal;
            if moved {
                let mut labels: Vec<String> = effects
                    .iter()
                    .map(|effect| effect.label().to_owned())
                    .collect();
                if may_leave && let Some(at) = labels.iter().position(|one| one == "leave") {
                    labels.truncate(at);
                }
                if !labels.is_empty() || after.phase != state.phase {
                    seen.insert((
                        state.phase.label().into(),
                        event.label().into(),
                        after.phase.label().into(),
                        labels,
                    ));
                }
            }
            if effects.contains(&Effect::Leave) {
                break;
            }
            if !effects.is_empty() {
                pending = awaited(&effects);
            }
            state = after;
            if state.phase.is_final() {
                break;
            }
        }
    }
    let unlisted: Vec<&Row> = seen
        .iter()
        .filter(|row| !table.contains_key(*row))
        .collect();
    assert!(unlisted.is_empty(), "not in the table: {unlisted:#?}");
    // Of two rows that differ by an effect in parentheses one is enough.
    let reached: BTreeSet<(&String, &String, usize)> = seen
        .iter()
        .map(|row| (&row.0, &row.1, table[row]))
        .collect();
    let unreached: BTreeSet<(&String, &String, usize)> = table
        .iter()
        .map(|(row, number)| (&row.0, &row.1, *number))
        .filter(|key| !reached.contains(key))
        .collect();
    assert!(unreached.is_empty(), "never happens: {unreached:#?}");
}

/// Of all others nothing may change, but that the program is to end.
#[test]
fn late_results_and_what_does_not_matter_change_nothing() {
    let now = Now {
        boot: 1,
        at: SECOND,
    };
    let mut choices = Choices(7);
    for phase in Phase::ALL {
        let mut state = restart();
        (state.phase, state.awaited) = (phase, 5);
        for _ in 0..500 {
            let event = events(4, &mut choices);
            let has_number = !matches!(
                event,
                Event::Alert
                    | Event::LockLost
                    | Event::OwnRestart
                    | Event::Configured
                    | Event::Forbidden(_)
                    | Event::Signal
            );
            if has_number || phase.is_final() {
                assert_eq!(
                    next(&state, &event, now),
                    (state.clone(), vec![]),
                    "{event:?}"
                );
            }
        }
    }
}

#[test]
fn a_state_outlives_its_json() {
    let mut state = restart();
    state.phase = Phase::HandedOver(HandedTo::Pause);
    state.process = Some("pid 7".into());
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<Restart>(&text).unwrap(), state);
}

/// Every moment of another boot has passed, and no call outlives one.
#[test]
fn after_a_reboot_no_call_is_waited_for() {
    let now = Now {
        boot: 1,
        at: SECOND * 5000,
    };
    for (phase, kind) in [
        (Phase::Stopping, CallKind::Stop),
        (Phase::Starting, CallKind::Start),
    ] {
        let mut state = restart();
        state.phase = phase;
        state.call = Some(Call {
            id: 1,
            kind,
            begins_by: now,
            over_at: now.plus(SECOND * 60),
        });
        let same = next(&state, &Event::OwnRestart, now).0;
        assert!(same.call_may_be_under_way(now), "{phase:?}");
        let rebooted = Now {
            boot: 2,
            at: SECOND,
        };
        let other = next(&state, &Event::OwnRestart, rebooted).0;
        assert!(!other.call_may_be_under_way(rebooted), "{phase:?}");
    }
}

fn at(boot: u64, secs: u32) -> Now {
    Now {
        boot,
        at: SECOND * secs,
    }
}

fn in_phase(phase: Phase) -> Restart {
    Restart {
        phase,
        stopped_at: Some(at(1, 1)),
        ..restart()
    }
}

fn looked(state: &Restart, seen: Seen) -> Event {
    let look = Look {
        seen,
        ..Look::default()
    };
    Event::Looked(state.awaited, look)
}

#[test]
fn what_a_person_is_stopping_is_not_stopped_and_started() {
    let mut state = in_phase(Phase::StopIntended);
    state.call = Some(Call {
        id: 1,
        kind: CallKind::Stop,
        begins_by: at(1, 15),
        over_at: at(1, 99),
    });
    let (state, effects) = next(&state, &looked(&state, Seen::Changing), at(1, 2));
    assert_eq!(
        awaited(&effects),
        Some(Effect::Observe(LOOK_EVERY, Sources::No))
    );
    let gone = next(&state, &looked(&state, Seen::Gone), at(1, 3));
    assert_eq!(gone.0.phase, Phase::HandedOver(HandedTo::Operator));
    let (state, effects) = next(&state, &looked(&state, Seen::Changing), at(1, 20));
    assert_eq!(state.phase, Phase::Released);
    assert!(
        effects.contains(&Effect::Report(RestartReport::Unknown)),
        "{effects:?}"
    );
}

/// Between the last look and the stop. A stop of this program is none of a person.
#[test]
fn what_had_stopped_before_the_stop_was_called_is_not_started() {
    let mut state = in_phase(Phase::Stopping);
    state.call = Some(Call::new(1, CallKind::Stop, at(1, 40), times().stop));
    let returned = |how| Event::Returned(state.awaited, how);
    let (after, effects) = next(&state, &returned(Returned::AlreadyStopped), at(1, 3));
    assert_eq!(after.phase, Phase::HandedOver(HandedTo::Operator));
    let report = Effect::Report(RestartReport::StoppedByOperator);
    assert!(
        effects.contains(&Effect::Forget) && effects.contains(&report),
        "{effects:?}"
    );
    // The call that takes too long has worked: it is this program that starts it.
    let (late, effects) = next(&state, &returned(Returned::Timeout), at(1, 60));
    assert!(matches!(awaited(&effects), Some(Effect::Observe(..))));
    let (late, _) = next(&late, &looked(&late, Seen::Gone), at(1, 70));
    assert_eq!(late.phase, Phase::StopUnknown, "it may be under way");
    let (late, effects) = next(&late, &looked(&late, Seen::Gone), at(1, 500));
    assert_eq!(late.phase, Phase::Gone);
    assert_eq!(awaited(&effects), Some(Effect::Persist));
}

/// A restart by an operator, or by something that restarts unhealthy containers, is no stop.
#[test]
fn what_a_person_stops_while_it_connects_is_theirs() {
    let state = Restart {
        until: Some(at(1, 100)),
        ..in_phase(Phase::WaitingForConnection)
    };
    let look = |state: &Restart, seen, on_request, secs| {
        let look = Look {
            seen,
            on_request,
            ..Look::default()
        };
        next(state, &Event::Looked(state.awaited, look), at(1, secs)).0
    };
    let stopped = |state: &Restart, secs| look(state, Seen::Gone, true, secs);
    let operator = Phase::HandedOver(HandedTo::Operator);
    let first = stopped(&state, 50);
    let later = stopped(&stopped(&first, 51), 79);
    assert_eq!(later.phase, Phase::WaitingForConnection);
    assert_eq!(stopped(&later, 80).phase, operator);
    // What is unknown in between is no start.
    let unknown = look(&later, Seen::Unknown, false, 79);
    assert_eq!(stopped(&unknown, 80).phase, operator);
    // It runs again in between: it is waited for until the same moment.
    let runs = look(&later, Seen::Running(None), false, 79);
    assert_eq!(runs.until, state.until);
    assert_eq!(stopped(&runs, 80).phase, Phase::WaitingForConnection);
    let late = look(&runs, Seen::Running(None), false, 101);
    assert_eq!(late.phase, Phase::RunningNotConnected);
    // It ended by itself.
    let died = look(&later, Seen::Gone, false, 79);
    assert_eq!(died.phase, Phase::StartIntended);
    // Also where its time ends meanwhile, and where its starts are used up.
    let used_up = Restart {
        again: STARTS_AGAIN,
        ..state.clone()
    };
    let late = stopped(&stopped(&used_up, 99), 120);
    assert_eq!(late.phase, Phase::WaitingForConnection);
    let unknown = look(&late, Seen::Unknown, false, 128);
    assert_eq!(unknown.phase, Phase::WaitingForConnection);
    assert_eq!(stopped(&late, 129).phase, operator);
    let runs = look(&late, Seen::Running(None), false, 121);
    assert_eq!(runs.phase, Phase::RunningNotConnected);
    // After the next start it is counted anew.
    let mut started = Restart {
        phase: Phase::Starting,
        ..later
    };
    let shows = looked(&started, Seen::Running(None));
    started = next(&started, &shows, at(1, 80)).0;
    assert_eq!(stopped(&started, 81).phase, Phase::WaitingForConnection);
}

#[test]
fn a_pause_holds_once_the_bot_has_had_its_start() {
    let paused = |state: &Restart, seen| {
        let look = Look {
            seen,
            paused: true,
            ..Look::default()
        };
        next(state, &Event::Looked(state.awaited, look), at(1, 50))
    };
    let mut state = in_phase(Phase::WaitingForConnection);
    state.until = Some(at(1, 100));
    let (gone, effects) = paused(&state, Seen::Gone);
    assert_eq!(gone.phase, Phase::HandedOver(HandedTo::Pause));
    assert!(effects.contains(&Effect::Unlock) && effects.contains(&Effect::Note));
    let resumed = next(&gone, &looked(&gone, Seen::Gone), at(1, 120)).1;
    assert!(matches!(awaited(&resumed), Some(Effect::Lock(_))));
    let (runs, _) = paused(&state, Seen::Running(None));
    assert_eq!(runs.phase, Phase::WaitingForConnection);
    // It died, and is about to be started again.
    let mut again = in_phase(Phase::StartIntended);
    again.again = 1;
    let (again, _) = paused(&again, Seen::Gone);
    assert_eq!(again.phase, Phase::HandedOver(HandedTo::Pause));
    // Its first start: it was stopped for the clean-up, and is not left stopped.
    let mut first = in_phase(Phase::StartIntended);
    first.creds_checked = true;
    let (first, effects) = paused(&first, Seen::Gone);
    assert_eq!(first.phase, Phase::StartIntended);
    assert_eq!(awaited(&effects), Some(Effect::Persist));
}

#[test]
fn a_stop_that_may_still_come_is_not_left() {
    let mut state = in_phase(Phase::StopUnknown);
    (state.until, state.process) = (Some(at(1, 900)), Some("1".into()));
    let (state, _) = next(&state, &Event::Signal, at(1, 10));
    let running = looked(&state, Seen::Running(Some("1".into())));
    let (state, effects) = next(&state, &running, at(1, 12));
    assert!(!effects.contains(&Effect::Leave), "{effects:?}");
    // It is unknown, and no stop comes any more.
    let (_, effects) = next(&state, &looked(&state, Seen::Unknown), at(1, 950));
    assert!(effects.contains(&Effect::Leave), "{effects:?}");
}

#[test]
fn a_call_that_has_ended_is_not_waited_for_until_its_timeout() {
    let call = |kind| Call {
        id: 1,
        kind,
        begins_by: at(1, 15),
        over_at: at(1, 600),
    };
    let ended = |state: &Restart, secs| {
        let look = Look {
            seen: Seen::Gone,
            call_ended: true,
            ..Look::default()
        };
        next(state, &Event::Looked(state.awaited, look), at(1, secs))
    };
    let mut stop = in_phase(Phase::StopUnknown);
    (stop.call, stop.until) = (Some(call(CallKind::Stop)), Some(at(1, 900)));
    assert_eq!(ended(&stop, 20).0.phase, Phase::Gone);
    let mut start = in_phase(Phase::StartUnknown);
    (start.call, start.round_until) = (Some(call(CallKind::Start)), Some(at(1, 660)));
    // What it has started may take a moment until it shows.
    let (start, _) = ended(&start, 20);
    assert_eq!(start.phase, Phase::StartUnknown);
    let (start, _) = ended(&start, 25);
    assert_eq!(start.phase, Phase::StartUnknown);
    // Where the supervisor does not tell, it is not started again, also when the time is over.
    let (mut unclear, mut effects) = (start.clone(), Vec::new());
    for secs in [31, 60, 661, 2000] {
        let look = looked(&unclear, Seen::Unknown);
        (unclear, effects) = next(&unclear, &look, at(1, secs));
        assert_eq!(unclear.phase, Phase::StartUnknown, "{secs}");
    }
    assert!(
        effects.contains(&Effect::Notify(Notice::StartUnknown)),
        "{effects:?}"
    );
    let running = looked(&unclear, Seen::Running(None));
    let (unclear, _) = next(&unclear, &running, at(1, 2010));
    assert_eq!(unclear.phase, Phase::WaitingForConnection);
    let (start, _) = ended(&start, 31);
    assert_eq!(start.phase, Phase::Cleaning);
}

/// A process of the start before may have been killed while it wrote its creds.json.
#[test]
fn before_each_further_start_creds_json_is_put_back() {
    let mut state = in_phase(Phase::Starting);
    state.round_until = Some(at(1, 200));
    (state.again, state.tries) = (1, 0);
    let (state, _) = next(&state, &looked(&state, Seen::Gone), at(1, 10));
    assert_eq!(state.phase, Phase::StartIntended);
    let (state, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 12));
    assert_eq!(awaited(&effects), Some(Effect::PutBackCreds));
    let (state, _) = next(&state, &Event::Cleaned(state.awaited), at(1, 14));
    assert_eq!(state.phase, Phase::StartIntended);
    assert_eq!((state.tries, state.again), (1, 1), "the round goes on");
    let (state, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 15));
    assert_eq!(awaited(&effects), Some(Effect::Persist));
    let (state, _) = next(&state, &Event::Saved(state.awaited), at(1, 15));
    assert!(state.phase == Phase::Starting && !state.creds_checked);
}

/// Anybody who may write into a folder may have written it.
#[test]
fn a_call_without_an_end_is_not_believed() {
    let mut state = in_phase(Phase::Starting);
    state.call = Some(Call {
        id: 1,
        kind: CallKind::Start,
        begins_by: at(1, 15),
        over_at: at(1, 10).plus(LONGEST_CALL + SECOND),
    });
    assert!(!state.call_may_be_under_way(at(1, 10)));
    assert!(state.call_may_be_under_way(at(1, 12)));
}

/// A helper that outlives its bot, for example: pm2 has stopped it, and is not done with it.
#[test]
fn what_is_neither_running_nor_gone_counts_as_down_and_is_started_once_it_is_gone() {
    for unclear in [Seen::Changing, Seen::Unknown] {
        let mut state = in_phase(Phase::StopUnknown);
        state.until = Some(at(1, 900));
        let (state, effects) = next(&state, &looked(&state, unclear.clone()), at(1, 950));
        assert_eq!(state.phase, Phase::Down);
        assert!(effects.contains(&Effect::Notify(Notice::NotGone)));
        assert!(effects.contains(&Effect::Unlock));
        // It may be the bot: it is not started.
        let (state, effects) = next(&state, &looked(&state, unclear), at(1, 1010));
        assert!(matches!(awaited(&effects), Some(Effect::Observe(..))));
        let (state, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 1070));
        assert!(matches!(awaited(&effects), Some(Effect::Lock(_))));
        let (state, _) = next(&state, &Event::Locked(state.awaited), at(1, 1071));
        assert_eq!(state.phase, Phase::StartIntended);
    }
}

/// A command may return long before the process shows.
#[test]
fn a_start_is_not_repeated_before_its_process_had_time_to_show() {
    let mut state = in_phase(Phase::Starting);
    state.times.shows = SECOND * 60;
    state.round_until = Some(at(1, 200));
    let returned = Event::Returned(state.awaited, Returned::Ok);
    let (state, _) = next(&state, &returned, at(1, 0));
    let (state, _) = next(&state, &looked(&state, Seen::Gone), at(1, 59));
    assert_eq!(state.phase, Phase::Starting);
    let (state, _) = next(&state, &looked(&state, Seen::Gone), at(1, 61));
    assert_eq!(state.phase, Phase::StartIntended);
}

#[test]
fn a_bot_that_ends_after_its_start_is_reported_once_and_counts_as_down() {
    let state = in_phase(Phase::RunningNotConnected);
    let (state, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 1));
    assert!(state.ended && effects.contains(&Effect::Notify(Notice::Ended)));
    let (state, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 2));
    assert!(state.ended && !effects.contains(&Effect::Notify(Notice::Ended)));
    let (state, _) = next(&state, &looked(&state, Seen::Running(None)), at(1, 3));
    assert!(!state.ended);
}

/// The configuration no longer names it, and an operator has started it.
#[test]
fn a_removed_service_is_over_once_its_sessions_are_connected() {
    let state = in_phase(Phase::HandedOver(HandedTo::Config(Forbids::Removed)));
    let (state, effects) = next(&state, &Event::OwnRestart, at(1, 1));
    assert_eq!(
        awaited(&effects),
        Some(Effect::Observe(Duration::ZERO, Sources::Connection))
    );
    let look = Look {
        seen: Seen::Unknown,
        connected: state
            .waiting
            .iter()
            .map(|one| one.session.clone())
            .collect(),
        ..Look::default()
    };
    let (missing, _) = next(&state, &looked(&state, Seen::Unknown), at(1, 2));
    assert_eq!(
        missing.phase,
        Phase::HandedOver(HandedTo::Config(Forbids::Removed))
    );
    let (state, effects) = next(&state, &Event::Looked(state.awaited, look), at(1, 2));
    assert_eq!(state.phase, Phase::Back);
    assert!(effects.contains(&Effect::Forget));
}
