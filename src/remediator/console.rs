//! The operator's commands: `plan`, `clean`, `undo`, `runs`, `doctor`. They share every guard, the
//! journal and the locks with `serve`.

use std::io::{BufRead, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use tokio::task::block_in_place;

use crate::cli::{complain, defer_signals, print, table};
use clock::Clock;

use crate::app::App;
use crate::config::Settings;
use crate::connection::{Recent, State, Verdict};
use crate::folder::{Found, SessionName, Timestamp};
use crate::policy::guard::CleanupMode;
use crate::policy::{CleanRequest, Force, Plan};

use super::copies::refuse_copy;
use super::insurance::store::limits_of;
use super::outcome::{self, RunError, RunResult};
use super::plan_view::{PlanResult, PlanView};
use super::quarantine::{Obstacle, QuarantineName, look_up};
use super::restart::operator::pending_restart_of;
use super::runner::{self, Context};
use super::store::audit::{RunFilter, RunKey};
use super::store::runs::{Action, Ending, Run, Status};
use super::store::{self, Store};

mod alertmanagers;
mod bulk;
mod doctor;
mod notify;
mod privileges;
mod record;

pub use self::bulk::clean_many;
pub use self::doctor::{DoctorOptions, doctor};
pub use self::notify::test_notify;
pub use super::outcome::Exit;
pub use record::show;

/// Output format of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Human-readable table.
    Table,
    /// Machine-readable JSON.
    Json,
}

/// Options of `clean`.
#[derive(Clone, Copy, Debug)]
pub struct CleanOptions {
    /// Only show what would be done.
    pub dry_run: bool,
    /// Skip the connection check and `dormant`, and use `inactive_for` instead of 14 days.
    pub force: bool,
    /// Do not ask for confirmation.
    pub yes: bool,
    /// With `force`: keys inactive for this long may be moved.
    pub inactive_for: Option<Duration>,
}

pub(super) fn fail(message: &str) -> Exit {
    complain(&format!("error: {message}"));
    Exit::Failed
}

/// Opens the store for a program that records something.
pub fn context(settings: Settings) -> Result<Context, String> {
    let store = Store::open(&settings.state_path).map_err(|error| error.to_string())?;
    Ok(Context::new(settings, store, Clock::system()))
}

/// The same for a command, which asks about the connection once.
pub(super) fn command_context(settings: Settings) -> Result<Context, String> {
    context(settings).map(looking_once)
}

fn looking_once(ctx: Context) -> Context {
    Context {
        connection: ctx.connection.looking_once(),
        ..ctx
    }
}

/// For a read-only command: uses the sightings of connected bots, if there is a journal.
fn with_memory(settings: Settings) -> App {
    let forgetful = |settings| {
        let app = App::new(settings, Arc::new(Recent::default()), Clock::system());
        App {
            connection: app.connection.looking_once(),
            ..app
        }
    };
    if !settings.state_path.join(store::FILE).exists() {
        return forgetful(settings);
    }
    match Store::open_existing(&settings.state_path) {
        Ok(store) => looking_once(Context::new(settings, store, Clock::system())).app(),
        Err(error) => {
            complain(&format!(
                "warning: failed to load the sightings of connected bots: {error}"
            ));
            forgetful(settings)
        }
    }
}

pub(super) fn find(settings: &Settings, name: &str) -> Result<Found, String> {
    let survey = settings.discovery().survey();
    for skipped in &survey.skipped {
        complain(&format!("warning: {}", skipped.message));
    }
    if let Some(duplicate) = survey.duplicate(name) {
        return Err(duplicate.to_owned());
    }
    let known: Vec<&str> = survey
        .found
        .iter()
        .map(|found| found.session.as_str())
        .collect();
    let hint = match known.len() {
        0 => no_folder(settings),
        1..=20 => format!("there is: {}", known.join(", ")),
        more => format!("there are {more} others; `baileys_exporter status` lists them"),
    };
    survey
        .found
        .iter()
        .find(|found| found.session.as_str() == name)
        .cloned()
        .ok_or_else(|| format!("no session is called {name:?}; {hint}"))
}

/// The error message if no auth folder was found.
pub(super) fn no_folder(settings: &Settings) -> String {
    let paths = settings.sources.iter().map(|source| source.path.display());
    let paths: Vec<String> = paths.map(|path| path.to_string()).collect();
    format!(
        "no auth folder was found in {}; check --sessions.path",
        paths.join(", ")
    )
}

pub(super) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    match std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")) {
        Ok(user)
            if user
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) =>
        {
            format!("{user} (uid {uid})")
        }
        _ => format!("uid {uid}"),
    }
}

/// `plan SESSION`: what a clean-up would move, and whether it would be allowed.
pub async fn plan(settings: Settings, session: &str, output: Output) -> Exit {
    let found = match find(&settings, session) {
        Ok(found) => found,
        Err(error) => return fail(&error),
    };
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: None,
        force: None,
    };
    // A plan changes nothing, so it needs no state directory.
    let app = block_in_place(|| with_memory(settings));
    let (verdict, plan) = preview_plan(&app, &found, ask).await;
    show_plan(&PlanView::new(session, &verdict, plan.as_ref()), output);
    if plan.is_err()
        && runner::look(&found)
            .await
            .is_ok_and(|look| look.files().is_empty())
    {
        complain("The folder holds no file of a bot: is it the right one? See --sessions.path.");
    }
    match plan {
        Ok(_) => Exit::Done,
        Err(error) => error.status().into(),
    }
}

fn show_plan(view: &PlanView, output: Output) {
    if output == Output::Json {
        return print(&serde_json::json!(view).to_string());
    }
    if let PlanResult::Planned(planned) = &view.result {
        let mut rows = table::Table::new(&["KIND", "FILES TO MOVE"]);
        for (kind, files) in &planned.files {
            rows.row(vec![table::plain(*kind), table::right(files.to_string())]);
        }
        print(&format!("{rows}\n"));
    }
    print(&format!("{}: {}", view.session, view.answer()));
    print(&format!(
        "Connection: {} ({}).",
        view.connection,
        view.evidence.join("; ")
    ));
}

/// `clean SESSION`.
pub async fn clean(settings: Settings, session: &str, options: CleanOptions) -> Exit {
    let found = match find(&settings, session) {
        Ok(found) => found,
        Err(error) => return fail(&error),
    };
    let inactive_for = limits_of(&settings, &found.session).inactive_for;
    if options.inactive_for.is_some() && !options.force {
        return fail(
            "--inactive-for goes with --force only: nothing active within 14 days is moved otherwise",
        );
    }
    let force = options.force.then(|| Force {
        inactive_for: options.inactive_for.unwrap_or(inactive_for),
    });
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: None,
        force,
    };
    if options.dry_run {
        let app = block_in_place(|| with_memory(settings));
        let exit = preview(&app, &found, ask).await;
        print("Dry run: no file was moved.");
        return exit;
    }
    if let Some(force) = force
        && !options.yes
    {
        let span = humantime::format_duration(force.inactive_for);
        complain(&format!(
            "--force moves keys of {session} that were inactive for {span} WITHOUT knowing that the bot is disconnected.\nA running bot writes deleted keys back or mints new ones: stop it first."
        ));
        if let Err(error) = confirm(session) {
            return fail(&error);
        }
    }
    let ctx = match block_in_place(|| command_context(settings)) {
        Ok(ctx) => ctx,
        Err(error) => return fail(&error),
    };
    clean_recorded(&ctx, &found, ask).await
}

/// What a clean-up would do, or why it would be refused.
async fn preview_plan(
    app: &App,
    found: &Found,
    ask: CleanRequest,
) -> (Verdict, Result<Plan, RunError>) {
    let (verdict, plan) = runner::preview(app, found, ask).await;
    match refuse_copy_among(&app.settings, found).await {
        Ok(()) => (verdict, plan),
        Err(copy) => (verdict, Err(copy)),
    }
}

async fn refuse_copy_among(settings: &Settings, found: &Found) -> Result<(), RunError> {
    let known = block_in_place(|| settings.discovery().survey().found);
    refuse_copy(found, known, Timestamp::of(&Clock::system())).await
}

/// Shows what a clean-up would move, and whether it would be allowed.
async fn preview(app: &App, found: &Found, ask: CleanRequest) -> Exit {
    let (verdict, plan) = preview_plan(app, found, ask).await;
    show_plan(
        &PlanView::new(found.session.as_str(), &verdict, plan.as_ref()),
        Output::Table,
    );
    match plan {
        Ok(_) if ask.force.is_none() && verdict.state != State::Disconnected => Exit::Refused,
        Ok(_) => Exit::Done,
        Err(error) => error.status().into(),
    }
}

/// Cleans up, by the guards, with a record in the journal.
async fn clean_recorded(ctx: &Context, found: &Found, ask: CleanRequest) -> Exit {
    let session = found.session.as_str();
    record(ctx, session, Action::Cleanup, async |id, ending| {
        ending.note = ask.force.map(|force| {
            format!(
                "forced, inactive for {}",
                humantime::format_duration(force.inactive_for)
            )
        });
        refuse_copy_among(&ctx.settings, found).await?;
        runner::clean(ctx, id, found, ask, ending).await
    })
    .await
}

/// Finds the run that an operator gave by its name in the quarantine, or by its number.
fn quarantine_name(store: &Store, wanted: &str) -> Result<QuarantineName, String> {
    if let Some(name) = QuarantineName::parse(wanted) {
        return Ok(name);
    }
    let Ok(number) = wanted.trim_start_matches('#').parse::<i64>() else {
        return Err(format!(
            "{wanted:?} is neither the number nor the name of a run; `baileys_remediator runs` lists both"
        ));
    };
    let record = store.audit().show(&RunKey::Id(number));
    let record = record.map_err(|error| error.to_string())?;
    let run = match record {
        Some(record) => record.run,
        None => return Err(format!("no run {number} is on record")),
    };
    let name = run.run.as_deref().and_then(QuarantineName::parse);
    match (run.action, name) {
        (Action::Cleanup | Action::Emergency, Some(name)) => Ok(name),
        (Action::Undo, Some(name)) => Err(format!(
            "run {number} is itself an undo; to undo the clean-up again: undo {name}"
        )),
        (Action::Restore, _) => Err(format!(
            "run {number} put back a copy of creds.json; see `creds list` and `creds restore`"
        )),
        (action, _) => Err(format!(
            "run {number} ({}, {}) moved no file: there is nothing to undo",
            action.label(),
            run.status.label()
        )),
    }
}

/// `undo RUN`.
pub async fn undo(settings: Settings, run: &str, force: bool, yes: bool) -> Exit {
    // A new journal would know nothing of the run, and `serve` nothing of its undo.
    let named = block_in_place(|| {
        let store = Store::open_existing(&settings.state_path);
        let store = store.map_err(|error| error.to_string())?;
        quarantine_name(&store, run)
    });
    let name = match named {
        Ok(name) => name,
        Err(error) => return fail(&error),
    };
    let survey = settings.discovery().survey();
    let holders: Vec<Found> = survey
        .found
        .iter()
        .filter(|found| matches!(look_up(&found.place, &name), Ok(Some(_))))
        .cloned()
        .collect();
    // A copied folder contains a copied quarantine, so the journal decides whose run it is.
    let owner = block_in_place(|| {
        let store = Store::open_existing(&settings.state_path).ok()?;
        store.audit().session_of(name.as_str()).ok()?
    });
    let own = holders
        .iter()
        .find(|found| Some(found.session.as_str()) == owner.as_deref());
    let found = match (own, holders.as_slice()) {
        (Some(found), _) | (None, [found]) => found.clone(),
        (None, []) => return fail(&format!("no quarantine holds a run {name}")),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|found| found.session.as_str()).collect();
            return fail(&format!(
                "several folders hold a run {name}: {}; select one of them with --sessions.path",
                names.join(", ")
            ));
        }
    };
    let session = found.session.to_string();
    if let Some(duplicate) = survey.duplicate(&session) {
        return fail(duplicate);
    }
    if force && !yes {
        complain(&format!(
            "--force puts files of {session} back WITHOUT knowing that the bot is disconnected.\nA running bot does not see them until it is restarted, and may overwrite them: stop it first."
        ));
        if let Err(error) = confirm(&session) {
            return fail(&error);
        }
    }
    let ctx = match block_in_place(|| command_context(settings)) {
        Ok(ctx) => ctx,
        Err(error) => return fail(&error),
    };
    record(&ctx, &session, Action::Undo, async |id, ending| {
        ending.note = force.then(|| "forced".to_owned());
        runner::undo(&ctx, id, &found, &name, force, ending).await
    })
    .await
}

/// Records an operator's run around `work`, and prints its result.
pub(super) async fn record(
    ctx: &Context,
    session: &str,
    action: Action,
    work: impl AsyncFnOnce(i64, &mut Ending) -> RunResult,
) -> Exit {
    let name = SessionName::from_text(session);
    let in_the_way = || {
        ctx.store
            .in_place(|store| pending_restart_of(&ctx.settings, store, &name))
    };
    match in_the_way() {
        Ok(None) => {}
        Ok(Some(why)) => {
            complain(&format!("{session}: refused: {why}"));
            return Exit::Refused;
        }
        Err(error) => return fail(&error.to_string()),
    }
    // A run whose begin is recorded must also get its end recorded.
    if let Err(error) = defer_signals() {
        complain(&format!("warning: failed to listen for signals: {error}"));
    }
    let begun = ctx.store.in_place(|store| {
        store
            .runs()
            .begin(session, action, &operator(), ctx.moment())
    });
    let id = match begun {
        Ok(id) => id,
        Err(error) => return fail(&error.to_string()),
    };
    let mut ending = Ending::default();
    // From here on, a restart of the service sees this run, and waits.
    let result = match in_the_way() {
        Ok(None) => work(id, &mut ending).await,
        Ok(Some(_)) => Err(Obstacle::Locked.into()),
        Err(error) => Err(error.into()),
    };
    let status = outcome::apply_result(&result, &mut ending);
    match &result {
        Ok(outcome) => {
            print(&format!("{session}: {outcome}"));
            // The armed run was done by hand, or undone, and the session is in its cooldown now.
            for armed in [Action::Cleanup, Action::Emergency] {
                if action != Action::Restore
                    && let Err(error) = ctx
                        .store
                        .in_place(|store| store.armed().disarm(session, armed))
                {
                    complain(&format!("warning: failed to drop the armed run: {error}"));
                }
            }
        }
        Err(error) => {
            complain(&format!("{session}: {}: {error}", status.label()));
            if let Some(evidence) = &ending.evidence {
                complain(&format!("Connection: {evidence}"));
            }
        }
    }
    let finished = ctx
        .store
        .in_place(|store| store.runs().finish(id, status, &ending, ctx.moment()));
    if let Err(error) = finished {
        return fail(&format!("failed to record the outcome: {error}"));
    }
    match result.is_ok_and(|outcome| outcome.left().is_some()) {
        true => Exit::Refused,
        false => status.into(),
    }
}

pub(super) fn confirm(session: &str) -> Result<(), String> {
    if !std::io::stdin().is_terminal() {
        return Err(
            "this command asks for confirmation, and there is no terminal; add --yes if a person has decided"
                .into(),
        );
    }
    complain(&format!("Type the session's name, {session}, to go on:"));
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| error.to_string())?;
    if line.trim() == session {
        Ok(())
    } else {
        Err("the name does not match; nothing was done".into())
    }
}

/// `runs`.
pub fn runs(settings: &Settings, filter: &RunFilter, limit: u32, output: Output) -> Exit {
    let store = match Store::open_existing(&settings.state_path) {
        Ok(store) => store,
        Err(error) => return fail(&error.to_string()),
    };
    let runs = match store.audit().matching(filter, limit) {
        Ok(runs) => runs,
        Err(error) => return fail(&error.to_string()),
    };
    match output {
        Output::Json => match serde_json::to_string_pretty(&runs) {
            Ok(text) => print(&text),
            Err(error) => return fail(&error.to_string()),
        },
        Output::Table if limit == 0 => print("--limit=0 lists no run."),
        Output::Table if runs.is_empty() && *filter != RunFilter::default() => {
            print("No run on record matches.");
        }
        Output::Table if runs.is_empty() => print("No run is on record yet."),
        Output::Table => print(&runs_table(&runs)),
    }
    Exit::Done
}

fn status_style(status: Status) -> Style {
    match status {
        Status::Done => AnsiColor::Green.on_default(),
        Status::Refused => AnsiColor::Yellow.on_default(),
        Status::Failed => AnsiColor::Red.on_default(),
        Status::Queued | Status::Running => Style::new(),
    }
}

pub(super) fn runs_table(runs: &[Run]) -> String {
    let mut out = table::Table::new(&[
        "ID",
        "TIME",
        "SESSION",
        "ACTION",
        "REQUESTED BY",
        "STATUS",
        "REASON",
        "FILES",
        "ACCUMULATED",
        "RUN",
    ]);
    for run in runs {
        out.row(vec![
            table::right(run.id.to_string()),
            table::plain(&run.created),
            table::plain(&run.session),
            table::plain(run.action.label()),
            table::plain(run.requested_by.to_string()),
            table::styled(run.status.label(), status_style(run.status)),
            table::plain(run.cause()),
            table::right(run.moved().to_string()),
            table::plain(run.accumulated("->")),
            table::plain(run.run.clone().unwrap_or_else(|| "-".into())),
        ]);
    }
    out.to_string()
}
