//! A stop that has not worked: the process from before it runs on.

use super::*;

fn running(state: &Restart, process: Option<&str>, secs: u32) -> (Restart, Vec<Effect>) {
    let look = Look {
        seen: Seen::Running(process.map(Into::into)),
        connected: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        ..Look::default()
    };
    next(state, &Event::Looked(state.awaited, look), at(1, secs))
}

/// polkit denies the stop, so the bot keeps running. It connected days ago.
#[test]
fn what_was_never_stopped_need_not_connect_again() {
    let mut state = in_phase(Phase::Stopping);
    (state.process, state.decided_ns) = (Some("1".into()), 7);
    let failed = Event::Returned(state.awaited, Returned::Failed);
    let (state, _) = next(&state, &failed, at(1, 10));
    assert_eq!(state.connects_after(), Some(7), "the stop may still come");
    let (state, _) = running(&state, Some("1"), 20);
    assert_eq!(state.phase, Phase::StopUnknown);
    let (state, _) = running(&state, Some("1"), 911);
    assert_eq!(state.phase, Phase::WaitingForConnection);
    assert_eq!(state.connects_after(), None);
    let (once, _) = running(&state, Some("1"), 912);
    let (back, effects) = running(&once, Some("1"), 913);
    assert_eq!(back.phase, Phase::Back);
    assert!(effects.contains(&Effect::Forget));
    // It may be a program that only waits to be killed: it gets no other time.
    let silent = looked(&state, Seen::Running(Some("1".into())));
    let (late, effects) = next(&state, &silent, at(1, 911 + 181));
    assert_eq!(late.phase, Phase::RunningNotConnected);
    assert!(effects.contains(&Effect::Notify(Notice::RunningNotConnected)));
    let (back, _) = running(&late, Some("1"), 1200);
    assert_eq!(back.phase, Phase::Back);
}

/// Its log from before that says nothing of it.
#[test]
fn another_process_has_to_connect() {
    let state = Restart {
        process: Some("1".into()),
        until: Some(at(1, 900)),
        ..in_phase(Phase::StopUnknown)
    };
    let (other, _) = running(&state, Some("2"), 20);
    assert_eq!(other.phase, Phase::WaitingForConnection);
    assert!(other.connects_after().is_some());
    // Its supervisor does not tell which process runs.
    let (unknown, _) = running(&state, None, 911);
    assert!(unknown.connects_after().is_some());
    // It is replaced while it is waited for: what that look has heard was the old log.
    let (same, _) = running(&state, Some("1"), 911);
    let (same, _) = running(&same, Some("1"), 912);
    let (replaced, _) = running(&same, Some("2"), 913);
    assert_eq!(replaced.phase, Phase::WaitingForConnection);
    assert!(replaced.connects_after().is_some());
    assert!(replaced.waiting.iter().all(|one| one.seen == 0));
    let gone = next(&same, &looked(&same, Seen::Gone), at(1, 913)).0;
    assert!(gone.connects_after().is_some());
    // Where that is unclear for a moment, nothing counts and nothing changes.
    let unclear = next(&same, &looked(&same, Seen::Unknown), at(1, 913)).0;
    assert_eq!(unclear.connects_after(), None);
}
