//! What is worth a report: what is new since the last look. Pure.
//!
//! | what | when |
//! |---|---|
//! | a clean-up that an alert or `serve` asked for | it moved files |
//! | the same | it was refused or failed: once an action until the reason changes, or an hour is over without it |
//! | a pause, an open circuit breaker, a bot that has not come back | it begins, it ends; the last two also at the first look |
//! | the journal | it cannot be used; it can be used again |
//! | a tier (local trigger only) | a session's highest tier from `warning` on rises; it is left |
//!
//! A report of trouble that goes on, and was reported before or began before the first look, begins
//! with `still: `. No report holds a file name, a path, a key, or the sentence of an error.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::policy::Tier;
use crate::policy::ladder::TierStatus;
use crate::remediator::overview::{StatusNotice, StatusNoticeKind};
use crate::remediator::requester::Requester;
use crate::remediator::store::runs::{Action, Run, Status};
use crate::remediator::store::session_status::{SessionStatus, denied_nothing};

/// The same refusal or failure of a session is reported again after this time without it.
const SAME_FOR: Duration = Duration::from_secs(3_600);

/// Begins a report of trouble that goes on.
const STILL: &str = "still: ";
const JOURNAL_LOST: &str = "The journal cannot be used, so no run begins; the log says why";

/// What was known at the last look.
#[derive(Debug, Default)]
pub struct Reports {
    /// Of each session and action the last refusal or failure, and when it was last seen.
    hindered: BTreeMap<(String, Action), (String, Duration)>,
    /// Sessions that were being refused at the first look, with the reason.
    refused_before: BTreeMap<String, String>,
    /// The text of each notice.
    notices: Option<BTreeMap<NoticeKey, String>>,
    is_journal_lost: bool,
    tiers: BTreeMap<String, Tier>,
}

/// The label and the subject of a notice.
type NoticeKey = (&'static str, String);

impl Reports {
    /// Takes up what was refused before the first look.
    pub fn begin(&mut self, sessions: &[SessionStatus]) {
        let refused = sessions.iter().filter_map(|status| {
            let refused = status.refused.as_ref()?;
            Some((status.session.clone(), refused.reason.clone()))
        });
        self.refused_before = refused.collect();
    }

    /// What the state of the journal is worth.
    pub fn of_journal(&mut self, is_lost: bool) -> Option<String> {
        let was_lost = std::mem::replace(&mut self.is_journal_lost, is_lost);
        match (was_lost, is_lost) {
            (false, true) => Some(JOURNAL_LOST.to_owned()),
            (true, false) => Some(format!("no longer: {JOURNAL_LOST}")),
            _ => None,
        }
    }

    /// What runs that have ended are worth. `now`: monotonic time, from any start.
    pub fn of_runs(&mut self, runs: &[Run], now: Duration) -> Vec<String> {
        self.hindered
            .retain(|_, (_, last)| now.saturating_sub(*last) <= SAME_FOR);
        runs.iter()
            .filter_map(|run| self.of_run(run, now))
            .collect()
    }

    fn of_run(&mut self, run: &Run, now: Duration) -> Option<String> {
        let is_cleanup = matches!(run.action, Action::Cleanup | Action::Emergency);
        let is_own = !matches!(run.requested_by, Requester::Operator(_));
        if !is_cleanup || !is_own {
            return None;
        }
        let (session, action, id) = (&run.session, run.action.label(), run.id);
        match run.status {
            Status::Queued | Status::Running => None,
            Status::Done => {
                self.hindered.retain(|(hindered, _), _| hindered != session);
                self.refused_before.remove(session);
                if run.moved() == 0 {
                    return None;
                }
                let undo = run.run.as_ref().map_or_else(String::new, |run| {
                    format!("; undo with: baileys_remediator undo {run}")
                });
                let accumulated = run.accumulated("to");
                Some(format!(
                    "{session}: {action} done, {} files moved, accumulated {accumulated} (run {id}){undo}",
                    run.moved()
                ))
            }
            Status::Refused | Status::Failed => {
                let reason = run.reason.as_deref().unwrap_or("-");
                if run.status == Status::Refused && denied_nothing(Some(reason)) {
                    return None;
                }
                let what = format!("{} {reason}", run.status.label());
                let key = (session.clone(), run.action);
                let former = self.hindered.insert(key, (what.clone(), now));
                if former.is_some_and(|(former, _)| former == what) {
                    return None;
                }
                let before = self.refused_before.remove(session);
                let goes_on =
                    before.is_some_and(|before| run.status == Status::Refused && before == reason);
                let still = if goes_on { STILL } else { "" };
                Some(format!(
                    "{still}{session}: {action} {}: {reason}; see: baileys_remediator runs show {id}",
                    run.status.label()
                ))
            }
        }
    }

    /// What the state is worth: which notices begin, and which end. At the first look those that
    /// a person must act on, because it is not known whether they were sent: a bot that has not
    /// come back, and an open circuit breaker. A pause is only remembered.
    pub fn of_notices(&mut self, notices: &[StatusNotice]) -> Vec<String> {
        let is_news = |notice: &&StatusNotice| match notice.kind {
            StatusNoticeKind::Paused
            | StatusNoticeKind::BreakerOpen
            | StatusNoticeKind::NotBack => true,
            // Each ends in a run that is reported.
            StatusNoticeKind::Restart | StatusNoticeKind::Armed => false,
        };
        let now: BTreeMap<NoticeKey, String> = notices
            .iter()
            .filter(is_news)
            .map(|notice| {
                let key = (notice.kind.label(), notice.subject.clone());
                (key, notice.text.clone())
            })
            .collect();
        let before = self.notices.replace(now.clone());
        let Some(before) = before else {
            let still = now.into_iter();
            let still = still.filter(|((kind, _), _)| *kind != StatusNoticeKind::Paused.label());
            return still
                .map(|((kind, _), text)| format!("{STILL}{kind} {text}"))
                .collect();
        };
        let begin = now.iter().filter_map(|(key, text)| {
            let still = match before.get(key) {
                None => "",
                Some(former) if former != text => STILL,
                Some(_) => return None,
            };
            Some(format!("{still}{} {text}", key.0))
        });
        let end = before.iter().filter(|(key, _)| !now.contains_key(key));
        let end = end.map(|((kind, _), text)| format!("no longer: {kind} {text}"));
        begin.chain(end).collect()
    }

    /// What the statuses are worth.
    pub fn of_standings(&mut self, statuses: &[TierStatus]) -> Vec<String> {
        let mut reports = Vec::new();
        for status in statuses {
            let highest = status.firing.keys().next_back().copied();
            let highest = highest.filter(|tier| *tier >= Tier::Warning);
            let (session, files) = (&status.session, status.accumulated);
            match (highest, self.tiers.get(session).copied()) {
                (Some(tier), former) if former.is_none_or(|former| tier > former) => {
                    self.tiers.insert(session.clone(), tier);
                    let decide = match tier {
                        Tier::Fatal => "; a person has to decide",
                        _ => "",
                    };
                    reports.push(format!(
                        "{session}: {tier} tier, {files} accumulated files{decide}"
                    ));
                }
                // Lower, and not over: it may rise again without a word of it.
                (Some(_), _) | (None, None) => {}
                (None, Some(former)) => {
                    if status.is_read && files < status.thresholds.warning {
                        self.tiers.remove(session);
                        reports.push(format!(
                            "{session}: {former} tier is over, {files} accumulated files"
                        ));
                    }
                }
            }
        }
        reports
    }
}

#[cfg(test)]
mod tests;
