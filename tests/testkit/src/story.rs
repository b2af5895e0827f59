//! The loop as a person sees it, and as a test checks it: five bots, one in trouble.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::net::Metrics;
use crate::stack::{Alert, Host, Stack};
use crate::{Doing, Patience, Result, fixture, notification};

/// The bot in trouble: an old folder of 387 files.
pub const BLOATED: &str = "company_962302";
/// The bot at the first tier.
pub const WARNING: &str = "company_warning";
/// The bots on Baileys 7.x, whose folders hold many files and nothing too much.
pub const MODERN: [&str; 2] = ["company_modern", "company_modern_busy"];

/// The bloated bot was stopped this long ago: longer than the 10 minutes in which nothing
/// may have been written.
const STOPPED_FOR: Duration = Duration::from_secs(15 * 60);
/// How long a step may take. They take seconds.
const STEP: Duration = Duration::from_secs(60);

/// One of the bots.
#[derive(Debug)]
pub struct Bot {
    /// Its session.
    pub session: &'static str,
    /// The fixture its folder is made of.
    pub fixture: &'static str,
    /// Files on disk.
    pub files: u32,
    /// What the probe says.
    pub connection: &'static str,
    /// What to know about it.
    pub about: &'static str,
}

/// The bots.
pub const BOTS: [Bot; 5] = [
    bot(
        "company_normal",
        "normal",
        76,
        "connected",
        "a small healthy bot",
    ),
    bot(
        WARNING,
        "warning-130",
        130,
        "connected",
        "many contacts, some long silent",
    ),
    bot(
        BLOATED,
        "bloated-classic-387",
        387,
        "disconnected",
        "bloated by strangers; its bot is stopped",
    ),
    bot(
        MODERN[0],
        "modern-816",
        816,
        "connected",
        "Baileys 7.x just after its login, healthy",
    ),
    bot(
        MODERN[1],
        "modern-1003",
        1003,
        "connected",
        "Baileys 7.x with 40 contacts, healthy",
    ),
];

const fn bot(
    session: &'static str,
    fixture: &'static str,
    files: u32,
    connection: &'static str,
    about: &'static str,
) -> Bot {
    Bot {
        session,
        fixture,
        files,
        connection,
        about,
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Cleaned {
    /// The run that cleaned the bloated folder.
    pub run: String,
    /// Accumulated files afterwards.
    pub left: u32,
    /// Files moved, by kind.
    pub moved: BTreeMap<String, u32>,
}

/// Writes the folders of all bots. The probe calls all of them connected.
pub fn lay_out(host: &Host) -> Result<()> {
    let now = SystemTime::now();
    for bot in &BOTS {
        let written = if bot.connection == "disconnected" {
            now - STOPPED_FOR
        } else {
            now
        };
        fixture::unpack(bot.fixture, &host.folder(bot.session), written)?;
        host.probe_says(bot.session, "connected")?;
    }
    Ok(())
}

/// Starts everything. Between the programs beside the bots and those that watch them, the
/// bloated bot is stopped: a probe is believed that a bot is not connected when it has
/// called it connected before.
pub fn start(stack: &mut Stack, patience: &Patience) -> Result<()> {
    stack.start_hosts(patience)?;
    let host = stack.host();
    for bot in BOTS.iter().filter(|bot| bot.connection == "disconnected") {
        patience.wait_until(STEP, "start: the exporter has seen it connected", || {
            let state = [("session", bot.session), ("state", "connected")];
            let metrics = host.exporter_metrics()?;
            expect(
                "connected",
                metrics.sum("baileys_auth_connection_state", &state)?,
                1.0,
            )
        })?;
        patience.wait_until(STEP, "start: the remediator has seen it connected", || {
            let (_, out, err) = host.remediator(&["doctor", bot.session, "--output", "json"])?;
            let told: serde_json::Value = serde_json::from_str(&out).doing(err)?;
            match told[0]["sources"][0]["last_alive"].is_string() {
                true => Ok(()),
                false => Err(format!("{told}")),
            }
        })?;
        host.probe_says(bot.session, bot.connection)?;
    }
    stack.start_monitoring()?;
    stack.wait_ready(patience)
}

/// Follows the loop from the first scrape to the last resolved alert. Every step is seen
/// through the HTTP interfaces of the running programs; an error names the step that was
/// not. `tell` is called with a title and a sentence.
pub fn follow(
    stack: &mut Stack,
    patience: &Patience,
    tell: &mut dyn FnMut(&str, &str),
) -> Result<Cleaned> {
    found(stack, patience, tell)?;
    alerted(stack, patience, tell)?;
    let cleaned = cleaned(stack, patience, tell)?;
    resolved(stack, patience, tell)?;
    warned(stack, patience, tell)?;
    stayed_green(stack, tell)?;
    stack.alive()?;
    Ok(cleaned)
}

/// The exporter sees every folder, and judges none by its bare number of files.
fn found(stack: &Stack, patience: &Patience, tell: &mut dyn FnMut(&str, &str)) -> Result<()> {
    let host = stack.host();
    let metrics = patience.wait_until(STEP, "found: the exporter shows every session", || {
        let metrics = host.exporter_metrics()?;
        for bot in &BOTS {
            let session = [("session", bot.session)];
            expect(
                "files",
                metrics.sum("baileys_auth_files", &session)?,
                f64::from(bot.files),
            )?;
            expect(
                "folder_up",
                metrics.sum("baileys_auth_folder_up", &session)?,
                1.0,
            )?;
            expect(
                "creds_valid",
                metrics.sum("baileys_auth_creds_valid", &session)?,
                1.0,
            )?;
        }
        expect(
            "sessions",
            metrics.sum("baileys_exporter_sessions", &[])?,
            BOTS.len() as f64,
        )?;
        Ok(metrics)
    })?;
    let bloated = accumulated(&metrics, BLOATED)?;
    expect("found: accumulated files", bloated, 387.0)?;
    let removable = metrics.sum(
        "baileys_auth_removable_files",
        &[("session", BLOATED), ("action", "cleanup")],
    )?;
    tell(
        "found",
        &format!("{BLOATED} holds {bloated} accumulated files; a clean-up could move {removable}"),
    );
    for session in MODERN {
        let files = metrics.sum("baileys_auth_files", &[("session", session)])?;
        let counted = accumulated(&metrics, session)?;
        tell(
            "",
            &format!(
                "{session} holds {files} files, of which {counted} count: Baileys 7.x keeps the rest"
            ),
        );
    }
    Ok(())
}

/// The three tiers fire for the bloated folder, and only the highest speaks.
fn alerted(stack: &Stack, patience: &Patience, tell: &mut dyn FnMut(&str, &str)) -> Result<()> {
    let emergency = |alerts: Vec<Alert>, states: &[&str]| {
        let seen: Vec<String> = of(BLOATED, &alerts)
            .map(|alert| format!("{} {}", alert.name, alert.state))
            .collect();
        of(BLOATED, &alerts)
            .find(|alert| {
                alert.name == "BaileysAuthFilesEmergency" && states.contains(&&*alert.state)
            })
            .map(|alert| alert.state.clone())
            .ok_or_else(|| format!("{seen:?}"))
    };
    let state =
        patience.wait_until(STEP, "alert pending: Prometheus sees the emergency", || {
            emergency(stack.prometheus_alerts()?, &["pending", "firing"])
        })?;
    tell(
        "alert",
        &format!("Prometheus: BaileysAuthFilesEmergency is {state} for {BLOATED}"),
    );
    if state == "pending" {
        patience.wait_until(STEP, "alert firing: Prometheus fires the emergency", || {
            emergency(stack.prometheus_alerts()?, &["firing"])
        })?;
        tell(
            "alert",
            &format!("Prometheus: BaileysAuthFilesEmergency is firing for {BLOATED}"),
        );
    }
    patience.wait_until(
        STEP,
        "alert active: Alertmanager lets only the emergency speak",
        || {
            let alerts = stack.alertmanager_alerts()?;
            emergency(alerts.clone(), &["active"])?;
            let lower: Vec<&Alert> = of(BLOATED, &alerts)
                .filter(|alert| {
                    // The page for a person stands beside the tiers.
                    !["BaileysAuthFilesEmergency", "BaileysLoginAtRisk"].contains(&&*alert.name)
                })
                .collect();
            match lower.iter().all(|alert| alert.state == "suppressed") && lower.len() == 2 {
                true => Ok(()),
                false => Err(format!("{lower:?}")),
            }
        },
    )?;
    tell(
        "alert",
        "Alertmanager: the emergency is active, it silences the two lower tiers",
    );
    let text = page(stack, patience)?;
    tell(
        "page",
        "A person gets this, by the template of alerting-rules/receivers/telegram.yml:",
    );
    text.lines().for_each(|line| tell("", &format!("  {line}")));
    Ok(())
}

/// Returns the page for the bloated folder as its receiver gets it: what happened, to which
/// session, and at the end a command and the runbook.
fn page(stack: &Stack, patience: &Patience) -> Result<String> {
    let alert = patience.wait_until(STEP, "page: Alertmanager has the page", || {
        let alerts = stack.alertmanager_answer()?;
        let page = alerts.into_iter().find(|alert| {
            alert["labels"]["alertname"] == "BaileysLoginAtRisk"
                && alert["labels"]["session"] == BLOATED
        });
        page.ok_or_else(|| "no BaileysLoginAtRisk".to_owned())
    })?;
    let text = notification::text(&alert, stack.dir())?;
    let command = format!("baileys_remediator plan '{BLOATED}'");
    for part in [
        "A bot is about to lose its login.",
        "387",
        &command,
        "/baileysloginatrisk",
    ] {
        if !text.contains(part) {
            return Err(format!("page: no {part:?} in: {text}"));
        }
    }
    Ok(text)
}

/// The remediator accepts the alert and cleans.
fn cleaned(
    stack: &Stack,
    patience: &Patience,
    tell: &mut dyn FnMut(&str, &str),
) -> Result<Cleaned> {
    let host = stack.host();
    patience.wait_until(STEP, "webhook accepted: the remediator answers 202", || {
        let accepted = host.remediator_metrics()?.sum(
            "baileys_remediator_webhook_requests_total",
            &[("code", "202")],
        )?;
        if accepted > 0.0 {
            Ok(())
        } else {
            Err("no 202 yet".to_owned())
        }
    })?;
    tell(
        "webhook",
        "Alertmanager has called the remediator, which answered 202",
    );

    let moved = patience.wait_until(STEP, "cleaned: the remediator has moved files", || {
        let metrics = host.remediator_metrics()?;
        if metrics.sum("baileys_remediator_last_success_timestamp_seconds", &[])? == 0.0 {
            return Err(format!(
                "no success yet; refusals: {:?}",
                refusals(&metrics)
            ));
        }
        let moved: BTreeMap<String, u32> = metrics
            .having("baileys_remediator_files_moved_total", &[])
            .filter(|sample| sample.value > 0.0)
            .filter_map(|sample| Some((sample.labels.get("kind")?.clone(), sample.value as u32)))
            .collect();
        if moved.is_empty() {
            Err("nothing moved".to_owned())
        } else {
            Ok(moved)
        }
    })?;
    let left = patience.wait_until(STEP, "cleaned: the exporter counts below 120", || {
        let left = accumulated(&host.exporter_metrics()?, BLOATED)?;
        if left < 120.0 {
            Ok(left as u32)
        } else {
            Err(format!("{left} accumulated files"))
        }
    })?;
    let total: u32 = moved.values().sum();
    // What was moved is what is missing, and nothing else moved anywhere.
    expect(
        "cleaned: files left",
        f64::from(left),
        f64::from(387 - total),
    )?;
    let runs = host.quarantined_runs(BLOATED)?;
    let [run] = runs.as_slice() else {
        return Err(format!(
            "cleaned: one run expected in the quarantine, found {runs:?}"
        ));
    };
    let records = host.runs()?;
    let record = records
        .iter()
        .find(|record| record["run"] == run.as_str())
        .ok_or("cleaned: no record of it")?;
    let said = (
        &record["session"],
        &record["status"],
        &record["accumulated_after"],
        &record["note"],
    );
    let note = "restart not allowed by the configuration";
    if said != (&json!(BLOATED), &json!("done"), &json!(left), &json!(note)) {
        return Err(format!("cleaned: the record says {record}"));
    }
    let kinds: Vec<String> = moved
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    tell(
        "cleaned",
        &format!(
            "{total} files moved ({}): 387 are now {left}",
            kinds.join(", ")
        ),
    );
    tell(
        "",
        &format!("nothing is deleted: they are in .baileys_quarantine/{run} of the folder"),
    );
    Ok(Cleaned {
        run: run.clone(),
        left,
        moved,
    })
}

/// The alert ends everywhere, and a person got a message about both.
fn resolved(stack: &Stack, patience: &Patience, tell: &mut dyn FnMut(&str, &str)) -> Result<()> {
    let gone = |alerts: Vec<Alert>| match of(BLOATED, &alerts).next() {
        None => Ok(()),
        Some(alert) => Err(format!("{} is {}", alert.name, alert.state)),
    };
    patience.wait_until(STEP, "resolved: no alert in Prometheus", || {
        gone(stack.prometheus_alerts()?)
    })?;
    patience.wait_until(STEP, "resolved: no alert in Alertmanager", || {
        gone(stack.alertmanager_alerts()?)
    })?;
    patience.wait_until(
        STEP,
        "resolved: a person got messages about the emergency and its end",
        || {
            let told: Vec<String> = stack
                .person
                .sent()
                .into_iter()
                .filter(|sent| sent.session == BLOATED && sent.alert == "BaileysAuthFilesEmergency")
                .map(|sent| sent.status)
                .collect();
            match ["firing", "resolved"]
                .iter()
                .all(|status| told.iter().any(|told| told == status))
            {
                true => Ok(()),
                false => Err(format!("told {told:?}")),
            }
        },
    )?;
    tell(
        "resolved",
        &format!(
            "no alert is left for {BLOATED}; a person got a message when it began and when it ended"
        ),
    );
    Ok(())
}

/// The folder at 130 stays a warning: a plan is recorded, and no file moves.
fn warned(stack: &Stack, patience: &Patience, tell: &mut dyn FnMut(&str, &str)) -> Result<()> {
    let host = stack.host();
    patience.wait_until(STEP, "warning: Prometheus warns, and no more", || {
        let alerts = stack.prometheus_alerts()?;
        let mut of: Vec<(&str, &str)> = of(WARNING, &alerts)
            .map(|alert| (alert.name.as_str(), alert.state.as_str()))
            .collect();
        of.sort_unstable();
        match of[..] {
            [("BaileysAuthFilesWarning", "firing")] => Ok(()),
            _ => Err(format!("{of:?}")),
        }
    })?;
    patience.wait_until(STEP, "warning: the remediator records a plan", || {
        let metrics = host.remediator_metrics()?;
        let plans = metrics.sum("baileys_remediator_runs_total", &[("action", "plan")])?;
        if plans == 0.0 {
            return Err("no plan yet".to_owned());
        }
        let records = host.runs()?;
        let record = records
            .iter()
            .find(|record| record["session"] == WARNING)
            .ok_or("no record of it".to_owned())?;
        let planned =
            record["action"] == "plan" && record["status"] == "done" && record["run"].is_null();
        if planned {
            Ok(())
        } else {
            Err(format!("the record says {record}"))
        }
    })?;
    let files = host
        .exporter_metrics()?
        .sum("baileys_auth_files", &[("session", WARNING)])?;
    expect("warning: files", files, 130.0)?;
    let moved = host.quarantined_runs(WARNING)?;
    if !moved.is_empty() {
        return Err(format!("warning: {moved:?} in the quarantine of {WARNING}"));
    }
    tell(
        "warning",
        &format!("{WARNING} stays at 130: a plan is recorded for it, nothing is moved"),
    );
    Ok(())
}

/// Over the whole time Prometheus has watched, nothing was ever said of a healthy folder.
fn stayed_green(stack: &Stack, tell: &mut dyn FnMut(&str, &str)) -> Result<()> {
    // Alerts about no session are the watchers' own: pending until the first scrape.
    let others = stack.query(&format!(
        "count_over_time(ALERTS{{session!=\"\",session!~\"{BLOATED}|{WARNING}\"}}[1h])
         or count_over_time(ALERTS{{session=\"\",alertstate=\"firing\"}}[1h])"
    ))?;
    if !others.is_empty() {
        return Err(format!("green: unexpected alerts: {others:?}"));
    }
    let highest = stack.query("max_over_time(baileys_auth_accumulated_files[1h])")?;
    for session in MODERN.into_iter().chain(["company_normal"]) {
        match highest
            .iter()
            .find(|sample| sample.labels.get("session").is_some_and(|s| s == session))
        {
            Some(sample) if sample.value < 100.0 => {}
            other => return Err(format!("green: {session} at its highest: {other:?}")),
        }
    }
    tell(
        "green",
        &format!(
            "{}, {} and company_normal had no alert at any time",
            MODERN[0], MODERN[1]
        ),
    );
    Ok(())
}

fn of<'a>(session: &str, alerts: &'a [Alert]) -> impl Iterator<Item = &'a Alert> {
    alerts.iter().filter(move |alert| alert.session == session)
}

fn accumulated(metrics: &Metrics, session: &str) -> Result<f64> {
    metrics.sum("baileys_auth_accumulated_files", &[("session", session)])
}

/// The reasons for which the remediator refused, with their numbers.
pub fn refusals(metrics: &Metrics) -> BTreeMap<String, u32> {
    metrics
        .having("baileys_remediator_refusals_total", &[])
        .filter(|sample| sample.value > 0.0)
        .filter_map(|sample| Some((sample.labels.get("reason")?.clone(), sample.value as u32)))
        .collect()
}

fn expect(what: &str, seen: f64, expected: f64) -> Result<()> {
    if seen == expected {
        Ok(())
    } else {
        Err(format!("{seen}, expected {expected}")).doing(what)
    }
}
