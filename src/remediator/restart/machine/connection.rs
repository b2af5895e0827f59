//! After the start: whether its sessions connect.

use std::time::Duration;

use super::super::state::{
    Effect, HandedTo, Look, Notice, Phase, RestartReport, RestartStep, Seen, Sources,
};
use super::{LOOK_EVERY, STARTS_AGAIN, STOPPED_FOR, Transition};

impl Transition {
    pub(super) fn connect(&mut self, started: bool) {
        self.to(Phase::WaitingForConnection);
        (self.s.call, self.s.before) = (None, None);
        (self.s.contradicted, self.s.told_unknown) = (false, false);
        (self.s.ended, self.s.stopped_since) = (false, None);
        (self.s.creds_checked, self.s.untouched) = (false, false);
        self.s.has_run = true;
        self.s.until = Some(self.now.plus(self.s.times.connect));
        if started {
            self.effects.push(Effect::Step(RestartStep::Started));
        }
        self.effects.push(Effect::Note);
        self.observe(Duration::ZERO, Sources::Connection);
    }

    /// The wait of an earlier process goes on. The sockets that it has seen are forgotten, so there
    /// is time for them to last once more.
    pub(super) fn wait_on(&mut self) {
        let shown = self.now.plus(self.s.times.sockets);
        if shown.is_past(self.s.until) {
            self.s.until = Some(shown);
        }
        self.observe(Duration::ZERO, Sources::Connection);
    }

    pub(super) fn waiting(&mut self, look: &Look) {
        let runs = matches!(look.seen, Seen::Running(_));
        let counts = self.counts(look);
        for one in &mut self.s.waiting {
            one.seen = match (
                runs,
                one.seen,
                counts && look.connected.contains(&one.session),
            ) {
                (false, ..) | (true, 0 | 1, false) => 0,
                (true, seen @ (0 | 1), true) => seen + 1,
                (true, seen, _) => seen,
            };
        }
        let is_stopped = look.seen == Seen::Gone && look.on_request;
        self.s.stopped_since = match look.seen {
            Seen::Gone if is_stopped => self.s.stopped_since.or(Some(self.now)),
            Seen::Running(_) | Seen::Gone => None,
            // It may be about to run again, or still be stopped.
            Seen::Changing | Seen::Unknown | Seen::Contradicted => self.s.stopped_since,
        };
        let stays = self
            .s
            .stopped_since
            .map(|since| self.now.is_past(Some(since.plus(STOPPED_FOR))));
        let has_time = !self.now.is_past(self.s.until) || stays == Some(false);
        match look.seen {
            Seen::Running(_) if self.s.waiting.iter().all(|one| one.seen >= 2) => {
                self.to(Phase::Back);
                self.effects.push(Effect::Step(RestartStep::Connected));
                self.effects.push(Effect::Forget);
                self.effects.push(Effect::Unlock);
                self.report(RestartReport::Back);
            }
            // Its last start has worked, so this stop is none of this restart.
            Seen::Gone if is_stopped && stays == Some(true) => {
                let operator = Phase::HandedOver(HandedTo::Operator);
                self.release(true, operator, RestartReport::StoppedAfterStart);
            }
            Seen::Gone if is_stopped => self.observe(LOOK_EVERY, Sources::Connection),
            Seen::Gone if look.paused => self.pauses(),
            Seen::Gone if has_time && self.s.again < STARTS_AGAIN => {
                self.s.again += 1;
                let pause = LOOK_EVERY.saturating_mul(1 << self.s.again);
                self.intend_start_after(pause);
            }
            _ if has_time => self.observe(LOOK_EVERY, Sources::Connection),
            Seen::Running(_) | Seen::Changing => {
                self.to(Phase::RunningNotConnected);
                self.s.waiting.retain(|one| one.seen < 2);
                self.effects
                    .push(Effect::Notify(Notice::RunningNotConnected));
                self.report(RestartReport::RunningNotConnected);
                self.effects.push(Effect::Note);
                self.effects.push(Effect::Unlock);
                self.observe(self.s.times.retry, Sources::Connection);
            }
            Seen::Gone => self.is_down(Notice::Down),
            Seen::Unknown | Seen::Contradicted => {
                self.effects.push(Effect::Notify(Notice::StartUnknown));
                self.report(RestartReport::StartUnknown);
                self.s.told_unknown = true;
                self.start_is_unknown();
            }
        }
    }

    /// Whether what this look says of the sessions counts. While the process from before the stop
    /// runs, its whole log does; that of another process does from its start on.
    fn counts(&mut self, look: &Look) -> bool {
        if !self.s.untouched {
            return true;
        }
        let is_same = match (&look.seen, &self.s.process) {
            (Seen::Running(Some(now)), Some(before)) => now == before,
            _ => false,
        };
        let has_ended = matches!(look.seen, Seen::Gone | Seen::Running(Some(_)));
        self.s.untouched = is_same || !has_ended;
        is_same
    }

    /// It ran after its start and is gone. Nothing is started before `resume`.
    pub(super) fn pauses(&mut self) {
        self.to(Phase::HandedOver(HandedTo::Pause));
        self.report(RestartReport::PausedAfterStart);
        self.effects.push(Effect::Note);
        self.effects.push(Effect::Unlock);
        self.observe(self.s.times.retry, Sources::Live);
    }

    pub(super) fn not_connected(&mut self, look: &Look) {
        let ended = look.seen == Seen::Gone;
        if ended && !self.s.ended {
            self.effects.push(Effect::Notify(Notice::Ended));
        }
        self.s.ended = ended;
        let counts = self.counts(look);
        if !self.all_are_back(look, counts) {
            self.observe(self.s.times.retry, Sources::Connection);
        }
    }

    /// An operator may have started it by hand. The next look comes with the next resumption.
    pub(super) fn removed_looked(&mut self, look: &Look) {
        self.all_are_back(look, true);
    }

    fn all_are_back(&mut self, look: &Look, counts: bool) -> bool {
        self.s
            .waiting
            .retain(|one| !(counts && look.connected.contains(&one.session)));
        let are_back = self.s.waiting.is_empty();
        if are_back {
            self.to(Phase::Back);
        }
        self.effects.push(match are_back {
            true => Effect::Forget,
            false => Effect::Note,
        });
        are_back
    }
}
