//! The permission check of `doctor`.

use anstyle::AnsiColor;
use clock::Clock;
use supervisor::{QUERY_TIMEOUT, Query};

use crate::cli::table;
use crate::config::Settings;
use crate::folder::discovery::Skipped;
use crate::folder::{Found, Timestamp};

use super::super::insurance::restore::rehearse;
use super::super::privileges::{self, FindingGroup, Me, PermissionFinding, Weight};
use super::super::quarantine::{LockedFolder, Obstacle};
use super::super::runner::blocking;

/// Checks one folder and each file in it. With `trial` it also tries a lock and a rename inside
/// the quarantine, and what puts a copy of creds.json back where an emergency may stop the bot. Asks
/// the supervisor whether the bot could be started again.
pub(super) async fn look(
    settings: &Settings,
    found: &Found,
    trial: bool,
    clock: Clock,
) -> Vec<PermissionFinding> {
    let place = found.place.clone();
    let is_stopped = privileges::is_stopped(settings, &found.session);
    let mut findings = blocking(move || {
        let mut findings = match privileges::look(&place, true) {
            Ok(facts) => privileges::judge(&facts, &Me::now(), is_stopped),
            Err(why) => return vec![privileges::closed(&place, &why)],
        };
        // A trial adds nothing if a problem is already known.
        if trial
            && findings
                .iter()
                .all(|finding| finding.weight != Weight::Problem)
        {
            let now = Timestamp::of(&clock);
            let tried = LockedFolder::lock(&place).and_then(|folder| {
                folder.try_out(now)?;
                match is_stopped {
                    true => rehearse(&folder, b"{}", now),
                    false => Ok(()),
                }
            });
            findings.extend(tried.err().map(|obstacle| failed(&obstacle)));
        }
        findings
    })
    .await;
    let query = Query {
        max_age: QUERY_TIMEOUT,
        ..Query::default()
    };
    if let Some(service) = settings.services.of(&found.session)
        && let Some(obstacle) = service.check_restart(&query).await
    {
        findings.push(PermissionFinding {
            check: "restart",
            weight: Weight::Problem,
            message: format!(
                "no bot is stopped here, because {}: {obstacle}",
                obstacle.consequence()
            ),
            fix: obstacle.fix().into(),
        });
    }
    findings
}

fn failed(obstacle: &Obstacle) -> PermissionFinding {
    let (weight, fix) = match obstacle {
        Obstacle::Locked => (Weight::Warning, "baileys_remediator doctor --try"),
        _ => (
            Weight::Problem,
            "see the message, then retry: baileys_remediator doctor --try",
        ),
    };
    PermissionFinding {
        check: "trial",
        weight,
        message: format!("the trial failed: {obstacle}"),
        fix: fix.into(),
    }
}

/// All findings, grouped. `skipped`: what discovery has left out.
pub(super) fn groups(
    settings: &Settings,
    skipped: &[Skipped],
    folders: &[(String, Vec<PermissionFinding>)],
) -> Vec<FindingGroup> {
    let program = privileges::program(settings, &Me::now())
        .into_iter()
        .chain(privileges::paths(skipped))
        .map(|finding| (None, finding));
    let folders = folders.iter().flat_map(|(session, findings)| {
        findings
            .iter()
            .map(move |finding| (Some(session.clone()), finding.clone()))
    });
    privileges::grouped(program.chain(folders).collect())
}

/// The part of `doctor` below the table of sources.
pub(super) fn report(
    groups: &[FindingGroup],
    folders: &[(String, Vec<PermissionFinding>)],
    trial: bool,
) -> String {
    let fails = |findings: &[PermissionFinding]| {
        findings
            .iter()
            .any(|finding| finding.weight == Weight::Problem)
    };
    let able = folders
        .iter()
        .filter(|(_, findings)| !fails(findings))
        .count();
    let tried = if trial {
        "with a trial"
    } else {
        "without a trial; add --try for one"
    };
    let mut text = format!(
        "Permission check passed for {able} of {} folders ({tried}).",
        folders.len()
    );
    if groups.is_empty() {
        return text;
    }
    let mut out = table::Table::new(&["CHECK", "WEIGHT", "SESSIONS", "FINDING"]);
    for group in groups {
        let style = match group.finding.weight {
            Weight::Problem => AnsiColor::Red.on_default(),
            Weight::Warning => AnsiColor::Yellow.on_default(),
        };
        out.row(vec![
            table::plain(group.finding.check),
            table::styled(group.finding.weight.label(), style),
            table::plain(group.subject()),
            table::plain(&group.finding.message),
        ]);
    }
    text.push_str(&format!("\n\n{out}\n"));
    for group in groups {
        text.push_str(&format!(
            "\nto fix {}: {}",
            group.finding.check, group.finding.fix
        ));
        if group.sessions.len() > 1 {
            text.push_str(&format!(
                "  (and the same for {} more)",
                group.sessions.len() - 1
            ));
        }
    }
    text
}

/// A finding as JSON.
pub(super) fn json(finding: &PermissionFinding) -> serde_json::Value {
    serde_json::json!({
        "check": finding.check,
        "weight": finding.weight.label(),
        "message": finding.message,
        "fix": finding.fix,
    })
}
