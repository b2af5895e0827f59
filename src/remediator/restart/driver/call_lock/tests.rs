use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::remediator::restart::state::{Call, CallKind, Now, Times, Trigger};

fn intended(id: u64) -> Restart {
    let times = Times::all(Duration::from_secs(1));
    let mut state = Restart::new("bots", "a", 1, Trigger::Emergency, 7, times);
    state.call = Some(Call {
        id,
        kind: CallKind::Start,
        begins_by: Now::default(),
        over_at: Now::default(),
    });
    state
}

/// Waits until the call has ended. Another test may be between fork and exec, where its process
/// still has the file.
fn assert_ends(dir: &Path, state: &Restart) {
    let ended = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        has_ended(dir, state)
    });
    assert!(ended);
}

/// This process may be killed; what it has called holds the file on.
#[test]
fn a_call_has_ended_when_no_process_of_it_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let state = intended(3);
    assert!(!has_ended(dir.path(), &state), "there is no file");
    let held = create(dir.path(), &state).unwrap();
    assert!(!has_ended(dir.path(), &state), "it is about to be called");
    let mut called = Command::new("cat")
        .stdin(held.try_clone().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(held);
    let ended = called.wait().unwrap();
    assert!(ended.success());
    let mut printed = String::new();
    let mut stdout = called.stdout.take().unwrap();
    stdout.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "", "its standard input is empty");
    assert_ends(dir.path(), &state);
}

#[test]
fn a_process_of_the_call_that_is_left_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = intended(3);
    let held = create(dir.path(), &state).unwrap();
    let mut called = Command::new("sleep")
        .arg("60")
        .stdin(held.try_clone().unwrap())
        .spawn()
        .unwrap();
    drop(held);
    let is_held = !has_ended(dir.path(), &state);
    called.kill().unwrap();
    called.wait().unwrap();
    assert!(is_held);
    assert_ends(dir.path(), &state);
}

#[test]
fn the_file_of_another_call_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path(), &intended(3)).unwrap());
    assert!(!has_ended(dir.path(), &intended(4)));
    assert!(
        create(
            dir.path(),
            &Restart {
                call: None,
                ..intended(3)
            }
        )
        .is_none()
    );
    assert_ends(dir.path(), &intended(3));
}
