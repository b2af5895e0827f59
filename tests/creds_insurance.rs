//! Identity insurance, as an operator meets it: `serve` keeps copies, `creds list` shows
//! them, `creds restore` puts one back, and a kill at any call in between loses nothing.
//! (That the real library goes on with a restored file is shown in `real_baileys.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use baileys_exporter::folder::Timestamp;
use baileys_exporter::folder::identity::insurable;
use baileys_exporter::policy::insurance::Keep;
use baileys_exporter::remediator::insurance::store::CopyStore;
use serde_json::Value;
use testkit::fixture::{self, Snapshot};
use testkit::net::{self, Metrics};
use testkit::probe::HttpProbe;
use testkit::process::{self, Process};
use testkit::strace;
use testkit::world::{QUARTER, Ran, World};

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const QUARANTINE: &str = ".baileys_quarantine";
const SESSION: &str = "company_962302";
const BOUND: Duration = Duration::from_secs(60);
/// What the fixture's bot mints at a time; left out where the present file tells no counter.
const BATCH: u64 = 30;

/// One host with one bot that has been silent for a quarter of an hour.
struct Host {
    world: World,
    probe: HttpProbe,
}

impl std::ops::Deref for Host {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl Host {
    fn new() -> Self {
        let mut world = testkit::world!();
        let probe = HttpProbe::start();
        world.with_config(&format!(
            "sessions: {{paths: [{}]}}\nstate: {{path: {}}}\nconnection:\n{}",
            world.path("sessions").display(),
            world.path("state").display(),
            probe.config()
        ));
        let host = Self { world, probe };
        host.bot(SESSION);
        host
    }

    fn bot(&self, session: &str) -> PathBuf {
        let folder = self.world.folder(session);
        fixture::unpack("normal", &folder, SystemTime::now() - QUARTER).unwrap();
        folder
    }

    fn folder(&self) -> PathBuf {
        self.world.folder(SESSION)
    }

    fn creds(&self) -> PathBuf {
        self.folder().join("creds.json")
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        fs::read(self.creds()).ok()
    }

    fn args(&self, command: &[&str]) -> Vec<String> {
        let mut args: Vec<String> = command.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(format!(
            "--config.file={}",
            self.path("config.yml").display()
        ));
        args
    }

    fn run(&self, command: &[&str]) -> Ran {
        Ran::of(Path::new(REMEDIATOR), self.args(command))
    }

    fn restore(&self, more: &[&str]) -> Ran {
        let command: Vec<&str> = ["creds", "restore", SESSION, "--yes"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        self.run(&command)
    }

    fn list(&self, session: &str) -> Vec<Value> {
        let said = self
            .run(&["creds", "list", session, "--output=json"])
            .must(0, &[]);
        serde_json::from_str::<Value>(&said.out)
            .unwrap()
            .as_array()
            .unwrap()
            .clone()
    }

    fn serve_args(&self, port: u16) -> Vec<String> {
        let mut args = self.args(&["serve"]);
        args.push(format!("--web.listen-address=127.0.0.1:{port}"));
        args.push(format!(
            "--webhook.token-file={}",
            self.path("token").display()
        ));
        args
    }

    /// Starts `serve`, until it has looked at every creds.json and ended what a crash left.
    fn serve(&self) -> Serving {
        let port = net::free_port(None).unwrap();
        let log = self.path("serve.log");
        let mut process =
            Process::start("serve", Path::new(REMEDIATOR), self.serve_args(port), &log).unwrap();
        let url = format!("http://127.0.0.1:{port}/metrics");
        let mut text = String::new();
        testkit::until("serve has looked", || {
            process.alive().unwrap_or_else(|why| panic!("{why}"));
            let ready = net::get(&format!("http://127.0.0.1:{port}/-/ready"));
            text = net::get(&url)
                .and_then(|answer| answer.ok())
                .unwrap_or_default();
            ready.is_ok_and(|answer| answer.ok().is_ok())
                && text.contains("baileys_remediator_creds_insurance_last_look_timestamp_seconds")
                && !text
                    .contains("baileys_remediator_creds_insurance_last_look_timestamp_seconds 0\n")
        });
        Serving {
            process,
            metrics: Metrics::parse(&text).unwrap(),
            text,
        }
    }

    /// A start and a stop of `serve`: one look.
    fn look(&self) -> Metrics {
        let mut serving = self.serve();
        serving.process.terminate();
        serving.metrics
    }

    /// Puts a copy where `serve` would have put it.
    fn keep(&self, bytes: &[u8]) {
        let facts = insurable(bytes).expect("worth keeping");
        let written: Timestamp = (SystemTime::now() - QUARTER).into();
        let store = CopyStore::new(&self.path("state"));
        fs::create_dir_all(self.path("state")).unwrap();
        store
            .add(
                SESSION,
                bytes,
                &facts,
                written,
                Timestamp::now(),
                &Keep::default(),
            )
            .unwrap();
    }

    /// Writes creds.json as the bot would have, a quarter of an hour ago.
    fn write(&self, bytes: &[u8]) {
        fs::write(self.creds(), bytes).unwrap();
        let file = fs::File::options().write(true).open(self.creds()).unwrap();
        file.set_modified(SystemTime::now() - QUARTER).unwrap();
    }

    /// Contents of all files that restores have set aside.
    fn set_aside(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for slot in fs::read_dir(self.folder().join(QUARANTINE))
            .into_iter()
            .flatten()
            .flatten()
        {
            if !slot.file_name().to_str().unwrap().starts_with("creds-") {
                continue;
            }
            for file in fs::read_dir(slot.path()).unwrap().flatten() {
                let name = file.file_name().into_string().unwrap();
                all.push((name, fs::read(file.path()).unwrap()));
            }
        }
        all
    }
}

struct Serving {
    process: Process,
    metrics: Metrics,
    text: String,
}

fn number(bytes: &[u8], field: &str) -> u64 {
    serde_json::from_slice::<Value>(bytes).unwrap()[field]
        .as_u64()
        .unwrap()
}

/// The same file with both counters at `next`, byte for byte otherwise.
fn with_counters(bytes: &[u8], next: u64) -> Vec<u8> {
    let mut text = String::from_utf8(bytes.to_vec()).unwrap();
    for field in ["nextPreKeyId", "firstUnuploadedPreKeyId"] {
        let old = number(bytes, field);
        let (from, to) = (format!("\"{field}\":{old}"), format!("\"{field}\":{next}"));
        assert!(text.contains(&from));
        text = text.replace(&from, &to);
    }
    text.into_bytes()
}

/// A creds.json of another account, logged in.
fn of_identity(bytes: &[u8], letter: char) -> Vec<u8> {
    let mut creds: Value = serde_json::from_slice(bytes).unwrap();
    let public = creds.pointer_mut("/signedIdentityKey/public/data").unwrap();
    let other: String = std::iter::repeat_n(letter, 43).chain(['=']).collect();
    *public = Value::from(other);
    creds["registrationId"] = Value::from(letter as u64);
    serde_json::to_vec(&creds).unwrap()
}

fn highest_pre_key(folder: &Path) -> u64 {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ids = names.filter_map(|name| {
        name.strip_prefix("pre-key-")?
            .strip_suffix(".json")?
            .parse()
            .ok()
    });
    ids.max().unwrap()
}

/// Every secret string of a creds.json: what may never be shown.
fn secrets(bytes: &[u8]) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(data) = map.get("data").and_then(Value::as_str) {
                    found.push(data.to_owned());
                }
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(all) => all.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let creds: Value = serde_json::from_slice(bytes).unwrap();
    let mut found = Vec::new();
    walk(&creds, &mut found);
    let number = creds["me"]["id"]
        .as_str()
        .unwrap()
        .split(':')
        .next()
        .unwrap();
    found.push(number.to_owned());
    found.push(creds["advSecretKey"].as_str().unwrap().to_owned());
    assert!(found.len() > 5);
    found
}

#[test]
fn serve_keeps_private_copies_and_list_shows_no_key() {
    let world = Host::new();
    for session in ["torn", "nobody"] {
        let folder = world.bot(session);
        let whole = fs::read(folder.join("creds.json")).unwrap();
        let bad: &[u8] = if session == "torn" {
            &whole[..whole.len() / 2]
        } else {
            b"{\"noiseKey\":{},\"nextPreKeyId\":1}"
        };
        fs::write(folder.join("creds.json"), bad).unwrap();
    }
    let (before, bytes) = (
        Snapshot::take(&world.folder()).unwrap(),
        world.bytes().unwrap(),
    );
    world
        .run(&["creds", "list", SESSION])
        .must(0, &["No copy of"]);
    world
        .run(&["creds", "list", "compny"])
        .must(2, &["no session is called", SESSION]);

    let mut serving = world.serve();
    assert_eq!(
        serving
            .metrics
            .sum("baileys_remediator_creds_insured_sessions", &[])
            .unwrap(),
        1.0
    );
    let at = "baileys_remediator_creds_insured_timestamp_seconds";
    assert!(serving.metrics.sum(at, &[("session", SESSION)]).unwrap() > 1.7e9);
    assert!(
        !serving.text.contains(&format!("{at}{{session=\"torn\"")),
        "no copy, no series"
    );
    serving.process.terminate();
    assert_eq!(
        before.differences(&Snapshot::take(&world.folder()).unwrap()),
        Vec::<String>::new()
    );
    assert!(
        !world.folder().join(QUARANTINE).exists(),
        "nothing is made in the folder"
    );

    let list = world.list(SESSION);
    assert_eq!(
        (list.len(), &list[0]["version"], &list[0]["in_folder"]),
        (1, &1.into(), &true.into())
    );
    assert_eq!(list[0]["next_pre_key_id"], number(&bytes, "nextPreKeyId"));
    assert_eq!(list[0]["bytes"], bytes.len());
    assert_eq!((world.list("torn"), world.list("nobody")), (vec![], vec![]));
    let table = world
        .run(&["creds", "list", SESSION])
        .must(0, &["VERSION", "in the folder"]);

    let kept = world.path("state/creds").join(SESSION);
    let files: Vec<PathBuf> = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (
            mode(&world.path("state/creds")),
            mode(&kept),
            mode(&files[0])
        ),
        (0o700, 0o700, 0o600)
    );
    assert!(
        fs::read(&files[0]).unwrap() == bytes,
        "a copy is byte for byte the same"
    );

    let log = fs::read_to_string(world.path("serve.log")).unwrap();
    let json = world.run(&["creds", "list", SESSION, "--output=json"]).out;
    for (what, text) in [
        ("log", &log),
        ("metrics", &serving.text),
        ("table", &table.out),
        ("json", &json),
    ] {
        for secret in secrets(&bytes) {
            assert!(!text.contains(&secret), "the {what} shows a secret");
        }
    }

    // What has not changed is not kept again; what has, is.
    world.look();
    assert_eq!(world.list(SESSION).len(), 1);
    world.write(&with_counters(&bytes, 95));
    world.look();
    let list = world.list(SESSION);
    assert_eq!(
        (list.len(), &list[0]["version"], &list[0]["next_pre_key_id"]),
        (2, &2.into(), &95.into())
    );

    // A file that broke since: the copies stay, and the metric tells how old they are.
    fs::write(world.creds(), "").unwrap();
    let metrics = world.look();
    assert_eq!(world.list(SESSION).len(), 2);
    assert_eq!(
        metrics
            .sum("baileys_remediator_creds_insured_sessions", &[])
            .unwrap(),
        1.0
    );
}

#[test]
fn ten_writes_of_a_new_identity_push_no_good_copy_out() {
    let world = Host::new();
    let good = world.bytes().unwrap();
    for next in [61, 62, 63, 64] {
        world.write(&with_counters(&good, next));
        world.look();
    }
    let before: BTreeSet<u64> = world
        .list(SESSION)
        .iter()
        .map(|c| c["version"].as_u64().unwrap())
        .collect();
    assert_eq!(before.len(), 3);
    for next in 31..41 {
        world.write(&with_counters(&of_identity(&good, 'A'), next));
        world.look();
    }
    let list = world.list(SESSION);
    let after: BTreeSet<u64> = list
        .iter()
        .map(|c| c["version"].as_u64().unwrap())
        .collect();
    assert!(
        before.is_subset(&after) && after.len() == 6,
        "{before:?} {after:?}"
    );
}

#[test]
fn insurance_that_is_switched_off_keeps_nothing() {
    let world = Host::new();
    let config = fs::read_to_string(world.path("config.yml")).unwrap();
    fs::write(
        world.path("config.yml"),
        format!("{config}insurance: {{enabled: false}}\n"),
    )
    .unwrap();
    let metrics = world.look();
    assert_eq!(
        metrics
            .sum("baileys_remediator_creds_insured_sessions", &[])
            .unwrap(),
        0.0
    );
    assert_eq!(world.list(SESSION), Vec::<Value>::new());
}

/// What can be wrong with a creds.json so that a copy may go over it without `--force`.
fn broken(whole: &[u8]) -> BTreeMap<&'static str, Option<Vec<u8>>> {
    let mut anew: Value = serde_json::from_slice(&of_identity(whole, 'N')).unwrap();
    for field in ["me", "account"] {
        anew.as_object_mut().unwrap().remove(field);
    }
    BTreeMap::from([
        ("truncated", Some(whole[..whole.len() / 2].to_vec())),
        ("empty", Some(Vec::new())),
        ("missing", None),
        ("not JSON", Some(b"\x00\x00\x00\x00".to_vec())),
        (
            "a new identity, not logged in",
            Some(serde_json::to_vec(&anew).unwrap()),
        ),
    ])
}

#[test]
fn a_broken_creds_json_is_replaced_by_the_copy_with_its_counters_raised() {
    for (case, bad) in broken(&Host::new().bytes().unwrap()) {
        let world = Host::new();
        let whole = world.bytes().unwrap();
        let old = with_counters(&whole, 31);
        world.keep(&old);
        fs::set_permissions(world.creds(), PermissionsExt::from_mode(0o640)).unwrap();
        if rustix_is_root() {
            for file in fs::read_dir(world.folder()).unwrap() {
                std::os::unix::fs::chown(file.unwrap().path(), Some(12_345), Some(23_456)).unwrap();
            }
        }
        let like = |path: &Path| {
            let meta = fs::metadata(path).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o777)
        };
        let mut wanted = like(&world.creds());
        match &bad {
            Some(bytes) => world.write(bytes),
            None => {
                fs::remove_file(world.creds()).unwrap();
                // As most of the others have it.
                wanted = like(
                    &world
                        .folder()
                        .join(format!("pre-key-{}.json", highest_pre_key(&world.folder()))),
                );
            }
        }
        let before = Snapshot::take(&world.folder()).unwrap();

        world
            .restore(&[])
            .must(0, &["copy 1 of creds.json is back", "Start the bot now"]);
        let restored = world.bytes().unwrap();
        // A torn one may still tell how far the counter was.
        let tells = bad.as_ref().is_some_and(|bytes| {
            case == "truncated" && String::from_utf8_lossy(bytes).contains("\"nextPreKeyId\":")
        });
        let next = highest_pre_key(&world.folder()) + 1 + if tells { 0 } else { BATCH };
        assert!(next > 31, "{case}");
        assert!(
            restored == with_counters(&old, next),
            "{case}: the copy, and nothing but its counters raised"
        );
        assert_eq!(
            like(&world.creds()),
            wanted,
            "{case}: owner, group and mode"
        );

        // Nothing else in the folder was touched, and what was replaced is kept.
        let others = |snapshot: &Snapshot| {
            let mut snapshot = snapshot.clone();
            snapshot.forget(&BTreeSet::from(["creds.json".to_owned()]));
            snapshot
        };
        let after = Snapshot::take(&world.folder()).unwrap();
        assert_eq!(
            others(&before).differences(&others(&after)),
            Vec::<String>::new(),
            "{case}"
        );
        let aside: Vec<Vec<u8>> = world
            .set_aside()
            .into_iter()
            .filter(|(name, _)| name == "replaced.json")
            .map(|(_, b)| b)
            .collect();
        assert!(
            aside == Vec::from_iter(bad),
            "{case}: what was replaced is kept"
        );
        let names: BTreeSet<String> = world
            .set_aside()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(!names.contains("new.json"), "{case}: {names:?}");
        let run = &world.runs()[0];
        assert_eq!(
            (&run["action"], &run["status"]),
            (&"restore".into(), &"done".into()),
            "{case}: {run}"
        );
        assert!(
            run["evidence"].as_str().unwrap().contains("asked again"),
            "{case}: {run}"
        );
        assert!(
            run["requested_by"]
                .as_str()
                .unwrap()
                .starts_with("operator"),
            "{case}: {run}"
        );

        // For the exporter it is one session as before, and whole again.
        let sessions = format!("--sessions.path={}", world.path("sessions").display());
        let (_, out, _) = process::run(
            Path::new(EXPORTER),
            ["status", "--output=json", &sessions],
            BOUND,
        )
        .unwrap();
        assert_eq!(out.matches(SESSION).count(), 1, "{case}: {out}");
        // A second time there is nothing to do.
        world.restore(&[]).must(1, &["not older"]);
        assert!(world.bytes().unwrap() == restored, "{case}");
    }
}

fn rustix_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn counters_are_raised_above_everything_that_is_known() {
    let next_after = |prepare: &dyn Fn(&Host, &[u8])| {
        let world = Host::new();
        let whole = world.bytes().unwrap();
        world.keep(&with_counters(&whole, 31));
        world.write(b"");
        prepare(&world, &whole);
        world.restore(&["--version=1"]).must(0, &[]);
        let restored = world.bytes().unwrap();
        assert_eq!(
            number(&restored, "nextPreKeyId"),
            number(&restored, "firstUnuploadedPreKeyId")
        );
        (
            highest_pre_key(&world.folder()),
            number(&restored, "nextPreKeyId"),
        )
    };
    let (highest, next) = next_after(&|_, _| {});
    assert_eq!(next, highest + 1 + BATCH, "a batch above the highest file");
    let run = "20261101T000000Z-abcdef";
    let (_, next) = next_after(&|world, _| {
        // As a clean-up leaves it.
        let quarantine = world.folder().join(QUARANTINE);
        fs::create_dir_all(quarantine.join(run).join("files")).unwrap();
        fs::write(quarantine.join("BAILEYS_QUARANTINE.TAG"), "x").unwrap();
        fs::write(quarantine.join(run).join("files/pre-key-700.json"), "{}").unwrap();
    });
    assert_eq!(next, 701 + BATCH, "above what lies in the quarantine");
    let (_, next) = next_after(&|world, whole| {
        let text = String::from_utf8(with_counters(whole, 812)).unwrap();
        let end = text.find("\"nextPreKeyId\":812").unwrap() + "\"nextPreKeyId\":812,".len();
        world.write(&text.as_bytes()[..end]);
    });
    assert_eq!(
        next, 812,
        "not below what the torn file says, and no higher"
    );
    let (highest, next) = next_after(&|world, whole| {
        let text = String::from_utf8(with_counters(whole, 812)).unwrap();
        let end = text.find("\"nextPreKeyId\":812").unwrap() + "\"nextPreKeyId\":81".len();
        world.write(&text.as_bytes()[..end]);
    });
    assert_eq!(
        next,
        highest.max(80) + 1 + BATCH,
        "a number that was cut off tells nothing"
    );
    let (highest, next) = next_after(&|world, whole| {
        let anew = with_counters(&of_identity(whole, 'N'), 1);
        world.write(&anew[..anew.len() - 1]);
    });
    assert_eq!(
        next,
        highest + 1 + BATCH,
        "nor does what a new identity began"
    );
    let (_, next) = next_after(&|world, whole| world.keep(&with_counters(whole, 900)));
    assert_eq!(
        next,
        900 + 812,
        "not below what a later copy says, and a large batch is possible"
    );
    let (highest, next) = next_after(&|world, _| {
        for planted in [
            "pre-key-4294967295.json",
            "pre-key-16777216.json",
            "pre-key-0777.json",
        ] {
            fs::write(world.folder().join(planted), "{}").unwrap();
            let file = fs::File::options()
                .write(true)
                .open(world.folder().join(planted))
                .unwrap();
            file.set_modified(SystemTime::now() - QUARTER).unwrap();
        }
    });
    assert!(
        highest > 1_000_000 && next < 1_000,
        "pre-keys of no identity raise nothing: {next}"
    );
}

#[test]
fn nothing_is_put_back_under_a_bot_that_may_be_connected() {
    let world = Host::new();
    world.keep(&world.bytes().unwrap());
    world.write(b"");
    let unchanged = || {
        assert!(world.bytes().unwrap().is_empty());
        assert_eq!(world.set_aside().len(), 0);
    };
    world.probe.say_connected_after(0);
    world.restore(&[]).must(1, &["the bot is connected"]);
    unchanged();
    // Asked a second time, right before the exchange.
    world.probe.say_connected_after(1);
    world.restore(&[]).must(1, &["refused"]);
    unchanged();
    let run = &world.runs()[0];
    assert_eq!(
        (&run["status"], &run["run"]),
        (&"refused".into(), &Value::Null),
        "{run}"
    );
    world.probe.say_connected_after(usize::MAX);
    // Another process writes into the folder.
    fs::write(world.folder().join("session-999100000001.0.json"), "{}").unwrap();
    world.restore(&[]).must(1, &["refused"]);
    unchanged();
    // A person decides.
    let refused = world
        .run(&["creds", "restore", SESSION, "--force"])
        .must(2, &["--yes", "WITHOUT checking"]);
    assert!(!refused.err.contains("panicked"));
    unchanged();
    world.restore(&["--force"]).must(0, &[]);
    assert!(
        world.runs()[0]["note"]
            .as_str()
            .unwrap()
            .starts_with("forced")
    );
}

#[test]
fn every_step_of_a_restore_is_on_record() {
    let world = Host::new();
    world.keep(&world.bytes().unwrap());
    world.write(b"{");
    let inode = || fs::metadata(world.creds()).unwrap().ino();
    let shown = || {
        let id = world.runs()[0]["id"].to_string();
        let said = world
            .run(&["runs", "show", &id, "--output=json"])
            .must(0, &[]);
        world
            .run(&["runs", "show", &id])
            .must(0, &["asked_again", "creds"]);
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let steps = |record: &Value| {
        let steps = record["steps"].as_array().unwrap().iter();
        steps
            .map(|step| step["step"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let files = |record: &Value| {
        let files = record["moves"].as_array().unwrap().iter();
        files
            .map(|file| {
                assert_eq!(file["kind"], "creds");
                (
                    file["inode"].as_u64().unwrap(),
                    file["fate"].as_str().unwrap().to_owned(),
                )
            })
            .collect::<Vec<_>>()
    };
    let old = inode();
    // The second answer stops it.
    world.probe.say_connected_after(1);
    world.restore(&[]).must(1, &["refused"]);
    let record = shown();
    let begun = "locked asked prepared asked_again";
    assert!(
        steps(&record).contains(&format!("{begun} cancelled refused")),
        "{record}"
    );
    assert_eq!(files(&record), [(old, "left".to_owned())], "{record}");

    world.probe.say_connected_after(usize::MAX);
    world.restore(&[]).must(0, &[]);
    let record = shown();
    assert!(
        steps(&record).contains(&format!("{begun} moving exchanged done")),
        "{record}"
    );
    assert_eq!(
        files(&record),
        [(old, "moved".to_owned()), (inode(), "restored".to_owned())],
        "{record}"
    );
    // Its page tells the way back, which is not `undo`.
    let port = net::free_port(None).unwrap();
    let mut process = Process::start(
        "serve",
        Path::new(REMEDIATOR),
        world.serve_args(port),
        &world.path("serve.log"),
    )
    .unwrap();
    let mut page = String::new();
    testkit::until("the page answers", || {
        process.alive().unwrap_or_else(|why| panic!("{why}"));
        page = net::get(&format!("http://127.0.0.1:{port}/run?id={}", record["id"]))
            .and_then(|answer| answer.ok())
            .unwrap_or_default();
        !page.is_empty()
    });
    process.terminate();
    let back = format!("creds restore {SESSION} --version=N --force");
    assert!(
        page.contains(&back) && !page.contains("remediator undo"),
        "{page}"
    );
}

/// As the shipped unit has it: a user of its own, and bots of another.
#[test]
fn a_user_of_its_own_must_restore_as_root_and_goes_on_afterwards() {
    if !rustix_is_root() {
        // Only root can be two users.
        return;
    }
    let (own, bots) = (65_533, 65_532);
    let world = Host::new();
    world.keep(&world.bytes().unwrap());
    world.write(b"");
    let give = |dir: &Path, user: u32, mode: Option<u32>| {
        for path in std::iter::once(dir.to_owned()).chain(all_below(dir)) {
            std::os::unix::fs::chown(&path, Some(user), Some(user)).unwrap();
            if let Some(mode) = mode {
                fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    };
    give(&world.path("sessions"), bots, Some(0o777));
    give(&world.path("state"), own, None);
    // Root makes the journal.
    world.probe.say_connected_after(0);
    world.restore(&[]).must(1, &["the bot is connected"]);
    world.probe.say_connected_after(usize::MAX);
    // Where its own user can reach it.
    let program = world.path("baileys_remediator");
    fs::copy(REMEDIATOR, &program).unwrap();
    let as_own = |command: &[&str]| {
        use std::os::unix::process::CommandExt;
        let output = Command::new(&program)
            .args(world.args(command))
            .uid(own)
            .gid(own)
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap_or(137),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    };
    as_own(&["doctor", SESSION]).must(0, &["must run as root or as the bot's user 65532"]);
    as_own(&["creds", "restore", SESSION, "--yes"])
        .must(2, &["sudo baileys_remediator creds restore"]);
    assert!(world.bytes().unwrap().is_empty() && world.set_aside().is_empty());

    world.restore(&[]).must(0, &[]);
    assert_eq!(fs::metadata(world.creds()).unwrap().uid(), bots);
    for path in all_below(&world.path("state")) {
        assert_eq!(
            fs::symlink_metadata(&path).unwrap().uid(),
            own,
            "{}",
            path.display()
        );
    }
    // And root's run is no obstacle to the other user's.
    let runs = as_own(&["runs", "--output=json"]).must(0, &[]);
    assert!(runs.out.contains("\"done\""), "{}", runs.out);
    as_own(&["creds", "list", SESSION]).must(0, &[]);
    as_own(&["creds", "restore", SESSION, "--yes"]).must(1, &["not older"]);
}

fn all_below(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
        }
        all.push(path);
    }
    all
}

#[test]
fn copies_of_a_renamed_session_are_moved_with_it() {
    let world = Host::new();
    world.keep(&world.bytes().unwrap());
    let renamed = "company.7 süd";
    fs::rename(world.folder(), world.path("sessions").join(renamed)).unwrap();
    let row = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks/baileyscredsbroken.md"),
    );
    assert!(row.unwrap().contains("/creds/NEW"));
    // What `creds list` says of a session without copies names the place.
    let said = world.run(&["creds", "list", renamed]).must(0, &["No copy"]);
    let place = said
        .out
        .split('`')
        .find(|part| part.contains("/creds/"))
        .unwrap()
        .to_owned();
    fs::rename(world.path("state/creds").join(SESSION), &place).unwrap();
    assert_eq!(world.list(renamed).len(), 1);
}

#[test]
fn a_person_confirms_by_the_sessions_name() {
    let world = Host::new();
    world.keep(&world.bytes().unwrap());
    world.write(b"");
    world
        .run(&["creds", "restore", SESSION])
        .must(2, &["--yes"]);
    assert!(world.bytes().unwrap().is_empty());
    // On a terminal, the name is asked for.
    for (answer, code) in [("yes", 2), (SESSION, 0)] {
        let command = world.args(&["creds", "restore", SESSION]);
        let quoted: Vec<String> = std::iter::once(REMEDIATOR.to_owned())
            .chain(command)
            .map(|word| testkit::stack::quote(&word))
            .collect();
        let mut script = Command::new("script")
            .args(["-qec", &quoted.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        script
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{answer}\n").as_bytes())
            .unwrap();
        let mut ended = None;
        testkit::until("the command ends", || {
            ended = script.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(code), "{answer}");
    }
    assert!(!world.bytes().unwrap().is_empty());
}

#[test]
fn a_newer_file_or_another_identity_is_replaced_by_force_only_and_can_come_back() {
    let world = Host::new();
    let whole = world.bytes().unwrap();
    let next = number(&whole, "nextPreKeyId");
    world.keep(&with_counters(&whole, next - 1));
    // The same identity, newer: the counter tells.
    world.restore(&[]).must(1, &["not older", "--force"]);
    // Older than the copy, as from a backup: that is what the copy is for.
    world.keep(&whole);
    fs::write(world.creds(), with_counters(&whole, next - 5)).unwrap();
    let an_hour_ago = SystemTime::now() - 4 * QUARTER;
    fs::File::options()
        .write(true)
        .open(world.creds())
        .unwrap()
        .set_modified(an_hour_ago)
        .unwrap();
    world.restore(&["--version=2"]).must(0, &[]);
    assert!(world.bytes().unwrap() == whole);
    // Put there since, perhaps on purpose: a person decides.
    fs::write(world.creds(), with_counters(&whole, next - 5)).unwrap();
    let since = SystemTime::now() - QUARTER * 4 / 5;
    fs::File::options()
        .write(true)
        .open(world.creds())
        .unwrap()
        .set_modified(since)
        .unwrap();
    world
        .restore(&["--version=2"])
        .must(1, &["not older", "--force"]);
    world.restore(&["--version=2", "--force"]).must(0, &[]);
    assert!(world.bytes().unwrap() == whole);

    // Another account was paired here since.
    let other = of_identity(&whole, 'B');
    world.write(&other);
    world
        .restore(&["--version=2"])
        .must(1, &["another identity"]);
    world.look();
    let theirs = world.list(SESSION)[0]["version"]
        .as_u64()
        .unwrap()
        .to_string();
    world.write(&other[..100]);
    world
        .restore(&["--version=2"])
        .must(1, &["another identity"]);
    world.write(&with_counters(&other, next + 40));
    assert!(world.bytes().unwrap() != whole);
    world.restore(&["--version=2", "--force"]).must(0, &[]);
    let restored = world.bytes().unwrap();
    // How far the replaced identity's own counters had come is unknown.
    assert!(restored == with_counters(&whole, next + 40 + BATCH));
    // What was forced away was insured first: the way back.
    let list = world.list(SESSION);
    let copy = list
        .iter()
        .find(|copy| copy["next_pre_key_id"] == next + 40)
        .expect("kept before it was replaced");
    assert!(copy["version"].as_u64().unwrap() > theirs.parse().unwrap());
    let version = format!("--version={}", copy["version"]);
    world.restore(&[&version, "--force"]).must(0, &[]);
    assert!(world.bytes().unwrap() == with_counters(&other, next + 40 + 2 * BATCH));

    world
        .restore(&["--version=77"])
        .must(2, &["no such copy", "creds list"]);
    let dir = world.path("state/creds").join(SESSION);
    for file in fs::read_dir(&dir).unwrap() {
        fs::write(file.unwrap().path(), "{").unwrap();
    }
    world.run(&["creds", "list", SESSION]).must(0, &["damaged"]);
    world.restore(&["--version=2"]).must(2, &["damaged"]);
    world.restore(&[]).must(2, &["no such copy"]);
}

#[test]
fn by_force_a_copy_that_cannot_be_kept_is_a_warning_only() {
    let world = Host::new();
    let whole = world.bytes().unwrap();
    world.keep(&whole);
    for nth in 1..100 {
        world.keep(&of_identity(&whole, char::from_u32(0x4E00 + nth).unwrap()));
    }
    let other = of_identity(&whole, 'B');
    world.write(&other);
    world
        .restore(&["--version=1"])
        .must(1, &["another identity"]);
    world
        .restore(&["--version=1", "--force"])
        .must(0, &["in the quarantine only", "is back"]);
    assert!(
        insurable(&world.bytes().unwrap()).unwrap().identity == insurable(&whole).unwrap().identity
    );
    assert!(
        world
            .set_aside()
            .iter()
            .any(|(name, bytes)| name == "replaced.json" && *bytes == other)
    );
    assert_eq!(world.list(SESSION).len(), 100);
}

#[test]
fn whatever_else_stands_in_creds_json_survives() {
    let world = Host::new();
    let whole = String::from_utf8(world.bytes().unwrap()).unwrap();
    let odd = whole.replacen(
        '{',
        "{ \"zzz\":1.50e3,\n \"big\":123456789012345678901234567890, \"aaa\":{\"type\":\"Buffer\",\"data\":\"//+=\"},\"nextPreKeyIds\":[1],",
        1,
    );
    world.keep(odd.as_bytes());
    world.write(b"");
    world.restore(&[]).must(0, &[]);
    let next = highest_pre_key(&world.folder()) + 1 + BATCH;
    assert!(world.bytes().unwrap() == with_counters(odd.as_bytes(), next));
}

#[test]
fn what_was_replaced_goes_with_the_quarantines_retention_and_not_before() {
    let world = Host::new();
    world.keep(&world.bytes().unwrap());
    world.write(b"{\"half\":");
    world.restore(&[]).must(0, &[]);
    world.look();
    assert!(
        world
            .set_aside()
            .iter()
            .any(|(name, bytes)| name == "replaced.json" && bytes == b"{\"half\":")
    );
    // A clean-up, its undo and its list of runs do not take it for one of theirs.
    world.run(&["plan", SESSION]);
    let run = world.runs()[0]["run"].as_str().unwrap().to_owned();
    world
        .run(&["undo", &run])
        .must(2, &["no quarantine holds a run"]);
}

// Crashes. `strace` kills the program on entry to one call that changes something.

const CHANGES: &str = "?mkdir,?mkdirat,?write,?writev,?pwrite64,?fsync,?fdatasync,?ftruncate,?rename,?renameat,?renameat2,?link,?linkat,?unlink,?unlinkat,?rmdir,?fchmod,?fchown,?utimensat,?openat";

/// One traced call: its name, and its place among those of its thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    name: String,
    nth: usize,
    line: String,
}

/// The calls that change something or make a file; a wake-up of a thread is none of them.
fn changes(lines: Vec<strace::Line>) -> Vec<Call> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for strace::Line { thread, call } in lines {
        let Some((name, _)) = call.split_once('(') else {
            continue;
        };
        let nth = counts.entry((thread, name.to_owned())).or_default();
        *nth += 1;
        let makes = name != "openat" || call.contains("O_CREAT");
        if makes && !call.contains("anon_inode") {
            calls.push(Call {
                name: name.to_owned(),
                nth: *nth,
                line: call.clone(),
            });
        }
    }
    calls
}

impl Host {
    /// Runs a command under strace, which does what `inject` says.
    fn traced(&self, args: Vec<String>, inject: Option<&str>) -> (Option<i32>, Vec<Call>, String) {
        let log = self.path("trace");
        let mut words: Vec<String> = ["-f", "-qq", "-y", "-s", "0", "-e", "signal=none"]
            .map(String::from)
            .to_vec();
        let traced = inject.map_or(CHANGES, |inject| inject.split_once(':').unwrap().0);
        words.extend([
            "-o".into(),
            log.display().to_string(),
            "-e".into(),
            format!("trace={traced}"),
        ]);
        if let Some(inject) = inject {
            words.extend(["-e".into(), format!("inject={inject}")]);
        }
        words.push(REMEDIATOR.into());
        words.extend(args);
        // Ends the program with strace.
        let limit = ["-s", "KILL", "20"].map(String::from);
        let words = limit
            .into_iter()
            .chain([strace::program().display().to_string()])
            .chain(words);
        let (status, out, err) = process::run(Path::new("timeout"), words, BOUND).unwrap();
        let trace = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        let lines = strace::lines(&trace);
        if inject.is_some_and(|inject| inject.contains("error=")) && status.code().is_none() {
            // tokio wakes its threads with writes of its own, which do not fail outside of strace;
            // without one it may wait for ever. Nothing else may hang.
            let is_wake_up = |line: &strace::Line| {
                line.call.contains("(INJECTED)") && line.call.contains("anon_inode")
            };
            assert!(lines.iter().any(is_wake_up), "it hangs: {trace}");
        }
        let calls = changes(lines);
        (status.code(), calls, err + &out)
    }

    /// After a crash: the file in the folder is the old one or the restored one, and if it is
    /// the latter the old one is kept; nothing else came into the folder, and all copies are whole.
    fn nothing_is_lost(
        &self,
        old: &Option<Vec<u8>>,
        restored: &[u8],
        names: &BTreeSet<String>,
        case: &str,
    ) {
        let now = self.bytes();
        assert!(
            now == *old || now.as_deref() == Some(restored),
            "{case}: neither the old nor the new file"
        );
        if let Some(old) = old
            && now.as_ref() != Some(old)
        {
            assert!(
                self.set_aside().iter().any(|(_, bytes)| bytes == old),
                "{case}: the old file is gone"
            );
        }
        let mut there: BTreeSet<String> = names_in(&self.folder());
        there.remove(QUARANTINE);
        let mut wanted = names.clone();
        if now.is_some() {
            wanted.insert("creds.json".into());
        }
        assert_eq!(there, wanted, "{case}");
        assert!(
            self.list(SESSION).iter().all(|copy| copy["whole"] == true),
            "{case}"
        );
    }
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Kills a restore, or has a call of it fail, at every call that changes something.
fn at_every_call(old: Option<&[u8]>, force: bool, what: &str) -> usize {
    let copy_of = |world: &Host| with_counters(&world.bytes().unwrap(), 31);
    let prepare = || {
        let world = Host::new();
        let copy = copy_of(&world);
        world.keep(&copy);
        let restored = with_counters(&copy, highest_pre_key(&world.folder()) + 1 + BATCH);
        match old {
            Some(bytes) => world.write(bytes),
            None => fs::remove_file(world.creds()).unwrap(),
        }
        let mut names = names_in(&world.folder());
        names.remove("creds.json");
        (world, restored, names)
    };
    let args = |world: &Host| {
        let mut args = world.args(&["creds", "restore", SESSION, "--yes", "--version=1"]);
        args.extend(force.then(|| "--force".to_owned()));
        args
    };
    let old = old.map(<[u8]>::to_vec);
    let (world, restored, names) = prepare();
    let (code, calls, said) = world.traced(args(&world), None);
    assert_eq!(code, Some(0), "{said}");
    world.nothing_is_lost(&old, &restored, &names, "undisturbed");
    assert!(world.bytes().unwrap() == restored);
    // The exchange, with the record before it and the directories saved behind it.
    let swap = calls
        .iter()
        .position(|call| call.name == "renameat2" && call.line.contains("creds.json"));
    let swap = swap.expect("one rename puts the file in its place");
    assert!(
        calls[..swap]
            .iter()
            .any(|call| call.name.starts_with("rename") && call.line.contains("restore.json"))
    );
    assert!(
        calls[..swap]
            .iter()
            .any(|call| call.name == "fsync" && call.line.contains("new.json"))
    );
    assert!(calls[swap..].iter().any(|call| call.name == "fsync"));

    // The journal's own calls are tried by `make soak`, and in crash_safety.rs.
    let all = std::env::var_os("SOAK_SECONDS").is_some();
    let ours = |call: &&Call| {
        all || call.line.contains("/sessions/") || call.line.contains("/state/creds")
    };
    let points: BTreeSet<(String, usize)> = calls
        .iter()
        .filter(ours)
        .map(|call| (call.name.clone(), call.nth))
        .collect();
    assert!(points.len() >= 10, "{points:?}");
    let mut struck = 0;
    for (index, (name, nth)) in points.iter().enumerate() {
        let case = format!("{what} at {name} {nth}");
        let (world, restored, names) = prepare();
        let (code, _, said) =
            world.traced(args(&world), Some(&format!("{name}:{what}:when={nth}")));
        // tokio wakes itself with a write of its own, which does not fail outside of strace.
        let panicked = said.contains("panicked") && !said.contains("failed to wake I/O driver");
        assert!(!panicked, "{case}: {said}");
        struck += usize::from(code != Some(0));
        world.nothing_is_lost(&old, &restored, &names, &case);
        if index % 6 == 0 {
            // A start of `serve` ends it, in the folder and on record.
            world.look();
            let open = world
                .runs()
                .iter()
                .filter(|run| run["status"] == "running")
                .count();
            assert_eq!(open, 0, "{case}: {:?}", world.runs());
            let done = world
                .runs()
                .iter()
                .any(|run| run["action"] == "restore" && run["status"] == "done");
            let is_in_place = world.bytes().as_ref() == Some(&restored);
            assert!(!done || is_in_place, "{case}: the record tells the truth");
            world.nothing_is_lost(&old, &restored, &names, &case);
            assert!(
                world.set_aside().iter().all(|(name, _)| name != "new.json"),
                "{case}"
            );
        }
        // And a person who does it again gets there.
        let again = world.restore(&["--version=1"]);
        let is_in_place = world.bytes().as_ref() == Some(&restored);
        assert!(
            is_in_place && matches!(again.code, 0 | 1),
            "{case}: {}{}",
            again.out,
            again.err
        );
        world.nothing_is_lost(&old, &restored, &names, &case);
        assert!(
            world.set_aside().iter().all(|(name, _)| name != "new.json"),
            "{case}"
        );
    }
    assert!(
        struck * 10 >= points.len() * 7,
        "{struck} of {} were struck",
        points.len()
    );
    struck
}

#[test]
fn a_restore_killed_at_any_call_loses_nothing() {
    at_every_call(Some(b"{\"nextPreKeyId\":5,\"cut"), false, "signal=KILL");
}

#[test]
fn a_restore_over_nothing_killed_at_any_call_loses_nothing() {
    at_every_call(None, false, "signal=KILL");
}

#[test]
fn a_restore_with_any_call_failing_loses_nothing() {
    // `make soak` tries them all.
    let all = ["error=ENOSPC", "error=EIO", "error=EROFS", "error=EACCES"];
    let some = if std::env::var_os("SOAK_SECONDS").is_some() {
        &all[..]
    } else {
        &all[..1]
    };
    for errno in some {
        at_every_call(Some(b"{\"nextPreKeyId\":5,\"cut"), false, errno);
    }
}

#[test]
fn a_look_killed_at_any_call_keeps_whole_copies_only() {
    let prepare = || {
        let world = Host::new();
        let whole = world.bytes().unwrap();
        // With the fourth, one is let go.
        for next in [31, 32, 33] {
            world.keep(&with_counters(&whole, next));
        }
        world
    };
    let versions = |world: &Host| -> BTreeSet<u64> {
        let list = world.list(SESSION);
        assert!(list.iter().all(|copy| copy["whole"] == true), "{list:?}");
        list.iter()
            .map(|copy| copy["version"].as_u64().unwrap())
            .collect()
    };
    let world = prepare();
    // Only the calls about these paths are counted and struck, in whatever thread.
    let calls = world.traced_look(None);
    let wanted = versions(&world);
    assert_eq!(wanted, BTreeSet::from([1, 2, 4]));
    let has = |name: &str, what: &str| {
        calls
            .iter()
            .any(|call| call.name == name && call.line.contains(what))
    };
    assert!(
        has("openat", "new.tmp") && has("write", "new.tmp") && has("fsync", "new.tmp"),
        "{calls:?}"
    );
    assert!(
        has("renameat", "new.tmp") && has("fsync", SESSION) && has("unlinkat", ".creds"),
        "{calls:?}"
    );
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for call in &calls {
        *counts.entry(call.name.clone()).or_default() += 1;
    }
    let (mut killed, mut tried) = (0, 0);
    for (name, nth) in counts
        .iter()
        .flat_map(|(name, count)| (1..=*count).map(move |nth| (name, nth)))
    {
        let world = prepare();
        let struck = world.traced_look(Some(&format!("{name}:signal=KILL:when={nth}")));
        tried += 1;
        killed += usize::from(struck.len() == nth);
        let after = versions(&world);
        // The others are let go only once the new one is whole.
        let former = BTreeSet::from([1, 2, 3]);
        assert!(
            former.is_subset(&after) || after.contains(&4),
            "{name} {nth}: {after:?}"
        );
        world.look();
        assert_eq!(versions(&world), wanted, "{name} {nth}");
        let left = names_in(&world.path("state/creds").join(SESSION));
        assert!(
            left.iter().all(|name| name.ends_with(".creds")),
            "{name} {nth}: {left:?}"
        );
    }
    // An `openat` that makes nothing is struck too, and not counted.
    assert!(tried >= 6 && killed * 2 >= tried, "{killed} of {tried}");
}

impl Host {
    /// `serve` under strace until it has looked, or is killed.
    fn traced_look(&self, inject: Option<&str>) -> Vec<Call> {
        let port = net::free_port(None).unwrap();
        let log = self.path("trace");
        let mut words: Vec<String> = ["-f", "-qq", "-y", "-s", "0", "-e", "signal=none"]
            .map(String::from)
            .to_vec();
        let traced = inject.map_or(CHANGES, |inject| inject.split_once(':').unwrap().0);
        words.extend([
            "-o".into(),
            log.display().to_string(),
            "-e".into(),
            format!("trace={traced}"),
        ]);
        if let Some(inject) = inject {
            words.extend(["-e".into(), format!("inject={inject}")]);
        }
        let copies = self.path("state/creds").join(SESSION);
        for path in [copies.join("new.tmp"), copies] {
            words.extend(["-P".into(), path.display().to_string()]);
        }
        words.push(REMEDIATOR.into());
        words.extend(self.serve_args(port));
        let mut child = Command::new(strace::program())
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("serve.log")).unwrap())
            .spawn()
            .unwrap();
        testkit::until("the look, or the kill", || {
            let url = format!("http://127.0.0.1:{port}/metrics");
            let text = net::get(&url)
                .and_then(|answer| answer.ok())
                .unwrap_or_default();
            let looked = "baileys_remediator_creds_insurance_last_look_timestamp_seconds";
            child.try_wait().unwrap().is_some()
                || (text.contains(looked) && !text.contains(&format!("{looked} 0\n")))
        });
        if child.try_wait().unwrap().is_none() {
            // strace passes it on: its tracee is the only child.
            let tracee =
                fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
            for pid in tracee.split_whitespace() {
                let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            testkit::until("serve ends", || child.try_wait().unwrap().is_some());
        }
        changes(strace::lines(&String::from_utf8_lossy(
            &fs::read(&log).unwrap(),
        )))
    }
}

/// The shell blocks of the runbook below a heading that begins so.
fn runbook(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks/baileyscredsbroken.md");
    let text = fs::read_to_string(path).unwrap();
    let from = text.find(heading).unwrap_or_else(|| panic!("no {heading}"));
    let section = &text[from + heading.len()..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_runbooks_commands_work_as_they_are_written() {
    // With the state of this test in the places that the runbook names.
    let run = |world: &Host, block: &str| {
        let programs = Path::new(REMEDIATOR).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let block = block
            .replace(
                "/opt/ai-admin/baileys_sessions",
                &world.path("sessions").display().to_string(),
            )
            .replace(
                "/etc/baileys/config.yml",
                &world.path("config.yml").display().to_string(),
            )
            .replace(
                "/path/to/backup",
                &world.path("backup").display().to_string(),
            )
            .replace("sudo baileys_remediator", "baileys_remediator");
        // There is no terminal here.
        let block = block.replace(
            "creds restore company_962302",
            "creds restore company_962302 --yes",
        );
        let script = format!("set -e\nFOLDER={}\n{block}", world.folder().display());
        let home = world.path("home");
        fs::create_dir_all(&home).unwrap();
        let output = Command::new("bash")
            .args(["-c", &script])
            .env("PATH", path)
            .env("HOME", home)
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), said)
    };
    let diagnosis = runbook("## Diagnosis").concat();
    let mitigation = runbook("## Mitigation");
    let restores: Vec<&String> = mitigation
        .iter()
        .filter(|block| block.contains("creds restore"))
        .collect();
    let [restore] = restores[..] else {
        panic!("one block restores: {mitigation:?}")
    };
    let by_hand: Vec<&String> = mitigation
        .iter()
        .filter(|block| block.contains("jq "))
        .collect();
    let [by_hand] = by_hand[..] else {
        panic!("one block does it by hand")
    };
    let tar: Vec<&String> = mitigation
        .iter()
        .filter(|block| block.contains("tar "))
        .collect();

    let world = Host::new();
    let whole = world.bytes().unwrap();
    world.keep(&with_counters(&whole, 31));
    world.write(&whole[..200]);
    let (_, said) = run(
        &world,
        &diagnosis
            .replace("set -e", "")
            .replace("&& echo whole", "&& echo whole || echo broken"),
    );
    assert!(
        said.contains("200 bytes") && said.contains("broken") && said.contains("cut off"),
        "{said}"
    );
    let (code, said) = run(&world, tar[0]);
    assert_eq!(code, Some(0), "{said}");
    assert!(world.path("home/company_962302.tgz").exists());
    let (code, said) = run(&world, restore);
    assert_eq!(code, Some(0), "{said}");
    let next = highest_pre_key(&world.folder()) + 1 + BATCH;
    assert!(
        said.contains("VERSION") && said.contains("Start the bot now"),
        "{said}"
    );
    assert!(world.bytes().unwrap() == with_counters(&whole, next));

    // Without a copy, from a backup by hand.
    let world = Host::new();
    let whole = world.bytes().unwrap();
    fs::create_dir(world.path("backup")).unwrap();
    fs::write(world.path("backup/creds.json"), with_counters(&whole, 31)).unwrap();
    world.write(&whole[..200]);
    let (code, said) = run(&world, by_hand);
    assert_eq!(code, Some(0), "{said}");
    let by_hand: Value = serde_json::from_slice(&world.bytes().unwrap()).unwrap();
    assert_eq!(
        by_hand,
        serde_json::from_slice::<Value>(&with_counters(&whole, next)).unwrap()
    );
}
