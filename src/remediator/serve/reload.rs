//! SIGHUP and `POST /-/reload`: reads the configuration again. A run or a restart that is under
//! way keeps the configuration that it began with.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use exporter_toolkit::{self as web, Response};
use hyper::{HeaderMap, Method, Request as HttpRequest, StatusCode};

use crate::config::Settings;
use crate::control::Services;
use crate::folder::SessionName;
use crate::reload::{Asker, require_same_file};
use crate::remediator::runner::blocking;

use super::Remediator;
use super::configured::Configured;

/// Time limit of a reload: a file system may hang.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

impl Remediator {
    /// The configuration in force.
    pub(super) fn current(&self) -> Arc<Configured> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the configuration again. After a failure the former one stays in force.
    ///
    /// Errors: what is wrong with it, or why it cannot be put in force now; without a secret.
    pub async fn reload(self: &Arc<Self>) -> Result<(), String> {
        let loaded = self.clock.timeout(RELOAD_TIMEOUT, self.take_up()).await;
        let loaded = loaded.unwrap_or_else(|_| {
            Err("timeout while loading the configuration; a file system may hang".into())
        });
        self.reloads.note(&loaded);
        loaded
    }

    async fn take_up(self: &Arc<Self>) -> Result<(), String> {
        // One after the other, so that the latest file is the last to be put in force. A load
        // that hangs keeps its turn, so that no more than one thread hangs.
        let turn = Arc::clone(&self.reloading).lock_owned().await;
        let remediator = Arc::clone(self);
        let (_turn, loaded) = blocking(move || {
            let former = remediator.current();
            (turn, remediator.load(&former).map(|next| (former, next)))
        })
        .await;
        let (former, next) = loaded?;
        let restarts = self.with_store(|store| store.restarts().all()).await;
        let restarts = restarts.map_err(|error| error.to_string())?;
        let pending = restarts.iter().filter(|restart| restart.phase.is_pending());
        let pending: BTreeSet<String> = pending.map(|restart| restart.service.clone()).collect();
        let waiting = restarts.iter().flat_map(|restart| {
            let waiting = restart.waiting.iter().map(|one| &one.session);
            waiting.chain([&restart.session])
        });
        let waiting = waiting.map(|name| SessionName::from_text(name));
        let known = former
            .sessions
            .known()
            .into_iter()
            .chain(next.sessions.known());
        let sessions: BTreeSet<SessionName> =
            known.map(|found| found.session).chain(waiting).collect();
        let (from, to) = (&former.ctx.settings.services, &next.ctx.settings.services);
        next.restarts.put_in_force(&former.restarts, |leased| {
            keeps_services(from, to, &sessions, &pending, leased)
        })?;
        let next = Arc::new(next);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        next.warn();
        self.pages.forget_plans();
        self.reloaded.send_replace(());
        self.wake.notify_waiters();
        Ok(())
    }

    /// Reads the configuration, and builds what runs by it. Blocks.
    fn load(&self, former: &Configured) -> Result<Configured, String> {
        let settings = (self.load)()?;
        require_same_file(&former.ctx.settings, &settings)?;
        needs_no_restart(&former.ctx.settings, &settings)?;
        Configured::after(former, settings)
    }

    /// Answers `/-/reload`.
    pub(super) async fn answer_reload<B>(self: &Arc<Self>, request: &HttpRequest<B>) -> Response {
        if request.method() != Method::POST {
            return web::method_not_allowed(&[Method::POST]);
        }
        if let Some(refusal) = web::refuse_foreign(request) {
            return refusal;
        }
        if let Err(refusal) = self.authorize_reload(request.headers()).await {
            return refusal;
        }
        let remediator = Arc::clone(self);
        let reload = async move { remediator.reload().await };
        self.reloads.answer(Asker::Authenticated, reload).await
    }

    async fn authorize_reload(&self, headers: &HeaderMap) -> Result<(), Response> {
        let current = self.current();
        let Some(token) = &current.token else {
            return Err(web::text(
                StatusCode::FORBIDDEN,
                "reloading by HTTP is off: no --webhook.token-file is configured; send SIGHUP (systemctl reload)\n",
            ));
        };
        self.authorize(token, headers, &self.reload_refusals).await
    }
}

/// What only a start can change stays as it is.
///
/// Errors: a sentence that names the key.
fn needs_no_restart(former: &Settings, new: &Settings) -> Result<(), String> {
    if former.state_path != new.state_path {
        return Err("state.path changes only with a restart".into());
    }
    if former.trigger != new.trigger {
        return Err("trigger changes only with a restart".into());
    }
    Ok(())
}

/// A service that this program has stopped, or is about to stop, must be startable under the same
/// name. `pending` are those on record, `leased` those that are being restarted now. An entry
/// that `from` does not have either, is not required.
///
/// Errors: a sentence that names the service.
fn keeps_services(
    from: &Services,
    to: &Services,
    sessions: &BTreeSet<SessionName>,
    pending: &BTreeSet<String>,
    leased: &BTreeSet<String>,
) -> Result<(), String> {
    for session in sessions {
        let Some(service) = from.of(session) else {
            continue;
        };
        let is_busy = pending.contains(&service.name) || leased.contains(&service.name);
        let stays = || to.of(session).is_some_and(|to| to.name == service.name);
        if is_busy && !stays() {
            return Err(format!(
                "processes: service {} has a pending restart, and its session {session} would lose its entry with allow_restart: true, or have another `name`; reload once its bot is back, or restart baileys_remediator",
                service.name
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
