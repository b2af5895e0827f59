use std::collections::BTreeSet;

use super::*;
use crate::folder::SessionName;

fn all() -> Vec<RunError> {
    let why = || "why".to_owned();
    let mut all = vec![
        RunError::Refused(Refusal::Connected),
        RunError::StopRefused(StopRefusal::NotLoggedIn),
        RunError::NotCleanedEither {
            stop: StopRefusal::Budget { budget: 2 },
            cleanup: Box::new(Refusal::Connected.into()),
        },
        RunError::Obstacle(Obstacle::Locked),
        RunError::Obstacle(Obstacle::Io(why())),
        RunError::Changed(0),
        RunError::Changed(2),
        RunError::Store(why()),
        RunError::UnknownSession,
        RunError::DuplicateName,
        RunError::CopiedFolder(SameLogin::CopyOf(SessionName::from_text("bot"))),
        RunError::Crashed(Crash::WhileDown),
        RunError::Crashed(Crash::NothingMoved),
        RunError::Crashed(Crash::NothingRestored),
        RunError::Crashed(Crash::Unreadable(why())),
        RunError::Interrupted(Interruption::Clean),
        RunError::Interrupted(Interruption::Undo),
        RunError::NotStopped(why()),
        RunError::NotGone(Duration::from_secs(3)),
        RunError::CleanTimeout(Duration::from_secs(3)),
        RunError::DownTimeout,
        RunError::BrokeOff(why()),
    ];
    for bot in [
        BotState::Connected,
        BotState::NotConnected(why()),
        BotState::StartUnknown(why()),
        BotState::Down(why()),
    ] {
        all.extend(
            all.clone()
                .into_iter()
                .take(20)
                .map(|error| RunError::AfterStop {
                    error: Box::new(error),
                    bot: bot.clone(),
                }),
        );
        if bot != BotState::Connected {
            all.push(RunError::NotBack { bot, run: None });
        }
    }
    all
}

#[test]
fn every_label_is_listed_under_its_status() {
    let refusals: BTreeSet<_> = RunError::refusals().collect();
    let failures: BTreeSet<_> = RunError::FAILURES.into_iter().collect();
    assert!(refusals.is_disjoint(&failures));
    let mut failed = BTreeSet::new();
    for error in all() {
        match error.status() {
            Status::Refused => assert!(refusals.contains(error.label()), "{error:?}"),
            Status::Failed => {
                assert!(failures.contains(error.label()), "{error:?}");
                failed.insert(error.label());
            }
            other => panic!("{error:?}: {other:?}"),
        }
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(failed, failures, "no label is listed in vain");
}

#[test]
fn running_but_not_connected_and_down_are_two_reasons() {
    let label = |bot| RunError::NotBack { bot, run: None }.label();
    assert_eq!(label(BotState::NotConnected("x".into())), "not_connected");
    assert_eq!(label(BotState::Down("x".into())), "down");
    assert_eq!(label(BotState::StartUnknown("x".into())), "start_unknown");
}

/// A service that was not started, or does not run, is not called started.
#[test]
fn a_sentence_claims_no_start_that_did_not_happen() {
    let sentence = |error: RunError, bot| {
        RunError::AfterStop {
            error: Box::new(error),
            bot,
        }
        .to_string()
    };
    let not_stopped = sentence(
        RunError::NotStopped("exit code 1".into()),
        BotState::Connected,
    );
    assert_eq!(
        not_stopped,
        "failed to stop the service: exit code 1; no file was moved. The bot is connected"
    );
    let down = sentence(
        RunError::Changed(0),
        BotState::Down("the service could not be started: exit code 1".into()),
    );
    let not_back = RunError::NotBack {
        bot: BotState::Down("the service could not be started: exit code 1".into()),
        run: Some("R".into()),
    }
    .to_string();
    for text in [down, not_back] {
        assert!(!text.contains("was started"), "{text}");
        assert!(
            text.contains("it is down: the service could not be started: exit code 1"),
            "{text}"
        );
    }
}

#[test]
fn a_refusal_that_may_end_arms_the_run() {
    let minute = Duration::from_secs(60);
    let clock_set = crate::connection::RecentStep::within(minute, Some(Duration::ZERO)).unwrap();
    let either = |stop, cleanup: RunError| RunError::NotCleanedEither {
        stop,
        cleanup: Box::new(cleanup),
    };
    let budget = || StopRefusal::Budget { budget: 2 };
    let stale = Refusal::StaleAlert {
        live: 1,
        threshold: 150,
    };
    for (error, armed) in [
        (Refusal::Connected.into(), ArmedChange::Arm),
        (Refusal::ConnectionUnknown.into(), ArmedChange::Arm),
        (
            StopRefusal::Guard(Refusal::ConnectionUnknown).into(),
            ArmedChange::Arm,
        ),
        (StopRefusal::ClockSet(clock_set).into(), ArmedChange::Arm),
        (stale.clone().into(), ArmedChange::Disarm),
        (RunError::UnknownSession, ArmedChange::Keep),
        (RunError::DuplicateName, ArmedChange::Keep),
        (budget().into(), ArmedChange::Keep),
        (
            either(budget(), Refusal::Connected.into()),
            ArmedChange::Arm,
        ),
        (either(budget(), stale.into()), ArmedChange::Disarm),
        (
            either(budget(), RunError::Obstacle(Obstacle::Locked)),
            ArmedChange::Keep,
        ),
        (
            either(StopRefusal::BreakerOpen, StopRefusal::BreakerOpen.into()),
            ArmedChange::Arm,
        ),
    ] {
        assert_eq!(error.armed(), armed, "{error:?}");
    }
}

#[test]
fn an_undo_says_what_it_left_and_asks_for_a_restart_only_where_files_are_back() {
    let undone = |restored, blocked, missing| RunOutcome::Undone {
        restored,
        blocked,
        missing,
    };
    for (outcome, is_left, restart) in [
        (undone(3, 0, 0), false, true),
        (undone(3, 1, 0), true, true),
        (undone(3, 0, 1), true, true),
        (undone(0, 1, 0), true, false),
        (undone(0, 0, 1), true, false),
        (undone(0, 0, 0), false, false),
    ] {
        let said = outcome.to_string();
        assert_eq!(outcome.left().is_some(), is_left, "{said}");
        assert_eq!(said.contains("Restart the bot"), restart, "{said}");
        assert!(!said.contains("0 files"), "{said}");
        let mut ending = Ending::default();
        assert_eq!(apply_result(&Ok(outcome), &mut ending), Status::Done);
        assert_eq!(ending.detail.is_some(), is_left, "{said}");
    }
}
