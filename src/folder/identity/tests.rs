use super::*;
use proptest::prelude::*;

const WHOLE: &[u8] = br#"{"noiseKey":{"private":{"type":"Buffer","data":"AA=="}},"signedIdentityKey":{"private":{"type":"Buffer","data":"BB=="},"public":{"type":"Buffer","data":"Q0M="}},"registrationId":77,"me":{"id":"999100000000:1@s.whatsapp.net"},"account":{},"nextPreKeyId":31,"firstUnuploadedPreKeyId":31}"#;

#[test]
fn worth_keeping() {
    let own = insurable(WHOLE).unwrap();
    assert_eq!((own.registration_id, own.next_pre_key_id), (Some(77), 31));
    let spaced = String::from_utf8(WHOLE.to_vec())
        .unwrap()
        .replace("\"data\":\"Q0M=\"", "\"data\" : \"Q0M\"");
    assert_eq!(insurable(spaced.as_bytes()).unwrap().identity, own.identity);
    let other = String::from_utf8(WHOLE.to_vec())
        .unwrap()
        .replace("Q0M=", "Q0Q=");
    assert_ne!(insurable(other.as_bytes()).unwrap().identity, own.identity);
    let shown = own.identity.to_string();
    assert_eq!(Identity::parse(&shown), Some(own.identity));
    let anonymous = String::from_utf8(WHOLE.to_vec())
        .unwrap()
        .replace("\"public\"", "\"pub\"");
    let fresh = String::from_utf8(WHOLE.to_vec())
        .unwrap()
        .replace("\"account\":{},", "");
    for bad in [
        anonymous.as_bytes(),
        fresh.as_bytes(),
        &WHOLE[..WHOLE.len() - 1],
        b"",
        b"{}",
    ] {
        assert_eq!(insurable(bad), None);
    }
}

#[test]
fn only_the_counters_change() {
    let odd = r#" {"a" : 1.50e3, "nextPreKeyId" :  7 ,"big":123456789012345678901234567890,"é\u0000":{"type":"Buffer","data":"//+="},
  "firstUnuploadedPreKeyId":5,"nested":{"nextPreKeyId":3}, "z":[ ] } "#;
    let (raised, to) = raise_counters(odd.as_bytes(), 42).unwrap();
    let wanted = odd
        .replace(":  7 ", ":  42 ")
        .replace("KeyId\":5", "KeyId\":42");
    assert_eq!((String::from_utf8(raised).unwrap(), to), (wanted, 42));
    let (same, to) = raise_counters(WHOLE, 30).unwrap();
    assert_eq!((same.as_slice(), to), (WHOLE, 31), "never lowered");
    let uneven = br#"{"nextPreKeyId":900,"firstUnuploadedPreKeyId":800}"#;
    assert_eq!(
        raise_counters(uneven, 850).unwrap().0,
        br#"{"nextPreKeyId":900,"firstUnuploadedPreKeyId":900}"#
    );
    assert_eq!(
        raise_counters(br#"{"nextPreKeyId":9 }"#, 10).unwrap().0,
        br#"{"nextPreKeyId":10 ,"firstUnuploadedPreKeyId":10}"#
    );
    for bad in [
        "",
        "[]",
        "{",
        r#"{"nextPreKeyId":"7"}"#,
        r#"{"nextPreKeyId":7.5}"#,
        "{} x",
    ] {
        assert_eq!(raise_counters(bad.as_bytes(), 1), Err(Unparsable), "{bad}");
    }
}

#[test]
fn a_torn_file_still_mentions_its_counters() {
    assert_eq!(highest_counter(WHOLE), Some(31));
    assert_eq!(
        highest_counter(br#"{"nextPreKeyId":120,"firstUnuplo"#),
        Some(120)
    );
    assert_eq!(
        highest_counter(br#"{"firstUnuploadedPreKeyId": 12"#),
        Some(12)
    );
    assert_eq!(
        highest_counter(br#"{"nextPreKeyId":99999999999999"#),
        None,
        "a pre-key of no identity"
    );
    assert_eq!(highest_counter(b"\xff\x00"), None);
}

proptest! {
    #[test]
    fn raising_is_idempotent_and_never_lowers(next in 0u32..9000, first in 0u32..9000, at_least in 0u32..9000) {
        let file = format!(r#"{{"x":[1,2],"nextPreKeyId":{next},"y":"nextPreKeyId","firstUnuploadedPreKeyId":{first}}}"#);
        let (raised, to) = raise_counters(file.as_bytes(), at_least).unwrap();
        prop_assert_eq!(to, next.max(first).max(at_least));
        prop_assert_eq!(highest_counter(&raised), Some(to));
        prop_assert_eq!(raise_counters(&raised, at_least).unwrap(), (raised, to));
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (insurable(&bytes), highest_counter(&bytes), raise_counters(&bytes, 5));
    }
}
