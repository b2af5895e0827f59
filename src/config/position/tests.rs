use super::*;

const TEXT: &str = "connection:\n  quiet: 0s\n  http:\n    url: x\noverrides:\n  - sessions: [a, '[']\n  - {sessions: b, tiers: {warning: 1}}\nlogs: {paths: '['}\n";

fn position(message: &str) -> Option<(u64, u64)> {
    of_key(TEXT, message).map(|position| (position.line, position.column))
}

#[test]
fn a_message_leads_to_its_key() {
    assert_eq!(position("connection.quiet: must be more"), Some((2, 10)));
    assert_eq!(position("overrides[0].sessions[1]: x"), Some((6, 19)));
    assert_eq!(position("overrides[1].tiers, with what"), Some((7, 26)));
    assert_eq!(position("logs.paths[0]: no glob"), Some((8, 15)));
    // A key that is missing: its section.
    assert_eq!(
        position("connection.http.base_url is missing"),
        Some((4, 5))
    );
    assert_eq!(position("connection.http needs either"), Some((4, 5)));
}

#[test]
fn a_message_about_something_else_leads_nowhere() {
    for message in [
        "",
        "two auth folders are named a",
        "--logs.path: no glob",
        "no auth folder is named",
        "tiers: each must",
    ] {
        assert_eq!(position(message), None, "{message}");
    }
    assert_eq!(of_key("a: [", "a: x"), None);
}
