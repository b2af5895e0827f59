//! While the service is gone, until it runs again: the clean-up, the start, and a service that is
//! down.

use std::time::Duration;

use super::super::state::{
    CallKind, Effect, Event, HandedTo, Look, Notice, Phase, RestartReport, RestartStep, Returned,
    Seen, Sources,
};
use super::{ASKED_WITHIN, GRACE, LOOK_EVERY, MAX_START_BACKOFF, PUT_BACK_EVERY, Transition};

impl Transition {
    pub(super) fn clean(&mut self) {
        self.to(Phase::Cleaning);
        let within = self.s.times.clean;
        let effect = match self.s.reported {
            true => Effect::PutBackCreds,
            false => Effect::Clean,
        };
        self.await_result(effect, Some(within));
    }

    /// Within a round of starts, this one goes on.
    pub(super) fn cleaned(&mut self) {
        self.s.creds_checked = true;
        match self.s.round_until {
            None => self.intend_start_after(Duration::ZERO),
            Some(_) => {
                self.to(Phase::StartIntended);
                self.observe(Duration::ZERO, Sources::Live);
            }
        }
    }

    /// The bot would make a new identity over a torn creds.json. So it is put back again until the
    /// round ends; from then on the bot counts as down, and is tried as any other pending start.
    pub(super) fn torn(&mut self) {
        let round = self.s.round_until;
        let is_over = round.is_some_and(|until| self.now.is_past(Some(until)));
        match round {
            _ if is_over || self.s.leaving => self.is_down(Notice::CredsTorn),
            None => self.intend_start_after(PUT_BACK_EVERY),
            Some(_) => {
                self.to(Phase::StartIntended);
                self.observe(PUT_BACK_EVERY, Sources::Live);
            }
        }
    }

    pub(super) fn intend_start_after(&mut self, pause: Duration) {
        if self.s.phase != Phase::Starting {
            self.s.round_until = Some(self.now.plus(self.s.times.start));
            self.s.tries = 0;
        }
        if self.s.phase != Phase::WaitingForConnection && self.s.phase != Phase::Starting {
            self.s.again = 0;
        }
        self.to(Phase::StartIntended);
        self.s.until = None;
        self.observe(pause, Sources::Live);
    }

    /// It was just seen gone. A process may have been killed while it wrote its creds.json.
    pub(super) fn put_back(&mut self) {
        self.s.until = None;
        self.check_creds();
    }

    /// Nothing is put back unless it is known to be gone, but no torn creds.json is started on.
    fn check_creds(&mut self) {
        self.to(Phase::Cleaning);
        self.await_result(Effect::PutBackCreds, Some(self.s.times.clean));
    }

    /// It was just seen gone.
    pub(super) fn intend_start(&mut self) {
        self.to(Phase::StartIntended);
        self.s.contradicted = false;
        self.intend(CallKind::Start);
    }

    pub(super) fn start_intended(&mut self, event: &Event) {
        match event {
            Event::Looked(_, look) => match look.seen {
                Seen::Gone if self.s.again > 0 && look.paused => self.pauses(),
                Seen::Gone if !self.s.creds_checked => self.put_back(),
                Seen::Gone => self.intend_start(),
                Seen::Running(_) | Seen::Changing => self.connect(true),
                // A live source reported it as connected, and nothing has contradicted that.
                Seen::Unknown if self.s.contradicted => {
                    self.observe(self.s.times.retry, Sources::Live);
                }
                Seen::Unknown if self.s.until.is_none() => {
                    self.s.until = Some(self.now.plus(self.s.times.start));
                    self.observe(LOOK_EVERY, Sources::Live);
                }
                Seen::Unknown if self.now.is_past(self.s.until) && !self.s.creds_checked => {
                    self.check_creds();
                }
                // It was gone. A needless start is better than a bot that stays stopped.
                Seen::Unknown if self.now.is_past(self.s.until) => self.intend_start(),
                Seen::Unknown => self.observe(LOOK_EVERY, Sources::Live),
                Seen::Contradicted => {
                    // What was connected may write until it ends.
                    (self.s.contradicted, self.s.creds_checked) = (true, false);
                    self.s.until = None;
                    self.effects.push(Effect::Notify(Notice::Contradicted));
                    self.report(RestartReport::Contradicted);
                    self.effects.push(Effect::Note);
                    self.observe(self.s.times.retry, Sources::Live);
                }
            },
            // The start is made even if the record could not be saved.
            Event::Saved(_) | Event::NotSaved(_) | Event::Deadline(_) if self.may_begin() => {
                self.to(Phase::Starting);
                (self.s.until, self.s.creds_checked) = (None, false);
                self.effects.push(Effect::Step(RestartStep::Starting));
                let within = ASKED_WITHIN + self.s.times.start + GRACE;
                self.await_result(Effect::Start, Some(within));
            }
            Event::Saved(_) | Event::NotSaved(_) | Event::Deadline(_) => {
                self.observe(Duration::ZERO, Sources::Live);
            }
            _ => {}
        }
    }

    pub(super) fn starting(&mut self, event: &Event) {
        match event {
            Event::Returned(_, Returned::Timeout) | Event::Deadline(_) => self.start_is_unknown(),
            Event::Returned(_, returned) => {
                let shows_by = match returned {
                    Returned::NotSpawned => self.now,
                    _ => self.now.plus(self.s.times.shows),
                };
                self.s.until = Some(shows_by);
                if let Some(call) = &mut self.s.call {
                    call.over_at = shows_by;
                }
                self.observe(Duration::ZERO, Sources::No);
            }
            Event::Looked(_, look) => match look.seen {
                Seen::Running(_) | Seen::Changing => self.connect(true),
                _ if !self.now.is_past(self.s.until) => self.observe(LOOK_EVERY, Sources::No),
                Seen::Gone if self.now.is_past(self.s.round_until) => self.is_down(Notice::Down),
                Seen::Gone => {
                    self.s.tries += 1;
                    let pause = LOOK_EVERY.saturating_mul(1 << self.s.tries.min(8));
                    self.intend_start_after(pause.min(MAX_START_BACKOFF));
                }
                Seen::Unknown | Seen::Contradicted => self.start_is_unknown(),
            },
            _ => {}
        }
    }

    pub(super) fn start_is_unknown(&mut self) {
        self.to(Phase::StartUnknown);
        self.effects.push(Effect::Note);
        self.observe(LOOK_EVERY, Sources::Live);
    }

    pub(super) fn start_unknown(&mut self, look: &Look) {
        let under_way = self.s.call_may_be_under_way(self.now);
        let has_time = !self.now.is_past(self.s.round_until);
        let is_retired = self.is_retired(look);
        match look.seen {
            _ if is_retired && !under_way => self.retire(),
            Seen::Running(_) | Seen::Changing => self.connect(true),
            Seen::Gone if under_way => self.observe(LOOK_EVERY, Sources::Live),
            Seen::Gone if has_time => self.put_back(),
            Seen::Gone => self.is_down(Notice::Down),
            Seen::Unknown | Seen::Contradicted if under_way || has_time => {
                self.observe(LOOK_EVERY, Sources::Live);
            }
            Seen::Unknown | Seen::Contradicted => {
                self.effects.push(Effect::Notify(Notice::StartUnknown));
                self.report(RestartReport::StartUnknown);
                self.s.told_unknown = true;
                self.effects.push(Effect::Note);
                // Once it is known to be gone, it gets the time of another round.
                self.s.round_until = Some(self.now.plus(self.s.times.retry));
                self.observe(self.s.times.retry, Sources::Live);
            }
        }
    }

    pub(super) fn is_down(&mut self, notice: Notice) {
        self.to(Phase::Down);
        self.s.call = None;
        self.effects.push(Effect::Notify(notice));
        self.report(RestartReport::Down);
        self.effects.push(Effect::Note);
        self.effects.push(Effect::Unlock);
        self.observe(self.s.times.retry, Sources::Live);
    }

    /// Also handles a pause: then nothing is started before `resume`.
    pub(super) fn down(&mut self, event: &Event) {
        let is_paused = self.s.phase != Phase::Down;
        match event {
            Event::Locked(_) => self.intend_start_after(Duration::ZERO),
            Event::Looked(_, look) => match look.seen {
                _ if self.is_retired(look) => self.retire(),
                Seen::Running(_) => self.lock(Duration::ZERO),
                Seen::Gone if !look.paused => self.lock(Duration::ZERO),
                Seen::Gone if !is_paused => {
                    self.to(Phase::HandedOver(HandedTo::Pause));
                    self.effects.push(Effect::Note);
                    self.observe(self.s.times.retry, Sources::Live);
                }
                Seen::Contradicted => self.still_down(Notice::Contradicted),
                _ => self.still_down(Notice::NotGone),
            },
            Event::LockBusy(_) | Event::Deadline(_) => self.still_down(Notice::LockBusy),
            _ => {}
        }
    }

    pub(super) fn still_down(&mut self, notice: Notice) {
        if self.s.phase == Phase::Down {
            self.effects.push(Effect::Notify(notice));
        }
        self.observe(self.s.times.retry, Sources::Live);
    }
}
