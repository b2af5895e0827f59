use super::configured::Configured;
use super::perform::Performed;
use super::*;
use crate::config::{CommonFlags, RemediatorFlags, Settings, flags_in};
use crate::connection::State;
use crate::folder::identity::insurable;
use crate::folder::{Found, Timestamp};
use crate::policy::insurance::Keep;
use crate::policy::{CleanRequest, CleanupMode};
use crate::remediator::console::context;
use crate::remediator::insurance::store::{CopyStore, limits_of};
use crate::remediator::quarantine::LockedFolder;
use crate::remediator::store::queue::Request;
use crate::remediator::store::runs::{Ending, Status};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const DAY: Duration = Duration::from_secs(86_400);

/// Gives the remediator other settings, and the parts that they ask for.
fn set(remediator: &Remediator, settings: Settings) {
    let former = remediator.current();
    let next = Configured::after(&former, settings).unwrap();
    next.restarts
        .put_in_force(&former.restarts, |_| Ok(()))
        .unwrap();
    *remediator.current.write().unwrap() = Arc::new(next);
}

/// A remediator for one small bot whose clean-up moves one session of 40 days ago. It reads
/// `config.yml`, if `dir` has one.
fn remediator(dir: &Path) -> Remediator {
    let bot = dir.join("sessions/bot");
    std::fs::create_dir_all(&bot).unwrap();
    std::fs::write(
        bot.join("creds.json"),
        r#"{"noiseKey":{},"nextPreKeyId":31}"#,
    )
    .unwrap();
    for days in [1, 5, 40] {
        let path = bot.join(format!("session-{days}.0.json"));
        std::fs::write(&path, r#"{"_sessions":{},"version":"v1"}"#).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - DAY * days)
            .unwrap();
    }
    let token = dir.join("token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (common, remediator) = flags_in(dir);
    let common = CommonFlags {
        connection_command: Some("echo disconnected".into()),
        connection_quiet: Some(Duration::from_millis(1)),
        connection_trust: vec!["*".into()],
        ..common
    };
    let remediator = RemediatorFlags {
        webhook_token_file: Some(token),
        ..remediator
    };
    let load = move || Settings::load(&common, &remediator).map_err(|error| error.to_string());
    Remediator::new(context(load().unwrap()).unwrap(), Box::new(load)).unwrap()
}

/// The bot of [`remediator`], as it was found.
fn found_bot(remediator: &Remediator) -> Found {
    let current = remediator.current();
    current.sessions.find_now("bot").unwrap().unwrap()
}

#[tokio::test]
async fn retention_needs_both_clocks() {
    let dir = tempfile::tempdir().unwrap();
    let remediator = remediator(dir.path());
    let found = found_bot(&remediator);
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: None,
        force: None,
    };
    let mut ending = Ending::default();
    runner::clean(&remediator.current().ctx, 1, &found, ask, &mut ending)
        .await
        .unwrap();
    let held = || {
        LockedFolder::lock(&found.place)
            .unwrap()
            .stored()
            .unwrap()
            .len()
    };
    let (now, clock) = (Timestamp::now(), Instant::now());
    let hours = |n: u32| Duration::from_secs(3_600) * n;
    // Both clocks, each so many hours on.
    let sweep = |wall: u32, other: u32| {
        remediator
            .empty_quarantines(
                &remediator.store.blocking_in_test(),
                now.plus(hours(wall)),
                clock + hours(other),
            )
            .unwrap();
        held()
    };
    let day = 24;
    assert_eq!(sweep(29 * day, 29 * day), 1, "not due");
    assert_eq!(sweep(29 * day + 7, 29 * day + 7), 1, "not due");
    assert_eq!(
        sweep(365 * day, 29 * day + 8),
        1,
        "due by the wall clock alone"
    );
    assert_eq!(
        sweep(365 * day + 7, 29 * day + 15),
        1,
        "it has jumped, however long that is ago"
    );
    // It comes back, and the retention begins anew.
    assert_eq!(sweep(30 * day, 30 * day), 1);
    assert_eq!(sweep(59 * day, 59 * day), 1);
    assert_eq!(sweep(61 * day, 61 * day), 1, "due, but not for six hours");
    remediator
        .store
        .in_test()
        .pause()
        .set("ann", "undo", now)
        .unwrap();
    assert_eq!(sweep(62 * day, 62 * day), 1, "a pause keeps it");
    remediator
        .store
        .in_test()
        .pause()
        .resume("ann", now)
        .unwrap();
    assert_eq!(sweep(62 * day + 7, 62 * day + 7), 0, "due for six hours");
    assert_eq!(
        remediator
            .store
            .in_test()
            .counters()
            .totals()
            .unwrap()
            .purged,
        1
    );
    assert!(found.place.path().join("session-1.0.json").exists());
}

/// It was made while the clock was 60 days behind.
#[tokio::test]
async fn a_corrected_clock_keeps_every_undo() {
    let dir = tempfile::tempdir().unwrap();
    let remediator = remediator(dir.path());
    let found = found_bot(&remediator);
    let (now, clock) = (Timestamp::now(), Instant::now());
    let folder = LockedFolder::lock(&found.place).unwrap();
    let inventory = folder.scan().unwrap();
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: None,
        force: None,
    };
    let limits = limits_of(&remediator.current().ctx.settings, &found.session);
    let plan = crate::policy::plan(&inventory, false, now, &limits, &ask).unwrap();
    let behind = now.minus(DAY * 60);
    folder
        .prepare(&plan, QuarantineName::new(behind), behind, 1 << 20)
        .unwrap()
        .execute(behind)
        .unwrap();
    drop(folder);
    let held = || {
        LockedFolder::lock(&found.place)
            .unwrap()
            .stored()
            .unwrap()
            .len()
    };
    remediator
        .empty_quarantines(&remediator.store.blocking_in_test(), behind, clock)
        .unwrap();
    for hours in 1..48 {
        let passed = Duration::from_secs(3_600) * hours;
        remediator
            .empty_quarantines(
                &remediator.store.blocking_in_test(),
                now.plus(passed),
                clock + passed,
            )
            .unwrap();
        assert_eq!(held(), 1, "{hours} hours after the clock was corrected");
    }
    for passed in [DAY * 31, DAY * 32, DAY * 33] {
        remediator
            .empty_quarantines(
                &remediator.store.blocking_in_test(),
                now.plus(passed),
                clock + passed,
            )
            .unwrap();
    }
    assert_eq!(held(), 0);
}

#[tokio::test]
async fn a_run_is_rolled_forward_only_as_the_guard_still_allows() {
    for creds_break in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let remediator = remediator(dir.path());
        let found = found_bot(&remediator);
        let folder = LockedFolder::lock(&found.place).unwrap();
        let inventory = folder.scan().unwrap();
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: None,
            force: None,
        };
        let limits = limits_of(&remediator.current().ctx.settings, &found.session);
        let plan = crate::policy::plan(&inventory, false, Timestamp::now(), &limits, &ask).unwrap();
        let run = QuarantineName::new(Timestamp::now());
        // A crash right after the plan was written.
        drop(
            folder
                .prepare(&plan, run, Timestamp::now(), 1 << 20)
                .unwrap(),
        );
        drop(folder);
        if creds_break {
            std::fs::write(found.place.path().join("creds.json"), "").unwrap();
        }
        assert!(
            runner::recover(&remediator.current().ctx, &found)
                .await
                .unwrap()
        );
        let kept = found.place.path().join("session-40.0.json").exists();
        assert_eq!(
            kept, creds_break,
            "the table decides again before the rest moves"
        );
    }
}

/// An undo that a crash interrupts is completed, but not beside another identity.
#[tokio::test]
async fn an_interrupted_undo_is_not_completed_after_a_new_pairing() {
    let dir = tempfile::tempdir().unwrap();
    let remediator = remediator(dir.path());
    let found = found_bot(&remediator);
    let folder = found.place.path();
    let pair = |identity: &str| {
        let creds = format!(
            r#"{{"noiseKey":{{}},"nextPreKeyId":31,"signedIdentityKey":{{"public":{{"type":"Buffer","data":"{identity}"}}}}}}"#
        );
        std::fs::write(folder.join("creds.json"), creds).unwrap();
    };
    pair("Q0M=");
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: None,
        force: None,
    };
    let mut ending = Ending::default();
    runner::clean(&remediator.current().ctx, 1, &found, ask, &mut ending)
        .await
        .unwrap();
    let moved = folder.join("session-40.0.json");
    assert!(!moved.exists());
    // A crash right after the undo was recorded.
    let quarantine = folder.join(crate::folder::scan::QUARANTINE_DIR);
    let run = quarantine.join(ending.run.unwrap());
    std::fs::write(run.join("undone.json"), r#"{"at_ns":1,"finished":false}"#).unwrap();
    pair("QUE=");
    assert!(
        runner::recover(&remediator.current().ctx, &found)
            .await
            .unwrap()
    );
    assert!(!moved.exists(), "not beside another identity");
    // Also at the begin of the next clean-up.
    let mut ending = Ending::default();
    let _ = runner::clean(&remediator.current().ctx, 2, &found, ask, &mut ending).await;
    assert!(!moved.exists());
    pair("Q0M=");
    assert!(
        runner::recover(&remediator.current().ctx, &found)
            .await
            .unwrap()
    );
    assert!(moved.exists());
}

#[tokio::test]
async fn the_roll_call_remembers_who_is_alive_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let remediator = remediator(dir.path());
    let bot = dir.path().join("sessions/bot");
    let written = || std::fs::metadata(&bot).unwrap().modified().unwrap();
    let (before, answer) = (written(), dir.path().join("answer"));
    std::fs::write(&answer, "connected").unwrap();
    let mut settings = Settings::clone(&remediator.current().ctx.settings);
    settings.connection.trust = globset::GlobSet::empty();
    settings.connection.probes = vec![
        crate::connection::Probe::command_line(&format!("cat {}", answer.display()), None).unwrap(),
    ];
    set(&remediator, settings);
    let remediator = Arc::new(remediator);
    let found = found_bot(&remediator);
    let verdict = async || {
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: None,
            force: None,
        };
        runner::preview(&remediator.current().ctx.app(), &found, ask)
            .await
            .0
    };
    std::fs::write(&answer, "disconnected").unwrap();
    remediator.roll_call().await;
    let unknown = verdict().await;
    assert_eq!(unknown.state, State::Unknown, "never seen alive");
    assert!(
        unknown.because().contains("doctor --trust"),
        "{}",
        unknown.because()
    );
    std::fs::write(&answer, "connected").unwrap();
    remediator.roll_call().await;
    std::fs::write(&answer, "disconnected").unwrap();
    assert_eq!(
        verdict().await.state,
        State::Disconnected,
        "it was seen alive"
    );
    assert_eq!(
        remediator
            .store
            .in_test()
            .sightings()
            .recall("bot")
            .unwrap()
            .alive
            .len(),
        1
    );
    assert_eq!(written(), before);
}

#[tokio::test]
async fn a_process_that_starts_again_under_a_clean_up_stops_it() {
    use crate::connection::Probe;
    use crate::control::{ServiceRule, Services, Timing, placeholders};
    use supervisor::{PidFile, Spec};
    for starts_again in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let remediator = remediator(dir.path());
        // The second query finds the process running.
        let script = format!(
            "cd {}; if [ -e asked ] && {starts_again}; then echo {} >bot.pid; fi; touch asked; echo disconnected",
            dir.path().display(),
            std::process::id()
        );
        std::fs::write(dir.path().join("ask.sh"), script).unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        std::fs::write(dir.path().join("bot.pid"), ended.id().to_string()).unwrap();
        ended.wait().unwrap();
        let mut settings = Settings::clone(&remediator.current().ctx.settings);
        let line = format!("sh {}/ask.sh", dir.path().display());
        settings.connection.probes = vec![Probe::command_line(&line, None).unwrap()];
        let pid_file = format!("{}/bot.pid", dir.path().display());
        let spec = Spec::PidFile(PidFile::new(&pid_file, &placeholders(None)).unwrap());
        let globs = globset::GlobSetBuilder::new()
            .add(globset::Glob::new("*").unwrap())
            .build();
        let rule =
            ServiceRule::new(Some(globs.unwrap()), None, spec, false, Timing::default()).unwrap();
        settings.connection.processes = Services::new(vec![rule]).unwrap();
        set(&remediator, settings);
        let found = found_bot(&remediator);
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: None,
            force: None,
        };
        let mut ending = Ending::default();
        let done = runner::clean(&remediator.current().ctx, 1, &found, ask, &mut ending).await;
        let evidence = ending.evidence.unwrap();
        let kept = found.place.path().join("session-40.0.json").exists();
        assert_eq!(
            (done.is_err(), kept),
            (starts_again, starts_again),
            "{evidence}"
        );
        if let Err(stop) = done {
            assert_eq!(stop.label(), "connection_unknown", "{evidence}");
        }
    }
}

/// The service of `bot` is called as that of `other`, and is another process.
#[tokio::test]
async fn a_name_of_two_processes_lets_neither_be_stopped() {
    use crate::control::{ServiceRule, Services, Timing, placeholders};
    use supervisor::{ArgTemplate, Commands, Spec};
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("sessions/other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(
        other.join("creds.json"),
        r#"{"noiseKey":{},"nextPreKeyId":31}"#,
    )
    .unwrap();
    let remediator = remediator(dir.path());
    let rule = |sessions: &str, name: &str| {
        let mut globs = globset::GlobSetBuilder::new();
        globs.add(globset::Glob::new(sessions).unwrap());
        let word = |word: &str| vec![word.to_owned(), sessions.to_owned()];
        let (act, gone) = (word("true"), word("false"));
        let placeholders = placeholders(None);
        let commands = Commands::new(&gone, Some(&act), Some(&act), &placeholders).unwrap();
        let name = ArgTemplate::parse(name, &placeholders).unwrap();
        ServiceRule::new(
            Some(globs.build().unwrap()),
            Some(name),
            Spec::Commands(commands),
            true,
            Timing::default(),
        )
        .unwrap()
    };
    let mut settings = Settings::clone(&remediator.current().ctx.settings);
    settings.services = Services::new(vec![rule("bot", "other"), rule("*", "{session}")]).unwrap();
    // Nothing but a stop would do.
    settings.connection.probes =
        vec![crate::connection::Probe::command_line("echo connected", None).unwrap()];
    set(&remediator, settings);
    let remediator = Arc::new(remediator);
    assert_eq!(remediator.current().sessions.known().len(), 2);
    for session in ["bot", "other"] {
        let request = Request {
            session: session.into(),
            action: Action::Emergency,
            tier: "emergency".into(),
            fingerprint: "f".into(),
            starts_at: "s".into(),
            via: crate::remediator::store::queue::Via::default(),
        };
        remediator
            .store
            .in_test()
            .queue()
            .accept(&[request], Timestamp::now())
            .unwrap();
        let run = remediator
            .store
            .in_test()
            .queue()
            .claim_next(Timestamp::now(), &[])
            .unwrap()
            .unwrap();
        let told = {
            let current = remediator.current();
            let mut ending = Ending::default();
            remediator.perform_inner(&current, &run, &mut ending).await
        };
        let Performed::Ended(Err(error)) = told else {
            panic!("{told:?}")
        };
        assert_eq!(error.label(), "service_unknown", "{error}");
        assert!(error.to_string().contains("another `name`"), "{error}");
        remediator
            .store
            .in_test()
            .runs()
            .finish(
                run.id,
                Status::Refused,
                &Ending::default(),
                Timestamp::now(),
            )
            .unwrap();
    }
}

/// A session of which a copy of creds.json is kept had one, so its creds are not elsewhere. What a
/// pause holds back is judged by that as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_judges_by_the_limits_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let config = "overrides: [{sessions: [bot], creds: elsewhere}]";
    std::fs::write(dir.path().join("config.yml"), config).unwrap();
    let remediator = remediator(dir.path());
    let now = Timestamp::now();
    let bytes = br#"{"signedIdentityKey":{"public":{"type":"Buffer","data":"Q0M="}},"registrationId":7,"me":{"id":"1@s.whatsapp.net"},"account":{},"nextPreKeyId":31}"#;
    CopyStore::new(&dir.path().join("state"))
        .add(
            "bot",
            bytes,
            &insurable(bytes).unwrap(),
            now,
            now,
            &Keep::default(),
        )
        .unwrap();
    std::fs::remove_file(dir.path().join("sessions/bot/creds.json")).unwrap();
    let run = {
        let store = remediator.store.in_test();
        store.pause().set("ann", "a test", now).unwrap();
        let request = Request {
            session: "bot".into(),
            action: Action::Cleanup,
            // The folder is too small for any tier.
            tier: String::new(),
            fingerprint: "f".into(),
            starts_at: "s".into(),
            via: crate::remediator::store::queue::Via::default(),
        };
        store.queue().accept(&[request], now).unwrap();
        store.queue().claim_next(now, &[]).unwrap().unwrap()
    };
    let mut ending = Ending::default();
    let (current, remediator) = (remediator.current(), Arc::new(remediator));
    let performed = remediator.perform_inner(&current, &run, &mut ending).await;
    assert!(
        matches!(performed, Performed::Ended(Err(_))),
        "{performed:?}"
    );
    assert_eq!(
        ending.note.as_deref(),
        Some("halted; it would have been refused as creds_broken")
    );
}

#[test]
fn start_is_refused_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let first = remediator(dir.path());
    for (name, mode) in [
        (".", 0o700),
        ("journal.sqlite", 0o600),
        ("serve.lock", 0o600),
    ] {
        let found = std::fs::metadata(dir.path().join("state").join(name))
            .unwrap()
            .mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    let again = {
        let ctx = first.current().ctx.clone();
        Remediator::new(ctx, Box::new(|| Err("not asked".into())))
            .err()
            .unwrap()
    };
    assert!(again.contains("another `serve`"), "{again}");
    drop(first);
    let token = dir.path().join("token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(token::read(&token).unwrap_err().contains("chmod 0600 "));
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&token, "short\n").unwrap();
    assert!(token::read(&token).unwrap_err().contains("at least 16"));
}

/// Whatever a run waits for: here for its probe, which hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn runs_that_hang_give_their_places_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let hung: Vec<String> = (0..WORKERS).map(|n| format!("hung-{n}")).collect();
    for session in &hung {
        let folder = dir.path().join("sessions").join(session);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("creds.json"),
            r#"{"noiseKey":{},"nextPreKeyId":31}"#,
        )
        .unwrap();
    }
    // The probes end with the test, whose directory goes.
    let hold = dir.path().join("hold");
    std::fs::write(&hold, "").unwrap();
    let probe = format!(
        "sh -c 'case $0 in hung*) while [ -e {} ]; do sleep 0.1; done ;; esac; echo disconnected' {{session}}",
        hold.display()
    );
    let mut remediator = remediator(dir.path());
    let mut settings = Settings::clone(&remediator.current().ctx.settings);
    settings.connection.timeout = DAY;
    settings.connection.probes =
        vec![crate::connection::Probe::command_line(&probe, None).unwrap()];
    set(&remediator, settings);
    remediator.clock = clock::Clock::fast(60);
    let remediator = Arc::new(remediator);
    let ask = |session: &str| {
        let request = Request {
            session: session.into(),
            action: Action::Cleanup,
            tier: "cleanup".into(),
            fingerprint: session.into(),
            starts_at: "s".into(),
            via: crate::remediator::store::queue::Via::default(),
        };
        let store = remediator.store.in_test();
        store.queue().accept(&[request], Timestamp::now()).unwrap();
    };
    for session in hung.iter().map(String::as_str).chain(["bot"]) {
        ask(session);
    }
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let workers: Vec<_> = (0..WORKERS + MAX_OVERDUE)
        .map(|_| tokio::spawn(Arc::clone(&remediator).work(stopping.clone())))
        .collect();
    let ended = |session: &str| {
        let store = remediator.store.in_test();
        let runs = store.audit().recent(10).unwrap();
        let run = runs.into_iter().find(|run| run.session == session);
        run.is_some_and(|run| ![Status::Queued, Status::Running].contains(&run.status))
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !ended("bot") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let waited = waited.await;
    let runs = remediator.store.in_test().audit().recent(10);
    assert!(waited.is_ok(), "{runs:#?}");
    assert!(hung.iter().all(|session| !ended(session)));
    std::fs::remove_file(&hold).unwrap();
    let _ = stop.send(true);
    for worker in workers {
        worker.await.unwrap();
    }
}
