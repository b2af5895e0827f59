//! The two programs on a terminal and in a script: what they print, how they exit, what they
//! ask back, and what they say when they are used wrongly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use testkit::fixture::{self, Snapshot};
use testkit::stack::quote;
use testkit::world::{QUARTER, Ran, World};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";

/// The folder is as it was; the quarantine may hold something.
fn unchanged(world: &World, session: &str, before: &Snapshot) {
    let differences = before.differences(&world.snapshot(session));
    assert_eq!(differences, Vec::<String>::new(), "{session}");
}

fn on_terminal(
    world: &World,
    program: &str,
    args: &[&str],
    flags: Vec<String>,
    typed: &str,
) -> Ran {
    let args: Vec<String> = args
        .iter()
        .map(|arg| (*arg).to_owned())
        .chain(flags)
        .collect();
    world.on_terminal(Path::new(program), &args, typed)
}

/// The rows of a table, split at runs of spaces.
fn rows(table: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        line.split("  ")
            .map(|cell| cell.trim().to_owned())
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    table.lines().map(cells).collect()
}

/// `status`: one row a session, worst first; exit code 0, 1 or 2; JSON; colours on a
/// terminal only.
#[test]
fn status_is_the_morning_check() {
    let world = testkit::world!().probed();
    world
        .exporter(&["status"])
        .must(2, &["no auth folder found; check --sessions.path"]);
    let said = world.exporter(&["status", "--output=json"]).must(2, &[]);
    assert_eq!(said.out.trim(), "[]");

    world.bot("calm", "normal", "connected");
    world.bot("modern", "modern-1003", "disconnected");
    let said = world.exporter(&["status"]).must(0, &[]);
    let table = rows(&said.out);
    let head = [
        "SESSION",
        "FILES",
        "ACCUMULATED",
        "TIER",
        "REMOVABLE",
        "PRE-KEYS / BATCH",
        "OLDEST ACTIVE",
        "CONNECTION",
        "CREDS",
    ];
    assert_eq!(table[0], head);
    assert_eq!(table.len(), 4, "{}", said.out);
    // What is not connected says what that rests on.
    assert!(
        said.out
            .contains("\nmodern: disconnected: probe: disconnected; writes: "),
        "{}",
        said.out
    );
    let row = |said: &Ran, session: &str| {
        rows(&said.out)
            .into_iter()
            .find(|row| row[0] == session)
            .unwrap_or_else(|| panic!("{said:?}"))
    };
    let calm = row(&said, "calm");
    assert_eq!(
        (calm[1].as_str(), calm[2].as_str(), calm[3].as_str()),
        ("76", "76", "normal")
    );
    assert_eq!(
        (calm[5].as_str(), calm[7].as_str(), calm[8].as_str()),
        ("48 / 30", "connected", "ok")
    );
    let modern = row(&said, "modern");
    assert_eq!(
        (modern[1].as_str(), modern[2].as_str(), modern[5].as_str()),
        ("1003", "89", "780 / 812")
    );

    // Warning or worse: 1.
    world.bot("warned", "warning-130", "nonsense");
    world.bot("bloated", BLOATED, "disconnected");
    let said = world.exporter(&["status"]).must(1, &[]);
    let order: Vec<String> = rows(&said.out)
        .into_iter()
        .skip(1)
        .take(4)
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(
        order,
        ["bloated", "modern", "warned", "calm"],
        "worst first, and a bot that is down before a warning"
    );
    let bloated = row(&said, "bloated");
    assert_eq!(
        (bloated[3].as_str(), bloated[7].as_str()),
        ("fatal", "disconnected")
    );
    let warned = row(&said, "warned");
    assert_eq!(
        (warned[3].as_str(), warned[7].as_str()),
        ("warning", "unknown")
    );

    let said = world.exporter(&["status", "--output=json"]).must(1, &[]);
    let json: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json.len(), 4);
    let bloated = &json[0];
    assert_eq!(
        (
            &bloated["session"],
            &bloated["accumulated_files"],
            &bloated["tier"]
        ),
        (&"bloated".into(), &387.into(), &"fatal".into())
    );
    assert_eq!(
        bloated["thresholds"],
        serde_json::json!([120, 150, 180, 200])
    );
    let active = bloated["oldest_active_session_seconds"].as_u64().unwrap();
    assert!(active > 86_400 && active <= 14 * 86_400, "{active}");
    assert_eq!(bloated["connection"], "disconnected");
    assert_eq!(bloated["connection_evidence"].as_array().unwrap().len(), 2);
    assert!(bloated["removable_files"].as_u64().unwrap() >= 278);

    // The globs choose.
    let only = [
        "status",
        "--sessions.include=calm",
        "--sessions.include=mod*",
        "--sessions.exclude=m*",
    ];
    let said = world.exporter(&only).must(0, &["calm"]);
    assert_eq!(rows(&said.out).len(), 2, "{}", said.out);

    // Broken creds: 1. A path that is not there: 2.
    File::create(world.folder("calm").join("creds.json")).unwrap();
    let said = world
        .exporter(&["status", "--sessions.include=calm"])
        .must(1, &[]);
    assert_eq!(row(&said, "calm")[8], "empty");
    world
        .exporter(&["status", "--sessions.path=/nowhere/at/all"])
        .must(2, &["/nowhere/at/all"]);

    let said = on_terminal(&world, EXPORTER, &["status"], world.exporter_flags(), "");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("\x1b[31m") && said.out.contains("\x1b[0m"),
        "colours: {:?}",
        said.out
    );
    let mut plain = Command::new("env");
    plain
        .args(["NO_COLOR=1", EXPORTER, "status"])
        .args(world.exporter_flags());
    assert!(!String::from_utf8_lossy(&plain.output().unwrap().stdout).contains('\x1b'));
    // A reader that goes away early is no error to shout about.
    let shell = format!(
        "{} status {} | head -1",
        EXPORTER,
        world
            .exporter_flags()
            .iter()
            .map(|f| quote(f))
            .collect::<Vec<_>>()
            .join(" ")
    );
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("panicked"),
        "{output:?}"
    );
}

/// Equal findings of many sessions are told once, with three examples.
#[test]
fn many_sessions_are_told_in_few_lines() {
    let world = testkit::world!().probed();
    for number in 0..40 {
        world.bot(&format!("bot_{number:02}"), "normal", "connected");
    }
    world.bot("silent", "normal", "nonsense");
    world.bot("bloated", BLOATED, "connected");
    let said = world.remediator(&["doctor"]).must(
        0,
        &[
            "silent: ",
            "and 38 more",
            "with the same findings as bloated",
            "--all shows every session with its details.",
        ],
    );
    let first = rows(&said.out)[1][0].clone();
    assert_eq!(first, "silent", "what is unknown comes first");
    assert!(said.out.lines().count() < 40, "{}", said.out);
    let all = world.remediator(&["doctor", "--all"]);
    let all = all.must(0, &["bot_00: ", "bot_39: "]);
    assert!(!all.out.contains(" more"), "{}", all.out);

    let said = world.exporter(&["status", "--worst=2"]);
    let said = said.must(1, &["bloated", "and 40 more sessions: 40 normal"]);
    assert!(!said.out.contains("bot_39"), "{}", said.out);
    let said = world.exporter(&["status", "--worst", "--output=json"]);
    assert_eq!(said.json().as_array().unwrap().len(), 20);
    world
        .exporter(&["status", "bloated", "--worst"])
        .must(2, &["--worst"]);

    // Folders that cannot be looked at: one line for all of them, and none in the log.
    let mut flags = world.exporter_flags();
    for number in 1..=5 {
        let file = world.path(&format!("file-{number}"));
        fs::write(&file, "").unwrap();
        flags.push(format!(
            "--sessions.path=closed_{number}={}",
            file.display()
        ));
    }
    let said = world.run(EXPORTER, &["status"], flags);
    assert_eq!(said.code, 2, "{said:?}");
    let about = format!("{}{}", said.out, said.err);
    let lines: Vec<&str> = about
        .lines()
        .filter(|line| line.contains("closed_1") && !line.starts_with("closed_1 "))
        .collect();
    let [line] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    let group = "5 sessions (closed_1, closed_2, closed_3 and 2 more): ";
    assert!(line.starts_with(group), "{line}");
}

/// Two folders of one name: said with what to do about it. What `serve` does then is in
/// tests/discovery.rs.
#[test]
fn two_sessions_of_one_name_are_reported_with_a_hint() {
    let world = testkit::world!().probed();
    for root in ["one", "two"] {
        let folder = world.path(root).join("auth_info_baileys");
        fixture::unpack("normal", &folder, SystemTime::now() - QUARTER).unwrap();
    }
    let paths: Vec<String> = ["one", "two"]
        .map(|root| format!("--sessions.path={}", world.path(root).display()))
        .into();
    let hint = "--sessions.path=NAME=";
    world
        .run(EXPORTER, &["status"], paths.clone())
        .must(2, &["two auth folders are called", hint]);
    let mut commands = paths.clone();
    commands.push(format!("--state.path={}", world.path("state").display()));
    for command in ["plan", "clean"] {
        let args = [command, "auth_info_baileys"];
        world
            .run(REMEDIATOR, &args, commands.clone())
            .must(2, &["two auth folders are called", hint]);
    }
    let named = |one: &str, two: &str| {
        let path = |name: &str, root: &str| {
            format!(
                "--sessions.path={name}={}",
                world.path(root).join("auth_info_baileys").display()
            )
        };
        vec![path(one, "one"), path(two, "two")]
    };
    world.run(EXPORTER, &["status"], named("bot", "bot")).must(
        2,
        &[
            "two auth folders are named bot",
            "--sessions.path=NAME=PATH",
        ],
    );
    let said = world
        .run(EXPORTER, &["status"], named("bot_1", "bot_2"))
        .must(0, &["bot_1", "bot_2"]);
    assert_eq!(rows(&said.out).len(), 3);
    // The same folder named twice is one session.
    let twice = vec![paths[0].clone(), paths[0].clone()];
    let said = world
        .run(EXPORTER, &["status"], twice)
        .must(0, &["auth_info_baileys"]);
    assert_eq!(rows(&said.out).len(), 2);
}

/// `plan`, `clean`, `runs`, `undo`, from beginning to end, and each refusal on the way.
/// A bot that was logged out and paired anew: its folder was emptied file by file, and the
/// quarantine stays.
#[test]
fn undo_puts_no_keys_of_an_old_identity_beside_a_new_one() {
    let world = testkit::world!().probed();
    world.bot("bot", BLOATED, "disconnected");
    world
        .remediator(&["clean", "bot"])
        .must(0, &["files moved into the quarantine"]);
    let folder = world.path("sessions/bot");
    let creds = fs::read_to_string(folder.join("creds.json")).unwrap();
    let mut creds: Value = serde_json::from_str(&creds).unwrap();
    let quiet = SystemTime::now() - QUARTER;
    let write = |creds: &Value| {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        let path = folder.join("creds.json");
        fs::write(&path, creds.to_string()).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(quiet)
            .unwrap();
    };
    creds["signedIdentityKey"]["public"] = serde_json::json!({"type": "Buffer", "data": "AAAA"});
    let me = creds["me"].take();
    // With a QR code shown, and logged in.
    for me in [Value::Null, me] {
        creds["me"] = me;
        write(&creds);
        world
            .remediator(&["undo", "1"])
            .must(1, &["paired anew", "--force"]);
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            2,
            "creds.json and the quarantine"
        );
    }
    world
        .remediator(&["undo", "1", "--force", "--yes"])
        .must(0, &["files put back"]);
}

#[test]
fn plan_clean_undo() {
    let world = testkit::world!().probed();
    let before = world.bot("bot", BLOATED, "disconnected");
    let calm = world.bot("calm", "warning-130", "connected");
    let modern = world.bot("modern", "modern-816", "disconnected");

    // A plan moves nothing and needs no journal.
    let said = world
        .remediator(&["plan", "bot"])
        .must(0, &["KIND", "FILES TO MOVE", "387 accumulated files now"]);
    assert!(said.out.contains(
        "Connection: disconnected (probe: disconnected; writes: no file was written for"
    ));
    assert!(
        !world.path("state").exists(),
        "a plan leaves nothing behind"
    );
    let said = world
        .remediator(&["plan", "bot", "--output=json"])
        .must(0, &[]);
    let plan: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&plan["accumulated_before"], &plan["files"]["pre-key"]),
        (&387.into(), &278.into())
    );
    let planned: u64 = plan["files"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    // What it would move, and that it would not be let.
    world
        .remediator(&["plan", "calm"])
        .must(0, &["A clean-up would be refused now"]);
    let said = world
        .remediator(&["plan", "modern", "--output=json"])
        .must(1, &[]);
    assert!(
        ["nothing_removable", "dormant"]
            .iter()
            .any(|word| said.out.contains(word)),
        "{said:?}"
    );
    world
        .remediator(&["runs"])
        .must(2, &["no journal at", "--state.path"]);
    // A new journal would know no run.
    let journal = world.path("state").join("journal.sqlite");
    for wanted in ["1", "20260101T000000Z-abcdef"] {
        world.remediator(&["undo", wanted]).must(
            2,
            &[
                &format!("no journal at {}", journal.display()),
                "--state.path",
                "--config.file",
            ],
        );
    }
    // Nor would a new journal pause a `serve` that uses another one.
    for args in [&["pause", "--reason=x"][..], &["resume"]] {
        world
            .remediator(args)
            .must(2, &["no journal at", "--state.path"]);
    }
    assert!(!world.path("state").exists());

    // Dry runs.
    world
        .remediator(&["clean", "bot", "--dry-run"])
        .must(0, &["Dry run: no file was moved."]);
    world
        .remediator(&["clean", "calm", "--dry-run"])
        .must(1, &["would be refused now", "Dry run"]);
    unchanged(&world, "bot", &before);

    // Refused: 1, with the reason.
    world
        .remediator(&["clean", "calm"])
        .must(1, &["refused", "the bot is connected", "probe: connected"]);
    world.remediator(&["clean", "modern"]).must(1, &["refused"]);
    world.remediator(&["clean", "nobody"]).must(
        2,
        &["no session is called \"nobody\"; there is: bot, calm, modern"],
    );
    world
        .remediator(&["clean", "../sessions/bot"])
        .must(2, &["no session is called"]);
    unchanged(&world, "calm", &calm);
    unchanged(&world, "modern", &modern);

    let said = world.remediator(&["clean", "bot"]).must(
        0,
        &[
            "files moved into the quarantine",
            "387 accumulated files before",
        ],
    );
    let run = said
        .out
        .rsplit("undo ")
        .next()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    assert!(
        said.out.contains(&format!("{planned} files moved")),
        "as planned: {}",
        said.out
    );
    let cleaned = world.snapshot("bot");
    assert_eq!(before.without(&cleaned).len() as u64, planned);

    let runs = world.runs();
    let told: Vec<(&str, &str, &str)> = runs
        .iter()
        .map(|run| {
            let word = |key: &str| run[key].as_str().unwrap();
            (word("session"), word("action"), word("status"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("bot", "cleanup", "done"),
            ("modern", "cleanup", "refused"),
            ("calm", "cleanup", "refused")
        ]
    );
    assert_eq!(runs[0]["run"], run.as_str());
    assert!(
        runs[0]["requested_by"]
            .as_str()
            .unwrap()
            .starts_with("operator ")
    );
    let said = world
        .remediator(&["runs"])
        .must(0, &["TIME", "387 -> ", "connected", &run]);
    assert_eq!(rows(&said.out).len(), 4);
    let said = world.remediator(&["runs", "--limit=1"]).must(0, &[&run]);
    assert_eq!(rows(&said.out).len(), 2);

    // Undo: not while connected, not of what is no run.
    world.probe_says("bot", "connected");
    world
        .remediator(&["undo", &run])
        .must(1, &["refused", "connected"]);
    world.probe_says("bot", "nonsense");
    world
        .remediator(&["undo", &run])
        .must(1, &["refused", "printed neither"]);
    unchanged(&world, "bot", &cleaned);
    world.probe_says("bot", "disconnected");
    for wrong in ["x", "../..", "/etc/passwd", "", "20260101T000000Z-ABCDEF"] {
        world
            .remediator(&["undo", wrong])
            .must(2, &["is neither the number nor the name of a run"]);
    }
    world
        .remediator(&["undo", "20260101T000000Z-abcdef"])
        .must(2, &["no quarantine holds a run"]);

    // A file that the bot has made anew meanwhile is newer, and stays.
    let anew = *before.without(&cleaned).first().unwrap();
    fs::write(world.folder("bot").join(anew), b"made anew").unwrap();
    File::options()
        .append(true)
        .open(world.folder("bot").join(anew))
        .unwrap()
        .set_modified(SystemTime::now() - QUARTER)
        .unwrap();
    world.remediator(&["undo", &run]).must(
        1,
        &[
            &format!("{} files put back", planned - 1),
            "1 stay in the quarantine",
            "Restart the bot",
        ],
    );
    let again = world
        .remediator(&["undo", &run])
        .must(1, &["no file was put back", "1 stay in the quarantine"]);
    assert!(!again.out.contains("Restart the bot"), "{}", again.out);
    let undone = world.snapshot("bot");
    assert_eq!(undone.bytes(anew), Some(&b"made anew"[..]));
    let mut rest = before.clone();
    rest.forget(&BTreeSet::from([anew.to_owned()]));
    let mut back = undone;
    back.forget(&BTreeSet::from([anew.to_owned()]));
    assert_eq!(
        rest.differences(&back),
        Vec::<String>::new(),
        "every byte, time and mode"
    );
    // With that file out of the way the rest follows.
    fs::remove_file(world.folder("bot").join(anew)).unwrap();
    world
        .remediator(&["undo", &run])
        .must(0, &["1 files put back"]);
    unchanged(&world, "bot", &before);
    let last = &world.runs()[0];
    assert_eq!(
        (&last["action"], &last["status"]),
        (&"undo".into(), &"done".into())
    );
}

/// As on a full disk. A reader that has closed its pipe is no error.
#[test]
fn output_that_cannot_be_written_is_an_error_of_every_command() {
    let world = testkit::world!().probed();
    world.bot("bot", BLOATED, "disconnected");
    world.remediator(&["clean", "bot"]).must(0, &[]);
    let journal = "Journal: ";
    let pause = world.remediator(&["pause", "--reason=x"]);
    pause.must(0, &["Paused.", journal]);
    world.remediator(&["resume"]).must(0, &[journal]);
    let exporter: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["rules"],
        &["patterns"],
        &["patterns", "--output=json"],
        &["status"],
        &["status", "--output=json"],
    ];
    let remediator: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["plan", "bot"],
        &["plan", "bot", "--output=json"],
        &["clean", "bot", "--dry-run"],
        &["runs"],
        &["runs", "--output=json"],
        &["runs", "show", "1"],
        &["status"],
        &["status", "--output=json"],
        &["doctor"],
        &["doctor", "--output=json"],
        &["creds", "list", "bot"],
        &["pause", "--reason=x"],
        &["resume"],
    ];
    let of_exporter = exporter.iter().map(|args| (EXPORTER, args));
    let of_remediator = remediator.iter().map(|args| (REMEDIATOR, args));
    for (program, args) in of_exporter.chain(of_remediator) {
        let flags = match program == EXPORTER {
            true => world.exporter_flags(),
            false => world.remediator_flags(),
        };
        let run = |out: std::process::Stdio| {
            let output = Command::new(program)
                .args(*args)
                .args(&flags)
                .stdout(out)
                .output()
                .unwrap();
            (
                output.status.code(),
                String::from_utf8(output.stderr).unwrap(),
            )
        };
        let says = "failed to write to standard output";
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, err) = run(full.into());
        assert!(
            code == Some(2) && err.contains(says),
            "{args:?}: {code:?} {err}"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, err) = run(writer.into());
        assert!(
            code != Some(2) && !err.contains(says),
            "{args:?}: {code:?} {err}"
        );
    }
}

/// `--force` overrides the connection only, and asks a person for the session's name.
#[test]
fn force_asks_back() {
    let world = testkit::world!().probed();
    let before = world.bot("bot", BLOATED, "connected");
    let flags = world.remediator_flags();
    world
        .remediator(&["clean", "bot", "--force"])
        .must(2, &["there is no terminal", "--yes"]);
    // On its own --yes overrides nothing.
    world
        .remediator(&["clean", "bot", "--yes"])
        .must(1, &["the bot is connected"]);
    world
        .remediator(&["clean", "bot", "--inactive-for=1d"])
        .must(2, &["goes with --force only"]);
    for typed in ["no\n", "y\n", "yes\n", "\n", "Bot\n", "bot2\n", "\x04"] {
        let said = on_terminal(
            &world,
            REMEDIATOR,
            &["clean", "bot", "--force"],
            flags.clone(),
            typed,
        );
        assert_eq!(said.code, 2, "{typed:?}: {said:?}");
        assert!(
            said.out.contains("Type the session's name, bot, to go on"),
            "{said:?}"
        );
        assert!(said.out.contains("nothing was done"), "{typed:?}: {said:?}");
    }
    unchanged(&world, "bot", &before);
    assert_eq!(world.runs().len(), 1, "what was not confirmed is no run");

    let said = on_terminal(
        &world,
        REMEDIATOR,
        &["clean", "bot", "--force"],
        flags.clone(),
        "bot\n",
    );
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.contains("stop it first") && said.out.contains("files moved"),
        "{said:?}"
    );
    let cleaned = world.snapshot("bot");
    assert!(cleaned.len() < 120, "{}", cleaned.len());
    let run = world.runs()[0]["run"].as_str().unwrap().to_owned();

    // The same for an undo.
    world.remediator(&["undo", &run]).must(1, &["connected"]);
    world
        .remediator(&["undo", &run, "--force"])
        .must(2, &["there is no terminal"]);
    let said = on_terminal(
        &world,
        REMEDIATOR,
        &["undo", &run, "--force"],
        flags.clone(),
        "other\n",
    );
    assert_eq!(said.code, 2, "{said:?}");
    unchanged(&world, "bot", &cleaned);
    let said = on_terminal(
        &world,
        REMEDIATOR,
        &["undo", &run, "--force"],
        flags,
        "bot\n",
    );
    assert_eq!(said.code, 0, "{said:?}");
    unchanged(&world, "bot", &before);

    // --yes is for scripts. What is active stays even so, and a broken identity refuses.
    world
        .remediator(&["clean", "bot", "--force", "--yes"])
        .must(0, &["files moved"]);
    unchanged(&world, "bot", &cleaned);
    File::create(world.folder("bot").join("creds.json")).unwrap();
    world
        .remediator(&["clean", "bot", "--force", "--yes"])
        .must(1, &["creds.json is empty", "from a backup"]);
}

/// An error says what is wrong and what to do.
#[test]
fn mistakes_are_explained() {
    let world = testkit::world!().probed();
    world.bot("bot", "normal", "disconnected");
    let config = world.path("config.yml");
    fs::write(&config, "sessions:\n  pathes: [/a]\n").unwrap();
    let config = format!("--config.file={}", config.display());
    let sessions = world.exporter_flags()[0].clone();
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            EXPORTER,
            &["status"],
            &["no auth folder is named", "--sessions.path=[NAME=]PATH"],
        ),
        (
            REMEDIATOR,
            &["plan", "bot"],
            &["no auth folder is named", "--sessions.path=[NAME=]PATH"],
        ),
        (
            EXPORTER,
            &["status", "--sessions.path="],
            &["--sessions.path"],
        ),
        (
            EXPORTER,
            &["status", "--sessions.path==/a"],
            &["the name before `=` is empty"],
        ),
        (EXPORTER, &["--sessions.paths=/a"], &["--sessions.path"]),
        (EXPORTER, &["stats"], &["status"]),
        (EXPORTER, &["status", "--output=xml"], &["table", "json"]),
        (
            EXPORTER,
            &[&sessions, "--web.max-requests=many"],
            &["--web.max-requests"],
        ),
        (
            EXPORTER,
            &[&sessions, "--web.listen-address=nonsense"],
            &["must look like host:port"],
        ),
        (
            EXPORTER,
            &[&sessions, "--web.listen-address=127.0.0.1:99999"],
            &["must look like host:port"],
        ),
        (
            EXPORTER,
            &[&sessions, "--web.telemetry-path=metrics"],
            &["it must begin with /"],
        ),
        (
            EXPORTER,
            &[&sessions, "--web.telemetry-path=/-/ready"],
            &["has another meaning"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--connection.quiet=soon"],
            &["--connection.quiet"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--connection.command="],
            &["--connection.command", "empty"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--connection.command=a 'b"],
            &["a quote is not closed"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--connection.command=a {nobody}"],
            &["nothing fills {nobody}"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--sessions.include=["],
            &["sessions.include"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--pre-keys.batch=31"],
            &["30, 812 or auto"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--log.level=loud"],
            &["--log.level"],
        ),
        (
            EXPORTER,
            &["status", &sessions, "--config.file=/nowhere.yml"],
            &["--config.file /nowhere.yml"],
        ),
        (
            EXPORTER,
            &["status", &sessions, &config],
            &["pathes", "config.yml"],
        ),
        (
            REMEDIATOR,
            &[],
            &["Usage", "serve", "plan", "clean", "runs", "undo"],
        ),
        (REMEDIATOR, &["clean"], &["<SESSION>"]),
        (REMEDIATOR, &["undo"], &["<RUN>"]),
        (REMEDIATOR, &["clean", "bot", "--forced"], &["--force"]),
        (
            REMEDIATOR,
            &["serve", &sessions, "--webhook.match=instance"],
            &["LABEL=VALUE", "instance=bots1:10273"],
        ),
        (
            REMEDIATOR,
            &["clean", "bot", &sessions, "--state.path=/dev/null/x"],
            &["--state.path /dev/null/x"],
        ),
    ];
    for (program, args, says) in cases {
        let said = world.run(program, args, Vec::new());
        assert_ne!(said.code, 0, "{args:?}: {said:#?}");
        let code = said.code;
        said.must(code, says);
    }
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = format!("--web.listen-address={}", listener.local_addr().unwrap());
    let said = world.run(EXPORTER, &[&sessions, &taken], Vec::new());
    assert_ne!(said.code, 0);
    said.must(
        2,
        &[
            "the port is already in use",
            "choose another port with --web.listen-address",
        ],
    );
}

/// The help of a program names every flag that its commands share; the help of a command
/// names its own, and refers to the program for the others in one line.
#[test]
fn help_names_every_flag_once() {
    let world = testkit::world!().probed();
    let common = [
        "--sessions.path",
        "--sessions.include",
        "--sessions.exclude",
        "--pre-keys.batch",
        "--connection.command",
        "--connection.quiet",
        "--config.file",
        "--log.level",
        "--log.format",
    ];
    let remediator = ["--state.path", "--webhook.token-file", "--webhook.match"];
    let exporter = [
        "check-config",
        "status",
        "--web.listen-address",
        "--web.telemetry-path",
        "--web.max-requests",
        "--logs.state-path",
    ];
    let commands = [
        "serve",
        "plan",
        "clean",
        "runs",
        "undo",
        "Exit code 0: done",
    ];
    let help = |program: &str, args: &[&str]| world.run(program, args, Vec::new());
    help(EXPORTER, &["--help"])
        .must(0, &common)
        .must(0, &exporter);
    help(REMEDIATOR, &["--help"])
        .must(0, &common)
        .must(0, &remediator)
        .must(0, &commands);
    let cases: [(&str, &[&str], &[&str]); 10] = [
        (
            EXPORTER,
            &["status"],
            &["--worst", "--output", "table", "json"],
        ),
        (EXPORTER, &["rules"], &[]),
        (REMEDIATOR, &["check-config"], &[]),
        (REMEDIATOR, &["serve"], &["--web.listen-address", "10274"]),
        (REMEDIATOR, &["plan"], &["<SESSION>", "--output"]),
        (REMEDIATOR, &["pause"], &["--reason"]),
        (
            REMEDIATOR,
            &["clean"],
            &[
                "SESSION",
                "--tier",
                "--dry-run",
                "--force",
                "--yes",
                "--inactive-for",
            ],
        ),
        (
            REMEDIATOR,
            &["runs"],
            &["--session", "--status", "--limit", "--output"],
        ),
        (REMEDIATOR, &["undo"], &["<RUN>", "--force", "--yes"]),
        (REMEDIATOR, &["creds", "restore"], &["--version", "--force"]),
    ];
    for (program, command, own) in cases {
        let name = Path::new(program).file_name().unwrap().to_str().unwrap();
        let refers = format!("Shared options, such as --config.file: see `{name} --help`.");
        let asked: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let told: Vec<&str> = ["help"].iter().chain(command).copied().collect();
        for args in [asked, told] {
            let said = help(program, &args).must(0, own).must(0, &[&refers]);
            for shared in common.iter().chain(&remediator) {
                let lines: Vec<&str> = said.out.lines().filter(|l| l.contains(shared)).collect();
                assert!(lines.iter().all(|line| *line == refers), "{said:?}");
            }
            let options = said.out.find("Options:").unwrap();
            let first = said.out[options..].lines().nth(1).unwrap();
            assert!(
                own.iter().filter(|flag| flag.starts_with("--")).count() == 0
                    || own.iter().any(|flag| first.contains(flag)),
                "its own options come first: {said:?}"
            );
        }
    }
    let pause = help(REMEDIATOR, &["pause", "--help"]).out;
    assert!(pause.lines().count() < 16, "{pause}");
    // They are taken after a command as before.
    let sessions = world.exporter_flags();
    world
        .run(EXPORTER, &["status"], sessions)
        .must(2, &["no auth folder found"]);
    for program in [EXPORTER, REMEDIATOR] {
        world
            .run(program, &["--version"], Vec::new())
            .must(0, &[env!("CARGO_PKG_VERSION")]);
    }
}

/// Several sessions by tier or all, each by its own guards; and the filters of what is shown.
#[test]
fn several_sessions_and_one_of_several() {
    let world = testkit::world!().probed();
    let calm = world.bot("calm", "warning-130", "connected");
    let bloated = world.bot("bloated", BLOATED, "disconnected");
    let second = world.bot("second", BLOATED, "disconnected");

    // A dry run moves nothing.
    let said = world
        .remediator(&["clean", "--tier=cleanup", "--dry-run"])
        .must(0, &["bloated: ", "second: ", "Dry run: no file was moved."]);
    assert!(!said.out.contains("calm"), "{said:?}");
    for (session, before) in [("calm", &calm), ("bloated", &bloated), ("second", &second)] {
        unchanged(&world, session, before);
    }
    // Only what is at the tier, and only by the guards.
    world.probe_says("second", "connected");
    let said = world
        .remediator(&["clean", "--tier=cleanup"])
        .must(1, &["bloated: ", "1 of 2 sessions cleaned up."]);
    assert!(said.err.contains("second: refused"), "{said:?}");
    assert!(world.snapshot("bloated").len() < bloated.len());
    for (session, before) in [("calm", &calm), ("second", &second)] {
        unchanged(&world, session, before);
    }
    assert!(world.runs_of("calm").is_empty());
    world
        .remediator(&["clean", "--tier=cleanup", "--sessions.exclude=second"])
        .must(0, &["None of 2 sessions is at cleanup or above."]);
    let said = world.remediator(&["clean", "--all"]);
    let said = said.must(1, &["0 of 3 sessions cleaned up."]);
    assert!(said.err.contains("calm: refused"), "{said:?}");
    unchanged(&world, "calm", &calm);
    // Force is for one session, by its name.
    for wrong in [
        &["clean"][..],
        &["clean", "--all", "--force", "--yes"],
        &["clean", "--tier=cleanup", "--force", "--yes"],
        &["clean", "--all", "--inactive-for=1d"],
        &["clean", "--all", "--tier=fatal"],
        &["clean", "bloated", "--all"],
        &["clean", "bloated", "--tier=fatal"],
    ] {
        let said = world.remediator(wrong);
        assert_eq!(said.code, 2, "{wrong:?}: {said:?}");
    }
    world
        .remediator(&["clean", "--tier=high"])
        .must(2, &["one of monitor, warning, cleanup, emergency, fatal"]);

    // What is on record, by session and by status.
    let listed = |args: &[&str]| {
        let args = [&["runs", "--output=json"], args].concat();
        let runs = world.remediator(&args).must(0, &[]).json();
        let runs = runs.as_array().unwrap().clone();
        let word = |run: &Value, key: &str| run[key].as_str().unwrap().to_owned();
        let mut told: Vec<_> = runs
            .iter()
            .map(|run| (word(run, "session"), word(run, "status")))
            .collect();
        told.sort();
        told
    };
    let row = |session: &str, status: &str| (session.to_owned(), status.to_owned());
    assert_eq!(listed(&[]).len(), 5);
    assert_eq!(listed(&["--session=calm"]), [row("calm", "refused")]);
    assert_eq!(listed(&["--status=done"]), [row("bloated", "done")]);
    let both = ["--session=second", "--status=refused"];
    assert_eq!(listed(&both), vec![row("second", "refused"); 2]);
    assert_eq!(listed(&["--session=second", "--limit=1"]).len(), 1);
    assert_eq!(listed(&["--session=calm", "--status=done"]), []);
    world
        .remediator(&["runs", "--session=nobody"])
        .must(0, &["No run on record matches."]);
    world
        .remediator(&["runs", "--status=good"])
        .must(2, &["one of queued, running, done, refused, failed"]);

    // One session of several.
    let said = world
        .remediator(&["status", "bloated"])
        .must(0, &["Automatic actions are on.", "bloated", "done"]);
    assert!(
        !said.out.contains("calm") && !said.out.contains("second"),
        "{said:?}"
    );
    let said = world.remediator(&["status", "calm", "--output=json"]);
    let json = said.must(0, &[]).json();
    assert_eq!(json["runs"].as_array().unwrap().len(), 1);
    assert_eq!(json["runs"][0]["session"], "calm");
    let all = world.remediator(&["status", "--output=json"]).json();
    assert_eq!(all["runs"], Value::Null);
    world.remediator(&["status", "nobody"]).must(
        2,
        &["no session is called \"nobody\"; there is: bloated, calm, second"],
    );
    let said = world.exporter(&["status", "second"]).must(1, &["second"]);
    assert_eq!(rows(&said.out)[1][0], "second");
    assert!(!said.out.contains("calm"), "{said:?}");
    let said = world.exporter(&["status", "bloated", "--output=json"]);
    let json = said.must(0, &[]).json();
    assert_eq!(
        json.as_array().unwrap().len(),
        1,
        "its own exit code: {json}"
    );
    world.exporter(&["status", "nobody"]).must(
        2,
        &["no session is called \"nobody\"; there is: bloated, calm, second"],
    );
}

/// A probe's command gets a clean environment, and the variables that the configuration names.
#[test]
fn a_probe_command_gets_no_variable_that_is_not_named() {
    let mut world = testkit::world!();
    world.bot("bot", "normal", "connected");
    let (script, seen) = (world.path("probe/env.sh"), world.path("seen"));
    fs::write(&script, "env >\"$1\"\necho connected\n").unwrap();
    world.with_config(&format!(
        "connection: {{command: [sh, '{}', '{}'], env: [NAMED, MISSING]}}\n",
        script.display(),
        seen.display()
    ));
    for (program, command, flags) in [
        (
            env!("CARGO_BIN_EXE_baileys_exporter"),
            "status",
            world.exporter_flags(),
        ),
        (
            env!("CARGO_BIN_EXE_baileys_remediator"),
            "doctor",
            world.remediator_flags(),
        ),
    ] {
        let _ = fs::remove_file(&seen);
        let args = ["SECRET_KEY=hidden", "NAMED=given", program, command];
        world.run("env", &args, flags);
        let env = fs::read_to_string(&seen).unwrap();
        let mut names: Vec<&str> = env
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            .collect();
        // The shell's own.
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
        names.sort_unstable();
        assert_eq!(
            names,
            ["HOME", "LANG", "LC_ALL", "NAMED", "PATH"],
            "{command}"
        );
        assert!(env.contains("NAMED=given"));
    }
}

/// Names and paths may hold anything; a terminal must not obey them.
#[test]
fn no_name_reorders_the_terminal() {
    let mut world = testkit::world!().probed();
    let name = "bot\u{202e}txt\u{2066}";
    world.bot(name, "normal", "connected");
    world.bot(&"测".repeat(60), "normal", "connected");
    fs::write(world.folder(name).join("creds.json"), "").unwrap();
    // Not an auth folder, and one that cannot be opened.
    std::os::unix::fs::symlink("/nowhere", world.folder("li\u{1b}[2Jnk\u{7}")).unwrap();
    let missing = format!(
        "--sessions.path={}",
        world.path("no\u{202e}\u{1b}]8mne").display()
    );
    // clap repeats it: a glob that cannot be used.
    let wrong = "--sessions.path=/no\u{202e}\u{1b}[8mne";
    let active = |text: &str| {
        let active = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}".contains(c);
        text.chars().any(active)
    };
    let mut seen = String::new();
    for (program, commands) in [
        (EXPORTER, [vec!["status"], vec!["status", "--output=json"]]),
        (REMEDIATOR, [vec!["doctor"], vec!["plan", name]]),
    ] {
        for mut command in commands {
            let flags = match program == EXPORTER {
                true => world.exporter_flags(),
                false => world.remediator_flags(),
            };
            command.push(&missing);
            let ran = world.run(program, &command, flags);
            assert!(
                !active(&ran.out) && !active(&ran.err),
                "{command:?}: {ran:#?}"
            );
            seen.push_str(&ran.out);
            seen.push_str(&ran.err);
        }
    }
    for program in [EXPORTER, REMEDIATOR] {
        let ran = world.run(program, &["status", wrong], Vec::new());
        assert!(ran.code == 2 && !active(&ran.err), "{ran:#?}");
        assert!(ran.err.contains("no\\u202ene"), "{ran:#?}");
    }
    assert!(seen.contains("bot\\u202etxt\\u2066"), "{seen}");
    assert!(seen.contains("no\\u202e\\u001b]8mne"), "{seen}");
    let status = world.run(
        EXPORTER,
        &["status", "--output=json"],
        world.exporter_flags(),
    );
    let names: Vec<Value> = status
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["session"].clone())
        .collect();
    assert!(names.contains(&Value::from(name)), "{names:?}");
    // The log of a server as well.
    world.flags.push(missing);
    world.start_exporter();
    world.metrics();
    assert!(!active(&world.log()), "{}", world.log());
    world.wait_for_log("202e");
    world.finish();
}
