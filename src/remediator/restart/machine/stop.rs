//! Until the service is gone: the checks, the stop, and a stop of which nothing is known.

use std::time::Duration;

use super::super::state::{
    CallKind, CheckResult, Effect, Event, HandedTo, Notice, Phase, RestartReport, RestartStep,
    Returned, Seen, Sources,
};
use super::{ASKED_WITHIN, GRACE, LOOK_EVERY, LOOK_LATE_EVERY, STOPS_LATE_WITHIN, Transition};

impl Transition {
    pub(super) fn checking(&mut self, event: &Event) {
        match event {
            Event::Alert => self.lock(Duration::ZERO),
            Event::Locked(_) => self.await_result(Effect::Check, None),
            Event::LockBusy(_) | Event::Deadline(_) => {
                self.release(false, Phase::Released, RestartReport::Busy);
            }
            Event::Checked(_, CheckResult::No) => {
                self.release(false, Phase::Released, RestartReport::NotBegun);
            }
            Event::Checked(_, CheckResult::Go) => {
                self.to(Phase::StopIntended);
                self.intend(CallKind::Stop);
            }
            _ => {}
        }
    }

    pub(super) fn stop_intended(&mut self, event: &Event) {
        match event {
            Event::Saved(_) => self.observe(Duration::ZERO, Sources::No),
            Event::NotSaved(_) | Event::Deadline(_) => {
                self.release(true, Phase::Released, RestartReport::NotSaved);
            }
            Event::LockLost => self.release(true, Phase::Released, RestartReport::Busy),
            Event::Looked(_, look) => match &look.seen {
                Seen::Gone => self.release(
                    true,
                    Phase::HandedOver(HandedTo::Operator),
                    RestartReport::StoppedByOperator,
                ),
                Seen::Running(_) if !self.may_begin() => {
                    self.release(true, Phase::Released, RestartReport::Busy);
                }
                Seen::Running(process) => {
                    self.s.process.clone_from(process);
                    self.to(Phase::Stopping);
                    self.s.until = None;
                    self.s.stopped_at = Some(self.now);
                    self.effects.push(Effect::Step(RestartStep::Stopping));
                    self.effects.push(Effect::Note);
                    let within = ASKED_WITHIN + self.s.times.stop + GRACE;
                    self.await_result(Effect::Stop, Some(within));
                }
                _ if self.may_begin() => self.observe(LOOK_EVERY, Sources::No),
                _ => self.release(true, Phase::Released, RestartReport::Unknown),
            },
            _ => {}
        }
    }

    pub(super) fn stopping(&mut self, event: &Event) {
        match event {
            Event::Returned(_, Returned::Ok) => {
                self.s.call = None;
                self.s.until = Some(self.now.plus(self.s.times.gone));
                self.observe(Duration::ZERO, Sources::No);
            }
            Event::Returned(_, Returned::NotSpawned) => {
                let verdict = RestartReport::NotStopped(Returned::NotSpawned);
                self.release(true, Phase::Released, verdict);
            }
            // Since the last look. This is the only call of this restart that stops it.
            Event::Returned(_, Returned::AlreadyStopped) => self.release(
                true,
                Phase::HandedOver(HandedTo::Operator),
                RestartReport::StoppedByOperator,
            ),
            Event::Returned(_, returned) => {
                if *returned == Returned::Failed {
                    self.s.call = None;
                }
                self.stop_is_unknown(RestartReport::NotStopped(*returned));
            }
            Event::Deadline(_) => {
                self.stop_is_unknown(RestartReport::NotStopped(Returned::Timeout))
            }
            Event::Looked(_, look) => match look.seen {
                Seen::Gone => self.gone(),
                _ if self.now.is_past(self.s.until) => self.stop_is_unknown(RestartReport::NotGone),
                _ => self.observe(LOOK_EVERY, Sources::No),
            },
            _ => {}
        }
    }

    pub(super) fn stop_is_unknown(&mut self, verdict: RestartReport) {
        self.to(Phase::StopUnknown);
        self.s.until = Some(self.now.plus(STOPS_LATE_WITHIN));
        self.report(verdict);
        self.effects.push(Effect::Notify(Notice::StopUnknown));
        self.effects.push(Effect::Note);
        self.observe(LOOK_EVERY, Sources::No);
    }

    pub(super) fn stop_unknown(&mut self, seen: &Seen) {
        let under_way = self.s.call_may_be_under_way(self.now);
        let may_come = self.stop_may_come();
        let is_other = |process: &Option<String>| match (process, &self.s.process) {
            (Some(now), Some(before)) => now != before,
            _ => false,
        };
        match seen {
            Seen::Gone if !under_way => self.gone(),
            Seen::Running(process) if !under_way && (!may_come || is_other(process)) => {
                let is_same = process.is_some() && *process == self.s.process;
                self.connect(false);
                self.s.untouched = is_same;
            }
            // What is left of it may be the bot: it is not started before it is gone. An operator
            // may do so meanwhile.
            Seen::Unknown | Seen::Contradicted | Seen::Changing if !may_come => {
                self.is_down(Notice::NotGone);
            }
            _ => self.observe(LOOK_LATE_EVERY, Sources::No),
        }
    }

    pub(super) fn stop_may_come(&self) -> bool {
        self.s.call_may_be_under_way(self.now) || !self.now.is_past(self.s.until)
    }

    pub(super) fn gone(&mut self) {
        self.to(Phase::Gone);
        (self.s.call, self.s.before) = (None, None);
        (self.s.round_until, self.s.creds_checked) = (None, false);
        self.s.told_unknown = false;
        self.effects.push(Effect::Step(RestartStep::Gone));
        self.persist();
    }
}
