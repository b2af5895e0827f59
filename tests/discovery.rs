//! Which folders are sessions, and of what name, through the real programs: the directory
//! layouts of public bots, links, and names that are not unique.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use testkit::fixture::{self, Snapshot};
use testkit::net::{self, Metrics};
use testkit::process::Process;
use testkit::world::{QUARTER, SOON, World, alert};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";
const SKIPPED: &str = "baileys_exporter_sessions_skipped";
const UP: &str = "baileys_auth_folder_up";

fn unpack(fixture: &str, folder: &Path) {
    fixture::unpack(fixture, folder, SystemTime::now() - QUARTER).unwrap();
}

/// The flag for a path below the directory of the world.
fn flag(world: &World, path: &str) -> String {
    let (name, path) = path.split_once('=').unwrap_or(("", path));
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("{name}=")
    };
    format!("--sessions.path={name}{}", world.path(path).display())
}

/// What `status` shows with these paths: the sessions, and what it says on standard error.
fn status(world: &World, paths: &[&str]) -> (Vec<String>, String) {
    let mut flags: Vec<String> = paths.iter().map(|path| flag(world, path)).collect();
    flags.push("--output=json".into());
    let ran = world.run(EXPORTER, &["status"], flags);
    let rows: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let rows = rows.as_array().unwrap().iter();
    let name = |row: &serde_json::Value| row["session"].as_str().unwrap().to_owned();
    (rows.map(name).collect(), ran.err)
}

fn sessions(world: &World, paths: &[&str]) -> Vec<String> {
    status(world, paths).0
}

#[test]
fn layouts_of_public_bots() {
    let world = testkit::world!();
    for folder in [
        // One project for each bot.
        "srv/p1/auth_info_baileys",
        "srv/p2/auth_info_baileys",
        "srv/p3/baileys_auth_info",
        // Sub-bots in the folder of the main bot.
        "jadibot/main/5550001",
        "jadibot/main/5550002",
        "jadibot/main",
        // An account below a channel.
        "credentials/whatsapp/account",
        // A directory with a glob's signs in its name.
        "bots[1]/bot",
    ] {
        unpack("normal", &world.path(folder));
    }
    std::fs::create_dir_all(world.path("srv/p1/node_modules/x")).unwrap();
    std::fs::write(world.path("srv/p1/package.json"), "{}").unwrap();
    std::fs::create_dir_all(world.path("srv/p4/auth_info_baileys")).unwrap();
    for (path, names) in [
        ("srv", &["p1", "p2", "p3"][..]),
        ("srv/*/auth_info_baileys", &["p1", "p2"]),
        ("srv/p[13]/*", &["p1", "p3"]),
        ("*/*/auth_info_baileys", &["srv-p1", "srv-p2"]),
        ("jadibot/main", &["5550001", "5550002", "main"]),
        ("jadibot", &["main", "main-5550001", "main-5550002"]),
        ("only=jadibot/main", &["only"]),
        ("credentials", &["whatsapp-account"]),
        ("credentials/*", &["whatsapp-account"]),
        ("bots[1]", &["bot"]),
    ] {
        let (found, said) = status(&world, &[path]);
        assert_eq!(found, names, "{path}");
        assert_eq!(said, "", "{path}");
    }
    let overlapping = ["srv", "srv/*/auth_info_baileys", "srv/p1/auth_info_baileys"];
    assert_eq!(sessions(&world, &overlapping), ["p1", "p2", "p3"]);
}

#[test]
fn what_is_passed_over_is_reported_with_its_setting() {
    let world = testkit::world!();
    for folder in [
        "srv/p1/auth",
        "srv/p1/auth/backup_2024",
        "srv/a/b/auth",
        "srv/left_out/auth",
    ] {
        unpack("normal", &world.path(folder));
    }
    let at = |path: &str| world.path(path).canonicalize().unwrap();
    let exclude = |mut flags: Vec<String>| {
        flags.push("--sessions.exclude=left_out".into());
        flags
    };
    let srv = at("srv");
    let backup = at("srv/p1/auth/backup_2024");
    let said = [
        format!("--sessions.path={}/*/*/auth ", srv.display()),
        format!("--sessions.path=NAME={}", backup.display()),
    ];
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    world
        .run(EXPORTER, &["status"], exclude(vec![flag(&world, "srv")]))
        .must(0, &said);
    let mut flags = exclude(vec![flag(&world, "srv")]);
    flags.push(format!("--state.path={}", world.path("state").display()));
    let doctor = world.run(REMEDIATOR, &["doctor"], flags);
    let left_out = at("srv/left_out/auth");
    for word in said.iter().copied().chain([left_out.to_str().unwrap()]) {
        assert!(doctor.err.contains(word), "{}", doctor.err);
    }
    let all = ["srv", "srv/*/*/auth", "old=srv/p1/auth/backup_2024"];
    let (found, said) = status(&world, &all);
    assert_eq!(found, ["a-b", "left_out", "old", "p1"]);
    assert_eq!(said, "", "what it says to do ends it");

    let (found, said) = status(&world, &["srv/*/none"]);
    assert_eq!(found, [""; 0]);
    assert!(said.contains("no directory matches "), "{said}");
    world
        .run(EXPORTER, &["status"], vec![flag(&world, "bot=srv/*/auth")])
        .must(2, &["leave the name out"]);
}

/// More than are looked at one by one after that many timeouts.
#[test]
fn one_of_many_folders_that_hangs_leaves_the_others() {
    let world = testkit::world!();
    let folder = |n: usize| world.path(&format!("srv/bots/bot-{n:03}"));
    for n in 0..100 {
        std::fs::create_dir_all(folder(n)).unwrap();
        std::fs::write(folder(n).join("pre-key-1.json"), "{}").unwrap();
    }
    let Some(mount) = testkit::hung::HungMount::over(&folder(0)) else {
        return;
    };
    let (sessions, said) = status(&world, &["srv"]);
    assert_eq!(sessions.len(), 99, "{said}");
    assert!(said.contains("bot-000: timeout"), "{said}");
    drop(mount);
}

#[test]
fn a_folder_behind_a_link_is_cleaned_at_its_canonical_path() {
    let mut world = testkit::world!();
    world.with_probe();
    for bot in ["p1", "p2"] {
        let folder = world.path("srv").join(bot).join("auth");
        unpack(BLOATED, &folder);
        symlink(&folder, world.folder(bot)).unwrap();
        world.probe_says(bot, "disconnected");
    }
    symlink(".", world.folder("loop")).unwrap();
    let before = Snapshot::take(&world.path("srv/p2/auth")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::lchown(world.folder("p2"), Some(65_534), None).unwrap();
    }
    let (found, said) = status(&world, &["sessions"]);
    if is_root {
        assert_eq!(found, ["p1"]);
        let auth = world.path("srv/p2/auth").canonicalize().unwrap();
        let setting = format!("--sessions.path=NAME={}", auth.display());
        assert!(said.contains(&setting), "{said}");
    } else {
        testkit::not_run("a link of another user: only root can make one");
    }
    world.start_remediator();
    assert_eq!(world.accepted(&[alert("p1", "cleanup")]), 1);
    world.wait_until_idle();
    assert_eq!(world.run_of("p1")["status"], "done");
    assert!(world.path("srv/p1/auth/.baileys_quarantine").is_dir());
    assert!(world.folder("p1").is_symlink());
    if is_root {
        assert_eq!(world.accepted(&[alert("p2", "cleanup")]), 0);
        let after = Snapshot::take(&world.path("srv/p2/auth")).unwrap();
        assert_eq!(before.differences(&after), [""; 0]);
    }
    world.finish();
}

/// The number of files of a session, and how many names are not unique.
fn files_and_duplicates(metrics: &Metrics) -> (f64, f64) {
    let labels = [("session", "bot")];
    let files = metrics.sum("baileys_auth_files", &labels).unwrap();
    let reason = [("reason", "duplicate_name")];
    (files, metrics.sum(SKIPPED, &reason).unwrap())
}

/// A bot that removes its own folder at a logout and runs on. If the folder is made again and
/// stays empty, the answer is that of an exporter that has not met the gap.
#[test]
fn a_session_stays_one_without_its_folder_while_its_process_runs() {
    let mut world = testkit::world!();
    world.with_config("processes: [{pid_file: 'DIR/{session}.pid'}]\n");
    for name in ["met", "missed", "retired"] {
        unpack("normal", &world.path("sessions").join(name));
    }
    let mut bots = ["met", "missed"].map(|name| {
        let log = world.path(&format!("{name}.log"));
        let bot = Process::start(name, Path::new("sleep"), ["600"], &log).unwrap();
        let file = world.path(&format!("{name}.pid"));
        std::fs::write(file, format!("{}\n", bot.pid())).unwrap();
        bot
    });
    world.start_exporter();
    let of = |world: &World, name: &str, session: &str| {
        let metrics = world.metrics();
        metrics.sum(&format!("baileys_auth_{name}"), &[("session", session)])
    };
    world.wait("the processes are seen to run", || {
        let runs = |name| of(&world, "process_running", name);
        match (runs("met")?, runs("missed")?) {
            (1.0, 1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    for name in ["met", "missed", "retired"] {
        std::fs::remove_dir_all(world.path("sessions").join(name)).unwrap();
        if name == "missed" {
            std::fs::create_dir(world.path("sessions").join(name)).unwrap();
        }
    }
    assert_eq!(of(&world, "folder_up", "met"), Ok(0.0));
    assert_eq!(of(&world, "folder_error", "met"), Ok(1.0));
    assert_eq!(of(&world, "process_running", "met"), Ok(1.0));
    assert!(of(&world, "folder_up", "retired").is_err());
    std::fs::create_dir(world.path("sessions/met")).unwrap();
    for name in ["met", "missed"] {
        assert_eq!(of(&world, "folder_up", name), Ok(1.0), "{name}");
        assert_eq!(of(&world, "creds_valid", name), Ok(0.0), "{name}");
        assert_eq!(of(&world, "process_running", name), Ok(1.0), "{name}");
    }
    for bot in &mut bots {
        bot.kill();
    }
    world.finish();
}

#[test]
fn of_two_folders_of_one_name_the_exporter_keeps_the_one_known_before() {
    let mut world = testkit::world!();
    unpack(BLOATED, &world.path("second/bot"));
    std::fs::create_dir(world.path("first")).unwrap();
    let args = vec![
        flag(&world, "first"),
        flag(&world, "second"),
        format!("--web.listen-address=127.0.0.1:{}", world.port),
    ];
    world.start(&[], Path::new(EXPORTER), args.clone());
    assert_eq!(files_and_duplicates(&world.metrics()), (387.0, 0.0));
    unpack("normal", &world.path("first/bot"));
    assert_eq!(files_and_duplicates(&world.metrics()), (387.0, 1.0));
    world.wait_for_log("--sessions.path=NAME=");
    // It starts with two of them; the older directory counts as the one known before.
    world.stop();
    world.start(&[], Path::new(EXPORTER), args);
    assert_eq!(files_and_duplicates(&world.metrics()), (387.0, 1.0));
    std::fs::remove_dir_all(world.path("second/bot")).unwrap();
    let (files, duplicates) = files_and_duplicates(&world.metrics());
    assert!(files < 387.0 && duplicates == 0.0);
    world.finish();
}

#[test]
fn the_remediator_refuses_every_run_on_a_name_that_is_not_unique() {
    let mut world = testkit::world!();
    world.with_probe();
    let before = world.bot("bot", BLOATED, "disconnected");
    world.bot("other", BLOATED, "disconnected");
    world.bot("late", BLOATED, "disconnected");
    unpack(BLOATED, &world.path("more/bot"));
    let second = Snapshot::take(&world.path("more/bot")).unwrap();
    world.flags.push(flag(&world, "more"));
    world.start_remediator();
    let refused = |world: &World, session: &str| {
        assert_eq!(world.accepted(&[alert(session, "cleanup")]), 1);
        world.wait_until_idle();
        let run = world.run_of(session);
        assert_eq!(run["status"], "refused", "{run:#}");
        assert_eq!(run["reason"], "duplicate_name", "{run:#}");
    };
    refused(&world, "bot");
    let reason = [("reason", "duplicate_name")];
    assert_eq!(world.metric("refusals_total", &reason), 1.0);
    for args in [
        &["plan", "bot"][..],
        &["clean", "bot", "--force", "--yes"],
        &["creds", "restore", "bot", "--version=1", "--yes"],
    ] {
        let ran = world.remediator(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(
            ran.err.contains("two auth folders are called bot"),
            "{}",
            ran.err
        );
    }
    let page = net::get(&world.url("/plan?session=bot")).unwrap();
    assert_eq!(page.status, 409, "{}", page.body);

    // Another name is not concerned, until it has a second folder as well.
    assert_eq!(world.accepted(&[alert("other", "cleanup")]), 1);
    world.wait_until_idle();
    let run = world.run_of("other");
    assert_eq!(run["status"], "done", "{run:#}");
    unpack(BLOATED, &world.path("more/late"));
    world.wait("the second folder is seen", || {
        world.deliver(&[alert("nobody", "cleanup")]);
        match world.log().contains("two auth folders are called late") {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    refused(&world, "late");
    unpack(BLOATED, &world.path("more/other"));
    let undo = ["undo", run["run"].as_str().unwrap()];
    let ran = world.remediator(&undo);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(
        ran.err.contains("two auth folders are called other"),
        "{}",
        ran.err
    );
    std::fs::remove_dir_all(world.path("more/other")).unwrap();
    world.remediator(&undo).must(0, &[]);

    world.unchanged("bot", &before);
    let after = Snapshot::take(&world.path("more/bot")).unwrap();
    assert_eq!(second.differences(&after), [""; 0]);
    world.finish();
}

#[test]
fn a_raw_byte_and_its_escaped_spelling_are_two_sessions() {
    use std::os::unix::ffi::OsStrExt;
    let world = testkit::world!();
    for name in [&b"a\xff"[..], b"a\\xff"] {
        let name = std::ffi::OsStr::from_bytes(name);
        unpack("normal", &world.path("sessions").join(name));
    }
    let (found, said) = status(&world, &["sessions"]);
    assert_eq!(found, [r"a\\xff", r"a\xff"]);
    assert_eq!(said, "");
    let mut flags = vec![flag(&world, "sessions")];
    flags.push(format!("--state.path={}", world.path("state").display()));
    for name in found {
        let plan = world.run(REMEDIATOR, &["plan", &name], flags.clone());
        assert_ne!(plan.code, 2, "it is found: {}", plan.err);
    }
}

#[test]
fn logs_find_the_sessions_of_a_glob() {
    let mut world = testkit::world!();
    for folder in ["p1/auth_info_baileys", "p2/auth_info_baileys", "p2/one"] {
        unpack("normal", &world.path("srv").join(folder));
    }
    std::fs::create_dir(world.path("logs")).unwrap();
    let line = "{\"level\":50,\"time\":1795897492323,\"pid\":7,\"hostname\":\"vm\",\"class\":\"baileys\",\"node\":{\"tag\":\"stream:error\",\"attrs\":{\"code\":\"401\"},\"content\":[{\"tag\":\"conflict\",\"attrs\":{\"type\":\"device_removed\"}}]},\"msg\":\"stream errored out\"}\n";
    for log in ["p1-out.log", "p2-one-error.log"] {
        std::fs::write(world.path("logs").join(log), line).unwrap();
    }
    let inside = world.path("srv/p2/logs");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("out.log"), line).unwrap();
    let args = vec![
        flag(&world, "srv/*/*"),
        format!("--logs.path={}/*", world.path("logs").display()),
        format!("--logs.path={}/*", inside.display()),
        format!("--logs.state-path={}", world.path("logstate").display()),
        "--logs.from-start".into(),
        format!("--web.listen-address=127.0.0.1:{}", world.port),
    ];
    world.start(&[], Path::new(EXPORTER), args);
    world.wait("each session has its line", || {
        let metrics = net::get(&world.url("/metrics"))?.ok()?;
        let metrics = Metrics::parse(&metrics)?;
        for session in ["p1", "p2", "p2-one"] {
            assert_eq!(metrics.having(UP, &[("session", session)]).count(), 1);
            let labels = [("session", session), ("pattern", "device_removed")];
            let count = metrics.sum("baileys_auth_signal_warnings_total", &labels)?;
            if count < 1.0 {
                return Err(format!("{session}: {count}"));
            }
        }
        Ok(())
    });
    world.finish();
}

/// What the remediator counts, once its permission check has ended.
fn problems(world: &World) -> f64 {
    world.wait_for_log("permission check ");
    world.metric("permission_problems", &[])
}

#[test]
fn a_place_where_the_remediator_cannot_work_is_counted() {
    // A path: what is counted, and what is said.
    for (path, count, says) in [
        ("sessions", 0.0, None),
        ("empty", 0.0, None),
        ("none/*", 0.0, Some("no directory matches")),
        ("missing", 1.0, Some("no such directory")),
        ("token", 1.0, Some("no such directory")),
        ("bot=missing", 1.0, None),
    ] {
        let mut world = testkit::world!();
        world.with_probe();
        world.bot("company_962302", "normal", "disconnected");
        for empty in ["empty", "none"] {
            std::fs::create_dir(world.path(empty)).unwrap();
        }
        // Beside a path that is right.
        world.flags.push(flag(&world, path));
        world.start_remediator();
        assert_eq!(problems(&world), count, "{path}: {}", world.log());
        world.wait_for_log(says.unwrap_or(""));
        let token = format!("--webhook.token-file={}", world.path("token").display());
        world.with_config("{}");
        let checked = world.remediator(&["check-config", &token]);
        checked.must(0, &[says.unwrap_or("")]);
        let checked = world.exporter(&["check-config"]);
        checked.must(0, &[says.unwrap_or("")]);
        let doctor = world.remediator(&["doctor"]);
        let has_path = doctor.out.contains("to fix path: ");
        assert_eq!(
            has_path,
            count > 0.0 && says.is_some(),
            "{path}: {doctor:?}"
        );
        world.finish();
    }
}

#[test]
fn a_missing_path_is_counted_until_it_is_there() {
    let mut world = testkit::world!();
    world.with_probe();
    world.with_config("{}");
    let path = flag(&world, "late");
    world.flags.push(path);
    let mut args = world.serve_args();
    let sessions = flag(&world, "sessions");
    args.retain(|arg| *arg != sessions);
    world.start(&[], Path::new(REMEDIATOR), args);
    assert_eq!(problems(&world), 1.0);
    // As a unit that was started with the wrong path, it has no session.
    assert_eq!(world.metric("sessions", &[]), 0.0);
    unpack("normal", &world.path("late/company_962302"));
    // A reload checks again, as does the time.
    world.signal(rustix::process::Signal::HUP);
    world.wait("the path is there", || {
        match world.metric("permission_problems", &[]) {
            0.0 => Ok(()),
            more => Err(format!("{more}")),
        }
    });
    world.finish();
}

#[test]
fn a_read_only_root_is_counted() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("company_962302", "normal", "disconnected");
    world.bot("company_other", "normal", "disconnected");
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let root = world.path("sessions").display().to_string();
    let mut wrapper = vec!["unshare", "--mount", "--", "sh", "-c", script, &root];
    if !rustix::process::geteuid().is_root() {
        wrapper.insert(1, "--map-root-user");
    }
    let works = testkit::process::run(
        Path::new(wrapper[0]),
        wrapper[1..].iter().chain(&["true"]),
        SOON,
    );
    if !works.is_ok_and(|(status, ..)| status.success()) {
        return testkit::not_run("this user may not make a mount namespace");
    }
    world.start_remediator_in(&wrapper);
    assert_eq!(problems(&world), 2.0, "{}", world.log());
    world.wait_for_log("check=read_only");
    world.finish();
}

/// Without a journal nothing can be served: no metric tells, but the target that is down.
#[test]
fn serve_ends_where_the_state_directory_cannot_be_written() {
    let world = testkit::world!();
    let mut args = world.serve_args();
    args.retain(|arg| !arg.starts_with("--state.path"));
    args.push(format!(
        "--state.path={}",
        world.path("token/state").display()
    ));
    let ran = world.run(REMEDIATOR, &[], args);
    ran.must(2, &["token/state", "--state.path"]);
}

#[test]
fn a_directory_that_cannot_be_looked_into_is_left_out_with_a_reason() {
    use std::os::unix::fs::{PermissionsExt, chown};
    // Of no other test.
    const USER: u32 = 61_242;
    let world = testkit::world!();
    unpack("normal", &world.path("srv/p1/auth_info_baileys"));
    for closed in ["srv/p1/company_1", "srv/p1/.cache"] {
        std::fs::create_dir(world.path(closed)).unwrap();
    }
    for entry in walkdir::WalkDir::new(world.path("")) {
        if let Err(error) = chown(entry.unwrap().path(), Some(USER), Some(USER)) {
            return testkit::not_run(format_args!("chown cannot be done here: {error}"));
        }
    }
    let ids = [format!("--reuid={USER}"), format!("--regid={USER}")];
    let args = [&ids[0], &ids[1], "--clear-groups", "--", EXPORTER, "status"];
    let status = || world.run("setpriv", &args, vec![flag(&world, "srv")]);
    status().must(0, &["p1"]);
    let close = |name: &str| {
        let mode = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(world.path(name), mode).unwrap();
    };
    close("srv/p1/.cache");
    status().must(0, &["p1"]);
    close("srv/p1/company_1");
    status().must(2, &["p1", "auth folders: 1", "company_1", "`exclude`"]);
}

/// Copies the folder of a session as a person does.
fn copy(world: &World, flags: &str, from: &str, to: &str) {
    let (from, to) = (world.folder(from), world.folder(to));
    let args = [flags.as_ref(), from.as_os_str(), to.as_os_str()];
    let (status, _, errors) = testkit::process::run(Path::new("cp"), args, SOON).unwrap();
    assert!(status.success(), "{errors}");
}

#[test]
fn a_copy_of_a_folder_has_no_tiers_and_is_not_cleaned() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("ventas", BLOATED, "disconnected");
    world.bot("other", BLOATED, "disconnected");
    copy(&world, "-a", "ventas", "ventas.bak");
    copy(&world, "-a", "ventas", "antes");
    world.probe_says("ventas.bak", "disconnected");
    let before = world.snapshot("ventas.bak");

    let ran = world.exporter(&["status"]);
    let names = "2 sessions (antes, ventas.bak): it is a copy of the session ventas: ";
    assert!(ran.out.contains(names), "{}", ran.out);
    world.start_exporter();
    let metrics = world.metrics();
    let of = |name: &str, session: &str| metrics.sum(name, &[("session", session)]).ok();
    for session in ["ventas", "other"] {
        let accumulated = of("baileys_auth_accumulated_files", session);
        assert_eq!(accumulated, Some(387.0), "{session}");
    }
    for session in ["ventas.bak", "antes"] {
        // What an alert on the tiers or the connection looks at.
        for name in [
            "baileys_auth_accumulated_files",
            "baileys_auth_tier_threshold_files",
            "baileys_auth_removable_files",
            "baileys_auth_pre_key_batch_ambiguous",
            "baileys_auth_connection_state",
        ] {
            assert_eq!(of(name, session), None, "{name} of {session}");
        }
        // Without these, the folder would have vanished.
        assert_eq!(of(UP, session), Some(1.0));
        assert_eq!(of("baileys_auth_creds_valid", session), Some(1.0));
    }
    let copies = metrics.sum(SKIPPED, &[("reason", "copy")]);
    assert_eq!(copies, Ok(2.0));
    world.stop();

    world.start_remediator();
    assert_eq!(world.accepted(&[alert("ventas.bak", "emergency")]), 1);
    world.wait_until_idle();
    let run = world.run_of("ventas.bak");
    assert_eq!(run["status"], "refused", "{run:#}");
    assert_eq!(run["reason"], "copy", "{run:#}");
    for args in [
        &["plan", "ventas.bak"][..],
        &["clean", "ventas.bak", "--force", "--yes"],
    ] {
        let ran = world.remediator(args);
        assert_eq!(ran.code, 1, "{args:?}: {}{}", ran.out, ran.err);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("a copy of the session ventas"), "{said}");
    }
    let ran = world.remediator(&["doctor", "--all"]);
    assert_eq!(
        ran.out
            .matches("it is a copy of the session ventas:")
            .count(),
        2,
        "{}",
        ran.out
    );
    let after = world.snapshot("ventas.bak");
    assert_eq!(before.differences(&after), [""; 0]);
    // The bot itself is cleaned as before.
    assert_eq!(world.accepted(&[alert("ventas", "cleanup")]), 1);
    world.wait_until_idle();
    assert_eq!(world.run_of("ventas")["status"], "done");
    world.finish();
}
