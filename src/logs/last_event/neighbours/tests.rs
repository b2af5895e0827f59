use super::*;

#[test]
fn each_other_session_needs_a_log_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let creds = dir.path().join("creds.json");
    std::fs::write(&creds, "{}").unwrap();
    let bots = [("a", None), ("b", Some(creds)), ("c", None)];
    let around = Neighbours {
        bots: bots.map(|(name, creds)| (Arc::from(name), creds)).into(),
        ..Neighbours::default()
    };
    let now = Timestamp::now();
    let old = now.minus(STALE_AFTER * 2);
    let with_at = |at: Timestamp, logs: &[(&str, Timestamp)]| {
        let logs: BTreeMap<&str, Timestamp> = logs.iter().copied().collect();
        let missing = around.without_a_log("a", at, |name| logs.get(name).copied());
        missing.map(str::to_owned)
    };
    let with = |logs: &[(&str, Timestamp)]| with_at(now, logs);
    assert_eq!(with(&[]).as_deref(), Some("b"));
    let later = now.plus(DORMANT_AFTER).plus(STALE_AFTER);
    assert_eq!(with_at(later, &[("c", now)]), None, "b is dormant");
    assert_eq!(with_at(later, &[]).as_deref(), Some("c"), "c has no folder");
    assert_eq!(with(&[("b", now)]).as_deref(), Some("c"));
    assert_eq!(with(&[("b", now), ("c", old)]), None);
    assert_eq!(
        with(&[("b", old), ("c", old)]).as_deref(),
        Some("b"),
        "its folder is newer"
    );
}
