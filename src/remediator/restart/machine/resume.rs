//! Events from outside: a restart of this program, a change of the configuration, and the
//! request to shut down.

use std::time::Duration;

use super::super::state::{
    CallKind, Effect, Forbids, HandedTo, Look, Notice, Phase, RestartReport, Seen, Sources,
};
use super::{STOPS_LATE_WITHIN, Transition};

impl Transition {
    /// The awaited result is lost with the earlier process. A call may still be under way.
    pub(super) fn resume(&mut self) {
        self.s.reported = true;
        (self.s.leaving, self.s.contradicted) = (false, false);
        (self.s.stopped_since, self.s.retired_since) = (None, None);
        self.s.creds_checked = false;
        if self.s.stopped_at.is_none_or(|at| at.boot != self.now.boot) {
            (self.s.again, self.s.has_run) = (0, false);
        }
        for one in &mut self.s.waiting {
            one.seen = 0;
        }
        if self
            .s
            .call
            .is_some_and(|call| self.now.boot != call.over_at.boot)
        {
            self.s.call = None;
        }
        match self.s.phase {
            Phase::StopIntended | Phase::Stopping | Phase::StopUnknown => {
                let is_same_boot = self.s.call.is_some()
                    || self
                        .s
                        .until
                        .is_some_and(|until| until.boot == self.now.boot);
                let late = self.s.until.filter(|_| self.s.phase == Phase::StopUnknown);
                let late = late.unwrap_or(self.now.plus(STOPS_LATE_WITHIN));
                self.s.until = is_same_boot.then_some(late);
                self.s.told_unknown = false;
                self.to(Phase::StopUnknown);
                self.lock(Duration::ZERO);
            }
            Phase::Gone | Phase::Cleaning => {
                (self.s.until, self.s.call) = (None, None);
                self.s.told_unknown = false;
                self.to(Phase::StopUnknown);
                self.lock(Duration::ZERO);
            }
            Phase::StartIntended | Phase::Starting | Phase::StartUnknown => {
                self.resume_start();
            }
            Phase::WaitingForConnection => match self.s.until {
                // It ran after its start, and an operator may have stopped it since. If its time has
                // just ended, its sockets may still show that it is back.
                Some(until)
                    if until.boot == self.now.boot
                        && self.now.is_past(Some(until.plus(self.s.times.sockets))) =>
                {
                    self.to(Phase::RunningNotConnected);
                    self.observe(Duration::ZERO, Sources::Connection);
                }
                Some(until) if until.boot == self.now.boot => self.lock(Duration::ZERO),
                // Nothing says that it was started since the boot.
                _ => self.resume_start(),
            },
            Phase::RunningNotConnected | Phase::HandedOver(HandedTo::Config(Forbids::Removed)) => {
                self.observe(Duration::ZERO, Sources::Connection);
            }
            Phase::Down | Phase::HandedOver(HandedTo::Pause) => {
                self.observe(Duration::ZERO, Sources::Live);
            }
            _ => {}
        }
    }

    pub(super) fn resume_start(&mut self) {
        self.to(Phase::StartUnknown);
        let waits = self.s.call.map_or(self.now, |call| call.over_at);
        self.s.round_until = Some(waits.plus(self.s.times.start));
        self.s.tries = 0;
        self.lock(Duration::ZERO);
    }

    pub(super) fn configured(&mut self) {
        match self.s.call {
            Some(call) if call.kind == CallKind::Start => self.resume_start(),
            call => {
                self.to(Phase::StopUnknown);
                self.s.until = call.map(|_| self.now.plus(STOPS_LATE_WITHIN));
                self.lock(Duration::ZERO);
            }
        }
    }

    pub(super) fn forbidden(&mut self, how: Forbids) {
        match self.s.phase {
            // It was seen running after its start. From now on this program does not stop it.
            Phase::WaitingForConnection | Phase::RunningNotConnected => {
                return self.release(true, Phase::Released, RestartReport::Forbidden(how));
            }
            phase if !phase.is_pending() => return,
            _ => {}
        }
        self.to(Phase::HandedOver(HandedTo::Config(how)));
        self.effects.push(Effect::BreakOff);
        self.effects.push(Effect::Unlock);
        self.effects.push(Effect::Notify(Notice::Forbidden(how)));
        self.report(RestartReport::Forbidden(how));
        self.effects.push(Effect::Note);
        // What is not configured cannot be looked at.
        if how == Forbids::NotAllowed {
            self.observe(self.s.times.retry, Sources::No);
        }
    }

    /// Once it runs nothing is left to do.
    pub(super) fn started_by_hand(&mut self, look: &Look) {
        match look.seen {
            _ if self.is_retired(look) => self.retire(),
            Seen::Running(_) => {
                self.s.reported = true;
                self.release(true, Phase::Released, RestartReport::Back);
            }
            _ => self.observe(self.s.times.retry, Sources::No),
        }
    }

    pub(super) fn leave_if_asked(&mut self) {
        let may = match self.s.phase {
            Phase::StartUnknown => self.s.told_unknown,
            Phase::RunningNotConnected | Phase::Down | Phase::HandedOver(_) => true,
            Phase::StartIntended => self.s.contradicted,
            _ => false,
        };
        if self.s.leaving && may && !self.s.phase.is_final() {
            self.effects.push(Effect::Leave);
            self.report(match self.s.phase {
                Phase::RunningNotConnected => RestartReport::RunningNotConnected,
                Phase::Down => RestartReport::Down,
                _ => RestartReport::StartUnknown,
            });
        }
    }
}
