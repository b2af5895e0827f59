use super::*;
use base64::Engine as _;
use proptest::prelude::*;

#[test]
fn what_an_error_says_is_shown_without_its_secrets() {
    for (text, shown) in [
        ("", None),
        (" \n\t\n", None),
        (
            "curl: (7) Failed to connect to localhost port 3000 after 0 ms: Couldn't connect to server\nmore",
            Some(
                "curl: (7) Failed to connect to localhost port 3000 after 0 ms: Couldn't connect to server",
            ),
        ),
        (
            "\nsh: 1: /usr/local/bin/bot-state: not found",
            Some("sh: 1: /usr/local/bin/bot-state: not found"),
        ),
        (
            "Error: connect ECONNREFUSED 127.0.0.1:3000",
            Some("Error: connect ECONNREFUSED 127.0.0.1:3000"),
        ),
        (
            "ConnectionRefusedError: [Errno 111] Connection refused",
            Some("ConnectionRefusedError: [Errno 111] Connection refused"),
        ),
        (
            "GET http://u:pw@bots.example:8080/api/mytoken/state?key=x failed",
            Some("GET http://bots.example:8080/… failed"),
        ),
        ("bad apikey: hunter2 was refused", Some("bad apikey: …")),
        (
            "header \"Authorization\": \"Bearer abc\"",
            Some("header \"Authorization\": …"),
        ),
        ("Bearer abc", Some("Bearer …")),
        ("bad X-Api-Key hunter2", Some("bad X-Api-Key …")),
        ("Error: pwd=hunter2", Some("Error: pwd=…")),
        ("Pairing code ABCD-1234", Some("Pairing code …")),
        ("curl -u admin:hunter2 failed", Some("curl -u … failed")),
        ("login admin:2hunter failed", Some("login … failed")),
        (
            "mongodb://user:pa/ss@host/db failed",
            Some("mongodb://… failed"),
        ),
        ("redis://:p@ss@host:6379 failed", Some("redis://… failed")),
        (
            "connect to localhost:3000 failed: connection refused",
            Some("connect to localhost:3000 failed: connection refused"),
        ),
        ("wrong password hunter2", Some("wrong password …")),
        ("no session for +49 151 2345-678", Some("no session for …")),
        ("no session for 447700900123", Some("no session for …")),
        (
            "no chat with 447700900123:12@s.whatsapp.net",
            Some("no chat with …"),
        ),
        (
            "cannot read /srv/a/session-4477.0.json",
            Some("cannot read …"),
        ),
        ("cannot read pre-key-7", Some("cannot read …")),
        (
            "value 8Jf2kQ0zLm1A9 is not known",
            Some("value … is not known"),
        ),
        (
            "value kQzLmAfWxRtYbN is not known",
            Some("value … is not known"),
        ),
        ("\u{1b}[31mred\u{202e}", Some(" [31mred ")),
    ] {
        assert_eq!(first_line(text).as_deref(), shown, "{text:?}");
    }
    let long = first_line(&"a b ".repeat(100)).unwrap();
    assert_eq!(long.chars().count(), MAX_LINE_CHARS + 1);
}

proptest! {
    /// Keys in hexadecimal and in base64, and numbers of telephones, wherever they stand.
    #[test]
    fn no_key_and_no_number_is_shown(
        before in "[a-z ]{0,20}", key in proptest::collection::vec(any::<u8>(), 16..40),
        number in "[1-9][0-9]{6,14}", after in "[ -~]{0,20}",
    ) {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = base64::engine::general_purpose::STANDARD.encode(&key);
        for secret in [&hex, &base64, &number] {
            let line = format!("{before} {secret} {after}");
            let shown = first_line(&line).unwrap_or_default();
            prop_assert!(!shown.contains(secret.as_str()), "{shown}");
        }
    }
}

#[test]
fn the_name_of_a_file_of_every_kind_is_hidden() {
    let prefixes = crate::folder::kind::PREFIXES;
    let names = prefixes.map(|(prefix, _)| format!("{prefix}-a"));
    for name in names.into_iter().chain(["creds.json".to_owned()]) {
        let shown = first_line(&format!("cannot open {name}")).unwrap();
        assert!(!shown.contains(&name), "{shown}");
    }
}
