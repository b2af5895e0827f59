//! Which process opened the connection.

use super::*;

#[test]
fn a_restarted_process_that_never_connects() {
    let host = LogDir::new(&["bot"]);
    let waits = by(7, "18:00:01", OPENED) + &by(8, "18:10:01", "connected to WA");
    host.log("bot.log", &waits);
    assert!(host.says("bot", &[]).has_new_writer);
    host.log("bot.log", &(waits + &by(8, "18:10:20", CLOSED)));
    assert!(host.says("bot", &[]).never_opened);
}

#[test]
fn the_opener_is_of_the_log_that_opened_last() {
    let here = format!("\"hostname\":\"{}\"", crate::host::name());
    let on_this_host = by(7, "18:00:01", OPENED).replace("\"hostname\":\"vm\"", &here);
    let elsewhere =
        by(7, "19:00:01", OPENED).replace("\"hostname\":\"vm\"", "\"hostname\":\"a1b2c3\"");
    let host = LogDir::new(&["bot"]);
    host.log("bot.log", &on_this_host);
    let opener = host.says("bot", &[]).opener.unwrap();
    assert_eq!(opener.pid, 7);
    // The bot has moved into a container: which process of this host it is, is unknown.
    host.log("bot-out.log", &elsewhere);
    assert_eq!(host.says("bot", &[]).opener, None);
}
