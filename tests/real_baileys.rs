//! After a clean-up by the built program, does the bot still read its messages? The real
//! library answers: three versions of Baileys from npm, driven by `tests/real-baileys`.
//!
//! What must never fail: every contact active within 14 days (both directions), a new
//! contact on every pre-key that the server still holds, every group message. Strangers who
//! took a pre-key of an old batch and never wrote may fail: that key is what a clean-up
//! takes away, and the real thing heals by a retry, in which the stranger fetches a new
//! key. An `undo` brings even those back.
//!
//! libsignal prints private keys; the scripts silence it, and nothing here prints a file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;
use testkit::Patience;
use testkit::fixture::{self, Snapshot};
use testkit::net::{self, Metrics};
use testkit::npm;
use testkit::process::{self, Process};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const SESSION: &str = "company_962302";
/// Longer than the default quiet window of 10 minutes: the clean-ups here need no flag for it.
const SILENT_FOR: Duration = Duration::from_secs(15 * 60);
const BOUND: Duration = Duration::from_secs(120);
const SAYS_DISCONNECTED: &str = "--connection.command=sh -c 'echo disconnected' {session}";

#[test]
fn baileys_6_7_18() {
    let library = Library::install("6.7.18");
    let normal = Bot::generate(
        &library,
        &[
            "--contacts",
            "15",
            "--inflight",
            "20",
            "--prekey-days",
            "30:2",
        ],
    );
    normal.survives_a_clean_up(76, 69);
    let bloated = Bot::generate(
        &library,
        &[
            "--contacts",
            "40",
            "--inflight",
            "300",
            "--prekey-days",
            "210:1",
        ],
    );
    bloated.survives_a_clean_up(387, 93);
    bloated.cannot_be_cleaned_while_it_talks();
}

#[test]
fn baileys_7_0_0_rc_9() {
    modern("7.0.0-rc.9");
}

#[test]
fn baileys_7_0_0_rc14() {
    modern("7.0.0-rc14");
}

/// These mint 812 pre-keys at login, so 300 strangers are no bloat (and all of them can
/// still write after a clean-up); a thousand are.
fn modern(version: &str) {
    let library = Library::install(version);
    let normal = Bot::generate(
        &library,
        &[
            "--contacts",
            "40",
            "--inflight",
            "300",
            "--prekey-days",
            "60",
        ],
    );
    normal.survives_a_clean_up(89, 73);
    let bloated = Bot::generate(
        &library,
        &[
            "--contacts",
            "40",
            "--inflight",
            "1000",
            "--prekey-days",
            "60:20",
        ],
    );
    // What goes is of the 812 that were minted together, of which only the first 30 count: the
    // guard keeps 832 pre-keys, and such a folder stays high.
    bloated.survives_a_clean_up(314, 298);
    bloated.cannot_be_cleaned_while_it_talks();
}

#[test]
fn a_lost_creds_json_with_6_7_18() {
    Bot::survives_the_loss_of_its_creds("6.7.18", 30);
}

#[test]
fn a_lost_creds_json_with_7_0_0_rc14() {
    Bot::survives_the_loss_of_its_creds("7.0.0-rc14", 812);
}

/// Folders of the library as months leave them, as one look by Baileys 7 leaves them, and as a
/// copy that keeps no times leaves both: what is counted, in which tier, and whether the batch
/// is ambiguous.
#[test]
fn the_batch_is_derived_from_real_folders() {
    let [classic, rc_9, rc14] = ["6.7.18", "7.0.0-rc.9", "7.0.0-rc14"].map(Library::install);
    let old = |inflight: &str| {
        let flags = ["--inflight", inflight, "--prekey-days", "210:1"];
        Bot::generate(&classic, &flags)
    };
    let upgraded = |inflight: &str| {
        let bot = old(inflight);
        let (ok, report) = rc14.run("open.mjs", &[&bot.out()]);
        assert!(ok && report["identity_keys"] == 1, "{report}");
        bot
    };
    // Their first 812 pre-keys were minted 60 days ago, the others since.
    let modern = |library: &Library| {
        let flags = ["--inflight", "300", "--prekey-days", "60:1"];
        Bot::generate(library, &flags)
    };
    let fresh = |library: &Library| Bot::generate(library, &["--fresh-login"]);
    let cases = [
        // 6.7.18 with at most 812 pre-keys ever minted, and with more.
        (
            "young",
            old("300"),
            (387, "fatal", false),
            (387, "fatal", false),
        ),
        (
            "old",
            old("900"),
            (987, "fatal", true),
            (987, "fatal", true),
        ),
        (
            "young-upgraded",
            upgraded("300"),
            (387, "fatal", false),
            (387, "fatal", false),
        ),
        // After a copy the kinds decide.
        (
            "old-upgraded",
            upgraded("900"),
            (987, "fatal", false),
            (205, "fatal", true),
        ),
        // A healthy modern bot that was moved raises no page.
        (
            "rc9",
            modern(&rc_9),
            (89, "normal", false),
            (89, "normal", true),
        ),
        (
            "rc14",
            modern(&rc14),
            (89, "normal", false),
            (89, "normal", true),
        ),
        (
            "rc9-fresh",
            fresh(&rc_9),
            (31, "normal", false),
            (31, "normal", false),
        ),
        (
            "rc14-fresh",
            fresh(&rc14),
            (31, "normal", false),
            (31, "normal", false),
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    let args = || vec!["status".to_owned(), "--output=json".to_owned()];
    // A folder beside its copy would be known as the session, and the copy has no tier.
    let (mut originals, mut copies) = (args(), args());
    for (name, bot, ..) in &cases {
        let copy = dir.path().join(name);
        let cp = [OsStr::new("-r"), bot.folder.as_os_str(), copy.as_os_str()];
        let (status, _, errors) = process::run(Path::new("cp"), cp, BOUND).unwrap();
        assert!(status.success(), "{errors}");
        originals.push(format!("--sessions.path={name}={}", bot.folder.display()));
        copies.push(format!("--sessions.path={name}-copied={}", copy.display()));
    }
    let mut rows: Vec<Value> = Vec::new();
    for args in [originals, copies] {
        let (_, out, errors) = process::run(Path::new(EXPORTER), args, BOUND).unwrap();
        let shown: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{errors}"));
        rows.extend(shown);
    }
    let mut wrong = Vec::new();
    for (name, _, as_made, copied) in &cases {
        for (session, expected) in [
            (name.to_string(), as_made),
            (format!("{name}-copied"), copied),
        ] {
            let row = rows.iter().find(|row| row["session"] == *session).unwrap();
            let (files, tier, ambiguous) = *expected;
            let seen = (
                &row["accumulated_files"],
                &row["tier"],
                &row["pre_key_batch_ambiguous"],
            );
            if seen != (&files.into(), &tier.into(), &ambiguous.into()) {
                wrong.push(format!("{session}: {seen:?}, expected {expected:?}"));
            }
            let notes = row["notes"].to_string();
            assert_eq!(
                notes.contains("set pre_key_batch"),
                ambiguous,
                "{session}: {notes}"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The folder that ships with the repository, not one made a moment ago.
#[test]
fn the_shipped_bloated_folder() {
    Bot::shipped("bloated-classic-387", &Library::install("6.7.18")).survives_a_clean_up(387, 93);
}

/// One version of Baileys, installed by npm as its lockfile says.
#[derive(Clone)]
struct Library {
    version: String,
    dir: PathBuf,
}

impl Library {
    /// Installs it, unless the same lockfile has been installed before.
    fn install(version: &str) -> Self {
        let dir = scripts().join(version);
        npm::install(&dir, &["--legacy-peer-deps"]).unwrap_or_else(|failure| panic!("{failure}"));
        Self {
            version: version.to_owned(),
            dir,
        }
    }

    /// The words of a command that runs one of the scripts.
    fn script(&self, name: &str, flags: &[&str]) -> Vec<String> {
        let mut words = vec![
            format!("BAILEYS_DIR={}", self.dir.display()),
            "node".to_owned(),
            scripts().join(name).display().to_string(),
        ];
        words.extend(flags.iter().map(|&flag| flag.to_owned()));
        words
    }

    /// Runs a script to its end. Returns whether it was content, and what it reports.
    fn run(&self, name: &str, flags: &[&str]) -> (bool, Value) {
        let (status, out, err) =
            process::run(Path::new("env"), self.script(name, flags), 2 * BOUND).unwrap();
        let report = serde_json::from_str(&out)
            .unwrap_or_else(|_| panic!("{name} with Baileys {} ({status}): {err}", self.version));
        (status.success(), report)
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real-baileys")
}

/// Fails with what to do about it.
/// A bot with its auth folder, everybody who writes to it, and what the server still holds.
struct Bot {
    library: Library,
    dir: TempDir,
    folder: PathBuf,
}

impl Bot {
    /// Real conversations, after which the bot has been silent for a quarter of an hour.
    fn generate(library: &Library, flags: &[&str]) -> Self {
        let bot = Self::empty(library);
        let base = (SystemTime::now() - SILENT_FOR)
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let base =
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(base)).to_string();
        let out = bot.out();
        let mut all = vec![out.as_str(), "--handout", "lowest", "--base", &base];
        all.extend(flags);
        let (ok, report) = library.run("gen.mjs", &all);
        assert!(ok, "{report}");
        bot
    }

    /// One of `tests/fixtures`, with its peers.
    fn shipped(fixture: &str, library: &Library) -> Self {
        let bot = Self::empty(library);
        fixture::unpack(fixture, &bot.folder, SystemTime::now() - SILENT_FOR).unwrap();
        let archive = fixture::dir().join(format!("{fixture}.peers.tar.gz"));
        let out = bot.out();
        let args = [
            OsStr::new("xzf"),
            archive.as_os_str(),
            OsStr::new("-C"),
            OsStr::new(&out),
        ];
        let (status, _, errors) = process::run(Path::new("tar"), args, BOUND).unwrap();
        assert!(status.success(), "{errors}");
        bot
    }

    fn empty(library: &Library) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("out").join(SESSION);
        Self {
            library: library.clone(),
            dir,
            folder,
        }
    }

    fn out(&self) -> String {
        self.dir.path().join("out").display().to_string()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.folder).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(Path::new(&self.out()).join(name)).unwrap()).unwrap()
    }

    /// The words of a remediator command about this bot's sessions.
    fn remediator(&self, args: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        words.push(format!("--sessions.path={}", self.out()));
        words.push(format!(
            "--state.path={}",
            self.dir.path().join("state").display()
        ));
        words.push("--connection.trust=*".to_owned());
        words
    }

    fn run_remediator(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let (status, out, err) =
            process::run(Path::new(REMEDIATOR), self.remediator(args), BOUND).unwrap();
        (status.code(), out, err)
    }

    /// The runs on record, newest first.
    fn runs(&self) -> Vec<Value> {
        let (code, out, err) =
            self.run_remediator(&["runs", "--output", "json", "--limit", "1000"]);
        assert_eq!(code, Some(0), "runs: {err}");
        serde_json::from_str(&out).unwrap()
    }

    /// Asks the library. What `verify.mjs` gates on must hold; `trimmed` lets the strangers
    /// in flight fail, who are then counted by the caller.
    fn verify(&self, trimmed: bool, flags: &[&str]) -> Value {
        let out = self.out();
        let mut all = vec![out.as_str()];
        all.extend(trimmed.then_some("--allow-inflight-fail"));
        all.extend(flags);
        let (ok, report) = self.library.run("verify.mjs", &all);
        assert!(
            ok,
            "Baileys {} cannot read everything it must: {report}",
            self.library.version
        );
        for category in ["active", "newcontact", "group"] {
            assert_eq!(report[format!("{category}_fail")], 0, "{report}");
            assert_ne!(
                report[format!("{category}_ok")],
                0,
                "nothing was tried: {report}"
            );
        }
        report
    }

    /// `clean` with the default quiet window, the library's word on it, `undo`, and the
    /// library's word again. `before` and `after` are accumulated files.
    fn survives_a_clean_up(&self, before: u64, after: u64) {
        let original = self.snapshot();
        let (code, _, errors) = self.run_remediator(&["clean", SESSION, SAYS_DISCONNECTED]);
        assert_eq!(code, Some(0), "clean: {errors}");
        let record = self.runs().remove(0);
        let seen = (
            &record["status"],
            &record["accumulated_before"],
            &record["accumulated_after"],
        );
        assert_eq!(
            seen,
            (&"done".into(), &before.into(), &after.into()),
            "{record}"
        );

        let cleaned = self.snapshot();
        let moved: BTreeSet<String> = original
            .without(&cleaned)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let on_record: u64 = record["files"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_u64)
            .sum();
        assert_eq!(on_record, moved.len() as u64, "{record}");
        let mut stayed = original.clone();
        stayed.forget(&moved);
        assert_eq!(
            stayed.differences(&cleaned),
            Vec::<String>::new(),
            "what stays is untouched"
        );

        let report = self.verify(true, &[]);
        let manifest = self.json("manifest.json");
        let contacts = manifest["contacts"].as_array().unwrap();
        let active = contacts
            .iter()
            .filter(|contact| contact["ageDays"].as_f64() <= Some(14.0))
            .count();
        let held = self.json("server.json")["preKeys"]
            .as_object()
            .unwrap()
            .len();
        // Exactly the strangers whose pre-key was taken away, and no others.
        let in_flight: Vec<u64> = manifest["inflight"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        let stranded = in_flight
            .iter()
            .filter(|id| moved.contains(&format!("pre-key-{id}.json")))
            .count();
        assert_eq!(report["active_ok"], active, "{report}");
        assert_eq!(report["newcontact_ok"], held, "{report}");
        assert_eq!(report["inflight_fail"], stranded, "{report}");
        assert_eq!(
            report["inflight_ok"],
            in_flight.len() - stranded,
            "{report}"
        );

        let run = record["run"].as_str().unwrap();
        let (code, _, errors) = self.run_remediator(&["undo", run, SAYS_DISCONNECTED]);
        assert_eq!(code, Some(0), "undo: {errors}");
        assert_eq!(
            original.differences(&self.snapshot()),
            Vec::<String>::new(),
            "undo brings all back"
        );
        let report = self.verify(false, &["--sample", "40"]);
        for fail in ["inflight_fail", "old_fail", "oldgroup_fail"] {
            assert_eq!(
                report[fail], 0,
                "after the undo everybody reads as before: {report}"
            );
        }
    }

    /// A probe that wrongly says disconnected never gets a bot cleaned that is talking, and
    /// the attempts do not disturb what it says. The quiet window sees to that.
    fn cannot_be_cleaned_while_it_talks(&self) {
        let original: BTreeSet<String> = self.snapshot().names().map(str::to_owned).collect();
        for ask in [1, 2] {
            self.grows_quiet();
            self.wakes_under_a_clean_up(ask);
        }
        let known = self.runs().len();

        let mut live = self.talk();
        for quiet in [&["--connection.quiet=1s"][..], &[]] {
            for _ in 0..10 {
                let mut args = vec!["clean", SESSION, SAYS_DISCONNECTED];
                args.extend(quiet);
                let (code, _, errors) = self.run_remediator(&args);
                assert_eq!(code, Some(1), "{errors}");
                live.process.alive().unwrap();
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        live.ends_well(20);
        let runs = self.runs();
        assert_eq!(runs.len(), known + 20);
        for run in &runs[..20] {
            refused_as_unknown(run);
        }
        self.nothing_was_moved(&original);
        let report = self.verify(false, &["--sample", "40"]);
        assert_eq!(
            (&report["inflight_fail"], &report["old_fail"]),
            (&0.into(), &0.into()),
            "{report}"
        );
    }

    /// Every clean-up asks twice, before the plan and before the first move. The folder is
    /// quiet when the probe is called for the `ask`th time; the bot starts to talk before it
    /// has answered (disconnected, which was true when it was asked).
    fn wakes_under_a_clean_up(&self, ask: u32) {
        let original: BTreeSet<String> = self.snapshot().names().map(str::to_owned).collect();
        let gate = self.dir.path().join(format!("gate-{ask}"));
        fs::create_dir(&gate).unwrap();
        let (asked, go) = (gate.join("asked"), gate.join("go"));
        // Answers at once until it is called for the `ask`th time, then when it may.
        let script = format!(
            "n=$(cat {asked} 2>/dev/null || echo 0); n=$((n + 1)); echo $n >{asked}
            if [ $n -ge {ask} ]; then while [ ! -e {go} ]; do sleep 0.02; done; fi
            echo disconnected",
            asked = asked.display(),
            go = go.display(),
        );
        let probe = gate.join("probe");
        fs::write(&probe, script).unwrap();
        // By default a probe has five seconds; a busy machine may need longer to start node.
        let config = gate.join("config.yml");
        fs::write(&config, "connection: {timeout: 60s}\n").unwrap();

        let command = format!("--connection.command=sh {} {{session}}", probe.display());
        let config = format!("--config.file={}", config.display());
        let clean = self.remediator(&["clean", SESSION, &command, &config]);
        let mut clean = Command::new(REMEDIATOR)
            .args(clean)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let patience = Patience::new(BOUND);
        let is_asked = patience.wait_until(BOUND, "a call of the probe", || {
            let seen = fs::read_to_string(&asked).unwrap_or_default();
            if seen.trim() == ask.to_string() {
                Ok(())
            } else {
                Err(format!("asked {seen:?} times"))
            }
        });
        is_asked.unwrap();
        let mut live = self.talk();
        fs::write(&go, "").unwrap();
        let code = clean.wait().unwrap().code();
        std::thread::sleep(Duration::from_secs(1));
        live.ends_well(5);

        let record = self.runs().remove(0);
        assert_eq!(code, Some(1), "woken during ask {ask}: {record}");
        refused_as_unknown(&record);
        self.nothing_was_moved(&original);
    }

    /// creds.json is lost in every way, after the bot minted and used pre-keys of which the
    /// copy that was kept knows nothing. With the copy back, everybody reads on: contacts in
    /// both directions, groups, a new contact on every key that the server holds; and the
    /// next upload mints under no id that was ever uploaded.
    fn survives_the_loss_of_its_creds(version: &str, batch: u64) {
        let library = Library::install(version);
        let bot = Self::generate(
            &library,
            &[
                "--contacts",
                "12",
                "--inflight",
                "6",
                "--prekey-days",
                "30:2",
            ],
        );
        bot.is_insured();
        let out = bot.out();
        // A modern batch is large and takes its time.
        let (uploads, losses) = match batch {
            30 => ("2", &["truncated", "empty", "missing", "begun anew"][..]),
            _ => ("1", &["truncated", "begun anew"][..]),
        };
        let (ok, grown) = library.run("creds.mjs", &[&out, "--do", "grow", "--uploads", uploads]);
        assert!(ok, "{grown}");
        let counters = (
            grown["from"].as_u64().unwrap(),
            grown["to"].as_u64().unwrap(),
        );
        assert_eq!(
            counters.1,
            counters.0 + batch * uploads.parse::<u64>().unwrap(),
            "{grown}"
        );
        assert_eq!(grown["used"], 8, "{grown}");

        // As it would be put back by hand: the next upload goes over what the server holds.
        let by_hand = bot.dir.path().join("by-hand");
        let copied = process::run(
            Path::new("cp"),
            [
                OsStr::new("-r"),
                bot.folder.as_os_str(),
                by_hand.as_os_str(),
            ],
            BOUND,
        );
        assert!(copied.unwrap().0.success());
        let kept = bot.dir.path().join("state/creds").join(SESSION);
        let kept = fs::read_dir(kept).unwrap().next().unwrap().unwrap().path();
        fs::copy(kept, by_hand.join("creds.json")).unwrap();
        let folder = by_hand.display().to_string();
        let (ok, reuse) = library.run(
            "creds.mjs",
            &[&out, "--do", "upload", "--dry", "--folder", &folder],
        );
        assert!(
            !ok && reuse["reused"].as_u64() >= Some(batch),
            "this test can tell: {reuse}"
        );

        let creds = bot.folder.join("creds.json");
        for (round, loss) in losses.iter().copied().enumerate() {
            let whole = fs::read(&creds).unwrap();
            match loss {
                "empty" => fs::write(&creds, "").unwrap(),
                "missing" => fs::remove_file(&creds).unwrap(),
                _ => fs::write(&creds, &whole[..whole.len() / 3]).unwrap(),
            }
            if loss == "truncated" && batch == 30 {
                let (ok, report) = library.run("verify.mjs", &[&out, "--sample", "3"]);
                assert!(!ok, "a bot without its creds reads nothing: {report}");
            }
            if loss == "begun anew" {
                let (ok, report) = library.run("creds.mjs", &[&out, "--do", "anew"]);
                assert!(ok && report["next_pre_key_id"] == 1, "{report}");
            }
            bot.grows_quiet();
            // Always the copy from before all of it, the oldest there is.
            let args = [
                "creds",
                "restore",
                SESSION,
                "--yes",
                "--version=1",
                SAYS_DISCONNECTED,
            ];
            let (code, said, errors) = bot.run_remediator(&args);
            assert_eq!(code, Some(0), "{loss}: {said}{errors}");
            let restored: Value = serde_json::from_slice(&fs::read(&creds).unwrap()).unwrap();
            let next = restored["nextPreKeyId"].as_u64().unwrap();
            assert_eq!(restored["firstUnuploadedPreKeyId"], next, "{loss}");

            // All of a classic folder's; a modern one's are thousands.
            let sample = match (round, batch) {
                (0, 30) => "0",
                (0, _) => "40",
                _ => "12",
            };
            let report = bot.verify(false, &["--sample", sample]);
            assert_eq!(report["inflight_fail"], 0, "{loss}: {report}");
            let (ok, upload) = library.run("creds.mjs", &[&out, "--do", "upload"]);
            assert!(ok, "{loss}: the next upload reuses an id: {upload}");
            assert!(
                upload["lowest"].as_u64() > upload["uploaded_before"].as_u64(),
                "{loss}: {upload}"
            );
            // Among them strangers on the keys of that upload.
            let report = bot.verify(false, &["--sample", "30"]);
            assert_eq!(report["inflight_fail"], 0, "{loss}: {report}");
        }
    }

    /// `serve` runs until it has a copy of the bot's creds.json.
    fn is_insured(&self) {
        let token = self.dir.path().join("token");
        fs::write(&token, "a token for this test only").unwrap();
        fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        let port = net::free_port(None).unwrap();
        let mut args = self.remediator(&["serve", SAYS_DISCONNECTED]);
        args.push(format!("--web.listen-address=127.0.0.1:{port}"));
        args.push(format!("--webhook.token-file={}", token.display()));
        let log = self.dir.path().join("serve.log");
        let mut serve = Process::start("serve", Path::new(REMEDIATOR), args, &log).unwrap();
        let url = format!("http://127.0.0.1:{port}/metrics");
        let insured = Patience::new(BOUND).wait_until(BOUND, "a copy is kept", || {
            serve.alive()?;
            let metrics = Metrics::scrape(&url)?;
            match metrics.sum("baileys_remediator_creds_insured_sessions", &[])? {
                1.0 => Ok(()),
                n => Err(format!("{n} sessions are insured")),
            }
        });
        insured.unwrap();
        serve.terminate();
    }

    /// As if a quarter of an hour had passed since the last message.
    fn grows_quiet(&self) {
        let then = SystemTime::now() - SILENT_FOR;
        for entry in fs::read_dir(&self.folder).unwrap() {
            let file = File::open(entry.unwrap().path()).unwrap();
            let meta = file.metadata().unwrap();
            if meta.is_file() && meta.modified().unwrap() > then {
                file.set_modified(then).unwrap();
            }
        }
    }

    fn nothing_was_moved(&self, original: &BTreeSet<String>) {
        let now: BTreeSet<String> = self.snapshot().names().map(str::to_owned).collect();
        let gone: Vec<&String> = original.difference(&now).collect();
        assert!(
            gone.is_empty(),
            "gone from the folder of a talking bot: {gone:?}"
        );
    }

    /// The bot goes live: one message every 50 ms, through the key cache that most bots use.
    fn talk(&self) -> Live {
        let log = tempfile::NamedTempFile::new_in(self.dir.path())
            .unwrap()
            .into_temp_path();
        let out = self.out();
        let words = self.library.script(
            "busy.mjs",
            &[&out, "--every", "50", "--seconds", "120", "--cache"],
        );
        let process = Process::start("the bot", Path::new("env"), words, &log).unwrap();
        let mut live = Live { process, log };
        let ready = Patience::new(BOUND).wait_until(BOUND, "the bot's first message", || {
            live.process.alive()?;
            let said = fs::read_to_string(&live.log).unwrap_or_default();
            if said.starts_with("ready") {
                Ok(())
            } else {
                Err("silence".to_owned())
            }
        });
        ready.unwrap();
        live
    }
}

fn refused_as_unknown(run: &Value) {
    let seen = (&run["status"], &run["reason"], &run["files"]);
    assert_eq!(
        seen,
        (
            &"refused".into(),
            &"connection_unknown".into(),
            &serde_json::json!({})
        ),
        "{run}"
    );
}

/// A bot in conversation.
struct Live {
    process: Process,
    log: tempfile::TempPath,
}

impl Live {
    /// Ends the conversation: no message was lost, and there were at least so many.
    fn ends_well(&mut self, at_least: u64) {
        self.process.stop();
        let said = fs::read_to_string(&self.log).unwrap();
        let summary = said.trim_start().strip_prefix("ready").unwrap_or_default();
        let summary: Value = serde_json::from_str(summary).expect("the summary of busy.mjs");
        assert_eq!(summary["failed"], 0, "{summary}");
        assert!(summary["messages"].as_u64() >= Some(at_least), "{summary}");
    }
}
