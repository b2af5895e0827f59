//! The machine against a model world: a supervisor that is not idempotent, whose calls are
//! late, lost or failing, an operator, a second coordinator, a disk that fails, and kills at
//! any point. Time is simulated.

use std::collections::BTreeSet;

use super::restart;
use crate::remediator::restart::machine::*;
use crate::remediator::restart::state::{CheckResult, Returned};

const SECOND: Duration = Duration::from_secs(1);
/// Two processes at most run the machine.
const COORDINATORS: usize = 2;

/// A bot's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    number: u32,
    by_operator: bool,
}

/// A call that the supervisor has yet to carry out; it outlives its caller.
#[derive(Clone, Copy, Debug)]
struct Pending {
    kind: CallKind,
    acts_at: Now,
    /// A stop that acts after its call has returned ends only the process it was called for.
    only: Option<u32>,
}

/// One process that runs the machine.
#[derive(Debug, Default)]
struct Coordinator {
    alive: Option<Restart>,
    /// The effect that is under way, and when its result is there.
    awaited: Option<(Effect, Now, bool)>,
    disk: Option<Restart>,
    /// A start was called whose record could not be written: killed now, the start is lost.
    unrecorded: bool,
    /// An operator stopped the bot just before this one's stop, which was not called then.
    stopped_before: bool,
}

#[derive(Debug)]
#[expect(dead_code, reason = "shown where a test fails")]
struct Shown<'a> {
    now: Duration,
    live: &'a [Process],
    calls: &'a [Pending],
    lock: Option<usize>,
    phases: Vec<[Option<Phase>; 2]>,
    log: &'a [String],
}

struct ModelWorld {
    now: Now,
    live: Vec<Process>,
    calls: Vec<Pending>,
    lock: Option<usize>,
    /// The record in the folder, and whose it is.
    folder: Option<(usize, Restart)>,
    all: [Coordinator; COORDINATORS],
    made: u32,
    /// An operator stopped it while no restart was pending, and has not started it since.
    stays_stopped: bool,
    /// The last process ended because an operator stopped it.
    by_operator: bool,
    /// The supervisor says whether a process was asked to stop.
    tells: bool,
    /// An operator has asked this process to stop, and it ends then.
    stopping: Option<(u32, Now)>,
    /// An operator started it, and no look has seen that.
    unseen_start: bool,
    outage: bool,
    paused: bool,
    disk_fails: bool,
    start_fails: bool,
    liar: bool,
    /// A stop has torn creds.json, and its copy has not been put back.
    torn: bool,
    /// Nothing can be put back.
    refuses: bool,
    starts: usize,
    notices: usize,
    /// Extra seconds of calls, and whether they fail.
    choices: Vec<u8>,
    log: Vec<String>,
}

impl std::fmt::Debug for ModelWorld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |state: &Option<Restart>| state.as_ref().map(|state| state.phase);
        let shown = Shown {
            now: self.now.at,
            live: &self.live,
            calls: &self.calls,
            lock: self.lock,
            phases: self
                .all
                .iter()
                .map(|one| [of(&one.alive), of(&one.disk)])
                .collect(),
            log: &self.log[self.log.len().saturating_sub(40)..],
        };
        shown.fmt(f)
    }
}

impl ModelWorld {
    fn new(choices: Vec<u8>) -> Self {
        let first = Process {
            number: 0,
            by_operator: false,
        };
        Self {
            now: Now {
                boot: 1,
                at: SECOND,
            },
            live: vec![first],
            calls: Vec::new(),
            lock: None,
            folder: None,
            all: Default::default(),
            made: 0,
            stays_stopped: false,
            by_operator: false,
            tells: choices.first().is_some_and(|one| one % 2 == 0),
            stopping: None,
            unseen_start: false,
            outage: false,
            paused: false,
            disk_fails: false,
            start_fails: false,
            liar: false,
            torn: false,
            refuses: false,
            starts: 0,
            notices: 0,
            choices,
            log: Vec::new(),
        }
    }

    fn choose(&mut self) -> u8 {
        self.choices.pop().unwrap_or(0)
    }

    fn run_process(&mut self, by_operator: bool) {
        self.by_operator = false;
        // A person decides for themselves.
        self.torn &= !by_operator;
        self.made += 1;
        self.live.push(Process {
            number: self.made,
            by_operator,
        });
    }

    /// Time passes; calls act.
    fn pass(&mut self, span: Duration) {
        let until = self.now.plus(span);
        if let Some((number, at)) = self.stopping
            && until.is_past(Some(at))
        {
            self.stopping = None;
            self.by_operator |= self.live.iter().any(|one| one.number == number);
            self.live.retain(|one| one.number != number);
        }
        loop {
            let due = self
                .calls
                .iter()
                .enumerate()
                .filter(|(_, call)| until.is_past(Some(call.acts_at)))
                .min_by_key(|(_, call)| call.acts_at.at)
                .map(|(at, _)| at);
            let Some(at) = due else { break };
            let call = self.calls.remove(at);
            match call.kind {
                CallKind::Stop => {
                    let before = self.live.len();
                    self.live
                        .retain(|one| call.only.is_some_and(|only| only != one.number));
                    self.by_operator &= self.live.len() == before;
                    self.torn |= self.live.len() < before && self.choose() % 4 == 1;
                }
                CallKind::Start => self.run_process(false),
            }
            assert!(self.live.len() <= 1, "two processes run: {self:#?}");
        }
        self.now = until;
    }

    fn feed(&mut self, who: usize, event: &Event, half: Option<usize>) {
        let Some(state) = self.all[who].alive.clone() else {
            return;
        };
        let (after, effects) = next(&state, event, self.now);
        if after.awaited != state.awaited {
            self.all[who].awaited = None;
        }
        self.all[who].alive = Some(after.clone());
        self.log.push(format!(
            "{:?} {who}: {} {} -> {} {effects:?} {half:?}",
            self.now.at,
            state.phase.label(),
            event.label(),
            after.phase.label()
        ));
        for effect in effects.iter().take(half.unwrap_or(usize::MAX)) {
            self.perform(who, *effect, &after);
        }
        // It was stopped while it was waited for.
        if state.phase == Phase::WaitingForConnection
            && after.phase == Phase::HandedOver(HandedTo::Operator)
        {
            // The stop of another remediator looks like an operator's; that one starts it again.
            assert!(
                self.by_operator || self.other_is_pending(who),
                "its own stop is taken for an operator's: {self:#?}"
            );
            self.stays_stopped |= !self.other_is_pending(who);
        }
        // It ran in the end, and a person was stopping it.
        if after.phase == Phase::RunningNotConnected
            && self.is_stopping()
            && !self.other_is_pending(who)
        {
            self.stays_stopped = true;
        }
        // A person was faster, while the record of an earlier restart was still there.
        if state.phase == Phase::StopIntended
            && after.phase == Phase::HandedOver(HandedTo::Operator)
            && self.by_operator
            && !self.other_is_pending(who)
        {
            self.stays_stopped = true;
        }
        // It was not stopped after all: a person had done so.
        if state.phase == Phase::StopIntended
            && after.phase == Phase::Released
            && (self.live.is_empty() || self.is_stopping())
            && !self.other_is_pending(who)
        {
            self.stays_stopped = true;
        }
        if after.phase.is_final() && half.is_none() {
            self.all[who].alive = None;
            self.all[who].awaited = None;
        }
    }

    fn perform(&mut self, who: usize, effect: Effect, state: &Restart) {
        let (delay, fails) = (self.choose(), self.choose());
        let in_secs = |world: &ModelWorld, n: u64| world.now.plus(SECOND * n as u32);
        match effect {
            Effect::Lock(after) => {
                self.all[who].awaited = Some((effect, self.now.plus(after), true));
            }
            Effect::Unlock => {
                if self.lock == Some(who) {
                    self.lock = None;
                }
            }
            Effect::Persist => {
                let works = !self.disk_fails;
                if works {
                    self.save(who, state);
                }
                self.all[who].awaited = Some((effect, self.now, works));
                if state.phase == Phase::StartIntended {
                    self.all[who].unrecorded = !works;
                }
            }
            Effect::Note => {
                if !self.disk_fails {
                    self.save(who, state);
                    self.all[who].unrecorded = false;
                }
            }
            Effect::Forget => {
                self.all[who].disk = None;
                self.all[who].unrecorded = false;
                if self.lock == Some(who) {
                    self.folder = None;
                }
            }
            Effect::Observe(after, _) => {
                self.all[who].awaited = Some((effect, self.now.plus(after), true));
            }
            Effect::Check => {
                self.all[who].awaited = Some((effect, in_secs(self, u64::from(delay) / 8), true));
            }
            Effect::Stop => {
                let disk = self.all[who]
                    .disk
                    .as_ref()
                    .expect("no stop without a record");
                assert_eq!(disk.run_id, state.run_id);
                assert!(disk.call.is_some(), "no stop before its record is on disk");
                assert_eq!(self.lock, Some(who), "a stop without the lock");
                let runs = self.live.len() == 1 && !self.is_stopping() && !self.outage;
                if runs && delay % 8 == 7 && !self.other_is_pending(who) {
                    self.live.clear();
                    (self.by_operator, self.stays_stopped) = (true, true);
                    self.all[who].stopped_before = true;
                    self.all[who].awaited = Some((effect, self.now, true));
                    return;
                }
                self.call(CallKind::Stop, delay, fails, 900);
                let works = fails % 4 != 0;
                let at = in_secs(self, u64::from(delay) / 4);
                self.all[who].awaited = Some((effect, at, works));
            }
            Effect::Start => {
                self.starts += 1;
                assert!(
                    !self.stays_stopped,
                    "who was stopped by an operator is started: {self:#?}"
                );
                assert_eq!(self.lock, Some(who), "a start without the lock");
                assert!(!self.torn, "started on a torn creds.json: {self:#?}");
                // Late, but never later than its own timeout.
                let latest = 60 + 15;
                if !self.start_fails {
                    self.call(CallKind::Start, delay, fails, latest);
                }
                let works = fails % 4 != 0 && !self.start_fails;
                let at = in_secs(self, u64::from(delay) / 4);
                self.all[who].awaited = Some((effect, at, works));
            }
            Effect::Clean | Effect::PutBackCreds => {
                if effect == Effect::Clean {
                    assert_eq!(self.lock, Some(who), "cleaning without the lock");
                    let ours = self.live.iter().filter(|one| !one.by_operator).count();
                    assert_eq!(ours, 0, "cleaned under a bot: {self:#?}");
                }
                let at = in_secs(self, u64::from(delay));
                self.all[who].awaited = Some((effect, at, fails % 8 != 0));
            }
            Effect::Notify(_) => self.notices += 1,
            Effect::Leave => {
                self.kill(who);
            }
            Effect::BreakOff | Effect::SetDeadline(_) | Effect::Step(_) | Effect::Report(_) => {}
        }
    }

    /// In the journal, and beneath the lock in the folder.
    fn save(&mut self, who: usize, state: &Restart) {
        self.all[who].disk = Some(state.clone());
        if self.lock == Some(who) {
            self.folder = Some((who, state.clone()));
        }
    }

    /// `fails`: lost, in time, or late.
    fn call(&mut self, kind: CallKind, delay: u8, fails: u8, latest: u32) {
        if self.outage || fails % 16 == 1 {
            return;
        }
        let late = match fails % 2 {
            0 if fails != 2 => u32::from(delay) % latest,
            _ => 0,
        };
        // What has returned shows within its time.
        let returns = u32::from(delay) / 4;
        let acts = match kind {
            CallKind::Start if late > returns => returns + late % 10,
            CallKind::Start => late,
            CallKind::Stop => late,
        };
        let acts_at = self.now.plus(SECOND * acts);
        let target = self.live.first().map_or(u32::MAX, |one| one.number);
        let only = (kind == CallKind::Stop && acts > returns).then_some(target);
        self.calls.push(Pending {
            kind,
            acts_at,
            only,
        });
        self.pass(Duration::ZERO);
    }

    /// The awaited result is there.
    fn deliver(&mut self, who: usize, half: Option<usize>) {
        let Some((effect, at, works)) = self.all[who].awaited else {
            return;
        };
        let id = self.all[who]
            .alive
            .as_ref()
            .map_or(0, |state| state.awaited);
        if !self.now.is_past(Some(at)) {
            let wait = at.at.saturating_sub(self.now.at);
            self.pass(wait);
        }
        self.all[who].awaited = None;
        let event = match effect {
            Effect::Lock(_) => match self.lock {
                Some(other) if other != who => Event::LockBusy(id),
                // It was killed, and its call was not.
                _ if self.folder.as_ref().is_some_and(|(other, state)| {
                    *other != who && state.call_may_be_under_way(self.now)
                }) =>
                {
                    Event::LockBusy(id)
                }
                _ => {
                    self.lock = Some(who);
                    Event::Locked(id)
                }
            },
            // It runs, and nothing else is on record.
            Effect::Check => match self.live.len() {
                1 if !self.outage && !self.is_stopping() && self.all[who].disk.is_none() => {
                    Event::Checked(id, CheckResult::Go)
                }
                _ => Event::Checked(id, CheckResult::No),
            },
            Effect::Persist if works => Event::Saved(id),
            Effect::Persist => Event::NotSaved(id),
            Effect::Observe(_, sources) => {
                let seen = match self.live.first() {
                    _ if self.outage => Seen::Unknown,
                    Some(_) if self.is_stopping() => Seen::Changing,
                    Some(process) => Seen::Running(Some(process.number.to_string())),
                    None if self.liar && sources == Sources::Live => Seen::Contradicted,
                    None => Seen::Gone,
                };
                if !self.outage {
                    self.unseen_start = false;
                }
                let connected = match self.live.len() {
                    1 => BTreeSet::from(["a".to_owned(), "b".to_owned()]),
                    _ => BTreeSet::new(),
                };
                let paused = self.paused;
                // Its own stops are stops on request as well.
                let on_request = self.tells && seen == Seen::Gone;
                Event::Looked(
                    id,
                    Look {
                        seen,
                        connected,
                        paused,
                        call_ended: false,
                        on_request,
                        is_retired: false,
                    },
                )
            }
            Effect::Stop if std::mem::take(&mut self.all[who].stopped_before) => {
                Event::Returned(id, Returned::AlreadyStopped)
            }
            Effect::Stop | Effect::Start if works => Event::Returned(id, Returned::Ok),
            Effect::Stop | Effect::Start => Event::Returned(id, Returned::Failed),
            Effect::Clean | Effect::PutBackCreds if self.torn => {
                self.torn = self.refuses || self.outage || !self.live.is_empty();
                match self.torn {
                    true => Event::Torn(id),
                    false => Event::Cleaned(id),
                }
            }
            Effect::Clean | Effect::PutBackCreds if works => Event::Cleaned(id),
            _ => Event::Deadline(id),
        };
        self.feed(who, &event, half);
    }

    fn kill(&mut self, who: usize) {
        self.all[who].stopped_before = false;
        self.all[who].alive = None;
        self.all[who].awaited = None;
        if self.lock == Some(who) {
            self.lock = None;
        }
    }

    /// Reads what is on disk.
    fn resume(&mut self, who: usize) {
        if self.all[who].alive.is_none()
            && let Some(state) = self.all[who].disk.clone()
        {
            let was_waiting = state.phase == Phase::WaitingForConnection;
            self.all[who].alive = Some(state);
            self.feed(who, &Event::OwnRestart, None);
            // It ran after its start, and was not observed since; unless another may have
            // stopped it, which starts it then.
            let is = self.all[who].alive.as_ref().map(|state| state.phase);
            if was_waiting && is == Some(Phase::RunningNotConnected) && !self.other_is_pending(who)
            {
                self.stays_stopped |= self.live.is_empty() || self.is_stopping();
            }
        }
    }

    fn alert(&mut self, who: usize) {
        if self.all[who].alive.is_none() && self.all[who].disk.is_none() {
            let mut state = restart();
            state.run_id = i64::from(self.made) + 100;
            self.all[who].alive = Some(state);
            self.feed(who, &Event::Alert, None);
        }
    }

    /// Whether the process that runs is on its way down for an operator.
    fn is_stopping(&self) -> bool {
        let number = self.live.first().map(|one| one.number);
        self.stopping.is_some_and(|(one, _)| Some(one) == number)
    }

    /// Whether another coordinator's record says that it stopped the bot, or may have.
    fn other_is_pending(&self, who: usize) -> bool {
        self.all.iter().enumerate().any(|(other, one)| {
            let mut states = [&one.alive, &one.disk].into_iter().flatten();
            other != who && states.any(|state| state.phase.is_pending())
        })
    }

    /// Whether a restart has begun that is not over.
    fn is_pending(&self) -> bool {
        self.all.iter().any(|one| match (&one.alive, &one.disk) {
            (Some(alive), _) => alive.phase.is_pending() && alive.phase != Phase::StopIntended,
            (None, Some(disk)) => disk.phase.is_pending(),
            (None, None) => false,
        })
    }

    fn is_starting(&self) -> bool {
        !self.calls.is_empty()
            || self.all.iter().any(|one| {
                [&one.alive, &one.disk].into_iter().flatten().any(|state| {
                    state.call.is_some_and(|call| call.kind == CallKind::Start)
                        || state.phase == Phase::StartIntended
                })
            })
    }

    fn step(&mut self, step: u8) {
        let who = usize::from(step & 1);
        let code = step >> 1;
        if (104..=127).contains(&code) {
            self.log.push(format!("{:?}: world {code}", self.now.at));
        }
        match code {
            0..50 => self.deliver(who, None),
            50..64 => self.alert(who),
            64..76 => self.pass(SECOND * u32::from(step % 16)),
            76..80 => self.pass(SECOND * 100),
            // Killed, also in the middle of what an event has set off.
            80..84 => self.kill_if_recorded(who),
            84..90 if !self.all[who].unrecorded => {
                self.deliver(who, Some(usize::from(step % 4)));
                self.kill_if_recorded(who);
            }
            90..104 => self.resume(who),
            // An operator; not beside a call, nor before the start that `status` shows.
            104..108 if self.live.is_empty() && !self.is_starting() && !self.outage => {
                self.stays_stopped = false;
                self.unseen_start = true;
                self.run_process(true);
            }
            108..112 if self.live.len() == 1 && !self.outage && !self.is_stopping() => {
                self.stays_stopped = !self.is_pending();
                // At once, or after a while.
                match (u32::from(self.choose()) % 4) * 10 {
                    0 => {
                        self.by_operator = true;
                        self.live.clear();
                    }
                    secs => {
                        let number = self.live.first().map_or(u32::MAX, |one| one.number);
                        self.stopping = Some((number, self.now.plus(SECOND * secs)));
                    }
                }
            }
            // What an operator does during an outage is not noticed.
            112..114 if !self.unseen_start => self.outage = true,
            114..118 => self.outage = false,
            118 => self.disk_fails = true,
            119 | 120 => self.disk_fails = false,
            121 => self.paused = !self.paused,
            122 => self.liar = true,
            123 | 124 => self.liar = false,
            125 => self.feed(who, &Event::LockLost, None),
            126 => self.feed(who, &Event::Signal, None),
            127 => self.refuses = !self.refuses,
            _ => {}
        }
        assert!(self.live.len() <= 1, "two processes run: {self:#?}");
    }

    fn kill_if_recorded(&mut self, who: usize) {
        // The start that no disk could record is not forgotten by a kill as well.
        if self.all[who].unrecorded {
            return;
        }
        // The record says that it was stopped for a clean-up, or may have been: the bot is
        // started. What came after it is lost where the disk failed.
        let may_be_ours = |state: &Restart| {
            state.phase.is_pending() && state.phase != Phase::WaitingForConnection
        };
        if self.all[who].disk.as_ref().is_some_and(may_be_ours) {
            self.stays_stopped = false;
        }
        self.kill(who);
    }

    /// From here on everything works, but for what `start_fails` says.
    fn works_for(&mut self, span: Duration) {
        (self.outage, self.paused, self.disk_fails, self.liar) = (false, false, false, false);
        self.refuses = false;
        self.choices.clear();
        let until = self.now.plus(span);
        for _ in 0..200_000 {
            if self.now.is_past(Some(until)) {
                return;
            }
            for who in 0..COORDINATORS {
                self.resume(who);
                // Nothing fails: 2 is neither lost nor late nor failing.
                self.choices = vec![2; 16];
                if self.all[who]
                    .awaited
                    .is_some_and(|(_, at, _)| self.now.is_past(Some(at)))
                {
                    self.deliver(who, None);
                }
            }
            self.pass(LOOK_EVERY);
        }
    }
}

mod tests;
