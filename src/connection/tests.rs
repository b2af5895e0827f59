use super::*;
use crate::folder::{Creds, Entry, FileName, SessionActivity, Shape, Stamp};
use std::ffi::OsStr;

/// A log that tells what a test says.
#[derive(Debug)]
struct FixedLog(Option<LogEvent>, Option<Timestamp>);

impl LogView for FixedLog {
    fn read(&self, _: &SessionName) -> LogReading {
        LogReading {
            last_opened: self.1,
            ..LogReading::from(Ok(self.0.clone()))
        }
    }
}

fn quiet_folder() -> Inventory {
    let modified = Timestamp::now().minus(Duration::from_secs(7200));
    let entry = Entry {
        name: FileName::new("creds.json"),
        shape: Shape::Regular,
        stamp: Stamp {
            modified,
            ..Stamp::default()
        },
        inside: SessionActivity::NotRead,
    };
    Inventory::new([entry], Creds::Missing)
}

#[tokio::test]
async fn a_log_counts_once_it_showed_an_opened_connection() {
    let ago = |seconds| Timestamp::now().minus(Duration::from_secs(seconds));
    let session = SessionName::from_dir(OsStr::new("a"));
    let mut connection = Connection::default();
    let mut says = async |event: Option<(bool, u64)>, opened: Option<u64>| {
        let event = event.map(|(opened, at)| LogEvent {
            opened: Some(opened),
            at: Some(ago(at)),
            last_line: ago(60),
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        });
        connection.log = Some(Arc::new(FixedLog(event, opened.map(ago))));
        let verdict = connection.verdict(&session, &quiet_folder()).await;
        (verdict.state, verdict.evidence[0].finding)
    };
    assert_eq!(says(None, None).await, (State::Unknown, Finding::Nothing));
    assert_eq!(
        says(Some((false, 3600)), None).await,
        (State::Unknown, Finding::NoAnswer)
    );
    let older = Some(31 * 86_400);
    assert_eq!(
        says(Some((false, 3600)), older).await,
        (State::Unknown, Finding::NoAnswer)
    );
    let opened = Some(7200);
    assert_eq!(
        says(Some((false, 3600)), opened).await,
        (State::Disconnected, Finding::Disconnected)
    );
    assert_eq!(
        says(Some((true, 3600)), None).await,
        (State::Connected, Finding::Connected)
    );
    // It is remembered, though the log no longer tells.
    assert_eq!(
        says(Some((false, 3600)), None).await,
        (State::Disconnected, Finding::Disconnected)
    );
}

#[tokio::test]
async fn an_unknown_session_is_queried_and_not_believed() {
    let session = SessionName::from_dir(OsStr::new("a"));
    let probe = |word: &str| vec![Probe::command_line(&format!("echo {word}"), None).unwrap()];
    let mut connection = Connection::default();
    connection.settings.probes = probe("disconnected");
    let folder = quiet_folder();
    let verdict = connection.verdict(&session, &folder).await;
    assert_eq!(verdict.state, State::Unknown);
    assert!(
        verdict.because().contains("--connection.trust"),
        "{}",
        verdict.because()
    );
    let mut trusted = connection.clone();
    trusted.settings.trust = globset::GlobSetBuilder::new()
        .add(globset::Glob::new("a*").unwrap())
        .build()
        .unwrap();
    assert_eq!(
        trusted.verdict(&session, &folder).await.state,
        State::Disconnected
    );
    let other = SessionName::from_dir(OsStr::new("b"));
    assert_eq!(trusted.verdict(&other, &folder).await.state, State::Unknown);
    // Another command that calls it connected is trusted itself, and no other.
    connection.settings.probes = probe("connected");
    assert_eq!(
        connection.verdict(&session, &folder).await.state,
        State::Connected
    );
    connection.settings.probes = probe("disconnected");
    assert_eq!(
        connection.verdict(&session, &folder).await.state,
        State::Unknown
    );
    assert_eq!(connection.ids(&session).len(), 1);
    assert_eq!(connection.sighting_store.recall(&session).alive.len(), 1);
    connection.settings.probes.clear();
    assert!(
        connection
            .verdict(&session, &folder)
            .await
            .because()
            .contains("none configured")
    );
}

const QUIET: Duration = Duration::from_secs(600);

fn written_at(modified: Option<Timestamp>) -> Inventory {
    let entry = modified.map(|modified| written_entry("creds.json", modified));
    Inventory::new(entry, Creds::Missing)
}

fn written_entry(name: &str, modified: Timestamp) -> Entry {
    Entry {
        name: FileName::new(name),
        shape: Shape::Regular,
        stamp: Stamp {
            modified,
            ..Stamp::default()
        },
        inside: SessionActivity::NotRead,
    }
}

#[test]
fn the_quiet_window() {
    let now = Timestamp::from_secs(1_000_000);
    let with = |modified| writes(written_at(modified).newest_write(), now, QUIET, None).finding;
    assert_eq!(with(None), Finding::NoAnswer);
    assert_eq!(
        with(Some(now.plus(Duration::from_nanos(1)))),
        Finding::Writing
    );
    assert_eq!(with(Some(now)), Finding::Writing);
    assert_eq!(
        with(Some(now.minus(Duration::from_secs(599)))),
        Finding::Writing
    );
    assert_eq!(
        with(Some(now.minus(Duration::from_secs(600)))),
        Finding::Quiet
    );
}

/// BuilderBot writes its message store every 10 seconds, connected or not. The exporter leaves it
/// out; a clean-up does not.
#[test]
fn a_message_store_that_is_written_vetoes_clean_ups_only() {
    let now = Timestamp::from_secs(1_000_000);
    let of = |name: &str| {
        let found = [
            written_entry("creds.json", now.minus(QUIET)),
            written_entry(name, now),
        ];
        let inventory = Inventory::new(found, Creds::Missing);
        let newest = inventory.newest_write();
        assert_eq!(writes(newest, now, QUIET, None).finding, Finding::Writing);
        assert!(files_written_after(newest, Some(now.minus(QUIET))).is_some());
        let newest = inventory.newest_key_write();
        let vetoes = files_written_after(newest, Some(now.minus(QUIET)));
        (writes(newest, now, QUIET, None), vetoes)
    };
    for name in [
        "baileys_store.json",
        "baileys_store_multi.json",
        "store.json",
        "bot_store.json",
    ] {
        let (said, veto) = of(name);
        assert_eq!(said.finding, Finding::Quiet, "{name}: {said}");
        assert_eq!(veto, None, "{name}");
    }
    for (name, kind) in [
        ("creds.json", "creds"),
        ("session-79100000000_store.json", "session"),
        ("notes.json", "unknown"),
        ("Baileys_Store.json", "unknown"),
    ] {
        let (said, veto) = of(name);
        assert_eq!(said.finding, Finding::Writing, "{name}: {said}");
        let kind = format!("(kind {kind})");
        assert!(said.detail.contains(&kind), "{said}");
        let veto = veto.unwrap();
        assert!(veto.detail.contains(&kind), "{veto}");
        let shown = format!("{said}{veto}");
        assert!(!shown.contains("7910"), "no number is shown: {shown}");
    }
}

#[test]
fn after_a_step_of_the_clock_nothing_is_known_to_be_quiet() {
    let now = Timestamp::from_secs(1_000_000);
    let old = written_at(Some(now.minus(QUIET * 2)));
    let with = |steady| writes(old.newest_write(), now, QUIET, steady).finding;
    assert_eq!(with(None), Finding::Quiet);
    assert_eq!(with(Some(Duration::ZERO)), Finding::Writing);
    assert_eq!(with(Some(Duration::from_secs(599))), Finding::Writing);
    assert_eq!(with(Some(QUIET)), Finding::Quiet);
}

#[test]
fn a_step_of_the_clock_is_a_veto_for_the_quiet_window() {
    let start = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let manual = clock::ManualClock::new(start);
    let connection = Connection {
        clock: manual.clock(),
        ..Connection::default()
    };
    let vetoed = |judged: &Verdict| {
        let mut all = judged.evidence.iter();
        all.any(|e| e.finding == Finding::Writing && e.detail.contains("was set"))
    };
    let asked = || Asked {
        evidence: Vec::new(),
        log: None,
        logged_out: false,
        ended_by: None,
        started: None,
        own_pids: BTreeSet::new(),
        sightings: SessionSightings::default(),
    };
    let old = written_at(Some(Timestamp::from_secs(1_000)));
    let judged = || connection.judge(asked(), &old);
    let stopped = || connection.judge_stopped(asked(), &old, true, Timestamp::from_secs(2_000));
    assert!(!vetoed(&judged()) && !vetoed(&stopped()));
    manual.set_wall(start + Duration::from_secs(3_600));
    assert!(vetoed(&judged()) && vetoed(&stopped()));
    manual.advance(QUIET - Duration::from_secs(1));
    assert!(vetoed(&judged()) && vetoed(&stopped()));
    manual.advance(Duration::from_secs(1));
    assert!(!vetoed(&judged()) && !vetoed(&stopped()));
}

#[test]
fn the_quiet_window_is_measured_by_the_injected_clock() {
    let start = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let manual = clock::ManualClock::new(start);
    let connection = Connection {
        clock: manual.clock(),
        ..Connection::default()
    };
    let written = written_at(Some(Timestamp::from_secs(999_990)));
    let finding = || {
        let asked = Asked {
            evidence: Vec::new(),
            log: None,
            logged_out: false,
            ended_by: None,
            started: None,
            own_pids: BTreeSet::new(),
            sightings: SessionSightings::default(),
        };
        let judged = connection.judge(asked, &written);
        let mut all = judged.evidence.iter();
        all.find(|e| e.source == "writes").map(|e| e.finding)
    };
    assert_eq!(finding(), Some(Finding::Writing));
    manual.advance(QUIET);
    assert_eq!(finding(), Some(Finding::Quiet));
}

/// What happens, in seconds.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Passes(u64),
    Steps(i64),
    Write,
}

fn happening() -> impl proptest::strategy::Strategy<Value = Happening> {
    use proptest::prelude::*;
    prop_oneof![
        (1..700_u64).prop_map(Happening::Passes),
        (-5_000..5_000_i64).prop_map(Happening::Steps),
        (-3..3_i64).prop_map(Happening::Steps),
        Just(Happening::Write),
    ]
}

proptest::proptest! {
    /// Whatever the clock on the wall does, a folder that is called quiet was not written to
    /// for the quiet window of true time, but for the tolerance of two readings.
    #[test]
    fn quiet_is_quiet_by_true_time(all in proptest::collection::vec(happening(), 1..40)) {
        let start = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let manual = clock::ManualClock::new(start);
        let clock = manual.clock();
        clock.steady_for();
        let mut newest: Option<(Timestamp, Duration)> = None;
        for one in all {
            match one {
                Happening::Passes(seconds) => manual.advance(Duration::from_secs(seconds)),
                Happening::Steps(by) => {
                    let by_span = Duration::from_secs(by.unsigned_abs());
                    let wall = clock.wall();
                    manual.set_wall(if by < 0 { wall - by_span } else { wall + by_span });
                }
                Happening::Write => newest = Some((Timestamp::of(&clock), clock.boot())),
            }
            let steady = clock.steady_for();
            let Some((modified, written)) = newest else { continue };
            let newest = written_at(Some(modified)).newest_write();
            let said = writes(newest, Timestamp::of(&clock), QUIET, steady);
            if said.finding == Finding::Quiet {
                let age = clock.boot() - written;
                proptest::prop_assert!(age + Duration::from_secs(4) >= QUIET, "{age:?}: {said}");
            }
        }
    }
}

/// At a second 1,000,000 with a folder that was quiet since `written`.
fn judged(asked: Asked, written: Timestamp) -> Verdict {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let connection = Connection {
        clock: clock::ManualClock::new(now).clock(),
        ..Connection::default()
    };
    connection.judge_by(asked, written_at(Some(written)).newest_write(), false)
}

/// What a process was found to be, by a source that is trusted.
fn process_is(finding: Finding) -> Asked {
    let evidence = Evidence {
        id: "process".into(),
        ..Evidence::new("process", finding, "")
    };
    Asked {
        evidence: vec![evidence],
        log: None,
        logged_out: false,
        ended_by: None,
        started: None,
        own_pids: BTreeSet::new(),
        sightings: SessionSightings {
            trusted_by_configuration: true,
            ..SessionSightings::default()
        },
    }
}

#[test]
fn a_file_from_after_the_end_of_the_process() {
    let end = Timestamp::from_secs(990_000);
    let with = |ended_by, after| {
        let asked = Asked {
            ended_by,
            ..process_is(Finding::Gone)
        };
        judged(asked, end.plus(Duration::from_secs(after)))
    };
    for after in [0, 2] {
        let verdict = with(Some(end), after);
        assert!(verdict.process_gone, "its own last write: {verdict:?}");
    }
    let verdict = with(Some(end), 3);
    assert_eq!(
        (verdict.state, verdict.process_gone),
        (State::Unknown, false)
    );
    assert!(verdict.is_unresolved());
    assert!(
        verdict.because().contains("after the end of its process"),
        "{}",
        verdict.because()
    );
    assert!(with(None, 3).process_gone, "nothing tells when it ended");
    // It runs, or is not believed to be gone.
    for finding in [Finding::Nothing, Finding::NoAnswer] {
        let asked = Asked {
            ended_by: Some(end),
            ..process_is(finding)
        };
        let verdict = judged(asked, end.plus(Duration::from_secs(3)));
        assert!(!verdict.because().contains("after the end"), "{verdict:?}");
    }
}

#[test]
fn a_bot_that_restarted_and_has_not_connected_is_unresolved() {
    let opened = Timestamp::from_secs(999_000);
    let with = |finding, started| {
        let event = LogEvent {
            opened: Some(true),
            at: Some(opened),
            last_line: Timestamp::from_secs(999_990),
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        };
        let asked = Asked {
            log: Some(("log".into(), Ok(Some(event)))),
            started,
            own_pids: BTreeSet::new(),
            ..process_is(finding)
        };
        let verdict = judged(asked, opened);
        (verdict.state, verdict.is_unresolved())
    };
    let connected = (State::Connected, false);
    assert_eq!(with(Finding::Nothing, None), connected);
    assert_eq!(with(Finding::Nothing, Some(opened)), connected);
    let unresolved = (State::Unknown, true);
    let later = Some(opened.plus(Duration::from_secs(60)));
    assert_eq!(with(Finding::Nothing, later), unresolved);
    assert_eq!(with(Finding::NoAnswer, None), unresolved);
}

proptest::proptest! {
    /// A file that is younger than the end of the process keeps it from being disconnected; one
    /// that is older changes nothing.
    #[test]
    fn nothing_is_gone_before_the_last_write(end in 900_000..999_000_i64, write in 900_000..999_000_i64) {
        let at = Timestamp::from_secs;
        let asked = Asked { ended_by: Some(at(end)), ..process_is(Finding::Gone) };
        let verdict = judged(asked, at(write));
        proptest::prop_assert_eq!(verdict.process_gone, write <= end + 2);
        proptest::prop_assert_eq!(verdict.state == State::Disconnected, write <= end + 2);
    }

    /// A log that ends with an opened connection never makes a bot disconnected, however old.
    #[test]
    fn an_opened_connection_never_disconnects(
        finding in proptest::sample::select(&[Finding::Nothing, Finding::NoAnswer, Finding::Gone, Finding::Ambiguous][..]),
        at in proptest::option::of(999_000..1_000_000_i64),
        started in proptest::option::of(998_000..1_000_000_i64),
        last in 998_000..1_000_000_i64,
        has_new_writer: bool,
    ) {
        let opened = LogEvent {
            opened: Some(true),
            at: at.map(Timestamp::from_secs),
            last_line: Timestamp::from_secs(last),
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer,
        };
        let asked = |log| Asked {
            log,
            started: started.map(Timestamp::from_secs),
            own_pids: BTreeSet::new(),
            ..process_is(finding)
        };
        let written = Timestamp::from_secs(990_000);
        let with = judged(asked(Some(("log".into(), Ok(Some(opened))))), written);
        let without = judged(asked(None), written);
        if with.state == State::Disconnected {
            proptest::prop_assert_eq!(without.state, State::Disconnected);
        }
    }
}

#[test]
fn what_a_socket_proves_to_a_program_that_stays_and_to_a_command() {
    let folder = |logged_in| {
        let facts = crate::folder::CredsFacts {
            logged_in,
            ..Default::default()
        };
        Inventory::new([], Creds::Valid(facts))
    };
    let judged = |connection: &Connection, findings: &[Finding], logged_in| {
        let evidence = |finding: &Finding| Evidence::new("sockets", *finding, "");
        let asked = Asked {
            evidence: findings.iter().map(evidence).collect(),
            ..process_is(Finding::Nothing)
        };
        let verdict = connection.judge(asked, &folder(logged_in));
        (verdict.state, verdict.is_unresolved())
    };
    let stays = Connection::default();
    let once = Connection::default().looking_once();
    let (connected, open) = ((State::Connected, false), (State::Unknown, true));
    for connection in [&stays, &once] {
        assert_eq!(judged(connection, &[Finding::Connected], true), connected);
        assert_eq!(judged(connection, &[Finding::Connected], false), open);
        assert_eq!(judged(connection, &[Finding::Connecting], false), open);
        let none = (State::Unknown, false);
        assert_eq!(judged(connection, &[Finding::Nothing], true), none);
        assert_eq!(judged(connection, &[Finding::Ambiguous], true), open);
    }
    assert_eq!(judged(&stays, &[Finding::Connecting], true), open);
    assert_eq!(judged(&once, &[Finding::Connecting], true), connected);
    // What a source says against it is believed by neither.
    for young in [Finding::Connecting, Finding::Shared] {
        let against = [young, Finding::Disconnected];
        assert_eq!(judged(&stays, &against, true).0, State::Unknown);
        assert_eq!(judged(&once, &against, true).0, State::Unknown);
    }
    // One that may be another session's is a connection to neither.
    for connection in [&stays, &once] {
        for logged_in in [true, false] {
            let shared = judged(connection, &[Finding::Shared], logged_in);
            assert_eq!(shared, (State::Unknown, false));
        }
    }
}

/// After pm2-logrotate has truncated a log, a close in it is in doubt for ever.
#[test]
fn a_close_in_doubt_counts_where_the_process_has_lost_its_connection() {
    let written = Timestamp::from_secs(990_000);
    let judged = |sockets: &[Finding], opened: Option<bool>, pid: Option<u32>, closed: i64| {
        let event = LogEvent {
            opened,
            at: opened.map(|_| Timestamp::from_secs(900_000)),
            last_line: Timestamp::from_secs(999_900),
            last_text: None,
            unclear: Some("x".into()),
            doubted: Some(DoubtedClose {
                at: Timestamp::from_secs(closed),
                pid,
            }),
            opener: None,
            never_opened: false,
            has_new_writer: false,
        };
        let mut asked = process_is(Finding::Nothing);
        let sockets = sockets.iter();
        let sockets = sockets.map(|finding| Evidence::new("sockets", *finding, ""));
        asked.evidence.extend(sockets);
        asked.own_pids = BTreeSet::from([7, 8]);
        asked.log = Some(("log".into(), Ok(Some(event))));
        let verdict = judged(asked, written);
        assert!(!verdict.process_gone);
        (verdict.state, verdict.is_unresolved())
    };
    use Finding::*;
    let (down, open) = ((State::Disconnected, false), (State::Unknown, true));
    assert_eq!(judged(&[Lost], None, Some(8), 995_000), down);
    assert_eq!(judged(&[Lost], None, None, 995_000), down);
    // The copy of the rotated log ends with the connection.
    assert_eq!(judged(&[Lost], Some(true), Some(8), 995_000), down);
    // Another process closed, or a file was written since.
    assert_eq!(judged(&[Lost], None, Some(9), 995_000), open);
    assert_eq!(judged(&[Lost], None, Some(8), 980_000), open);
    // Nothing shows that its connection is gone.
    for sockets in [
        &[][..],
        &[Nothing],
        &[Ambiguous],
        &[Connecting],
        &[Connected],
    ] {
        let (state, _) = judged(sockets, None, Some(8), 995_000);
        assert_ne!(state, State::Disconnected, "{sockets:?}");
    }
    for sockets in [Connecting, Connected, Shared, NoAnswer] {
        let (state, _) = judged(&[Lost, sockets], None, Some(8), 995_000);
        assert_ne!(state, State::Disconnected, "{sockets:?}");
    }
}

/// The remediator may not clean by it: the bot may be connected by another port or process.
#[tokio::test]
async fn only_a_program_that_tells_takes_a_connection_for_lost() {
    let manual = clock::ManualClock::new(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let pattern = regex::Regex::new("^(?<team>[a-z]+)_[0-9]+$").unwrap();
    let placeholders = crate::control::placeholders(Some(&pattern));
    let services = |path: &str| {
        let spec =
            supervisor::Spec::PidFile(supervisor::PidFile::new(path, &placeholders).unwrap());
        let timing = crate::control::Timing::default();
        let rule = crate::control::ServiceRule::new(None, None, spec, false, timing);
        Services::new(vec![rule.unwrap()]).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    for folder in ["a_1", "a_2"].map(|name| dir.path().join(name)) {
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("creds.json"), "{}").unwrap();
        std::fs::write(folder.join("pre-key-1.json"), "{}").unwrap();
    }
    let a = SessionName::from_text("a_1");
    let me = std::process::id();
    for (path, only_tells, expected) in [
        ("/run/{session}.pid", true, Finding::Lost),
        ("/run/{session}.pid", false, Finding::Ambiguous),
        // Two sessions have the process.
        ("/run/{team}.pid", true, Finding::Ambiguous),
    ] {
        let source = crate::folder::SessionsPath {
            name: None,
            path: dir.path().to_owned(),
        };
        let all = AllSessions::new(vec![source]);
        let mut connection = Connection {
            clock: manual.clock(),
            ..Connection::default()
        }
        .among(Arc::new(all));
        connection.settings.processes = services(path);
        if only_tells {
            connection = connection.only_telling();
        }
        let process = connection.settings.processes.observed(&a).unwrap();
        let seen = &connection.seen_sockets;
        seen.had_one_that_lasted(me, connection.clock.now());
        manual.advance(Duration::from_secs(400));
        let (found, own_pids) = connection.sockets(&a, &process, vec![me]).await;
        let findings: Vec<Finding> = found.iter().map(|e| e.finding).collect();
        assert_eq!(findings, [expected], "{path} {found:?}");
        assert!(own_pids.contains(&me));
    }
}

#[test]
fn a_reload_forgets_no_socket() {
    let former = Connection::default();
    let next = Connection::default().after(&former);
    assert!(Arc::ptr_eq(&next.seen_sockets, &former.seen_sockets));
    let clone = former.clone().sharing_for(Duration::from_secs(10));
    assert!(Arc::ptr_eq(&clone.seen_sockets, &former.seen_sockets));
}
