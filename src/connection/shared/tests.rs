use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use proptest::prelude::*;
use regex::Regex;
use supervisor::{PidFile, Spec};

use super::super::probe::REQUESTS;
use super::super::{Alive, Connection, ConnectionSettings, RestartCount, State, fold};
use super::*;
use crate::control::{ServiceRule, Timing, placeholders};
use crate::folder::{
    AllSessions, Creds, Entry, FileName, Inventory, SessionActivity, SessionsPath, Shape, Stamp,
    Timestamp,
};

fn name(text: &str) -> SessionName {
    SessionName::from_text(text)
}

fn names(all: &[&str]) -> SessionNames {
    all.iter().map(|text| name(text)).collect()
}

fn command(line: &str) -> Probe {
    let pattern = Regex::new("^(?:company_(?<id>[0-9]+)(?:-sub)?)$").unwrap();
    Probe::command_line(line, Some(&pattern)).unwrap()
}

fn http(url: &str) -> Probe {
    Probe::http(url, "", vec![true.into()], vec![false.into()], None).unwrap()
}

/// Why the answer about a session may be about another one.
fn shared_probe(probe: &Probe, session: &str, all: Option<&[&str]>) -> Option<String> {
    let all = all.map(|all| Arc::new(names(all)));
    LastRequests::default().shared_probe(probe, &name(session), all.as_ref())
}

fn shared(probe: &Probe, all: &[&str]) -> Option<String> {
    shared_probe(probe, "company_1", Some(all))
}

#[test]
fn a_request_that_is_the_same_for_two_sessions_is_shared() {
    for (probe, is_shared) in [
        (command("ask"), true),
        (command("ask bot"), true),
        (command("ask {session}"), false),
        (command("ask --bot={session}"), false),
        (command("ask {id}"), false),
        (http("http://h/status"), true),
        (http("http://h/{session}"), false),
    ] {
        let why = shared(&probe, &["company_1", "company_2"]);
        assert_eq!(why.is_some(), is_shared, "{probe:?}: {why:?}");
        // One session, with and without its own name on the list.
        assert_eq!(shared(&probe, &["company_1"]), None);
        assert_eq!(shared(&probe, &[]), None);
    }
    // A part of the name that two sessions have in common.
    let why = shared(&command("ask {id}"), &["company_1", "company_1-sub"]).unwrap();
    assert!(
        why.contains("the session company_1-sub is asked about"),
        "{why}"
    );
    assert!(
        why.contains("put {session} into connection.command"),
        "{why}"
    );
    // A session that is not asked about at all has no request.
    assert_eq!(shared(&command("ask {id}"), &["company_1", "other"]), None);
    let other = shared_probe(&command("ask {id}"), "other", Some(&["company_1"]));
    assert_eq!(other, None);
}

#[test]
fn a_header_of_its_own_makes_another_request() {
    let key = |file| http("http://h/status").with_header(Some("X-Key"), file, None);
    assert_eq!(
        shared(&key("/keys/{session}").unwrap(), &["company_2"]),
        None
    );
    assert!(shared(&key("/keys/all").unwrap(), &["company_2"]).is_some());
}

#[test]
fn where_the_sessions_are_unknown_only_a_request_with_the_name_proves_something() {
    let unknown = |line: &str| shared_probe(&command(line), "company_1", None);
    assert_eq!(unknown("ask {session}"), None);
    assert!(unknown("ask").unwrap().contains("could not be listed"));
    assert!(unknown("ask {id}").is_some());
}

#[test]
fn shared_sources_are_named_with_the_setting_that_ends_it() {
    let mut settings = ConnectionSettings {
        probes: vec![command("ask"), command("ask {session}"), http("http://h/")],
        ..ConnectionSettings::default()
    };
    let all = names(&["company_1", "company_2"]);
    let found = settings.shared_sources(&all);
    let keys: Vec<_> = found.iter().map(|text| text.split(':').next()).collect();
    assert_eq!(
        keys,
        [Some("connection.command"), Some("connection.http.url")]
    );
    assert!(
        found
            .iter()
            .all(|text| text.contains("put {session} into it"))
    );
    assert_eq!(settings.shared_sources(&names(&["company_1"])), [""; 0]);
    settings.probes.truncate(0);
    assert_eq!(settings.shared_sources(&all), [""; 0]);
}

#[test]
fn the_sockets_of_a_process_of_several_sessions_keep_files_and_prove_nothing() {
    use Finding::*;
    for (finding, looks_once, expected) in [
        (Connected, false, &[Shared][..]),
        (Connected, true, &[Shared]),
        // None has lasted, which is true for all.
        (Connecting, false, &[Shared, Ambiguous]),
        (Connecting, true, &[Shared]),
        (Ambiguous, false, &[Ambiguous]),
        (Nothing, false, &[Nothing]),
        (NoAnswer, true, &[NoAnswer]),
    ] {
        let sockets = Evidence::new("sockets", finding, "said");
        let evidence = of_one_process(sockets, "why", looks_once);
        let findings: Vec<Finding> = evidence.iter().map(|e| e.finding).collect();
        assert_eq!(findings, expected, "{finding:?} {looks_once}");
        assert!(evidence.iter().all(|e| e.source == "sockets"));
        let verdict = fold(evidence.clone());
        assert_ne!(verdict.state, State::Connected);
        // A connection that does not last raises BaileysConnectionUnknown, as for one session.
        assert_eq!(verdict.is_unresolved(), expected.contains(&Ambiguous));
        let quiet = [Disconnected, Gone, Quiet].map(|of| Evidence::new("probe", of, ""));
        let state = fold(evidence.into_iter().chain(quiet).collect()).state;
        let keeps = expected.contains(&Shared) || expected == [NoAnswer];
        assert_eq!(state == State::Unknown, keeps, "{finding:?}");
    }
}

fn service(sessions: Option<&str>, pid_file: &str) -> ServiceRule {
    let pattern = Regex::new("^(?<team>[a-z]+)_[0-9]+$").unwrap();
    let globs = sessions.map(|glob| {
        let glob = globset::Glob::new(glob).unwrap();
        globset::GlobSetBuilder::new().add(glob).build().unwrap()
    });
    let file = PidFile::new(pid_file, &placeholders(Some(&pattern)));
    let spec = Spec::PidFile(file.unwrap());
    ServiceRule::new(globs, None, spec, false, Timing::default()).unwrap()
}

#[test]
fn a_process_is_a_sessions_own_if_no_other_session_has_it() {
    let all = Arc::new(names(&["a_1", "a_2", "b_1", "solo", "x"]));
    let services = Services::new(vec![
        service(Some("a_*"), "/run/a.pid"),
        service(Some("b_*"), "/run/{team}.pid"),
        service(Some("solo"), "/run/solo.pid"),
        service(None, "/run/{session}.pid"),
    ])
    .unwrap();
    let last = LastProcesses::default();
    let shared = |session: &str, all: Option<&Arc<SessionNames>>| {
        let id = services.observed(&name(session)).unwrap().id().unwrap();
        last.shared_process(&services, &id, &name(session), all)
    };
    for (session, other) in [
        ("a_1", Some("a_2")),
        ("a_2", Some("a_1")),
        ("b_1", None),
        ("solo", None),
        ("x", None),
    ] {
        let why = shared(session, Some(&all));
        assert_eq!(why.is_some(), other.is_some(), "{session}: {why:?}");
        if let (Some(why), Some(other)) = (why, other) {
            assert!(why.contains(&format!("the session {other} has")), "{why}");
        }
    }
    // A folder appears. Two entries may name one process.
    let more = Arc::new(names(&["a_1", "b_1", "b_2", "solo", "a"]));
    assert_eq!(shared("solo", Some(&more)), None);
    assert!(shared("b_1", Some(&more)).unwrap().contains("b_2"));
    assert!(
        shared("a_1", Some(&more))
            .unwrap()
            .contains("the session a ")
    );
    // Where the sessions are unknown there may be another one.
    assert!(shared("x", None).unwrap().contains("could not be listed"));
    assert!(!services.names_each_session());
    let one = |pid_file| Services::new(vec![service(None, pid_file)]).unwrap();
    assert!(one("/run/{session}.pid").names_each_session());
    assert!(!one("/run/{team}.pid").names_each_session());
    assert!(!one("/run/all.pid").names_each_session());
}

fn finding() -> impl Strategy<Value = Finding> {
    prop_oneof![
        Just(Finding::Connected),
        Just(Finding::Disconnected),
        Just(Finding::Gone),
        Just(Finding::NoAnswer),
        Just(Finding::Unreachable),
        Just(Finding::Nothing),
    ]
}

proptest! {
    /// Whatever sources that answer for several sessions say, no bot is called disconnected for
    /// it; and only that one is connected, or that there is no answer, keeps it from being
    /// called so. None is called connected for it.
    #[test]
    fn shared_sources_only_ever_veto(
        shared in proptest::collection::vec(finding(), 1..4),
        own in proptest::collection::vec(finding(), 0..4),
    ) {
        let says = |finding| Evidence {
            id: "id".into(),
            alive: Some(Alive::at(Timestamp::from_secs(1))),
            restarts: Some(RestartCount { at: Timestamp::from_secs(1), number: 4 }),
            ..Evidence::new("probe", finding, "said")
        };
        let quiet = Evidence::new("writes", Finding::Quiet, "");
        let own: Vec<Evidence> = own.into_iter().map(says).chain([quiet]).collect();
        let of_several: Vec<Evidence> = shared.iter().map(|f| of_several(says(*f), "why")).collect();
        for one in &of_several {
            prop_assert!(one.finding != Finding::Connected, "nor is a bot called connected for it");
            prop_assert!(!one.finding.is_negative() && one.alive.is_none() && one.id.is_empty());
            prop_assert!(one.restarts.is_none(), "they may be another session's");
        }
        let alone = fold(own.clone());
        let all = fold(own.iter().chain(&of_several).cloned().collect());
        // Without them it was disconnected as well, and the process as gone.
        prop_assert!(all.state != State::Disconnected || alone.state == State::Disconnected);
        prop_assert!(!all.process_gone || alone.process_gone);
        prop_assert!(all.state != State::Connected || alone.state == State::Connected);
        if shared.iter().all(|f| f.is_negative() || *f == Finding::Nothing) {
            prop_assert_eq!((all.state, all.process_gone), (alone.state, alone.process_gone));
        }
    }
}

fn quiet_folder() -> Inventory {
    let entry = Entry {
        name: FileName::new("creds.json"),
        shape: Shape::Regular,
        stamp: Stamp {
            modified: Timestamp::of(&Clock::system()).minus(Duration::from_secs(3600)),
            ..Stamp::default()
        },
        inside: SessionActivity::NotRead,
    };
    Inventory::new([entry], Creds::Missing)
}

fn lay_out(root: &Path, session: &str) {
    let folder = root.join(session);
    std::fs::create_dir_all(&folder).unwrap();
    let creds = r#"{"noiseKey":{},"nextPreKeyId":31}"#;
    std::fs::write(folder.join("creds.json"), creds).unwrap();
}

/// All sessions are asked about, twice: how many requests are made.
async fn requests_for(sessions: usize) -> usize {
    let root = tempfile::tempdir().unwrap();
    for number in 0..sessions {
        lay_out(root.path(), &format!("company_{number}"));
    }
    let source = SessionsPath {
        name: None,
        path: root.path().to_owned(),
    };
    let all = Arc::new(AllSessions::new(vec![source]));
    let mut connection = Connection::default().among(Arc::clone(&all));
    // Nothing listens there.
    let pattern = Regex::new("^company_(?<id>[0-9]+)$").unwrap();
    let url = "http://127.0.0.1:1/{id}";
    let probe = Probe::http(
        url,
        "",
        vec![true.into()],
        vec![false.into()],
        Some(&pattern),
    );
    connection.settings.probes = vec![probe.unwrap()];
    let list = all.list_now();
    assert_eq!(list.len(), sessions);
    let before = REQUESTS.get();
    for session in list.iter().chain(list.iter()) {
        // Each by a look of its own.
        connection.ask(session).await;
    }
    REQUESTS.get() - before
}

#[tokio::test]
async fn the_requests_of_all_are_made_once_for_a_list() {
    // For the list, and for each question.
    for sessions in [5, 20] {
        assert_eq!(requests_for(sessions).await, sessions + 2 * sessions);
    }
}

/// A configuration for one bot, and the folder of a second one that appears later.
#[tokio::test]
async fn a_probe_for_one_bot_proves_nothing_once_there_are_two() {
    let root = tempfile::tempdir().unwrap();
    lay_out(root.path(), "one");
    let source = SessionsPath {
        name: None,
        path: root.path().to_owned(),
    };
    let mut connection = Connection::default().among(Arc::new(AllSessions::new(vec![source])));
    let probe = |line: &str| vec![Probe::command_line(line, None).unwrap()];
    connection.settings.trust = globset::GlobSetBuilder::new()
        .add(globset::Glob::new("*").unwrap())
        .build()
        .unwrap();
    connection.settings.probes = probe("echo disconnected");
    let folder = quiet_folder();
    let one = name("one");
    let state = connection.verdict(&one, &folder).await.state;
    assert_eq!(state, State::Disconnected);
    lay_out(root.path(), "two");
    for (session, other) in [("one", "two"), ("two", "one")] {
        let verdict = connection.verdict(&name(session), &folder).await;
        let because = verdict.because();
        assert_eq!(verdict.state, State::Unknown, "{because}");
        let says = format!("the session {other} is asked about by the same request");
        assert!(because.contains(&says), "{because}");
    }
    // That it is connected is no proof and no sighting of one of them, and keeps the files of both.
    connection.settings.probes = probe("echo connected");
    let asked = connection.ask(&name("two")).await;
    assert!(asked.sees_a_connection() && asked.who_sees_it_alive().is_none());
    let since = Timestamp::from_secs(1);
    assert!(!connection.is_back(asked.clone(), &folder, since));
    let verdict = connection.judge(asked, &folder);
    assert_eq!(verdict.state, State::Unknown, "{}", verdict.because());
    assert!(verdict.outlasts_a_stop() && verdict.has_shared_connection());
    assert!(
        !verdict.is_unresolved(),
        "as for the sockets of one process"
    );
    let ids = connection.ids(&name("two"));
    let known = connection.sighting_store.recall(&name("two"));
    assert!(ids.iter().all(|id| !known.alive.contains_key(id)));
    // With its name in it the probe is as good as before.
    connection.settings.probes = probe("sh -c 'echo disconnected' {session}");
    let verdict = connection.verdict(&name("two"), &folder).await;
    assert_eq!(verdict.state, State::Disconnected, "{}", verdict.because());
}
