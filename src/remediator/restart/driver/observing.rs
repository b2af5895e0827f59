//! The look of a driver.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::folder::{Found, Timestamp};
use crate::remediator::restart::machine::LOOK_EVERY;
use crate::remediator::restart::state::{Event, Forbids, HandedTo, Look, Phase, Seen, Sources};

use super::effect_output::EffectOutput;
use super::looks::{self, is_paused, who_is_back};
use super::{Driver, call_lock, folders, locks};

impl Driver {
    pub(super) fn observe(&mut self, id: u64, after: Duration, sources: Sources) {
        let service = self.service.clone();
        let (ctx, sessions) = (self.ctx().clone(), self.sessions.clone());
        let since = self.state.connects_after().map(Timestamp::from_nanos);
        let waiting: Vec<(Found, Option<Timestamp>)> = self
            .state
            .waiting
            .iter()
            .filter(|one| one.seen < 2)
            .filter_map(|one| {
                let found = self
                    .known
                    .iter()
                    .find(|found| found.session.as_str() == one.session)?;
                Some((found.clone(), since))
            })
            .collect();
        let (state, coordinator) = (self.state.clone(), Arc::clone(&self.coordinator));
        let (folders, protected) = (self.folders.clone(), self.folders_of_the_process());
        self.await_task(async move {
            let (phase, again) = (state.phase, state.again);
            let late = state.waiting.clone();
            ctx.clock.sleep(after).await;
            if phase == Phase::StopIntended
                && !locks::still_protect(&ctx.clock, folders, &protected).await
            {
                return (Event::LockLost, EffectOutput::None);
            }
            let state_path = ctx.settings.state_path.clone();
            let call_ended = match phase {
                Phase::StopUnknown | Phase::StartUnknown => {
                    call_lock::has_ended_within(&ctx.clock, state_path, state).await
                }
                _ => false,
            };
            let mut seen = looks::seen(&ctx, service.as_ref(), sources, &sessions).await;
            let asks = sources == Sources::Connection
                && (matches!(seen.seen, Seen::Running(_) | Seen::Changing)
                    || matches!(
                        phase,
                        Phase::RunningNotConnected
                            | Phase::HandedOver(HandedTo::Config(Forbids::Removed))
                    ));
            let mut connected = BTreeSet::new();
            if asks {
                let began = ctx.clock.now();
                connected = who_is_back(&ctx, waiting).await;
                // The process may have ended meanwhile.
                if ctx.clock.since(began) > LOOK_EVERY {
                    seen = looks::seen(&ctx, service.as_ref(), sources, &sessions).await;
                }
            }
            let paused = match phase {
                Phase::Down | Phase::HandedOver(HandedTo::Pause) => is_paused(&ctx).await,
                Phase::WaitingForConnection => seen.seen == Seen::Gone && is_paused(&ctx).await,
                Phase::StartIntended if again > 0 => is_paused(&ctx).await,
                _ => false,
            };
            let is_retired = seen.is_absent
                && may_be_retired(phase)
                && folders::are_gone(&coordinator, &late).await;
            let look = Look {
                seen: seen.seen,
                connected,
                paused,
                call_ended,
                on_request: seen.on_request,
                is_retired,
            };
            (Event::Looked(id, look), EffectOutput::Looked(seen.why))
        });
    }
}

/// In these phases its start is due, and is not made while its supervisor does not know it.
fn may_be_retired(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Down
            | Phase::StartUnknown
            | Phase::HandedOver(HandedTo::Pause | HandedTo::Config(Forbids::NotAllowed))
    )
}
