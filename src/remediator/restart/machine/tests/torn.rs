//! A torn creds.json: no bot is started on it.

use super::*;

/// The bot would make a new identity over it.
#[test]
fn on_a_torn_creds_json_no_bot_is_started() {
    let state = in_phase(Phase::Cleaning);
    let (state, effects) = next(&state, &Event::Torn(state.awaited), at(1, 10));
    assert_eq!(state.phase, Phase::StartIntended);
    let later = Effect::Observe(PUT_BACK_EVERY, Sources::Live);
    assert_eq!(awaited(&effects), Some(later));
    let (state, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 25));
    assert_eq!(awaited(&effects), Some(Effect::PutBackCreds));
    // Its supervisor does not answer: it is no more started on it than where it is gone.
    let torn = next(&state, &Event::Torn(state.awaited), at(1, 26)).0;
    let unknown = next(&torn, &looked(&torn, Seen::Unknown), at(1, 41)).0;
    let (unknown, effects) = next(&unknown, &looked(&unknown, Seen::Unknown), at(1, 101));
    assert_eq!(awaited(&effects), Some(Effect::PutBackCreds));
    let whole = next(&unknown, &Event::Cleaned(unknown.awaited), at(1, 102)).0;
    let effects = next(&whole, &looked(&whole, Seen::Unknown), at(1, 103)).1;
    assert_eq!(awaited(&effects), Some(Effect::Persist), "started once");
    // The time of the round is over.
    let (state, effects) = next(&state, &Event::Torn(state.awaited), at(1, 71));
    assert_eq!(state.phase, Phase::Down);
    assert!(effects.contains(&Effect::Notify(Notice::CredsTorn)));
    assert!(effects.contains(&Effect::Report(RestartReport::Down)));
    // A person has put it back meanwhile, or it works now.
    let (state, _) = next(&state, &looked(&state, Seen::Gone), at(1, 131));
    let (state, _) = next(&state, &Event::Locked(state.awaited), at(1, 132));
    let (state, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 132));
    assert_eq!(awaited(&effects), Some(Effect::PutBackCreds));
    let (state, _) = next(&state, &Event::Cleaned(state.awaited), at(1, 133));
    let (_, effects) = next(&state, &looked(&state, Seen::Gone), at(1, 133));
    assert_eq!(awaited(&effects), Some(Effect::Persist));
    // The program is to end: it leaves, and the next one goes on.
    let leaving = Restart {
        leaving: true,
        ..in_phase(Phase::Cleaning)
    };
    let (left, effects) = next(&leaving, &Event::Torn(leaving.awaited), at(1, 10));
    assert!(left.phase == Phase::Down && effects.contains(&Effect::Leave));
}

/// If another process was running, it may have been stopped in the middle of a write, too.
#[test]
fn what_has_run_since_its_creds_json_was_checked_is_checked_again() {
    let checked = Restart {
        creds_checked: true,
        round_until: Some(at(1, 100)),
        ..in_phase(Phase::StartIntended)
    };
    for seen in [Seen::Running(None), Seen::Contradicted] {
        let (mut state, _) = next(&checked, &looked(&checked, seen.clone()), at(1, 10));
        let mut last = None;
        for secs in [20, 30] {
            let (after, effects) = next(&state, &looked(&state, Seen::Gone), at(1, secs));
            (state, last) = (after, awaited(&effects).or(last));
            if last == Some(Effect::PutBackCreds) {
                break;
            }
        }
        assert_eq!(last, Some(Effect::PutBackCreds), "{seen:?}");
    }
}
