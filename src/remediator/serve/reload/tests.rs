use super::*;

fn settings(yaml: &str) -> Settings {
    Settings::of_text(yaml).unwrap().unwrap()
}

/// Entries of the file: globs, name, and whether the service may be restarted.
fn services(entries: &[(&str, &str, bool)]) -> Services {
    let entries = entries.iter().map(|(sessions, name, allow)| {
        format!(
            "  - {{sessions: [\"{sessions}\"], name: \"{name}\", allow_restart: {allow}, command: {{stop: [sv, stop], start: [sv, start], gone: [sv, gone]}}}}\n"
        )
    });
    let yaml: String = entries.collect();
    settings(&format!("processes:\n{yaml}")).services
}

#[test]
fn what_only_a_start_can_change_is_refused() {
    let former = settings("state: {path: /var/lib/a}");
    let change = |yaml: &str| needs_no_restart(&former, &settings(yaml));
    assert_eq!(
        change("{state: {path: /var/lib/a}, armed: {look_every: 2s}}"),
        Ok(())
    );
    for (yaml, key) in [
        ("state: {path: /var/lib/b}", "state.path"),
        ("{state: {path: /var/lib/a}, trigger: local}", "trigger"),
    ] {
        let error = change(yaml).unwrap_err();
        assert!(error.starts_with(key), "{error}");
        assert!(error.contains("restart"), "{error}");
    }
}

#[test]
fn a_pending_restart_keeps_its_service() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let sessions: BTreeSet<SessionName> = ["a", "b"].map(SessionName::from_text).into();
    let former = services(&[("a", "one", true), ("b", "two", true)]);
    let keeps = |to: &[(&str, &str, bool)], pending: &[&str], leased: &[&str]| {
        let (pending, leased): (BTreeSet<String>, BTreeSet<String>) =
            (names(pending), names(leased));
        keeps_services(&former, &services(to), &sessions, &pending, &leased)
    };
    let same = [("a", "one", true), ("b", "two", true)];
    assert_eq!(keeps(&same, &["one"], &["two"]), Ok(()));
    for (change, what) in [
        (vec![("b", "two", true)], "removed"),
        (vec![("a", "other", true), ("b", "two", true)], "renamed"),
        (
            vec![("a", "one", false), ("b", "two", true)],
            "only observed",
        ),
        (vec![("*", "two", true)], "the session is another's"),
    ] {
        assert_eq!(
            keeps(&change, &["two"], &["two"]),
            Ok(()),
            "{what}: not of it"
        );
        for (pending, leased) in [(&["one"][..], &[][..]), (&[], &["one"])] {
            let error = keeps(&change, pending, leased).unwrap_err();
            assert!(error.contains("service one"), "{what}: {error}");
        }
    }
    // What the former one did not allow either is not asked for.
    let former = services(&[("a", "one", false)]);
    let none = Services::default();
    let pending = names(&["one"]);
    assert_eq!(
        keeps_services(&former, &none, &sessions, &pending, &BTreeSet::new()),
        Ok(())
    );
}
