//! Restarts that a restart of this program, or a reload, found under way.

use super::*;

/// Its own configuration names it again later, and a person has stopped it since.
#[test]
fn what_was_seen_running_is_forgotten_when_the_configuration_no_longer_names_it() {
    for how in [Forbids::Removed, Forbids::NotAllowed] {
        let event = Event::Forbidden(how);
        for phase in [Phase::WaitingForConnection, Phase::RunningNotConnected] {
            let (state, effects) = next(&in_phase(phase), &event, at(1, 9));
            assert_eq!(state.phase, Phase::Released, "{phase:?}");
            assert!(effects.contains(&Effect::Forget), "{phase:?}");
        }
        let (state, _) = next(&in_phase(Phase::Gone), &event, at(1, 9));
        assert_eq!(state.phase, Phase::HandedOver(HandedTo::Config(how)));
    }
}

/// Who stops it after its time is a person, and not each restart of this program starts it.
#[test]
fn a_restart_of_this_program_gives_no_new_starts_and_no_new_time() {
    let mut state = in_phase(Phase::WaitingForConnection);
    (state.again, state.until) = (STARTS_AGAIN, Some(at(1, 100)));
    let (same, effects) = next(&state, &Event::OwnRestart, at(1, 50));
    assert!(matches!(awaited(&effects), Some(Effect::Lock(_))));
    assert_eq!((same.again, same.until), (STARTS_AGAIN, Some(at(1, 100))));
    let (late, effects) = next(&state, &Event::OwnRestart, at(1, 200));
    assert_eq!(late.phase, Phase::RunningNotConnected);
    assert!(matches!(awaited(&effects), Some(Effect::Observe(..))));
    let (late, effects) = next(&late, &looked(&late, Seen::Gone), at(1, 201));
    assert_eq!(late.phase, Phase::RunningNotConnected);
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Lock(_) | Effect::Start))
    );
    let (rebooted, _) = next(&state, &Event::OwnRestart, at(2, 5));
    assert_eq!((rebooted.again, rebooted.phase), (0, Phase::StartUnknown));
    assert_eq!(rebooted.round_until, Some(at(2, 5).plus(times().start)));
}

/// The sockets that the earlier process has seen are forgotten: they have time to last once more.
#[test]
fn after_a_restart_of_this_program_sockets_have_time_to_last() {
    let until = |end: u32, sockets: u32, resumed: u32, locked: u32| {
        let mut state = in_phase(Phase::WaitingForConnection);
        state.until = Some(at(1, end));
        state.times.sockets = SECOND * sockets;
        let (state, _) = next(&state, &Event::OwnRestart, at(1, resumed));
        let locked = next(&state, &Event::Locked(state.awaited), at(1, locked));
        assert!(matches!(awaited(&locked.1), Some(Effect::Observe(..))));
        locked.0.until.unwrap()
    };
    assert_eq!(until(100, 35, 90, 91), at(1, 126));
    assert_eq!(until(100, 35, 99, 105), at(1, 140));
    assert_eq!(until(100, 35, 134, 134), at(1, 169), "it has just ended");
    assert_eq!(until(100, 35, 20, 21), at(1, 100), "enough time is left");
    assert_eq!(until(100, 0, 90, 91), at(1, 100), "they are no source");
    // Connected at two looks after its own time, it is back.
    let mut state = in_phase(Phase::WaitingForConnection);
    state.until = Some(at(1, 100));
    state = next(&state, &Event::OwnRestart, at(1, 90)).0;
    state = next(&state, &Event::Locked(state.awaited), at(1, 91)).0;
    for (second, sessions, phase) in [
        (101, &[][..], Phase::WaitingForConnection),
        (121, &["a", "b"], Phase::WaitingForConnection),
        (122, &["a", "b"], Phase::Back),
    ] {
        let look = Look {
            seen: Seen::Running(None),
            connected: sessions.iter().map(|one| (*one).to_owned()).collect(),
            ..Look::default()
        };
        state = next(&state, &Event::Looked(state.awaited, look), at(1, second)).0;
        assert_eq!(state.phase, phase, "{second}");
    }
}

/// The journal of an earlier version.
#[test]
fn a_state_without_the_newer_keys_is_read() {
    let mut state = in_phase(Phase::Down);
    state.folders = BTreeMap::from([("a".to_owned(), "/srv/a".into())]);
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<Restart>(&text).unwrap(), state);
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["folders", "retired_since"] {
        assert!(json.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    let read: Restart = serde_json::from_value(json).unwrap();
    assert!(read.folders.is_empty() && read.retired_since.is_none());
}
