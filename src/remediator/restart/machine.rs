//! The restart state machine: one pure function. After a crash, the event `own restart` resumes
//! a restart, so there is no second implementation for that.
//!
//! The table is the specification; a test compares it with [`next`]. Rows with the same phase
//! and event differ by the condition. An effect in parentheses may be missing: a run is reported
//! once. A result that is not the awaited one changes nothing. An operator who stops or starts
//! the service is seen by the next look.
//!
//! | phase | event | condition | next phase | effects |
//! |---|---|---|---|---|
//! | checking | alert | | checking | lock, deadline |
//! | checking | locked | | checking | check |
//! | checking | lock busy, deadline | | released | unlock, report |
//! | checking | check: go | | stop_intended | persist, deadline |
//! | checking | check: no | | released | unlock, report |
//! | stop_intended | saved | | stop_intended | observe |
//! | stop_intended | not saved, deadline, lock lost | | released | forget, unlock, report |
//! | stop_intended | running | | stopping | step, note, stop, deadline |
//! | stop_intended | running, changing, unknown | the look came too late | released | forget, unlock, report |
//! | stop_intended | changing, unknown | | stop_intended | observe |
//! | stop_intended | gone | a person stopped it | operator | forget, unlock, report |
//! | stopping | returned 0 | | stopping | observe |
//! | stopping | returned n, call timeout, deadline | | stop_unknown | report, notify, note, observe |
//! | stopping | not spawned | nothing was called | released | forget, unlock, report |
//! | stopping | already stopped | a person stopped it | operator | forget, unlock, report |
//! | stopping | running, changing, unknown | | stopping | observe |
//! | stopping | running, changing, unknown | not gone in time | stop_unknown | report, notify, note, observe |
//! | stopping | gone | | gone | step, persist, deadline |
//! | stop_unknown | locked | | stop_unknown | observe |
//! | stop_unknown | lock busy, deadline | | stop_unknown | notify, lock, deadline |
//! | stop_unknown | running, changing, gone, unknown | the stop may still come | stop_unknown | observe |
//! | stop_unknown | gone | no stop is under way | gone | step, persist, deadline |
//! | stop_unknown | running | no stop comes any more, or another process runs | waiting_for_connection | note, observe connection |
//! | stop_unknown | changing, unknown | no stop comes any more | down | notify, note, unlock, observe live |
//! | gone | saved, not saved, deadline | the run was not reported | cleaning | clean, deadline |
//! | gone | saved, not saved, deadline | the run was reported | cleaning | put back, deadline |
//! | cleaning | cleaned | | start_intended | observe live |
//! | cleaning | torn | time is left | start_intended | observe live |
//! | cleaning | torn | no time is left, or the program is to end | down | notify, (report), note, unlock, observe live |
//! | cleaning | deadline | | start_intended | break off, observe live |
//! | start_intended | gone | | start_intended | persist, deadline |
//! | start_intended | gone | creds.json was not checked, or may have changed since | cleaning | put back, deadline |
//! | start_intended | gone | it ran after its start, and a person has paused | paused | (report), note, unlock, observe live |
//! | start_intended | unknown | | start_intended | observe live |
//! | start_intended | unknown | for the start timeout, and creds.json was not checked | cleaning | put back, deadline |
//! | start_intended | unknown | for the start timeout: started once | start_intended | persist, deadline |
//! | start_intended | contradicted | | start_intended | notify, (report), note, observe live |
//! | start_intended | running, changing | a person started it | waiting_for_connection | step, note, observe connection |
//! | start_intended | saved, not saved, deadline | | starting | step, start, deadline |
//! | start_intended | saved, not saved, deadline | too late for the record | start_intended | observe live |
//! | starting | returned 0, returned n, not spawned | | starting | observe |
//! | starting | call timeout, deadline | | start_unknown | note, observe live |
//! | starting | running, changing | | waiting_for_connection | step, note, observe connection |
//! | starting | gone, unknown | it may still show up | starting | observe |
//! | starting | gone | time is left | start_intended | observe live |
//! | starting | gone | no time is left | down | notify, (report), note, unlock, observe live |
//! | starting | unknown | | start_unknown | note, observe live |
//! | start_unknown | locked | | start_unknown | observe live |
//! | start_unknown | lock busy, deadline | | start_unknown | notify, lock, deadline |
//! | start_unknown | running, changing | | waiting_for_connection | step, note, observe connection |
//! | start_unknown | gone, unknown, contradicted | the start may still come | start_unknown | observe live |
//! | start_unknown | unknown, contradicted | | start_unknown | notify, (report), note, observe live |
//! | start_unknown | unknown | it was removed for good | released | notify, forget, unlock, (report) |
//! | start_unknown | gone | time is left | cleaning | put back, deadline |
//! | start_unknown | gone | no time is left | down | notify, (report), note, unlock, observe live |
//! | waiting_for_connection | locked | | waiting_for_connection | observe connection |
//! | waiting_for_connection | lock busy, deadline | | waiting_for_connection | notify, lock, deadline |
//! | waiting_for_connection | running | all are connected, twice in a row | back | step, forget, unlock, (report) |
//! | waiting_for_connection | running, changing, gone, unknown, contradicted | time is left, or it was stopped on request in the last 30 s | waiting_for_connection | observe connection |
//! | waiting_for_connection | gone | it stays stopped on request for 30 s: by a person | operator | forget, unlock, (report) |
//! | waiting_for_connection | gone | a person has paused | paused | (report), note, unlock, observe live |
//! | waiting_for_connection | gone | it died, and may be started again | start_intended | observe live |
//! | waiting_for_connection | running, changing | no time is left | running_not_connected | notify, (report), note, unlock, observe connection |
//! | waiting_for_connection | gone | no time is left | down | notify, (report), note, unlock, observe live |
//! | waiting_for_connection | unknown, contradicted | no time is left | start_unknown | notify, (report), note, observe live |
//! | running_not_connected | running, changing, gone, unknown, contradicted | all are connected | back | (notify), forget |
//! | running_not_connected | running, changing, gone, unknown, contradicted | | running_not_connected | (notify), note, observe connection |
//! | down | running, gone | | down | lock, deadline |
//! | down | gone | a person has paused | paused | note, observe live |
//! | down, paused | unknown | it was removed for good | released | notify, forget, unlock |
//! | down | changing, unknown, contradicted | | down | notify, observe live |
//! | down | locked | | start_intended | observe live |
//! | down | lock busy, deadline | | down | notify, observe live |
//! | paused | running | | paused | lock, deadline |
//! | paused | gone | no longer paused | paused | lock, deadline |
//! | paused | changing, gone, unknown, contradicted | | paused | observe live |
//! | paused | locked | | start_intended | observe live |
//! | paused | lock busy, deadline | | paused | observe live |
//! | removed | own restart | | removed | observe connection |
//! | removed | running, changing, gone, unknown, contradicted | all are connected | back | forget |
//! | removed | running, changing, gone, unknown, contradicted | | removed | note |
//! | removed, not_allowed | configured | the last call was no start | stop_unknown | lock, deadline |
//! | removed, not_allowed | configured | the last call was a start | start_unknown | lock, deadline |
//! | not_allowed | running | a person started it | released | forget, unlock |
//! | not_allowed | unknown | it was removed for good | released | notify, forget, unlock |
//! | not_allowed | changing, gone, unknown | | not_allowed | observe |
//! | stop_intended, stopping, stop_unknown, gone, cleaning | own restart | | stop_unknown | lock, deadline |
//! | start_intended, starting, start_unknown | own restart | | start_unknown | lock, deadline |
//! | waiting_for_connection | own restart | | waiting_for_connection | lock, deadline |
//! | waiting_for_connection | own restart | after a reboot | start_unknown | lock, deadline |
//! | waiting_for_connection | own restart | its time ended meanwhile | running_not_connected | observe connection |
//! | down | own restart | | down | observe live |
//! | running_not_connected | own restart | | running_not_connected | observe connection |
//! | paused | own restart | | paused | observe live |
//! | stop_intended, stopping, stop_unknown, gone, cleaning | not configured | | removed | break off, unlock, notify, (report), note |
//! | start_intended, starting, start_unknown, down, paused | not configured | | removed | break off, unlock, notify, (report), note |
//! | stop_intended, stopping, stop_unknown, gone, cleaning | not allowed | | not_allowed | break off, unlock, notify, (report), note, observe |
//! | start_intended, starting, start_unknown, down, paused | not allowed | | not_allowed | break off, unlock, notify, (report), note, observe |
//! | removed, not_allowed | not configured | | removed | break off, unlock, notify, (report), note |
//! | removed, not_allowed | not allowed | | not_allowed | break off, unlock, notify, (report), note, observe |
//! | waiting_for_connection, running_not_connected | not configured, not allowed | it was seen running | released | forget, unlock, (report) |
//! | running_not_connected, down, paused, removed, not_allowed | signal | | the same | leave, (report) |
//! | start_unknown | signal | the operator was notified | the same | leave, (report) |
//! | start_intended | signal | contradicted | the same | leave, (report) |
//!
//! After a signal every other phase continues, and leaves as soon as it may. A resolved alert or
//! a step of the wall clock is no event: a restart that has begun is completed anyway, and the
//! deadlines use the boot clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::state::{
    Call, CallKind, Effect, Event, Forbids, HandedTo, Look, Notice, Now, Phase, Restart,
    RestartReport, Seen, Sources, Times, Trigger, WaitingSession,
};

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at a stop that may still come.
pub const LOOK_LATE_EVERY: Duration = Duration::from_secs(2);
/// How long to wait for a stop that did not take effect in time.
pub const STOPS_LATE_WITHIN: Duration = Duration::from_secs(900);
/// Time from the end of a start until the process shows, where the supervisor itself starts it.
pub const SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// A call begins within this time of its record, or not at all.
pub const CALL_BEGINS_WITHIN: Duration = Duration::from_secs(40);
/// How much longer than its timeout a call may take.
pub const CALL_MARGIN: Duration = Duration::from_secs(5);
/// Time limit for the query to the supervisor before a call.
pub const ASKED_WITHIN: Duration = supervisor::QUERY_TIMEOUT;
/// No call can be under way for longer: a record that says so is ignored.
pub const LONGEST_CALL: Duration = Duration::from_secs(2 * 3600);
/// How long to wait beyond the timeouts of the supervisor itself.
pub const GRACE: Duration = Duration::from_secs(15);
/// Time limit for a write to disk.
pub const PERSIST_WITHIN: Duration = Duration::from_secs(5);
/// Time limit for the locks of all folders of a service.
pub const LOCK_WITHIN: Duration = Duration::from_secs(30);
/// Between two tries to take a lock that another process holds.
pub const LOCK_EVERY: Duration = Duration::from_secs(5);
/// How often a service that dies after its start is started again.
pub const STARTS_AGAIN: u32 = 2;
/// After so many times between two retries, what is found to be removed for good is forgotten. A
/// supervisor that has just begun may not know its processes yet.
const RETIRED_AFTER: u32 = 10;
/// Between two tries to put a torn creds.json back: each one is a run on record.
pub const PUT_BACK_EVERY: Duration = Duration::from_secs(15);
/// Stopped on request for so long, it was stopped by a person. A restart is over sooner: `docker
/// restart` gives a process 10 seconds to end.
const STOPPED_FOR: Duration = Duration::from_secs(30);
/// The longest pause between two tries of a round.
const MAX_START_BACKOFF: Duration = Duration::from_secs(8);

impl Restart {
    /// A restart that has not begun.
    pub fn new(
        service: &str,
        session: &str,
        run_id: i64,
        trigger: Trigger,
        decided_ns: i64,
        times: Times,
    ) -> Self {
        Self {
            service: service.to_owned(),
            session: session.to_owned(),
            run_id,
            trigger,
            decided_ns,
            phase: Phase::Checking,
            process: None,
            call: None,
            awaited: 0,
            until: None,
            round_until: None,
            tries: 0,
            again: 0,
            creds_checked: false,
            reported: false,
            told_unknown: false,
            contradicted: false,
            untouched: false,
            ended: false,
            stopped_since: None,
            adopted: false,
            leaving: false,
            stopped_at: None,
            started_ns: None,
            has_run: false,
            late_ns: None,
            waiting: vec![WaitingSession {
                session: session.to_owned(),
                run_id,
                seen: 0,
            }],
            whole: BTreeSet::new(),
            folders: BTreeMap::new(),
            retired_since: None,
            before: None,
            times,
        }
    }

    /// Whether an earlier call may be under way.
    pub fn call_may_be_under_way(&self, now: Now) -> bool {
        self.call.is_some_and(|call| call.may_be_under_way(now))
    }
}

impl Call {
    /// A call that takes at most `timeout`, and begins by `begins_by` or not at all.
    pub fn new(id: u64, kind: CallKind, begins_by: Now, timeout: Duration) -> Self {
        let over_at = begins_by.plus(ASKED_WITHIN + timeout + CALL_MARGIN);
        Self {
            id,
            kind,
            begins_by,
            over_at,
        }
    }

    /// Whether it may be under way. An end that no call can have is ignored.
    pub fn may_be_under_way(&self, now: Now) -> bool {
        let is_believed = now.plus(LONGEST_CALL).is_past(Some(self.over_at));
        is_believed && !now.is_past(Some(self.over_at))
    }
}

/// The state after this event, and the effects to perform.
pub fn next(state: &Restart, event: &Event, now: Now) -> (Restart, Vec<Effect>) {
    let mut step = Transition {
        s: state.clone(),
        effects: Vec::new(),
        now,
    };
    let is_late = match event {
        Event::Locked(id)
        | Event::LockBusy(id)
        | Event::Checked(id, _)
        | Event::Saved(id)
        | Event::NotSaved(id)
        | Event::Looked(id, _)
        | Event::Returned(id, _)
        | Event::Cleaned(id)
        | Event::Torn(id)
        | Event::Deadline(id) => *id != state.awaited,
        _ => false,
    };
    if !is_late && !state.phase.is_final() {
        step.consume(event);
        step.leave_if_asked();
    }
    (step.s, step.effects)
}

struct Transition {
    s: Restart,
    effects: Vec<Effect>,
    now: Now,
}

impl Transition {
    fn consume(&mut self, event: &Event) {
        if let Event::Looked(_, look) = event
            && look.call_ended
        {
            self.call_ended();
        }
        match (self.s.phase, event) {
            (_, Event::Signal) => self.s.leaving = true,
            // This phase is never on disk.
            (Phase::Checking, Event::OwnRestart) => {}
            (_, Event::OwnRestart) => self.resume(),
            (Phase::HandedOver(HandedTo::Config(_)), Event::Configured) => self.configured(),
            (_, Event::Configured) => {}
            (_, Event::Forbidden(how)) => self.forbidden(*how),
            (Phase::HandedOver(HandedTo::Config(Forbids::Removed)), Event::Looked(_, look)) => {
                self.removed_looked(look);
            }
            (Phase::HandedOver(HandedTo::Config(_)), Event::Looked(_, look)) => {
                self.started_by_hand(look);
            }
            (Phase::Checking, event) => self.checking(event),
            (Phase::StopIntended, event) => self.stop_intended(event),
            (Phase::Stopping, event) => self.stopping(event),
            (Phase::Gone, Event::Saved(_) | Event::NotSaved(_) | Event::Deadline(_)) => {
                self.clean();
            }
            (Phase::Cleaning, Event::Cleaned(_)) => self.cleaned(),
            (Phase::Cleaning, Event::Torn(_)) => self.torn(),
            (Phase::Cleaning, Event::Deadline(_)) => {
                self.effects.push(Effect::BreakOff);
                self.cleaned();
            }
            (Phase::StartIntended, event) => self.start_intended(event),
            (Phase::Starting, event) => self.starting(event),
            (
                Phase::StopUnknown | Phase::StartUnknown | Phase::WaitingForConnection,
                Event::LockBusy(_) | Event::Deadline(_),
            ) => {
                self.effects.push(Effect::Notify(Notice::LockBusy));
                self.lock(LOCK_EVERY);
            }
            (Phase::StopUnknown, Event::Locked(_)) => self.observe(Duration::ZERO, Sources::No),
            (Phase::StartUnknown, Event::Locked(_)) => {
                self.observe(Duration::ZERO, Sources::Live);
            }
            (Phase::WaitingForConnection, Event::Locked(_)) => self.wait_on(),
            (Phase::StopUnknown, Event::Looked(_, look)) => self.stop_unknown(&look.seen),
            (Phase::StartUnknown, Event::Looked(_, look)) => self.start_unknown(look),
            (Phase::WaitingForConnection, Event::Looked(_, look)) => self.waiting(look),
            (Phase::RunningNotConnected, Event::Looked(_, look)) => self.not_connected(look),
            (Phase::Down | Phase::HandedOver(HandedTo::Pause), event) => self.down(event),
            _ => {}
        }
    }

    // Effects.

    /// Adds an effect whose result is awaited from now on.
    fn await_result(&mut self, effect: Effect, within: Option<Duration>) {
        self.s.awaited += 1;
        self.effects.push(effect);
        self.effects.extend(within.map(Effect::SetDeadline));
    }

    fn observe(&mut self, after: Duration, sources: Sources) {
        self.await_result(Effect::Observe(after, sources), None);
    }

    fn lock(&mut self, after: Duration) {
        self.await_result(Effect::Lock(after), Some(after + LOCK_WITHIN));
    }

    fn persist(&mut self) {
        self.await_result(Effect::Persist, Some(PERSIST_WITHIN));
    }

    /// At most one report.
    fn report(&mut self, verdict: RestartReport) {
        if !self.s.reported {
            self.s.reported = true;
            self.effects.push(Effect::Report(verdict));
        }
    }

    fn to(&mut self, phase: Phase) {
        self.s.phase = phase;
        self.s.retired_since = None;
    }

    fn release(&mut self, forget: bool, phase: Phase, verdict: RestartReport) {
        self.to(phase);
        if forget {
            self.effects.push(Effect::Forget);
        }
        self.effects.push(Effect::Unlock);
        self.report(verdict);
    }

    /// Whether all looks of a while have found it removed for good.
    fn is_retired(&mut self, look: &Look) -> bool {
        let is_retired = look.is_retired && look.seen == Seen::Unknown;
        let since = self.s.retired_since.unwrap_or(self.now);
        self.s.retired_since = is_retired.then_some(since);
        let wait = self.s.times.retry.saturating_mul(RETIRED_AFTER);
        is_retired && self.now.is_past(Some(since.plus(wait)))
    }

    /// It can never be started again, and nothing is left to start it on.
    fn retire(&mut self) {
        self.effects.push(Effect::Notify(Notice::Retired));
        self.release(true, Phase::Released, RestartReport::Down);
    }

    /// A call is about to be made. Its record is on disk before that.
    fn intend(&mut self, kind: CallKind) {
        let timeout = match kind {
            CallKind::Stop => self.s.times.stop,
            CallKind::Start => self.s.times.start,
        };
        let begins_by = self.now.plus(CALL_BEGINS_WITHIN);
        self.s.call = Some(Call::new(self.s.awaited + 1, kind, begins_by, timeout));
        self.persist();
    }

    /// The last call has ended. Its effect may still take the usual time to appear.
    fn call_ended(&mut self) {
        let shows_by = self.now.plus(self.s.times.shows);
        match &mut self.s.call {
            Some(call) if call.kind == CallKind::Start && shows_by.at < call.over_at.at => {
                call.over_at = shows_by;
            }
            Some(call) if call.kind == CallKind::Stop => self.s.call = None,
            _ => {}
        }
    }

    /// Whether the call may begin under the record that is on disk.
    fn may_begin(&self) -> bool {
        self.s
            .call
            .is_some_and(|call| !self.now.is_past(Some(call.begins_by)))
    }
}

mod connection;
mod resume;
mod start;
mod stop;

#[cfg(test)]
mod tests;
