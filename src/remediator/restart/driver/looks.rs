//! What the driver queries: the supervisor, the sources of the verdict, the records, the pause.

use std::collections::BTreeSet;
use std::time::Duration;

use clock::Clock;
use supervisor::Query;

use crate::connection::State;
use crate::control::{Observation, Observed, Presence, RestartObstacle, Service};
use crate::folder::{Found, Timestamp};
use crate::remediator::quarantine::Halt;
use crate::remediator::restart::coordinator::HALTS_WITHIN;
use crate::remediator::restart::folder_record;
use crate::remediator::restart::machine::{ASKED_WITHIN, CALL_MARGIN, GRACE, PERSIST_WITHIN};
use crate::remediator::restart::state::{Now, RestartId, Seen, Sources};
use crate::remediator::runner::{self, Context, blocking};
use crate::remediator::store::StoreError;
use crate::remediator::store::clock::boot_id;

/// A supervisor has this long to say whether its process runs: its own time limit, and a margin.
pub(in crate::remediator::restart) const OBSERVED_WITHIN: Duration =
    ASKED_WITHIN.saturating_add(CALL_MARGIN);
/// Sessions that are checked at the same time.
const AT_ONCE: usize = 8;

/// The clock of the state machine.
pub fn now(clock: &Clock) -> Now {
    Now {
        boot: boot_id(),
        at: clock.boot(),
    }
}

/// Ends all moves: no file moves after this.
pub(in crate::remediator::restart) async fn end_moves(clock: &Clock, halt: &Halt) {
    halt.halt();
    let halt = halt.clone();
    let ended = clock.timeout(HALTS_WITHIN, blocking(move || halt.wait()));
    if ended.await.is_err() {
        tracing::error!(
            "timeout: a move hangs in the file system; no other move follows, and the service is started"
        );
    }
}

/// The answer of its supervisor; unknown on a timeout.
pub(in crate::remediator::restart) async fn observe(
    clock: &Clock,
    service: &Service,
) -> Observation {
    ask(clock, service).await.observation
}

async fn ask(clock: &Clock, service: &Service) -> Observed {
    let query = Query::default();
    let asked = clock.timeout(OBSERVED_WITHIN, service.observe(&query));
    asked.await.unwrap_or_else(|_| {
        Observation::Unknown("timeout: its supervisor did not answer".into()).into()
    })
}

/// What certainly stands in the way of a stop and a start of the service.
pub(in crate::remediator::restart) async fn restart_obstacle(
    clock: &Clock,
    service: &Service,
) -> Option<RestartObstacle> {
    let query = Query::default();
    let check = service.check_restart(&query);
    clock.timeout(OBSERVED_WITHIN, check).await.ok().flatten()
}

/// What the supervisor says about the process.
pub(super) struct SeenService {
    pub(super) seen: Seen,
    /// See [`Look::on_request`](crate::remediator::restart::state::Look::on_request).
    pub(super) on_request: bool,
    /// Its supervisor has no such process.
    pub(super) is_absent: bool,
    /// Why that is unclear.
    pub(super) why: String,
}

impl SeenService {
    fn new(seen: Seen, why: String) -> Self {
        Self {
            seen,
            on_request: false,
            is_absent: false,
            why,
        }
    }
}

pub(super) async fn seen(
    ctx: &Context,
    service: Option<&Service>,
    sources: Sources,
    sessions: &[Found],
) -> SeenService {
    let Some(service) = service else {
        let why = "the configuration does not name it";
        return SeenService::new(Seen::Unknown, why.into());
    };
    let answer = ask(&ctx.clock, service).await;
    let (is_absent, observed) = (answer.is_absent(), answer.observation);
    let is_unsettled = matches!(observed, Observation::Gone { .. } | Observation::Unknown(_));
    if sources == Sources::Live
        && is_unsettled
        && let Some(says) = who_is_alive(ctx, sessions).await
    {
        return SeenService::new(Seen::Contradicted, says);
    }
    match observed {
        Observation::Running { mark, .. } => SeenService::new(Seen::Running(mark), String::new()),
        Observation::Changing(why) => SeenService::new(Seen::Changing, why),
        Observation::Gone { on_request, .. } => SeenService {
            on_request,
            ..SeenService::new(Seen::Gone, String::new())
        },
        Observation::Unknown(why) => SeenService {
            is_absent,
            ..SeenService::new(Seen::Unknown, why)
        },
    }
}

/// Whether a call of another restart, or of an operator's command, may be under way for one of
/// these, by the record in its folder. A folder that does not answer in time says nothing. `own`:
/// the restart that asks, whose own call does not count.
pub(in crate::remediator::restart) async fn other_call_may_be_under_way(
    clock: &Clock,
    sessions: Vec<Found>,
    own: Option<RestartId>,
) -> bool {
    let now = now(clock);
    let read = blocking(move || {
        sessions
            .iter()
            .any(|found| folder_record::other_call_may_be_under_way(found, own.as_ref(), now))
    });
    clock.timeout(GRACE, read).await.unwrap_or(false)
}

/// Whether it runs.
pub(in crate::remediator::restart) async fn presence(clock: &Clock, service: &Service) -> Presence {
    observe(clock, service).await.presence()
}

/// A live source that reports one of these sessions as connected: which session, and what the
/// source says.
pub(in crate::remediator::restart) async fn who_is_alive(
    ctx: &Context,
    sessions: &[Found],
) -> Option<String> {
    let asked = async {
        // All at once, so that a connected session does not wait for hung ones.
        let mut looks = tokio::task::JoinSet::new();
        for found in sessions.iter().cloned() {
            let ctx = ctx.clone();
            looks.spawn(async move {
                let asked = ctx.connection.ask(&found.session).await;
                let says = asked.who_sees_it_alive()?;
                Some(format!("{}: {says}", found.session))
            });
        }
        while let Some(says) = looks.join_next().await {
            if let Ok(Some(says)) = says {
                return Some(says);
            }
        }
        None
    };
    ctx.clock.timeout(GRACE, asked).await.ok().flatten()
}

/// Which of these sessions have connected since the given times, or are connected.
pub(super) async fn who_is_back(
    ctx: &Context,
    asked: Vec<(Found, Option<Timestamp>)>,
) -> BTreeSet<String> {
    let mut back = BTreeSet::new();
    for some in asked.chunks(AT_ONCE) {
        let mut looks = tokio::task::JoinSet::new();
        for (found, since) in some.iter().cloned() {
            let ctx = ctx.clone();
            looks.spawn(async move {
                let is_back = is_back(&ctx, &found, since).await;
                is_back.then(|| found.session.to_string())
            });
        }
        while let Some(looked) = looks.join_next().await {
            back.extend(looked.ok().flatten());
        }
    }
    back
}

pub(super) async fn is_paused(ctx: &Context) -> bool {
    let asked =
        ctx.with_store(|store| Ok::<_, StoreError>(store.pause().state()?.paused.is_some()));
    matches!(ctx.clock.timeout(PERSIST_WITHIN, asked).await, Ok(Ok(true)))
}

/// Whether a session has connected since that time; without one, whether it is connected.
async fn is_back(ctx: &Context, found: &Found, since: Option<Timestamp>) -> bool {
    let connection = &ctx.connection;
    let asked = connection.ask(&found.session).await;
    match runner::look(found).await {
        Ok(inventory) => match since {
            Some(since) => connection.is_back(asked, &inventory, since),
            None => connection.judge(asked, &inventory).state == State::Connected,
        },
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
