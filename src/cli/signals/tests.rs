use std::collections::BTreeSet;

use super::*;

/// Numbers of Linux on every architecture that the programs are built for.
#[test]
fn every_signal_that_ends_a_process_is_handled_or_named_as_an_exception() {
    let goes_on = [libc::SIGHUP, libc::SIGPIPE, libc::SIGXFSZ];
    let cannot = [
        libc::SIGKILL,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
    ];
    let does_not_end = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    let others = [&goes_on[..], &cannot, &does_not_end].concat();
    let handled: BTreeSet<i32> = all().map(|(_, number)| number).collect();
    let expected: BTreeSet<i32> = (1..32)
        .chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
        .filter(|number| !others.contains(number))
        .collect();
    assert_eq!(handled, expected);
}

#[test]
fn the_documentation_lists_them() {
    let docs = include_str!("../../../docs/configuration.md");
    let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
    let listed = format!("{} and the real-time signals", names.join(", "));
    assert!(docs.contains(&listed), "{listed}");
}

#[tokio::test]
async fn all_can_be_installed() {
    drop(until_stopped().unwrap());
}
