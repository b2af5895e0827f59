use super::*;

const A: u64 = 1;
const B: u64 = 2;

/// An action of a process.
#[derive(Clone, Copy)]
enum LogStep {
    Starts(u64),
    Opens(u64),
    Closes(u64),
    Writes(u64),
    /// Lines were not read.
    Gap,
}
use LogStep::*;

/// Each process has one logger.
fn of(process: u64) -> Origin {
    Origin { process, logger: 0 }
}

/// One second passes after each step.
fn after(steps: &[LogStep]) -> Connections {
    let mut log = Connections::default();
    for (step, second) in steps.iter().zip(1..) {
        let at = Some(Timestamp::from_secs(second));
        match step {
            Starts(by) => log.started(*by, at),
            Opens(by) => log.opened(at, Some(of(*by))),
            Closes(by) => log.closed(at, Some(of(*by)), true),
            Writes(by) => log.wrote(*by, at),
            Gap => log.missed_lines(),
        }
    }
    log
}

fn says(steps: &[LogStep]) -> &'static str {
    match after(steps).word() {
        None => "nothing",
        Some(LogWord::Opened { .. }) => "opened",
        Some(LogWord::Closed { .. }) => "closed",
        Some(LogWord::Unclear { doubt, .. }) => match doubt {
            Doubt::NotTheOpener => "not the opener",
            Doubt::SeveralConnections => "several connections",
            Doubt::SeveralProcesses => "several processes",
        },
    }
}

#[test]
fn one_process_with_one_connection() {
    assert_eq!(says(&[]), "nothing");
    assert_eq!(says(&[Starts(A), Opens(A)]), "opened");
    assert_eq!(says(&[Starts(A), Opens(A), Closes(A)]), "closed");
    // The library reports an error, then the end.
    assert_eq!(says(&[Opens(A), Closes(A), Closes(A)]), "closed");
    // Failed attempts, before and after the socket was connected.
    let failed = [Opens(A), Closes(A), Closes(A), Starts(A), Closes(A)];
    assert_eq!(says(&failed), "closed");
    let again = [
        Starts(A),
        Opens(A),
        Closes(A),
        Starts(A),
        Opens(A),
        Closes(A),
    ];
    assert_eq!(says(&again), "closed");
    assert_eq!(says(&again[..5]), "opened");
}

#[test]
fn one_process_with_several_connections() {
    let several = "several connections";
    assert_eq!(says(&[Opens(A), Opens(A), Closes(A)]), several);
    // A second connection that begins, or that waits for a QR scan.
    assert_eq!(says(&[Opens(A), Starts(A), Closes(A)]), several);
    assert_eq!(says(&[Starts(A), Starts(A), Opens(A), Closes(A)]), several);
    // This stays so, whatever the connections do, and if lines were not read.
    let mut steps = vec![Opens(A), Opens(A)];
    for _ in 0..3 {
        steps.extend([Closes(A), Closes(A), Opens(A), Closes(A)]);
        assert_eq!(says(&steps), several);
    }
    steps.extend([Gap, Opens(A), Closes(A)]);
    assert_eq!(says(&steps), several);
    // It does not affect another process.
    steps.extend([Opens(B), Closes(B)]);
    assert_eq!(says(&steps), "closed");
}

#[test]
fn several_processes() {
    let not = "not the opener";
    assert_eq!(says(&[Closes(A)]), not, "nothing was opened");
    assert_eq!(says(&[Opens(A), Closes(B)]), not);
    assert_eq!(says(&[Opens(A), Opens(B), Closes(A)]), not);
    assert_eq!(says(&[Opens(A), Gap, Closes(A)]), not);
    // Restarted: the former process has been silent since.
    assert_eq!(says(&[Opens(A), Writes(A), Opens(B), Closes(B)]), "closed");
    // The former process still writes, before or after the close.
    let both = "several processes";
    assert_eq!(says(&[Opens(A), Opens(B), Writes(A), Closes(B)]), both);
    assert_eq!(says(&[Opens(A), Opens(B), Closes(B), Writes(A)]), both);
    // A process without a connection, such as a parent, is not another bot.
    assert_eq!(
        says(&[Writes(A), Opens(B), Writes(A), Closes(B), Writes(A)]),
        "closed"
    );
    // The former process closed its connection after the new one had opened.
    let reload = [Opens(A), Opens(B), Closes(A), Closes(B), Writes(A)];
    assert_eq!(says(&reload), "closed");
}

#[test]
fn the_memory_is_bounded() {
    let mut log = Connections::default();
    for by in 0..1000 {
        log.opened(None, Some(of(by)));
    }
    assert!(log.writers() <= MOST_WRITERS);
    assert!(!log.is_only_of_others(999));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Sockets of up to three sessions in one process, independent of each other. The log shows
    /// their actions in order.
    fn sessions() -> impl Strategy<Value = Vec<(usize, u8)>> {
        prop::collection::vec((0..3_usize, 0..3_u8), 1..40)
    }

    proptest! {
        /// If the log shows all actions of the process, its close never counts while a session is
        /// connected.
        #[test]
        fn no_close_of_another_session_counts(moves in sessions()) {
            // 0: closed, 1: starting, 2: opened.
            let mut sockets = [0_u8; 3];
            let mut log = Connections::default();
            for (second, (session, what)) in (1..).zip(moves) {
                let at = Some(Timestamp::from_secs(second));
                let socket = &mut sockets[session];
                match (*socket, what) {
                    (0, 0) => { log.started(A, at); *socket = 1; }
                    (1, 1) => { log.opened(at, Some(of(A))); *socket = 2; }
                    (1 | 2, 2) => { log.closed(at, Some(of(A)), true); *socket = 0; }
                    _ => {}
                }
                if matches!(log.word(), Some(LogWord::Closed { .. })) {
                    prop_assert!(sockets.iter().all(|socket| *socket != 2), "{sockets:?}");
                }
            }
        }

        /// A session that is alone always gets its verdict.
        #[test]
        fn one_session_alone_is_always_judged(moves in prop::collection::vec(0..3_u8, 1..40)) {
            let mut socket = 0;
            let mut log = Connections::default();
            let mut opened = false;
            for (second, what) in (1..).zip(moves) {
                let at = Some(Timestamp::from_secs(second));
                match (socket, what) {
                    (0, 0) => { log.started(A, at); socket = 1; }
                    (1, 1) => { log.opened(at, Some(of(A))); socket = 2; opened = true; }
                    // It may fail before it was connected.
                    (_, 2) => { log.closed(at, Some(of(A)), true); socket = 0; }
                    _ => continue,
                }
                let closed = matches!(log.word(), Some(LogWord::Closed { .. }));
                prop_assert_eq!(closed, opened && socket == 0 || opened && socket == 1 && closed);
            }
        }
    }
}

#[test]
fn a_process_that_never_opens() {
    let never = |steps: &[LogStep]| after(steps).never_opened();
    // Restarted after it had opened, and new.
    assert!(never(&[Opens(A), Writes(B), Starts(B), Closes(B)]));
    assert!(never(&[Starts(B), Closes(B), Starts(B), Closes(B)]));
    assert!(!never(&[Starts(B), Closes(B), Starts(B), Opens(B)]));
    assert!(!never(&[Starts(B), Opens(B), Closes(B)]));
    // What closed may be a database, beside a connection from before these lines.
    assert!(!never(&[Writes(B), Closes(B)]));
    assert!(!never(&[Starts(B), Closes(B), Gap]));
    let mut cut = Connections::new(true);
    cut.started(B, None);
    cut.closed(None, Some(of(B)), true);
    assert!(
        !cut.never_opened(),
        "the beginning of the process is not known"
    );
}

#[test]
fn a_new_process_writes_after_the_opened_connection() {
    let has = |steps: &[LogStep]| after(steps).has_new_writer();
    assert!(!has(&[Opens(A)]));
    assert!(!has(&[Opens(A), Writes(A)]));
    assert!(has(&[Opens(A), Writes(B)]));
    assert!(has(&[Writes(A), Opens(A), Starts(B), Writes(B)]));
    // Two that run at the same time.
    assert!(!has(&[Writes(B), Opens(A), Writes(B)]));
    assert!(!has(&[Opens(A), Writes(B), Writes(A)]));
    assert!(!has(&[Opens(A), Writes(B), Opens(B)]));
    assert!(!has(&[Opens(A), Writes(B), Gap]));
}
