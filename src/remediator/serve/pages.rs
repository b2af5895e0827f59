//! `/`, `/plan` and `/run`: GET only, a few at a time, and without any effect: a plan page does
//! not even record a sighting.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;

use crate::app::App;
use crate::page_links::PageLinks;
use crate::policy::CleanRequest;
use crate::policy::guard::CleanupMode;
use exporter_toolkit::{self as web, Response};

use super::super::copies::refuse_copy;
use super::super::overview::overview;
use super::super::page::{self, Front};
use super::super::plan_view::PlanView;
use super::super::privileges::{self, Me};
use super::super::runner::{self, blocking};
use super::super::store::StoreError;
use super::super::store::audit::RunKey;
use super::Remediator;
use super::page_cache::Pages;

/// Runs that wait, and alerts without a run, that the front page shows.
const SHOWN: u32 = 50;
/// Runs that the front page folds to fewer rows.
const RUNS_READ: u32 = 500;
/// A plan is shown again without a new look for this long, so that a reader who holds F5
/// does not keep every probe busy.
const PLAN_FOR: Duration = Duration::from_secs(10);
/// Maximum number of plans kept for that.
const MAX_HELD: usize = 32;
/// Time limit of a page, because a file system may hang.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of the permission check of all folders.
const PRIVILEGES_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the permission check is repeated.
const PRIVILEGES_EVERY: Duration = Duration::from_secs(600);

/// Status and text of a page.
type Page = (StatusCode, String);

impl Remediator {
    /// Answers a GET for one of the pages.
    pub(super) async fn page(
        self: &Arc<Self>,
        headers: HeaderMap,
        path: &str,
        query: &str,
    ) -> Response {
        let (remediator, path, query) = (Arc::clone(self), path.to_owned(), query.to_owned());
        let accepted = headers.clone();
        let answer = self.pages.limit.run(async move {
            let (status, page) = match path.as_str() {
                "/plan" => remediator.plan_page(&query).await,
                "/run" => remediator.run_page(&query).await,
                _ => remediator.front_page().await,
            };
            web::html(&accepted, status, page)
        });
        match self.clock.timeout(PAGE_TIMEOUT, answer).await {
            Ok(response) => response,
            Err(_) => {
                let (status, page) = self.sorry(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Timeout: a probe or a file system may hang.",
                );
                web::html(&headers, status, page)
            }
        }
    }

    /// A page with a message.
    fn sorry(&self, status: StatusCode, text: &str) -> Page {
        let current = self.current();
        let settings = &current.ctx.settings;
        let links = PageLinks::new(&settings.pages, &settings.rules);
        (status, page::message("baileys_remediator", text, &links))
    }

    async fn front_page(self: &Arc<Self>) -> Page {
        let remediator = Arc::clone(self);
        let current = self.current();
        let front = self.with_store(move |store| {
            let known = current.sessions.known().into_iter();
            let sessions: Vec<_> = known.map(|found| found.session).collect();
            let (settings, now) = (&current.ctx.settings, remediator.moment());
            Ok::<_, StoreError>(Front {
                overview: overview(settings, store, &sessions, now)?,
                sessions: sessions.iter().map(ToString::to_string).collect(),
                waiting: store.audit().waiting(SHOWN)?,
                runs: store.audit().recent(RUNS_READ)?,
                unstarted: store.unstarted().recent(SHOWN)?,
                privileges: remediator
                    .pages
                    .privileges
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone()
                    .unwrap_or_default(),
            })
        });
        match front.await {
            Ok(front) => {
                let current = self.current();
                let settings = &current.ctx.settings;
                let links = PageLinks::new(&settings.pages, &settings.rules);
                (StatusCode::OK, page::front(&front, self.now(), &links))
            }
            Err(error) => {
                tracing::error!("failed to build the front page: {error}");
                self.sorry(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The journal cannot be read; see the log.",
                )
            }
        }
    }

    async fn run_page(self: &Arc<Self>, query: &str) -> Page {
        let Some(id) = parameter(query, "id").and_then(|id| id.parse().ok()) else {
            return self.sorry(
                StatusCode::BAD_REQUEST,
                "Which run? Open this page from the list of runs.",
            );
        };
        match self
            .with_store(move |store| store.audit().show(&RunKey::Id(id)))
            .await
        {
            Ok(Some(record)) => {
                let current = self.current();
                let settings = &current.ctx.settings;
                let links = PageLinks::new(&settings.pages, &settings.rules);
                (StatusCode::OK, page::run(&record, &links))
            }
            Ok(None) => self.sorry(
                StatusCode::NOT_FOUND,
                "There is no record of this run (any more).",
            ),
            Err(error) => {
                tracing::error!("failed to build the page of a run: {error}");
                self.sorry(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The journal cannot be read; see the log.",
                )
            }
        }
    }

    async fn plan_page(self: &Arc<Self>, query: &str) -> Page {
        let Some(session) = parameter(query, "session") else {
            return self.sorry(
                StatusCode::BAD_REQUEST,
                "Which session? Open this page from the list of sessions.",
            );
        };
        let held = |pages: &Pages| {
            let mut plans = pages.plans.lock().unwrap_or_else(PoisonError::into_inner);
            plans.retain(|_, (at, _)| self.clock.since(*at) < PLAN_FOR);
            plans.get(&session).map(|(_, page)| page.clone())
        };
        if let Some(page) = held(&self.pages) {
            return (StatusCode::OK, page);
        }
        let current = self.current();
        let found = match current.sessions.find(session.clone()).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                return self.sorry(StatusCode::NOT_FOUND, "There is no session with this name.");
            }
            Err(_) => {
                return self.sorry(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Looking for the sessions takes too long.",
                );
            }
        };
        if current.sessions.is_duplicate(&session) {
            return self.sorry(
                StatusCode::CONFLICT,
                "Several folders have this name; the log names them.",
            );
        }
        let app = App {
            connection: current.ctx.connection.clone().without_remembering(),
            ..current.ctx.app()
        };
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: None,
            force: None,
        };
        let (verdict, plan) = runner::preview(&app, &found, ask).await;
        let copy = refuse_copy(&found, current.sessions.known(), self.now()).await;
        let plan = copy.and(plan);
        let view = PlanView::new(&session, &verdict, plan.as_ref());
        let settings = &current.ctx.settings;
        let links = PageLinks::new(&settings.pages, &settings.rules);
        let page = page::plan(&view, self.now(), &links);
        let mut plans = self
            .pages
            .plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if plans.len() < MAX_HELD && Arc::ptr_eq(&current, &self.current()) {
            plans.insert(session, (self.clock.now(), page.clone()));
        }
        (StatusCode::OK, page)
    }

    /// Repeats the permission check, and after each reload: a mount or a mode may change while
    /// this runs.
    pub(super) async fn check_privileges_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        let mut reloaded = self.reloaded.subscribe();
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.check_privileges() => {}
            }
            tokio::select! {
                _ = stopping.changed() => return,
                _ = reloaded.changed() => {}
                () = self.clock.sleep(PRIVILEGES_EVERY) => {}
            }
        }
    }

    /// Logs the entries of `processes` that match no session, and the sources that answer for
    /// several, if they are others than before.
    fn log_unused(&self, unused: Vec<String>) {
        let logged = &self.pages.unused;
        let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != unused {
            unused.iter().for_each(|entry| tracing::warn!("{entry}"));
            *logged = unused;
        }
    }

    /// Logs the result of the permission check, if it is another one than before: one line for
    /// each finding, however many sessions have it.
    pub(super) async fn check_privileges(self: &Arc<Self>) {
        if self.pages.is_checking.swap(true, Ordering::Relaxed) {
            return; // The former one hangs.
        }
        let current = self.current();
        let sessions = current.sessions.all().await;
        let skipped = current.sessions.skipped();
        let settings = Arc::clone(&current.ctx.settings);
        let count = sessions.len();
        let mut entries = settings
            .services
            .unused(sessions.iter().map(|found| &found.session));
        let shared = Arc::clone(&settings);
        entries.extend(blocking(move || shared.shared_sources()).await);
        self.log_unused(entries);
        let remediator = Arc::clone(self);
        let looked = blocking(move || {
            let me = Me::now();
            let of_program = privileges::program(&settings, &me);
            let mut findings: Vec<_> = of_program
                .into_iter()
                .chain(privileges::paths(&skipped))
                .map(|finding| (None, finding))
                .collect();
            let is_problem = |weight| weight == privileges::Weight::Problem;
            let mut problems = findings
                .iter()
                .filter(|(_, f)| is_problem(f.weight))
                .count();
            for found in &sessions {
                let here = match privileges::look(&found.place, false) {
                    Ok(facts) => {
                        let is_stopped = privileges::is_stopped(&settings, &found.session);
                        privileges::judge(&facts, &me, is_stopped)
                    }
                    Err(why) => vec![privileges::closed(&found.place, &why)],
                };
                problems += usize::from(here.iter().any(|f| is_problem(f.weight)));
                findings.extend(
                    here.into_iter()
                        .map(|finding| (Some(found.session.to_string()), finding)),
                );
            }
            remediator.pages.is_checking.store(false, Ordering::Relaxed);
            (privileges::grouped(findings), problems)
        });
        let Ok((groups, problems)) = self.clock.timeout(PRIVILEGES_TIMEOUT, looked).await else {
            tracing::warn!("timeout: the permission check takes too long; a file system may hang");
            return;
        };
        self.live
            .permission_problems
            .store(problems as u64, Ordering::Relaxed);
        let before = self
            .pages
            .privileges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(groups.clone());
        if before.as_ref() == Some(&groups) {
            return;
        }
        for group in &groups {
            tracing::warn!(
                check = group.finding.check,
                sessions = group.sessions.len(),
                subject = group.subject(),
                fix = group.finding.fix,
                "{}",
                group.finding.message
            );
        }
        if problems == 0 {
            tracing::info!(folders = count, "permission check passed");
        } else {
            tracing::warn!(folders = count, problems, "permission check failed");
        }
    }
}

/// The value of a query's parameter.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?;
    percent_decode_str(&pair.1.replace('+', " "))
        .decode_utf8()
        .ok()
        .map(|value| value.into_owned())
}

#[cfg(test)]
mod tests;
