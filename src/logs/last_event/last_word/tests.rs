use super::super::connections::Origin;
use super::*;

fn of(process: u64) -> Origin {
    Origin { process, logger: 0 }
}

const A: u64 = 1;
const B: u64 = 2;

fn at(second: i64) -> Option<Timestamp> {
    Some(Timestamp::from_secs(second))
}

fn log(writer: &str, steps: &[(i64, bool, u64)]) -> OneLog {
    let mut connections = Connections::default();
    for (second, opened, by) in steps {
        match opened {
            true => connections.opened(at(*second), Some(of(*by))),
            false => connections.closed(at(*second), Some(of(*by)), true),
        }
    }
    OneLog {
        writer: (None, writer.to_owned()),
        is_exact: false,
        contested: None,
        written: Timestamp::from_secs(1_000),
        connections,
    }
}

fn is_closed(logs: &[OneLog]) -> bool {
    matches!(last_word(logs, false), LastWord::Closed { .. })
}

#[test]
fn the_logs_of_one_program() {
    let closed = || log("a", &[(10, true, A), (20, false, A)]);
    assert_eq!(last_word(&[], false), LastWord::None);
    assert_eq!(
        last_word(&[closed()], false),
        LastWord::Closed {
            at: at(20),
            by: A,
            opened: at(10)
        }
    );
    assert!(is_closed(&[closed(), log("a", &[])]));
    // The log from before a restart, and the one after it.
    assert!(is_closed(&[closed(), log("a", &[(5, true, B)])]));
    assert!(is_closed(&[closed(), log("a", &[(5, false, B)])]));
    assert!(!is_closed(&[closed(), log("a", &[(15, true, B)])]));
    assert!(!is_closed(&[closed(), log("a", &[(15, false, B)])]));
    let newer = [closed(), log("a", &[(30, true, B)])];
    assert_eq!(
        last_word(&newer, false),
        LastWord::Opened {
            at: at(30),
            has_new_writer: false
        }
    );
    // The other log shows that the process has two connections.
    let two = log("a", &[(1, true, A), (2, true, A), (3, false, A)]);
    assert!(!is_closed(&[closed(), two]));
}

#[test]
fn the_logs_of_several_programs() {
    let closed = |is_exact| OneLog {
        is_exact,
        ..log("a", &[(10, true, A), (20, false, A)])
    };
    let silent = |is_exact| OneLog {
        is_exact,
        ..log("b", &[])
    };
    assert!(!is_closed(&[closed(false), silent(false)]));
    assert!(!is_closed(&[closed(false), silent(true)]));
    assert!(!is_closed(&[closed(true), silent(false)]));
    assert!(is_closed(&[closed(true), silent(true)]));
    // The same process may write both, but every container has a process 1 on the same host name.
    let mut both = silent(false);
    both.connections.wrote(A, at(10));
    assert!(!is_closed(&[closed(false), both]));
    // Named exactly, and the other one ends with a connection.
    let open = OneLog {
        is_exact: true,
        ..log("b", &[(5, true, A)])
    };
    assert!(!is_closed(&[closed(true), open]));
    // It ended long before, but may still run.
    assert!(!is_closed(&[
        closed(true),
        OneLog {
            is_exact: true,
            ..log("b", &[(5, true, B)])
        }
    ]));
    // Lines that name their session may be in any log.
    let by_line = [closed(false), silent(false)];
    assert_eq!(
        last_word(&by_line, true),
        LastWord::Closed {
            at: at(20),
            by: A,
            opened: at(10)
        }
    );
}
