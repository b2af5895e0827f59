//! `baileys_exporter`, scraped over HTTP: what it counts on folders that the real library
//! wrote, what it makes of folders and files that come, go and break, and how it conducts
//! itself as an exporter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use baileys_exporter::exporter::metrics::ALL;
use baileys_exporter::folder::Kind;
use baileys_exporter::logs::pattern::SHIPPED;
use exporter_toolkit::process_metrics;
use testkit::fixture::{self, Snapshot};
use testkit::net::{self, Answer, Metrics};
use testkit::process;
use testkit::world::{SOON, World, assert_discreet};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
/// What a real Prometheus 2.42 sends.
const PROMETHEUS_ACCEPT: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const NOBODY: u32 = 65_534;

fn bot(world: &World, session: &str, fixture: &str) -> PathBuf {
    let folder = world.folder(session);
    fixture::unpack(fixture, &folder, SystemTime::now()).unwrap();
    folder
}

/// Shows the groups of metrics that are left out by default.
fn show_all(world: &mut World) {
    let groups = ["empty_kinds", "file_times", "size"];
    let flags = groups.map(|group| format!("--collector.{group}"));
    world.flags.extend(flags);
}

/// Starts `program` with these flags, behind `setpriv` if it is given arguments.
fn start_with(world: &mut World, program: &Path, setpriv: &[&str], flags: Vec<String>) {
    let mut args = vec![
        format!("--web.listen-address=127.0.0.1:{}", world.port),
        "--log.level=debug".to_owned(),
    ];
    args.extend(flags);
    args.extend(world.flags.iter().cloned());
    let wrapper: Vec<&str> = match setpriv {
        [] => Vec::new(),
        _ => ["setpriv"]
            .iter()
            .chain(setpriv)
            .chain(&["--"])
            .copied()
            .collect(),
    };
    world.start(&wrapper, program, args);
}

fn request(world: &World, request: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers
        .get("content-encoding")
        .is_some_and(|encoding| encoding == "gzip")
    {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(body.as_slice())
            .read_to_end(&mut text)
            .unwrap();
        body = text;
    }
    Answer {
        status,
        headers,
        body: String::from_utf8(body).unwrap(),
    }
}

fn ask(world: &World, method: &str, path: &str, headers: &str) -> Answer {
    request(
        world,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        ),
    )
}

fn auth(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> f64 {
    metrics
        .sum(&format!("baileys_auth_{name}"), labels)
        .unwrap()
}

fn sessions(metrics: &Metrics) -> BTreeSet<String> {
    metrics
        .having("baileys_auth_folder_up", &[])
        .map(|sample| sample.labels["session"].clone())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Names in a folder that begin with `prefix`.
fn names(folder: &Path, prefix: &str) -> Vec<String> {
    let all = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = all.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// A neglected classic folder: `pre_keys` pre-keys, `files` files in all.
fn neglected(folder: &Path, pre_keys: usize, files: usize) {
    fixture::unpack("bloated-classic-387", folder, SystemTime::now()).unwrap();
    let key = folder.join(&names(folder, "pre-key-")[0]);
    let session = folder.join(&names(folder, "session-")[0]);
    let mut id = 2_000;
    while names(folder, "pre-key-").len() < pre_keys {
        for _ in names(folder, "pre-key-").len()..pre_keys {
            fs::copy(&key, folder.join(format!("pre-key-{id}.json"))).unwrap();
            id += 1;
        }
    }
    let have = names(folder, "").len();
    for number in have..files {
        fs::copy(
            &session,
            folder.join(format!("session-44770095{number:04}.0.json")),
        )
        .unwrap();
    }
    assert_eq!(
        (names(folder, "pre-key-").len(), names(folder, "").len()),
        (pre_keys, files)
    );
}

/// Every number about the folders of the fixtures, and that looking changes nothing.
#[test]
fn what_it_says_of_folders_that_the_real_library_wrote() {
    let mut world = testkit::world!();
    show_all(&mut world);
    let fixtures = [
        "normal",
        "warning-130",
        "bloated-classic-387",
        "modern-816",
        "modern-1003",
    ];
    for fixture in fixtures {
        bot(&world, fixture, fixture);
    }
    for pre_keys in [811, 812, 813] {
        neglected(
            &world.folder(&format!("neglected-{pre_keys}")),
            pre_keys,
            886,
        );
    }
    let state = |world: &World| -> Vec<(String, Snapshot, SystemTime, u64)> {
        let folder = |name: &String| {
            let path = world.folder(name);
            let meta = fs::metadata(&path).unwrap();
            (
                name.clone(),
                Snapshot::take(&path).unwrap(),
                meta.modified().unwrap(),
                meta.nlink(),
            )
        };
        names(&world.path("sessions"), "")
            .iter()
            .map(folder)
            .collect()
    };
    let before = state(&world);
    world.start_exporter();
    let metrics = world.metrics();

    for (fixture, files, accumulated, pre_keys, batch) in [
        ("normal", 76, 76, 48, 30),
        ("warning-130", 130, 130, 36, 30),
        ("bloated-classic-387", 387, 387, 328, 30),
        ("modern-816", 816, 31, 812, 812),
        ("modern-1003", 1003, 89, 780, 812),
    ] {
        let session = [("session", fixture)];
        assert_eq!(
            auth(&metrics, "files", &session),
            f64::from(files),
            "{fixture}"
        );
        assert_eq!(
            auth(&metrics, "accumulated_files", &session),
            f64::from(accumulated),
            "{fixture}"
        );
        assert_eq!(
            auth(&metrics, "pre_keys", &session),
            f64::from(pre_keys),
            "{fixture}"
        );
        assert_eq!(
            auth(&metrics, "pre_key_batch", &session),
            f64::from(batch),
            "{fixture}"
        );
        assert_eq!(
            auth(&metrics, "pre_key_batch_ambiguous", &session),
            0.0,
            "{fixture}"
        );
        for up in ["folder_up", "creds_valid", "logged_in"] {
            assert_eq!(auth(&metrics, up, &session), 1.0, "{fixture} {up}");
        }
        check_against_disk(&metrics, fixture, &world.folder(fixture));
    }
    let removable = |session: &str, kind: &str| {
        auth(
            &metrics,
            "removable_files",
            &[("session", session), ("action", "cleanup"), ("kind", kind)],
        )
    };
    assert_eq!(removable("bloated-classic-387", "pre-key"), 278.0);
    assert_eq!(removable("bloated-classic-387", "session"), 16.0);
    for modern in ["modern-816", "modern-1003"] {
        assert_eq!(removable(modern, "pre-key"), 0.0, "{modern}");
    }

    // Neglect reads as the emergency it is, with any number of pre-keys.
    for pre_keys in [811, 812, 813] {
        let name = format!("neglected-{pre_keys}");
        let session = [("session", name.as_str())];
        assert_eq!(
            auth(&metrics, "accumulated_files", &session),
            886.0,
            "{name}"
        );
        let fatal = auth(
            &metrics,
            "tier_threshold_files",
            &[session[0], ("tier", "fatal")],
        );
        assert_eq!(fatal, 200.0);
        let ambiguous = auth(&metrics, "pre_key_batch_ambiguous", &session);
        assert_eq!(ambiguous, f64::from(u8::from(pre_keys >= 812)), "{name}");
    }
    for (tier, files) in [
        ("monitor", 100.0),
        ("warning", 120.0),
        ("cleanup", 150.0),
        ("emergency", 180.0),
        ("fatal", 200.0),
    ] {
        assert_eq!(
            auth(
                &metrics,
                "tier_threshold_files",
                &[("session", "normal"), ("tier", tier)]
            ),
            files
        );
    }
    let exporter = |name: &str| {
        metrics
            .sum(&format!("baileys_exporter_{name}"), &[])
            .unwrap()
    };
    assert_eq!(exporter("sessions"), 8.0);
    assert_eq!(exporter("scrape_collector_success"), 1.0);
    assert!((0.0..10.0).contains(&exporter("scrape_collector_duration_seconds")));

    for path in ["/", "/metrics", "/-/ready"] {
        assert_eq!(net::get(&world.url(path)).unwrap().status, 200);
    }
    let after = state(&world);
    for ((name, before, modified, links), (_, after, now_modified, now_links)) in
        before.iter().zip(&after)
    {
        assert_eq!(before.differences(after), Vec::<String>::new(), "{name}");
        // No file came and went, and there is no new directory.
        assert_eq!((modified, links), (now_modified, now_links), "{name}");
    }
    assert_eq!(before.len(), after.len());
    world.finish();
}

/// The counter in creds.json against the files, a folder that has gone to sleep, and a bot
/// that has no contact yet.
#[test]
fn what_creds_json_counts_and_what_sleeps() {
    let mut world = testkit::world!();
    let day = Duration::from_secs(86_400);
    let next = |folder: &Path| -> u32 {
        let creds: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("creds.json")).unwrap()).unwrap();
        creds["nextPreKeyId"].as_u64().unwrap().try_into().unwrap()
    };
    let newest = |folder: &Path| folder.join(format!("pre-key-{}.json", next(folder) - 1));
    for session in ["whole", "robbed", "asleep", "alone", "torn"] {
        bot(&world, session, "warning-130");
    }
    assert!(newest(&world.folder("whole")).exists());
    fs::remove_file(newest(&world.folder("robbed"))).unwrap();
    // A companion that the library never reads is no key.
    fs::write(
        newest(&world.folder("robbed")).with_extension("json.tmp"),
        b"{}",
    )
    .unwrap();
    // Inside of a session file stand dates too.
    for name in names(&world.folder("asleep"), "") {
        let path = world.folder("asleep").join(&name);
        if name.starts_with("session-") {
            fs::write(&path, br#"{"_sessions":{},"version":"v1"}"#).unwrap();
        }
        fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::now() - 15 * day)
            .unwrap();
    }
    for name in names(&world.folder("alone"), "s") {
        fs::remove_file(world.folder("alone").join(name)).unwrap();
    }
    fs::write(
        world.folder("torn").join("creds.json"),
        b"{\"nextPreKeyId\":31",
    )
    .unwrap();
    world.start_exporter();
    let metrics = world.metrics();
    let told = |name: &str, session: &str| -> Option<f64> {
        let name = format!("baileys_auth_{name}");
        metrics
            .having(&name, &[("session", session)])
            .next()
            .map(|sample| sample.value)
    };
    let minted = |session: &str| Some(f64::from(next(&world.folder(session))));
    for (session, next, missing, dormant, is_active) in [
        ("whole", minted("whole"), Some(0.0), Some(0.0), true),
        ("robbed", minted("robbed"), Some(1.0), Some(0.0), true),
        ("asleep", minted("asleep"), Some(0.0), Some(1.0), false),
        ("alone", minted("alone"), Some(0.0), Some(1.0), false),
        ("torn", None, None, Some(0.0), true),
    ] {
        assert_eq!(told("next_pre_key_id", session), next, "{session}");
        assert_eq!(
            told("newest_pre_key_missing", session),
            missing,
            "{session}"
        );
        assert_eq!(told("dormant", session), dormant, "{session}");
        let active = told("oldest_active_session_timestamp_seconds", session);
        assert_eq!(active.is_some(), is_active, "{session}");
        if let Some(at) = active {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs_f64();
            assert!(
                (0.0..=14.0 * 86_400.0).contains(&(now - at)),
                "{session}: {at}"
            );
        }
    }
    world.finish();
}

/// Times and sizes, from the files themselves.
fn check_against_disk(metrics: &Metrics, session: &str, folder: &Path) {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut bytes = 0;
    for name in names(folder, "") {
        let meta = fs::symlink_metadata(folder.join(&name)).unwrap();
        bytes += meta.len();
        let kinds = Kind::ALL.iter().map(|kind| kind.label());
        let is_kind = |kind: &&str| {
            name == "creds.json" && *kind == "creds" || name.starts_with(&format!("{kind}-"))
        };
        let kind = kinds
            .filter(is_kind)
            .max_by_key(|kind| kind.len())
            .unwrap_or("unknown");
        let modified = meta
            .modified()
            .unwrap()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        times.entry(kind).or_default().push(modified);
    }
    assert_eq!(
        auth(metrics, "size_bytes", &[("session", session)]),
        bytes as f64
    );
    let all: Vec<f64> = times.values().flatten().copied().collect();
    let (oldest, newest) = (smallest(&all), largest(&all));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    for (name, expected) in [
        ("oldest_file_age_seconds", now - oldest),
        ("newest_file_age_seconds", now - newest),
    ] {
        let age = auth(metrics, name, &[("session", session)]);
        assert!(
            (age - expected).abs() < 30.0,
            "{session} {name}: {age}, {expected}"
        );
    }
    for kind in Kind::ALL.map(Kind::label) {
        let labels = [("session", session), ("kind", kind)];
        let here = times.get(kind).map_or(&[][..], Vec::as_slice);
        assert_eq!(
            auth(metrics, "files", &labels),
            here.len() as f64,
            "{session} {kind}"
        );
        for (name, expected) in [
            ("oldest_file_timestamp_seconds", smallest(here)),
            ("newest_file_timestamp_seconds", largest(here)),
        ] {
            let seen: Vec<f64> = metrics
                .having(&format!("baileys_auth_{name}"), &labels)
                .map(|sample| sample.value)
                .collect();
            match seen[..] {
                [] => assert!(here.is_empty(), "{session} {kind} {name}"),
                [seen] => {
                    assert!(
                        (seen - expected).abs() < 0.001,
                        "{session} {kind} {name}: {seen} {expected}"
                    )
                }
                _ => panic!("{session} {kind} {name} twice"),
            }
        }
    }
}

fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Folders that come, go, change their name, lose their creds.json or their permissions: the
/// next scrape tells, and no other session suffers. Run without privileges, as it should be.
#[test]
fn folders_come_and_go_and_break() {
    let mut world = testkit::world!();
    show_all(&mut world);
    for session in [
        "stays",
        "goes",
        "old-name",
        "loses-creds",
        "shut",
        "half-shut",
    ] {
        bot(&world, session, "normal");
    }
    bot(&world, "gets-shut", "normal");
    // None of these is an auth folder.
    for stray in ["node_modules/pre-key", "empty", "photos", ".git"] {
        fs::create_dir_all(world.folder(stray)).unwrap();
    }
    fs::write(world.folder("photos").join("session-notes.json"), b"{}").unwrap();
    fs::write(
        world.folder("photos").join("creds.json"),
        br#"{"type":"service_account"}"#,
    )
    .unwrap();
    fs::write(world.folder("a-file"), b"x").unwrap();
    symlink(world.folder("stays"), world.folder("a-link")).unwrap();
    symlink("/nowhere", world.folder("dangling")).unwrap();

    let mode = |session: &str, mode: u32| {
        fs::set_permissions(world.folder(session), PermissionsExt::from_mode(mode)).unwrap();
    };
    let is_root = rustix::process::geteuid().is_root();
    let mut setpriv: &[&str] = &[];
    let mut program = PathBuf::from(EXPORTER);
    if is_root {
        // As the user `nobody`; root would pass every permission check. That user may not reach
        // the program, so a copy of it runs.
        program = world.path("baileys_exporter");
        fs::copy(EXPORTER, &program).unwrap();
        for session in names(&world.path("sessions"), "") {
            let folder = world.folder(&session);
            if folder.is_dir() && !folder.is_symlink() {
                chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
                for file in names(&folder, "") {
                    chown(folder.join(file), Some(NOBODY), Some(NOBODY)).unwrap();
                }
            }
        }
        setpriv = &["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    }
    mode("shut", 0o000);
    // Names can be listed, and nothing can be said of the files.
    mode("half-shut", 0o400);
    let flags = vec![format!(
        "--sessions.path={}",
        world.path("sessions").display()
    )];
    start_with(&mut world, &program, setpriv, flags);

    let up = |metrics: &Metrics, session: &str| auth(metrics, "folder_up", &[("session", session)]);
    let metrics = world.metrics();
    let everybody = [
        "stays",
        "goes",
        "old-name",
        "loses-creds",
        "shut",
        "half-shut",
        "gets-shut",
    ];
    assert_eq!(sessions(&metrics), set(&everybody));
    for session in ["shut", "half-shut"] {
        assert_eq!(up(&metrics, session), 0.0, "{session}");
        assert_eq!(
            metrics
                .having("baileys_auth_files", &[("session", session)])
                .count(),
            0,
            "{session}"
        );
    }
    assert_eq!(
        metrics.sum("baileys_exporter_scrape_collector_success", &[]),
        Ok(0.0)
    );
    for session in ["stays", "goes", "old-name", "loses-creds", "gets-shut"] {
        assert_eq!(up(&metrics, session), 1.0, "{session}");
        assert_eq!(
            auth(&metrics, "accumulated_files", &[("session", session)]),
            76.0,
            "{session}"
        );
    }

    let mode = |session: &str, mode: u32| {
        fs::set_permissions(world.folder(session), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("shut", 0o755);
    mode("half-shut", 0o755);
    mode("gets-shut", 0o000);
    fs::remove_dir_all(world.folder("goes")).unwrap();
    fs::rename(world.folder("old-name"), world.folder("new-name")).unwrap();
    fs::remove_file(world.folder("loses-creds").join("creds.json")).unwrap();
    bot(&world, "comes", "warning-130");
    let metrics = world.metrics();
    let everybody = [
        "stays",
        "new-name",
        "loses-creds",
        "shut",
        "half-shut",
        "gets-shut",
        "comes",
    ];
    assert_eq!(sessions(&metrics), set(&everybody));
    for (session, is_up) in [
        ("shut", 1.0),
        ("half-shut", 1.0),
        ("gets-shut", 0.0),
        ("comes", 1.0),
    ] {
        assert_eq!(up(&metrics, session), is_up, "{session}");
    }
    assert_eq!(auth(&metrics, "files", &[("session", "half-shut")]), 76.0);
    assert_eq!(auth(&metrics, "files", &[("session", "loses-creds")]), 75.0);
    assert_eq!(
        auth(&metrics, "creds_valid", &[("session", "loses-creds")]),
        0.0
    );
    assert_eq!(
        auth(&metrics, "logged_in", &[("session", "loses-creds")]),
        0.0
    );
    assert_eq!(
        auth(&metrics, "accumulated_files", &[("session", "comes")]),
        130.0
    );

    // It stays a session when its keys follow its creds.json.
    for name in names(&world.folder("loses-creds"), "") {
        fs::remove_file(world.folder("loses-creds").join(name)).unwrap();
    }
    mode("gets-shut", 0o755);
    let metrics = world.metrics();
    assert_eq!(up(&metrics, "loses-creds"), 1.0);
    assert_eq!(auth(&metrics, "files", &[("session", "loses-creds")]), 0.0);
    assert_eq!(up(&metrics, "gets-shut"), 1.0);
    assert_eq!(
        metrics.sum("baileys_exporter_scrape_collector_success", &[]),
        Ok(1.0)
    );

    // And when the whole root is gone for a while.
    fs::rename(world.path("sessions"), world.path("elsewhere")).unwrap();
    let metrics = world.metrics();
    assert_eq!(sessions(&metrics), BTreeSet::new());
    assert_eq!(metrics.sum("baileys_exporter_sessions", &[]), Ok(0.0));
    let unreadable = [("reason", "source_unreadable")];
    assert_eq!(
        metrics.sum("baileys_exporter_sessions_skipped", &unreadable),
        Ok(1.0)
    );
    fs::rename(world.path("elsewhere"), world.path("sessions")).unwrap();
    assert!(sessions(&world.metrics()).is_superset(&set(&["stays", "new-name", "comes"])));
    let log = world.log();
    for says in [
        "session shut cannot be looked at",
        "no longer so: session shut",
        "cannot look into",
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
    world.finish();
}

/// Runs `work` over and over beside `meanwhile`.
fn beside<T>(work: impl Fn(u64) + Sync, meanwhile: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                work(round);
                round += 1;
            }
        });
        let _stop = Stop(&stop);
        meanwhile()
    })
}

/// Baileys truncates creds.json and then writes it. Who looks in between must not cry wolf,
/// and an empty file that stays empty is broken.
#[test]
fn a_file_being_rewritten_is_not_broken() {
    let mut world = testkit::world!();
    let folder = bot(&world, "busy", "normal");
    bot(&world, "other", "normal");
    world.start_exporter();
    let creds = folder.join("creds.json");
    let text = fs::read(&creds).unwrap();
    // When the file was incomplete, since when where it is now.
    let incomplete = Mutex::new((Vec::<(Instant, Instant)>::new(), None::<Instant>));
    let rewrite = |empty_for: Duration, cut_off: usize, then: Duration| {
        let began = Instant::now();
        incomplete.lock().unwrap().1 = Some(began);
        let mut file = File::create(&creds).unwrap();
        file.write_all(&text[..cut_off]).unwrap();
        std::thread::sleep(empty_for);
        file.write_all(&text[cut_off..]).unwrap();
        drop(file);
        let mut incomplete = incomplete.lock().unwrap();
        incomplete.0.push((began, Instant::now()));
        incomplete.1 = None;
        drop(incomplete);
        std::thread::sleep(then);
    };
    // For how long it was incomplete between these two. On a busy machine a writer may be held
    // up for longer than the exporter waits; such a scrape shows nothing.
    let incomplete_for = |from: Instant, to: Instant| -> Duration {
        let incomplete = incomplete.lock().unwrap();
        let spans = incomplete.0.iter().copied();
        spans
            .chain(incomplete.1.map(|since| (since, Instant::now())))
            .filter(|(_, end)| *end > from)
            .map(|(began, end)| end.min(to).saturating_duration_since(began.max(from)))
            .sum()
    };
    let scrape_for = |span: Duration| {
        let end = Instant::now() + span;
        let mut met = 0;
        while Instant::now() < end {
            met += u32::from(fs::metadata(&creds).unwrap().len() < text.len() as u64);
            let began = Instant::now();
            let metrics = world.metrics();
            if incomplete_for(began, Instant::now()) >= Duration::from_millis(100) {
                continue;
            }
            for session in ["busy", "other"] {
                assert_eq!(
                    auth(&metrics, "creds_valid", &[("session", session)]),
                    1.0,
                    "{session}"
                );
                assert_eq!(
                    auth(&metrics, "logged_in", &[("session", session)]),
                    1.0,
                    "{session}"
                );
            }
        }
        met
    };
    // Every millisecond.
    beside(
        |_| rewrite(Duration::ZERO, 0, Duration::from_millis(1)),
        || scrape_for(Duration::from_secs(4)),
    );
    // Empty, then cut off, for longer than a scrape takes: it does look twice.
    for cut_off in [0, text.len() / 2] {
        let met = beside(
            |_| {
                rewrite(
                    Duration::from_millis(40),
                    cut_off,
                    Duration::from_millis(400),
                )
            },
            || scrape_for(Duration::from_secs(3)),
        );
        assert!(
            met > 0,
            "no scrape met the broken file, so nothing was shown"
        );
    }

    for broken in [
        &b""[..],
        b"\n",
        &text[..text.len() / 2],
        b"null",
        b"\xff\xff",
    ] {
        fs::write(&creds, broken).unwrap();
        let metrics = world.metrics();
        assert_eq!(
            auth(&metrics, "creds_valid", &[("session", "busy")]),
            0.0,
            "{} bytes",
            broken.len()
        );
        assert_eq!(auth(&metrics, "folder_up", &[("session", "busy")]), 1.0);
        assert_eq!(auth(&metrics, "creds_valid", &[("session", "other")]), 1.0);
    }
    fs::write(&creds, &text).unwrap();
    assert_eq!(
        auth(&world.metrics(), "creds_valid", &[("session", "busy")]),
        1.0
    );
    // Paired no more: what is left after a logout is valid, and not logged in.
    fs::write(
        &creds,
        br#"{"noiseKey":{},"registered":false,"nextPreKeyId":31}"#,
    )
    .unwrap();
    let metrics = world.metrics();
    assert_eq!(auth(&metrics, "creds_valid", &[("session", "busy")]), 1.0);
    assert_eq!(auth(&metrics, "logged_in", &[("session", "busy")]), 0.0);
    world.finish();
}

/// Names that are no text, links, sockets, pipes, directories, companions, and files that
/// come and go by the thousand: all of it is normal life.
#[test]
fn odd_files_never_fail_a_scrape() {
    let mut world = testkit::world!();
    show_all(&mut world);
    let folder = bot(&world, "odd", "normal");
    let raw = OsStr::from_bytes(b"bot-\xff\xfe");
    fs::rename(
        bot(&world, "raw", "normal"),
        world.path("sessions").join(raw),
    )
    .unwrap();
    let awkward = "with \"quotes\", a \\ and\na new line";
    fs::rename(bot(&world, "awkward", "normal"), world.folder(awkward)).unwrap();
    fs::write(folder.join(OsStr::from_bytes(b"\xff\xfe.json")), b"{}").unwrap();
    fs::write(
        folder.join(OsStr::from_bytes(b"session-\xff.0.json")),
        b"{}",
    )
    .unwrap();
    fs::write(folder.join("a name with spaces and ü"), b"").unwrap();
    symlink("creds.json", folder.join("pre-key-9000.json")).unwrap();
    symlink("/nowhere/at/all", folder.join("pre-key-9001.json")).unwrap();
    symlink("session-9.0.json", folder.join("session-9.0.json")).unwrap();
    let _socket = UnixListener::bind(folder.join("session-8.0.json")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(folder.join("session-7.0.json"))
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir_all(folder.join("pre-key-9002.json/below")).unwrap();
    fs::create_dir_all(folder.join(".baileys_quarantine/run")).unwrap();
    fs::write(folder.join(".baileys_quarantine/pre-key-1.json"), b"{}").unwrap();
    for companion in ["pre-key-9003.json", "creds.json"] {
        for suffix in [".tmp", ".bak"] {
            fs::copy(
                folder.join("creds.json"),
                folder.join(format!("{companion}{suffix}")),
            )
            .unwrap();
        }
    }
    world.start_exporter();
    let count = |metrics: &Metrics, kind: &str| {
        auth(metrics, "files", &[("session", "odd"), ("kind", kind)])
    };
    let metrics = world.metrics();
    assert_eq!(
        sessions(&metrics),
        set(&[
            "odd",
            "bot-\\xff\\xfe",
            &awkward.replace('\\', "\\\\").replace('\n', "\\n")
        ])
    );
    let told = [
        ("creds", 3.0),
        ("pre-key", 48.0 + 4.0),
        ("session", 15.0 + 4.0),
        ("unknown", 2.0),
    ];
    for (kind, files) in told {
        assert_eq!(count(&metrics, kind), files, "{kind}");
    }
    assert_eq!(auth(&metrics, "folder_up", &[("session", "odd")]), 1.0);

    // A file vanishes between the listing and the look at it.
    let churn = |round: u64| {
        for n in 0..40 {
            let path = folder.join(format!("device-list-{n}.json"));
            match round % 2 {
                0 => fs::write(path, b"{}").unwrap(),
                _ => fs::remove_file(path).unwrap(),
            }
        }
        let dir = world.folder(&format!("flicker-{}", round % 3));
        if fs::create_dir(&dir).is_ok() {
            fs::write(dir.join("creds.json"), br#"{"noiseKey":{}}"#).unwrap();
        } else {
            fs::remove_dir_all(dir).unwrap();
        }
    };
    let mut seen = BTreeSet::new();
    beside(churn, || {
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let metrics = world.metrics();
            assert_eq!(auth(&metrics, "folder_up", &[("session", "odd")]), 1.0);
            assert_eq!(auth(&metrics, "creds_valid", &[("session", "odd")]), 1.0);
            assert_eq!(count(&metrics, "pre-key"), 52.0);
            seen.insert(count(&metrics, "device-list") as u32);
        }
    });
    assert!(
        seen.len() > 2,
        "the scrapes met the files at different times: {seen:?}"
    );
    world.finish();
}

fn stdin_to(mut command: Command, text: &str) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// A Python that has `prometheus_client`: the one on the PATH, or one made once for this.
fn python_with_prometheus_client() -> PathBuf {
    let has = |python: &Path| {
        let mut command = Command::new(python);
        command
            .args(["-c", "import prometheus_client.openmetrics.parser"])
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let system =
        process::find(&["python3"]).expect("python3 is missing: sudo apt-get install python3");
    if has(&system) {
        return system;
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus-client");
    let python = venv.join("bin/python3");
    if has(&python) {
        return python;
    }
    let make = |program: &Path, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        let said = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
        said.unwrap_or_else(|error| error.to_string())
    };
    let mut said = make(&system, &["-m", "venv", &venv.display().to_string()]);
    said += &make(
        &python,
        &["-m", "pip", "install", "--quiet", "prometheus_client"],
    );
    assert!(
        has(&python),
        "Python's prometheus_client is missing and cannot be installed; \
         sudo apt-get install python3-prometheus-client (or python3-venv, with a network)\n{said}"
    );
    python
}

/// Both forms, as a real Prometheus asks for them, pass the parsers of others; every metric
/// is declared, no session costs too much, and no label holds a secret.
#[test]
fn the_exposition_is_what_prometheus_expects() {
    let mut world = testkit::world!();
    show_all(&mut world);
    // Every kind there is, and what is unknown.
    let worst = bot(&world, "worst", "modern-1003");
    fs::write(worst.join("something-new-447700900999.json"), b"{}").unwrap();
    fs::write(worst.join("unknown.txt"), b"").unwrap();
    bot(&world, "normal", "normal");
    bot(&world, "no creds", "normal");
    fs::remove_file(world.folder("no creds").join("creds.json")).unwrap();
    bot(&world, "elsewhere", "normal");
    fs::remove_file(world.folder("elsewhere").join("creds.json")).unwrap();
    // A process that runs: this one.
    let pid_file = world.path("worst.pid");
    fs::write(&pid_file, std::process::id().to_string()).unwrap();
    let config = world.path("config.yml");
    let settings = format!(
        "overrides: [{{sessions: [elsewhere], creds: elsewhere}}]\nprocesses: [{{sessions: [worst], pid_file: '{}'}}]\n",
        pid_file.display()
    );
    fs::write(&config, settings).unwrap();
    world
        .flags
        .push(format!("--config.file={}", config.display()));
    // And one that cannot be looked at.
    let gone = world.path("gone");
    let gone = format!("--sessions.path=gone={}", gone.display());
    world.flags.push(gone);
    fs::write(
        world.path("worst-out.log"),
        "privKey: <Buffer 00>, device_removed\n",
    )
    .unwrap();
    world
        .flags
        .push(format!("--logs.path={}", world.path("*.log").display()));
    world.flags.push(format!(
        "--logs.state-path={}",
        world.path("state").display()
    ));
    world.flags.push("--logs.from-start".into());
    world.start_exporter();
    world.wait("the log is read and the process is seen", || {
        let text = ask(&world, "GET", "/metrics", "").body;
        if text.contains("log_lines_total{session=\"worst\"} 1\n")
            && text.contains("process_restarts_total{session=\"worst\"} 0\n")
        {
            Ok(())
        } else {
            Err("not yet".into())
        }
    });

    let plain = ask(&world, "GET", "/metrics", "");
    assert_eq!(
        plain.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(!plain.headers.contains_key("content-encoding"));
    let real = format!(
        "Accept: {PROMETHEUS_ACCEPT}\r\nAccept-Encoding: gzip\r\nUser-Agent: Prometheus/2.42.0\r\n"
    );
    let open = ask(&world, "GET", "/metrics", &real);
    assert_eq!(
        open.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert_eq!(open.headers["content-encoding"], "gzip");
    assert!(open.body.ends_with("# EOF\n"));
    for (headers, is_open, is_packed) in [
        ("Accept: */*\r\n", false, false),
        (
            "Accept: text/plain\r\nAccept-Encoding: deflate, gzip;q=0\r\n",
            false,
            false,
        ),
        (
            "Accept: application/openmetrics-text;version=1.0.0;q=0.4,text/plain;q=0.5\r\n",
            false,
            false,
        ),
        (
            "Accept: application/openmetrics-text\r\nAccept-Encoding: gzip, deflate\r\n",
            true,
            true,
        ),
        (
            "Accept: application/vnd.google.protobuf\r\nAccept-Encoding: gzip;q=1.0\r\n",
            false,
            true,
        ),
        ("Accept: ;;;\r\nAccept-Encoding: br\r\n", false, false),
    ] {
        let answer = ask(&world, "GET", "/metrics", headers);
        assert_eq!(answer.status, 200, "{headers}");
        assert_eq!(
            answer.headers["content-type"].starts_with("application/openmetrics"),
            is_open,
            "{headers}"
        );
        assert_eq!(
            answer.headers.contains_key("content-encoding"),
            is_packed,
            "{headers}"
        );
        assert!(answer.headers["vary"].contains("Accept"));
    }
    let head = ask(&world, "HEAD", "/metrics", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.headers["content-type"], plain.headers["content-type"]);

    let promtool =
        process::find(&["promtool"]).expect("promtool is missing: sudo apt-get install prometheus");
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]);
    let (ok, said) = stdin_to(command, &plain.body);
    assert!(ok && said.trim().is_empty(), "{said}");
    let mut command = Command::new(python_with_prometheus_client());
    command.args([
        "-c",
        "import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
print(sum(len(family.samples) for family in parse(sys.stdin.read())))",
    ]);
    let (ok, said) = stdin_to(command, &open.body);
    assert!(ok, "{said}");
    let metrics = Metrics::parse(&plain.body).unwrap();
    assert_eq!(
        said.trim(),
        metrics.0.len().to_string(),
        "both forms hold the same samples"
    );

    // Names and labels are those declared, and every kind of help and type is there.
    let names: BTreeSet<&str> = metrics
        .0
        .iter()
        .map(|sample| sample.name.as_str())
        .collect();
    let declared = || {
        let all = ALL.iter().chain(process_metrics::ALL);
        // It needs a connection that has lasted for half a minute: src/exporter/latest/tests.rs.
        all.filter(|metric| metric.name != "baileys_auth_shared_connection")
    };
    assert_eq!(names, declared().map(|metric| metric.name).collect());
    for metric in declared() {
        let kind = if metric.name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        for line in [
            format!("# HELP {} {}", metric.name, metric.help),
            format!("# TYPE {} {kind}", metric.name),
        ] {
            assert!(plain.body.lines().any(|have| have == line), "{line}");
        }
    }
    let kinds: BTreeSet<&str> = Kind::ALL.into_iter().map(Kind::label).collect();
    let logs = world.path("*.log").display().to_string();
    let mut per_session: BTreeMap<&str, u32> = BTreeMap::new();
    for sample in &metrics.0 {
        let metric = declared()
            .find(|metric| metric.name == sample.name)
            .unwrap();
        let labels: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
        assert_eq!(
            labels,
            metric.labels.iter().copied().collect(),
            "{}",
            sample.name
        );
        for (label, value) in &sample.labels {
            let value = value.as_str();
            let known = match label.as_str() {
                "session" => {
                    *per_session.entry(value).or_default() += 1;
                    ["worst", "normal", "no creds", "elsewhere", "gone"].contains(&value)
                }
                "kind" => kinds.contains(value),
                "action" => ["cleanup", "emergency"].contains(&value),
                "tier" => ["monitor", "warning", "cleanup", "emergency", "fatal"].contains(&value),
                "state" => ["connected", "disconnected", "unknown"].contains(&value),
                "collector" => value == "folders",
                "reason" => [
                    "duplicate_name",
                    "link_refused",
                    "source_unreadable",
                    "nothing_matched",
                    "directory_unreadable",
                    "too_many_directories",
                    "copy",
                    "missing",
                ]
                .contains(&value),
                "pattern" => SHIPPED.iter().any(|pattern| pattern.name == value),
                "severity" => ["critical", "warning", "info"].contains(&value),
                "copy" => ["found", "missing"].contains(&value),
                "glob" => value == logs,
                "version" => value == env!("CARGO_PKG_VERSION"),
                _ => false,
            };
            assert!(known, "{sample:?}");
        }
        assert!(sample.value.is_finite(), "{sample:?}");
    }
    for kind in &kinds {
        assert!(
            auth(&metrics, "files", &[("session", "worst"), ("kind", kind)]) > 0.0,
            "{kind}"
        );
    }
    assert!(per_session["worst"] <= 120, "{per_session:?}");
    assert!(
        per_session
            .values()
            .all(|series| *series <= per_session["worst"]),
        "{per_session:?}"
    );
    for text in [&plain.body, &open.body, &ask(&world, "GET", "/", "").body] {
        assert_discreet("an answer", text);
        assert!(!text.contains("something-new"));
    }
    world.finish();
}

/// `/`, `/-/healthy`, `/-/ready`, `/-/reload`, SIGHUP, and everything else.
#[test]
fn it_conducts_itself_as_an_exporter() {
    let mut world = testkit::world!();
    bot(&world, "a", "normal");
    fixture::unpack("normal", &world.path("more/b"), SystemTime::now()).unwrap();
    let config = world.path("config.yml");
    let paths = |names: &[&str]| {
        let paths: Vec<String> = names
            .iter()
            .map(|name| world.path(name).display().to_string())
            .collect();
        fs::write(
            &config,
            format!("sessions: {{paths: [{}]}}\n", paths.join(", ")),
        )
        .unwrap();
    };
    paths(&["sessions"]);
    let mut flags = vec![format!("--config.file={}", config.display())];
    flags.push("--web.telemetry-path=/exposed".to_owned());
    let config = config.clone();
    let more = world.path("more").display().to_string();
    let both = format!(
        "sessions: {{paths: [{}, {more}]}}\n",
        world.path("sessions").display()
    );
    start_with(&mut world, Path::new(EXPORTER), &[], flags);

    for (path, says) in [
        ("/-/healthy", "healthy"),
        ("/-/ready", "ready"),
        ("/", "Baileys auth folders"),
    ] {
        let answer = ask(&world, "GET", path, "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.contains(says), "{path}: {}", answer.body);
    }
    let page = ask(&world, "GET", "/", "");
    assert!(page.headers["content-type"].starts_with("text/html"));
    assert!(page.body.contains("href=\"./exposed\""));
    for path in [
        "/metrics",
        "/exposed/",
        "/-/",
        "/favicon.ico",
        "/../etc/passwd",
        "//",
    ] {
        let answer = ask(&world, "GET", path, "");
        assert_eq!(answer.status, 404, "{path}");
        let paths = "/, /exposed, /-/healthy, /-/ready, POST /-/reload\n";
        assert!(answer.body.ends_with(paths), "{}", answer.body);
    }
    for (method, path, allow) in [
        ("POST", "/exposed", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/-/ready", "GET, HEAD"),
        ("PUT", "/-/healthy", "GET, HEAD"),
        ("GET", "/-/reload", "POST"),
        ("HEAD", "/-/reload", "POST"),
    ] {
        let answer = ask(&world, method, path, "Content-Length: 0\r\n");
        assert_eq!(
            (answer.status, answer.headers["allow"].as_str()),
            (405, allow),
            "{method} {path}"
        );
    }

    let look = || Metrics::scrape(&world.url("/exposed"));
    let loaded = |metrics: &Metrics| {
        let value = |name: &str| {
            metrics
                .sum(&format!("baileys_exporter_config_last_reload_{name}"), &[])
                .unwrap()
        };
        (value("successful"), value("success_timestamp_seconds"))
    };
    let first = look().unwrap();
    assert_eq!((loaded(&first).0, sessions(&first)), (1.0, set(&["a"])));

    // A broken file changes nothing, and is reported.
    fs::write(&config, "sesions: {paths: [/tmp]}\n").unwrap();
    let answer = ask(&world, "POST", "/-/reload", "Content-Length: 0\r\n");
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.contains("the former one stays in force"),
        "{}",
        answer.body
    );
    world.wait("the log names the key and the file", || match world.log() {
        log if log.contains("sesions") && log.contains("config.yml") => Ok(()),
        log => Err(log),
    });
    let broken = look().unwrap();
    assert_eq!(
        (loaded(&broken), sessions(&broken)),
        ((0.0, loaded(&first).1), set(&["a"]))
    );
    world.signal(rustix::process::Signal::HUP);
    world.wait("the log tells of the second failure", || {
        match world.log().matches("the former one stays in force").count() {
            2 => Ok(()),
            times => Err(format!("{times} times")),
        }
    });

    // Corrected, and read at SIGHUP.
    fs::write(&config, &both).unwrap();
    world.signal(rustix::process::Signal::HUP);
    world.wait("the new configuration is in force", || {
        let metrics = look()?;
        match (loaded(&metrics).0, sessions(&metrics) == set(&["a", "b"])) {
            (1.0, true) if loaded(&metrics).1 > loaded(&first).1 => Ok(()),
            _ => Err(format!("{:?} {:?}", loaded(&metrics), sessions(&metrics))),
        }
    });
    fs::remove_file(&config).unwrap();
    assert_eq!(
        ask(&world, "POST", "/-/reload", "Content-Length: 0\r\n").status,
        500
    );
    assert_eq!(sessions(&look().unwrap()), set(&["a", "b"]));
    fs::write(&config, &both).unwrap();
    assert_eq!(
        ask(&world, "POST", "/-/reload", "Content-Length: 0\r\n").status,
        200
    );
    assert_eq!(loaded(&look().unwrap()).0, 1.0);
    world.finish();
}

/// More scrapes at once than allowed: 503, which Prometheus records as a failed scrape, and
/// the next one works.
#[test]
fn concurrent_scrapes_are_bounded() {
    let mut world = testkit::world!();
    bot(&world, "a", "normal");
    // A broken creds.json makes each scrape pause for a second look.
    File::create(world.folder("a").join("creds.json")).unwrap();
    world.flags.push("--web.max-requests=1".to_owned());
    world.start_exporter();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let scrapes: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| ask(&world, "GET", "/metrics", "")))
            .collect();
        scrapes
            .into_iter()
            .map(|scrape| scrape.join().unwrap())
            .collect()
    });
    let with = |status: u16| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert!(
        with(200) >= 1 && with(503) >= 1 && with(200) + with(503) == 6,
        "{} {}",
        with(200),
        with(503)
    );
    let refused = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert!(
        refused.body.contains("(1)") && refused.headers.contains_key("retry-after"),
        "{}",
        refused.body
    );
    // Other pages are not scrapes.
    assert_eq!(ask(&world, "GET", "/-/healthy", "").status, 200);
    assert_eq!(ask(&world, "GET", "/metrics", "").status, 200);
    world.finish();
}

/// A page of another site, or of a name that the site points at this machine, changes nothing.
#[test]
fn a_foreign_page_cannot_reload_the_configuration() {
    let mut world = testkit::world!();
    bot(&world, "a", "normal");
    world.start_exporter();
    let reload = |headers: &str| {
        let begin = "POST /-/reload HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n";
        request(&world, &format!("{begin}{headers}\r\n"))
    };
    let loaded = "configuration loaded";
    for (headers, what) in [
        ("Host: evil.example\r\n", "Host"),
        (
            "Host: localhost\r\nOrigin: http://evil.example\r\n",
            "Origin",
        ),
        ("Host: localhost\r\nOrigin: null\r\n", "Origin"),
        (
            "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
            "Origin",
        ),
        (
            "Host: evil.example\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
            "Host",
        ),
    ] {
        let answer = reload(headers);
        assert_eq!(answer.status, 403, "{headers}");
        assert!(
            answer.body.contains(&format!("foreign {what}")),
            "{headers}"
        );
    }
    assert!(!world.log().contains(loaded));
    let own = format!(
        "Host: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\n",
        world.port
    );
    assert_eq!(reload(&own).status, 200);
    // Too many are refused, and those that came before them are not.
    let answers: Vec<u16> = (0..20)
        .map(|_| reload("Host: localhost\r\n").status)
        .collect();
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(answers[0], 200, "{answers:?}");
    assert!(
        answers.iter().all(|status| [200, 429].contains(status)),
        "{answers:?}"
    );
    world.finish();
}

/// Until the sources have answered again, the last verdict holds.
#[test]
fn a_reload_keeps_the_verdicts() {
    let mut world = testkit::world!();
    bot(&world, "bot", "normal");
    world.probe_says("bot", "connected");
    world.with_probe();
    world.with_config("connection: {timeout: 1m}\n");
    world.start_exporter();
    let state = |world: &World, state: &str| {
        let labels = [("session", "bot"), ("state", state)];
        auth(&world.metrics(), "connection_state", &labels)
    };
    world.wait("it is connected", || match state(&world, "connected") {
        1.0 => Ok(()),
        other => Err(format!("{other}")),
    });
    // The next call waits for as long as the test wants.
    let next = world.probe_calls("bot") + 1;
    world.hold_probe("bot", next);
    let reload = ask(&world, "POST", "/-/reload", "Content-Length: 0\r\n");
    assert_eq!(reload.status, 200);
    let held = world.path("probe/bot.held");
    world.wait_for_file("a call of the probe after the reload", &held);
    assert_eq!(state(&world, "connected"), 1.0);
    assert_eq!(state(&world, "unknown"), 0.0);
    world.release_probe("bot");
    world.finish();
}
