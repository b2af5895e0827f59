//! `doctor`: the answer of each connection source and of each polled Alertmanager, and the
//! permission check.

use std::sync::Arc;

use anstyle::AnsiColor;
use clock::Clock;
use tokio::task::block_in_place;

use crate::app::App;
use crate::cli::examples::{EXAMPLES, grouped};
use crate::cli::{complain, print, table};
use crate::config::Settings;
use crate::connection::{Evidence, Finding, SessionSightings, State, Verdict};
use crate::folder::discovery::few_of_each;
use crate::folder::{Found, SessionName, Timestamp};
use crate::logs::overview::{HALF_MONITORED, ProgramLogs};
use crate::policy::SameLogin;

use super::super::copies;
use super::super::privileges::PermissionFinding;
use super::super::runner;
use super::alertmanagers;
use super::{
    Exit, Output, command_context, fail, find, no_folder, operator, privileges, with_memory,
};

/// What `doctor` found about one session.
struct CheckUp {
    session: String,
    verdict: Verdict,
    sightings: SessionSightings,
    /// Its log shows no line of the library's logger.
    half_monitored: bool,
    same_login: Option<SameLogin>,
    now: Timestamp,
    privileges: Vec<PermissionFinding>,
}

/// What `doctor` does and shows besides.
#[derive(Clone, Copy, Debug)]
pub struct DoctorOptions {
    /// Also try a move inside the quarantines.
    pub trial: bool,
    /// Show every session. Without it, sessions with equal findings are three examples and a
    /// count.
    pub all: bool,
}

/// Sessions that `doctor` checks at the same time.
const CHECK_UPS_AT_ONCE: usize = 16;

/// `doctor [SESSION]`: shows the answer of each connection source and what to fix. With
/// `trust`, records that the operator trusts the sources of that session as they are
/// configured now. Then checks permissions.
pub async fn doctor(
    settings: Settings,
    session: Option<&str>,
    trust: Option<&str>,
    options: DoctorOptions,
    output: Output,
) -> Exit {
    let DoctorOptions { trial, all } = options;
    let name = match (session, trust) {
        (Some(session), Some(trust)) if session != trust => {
            return fail("doctor takes one session, but --trust names a different one");
        }
        (session, trust) => trust.or(session),
    };
    let mut skipped = Vec::new();
    let found = match name {
        Some(name) => match find(&settings, name) {
            Ok(found) => vec![found],
            Err(error) => return fail(&error),
        },
        None => {
            let survey = settings.discovery().explaining().survey();
            let skipped_now = survey.skipped.iter();
            let messages = match all {
                true => skipped_now.map(|skipped| skipped.message.clone()).collect(),
                false => few_of_each(&survey.skipped),
            };
            for message in messages.iter().chain(&survey.passed_over) {
                complain(&format!("warning: {message}"));
            }
            skipped = survey.skipped;
            let filtered = survey.filtered.len();
            let shown = if all { filtered } else { EXAMPLES };
            for folder in survey.filtered.iter().take(shown) {
                let folder = folder.display();
                complain(&format!(
                    "note: {folder} is left out by sessions.include or sessions.exclude"
                ));
            }
            if filtered > shown {
                complain(&format!("note: so are {} more", filtered - shown));
            }
            survey.found
        }
    };
    let (logs, entries, same_logins) = block_in_place(|| {
        let folders = settings.discovery().survey().found;
        let sessions = || folders.iter().map(|found| &found.session);
        let mut entries = settings.services.unused(sessions());
        entries.extend(settings.shared_sources());
        let same_logins = copies::of(&folders, Timestamp::of(&Clock::system()));
        (settings.log_overview(sessions()), entries, same_logins)
    });
    for entry in &entries {
        complain(&format!("warning: {entry}"));
    }
    for warning in &logs.warnings {
        complain(&format!("warning: {warning}"));
    }
    if found.is_empty() {
        return fail(&no_folder(&settings));
    }
    let app = match trust {
        None => block_in_place(|| with_memory(settings)),
        Some(session) => match record_trust(settings, session) {
            Ok(app) => app,
            Err(error) => return fail(&error),
        },
    };
    let polled = tokio::spawn(alertmanagers::ask(Arc::clone(&app.settings)));
    let mut at_work = tokio::task::JoinSet::new();
    let mut check_ups = Vec::new();
    for found in found {
        if at_work.len() >= CHECK_UPS_AT_ONCE {
            check_ups.extend(at_work.join_next().await.and_then(Result::ok));
        }
        let app = app.clone();
        at_work.spawn(async move { check_up(&app, &found, trial).await });
    }
    while let Some(done) = at_work.join_next().await {
        check_ups.extend(done.ok());
    }
    for check_up in &mut check_ups {
        let name = SessionName::from_text(&check_up.session);
        check_up.same_login = same_logins.get(&name).cloned();
        check_up.half_monitored = logs.half_monitored.contains(check_up.session.as_str());
    }
    check_ups.sort_by(|a, b| a.session.cmp(&b.session));
    let folders: Vec<_> = check_ups
        .iter()
        .map(|check_up| (check_up.session.clone(), check_up.privileges.clone()))
        .collect();
    let groups = privileges::groups(&app.settings, &skipped, &folders);
    let polled = polled.await.ok().flatten();
    match output {
        Output::Table => {
            print(&doctor_table(&check_ups, all));
            if !logs.programs.is_empty() {
                print(&format!("\n{}", logs_table(&logs.programs, all)));
            }
            if let Some(polled) = &polled {
                print(&format!("\n{}", alertmanagers::table(polled)));
            }
            let report = privileges::report(&groups, &folders, trial);
            print(&format!("\n{report}"));
        }
        Output::Json => {
            let program: Vec<_> = groups
                .iter()
                .filter(|group| group.sessions.is_empty())
                .map(|g| &g.finding)
                .collect();
            let all: Vec<_> = check_ups
                .iter()
                .map(|check_up| doctor_json(check_up, &program, polled.as_ref()))
                .collect();
            match serde_json::to_string_pretty(&all) {
                Ok(text) => print(&text),
                Err(error) => return fail(&error.to_string()),
            }
        }
    }
    if check_ups
        .iter()
        .all(|check_up| check_up.verdict.state == State::Unknown)
    {
        complain(
            "warning: no session is known to be connected or disconnected, so no clean-up is allowed; see `to fix`",
        );
        return Exit::Refused;
    }
    Exit::Done
}

/// Records that the operator trusts the sources of a session.
fn record_trust(settings: Settings, session: &str) -> Result<App, String> {
    let ctx = block_in_place(|| command_context(settings))?;
    let ids = ctx.connection.ids(&SessionName::from_text(session));
    if ids.is_empty() {
        return Err("no probe, process or log is configured: there is no source to trust".into());
    }
    ctx.store
        .in_place(|store| {
            store
                .sightings()
                .trust(session, &ids, &operator(), ctx.now())
        })
        .map_err(|error| error.to_string())?;
    Ok(ctx.app())
}

async fn check_up(app: &App, found: &Found, trial: bool) -> CheckUp {
    let privileges = privileges::look(&app.settings, found, trial, app.clock.clone()).await;
    let asked = app.connection.ask(&found.session).await;
    let sightings = asked.sightings().clone();
    let verdict = match runner::look(found).await {
        Ok(inventory) => app.connection.judge(asked, &inventory),
        Err(stop) => Verdict::unknown("folder", stop.to_string()),
    };
    CheckUp {
        session: found.session.to_string(),
        verdict,
        sightings,
        half_monitored: false,
        same_login: None,
        now: Timestamp::of(&app.clock),
        privileges,
    }
}

impl CheckUp {
    /// What an operator can do about an unknown verdict, and about a login that two folders have.
    fn advice(&self) -> Vec<String> {
        let own = self.same_login.iter().map(ToString::to_string);
        match &self.same_login {
            // Nothing is to be known of its connection.
            Some(same) if same.is_copy() => own.collect(),
            _ => own.chain(self.advice_on_the_verdict()).collect(),
        }
    }

    fn advice_on_the_verdict(&self) -> Vec<String> {
        let any = |finding| self.verdict.evidence.iter().any(|e| e.finding == finding);
        let negative = self
            .verdict
            .evidence
            .iter()
            .any(|e| e.finding.is_negative());
        let mut advice = Vec::new();
        if self.verdict.state != State::Unknown {
            return advice;
        }
        for silent in self.verdict.evidence.iter().filter(|e| {
            matches!(
                e.finding,
                Finding::NoAnswer | Finding::Ambiguous | Finding::Connecting | Finding::Shared
            )
        }) {
            advice.push(format!(
                "no usable answer from the {} ({})",
                silent.source, silent.detail
            ));
        }
        if any(Finding::Connected) && negative {
            advice.push(
                "two sources contradict each other: one of them watches another bot, or is out of date".into(),
            );
        } else if any(Finding::Writing) {
            advice.push(
                "a process writes into the folder: wait for the quiet window, or stop the bot"
                    .into(),
            );
        } else if !negative && advice.is_empty() {
            advice.push("no source reports the bot as disconnected: configure connection.command or connection.http, or its process (processes)".into());
        }
        advice
    }

    /// What it says besides names, times and details: check-ups with equal keys are told once.
    /// Those that need a person come first.
    fn key(&self) -> (u8, Vec<(&'static str, &'static str, bool)>, bool, bool) {
        let order = match self.verdict.state {
            State::Unknown => 0,
            State::Disconnected => 1,
            State::Connected => 2,
        };
        let evidence = self.verdict.evidence.iter();
        let evidence = evidence.map(|e| (e.source, e.finding.label(), e.is_untrusted));
        let shares = self.same_login.is_some();
        (order, evidence.collect(), self.half_monitored, shares)
    }

    fn last_alive(&self, id: &str) -> Option<String> {
        self.sightings
            .last_alive(id, self.now)
            .map(|alive| alive.at.rfc3339())
    }

    /// The operator who trusts a source, and since when.
    fn trusted_by(&self, id: &str) -> Option<String> {
        match self.sightings.trusted.get(id) {
            Some(trust) => Some(format!("{}, {}", trust.by, trust.at.rfc3339())),
            None => self
                .sightings
                .trusted_by_configuration
                .then(|| "connection.trust".to_owned()),
        }
    }
}

/// Groups of equal findings; of each three examples, unless `all` are wanted.
fn doctor_table(check_ups: &[CheckUp], all: bool) -> String {
    let mut out = table::Table::new(&[
        "SESSION",
        "CONNECTION",
        "SOURCE",
        "FINDING",
        "LAST SEEN ALIVE",
        "TRUSTED BY",
    ]);
    let mut advice = String::new();
    let mut is_short = false;
    for group in grouped(check_ups, |check_up| check_up.key()) {
        let shown = if all { group.len() } else { EXAMPLES };
        for check_up in group.iter().take(shown) {
            for row in check_up.rows() {
                out.row(row);
            }
            advice.push_str(&check_up.explanation());
        }
        if let more @ 1.. = group.len().saturating_sub(shown) {
            let like = &group[0].session;
            out.row(vec![
                table::plain(format!("and {more} more")),
                table::plain(group[0].verdict.state.label()),
                table::plain(format!("found the same as {like}")),
            ]);
            advice.push_str(&format!(
                "\nand {more} more with the same findings as {like}; details may differ"
            ));
            is_short = true;
        }
    }
    let hint = if is_short {
        "\n\n--all shows every session with its details."
    } else {
        ""
    };
    format!("{out}\n{advice}{hint}")
}

impl CheckUp {
    /// Its rows, one for each source.
    fn rows(&self) -> Vec<Vec<table::Cell>> {
        let style = match self.verdict.state {
            State::Connected => AnsiColor::Green.on_default(),
            State::Disconnected => AnsiColor::Yellow.on_default(),
            State::Unknown => AnsiColor::Red.on_default(),
        };
        let row = |(index, evidence): (usize, &Evidence)| {
            let first = |word: &str| {
                if index == 0 {
                    word.to_owned()
                } else {
                    String::new()
                }
            };
            let known = |word: Option<String>, none: &str| {
                if evidence.id.is_empty() {
                    "-".to_owned()
                } else {
                    word.unwrap_or_else(|| none.to_owned())
                }
            };
            vec![
                table::plain(first(&self.session)),
                table::styled(first(self.verdict.state.label()), style),
                table::plain(evidence.source),
                table::plain(evidence.finding.label()),
                table::plain(known(self.last_alive(&evidence.id), "never")),
                table::plain(known(self.trusted_by(&evidence.id), "-")),
            ]
        };
        self.verdict.evidence.iter().enumerate().map(row).collect()
    }

    /// What its verdict rests on, and what to fix.
    fn explanation(&self) -> String {
        let mut text = format!("\n{}: {}", self.session, self.verdict.because());
        for line in self.advice() {
            text.push_str(&format!("\n  to fix: {line}"));
        }
        if self.half_monitored {
            text.push_str(&format!("\n  {HALF_MONITORED}"));
        }
        text
    }
}

/// Which logs belong to which session. Of those with one rule three examples, unless `all` are
/// wanted; of those of no session all.
fn logs_table(programs: &[ProgramLogs], all: bool) -> String {
    let mut out = table::Table::new(&["LOGS", "BELONG TO", "BECAUSE OF"]);
    let rule = |program: &&ProgramLogs| Some(program.session.as_ref()?.1.label());
    for group in grouped(programs, rule) {
        let word = rule(&group[0]);
        let shown = if all || word.is_none() {
            group.len()
        } else {
            EXAMPLES
        };
        for program in group.iter().take(shown) {
            let session = match &program.session {
                Some((session, _)) => table::plain(&**session),
                None => table::styled("no session", AnsiColor::Yellow.on_default()),
            };
            let files = program.files.join(", ");
            out.row(vec![
                table::plain(files),
                session,
                table::plain(word.unwrap_or("-")),
            ]);
        }
        if let more @ 1.. = group.len().saturating_sub(shown) {
            out.row(vec![
                table::plain(format!("and {more} more")),
                table::plain(""),
                table::plain(word.unwrap_or("-")),
            ]);
        }
    }
    out.to_string()
}

fn doctor_json(
    check_up: &CheckUp,
    program: &[&PermissionFinding],
    polled: Option<&alertmanagers::Polled>,
) -> serde_json::Value {
    let sources = check_up.verdict.evidence.iter().map(|evidence| {
        serde_json::json!({
            "source": evidence.source,
            "id": evidence.id,
            "finding": evidence.finding.label(),
            "detail": evidence.detail,
            "last_alive": check_up.last_alive(&evidence.id),
            "trusted_by": if evidence.id.is_empty() { None } else { check_up.trusted_by(&evidence.id) },
        })
    });
    serde_json::json!({
        "session": check_up.session,
        "connection": check_up.verdict.state.label(),
        "process_gone": check_up.verdict.process_gone,
        "sources": sources.collect::<Vec<_>>(),
        "to_fix": check_up.advice(),
        "half_monitored": check_up.half_monitored,
        "copy_of": match &check_up.same_login {
            Some(SameLogin::CopyOf(of)) => Some(of.as_str()),
            _ => None,
        },
        "alertmanagers": polled,
        "privileges": check_up.privileges.iter().chain(program.iter().copied()).map(privileges::json).collect::<Vec<_>>(),
    })
}
