#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn names_of_every_kind_and_their_traps() {
    for (name, kind, companion) in [
        ("creds.json", Kind::Creds, false),
        ("creds.json.bak", Kind::Creds, true),
        ("creds.json.tmp", Kind::Creds, true),
        ("creds-old.json", Kind::Unknown, false),
        ("pre-key-100.json", Kind::PreKey, false),
        ("pre-key-100.json.bak", Kind::PreKey, true),
        ("session-79100000000.0.json", Kind::Session, false),
        ("session-200000000104729_1.0.json", Kind::Session, false),
        (
            "sender-key-12036@g.us--79100000000--0.json",
            Kind::SenderKey,
            false,
        ),
        (
            "sender-key-status@broadcast--79100000000_1--3.json",
            Kind::SenderKey,
            false,
        ),
        (
            "sender-key-memory-12036@g.us.json",
            Kind::SenderKeyMemory,
            false,
        ),
        (
            "app-state-sync-key-AAAAANf__.json",
            Kind::AppStateSyncKey,
            false,
        ),
        (
            "app-state-sync-version-regular_high.json",
            Kind::AppStateSyncVersion,
            false,
        ),
        ("lid-mapping-79100000000.json", Kind::LidMapping, false),
        (
            "lid-mapping-200000000104729_reverse.json",
            Kind::LidMapping,
            false,
        ),
        ("device-list-79100000000.json", Kind::DeviceList, false),
        ("tctoken-__index.json", Kind::TcToken, false),
        (
            "contacts-tc-token-79100000000@s.whatsapp.net.json",
            Kind::TcToken,
            false,
        ),
        ("contacts-tc-token-200@lid.json.bak", Kind::TcToken, true),
        ("nct-salt-default.json", Kind::TcToken, false),
        ("contacts-79100000000.json", Kind::Unknown, false),
        ("tc-token-79100000000.json", Kind::Unknown, false),
        (
            "identity-key-79100000000_1.0.json",
            Kind::IdentityKey,
            false,
        ),
        ("pre-key-100.json.bak.tmp", Kind::Unknown, false),
        ("notes.bak", Kind::Unknown, false),
        ("pre-key-100", Kind::Unknown, false),
        ("Session-1.0.json", Kind::Unknown, false),
        (".DS_Store", Kind::Unknown, false),
        ("", Kind::Unknown, false),
    ] {
        let parts = parse_name(name.as_bytes());
        assert_eq!((parts.kind, parts.companion), (kind, companion), "{name}");
    }
    assert_eq!(parse_name(b"session-\xff\xfe.0.json").kind, Kind::Session);
    assert_eq!(parse_name(b"\xff\xfe").kind, Kind::Unknown);
}

#[test]
fn the_prefix_list_is_longest_first_and_complete() {
    let lengths = PREFIXES.map(|(prefix, _)| prefix.len());
    assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    for kind in Kind::ALL {
        let own = PREFIXES.iter().filter(|(_, of)| *of == kind);
        let own: Vec<&str> = own.map(|(prefix, _)| *prefix).collect();
        let has_prefix = !matches!(kind, Kind::Creds | Kind::Unknown);
        assert_eq!(own.contains(&kind.label()), has_prefix, "{kind:?}: {own:?}");
        // The order of the files of a folder relies on it.
        let letters: std::collections::BTreeSet<_> = own.iter().map(|own| &own[..1]).collect();
        assert_eq!(letters.len(), own.len(), "{kind:?}: {own:?}");
    }
}

#[test]
fn what_a_fork_calls_otherwise_is_of_the_kind_and_no_sign_of_baileys_7() {
    for (prefix, kind) in PREFIXES {
        let name = format!("{prefix}-7.json.bak");
        let parts = parse_name(name.as_bytes());
        assert_eq!((parts.kind, parts.id), (kind, &b"7"[..]), "{name}");
        assert_eq!(parts.prefix_len(), prefix.len() + 1, "{name}");
        assert_eq!(parts.ranges().of(name.as_bytes()), parts);
        let is_own = prefix == kind.label();
        assert_eq!(parts.is_of_modern(), kind.is_modern_only() && is_own);
    }
    for name in ["creds.json", "notes.txt", ""] {
        let parts = parse_name(name.as_bytes());
        assert_eq!((parts.prefix_len(), parts.is_of_modern()), (0, false));
    }
}

#[test]
fn pre_key_ids_only_in_the_form_the_library_writes() {
    assert_eq!(pre_key_id(b"100"), Some(100));
    for bad in ["", "007", "+7", "-1", "1e3", "4294967296", "x", "1 "] {
        assert_eq!(pre_key_id(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn sender_key_ids_with_old_groups_and_lids() {
    let key = sender_key_id(b"79001234567-1600000000@g.us--180001112223334_1--12").unwrap();
    assert_eq!(key.group, b"79001234567-1600000000@g.us");
    assert_eq!(key.user, b"180001112223334");
    assert!(key.lid);
    assert!(sender_key_id(b"12036@g.us--alice--0").is_none());
    assert!(sender_key_id(b"12036@g.us--79100000000").is_none());
}

#[test]
fn lid_names_and_telltales() {
    assert!(has_lid_name(Kind::Session, b"200000000104729_1.0"));
    assert!(has_lid_name(Kind::Session, b"200000000104729_128.3"));
    assert!(!has_lid_name(Kind::Session, b"79100000000.0"));
    assert!(!has_lid_name(Kind::Session, b"my_notes.0"));
    assert!(is_telltale(b"session-79100000000.0.json"));
    assert!(is_telltale(b"pre-key-1.json.bak"));
    assert!(!is_telltale(b"session-notes.json"));
    assert!(!is_telltale(b"creds.json"));
}

#[test]
fn message_stores_hold_no_key() {
    let is_store = |name: &str| parse_name(name.as_bytes()).is_message_store();
    for name in [
        "baileys_store.json",
        "baileys_store_multi.json",
        "store.json",
        "bot_store.json",
    ] {
        assert!(is_store(name), "{name}");
        assert_eq!(parse_name(name.as_bytes()).kind, Kind::Unknown, "{name}");
    }
    for name in [
        "creds.json",
        "session-1.0_store.json",
        "pre-key-1_store.json",
        "Store.json",
        "store",
        "mystore.json",
        "store.json.bak",
        "baileys_store.db",
    ] {
        assert!(!is_store(name), "{name}");
    }
}
