//! The local trigger: evaluates the ladder on the live folders.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::config::TriggerSource;
use crate::policy::ladder::{EVALUATE_EVERY, Ladder};
use crate::remediator::local::{self, FolderReader};
use crate::remediator::runner::blocking;

use super::Remediator;
use super::intake::{Intake, Unstarted};

/// What is known from one evaluation to the next.
struct Evaluating {
    /// `None` only while it reads.
    reader: Option<FolderReader>,
    ladder: Ladder,
    began: Instant,
    unstarted: Unstarted,
}

impl Remediator {
    /// With `--trigger=local`: evaluates the ladder until the end.
    pub(super) async fn evaluate_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        // A reload does not change it.
        if self.current().ctx.settings.trigger != TriggerSource::Local {
            return;
        }
        tracing::info!(
            "the trigger is local: the tiers are evaluated on the folders, and no alert is accepted"
        );
        let mut evaluating = Evaluating {
            reader: None,
            ladder: Ladder::default(),
            began: self.clock.now(),
            unstarted: Unstarted::new(),
        };
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.evaluate(&mut evaluating) => {}
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.clock.sleep(EVALUATE_EVERY) => {}
            }
        }
    }

    async fn evaluate(self: &Arc<Self>, evaluating: &mut Evaluating) {
        let current = self.current();
        let found = current.sessions.look_around().await;
        let reader = evaluating.reader.take();
        let mut reader = reader.unwrap_or_else(|| FolderReader::new(self.clock.clone()));
        let settings = Arc::clone(&current.ctx.settings);
        let (reader, readings) = blocking(move || {
            let readings = reader.read(&settings, &found);
            (reader, readings)
        })
        .await;
        evaluating.reader = Some(reader);
        let now = self.clock.since(evaluating.began);
        let tier_statuses = evaluating.ladder.evaluate(now, &readings);
        self.tier_statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&tier_statuses);
        let armed = match self.with_store(|store| store.armed().all()).await {
            Ok(armed) => armed,
            Err(error) => return tracing::error!("failed to load the armed runs: {error}"),
        };
        let armed: Vec<_> = armed
            .into_iter()
            .map(|run| (run.session, run.action))
            .collect();
        let asked = local::requests_of(&tier_statuses, &armed, self.now());
        let intake = Intake {
            wanted: asked.wanted,
            suppressed: asked.suppressed,
            over: asked.over,
        };
        self.record(&current, intake, &mut evaluating.unstarted)
            .await;
        let unread = readings
            .iter()
            .filter(|reading| reading.accumulated.is_none());
        self.live.evaluated(self.now(), unread.count());
    }
}
