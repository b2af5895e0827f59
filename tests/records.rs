//! What a run leaves behind: its record, the page that shows it, and each file exactly as
//! it was. And what the programs say when they may not do their work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, StatxFlags, XattrFlags};
use serde_json::{Value, json};
use testkit::fixture::Snapshot;
use testkit::net;
use testkit::process::{self, Process};
use testkit::world::{QUARTER, SOON, TOKEN, World};

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";
const FINGERPRINT: &str = "deadbeef00c0ffee";

/// The probe may be held for longer than by default.
const CONFIG: &str = "connection: {timeout: 50s}\n";

fn deliver(world: &World, session: &str, tier: &str) -> Value {
    let (status, said) = world.deliver(&[json!({
        "status": "firing",
        "labels": {"ladder": "baileys_auth_files", "tier": tier, "session": session},
        "startsAt": "2026-11-23T18:00:00.000Z", "fingerprint": FINGERPRINT,
    })]);
    assert_eq!(status, 202, "{said}");
    said
}

fn get(world: &World, path: &str) -> (u16, String) {
    let answer = net::get(&world.url(path)).unwrap();
    (answer.status, answer.body)
}

fn steps(record: &Value) -> Vec<&str> {
    record["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect()
}

fn facts<'a>(record: &'a Value, step: &str) -> &'a Value {
    let steps = record["steps"].as_array().unwrap();
    &steps
        .iter()
        .find(|told| told["step"] == step)
        .unwrap_or_else(|| panic!("no {step}: {record:#}"))["facts"]
}

fn fates(record: &Value) -> BTreeMap<&str, usize> {
    let mut fates = BTreeMap::new();
    for file in record["moves"].as_array().unwrap() {
        *fates.entry(file["fate"].as_str().unwrap()).or_default() += 1;
    }
    fates
}

/// Inode, size and modification time in whole seconds, by name.
fn stats(dir: &Path) -> BTreeMap<String, (u64, u64)> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            let about = entry.metadata().unwrap();
            (
                entry.file_name().into_string().unwrap(),
                (about.ino(), about.len()),
            )
        })
        .collect()
}

/// No file name with an id is shown anywhere: it may be a telephone number.
fn discreet(text: &str, names: &BTreeMap<String, (u64, u64)>) {
    assert!(!text.contains(TOKEN));
    for name in names.keys().filter(|name| *name != "creds.json") {
        assert!(!text.contains(name.trim_end_matches(".json")), "{name}");
    }
}

/// Who asked, the evidence both times, the plan, each file by kind and inode, the times and
/// the outcome; a refusal, and alerts that started nothing, as well.
#[test]
fn every_decision_is_on_record() {
    let mut world = testkit::world!().probed().configured(CONFIG);
    world.bot("bot", BLOATED, "disconnected");
    let kept = world.bot("talking", BLOATED, "connected");
    let before = stats(&world.folder("bot"));
    world.start_remediator();
    assert_eq!(deliver(&world, "bot", "cleanup")["queued"], 1);
    world.wait_until_idle();
    assert_eq!(deliver(&world, "talking", "emergency")["queued"], 1);
    world.wait_until_idle();
    // In vain: cleaned just now, refused just now, not here.
    assert_eq!(deliver(&world, "bot", "cleanup")["queued"], 0);
    assert_eq!(deliver(&world, "bot", "cleanup")["queued"], 0);
    assert_eq!(deliver(&world, "talking", "emergency")["queued"], 0);
    assert_eq!(deliver(&world, "nobody", "cleanup")["queued"], 0);

    let record = world.show("1");
    assert_eq!(record["requested_by"], format!("alert {FINGERPRINT}"));
    let asked = facts(&record, "accepted");
    assert_eq!(
        (&asked["receiver"], &asked["starts_at"]),
        (
            &json!("baileys-remediator"),
            &json!("2026-11-23T18:00:00.000Z")
        )
    );
    assert!(asked["group_key"].as_str().unwrap().contains("ladder"));
    assert_eq!(
        steps(&record),
        [
            "accepted",
            "begun",
            "locked",
            "asked",
            "planned",
            "prepared",
            "asked_again",
            "moving",
            "moved",
            "done"
        ]
    );
    for step in ["asked", "asked_again"] {
        let verdict = facts(&record, step);
        assert_eq!(verdict["connection"], "disconnected", "{verdict}");
        let sources: Vec<_> = verdict["sources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| &s["source"])
            .collect();
        assert_eq!(sources, ["probe", "writes"]);
    }
    let plan = facts(&record, "planned");
    assert_eq!(
        (&plan["accumulated_before"], &plan["mode"]),
        (&json!(387), &json!("cleanup"))
    );
    assert_eq!(plan["accumulated_after"], record["accumulated_after"]);
    let after = stats(&world.folder("bot"));
    let pre_keys = after
        .keys()
        .filter(|name| name.starts_with("pre-key-"))
        .count();
    assert_eq!(plan["pre_keys_left"], pre_keys);
    // Each file that went, and no other, by kind and inode.
    let went: BTreeSet<(&str, u64, u64)> = before
        .iter()
        .filter(|(name, _)| !after.contains_key(*name))
        .map(|(name, (inode, size))| (kind_of(name), *inode, *size))
        .collect();
    let told: BTreeSet<(&str, u64, u64)> = record["moves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            (
                file["kind"].as_str().unwrap(),
                file["inode"].as_u64().unwrap(),
                file["size"].as_u64().unwrap(),
            )
        })
        .collect();
    assert!(went.len() > 200);
    assert_eq!(told, went);
    assert_eq!(fates(&record), BTreeMap::from([("moved", went.len())]));
    let times: Vec<&str> = record["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["at"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted() && times[0].ends_with('Z'), "{times:?}");
    // By its name, too, and as a table.
    let run = record["run"].as_str().unwrap().to_owned();
    assert_eq!(world.show(&run), record);
    let (code, told, _) = world.remediator(&["runs", "show", &run]).parts();
    assert_eq!(code, 0);
    for word in [
        FINGERPRINT,
        "baileys-remediator",
        "asked_again",
        "387 -> ",
        "pre-key",
    ] {
        assert!(told.contains(word), "{word}:\n{told}");
    }
    discreet(&format!("{told}{record}"), &before);

    // The refusal.
    let refused = world.show("2");
    assert_eq!(
        (&refused["status"], &refused["reason"]),
        (&json!("refused"), &json!("connected"))
    );
    assert_eq!(facts(&refused, "asked")["connection"], "connected");
    assert_eq!(refused["moves"], json!([]));
    assert_eq!(*steps(&refused).last().unwrap(), "refused");
    assert!(
        kept.differences(&Snapshot::take(&world.folder("talking")).unwrap())
            .is_empty()
    );

    // An operator's undo: who, and each file again.
    let (code, said, err) = world.remediator(&["undo", &run]).parts();
    assert_eq!(code, 0, "{err}");
    assert!(said.contains("Restart the bot"), "{said}");
    let undo = world.show("3");
    assert!(
        undo["requested_by"]
            .as_str()
            .unwrap()
            .starts_with("operator ")
    );
    assert_eq!(fates(&undo), BTreeMap::from([("restored", went.len())]));
    assert_eq!(
        (&undo["related"], &world.show("1")["related"]),
        (&json!([1]), &json!([3]))
    );
    assert_eq!(stats(&world.folder("bot")), before, "inode for inode");

    for wrong in ["0", "99", "x", "20260101T000000Z-abcdef"] {
        let (code, _, err) = world.remediator(&["runs", "show", wrong]).parts();
        assert!(
            code == 2 && err.contains("baileys_remediator runs"),
            "{wrong}: {err}"
        );
    }

    // The page tells the same, and what was asked in vain.
    let (status, page) = get(&world, "/");
    assert_eq!(status, 200);
    for (outcome, times) in [("cooldown", 2), ("retry_later", 1), ("unknown_session", 1)] {
        let row = page
            .split("<tr>")
            .find(|row| row.contains(&format!(">{outcome}</td>")));
        let row = row.unwrap_or_else(|| panic!("{outcome}:\n{page}"));
        assert!(
            row.contains(FINGERPRINT) && row.contains(&format!(">{times}</td>")),
            "{row}"
        );
    }
    for word in ["nobody", "No run waits", "/run?id=1"] {
        assert!(page.contains(word), "{word}:\n{page}");
    }
    let (status, shown) = get(&world, "/run?id=1");
    assert_eq!(status, 200);
    for word in ["asked_again", &run, "deadbeef00c0ffee", "moved"] {
        assert!(shown.contains(word), "{word}:\n{shown}");
    }
    discreet(&format!("{page}{shown}"), &before);
}

fn kind_of(name: &str) -> &'static str {
    ["sender-key-memory", "sender-key", "pre-key", "session"]
        .into_iter()
        .find(|kind| name.starts_with(&format!("{kind}-")))
        .unwrap_or_else(|| panic!("of another kind than may go: {}", name.len()))
}

/// kill -9 between the plan and the moves: what was known then is on record at once, and the
/// next start says what became of it.
#[test]
fn a_killed_run_is_on_record() {
    let mut world = testkit::world!().probed().configured(CONFIG);
    world.bot("bot", BLOATED, "disconnected");
    world.start_remediator();
    let calls = world.path("probe/bot.n");
    world.wait("the roll call", || {
        fs::read_to_string(&calls)
            .map(drop)
            .map_err(|e| e.to_string())
    });
    assert_eq!(fs::read_to_string(&calls).unwrap(), "1\n");
    // The run asks for the second time once its plan is written.
    fs::write(world.path("probe/bot.hold"), "3").unwrap();
    deliver(&world, "bot", "cleanup");
    let held = world.path("probe/bot.held");
    world.wait("the second verdict", || {
        if held.exists() {
            Ok(())
        } else {
            Err("not asked".into())
        }
    });
    world.kill();

    let cut_short = world.show("1");
    assert_eq!(cut_short["status"], "running");
    assert_eq!(
        steps(&cut_short),
        ["accepted", "begun", "locked", "asked", "planned"]
    );
    let planned = cut_short["moves"].as_array().unwrap().len();
    assert!(planned > 200);
    assert_eq!(fates(&cut_short), BTreeMap::from([("planned", planned)]));

    fs::remove_file(world.path("probe/bot.hold")).unwrap();
    world.start_remediator();
    world.wait_until_idle();
    let ended = world.show("1");
    assert_eq!(ended["status"], "done", "{ended:#}");
    assert_eq!(steps(&ended)[5..], ["found_after_restart", "done"]);
    assert_eq!(fates(&ended), BTreeMap::from([("moved", planned)]));
    let held = fs::read_dir(
        world
            .folder("bot")
            .join(".baileys_quarantine")
            .join(ended["run"].as_str().unwrap())
            .join("files"),
    );
    assert_eq!(held.unwrap().count(), planned);
}

/// What a file is, beside its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attributes {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    born: (i64, u32),
    links: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
    bytes: Vec<u8>,
}

fn attributes(path: &Path) -> Attributes {
    let about = fs::symlink_metadata(path).unwrap();
    let born = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME)
        .unwrap()
        .stx_btime;
    let mut names = vec![0u8; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut xattrs = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = String::from_utf8(name.to_vec()).unwrap();
        let mut value = vec![0u8; 65_536];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap();
        xattrs.insert(name, value[..length].to_vec());
    }
    let is_dir = about.is_dir();
    Attributes {
        inode: about.ino(),
        mode: about.mode(),
        owner: (about.uid(), about.gid()),
        // A directory's own times move with what is in it.
        modified: if is_dir {
            (0, 0)
        } else {
            (about.mtime(), about.mtime_nsec())
        },
        born: (born.tv_sec, born.tv_nsec),
        links: if is_dir { 0 } else { about.nlink() },
        xattrs,
        bytes: if is_dir {
            Vec::new()
        } else {
            fs::read(path).unwrap()
        },
    }
}

fn all_attributes(dir: &Path) -> BTreeMap<String, Attributes> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                attributes(&entry.path()),
            )
        })
        .collect()
}

/// Names of files that differ. Never what is in them.
fn differing(a: &BTreeMap<String, Attributes>, b: &BTreeMap<String, Attributes>) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .cloned()
        .collect()
}

/// An ACL that lets user 4711 read; as `setfacl -m u:4711:r` writes it.
fn acl() -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, may, id) in [
        (1u16, 6u16, u32::MAX),
        (2, 4, 4711),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(may.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Owner, group, mode, times, extended attributes and ACLs of every file, in the quarantine
/// and back, and of the folder itself. A file that came anew stays as it is.
#[test]
fn every_attribute_survives_clean_and_undo() {
    let world = testkit::world!().probed().configured(CONFIG);
    world.bot("bot", BLOATED, "disconnected");
    let folder = world.folder("bot");
    let is_root = rustix::process::geteuid().is_root();
    let mut had: BTreeSet<&str> = BTreeSet::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for (nth, path) in paths.iter().enumerate() {
        if is_root {
            std::os::unix::fs::chown(
                path,
                Some(2000 + nth as u32 % 7),
                Some(3000 + nth as u32 % 5),
            )
            .unwrap();
        }
        let mode = [0o600, 0o640, 0o644, 0o666, 0o440, 0o604][nth % 6];
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let long = vec![nth as u8; 200];
        let mut set = |name: &'static str, value: &[u8]| match rustix::fs::setxattr(
            path,
            name,
            value,
            XattrFlags::empty(),
        ) {
            Ok(()) => _ = had.insert(name),
            Err(error) => eprintln!("{name}: {error}"),
        };
        match nth % 5 {
            0 => set("user.note", b"one"),
            1 => set("user.long", &long),
            2 if is_root => set("security.baileys", b"\0binary\xff"),
            3 if is_root => set("trusted.baileys", b""),
            _ => set("system.posix_acl_access", &acl()),
        }
        let file = File::open(path).unwrap();
        let modified =
            file.metadata().unwrap().modified().unwrap() + Duration::from_nanos(nth as u64 * 1_001);
        file.set_modified(modified).unwrap();
    }
    if is_root {
        std::os::unix::fs::chown(&folder, Some(2001), Some(3001)).unwrap();
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o2750)).unwrap();
    let _ = rustix::fs::setxattr(&folder, "user.folder", b"mine", XattrFlags::empty());
    eprintln!("extended attributes that this file system has: {had:?}");

    let (before, about_folder) = (all_attributes(&folder), attributes(&folder));
    let (code, _, err) = world.remediator(&["clean", "bot"]).parts();
    assert_eq!(code, 0, "{err}");
    let cleaned = all_attributes(&folder);
    let run = world.show("1")["run"].as_str().unwrap().to_owned();
    let quarantined = all_attributes(&folder.join(".baileys_quarantine").join(&run).join("files"));
    assert!(quarantined.len() > 200);
    if is_root {
        let owners: BTreeSet<(u32, u32)> = quarantined.values().map(|file| file.owner).collect();
        assert!(owners.len() > 20, "the test has files of many owners");
        assert!(had.len() >= 4, "ext4, xfs and btrfs have them: {had:?}");
    }
    let mut both = cleaned.clone();
    both.extend(quarantined.clone());
    assert_eq!(
        differing(&before, &both),
        Vec::<String>::new(),
        "in the quarantine as they were"
    );
    assert_eq!(attributes(&folder), about_folder);

    // Not while connected; and that is on record.
    fs::write(world.path("probe/bot"), "connected\n").unwrap();
    let (code, _, err) = world.remediator(&["undo", &run]).parts();
    assert!(code == 1 && err.contains("connected"), "{err}");
    assert_eq!(
        differing(&cleaned, &all_attributes(&folder)),
        Vec::<String>::new()
    );
    let refused = world.show("2");
    assert_eq!(
        (&refused["action"], &refused["reason"]),
        (&json!("undo"), &json!("connected"))
    );
    fs::write(world.path("probe/bot"), "disconnected\n").unwrap();

    // Never over a newer file.
    let anew = quarantined.keys().next().unwrap().clone();
    fs::write(folder.join(&anew), "newer").unwrap();
    File::options()
        .append(true)
        .open(folder.join(&anew))
        .unwrap()
        .set_modified(SystemTime::now() - QUARTER)
        .unwrap();
    let newer = attributes(&folder.join(&anew));
    let (code, said, err) = world.remediator(&["undo", &run]).parts();
    assert_eq!(code, 1, "{err}");
    assert_eq!(
        world.show("3")["detail"],
        "files of the run that were not put back: 1"
    );
    assert!(
        said.contains("1 stay in the quarantine") && said.contains("Restart the bot"),
        "{said}"
    );
    assert_eq!(attributes(&folder.join(&anew)), newer);
    assert_eq!(
        fates(&world.show("3")),
        BTreeMap::from([("blocked", 1), ("restored", quarantined.len() - 1)])
    );
    fs::remove_file(folder.join(&anew)).unwrap();
    let (code, _, err) = world.remediator(&["undo", &run]).parts();
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        fates(&world.show("4")),
        BTreeMap::from([("restored", 1)]),
        "only what this undo put back"
    );
    assert_eq!(
        differing(&before, &all_attributes(&folder)),
        Vec::<String>::new(),
        "every attribute is back"
    );
    assert_eq!(attributes(&folder), about_folder);
}

/// `serve` writes all the while; the commands open the journal beside it, and none of them
/// fails, nor does any delivery.
#[test]
fn commands_work_beside_a_busy_serve() {
    let mut world = testkit::world!().probed().configured(CONFIG);
    world.bot("bot", BLOATED, "disconnected");
    world.start_remediator();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (delivered, commands) = std::thread::scope(|scope| {
        let deliveries: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut delivered = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        deliver(&world, "bot", "warning");
                        delivered += 1;
                    }
                    delivered
                })
            })
            .collect();
        let told = |args: &[&str]| {
            let (code, _, err) = world.remediator(args).parts();
            (args.join(" "), code, err)
        };
        let mut commands = Vec::new();
        for _ in 0..8 {
            commands.push(told(&["pause", "--reason", "a test"]));
            commands.push(told(&["runs"]));
            commands.push(told(&["resume"]));
            commands.push(told(&["status"]));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let delivered: Vec<u64> = deliveries
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        (delivered, commands)
    });
    let failed: Vec<_> = commands.iter().filter(|(_, code, _)| *code != 0).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(delivered.iter().all(|count| *count > 0), "{delivered:?}");
    world.wait_until_idle();
    let (code, _, err) = world.remediator(&["clean", "bot"]).parts();
    assert_eq!(code, 0, "{err}");
    let cleaned: Value = serde_json::from_str(
        &world
            .remediator(&["runs", "--limit=1", "--output=json"])
            .parts()
            .1,
    )
    .unwrap();
    let run = cleaned[0]["run"].as_str().unwrap();
    let (code, _, err) = world.remediator(&["undo", run, "--force", "--yes"]).parts();
    assert_eq!(code, 0, "{err}");
}

/// A plan is looked at in the browser, and nothing anywhere has changed.
#[test]
fn the_plan_view_changes_nothing() {
    let mut world = testkit::world!().probed().configured(CONFIG);
    let hostile = "<b>x&\"'?=";
    let before = world.bot("bot", BLOATED, "disconnected");
    let hostile_before = world.bot(hostile, "normal", "connected");
    world.start_remediator();
    let calls = world.path("probe/bot.n");
    let asked = |n: &str| {
        if fs::read_to_string(&calls).is_ok_and(|read| read.trim() == n) {
            Ok(())
        } else {
            Err(String::new())
        }
    };
    world.wait("the roll call", || asked("1"));
    let folder = fs::metadata(world.folder("bot")).unwrap();
    let (status, page) = get(&world, "/plan?session=bot");
    assert_eq!(status, 200);
    for word in [
        "A clean-up would be allowed now",
        "387 accumulated files now",
        "50 pre-keys stay",
        "pre-key",
    ] {
        assert!(page.contains(word), "{word}:\n{page}");
    }
    discreet(&page, &stats(&world.folder("bot")));
    let (status, again) = get(&world, "/plan?session=bot");
    assert!(
        status == 200 && again == page,
        "a reader who holds F5 keeps no probe busy"
    );
    asked("2").expect("one look for both");
    let (status, page) = get(&world, &format!("/plan?session={}", net::encode(hostile)));
    assert!(
        status == 200 && !page.contains(hostile) && page.contains("&lt;b&gt;"),
        "{status}: {page}"
    );
    assert!(
        page.contains("refused now") || page.contains("No file would be moved"),
        "{page}"
    );
    for (path, wanted) in [
        ("/plan?session=other", 404),
        ("/plan", 400),
        ("/plan?session=..%2Fbot", 404),
        ("/run", 400),
        ("/run?id=1", 404),
        ("/run?id=x", 400),
    ] {
        assert_eq!(get(&world, path).0, wanted, "{path}");
    }
    for path in ["/", "/plan?session=bot", "/run?id=1"] {
        assert_eq!(
            net::post(&world.url(path), &[], b"x").unwrap().status,
            405,
            "{path}"
        );
    }
    assert!(
        before
            .differences(&Snapshot::take(&world.folder("bot")).unwrap())
            .is_empty()
    );
    assert!(
        hostile_before
            .differences(&Snapshot::take(&world.folder(hostile)).unwrap())
            .is_empty()
    );
    let now = fs::metadata(world.folder("bot")).unwrap();
    assert_eq!(
        (now.mtime_nsec(), now.ctime_nsec(), now.ctime()),
        (folder.mtime_nsec(), folder.ctime_nsec(), folder.ctime())
    );
    assert!(!world.folder("bot").join(".baileys_quarantine").exists());
    let (_, runs, _) = world.remediator(&["runs"]).parts();
    assert!(runs.contains("No run is on record"), "{runs}");
    let (_, front) = get(&world, "/");
    assert!(
        front.contains(&format!(
            "/plan?session={}",
            net::encode(hostile).replace(['-', '_', '.'], "")
        )) || front.contains("/plan?session=%3Cb%3Ex"),
        "{front}"
    );
    assert!(!front.contains("<b>x"), "{front}");
}

/// Runs the program as another user, where we are root; as ourselves otherwise.
fn run_as(uid: Option<u32>, program: &Path, args: &[String]) -> (i32, String, String) {
    let mut words: Vec<String> = Vec::new();
    if let Some(uid) = uid {
        words.extend(
            [
                "--reuid",
                &uid.to_string(),
                "--regid",
                &uid.to_string(),
                "--clear-groups",
                "--",
            ]
            .map(String::from),
        );
        words.push(program.display().to_string());
    }
    words.extend(args.iter().cloned());
    let first = if uid.is_some() {
        Path::new("setpriv")
    } else {
        program
    };
    let (status, out, err) = process::run(first, words, SOON).unwrap();
    (status.code().unwrap(), out, err)
}

fn checks(told: &str, session: &str) -> BTreeSet<String> {
    let told: Value = serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let row = told
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["session"] == session)
        .unwrap()
        .clone();
    let privileges = row["privileges"].as_array().unwrap();
    assert!(
        privileges
            .iter()
            .all(|finding| !finding["fix"].as_str().unwrap().is_empty())
    );
    privileges
        .iter()
        .map(|finding| finding["check"].as_str().unwrap().to_owned())
        .collect()
}

/// `doctor` and the start of `serve` name what stands in the way, each with its fix, and one
/// line stands for many folders. Only `--try` makes anything.
#[test]
fn what_may_not_be_done_is_said_before_it_is_needed() {
    let mut world = testkit::world!().probed().configured(CONFIG);
    let is_root = rustix::process::geteuid().is_root();
    for nth in 0..40 {
        world.bot(&format!("shut{nth:02}"), "normal", "connected");
    }
    for session in ["fine", "sticky", "mounted"] {
        world.bot(session, "normal", "connected");
    }
    fs::create_dir(world.path("state")).unwrap();
    fs::set_permissions(world.path("state"), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(world.path("token"), Permissions::from_mode(0o640)).unwrap();
    let seen = |session: &str| {
        let about = fs::metadata(world.folder(session)).unwrap();
        (about.mtime_nsec(), about.ctime_nsec(), about.ctime())
    };
    let before = seen("fine");
    let doctor = ["doctor", "--output=json"].map(String::from).to_vec();
    let token = format!("--webhook.token-file={}", world.path("token").display());
    let args: Vec<String> = doctor
        .iter()
        .cloned()
        .chain(world.remediator_flags())
        .chain([token.clone()])
        .collect();
    let (code, told, err) = run_as(None, Path::new(REMEDIATOR), &args);
    assert_eq!(code, 0, "{err}");
    let found = checks(&told, "fine");
    assert_eq!(found.contains("root"), is_root);
    assert!(
        found.contains("token") && found.contains("state_mode"),
        "{found:?}"
    );
    assert!(
        !found.contains("rename") && !found.contains("trial"),
        "{found:?}"
    );
    fs::set_permissions(world.path("token"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(seen("fine"), before, "to look changes nothing");
    assert!(!world.folder("fine").join(".baileys_quarantine").exists());

    let (code, told, err) = world
        .remediator(&["doctor", "fine", "--try", "--output=json"])
        .parts();
    assert_eq!(code, 0, "{err}");
    assert!(!checks(&told, "fine").contains("trial"), "{told}");
    let held = fs::read_dir(world.folder("fine").join(".baileys_quarantine")).unwrap();
    let held: Vec<_> = held.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        held,
        ["BAILEYS_QUARANTINE.TAG"],
        "the trial leaves the quarantine and nothing in it"
    );
    // A lock that another process holds fails the trial.
    let folder = File::open(world.folder("fine")).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (_, told, _) = world
        .remediator(&["doctor", "fine", "--try", "--output=json"])
        .parts();
    assert!(checks(&told, "fine").contains("trial"), "{told}");
    drop(folder);

    // As another user, or as ourselves without the right to write.
    let program = world.path("baileys_remediator");
    fs::copy(REMEDIATOR, &program).unwrap();
    let other = is_root.then_some(4711);
    if is_root {
        std::os::unix::fs::chown(world.path("state"), Some(4711), Some(4711)).unwrap();
        std::os::unix::fs::chown(world.path("token"), Some(4711), Some(4711)).unwrap();
        fs::set_permissions(world.folder("sticky"), Permissions::from_mode(0o1777)).unwrap();
    }
    for nth in 0..40 {
        fs::set_permissions(
            world.folder(&format!("shut{nth:02}")),
            Permissions::from_mode(0o555),
        )
        .unwrap();
    }
    let (code, told, err) = run_as(other, &program, &args);
    assert_eq!(code, 0, "{err}");
    let found = checks(&told, "shut07");
    assert!(
        found.contains("rename") && !found.contains("root"),
        "{found:?}"
    );
    if is_root {
        assert!(checks(&told, "sticky").contains("sticky"), "{told}");
        assert!(
            checks(&told, "fine").contains("quarantine"),
            "the quarantine is root's: {told}"
        );
    }
    let table: Vec<String> = args
        .iter()
        .filter(|arg| *arg != "--output=json")
        .cloned()
        .collect();
    let (_, told, _) = run_as(other, &program, &table);
    let lines: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("rename "))
        .collect();
    assert_eq!(lines.len(), 1, "one line for 40 folders: {told}");
    assert!(told.contains("and the same for"), "{told}");

    // `serve` says it in its log, and on its page.
    if is_root {
        fs::set_permissions(world.path("probe"), Permissions::from_mode(0o777)).unwrap();
    }
    let port = net::free_port(None).unwrap();
    let mut words: Vec<String> = Vec::new();
    if let Some(uid) = other {
        words.extend(["--reuid", &uid.to_string(), "--clear-groups", "--"].map(String::from));
        words.push(program.display().to_string());
    }
    words.extend([
        "serve".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        token,
    ]);
    words.extend(world.remediator_flags());
    let first = if is_root {
        Path::new("setpriv")
    } else {
        program.as_path()
    };
    let log = world.path("log");
    let served = Process::start("the remediator", first, words, &log).unwrap();
    world.wait("it says what it may", || {
        let said = fs::read_to_string(&log).unwrap();
        if said.contains("permission check ") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let said = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("check=rename"))
        .collect();
    assert_eq!(lines.len(), 1, "one line for 40 folders:\n{said}");
    let count = if is_root { 41 } else { 40 };
    assert!(
        lines[0].contains(&format!("sessions={count}")) || lines[0].contains("sessions="),
        "{}",
        lines[0]
    );
    assert!(lines[0].contains("fix="), "{}", lines[0]);
    world.port = port;
    world.wait("the page", || {
        let page = net::get(&format!("http://127.0.0.1:{port}/"))?.ok()?;
        if page.contains("Cannot clean") && page.contains("more") {
            Ok(())
        } else {
            Err(page)
        }
    });
    drop(served);
}

/// What is mounted over a folder or its quarantine is found without a try.
#[test]
fn mounts_in_the_way_are_found() {
    let world = testkit::world!().probed().configured(CONFIG);
    let works = process::run(
        Path::new("unshare"),
        ["-m", "mount", "--make-rprivate", "/"],
        SOON,
    )
    .is_ok_and(|(status, ..)| status.success());
    if !works {
        return testkit::not_run("this user may not make a mount namespace");
    }
    world.bot("readonly", "normal", "connected");
    world.bot("mounted", "normal", "connected");
    let quarantine = world.folder("mounted").join(".baileys_quarantine");
    fs::create_dir(&quarantine).unwrap();
    let script = r#"mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" &&
        mount -t tmpfs -o size=64k,mode=700 none "$2" || exit 9
        shift 2; exec "$@""#;
    let mut words = vec![
        "-m".to_owned(),
        "sh".into(),
        "-c".into(),
        script.into(),
        "sh".into(),
    ];
    words.push(world.folder("readonly").display().to_string());
    words.push(quarantine.display().to_string());
    words.extend([REMEDIATOR, "doctor", "--try", "--output=json"].map(String::from));
    words.extend(world.remediator_flags());
    let (status, told, err) = process::run(Path::new("unshare"), words, SOON).unwrap();
    assert!(status.success(), "{err}");
    assert!(checks(&told, "readonly").contains("read_only"), "{told}");
    assert!(
        checks(&told, "mounted").contains("quarantine_mount"),
        "{told}"
    );
}
