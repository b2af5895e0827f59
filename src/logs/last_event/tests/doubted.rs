//! A close that counts once the process has no connection.

use super::*;

/// The same without the process.
fn plain(at: &str, text: &str) -> String {
    pino(at, text).replace("\"pid\":7,\"hostname\":\"vm\",", "")
}

fn of(clock: &str, pid: Option<u32>) -> Option<DoubtedClose> {
    at(clock).map(|at| DoubtedClose { at, pid })
}

/// By pm2-logrotate, which copies the log and truncates it.
#[test]
fn after_a_truncation_the_process_that_closed_is_known() {
    let log = Log::new();
    let logs = log.fresh();
    let says = || {
        let event = logs.last_event_of(&SessionName::from_text("a"));
        let event = event.unwrap().unwrap();
        let opened = event.last.map(|last| last.opened);
        (opened, event.unclear.is_some(), event.doubted)
    };
    log.append(&pino("10:00:00", OPENED));
    assert_eq!(says(), (Some(true), false, None));
    std::fs::write(log.path(), "").unwrap();
    assert_eq!(says(), (None, false, None));
    log.append(&pino("11:00:00", CLOSED));
    assert_eq!(says(), (None, true, of("11:00:00", Some(7))));
    // It connects again, and for ever it ran before its log.
    log.append(&pino("11:00:05", OPENED));
    assert_eq!(says(), (Some(true), false, None));
    log.append(&pino("12:00:00", CLOSED));
    assert_eq!(says(), (None, true, of("12:00:00", Some(7))));
    // Without a date nothing is known of it.
    log.append(&pino("12:00:01", CLOSED).replace("2026-", "x"));
    assert_eq!(says().2, None);
}

/// pm2-logrotate leaves the copy beside the log.
#[test]
fn the_copy_of_a_rotated_log_is_older() {
    let host = LogDir::new(&["bot"]);
    host.log(
        "bot-out__2026-11-23_10-30-00.log",
        &pino("10:00:00", OPENED),
    );
    host.log("bot-out.log", &pino("11:00:00", CLOSED));
    assert_eq!(host.says("bot", &[]).doubted, of("11:00:00", Some(7)));
    host.log("bot-out.log", &pino("09:00:00", CLOSED));
    assert_eq!(host.says("bot", &[]).doubted, None, "opened since");
}

#[test]
fn a_close_that_names_no_process_is_of_a_log_of_its_own() {
    let host = LogDir::new(&["bot", "other"]);
    host.log("bot-out.log", &plain("11:00:00", CLOSED));
    // The other session may write to it.
    assert_eq!(host.says("bot", &[]).doubted, None);
    host.log("bot-out.log", &pino("11:00:00", CLOSED));
    assert_eq!(host.says("bot", &[]).doubted, of("11:00:00", Some(7)));
    host.log("bot-out.log", &plain("11:00:00", CLOSED));
    host.log("other-out.log", &by(8, "12:00:00", OPENED));
    assert_eq!(host.says("bot", &[]).doubted, of("11:00:00", None));
    // Two programs write for the session.
    host.log("bot-worker-out.log", &by(9, "09:00:00", OPENED));
    let both = [("bot", "bot-worker*.log")];
    assert_eq!(host.says("bot", &both).doubted, None);
    // A name instead of a number.
    let named = "[11:00:00.000] INFO (bot): connection closed\n";
    host.log("bot-out.log", named);
    assert_eq!(host.says("bot", &[]).doubted, None);
}

/// Of several processes with a connection, the other one may have closed.
#[test]
fn several_processes_stay_in_doubt() {
    let host = LogDir::new(&["bot"]);
    let text = by(8, "10:30:01", OPENED)
        + &pino("10:31:00", OPENED)
        + &by(8, "10:32:00", "handled 3 offline messages")
        + &pino("11:00:00", CLOSED);
    host.log("bot-out.log", &text);
    assert!(host.unclear("bot", &[]).contains("several"));
    assert_eq!(host.says("bot", &[]).doubted, None);
}
