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
        if self.ctx.settings.trigger != TriggerSource::Local {
            return;
        }
        tracing::info!(
            "the trigger is local: the tiers are evaluated on the folders, and no alert is accepted"
        );
        let mut evaluating = Evaluating {
            reader: None,
            ladder: Ladder::default(),
            began: self.ctx.clock.now(),
            unstarted: Unstarted::new(),
        };
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.evaluate(&mut evaluating) => {}
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.ctx.clock.sleep(EVALUATE_EVERY) => {}
            }
        }
    }

    async fn evaluate(self: &Arc<Self>, evaluating: &mut Evaluating) {
        let found = self.look_around().await;
        let mut reader = evaluating.reader.take().unwrap_or_else(|| {
            FolderReader::new(Arc::clone(&self.ctx.settings), self.ctx.clock.clone())
        });
        let (reader, readings) = blocking(move || {
            let readings = reader.read(&found);
            (reader, readings)
        })
        .await;
        evaluating.reader = Some(reader);
        let now = self.ctx.clock.since(evaluating.began);
        let standings = evaluating.ladder.evaluate(now, &readings);
        self.standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&standings);
        let armed = match self.ctx.ask(|store| store.armed().all()).await {
            Ok(armed) => armed,
            Err(error) => return tracing::error!("failed to load the armed runs: {error}"),
        };
        let armed: Vec<_> = armed
            .into_iter()
            .map(|run| (run.session, run.action))
            .collect();
        let asked = local::ask(&standings, &armed, self.ctx.now());
        let intake = Intake {
            wanted: asked.wanted,
            suppressed: asked.suppressed,
            over: asked.over,
        };
        self.record(intake, &mut evaluating.unstarted).await;
        let unread = readings
            .iter()
            .filter(|reading| reading.accumulated.is_none());
        self.live.evaluated(self.ctx.now(), unread.count());
    }
}
