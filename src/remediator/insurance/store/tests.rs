use super::*;
use std::os::unix::fs::PermissionsExt;

fn creds(identity: &str, next: u32) -> Vec<u8> {
    format!(
        r#"{{"signedIdentityKey":{{"public":{{"type":"Buffer","data":"{identity}"}}}},"registrationId":7,"me":{{"id":"999100000000:1@s.whatsapp.net"}},"account":{{}},"nextPreKeyId":{next}}}"#
    )
    .into_bytes()
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

fn add(store: &CopyStore, session: &str, bytes: &[u8], at: Timestamp) -> Added {
    let facts = insurable(bytes).unwrap();
    store
        .add(session, bytes, &facts, at, at, &Keep::default())
        .unwrap()
}

#[test]
fn copies_are_private_and_come_back_as_they_were() {
    let state = tempfile::tempdir().unwrap();
    let store = CopyStore::new(state.path());
    assert_eq!(store.entries("bot").unwrap(), []);
    let bytes = creds("Q0M=", 31);
    assert_eq!(add(&store, "bot", &bytes, now()), Added::New(1));
    assert_eq!(add(&store, "bot", &bytes, now()), Added::Known(1));
    let copies = store.copies("bot").unwrap();
    assert_eq!(copies[0].1.as_ref().unwrap().bytes, bytes);
    let dir = path_in(state.path()).join("bot");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = std::fs::read_dir(&dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(
        (mode(&path_in(state.path())), mode(&dir), mode(&file)),
        (0o700, 0o700, 0o600)
    );
    assert!(
        !format!("{:?}", copies).contains("999100"),
        "no number in debug output"
    );
    // Its mode was changed; the next copy restores it.
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    add(&store, "bot", &creds("Q0M=", 32), now());
    assert_eq!(mode(&dir), 0o700);
}

#[test]
fn what_another_user_made_is_no_copy() {
    if !rustix::process::geteuid().is_root() {
        // Only root can be two users.
        return;
    }
    let give = |path: &Path| std::os::unix::fs::chown(path, Some(4711), None).unwrap();
    let state = tempfile::tempdir().unwrap();
    let store = CopyStore::new(state.path());
    for next in [31, 32] {
        add(&store, "bot", &creds("Q0M=", next), now());
    }
    let dir = path_in(state.path()).join("bot");
    let newest = store.entries("bot").unwrap().remove(0);
    give(&dir.join(newest.name()));
    assert_eq!(store.entries("bot").unwrap().len(), 1);
    give(&dir);
    let error = store.copies("bot").unwrap_err().to_string();
    assert!(error.contains("the user 4711"), "{error}");
}

#[test]
fn a_new_identity_pushes_no_other_out() {
    let state = tempfile::tempdir().unwrap();
    let store = CopyStore::new(state.path());
    for next in 31..35 {
        add(&store, "bot", &creds("Q0M=", next), now());
    }
    for next in 31..51 {
        add(&store, "bot", &creds("QUE=", next), now());
    }
    let copies = store.copies("bot").unwrap();
    let own = |identity: &str| {
        let identity = insurable(&creds(identity, 31)).unwrap().identity;
        let of = copies
            .iter()
            .filter(|(entry, _)| entry.identity == identity);
        of.map(|(_, copy)| copy.as_ref().unwrap().facts.next_pre_key_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(own("Q0M="), [34, 32, 31]);
    assert_eq!(own("QUE="), [50, 32, 31]);
}

#[test]
fn with_many_identities_only_another_one_is_left_out() {
    let state = tempfile::tempdir().unwrap();
    let store = CopyStore::new(state.path());
    for identity in 0..MAX_COPIES {
        add(&store, "bot", &creds(&format!("{identity:04}"), 31), now());
    }
    let another = creds("QUE=", 31);
    let facts = insurable(&another).unwrap();
    let refused = store.add("bot", &another, &facts, now(), now(), &Keep::default());
    assert!(refused.unwrap_err().to_string().contains("creds list"));
    for next in 32..40 {
        add(&store, "bot", &creds("0042", next), now());
    }
    assert_eq!(
        store.entries("bot").unwrap().len(),
        MAX_COPIES + Keep::default().per_identity - 1
    );
}

#[test]
fn a_damaged_copy_counts_for_nothing() {
    let state = tempfile::tempdir().unwrap();
    let store = CopyStore::new(state.path());
    add(&store, "bot", &creds("Q0M=", 31), now());
    let dir = path_in(state.path()).join("bot");
    let first = std::fs::read_dir(&dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&first, &creds("Q0M=", 31)[..40]).unwrap();
    std::fs::write(dir.join("000009-1-1-x.creds"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("notes.creds")).unwrap();
    let copies = store.copies("bot").unwrap();
    assert!(copies.len() == 1 && copies[0].1.is_none());
    assert_eq!(
        add(&store, "bot", &creds("Q0M=", 31), now()),
        Added::New(2),
        "kept anew"
    );
    for next in 32..36 {
        add(&store, "bot", &creds("Q0M=", next), now());
    }
    let whole = store
        .copies("bot")
        .unwrap()
        .into_iter()
        .filter(|(_, copy)| copy.is_some());
    assert_eq!(whole.count(), 3, "the damaged one took no place");
}

#[test]
fn names_are_one_plain_directory_name() {
    assert_eq!(encoded("company_7"), "company_7");
    for odd in [
        "..",
        ".",
        "a/b",
        "x\\xff",
        "é",
        &"é".repeat(250),
        &"a".repeat(255),
    ] {
        let name = encoded(odd);
        assert!(name.len() <= 200 && !name.contains(['/', '.']), "{name}");
    }
    assert_ne!(encoded(&"a".repeat(254)), encoded(&"a".repeat(255)));
}

#[test]
fn a_session_that_is_gone_loses_its_copies_after_their_time() {
    let state = tempfile::tempdir().unwrap();
    let store = CopyStore::new(state.path());
    add(&store, "bot", &creds("Q0M=", 31), now());
    let day = Duration::from_secs(86_400);
    let expire = |at: Timestamp, due: bool| {
        store
            .expire_directory(&CopyStore::directory("bot"), at, &Keep::default(), |_| due)
            .unwrap()
    };
    assert_eq!(expire(now().plus(day * 30), true), 0);
    assert_eq!(expire(now().plus(day * 31), false), 0);
    // Marked as seen, it stays.
    let entry = store.entries("bot").unwrap()[0];
    store.mark("bot", &entry, now().plus(day * 20)).unwrap();
    assert_eq!(expire(now().plus(day * 31), true), 0);
    assert_eq!(expire(now().plus(day * 51), true), 1);
    assert_eq!(store.directories().unwrap(), Vec::<String>::new());
}

#[test]
fn by_default_a_copy_of_the_identity_that_was_seen_last_is_put_back() {
    let minute = |nth: u32| now().plus(Duration::from_secs(60) * nth);
    let state = tempfile::tempdir().unwrap();
    let store = CopyStore::new(state.path());
    let (first, second) = (creds("Q0M=", 31), creds("QUE=", 31));
    let number = || {
        let copies = store.copies("bot").unwrap();
        default_copy(&copies).map(|copy| copy.entry.number)
    };
    assert_eq!(number(), None);
    assert_eq!(add(&store, "bot", &first, minute(0)), Added::New(1));
    assert_eq!(add(&store, "bot", &second, minute(1)), Added::New(2));
    assert_eq!(number(), Some(2));
    // The first one comes back, byte for byte, within the same day.
    assert_eq!(add(&store, "bot", &first, minute(2)), Added::Known(1));
    assert_eq!(number(), Some(1));
    let entry = |number| {
        let entries = store.entries("bot").unwrap();
        *entries.iter().find(|entry| entry.number == number).unwrap()
    };
    store.mark("bot", &entry(2), minute(3)).unwrap();
    assert_eq!(number(), Some(2));
    // The clock was a day ahead, and was set.
    store.mark("bot", &entry(2), minute(2_000)).unwrap();
    assert_eq!(add(&store, "bot", &first, minute(4)), Added::Known(1));
    assert_eq!(number(), Some(1));
    let third = creds("QkI=", 31);
    assert_eq!(add(&store, "bot", &third, minute(5)), Added::New(3));
    assert_eq!(number(), Some(3));
    // No whole copy of it is left: those of another identity are no substitute.
    let dir = path_in(state.path()).join("bot");
    let path = dir.join(entry(3).name());
    let seen = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "{").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(seen).unwrap();
    assert_eq!(number(), None);
}
