#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn creds_states() {
    assert_eq!(parse_creds(b""), Err(BrokenCreds::Empty));
    assert_eq!(parse_creds(b" \n"), Err(BrokenCreds::Empty));
    assert_eq!(
        parse_creds(br#"{"noiseKey":{"private""#),
        Err(BrokenCreds::CutOff)
    );
    assert_eq!(parse_creds(b"{}"), Err(BrokenCreds::NotCreds));
    assert_eq!(parse_creds(b"null"), Err(BrokenCreds::NotCreds));
    // An array in the place of an object; the library would find nothing in it.
    assert_eq!(
        parse_creds(br#"[{"id":"1"},{},31,{},{},1]"#),
        Err(BrokenCreds::NotCreds)
    );
    assert_eq!(
        parse_creds(br#"{"me":["1","2"],"account":{}}"#),
        Err(BrokenCreds::NotCreds)
    );
    assert_eq!(
        parse_creds(br#"{"type":"service_account"}"#),
        Err(BrokenCreds::NotCreds)
    );
    let early = parse_creds(
        br#"{"me":{"id":"79001234567:1@s.whatsapp.net","name":"~"},"nextPreKeyId":31}"#,
    )
    .unwrap();
    assert!(!early.logged_in, "a pairing code alone is not a login");
    let facts = parse_creds(
        br#"{"noiseKey":{},"me":{"id":"79001234567:12@s.whatsapp.net","lid":"180001112223334:12@lid"},"account":{},"registered":false,"nextPreKeyId":31}"#,
    )
    .unwrap();
    assert!(facts.logged_in);
    assert_eq!(facts.own_number.as_deref(), Some("79001234567"));
    assert_eq!(facts.own_lid.as_deref(), Some("180001112223334"));
    assert_eq!(facts.next_pre_key_id, Some(31));
    assert!(
        !format!("{facts:?}").contains("7900"),
        "no phone number in debug output"
    );
}

#[test]
fn session_times() {
    let two = br#"{"_sessions":{"a":{"indexInfo":{"closed":-1,"used":1000,"created":5}},"b":{"indexInfo":{"closed":7,"used":3,"created":2000.5}}},"version":"v1"}"#;
    let times = SessionTimes {
        first: Timestamp::from_millis(3.0),
        last: Timestamp::from_millis(2000.5),
    };
    assert_eq!(parse_session(two), Ok(Some(times)));
    assert_eq!(
        parse_session(br#"{"_sessions":{},"version":"v1"}"#),
        Ok(None)
    );
    for bad in [
        &b""[..],
        b"{}",
        b"[]",
        br#"[{"a":{"indexInfo":{"used":1,"created":1}}}]"#,
        br#"{"_sessions":{"a":[[1,1]]}}"#,
        br#"{"_sessions":{"a":{}}}"#,
        br#"{"_sessions":{"a":{"indexInfo":{"used":"x","created":1}}}}"#,
    ] {
        assert_eq!(parse_session(bad), Err(Unparsable));
    }
}
