//! Polls the Alertmanagers, and puts on record what they answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::remediator::pull::merge::Absences;
use crate::remediator::pull::{Poll, PollError, Poller};
use crate::remediator::store::queue::{Request, Via};

use super::Remediator;
use super::configured::Configured;
use super::intake::{Intake, Unstarted};

/// Polls after which the alerts of all hosts are requested, while there is none of this host.
const ALL_HOSTS_EVERY: u32 = 20;

/// What is known from one poll to the next.
struct Polling {
    /// Of the last poll.
    poller: Poller,
    is_beside_the_webhook: bool,
    absences: Absences,
    polls: u32,
    /// Polls in a row in which an Alertmanager was busy.
    busy: u32,
    /// Whether any Alertmanager answered.
    was_up: Option<bool>,
    /// Alerts that started no run, as of the last poll: each is logged once.
    unstarted: Unstarted,
}

impl Polling {
    fn new(current: &Configured, poller: &Poller) -> Self {
        let is_beside_the_webhook = current.token.is_some();
        Self {
            poller: poller.clone(),
            is_beside_the_webhook,
            absences: match is_beside_the_webhook {
                true => Absences::beside_the_webhook(),
                false => Absences::default(),
            },
            polls: 0,
            busy: 0,
            was_up: None,
            unstarted: Unstarted::new(),
        }
    }

    /// Applies a new configuration. Where it names other Alertmanagers or labels, earlier absences
    /// do not count.
    fn take_up(&mut self, current: &Configured, poller: &Poller) {
        let is_same =
            self.poller.asks_like(poller) && self.is_beside_the_webhook == current.token.is_some();
        match is_same {
            true => self.poller = poller.clone(),
            false => *self = Self::new(current, poller),
        }
    }
}

impl Remediator {
    /// Polls the configured Alertmanagers until the end.
    pub(super) async fn poll_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        let mut reloaded = self.reloaded.subscribe();
        let mut polling: Option<Polling> = None;
        loop {
            let current = self.current();
            let pause = match (&current.poller, &polling) {
                (None, _) => None,
                (Some(poller), None) => Some(poller.first_pause(random())),
                (Some(poller), Some(polling)) => Some(poller.pause(polling.busy, random())),
            };
            let names = current.poller.as_ref().map(Poller::names);
            self.live.polls(names.unwrap_or_default());
            let pause = async {
                match pause {
                    Some(pause) => self.clock.sleep(pause).await,
                    None => drop(reloaded.changed().await),
                }
            };
            tokio::select! {
                _ = stopping.changed() => return,
                () = pause => {}
            }
            let current = self.current();
            let Some(poller) = &current.poller else {
                polling = None;
                self.live.others.store(0, Ordering::Relaxed);
                continue;
            };
            let polling = polling.get_or_insert_with(|| Polling::new(&current, poller));
            polling.take_up(&current, poller);
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.poll(&current, polling) => {}
            }
            polling.polls = polling.polls.wrapping_add(1);
        }
    }

    async fn poll(self: &Arc<Self>, current: &Arc<Configured>, polling: &mut Polling) {
        let answers = polling.poller.poll(false).await;
        self.note_answers(polling, &answers);
        let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
        let armed = match self.with_store(|store| store.armed().all()).await {
            Ok(armed) => armed,
            Err(error) => return tracing::error!("failed to load the armed runs: {error}"),
        };
        let armed: Vec<_> = armed
            .into_iter()
            .map(|run| (run.session, run.action))
            .collect();
        let matches = polling.poller.matches();
        let merged = polling.absences.merge(&answers, matches, &armed);
        if merged.own > 0 {
            self.live.others.store(0, Ordering::Relaxed);
        } else if !matches.is_empty() && polling.polls.is_multiple_of(ALL_HOSTS_EVERY) {
            self.note_other_hosts(&polling.poller).await;
        }
        let via = |request| Request {
            via: Via {
                receiver: "poll".into(),
                group_key: String::new(),
            },
            ..request
        };
        let intake = Intake {
            wanted: merged.active.into_iter().map(via).collect(),
            suppressed: merged.suppressed,
            over: merged.gone,
        };
        self.record(current, intake, &mut polling.unstarted).await;
    }

    /// Metric and log: which Alertmanagers answer.
    fn note_answers(&self, polling: &mut Polling, answers: &Poll) {
        for (name, answer) in polling.poller.names().iter().zip(answers) {
            let is_new = self.live.alertmanager(name, answer.is_ok());
            match answer {
                Ok(_) if is_new => tracing::info!(alertmanager = name, "Alertmanager answers"),
                Ok(_) => {}
                Err(error) if is_new => {
                    tracing::warn!(alertmanager = name, "polling failed: {error}");
                }
                Err(error) => tracing::debug!(alertmanager = name, "polling failed: {error}"),
            }
        }
        let mut errors = answers.iter().filter_map(|answer| answer.as_ref().err());
        polling.busy = match errors.any(PollError::is_busy) {
            true => polling.busy.saturating_add(1),
            false => 0,
        };
        let is_up = answers.iter().any(Result::is_ok);
        match (polling.was_up, is_up) {
            (Some(true) | None, false) => tracing::error!(
                "no Alertmanager answers: until one does, no polled alert can ask for a clean-up; check alertmanager.urls and the network"
            ),
            (Some(false), true) => tracing::info!("an Alertmanager answers again"),
            _ => {}
        }
        polling.was_up = Some(is_up);
    }

    /// Says so if there are alerts of the ladder and none has this host's labels: the match
    /// may be wrong.
    async fn note_other_hosts(&self, poller: &Poller) {
        let answers = poller.poll(true).await;
        if !answers.iter().any(Result::is_ok) {
            return;
        }
        let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
        let seen = Absences::default().merge(&answers, poller.matches(), &[]);
        let others = match seen.own {
            0 => seen.others as u64,
            _ => 0,
        };
        if self.live.others.swap(others, Ordering::Relaxed) == 0 && others > 0 {
            tracing::warn!(
                alerts = others,
                labels = poller.matches_text(),
                "there are alerts about auth folders, and none has the labels of this host: correct alertmanager.match, unless they are all about other hosts"
            );
        }
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 2];
    // Without it all hosts may poll at the same time, and that is all.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests;
