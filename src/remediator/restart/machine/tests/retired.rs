//! A bot that a person has removed for good while its start was due.

use super::*;

const PHASES: [Phase; 4] = [
    Phase::Down,
    Phase::StartUnknown,
    Phase::HandedOver(HandedTo::Pause),
    Phase::HandedOver(HandedTo::Config(Forbids::NotAllowed)),
];

fn look(state: &Restart, seen: Seen, is_retired: bool, secs: u32) -> (Restart, Vec<Effect>) {
    let look = Look {
        seen,
        is_retired,
        ..Look::default()
    };
    next(state, &Event::Looked(state.awaited, look), at(1, secs))
}

fn pending(phase: Phase) -> Restart {
    Restart {
        reported: true,
        ..in_phase(phase)
    }
}

/// Its alert would fire for ever, and no reload could drop its entry.
#[test]
fn what_was_removed_for_good_is_forgotten() {
    for phase in PHASES {
        let (mut state, _) = look(&pending(phase), Seen::Unknown, true, 100);
        for secs in [160, 400, 699] {
            let (after, effects) = look(&state, Seen::Unknown, true, secs);
            assert_eq!(after.phase, phase, "{secs}");
            assert!(!effects.contains(&Effect::Forget), "{phase:?} {secs}");
            state = after;
        }
        let (state, effects) = look(&state, Seen::Unknown, true, 700);
        assert_eq!(state.phase, Phase::Released, "{phase:?}");
        let told = Effect::Notify(Notice::Retired);
        assert!(
            effects.contains(&Effect::Forget) && effects.contains(&told),
            "{phase:?}: {effects:?}"
        );
    }
}

/// A mount or a supervisor was late, or is late again.
#[test]
fn one_other_look_begins_the_time_anew() {
    for phase in PHASES {
        let (first, _) = look(&pending(phase), Seen::Unknown, true, 100);
        let (other, _) = look(&first, Seen::Unknown, false, 400);
        assert_eq!((other.phase, other.retired_since), (phase, None));
        let (again, effects) = look(&other, Seen::Unknown, true, 800);
        assert_eq!(again.phase, phase);
        assert!(!effects.contains(&Effect::Forget), "{effects:?}");
        // So does a restart of this program, also over a boot.
        let resumed = next(&first, &Event::OwnRestart, at(2, 5)).0;
        assert_eq!(resumed.retired_since, None);
    }
}

/// Its supervisor knows it: it is started, or waited for.
#[test]
fn what_its_supervisor_knows_is_not_forgotten() {
    for phase in PHASES {
        for seen in [Seen::Gone, Seen::Changing, Seen::Contradicted] {
            let first = look(&pending(phase), Seen::Unknown, true, 100).0;
            let (after, effects) = look(&first, seen.clone(), true, 900);
            assert!(!effects.contains(&Effect::Forget), "{phase:?} {seen:?}");
            assert!(after.phase.is_pending(), "{phase:?} {seen:?}");
        }
    }
}

/// The call may still start it.
#[test]
fn a_start_that_may_still_come_is_waited_for() {
    let mut state = pending(Phase::StartUnknown);
    state.call = Some(Call::new(1, CallKind::Start, at(1, 1000), times().start));
    let first = look(&state, Seen::Unknown, true, 100).0;
    let (after, effects) = look(&first, Seen::Unknown, true, 900);
    assert_eq!(after.phase, Phase::StartUnknown);
    assert!(!effects.contains(&Effect::Forget), "{effects:?}");
}
