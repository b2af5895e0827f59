//! Who else may be at work in a folder while it is cleaned, and what is kept.
//!
//! | case | test |
//! |---|---|
//! | two remediators, an operator's `clean` and the webhook at the same time | [`everybody_at_once`] |
//! | the bot's API says connected between the verdict and the moves | [`a_bot_that_comes_back_before_the_moves`] |
//! | the bot writes between the verdict and the moves, its API still says no | the same |
//! | a file rewritten, truncated, replaced, linked, deleted or swapped between plan and move | [`a_file_that_changes_between_plan_and_move`] |
//! | the bot writes while files move, and while they are put back | [`a_bot_that_writes_all_the_while`] |
//! | EXDEV, ENOSPC, EROFS, EACCES, ESTALE at every call | `tests/crash_safety.rs`, `every_errno_at_every_call` |
//! | the folder renamed or swapped for a link under a run | `tests/webhook.rs`, `what_an_alert_requests_is_done_once` |
//! | a kill at every call | `tests/crash_safety.rs` |
//! | another user plants a record, a link or a pipe in the quarantine | `src/remediator/quarantine.rs` |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

mod fleet;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet::{BOUND, Fleet, GO, REMEDIATOR, key_files, name, payload};
use serde_json::Value;
use testkit::net;
use testkit::process::{self, Process};

/// The middle one of the files that go.
const TARGET: &str = "session-7.0.json";

/// A file as it was: content, inode and times.
type Files = BTreeMap<String, (Vec<u8>, u64, i64, i64)>;

fn snapshot(dir: &Path) -> Files {
    let stamp = |name: String| {
        let path = dir.join(&name);
        let meta = fs::symlink_metadata(&path).unwrap();
        (
            name,
            (
                fs::read(&path).unwrap(),
                meta.ino(),
                meta.mtime(),
                meta.mtime_nsec(),
            ),
        )
    };
    key_files(dir).into_iter().map(stamp).collect()
}

/// What is in the quarantine of a folder: of each run the files.
fn held(dir: &Path) -> Vec<(PathBuf, BTreeSet<String>)> {
    let Ok(entries) = fs::read_dir(dir.join(".baileys_quarantine")) else {
        return Vec::new();
    };
    let runs = entries
        .map(|entry| entry.unwrap().path().join("files"))
        .filter(|files| files.is_dir());
    runs.map(|files| (files.clone(), key_files(&files)))
        .filter(|(_, names)| !names.is_empty())
        .collect()
}

fn remediator(args: &[&str], flags: &[String]) -> Output {
    let args = args
        .iter()
        .map(|arg| (*arg).to_owned())
        .chain(flags.iter().cloned());
    let (status, out, err) = process::run(Path::new(REMEDIATOR), args, BOUND).unwrap();
    assert!(!err.contains("panicked"), "{err}");
    Output {
        status,
        stdout: out.into_bytes(),
        stderr: err.into_bytes(),
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The fleet without a quiet window: what was written just now does not count as life.
fn without_quiet_window(bots: usize) -> Fleet {
    let fleet = Fleet::new(bots, 0);
    let config = fs::read_to_string(fleet.path("config.yml")).unwrap();
    fs::write(
        fleet.path("config.yml"),
        config.replace("timeout: 5m", "timeout: 5m\n  quiet: 1ns"),
    )
    .unwrap();
    fleet
}

/// Two remediators that know nothing of each other (two state directories), each asked by
/// its webhook, and operators at both: each folder is cleaned once, by one of them.
#[test]
fn everybody_at_once() {
    let rounds = 8;
    let mut fleet = Fleet::new(rounds, 0);
    fleet.start();
    let mut other_flags = fleet.flags();
    *other_flags.last_mut().unwrap() =
        format!("--state.path={}", fleet.path("other-state").display());
    let other_port = net::free_port(None).unwrap();
    let mut args = vec![
        "serve".to_owned(),
        format!("--web.listen-address=127.0.0.1:{other_port}"),
        format!("--webhook.token-file={}", fleet.path("token").display()),
    ];
    args.extend(other_flags.iter().cloned());
    let _other = Process::start(
        "other",
        Path::new(REMEDIATOR),
        &args,
        &fleet.path("other.log"),
    )
    .unwrap();
    let other = |path: &str| format!("http://127.0.0.1:{other_port}{path}");
    fleet.wait("the other is ready", || net::get(&other("/-/ready"))?.ok());

    let mut won = BTreeMap::new();
    for round in 0..rounds {
        let session = name(round);
        let before = snapshot(&fleet.folder(&session));
        let start = Barrier::new(5);
        let body = payload(std::slice::from_ref(&session));
        let cleans: Vec<Output> = std::thread::scope(|scope| {
            for url in [fleet.url("/webhook"), other("/webhook")] {
                let (start, fleet, body) = (&start, &fleet, &body);
                scope.spawn(move || {
                    start.wait();
                    // An operator's program takes a moment to start; each is to win at times.
                    std::thread::sleep(Duration::from_millis(round as u64 * 12));
                    fleet.post_to(&url, body).unwrap();
                });
            }
            let operators = [fleet.flags(), other_flags.clone(), fleet.flags()].map(|flags| {
                let (start, session) = (&start, &session);
                scope.spawn(move || {
                    start.wait();
                    remediator(&["clean", session], &flags)
                })
            });
            operators
                .into_iter()
                .map(|operator| operator.join().unwrap())
                .collect()
        });
        let idle = |url: &str| fleet.wait("every run ends", || fleet::queue(url));
        idle(&fleet.url("/metrics"));
        idle(&other("/metrics"));

        // Each file is in one place, as it was, and one run has them.
        let dir = fleet.folder(&session);
        let held = held(&dir);
        assert_eq!(held.len(), 1, "{held:?}");
        let mut now = snapshot(&dir);
        assert_eq!(now.len() + GO, before.len());
        now.extend(snapshot(&held[0].0));
        assert!(now == before, "every file is as it was");
        let runs: Vec<Value> = [fleet.flags(), other_flags.clone()]
            .iter()
            .flat_map(|flags| fleet::runs(flags).remove(&session).unwrap_or_default())
            .collect();
        let done: Vec<&Value> = runs.iter().filter(|run| run["status"] == "done").collect();
        assert_eq!(done.len(), 1, "{runs:#?}");
        assert_eq!(done[0]["files"]["session"], GO);
        *won.entry(
            done[0]["requested_by"]
                .as_str()
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .to_owned(),
        )
        .or_insert(0) += 1;
        for run in &runs {
            let reason = run["reason"].as_str().unwrap_or_default();
            let polite =
                ["locked", "nothing_removable", "stale_alert", "cooldown"].contains(&reason);
            assert!(
                run["status"] == "done" || run["status"] == "refused" && polite,
                "{run:#}"
            );
        }
        for clean in &cleans {
            assert!(
                matches!(clean.status.code(), Some(0 | 1)),
                "{}",
                said(clean)
            );
        }
    }
    eprintln!("{rounds} rounds, won by {won:?}");
}

/// Cleans a bot; at the second call of the probe (the plan is written, nothing
/// has moved) `meddle` has its way.
fn clean_with(fleet: &Fleet, session: &str, meddle: impl FnOnce(&Path)) -> Output {
    fleet.probe.close_after(1);
    let asked = fleet.probe.asked();
    std::thread::scope(|scope| {
        let flags = fleet.flags();
        let clean = scope.spawn(move || remediator(&["clean", session], &flags));
        fleet.wait("another call of the probe", || {
            match fleet.probe.asked() - asked {
                2 => Ok(()),
                _ if clean.is_finished() => Ok(()),
                asks => Err(format!("{asks} asks")),
            }
        });
        assert!(!clean.is_finished(), "it ended before it asked again");
        meddle(&fleet.folder(session));
        fleet.probe.open();
        clean.join().unwrap()
    })
}

#[test]
fn a_bot_that_comes_back_before_the_moves() {
    let mut fleet = Fleet::new(3, 0);
    let (says_so, writes) = (name(0), name(1));
    let before = snapshot(&fleet.folder(&says_so));
    let output = clean_with(&fleet, &says_so, |_| fleet.probe.say_connected(true));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(snapshot(&fleet.folder(&says_so)) == before);
    fleet.probe.say_connected(false);

    // It writes a file, new or known; that outweighs what its API says.
    for (file, is_new) in [("session-99.0.json", true), (TARGET, false)] {
        let before = snapshot(&fleet.folder(&writes));
        let output = clean_with(&fleet, &writes, |dir| {
            fs::write(dir.join(file), "a new ratchet").unwrap()
        });
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let mut now = snapshot(&fleet.folder(&writes));
        assert_eq!(now.remove(file).unwrap().0, b"a new ratchet");
        let mut before = before;
        assert_eq!(before.remove(file).is_none(), is_new);
        assert!(now == before, "{file}");
        // Silent again, for the next case.
        fs::write(
            fleet.folder(&writes).join(file),
            r#"{"_sessions":{},"version":"v1"}"#,
        )
        .unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(900);
        File::options()
            .write(true)
            .open(fleet.folder(&writes).join(file))
            .unwrap()
            .set_modified(old)
            .unwrap();
    }

    // The same by the webhook.
    let alerted = name(2);
    let before = snapshot(&fleet.folder(&alerted));
    fleet.start();
    // The roll call asks, too; then twice for a run.
    let asked = fleet.probe.asked();
    fleet.wait("the roll call", || {
        if fleet.probe.asked() > 0 {
            Ok(())
        } else {
            Err(format!("{asked}"))
        }
    });
    fleet.probe.close_after(1);
    let asked = fleet.probe.asked();
    fleet
        .post(&payload(std::slice::from_ref(&alerted)))
        .unwrap();
    fleet.wait("another call of the probe", || {
        match fleet.probe.asked() - asked {
            2.. => Ok(()),
            asks => Err(format!("{asks} asks")),
        }
    });
    fleet.probe.say_connected(true);
    fleet.probe.open();
    fleet.wait_until_idle();
    assert!(snapshot(&fleet.folder(&alerted)) == before);
    for session in [&says_so, &writes, &alerted] {
        let runs = fleet.runs().remove(session).unwrap();
        for run in runs {
            // Two that contradict each other leave it unknown.
            let reason = if *session == writes {
                "connection_unknown"
            } else {
                "connected"
            };
            assert_eq!(
                (&run["status"], &run["reason"]),
                (&"refused".into(), &reason.into()),
                "{run:#}"
            );
            assert_eq!(run["run"], Value::Null, "there is nothing to undo");
        }
        assert_eq!(held(&fleet.folder(session)), []);
    }
}

#[test]
fn a_file_that_changes_between_plan_and_move() {
    type Meddling = fn(&Path);
    fn keep_time(path: &Path, change: impl FnOnce()) {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        change();
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }
    let cases: [(&str, Meddling); 11] = [
        ("rewritten", |file| {
            fs::write(file, "a new ratchet").unwrap()
        }),
        ("rewritten with the same bytes", |file| {
            fs::write(file, fs::read(file).unwrap()).unwrap()
        }),
        ("rewritten, the old time", |file| {
            keep_time(file, || fs::write(file, "a new ratchet").unwrap())
        }),
        ("truncated", |file| File::create(file).map(drop).unwrap()),
        ("truncated, the old time", |file| {
            keep_time(file, || File::create(file).map(drop).unwrap())
        }),
        ("replaced, the same bytes and time", |file| {
            let copy = file.with_extension("tmp");
            fs::copy(file, &copy).unwrap();
            let modified = fs::metadata(file).unwrap().modified().unwrap();
            File::options()
                .write(true)
                .open(&copy)
                .unwrap()
                .set_modified(modified)
                .unwrap();
            fs::rename(&copy, file).unwrap();
        }),
        ("linked", |file| {
            fs::hard_link(file, file.with_extension("copy")).unwrap()
        }),
        ("deleted", |file| fs::remove_file(file).unwrap()),
        ("swapped for a link", |file| {
            fs::rename(file, file.with_extension("away")).unwrap();
            symlink(file.with_extension("away"), file).unwrap();
        }),
        ("swapped for a directory", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
            fs::write(file.join("inside"), "kept").unwrap();
        }),
        ("swapped for another key", |file| {
            let other = file.with_file_name("session-1.0.json");
            fs::copy(&other, file).unwrap();
        }),
    ];
    // The first, one in the middle and the last of those that move.
    let targets = ["session-3.0.json", TARGET, "session-9.0.json"];
    let fleet = without_quiet_window(cases.len() * targets.len());
    for (number, (case, target)) in cases
        .iter()
        .flat_map(|case| targets.iter().map(move |target| (case, target)))
        .enumerate()
    {
        let (what, meddle) = case;
        let what = format!("{target} {what}");
        let session = name(number);
        let dir = fleet.folder(&session);
        let before = snapshot(&dir);
        let mut meddled = None;
        let output = clean_with(&fleet, &session, |dir| {
            meddle(&dir.join(target));
            meddled = Some((listing(dir), snapshot(dir)));
        });
        let (names, files) = meddled.unwrap();
        assert_eq!(output.status.code(), Some(2), "{what}: {}", said(&output));
        assert!(
            said(&output).contains("a process writes into the folder"),
            "{what}: {}",
            said(&output)
        );
        // As the meddler left it, and everything else as it was.
        assert_eq!(listing(&dir), names, "{what}");
        assert!(snapshot(&dir) == files, "{what}");
        for (name, stamp) in &before {
            assert!(
                name == target || files.get(name) == Some(stamp),
                "{what}: {name} is not what it was"
            );
        }
        assert_eq!(held(&dir), [], "{what}");
        let run = fleet.runs().remove(&session).unwrap().remove(0);
        assert_eq!(
            (&run["status"], &run["reason"]),
            (&"failed".into(), &"changed".into()),
            "{what}: {run:#}"
        );
    }
}

fn listing(dir: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".baileys_quarantine").collect()
}

/// The bot wakes up unseen and writes while its files move: of each file the newest content
/// is kept, and an undo does not replace it.
#[test]
fn a_bot_that_writes_all_the_while() {
    let rounds = 12;
    let fleet = without_quiet_window(rounds);
    let (mut rolled_back, mut moved) = (0, 0);
    for round in 0..rounds {
        let session = name(round);
        let dir = fleet.folder(&session);
        let stop = AtomicBool::new(false);
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        std::thread::scope(|scope| {
            let (stop, last, folder) = (&stop, &mut last, dir.clone());
            let output = clean_with(&fleet, &session, |_| {
                scope.spawn(move || {
                    // As Baileys does: opened, emptied, written.
                    for step in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let file = format!("session-{}.0.json", 3 + (step * 5 + round) % (GO + 2));
                        let content = format!("{{\"_sessions\":{{}},\"version\":\"{step}\"}}");
                        fs::write(folder.join(&file), &content).unwrap();
                        last.insert(file, content);
                        std::thread::sleep(Duration::from_micros(50 * round as u64));
                    }
                });
            });
            stop.store(true, Ordering::Relaxed);
            match output.status.code() {
                Some(0) => moved += 1,
                Some(2) => rolled_back += 1,
                _ => panic!("{}", said(&output)),
            }
        });
        let newest_is_kept = |when: &str| {
            for (file, content) in &last {
                let quarantined = held(&dir).into_iter().map(|(files, _)| files.join(file));
                let places = std::iter::once(dir.join(file)).chain(quarantined);
                let found = places
                    .filter_map(|path| fs::read_to_string(path).ok())
                    .any(|text| text == *content);
                assert!(found, "{session}: the newest {file} is lost {when}");
            }
        };
        newest_is_kept("by the clean-up");
        for (files, _) in held(&dir) {
            let run = files
                .parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let undo = remediator(&["undo", &run], &fleet.flags());
            assert!(matches!(undo.status.code(), Some(0..=2)), "{}", said(&undo));
        }
        newest_is_kept("by the undo");
        assert!(dir.join("creds.json").exists());
    }
    eprintln!("{rolled_back} rolled back, {moved} moved");
    assert!(rolled_back > 0, "no clean-up met the bot");
}
