//! What `baileys_exporter` reads in folders that could look healthy and are not, or the other
//! way round: opened by another version, copied, torn, in another format, or no auth folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;
use testkit::fixture;
use testkit::net::Metrics;
use testkit::process;
use testkit::world::{SOON, World};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const IDENTITY_KEY: &str = "identity-key-447700900001.0.json";

fn bot(world: &World, session: &str, fixture: &str) {
    fixture::unpack(fixture, &world.folder(session), SystemTime::now()).unwrap();
}

/// What one look by Baileys 7 leaves in a folder of Baileys 6.
fn open_with_baileys_7(folder: &Path) {
    fs::write(
        folder.join(IDENTITY_KEY),
        r#"{"type":"Buffer","data":"BQ=="}"#,
    )
    .unwrap();
}

/// As if the bot had minted so many pre-keys in all.
fn minted(folder: &Path, next: u32) {
    let path = folder.join("creds.json");
    let mut creds: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    creds["nextPreKeyId"] = next.into();
    creds["firstUnuploadedPreKeyId"] = next.into();
    fs::write(path, creds.to_string()).unwrap();
}

/// As `cp -r`, `scp -r` and `docker cp` leave a folder: every file is new.
fn level_the_times(folder: &Path) {
    let now = SystemTime::now();
    for file in fs::read_dir(folder).unwrap() {
        let file = File::open(file.unwrap().path()).unwrap();
        file.set_modified(now).unwrap();
    }
}

fn auth(metrics: &Metrics, name: &str, session: &str) -> f64 {
    metrics
        .sum(&format!("baileys_auth_{name}"), &[("session", session)])
        .unwrap_or_else(|error| panic!("{name} of {session}: {error}"))
}

/// Accumulated files, and whether the batch is ambiguous.
fn reading(metrics: &Metrics, session: &str) -> (f64, f64) {
    (
        auth(metrics, "accumulated_files", session),
        auth(metrics, "pre_key_batch_ambiguous", session),
    )
}

/// What `status` prints. It exits with `code`.
fn status(world: &World, code: i32, flags: &[&str]) -> String {
    let mut args = vec!["status".to_owned()];
    args.extend(world.exporter_flags());
    args.extend(flags.iter().map(|&flag| flag.to_owned()));
    let (status, out, err) = process::run(Path::new(EXPORTER), args, SOON).unwrap();
    assert_eq!(status.code(), Some(code), "{out}{err}");
    out
}

#[test]
fn a_folder_of_baileys_6_stays_what_it_is_when_baileys_7_opens_it() {
    let mut world = testkit::world!();
    for session in ["as-it-was", "upgraded", "months-old", "months-old-upgraded"] {
        bot(&world, session, "bloated-classic-387");
    }
    for session in ["months-old", "months-old-upgraded"] {
        minted(&world.folder(session), 901);
    }
    for session in ["upgraded", "months-old-upgraded"] {
        open_with_baileys_7(&world.folder(session));
    }
    for session in ["modern-816", "modern-1003"] {
        bot(&world, session, session);
    }
    world.start_exporter();
    let metrics = world.metrics();
    assert_eq!(reading(&metrics, "as-it-was"), (387.0, 0.0));
    assert_eq!(reading(&metrics, "upgraded"), (387.0, 0.0));
    assert_eq!(reading(&metrics, "months-old"), (387.0, 1.0));
    assert_eq!(reading(&metrics, "months-old-upgraded"), (387.0, 0.0));
    assert_eq!(reading(&metrics, "modern-816"), (31.0, 0.0));
    assert_eq!(reading(&metrics, "modern-1003"), (89.0, 0.0));

    // The guard keeps 832 of them, so that a clean-up does not help, and that is said.
    let said = status(&world, 1, &[]);
    let line = "2 sessions (months-old-upgraded, upgraded): a clean-up would leave 371 accumulated files, still at the tier fatal: Baileys 7 has opened this folder";
    assert!(said.contains(line), "{said}");
    assert!(!said.contains("as-it-was:"), "{said}");
    world.finish();
}

#[test]
fn a_copy_that_levels_the_times_is_distinguished_from_a_batch() {
    let mut world = testkit::world!();
    for (session, fixture, next) in [
        ("classic", "bloated-classic-387", 901),
        ("upgraded", "bloated-classic-387", 901),
        ("young", "bloated-classic-387", 331),
        ("modern", "modern-1003", 813),
    ] {
        bot(&world, session, fixture);
        minted(&world.folder(session), next);
    }
    open_with_baileys_7(&world.folder("upgraded"));
    open_with_baileys_7(&world.folder("young"));
    for session in ["classic", "upgraded", "young", "modern"] {
        level_the_times(&world.folder(session));
    }
    world.start_exporter();
    let metrics = world.metrics();
    assert_eq!(reading(&metrics, "classic"), (387.0, 1.0));
    // By the kinds, as nothing else tells, and it says so.
    assert_eq!(reading(&metrics, "upgraded"), (89.0, 1.0));
    // At most 812 were ever minted: no large batch can be among them.
    assert_eq!(reading(&metrics, "young"), (387.0, 0.0));
    // A healthy bot that was moved stays below every tier.
    assert_eq!(reading(&metrics, "modern"), (89.0, 1.0));
    let said = status(&world, 1, &[]);
    let begins = "3 sessions (classic, modern, upgraded): the pre-key batch is ambiguous: the file times do not show";
    assert!(said.contains(begins), "{said}");
    assert!(
        said.contains("set pre_key_batch for this session"),
        "{said}"
    );

    // The setting ends it.
    for (batch, upgraded, modern) in [("30", 387.0, 839.0), ("812", 89.0, 89.0)] {
        let flag = format!("--pre-keys.batch={batch}");
        let said = status(&world, 1, &["--output=json", &flag]);
        let rows: Vec<Value> = serde_json::from_str(&said).unwrap();
        for row in &rows {
            assert_eq!(row["pre_key_batch_ambiguous"], false, "{row}");
        }
        let count = |session: &str| {
            let row = rows.iter().find(|row| row["session"] == session).unwrap();
            row["accumulated_files"].as_f64().unwrap()
        };
        assert_eq!((count("upgraded"), count("modern")), (upgraded, modern));
        // The counter in creds.json says more than the setting.
        assert_eq!(count("young"), 387.0);
    }
    world.finish();
}

#[test]
fn a_torn_creds_json_does_not_change_the_count() {
    let mut world = testkit::world!();
    bot(&world, "bot", "bloated-classic-387");
    minted(&world.folder("bot"), 901);
    open_with_baileys_7(&world.folder("bot"));
    level_the_times(&world.folder("bot"));
    world.start_exporter();
    assert_eq!(auth(&world.metrics(), "accumulated_files", "bot"), 89.0);
    File::create(world.folder("bot").join("creds.json")).unwrap();
    let metrics = world.metrics();
    assert_eq!(auth(&metrics, "creds_valid", "bot"), 0.0);
    assert_eq!(auth(&metrics, "accumulated_files", "bot"), 89.0);
    world.finish();
}

#[test]
fn sessions_in_another_format_are_reported() {
    let mut world = testkit::world!();
    bot(&world, "bot", "bloated-classic-387");
    bot(&world, "fine", "bloated-classic-387");
    let mut sessions = 0;
    for file in fs::read_dir(world.folder("bot")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap().starts_with("session-") {
            fs::write(file.path(), b"\x0a\x45\x08\x03\xff\xfe binary").unwrap();
            sessions += 1;
        }
    }
    world.start_exporter();
    let metrics = world.metrics();
    assert_eq!(
        auth(&metrics, "session_unreadable", "bot"),
        f64::from(sessions)
    );
    assert_eq!(auth(&metrics, "session_unreadable", "fine"), 0.0);
    let said = status(&world, 1, &[]);
    let line = format!("bot: {sessions} of {sessions} session files cannot be read");
    assert!(said.contains(&line) && !said.contains("fine: "), "{said}");
    world.finish();
}

/// As Evolution API without Redis keeps a session: its creds are in a database.
#[test]
fn creds_that_are_elsewhere_are_not_missed() {
    let mut world = testkit::world!();
    for session in ["evolution_1", "evolution_2", "other"] {
        bot(&world, session, "bloated-classic-387");
        fs::remove_file(world.folder(session).join("creds.json")).unwrap();
    }
    let config = world.path("config.yml");
    fs::write(
        &config,
        "overrides: [{sessions: ['evolution_*'], creds: elsewhere}]\n",
    )
    .unwrap();
    world
        .flags
        .push(format!("--config.file={}", config.display()));
    world.start_exporter();
    let none = |metrics: &Metrics, name: &str, session: &str| {
        let name = format!("baileys_auth_{name}");
        metrics.having(&name, &[("session", session)]).count() == 0
    };
    let metrics = world.metrics();
    for session in ["evolution_1", "evolution_2"] {
        assert_eq!(auth(&metrics, "creds_elsewhere", session), 1.0);
        assert!(none(&metrics, "creds_valid", session));
        assert!(none(&metrics, "logged_in", session));
        assert_eq!(reading(&metrics, session), (386.0, 0.0));
        for action in ["cleanup", "emergency"] {
            let removable = |kind: &str| {
                let labels = [("session", session), ("action", action), ("kind", kind)];
                metrics
                    .sum("baileys_auth_removable_files", &labels)
                    .unwrap()
            };
            assert_eq!(removable("session"), 16.0);
            assert_eq!(removable("sender-key"), 0.0);
        }
    }
    assert_eq!(auth(&metrics, "creds_valid", "other"), 0.0);
    assert!(none(&metrics, "creds_elsewhere", "other"));
    let said = status(&world, 1, &[]);
    assert!(said.contains("elsewhere"), "{said}");

    // One that appears is watched, and so is its loss.
    fixture::unpack("normal", &world.path("spare"), SystemTime::now()).unwrap();
    let creds = world.folder("evolution_1").join("creds.json");
    fs::copy(world.path("spare/creds.json"), &creds).unwrap();
    let metrics = world.metrics();
    assert_eq!(auth(&metrics, "creds_elsewhere", "evolution_1"), 0.0);
    assert_eq!(auth(&metrics, "creds_valid", "evolution_1"), 1.0);
    assert!(status(&world, 1, &[]).contains("evolution_1: creds: elsewhere is set, but"));
    fs::remove_file(&creds).unwrap();
    let metrics = world.metrics();
    assert_eq!(auth(&metrics, "creds_elsewhere", "evolution_1"), 0.0);
    assert_eq!(auth(&metrics, "creds_valid", "evolution_1"), 0.0);
    assert_eq!(auth(&metrics, "creds_elsewhere", "evolution_2"), 1.0);
    world.finish();
}

#[test]
fn a_directory_that_is_no_auth_folder_is_called_that() {
    let mut world = testkit::world!();
    let bots = world.path("bots");
    fs::create_dir_all(bots.join("my-bot/src")).unwrap();
    fs::write(bots.join("package.json"), "{}").unwrap();
    fs::write(bots.join("creds.json"), r#"{"user":"me"}"#).unwrap();
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    for (name, path) in [("alpha", &bots), ("new", &empty)] {
        world
            .flags
            .push(format!("--sessions.path={name}={}", path.display()));
    }
    world.start_exporter();
    let metrics = world.metrics();
    for session in ["alpha", "new"] {
        assert_eq!(auth(&metrics, "folder_up", session), 0.0);
        for name in ["files", "accumulated_files", "creds_valid", "logged_in"] {
            let name = format!("baileys_auth_{name}");
            assert_eq!(
                metrics.having(&name, &[("session", session)]).count(),
                0,
                "{name}"
            );
        }
    }
    let said = status(&world, 2, &[]);
    assert!(said.contains("alpha: it is not an auth folder"), "{said}");
    assert!(said.contains("new: it is not an auth folder"), "{said}");

    // With a login it becomes one, and stays one when it loses everything.
    fixture::unpack("normal", &empty, SystemTime::now()).unwrap();
    assert_eq!(reading(&world.metrics(), "new"), (76.0, 0.0));
    for file in fs::read_dir(&empty).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let metrics = world.metrics();
    assert_eq!(auth(&metrics, "folder_up", "new"), 1.0);
    assert_eq!(auth(&metrics, "creds_valid", "new"), 0.0);
    world.finish();
}
