use super::*;

/// Another entry of `processes` may allow a restart.
#[test]
fn what_is_said_of_one_session_is_not_said_of_all() {
    let overview = Overview::default();
    assert!(text(&overview, None).contains("no bot is ever stopped"));
    let one = text(&overview, Some("bot"));
    assert!(
        !one.contains("no bot") && one.contains("it is never stopped"),
        "{one}"
    );
}
