//! One configuration, and what runs by it. A reload puts another one in its place; what a run,
//! a request or a round of a background task has taken, it keeps until its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Settings, System};
use crate::remediator::pull::Poller;
use crate::remediator::restart::coordinator::RestartCoordinator;
use crate::remediator::runner::Context;

use super::sessions::SessionFinder;
use super::token::TokenFile;

/// One configuration, and what runs by it.
pub(super) struct Configured {
    pub(super) ctx: Context,
    pub(super) restarts: Arc<RestartCoordinator>,
    pub(super) sessions: Arc<SessionFinder>,
    /// The webhook and `POST /-/reload` are off without it.
    pub(super) token: Option<TokenFile>,
    /// Labels that an alert of the webhook must carry.
    pub(super) alert_match: BTreeMap<String, String>,
    /// No Alertmanager is polled without it.
    pub(super) poller: Option<Poller>,
}

impl Configured {
    /// The configuration of the start. Blocks.
    ///
    /// Errors: no source of alerts, no usable token file, or a variable that is not set.
    pub(super) fn new(ctx: Context) -> Result<Self, String> {
        let (token, alert_match, poller) = sources(&ctx.settings)?;
        let configured = Self {
            sessions: Arc::new(SessionFinder::new(&ctx.settings, ctx.clock.clone())),
            restarts: RestartCoordinator::new(ctx.clone()),
            ctx,
            token,
            alert_match,
            poller,
        };
        configured.warn();
        Ok(configured)
    }

    /// The configuration of a reload, which is not in force yet. Blocks.
    ///
    /// Errors: as [`Self::new`]; or the discovery of `former` takes too long.
    pub(super) fn after(former: &Self, settings: Settings) -> Result<Self, String> {
        let (token, alert_match, poller) = sources(&settings)?;
        let sessions = SessionFinder::after(&former.sessions, &settings)?;
        let ctx = former.ctx.with_settings(settings);
        Ok(Self {
            sessions: Arc::new(sessions),
            restarts: former.restarts.successor(ctx.clone()),
            ctx,
            token,
            alert_match,
            poller,
        })
    }

    /// Logs what is allowed and may be a mistake.
    pub(super) fn warn(&self) {
        if let Some(poller) = &self.poller
            && poller.matches().is_empty()
        {
            tracing::warn!(
                "no alertmanager.match is configured: an alert of another host about a session of the same name would act here; with more than one host set alertmanager.match: {{instance: \"{{hostname}}:10273\"}}"
            );
        }
        if !self.ctx.connection.has_sources() {
            tracing::warn!(
                "no connection probe is configured: every clean-up will be refused; see --connection.command"
            );
        }
        for problem in self.ctx.connection.problems() {
            tracing::warn!("{problem}");
        }
        if self.token.is_some() && self.alert_match.is_empty() {
            tracing::warn!(
                "no --webhook.match is configured: an alert from another host for a session of the same name would act here; with more than one host, set --webhook.match=instance=…"
            );
        }
    }
}

/// The webhook's token and labels, and what is polled.
type AlertSources = (Option<TokenFile>, BTreeMap<String, String>, Option<Poller>);

/// Where alerts come from.
fn sources(settings: &Settings) -> Result<AlertSources, String> {
    settings.require_trigger()?;
    let token = settings.token_file.clone();
    let token = token.map(TokenFile::new).transpose()?;
    // The environment has to hold the variables only where the webhook is on.
    let alert_match = match token.is_some() {
        true => settings.alert_match.resolve(&System)?,
        false => BTreeMap::new(),
    };
    let polled = settings.alertmanagers.as_ref();
    let polled = polled.map(|polled| polled.resolve(&System)).transpose()?;
    Ok((token, alert_match, polled.map(Poller::new)))
}
