use super::*;
use std::fs;

fn word(seen: &Observation) -> &'static str {
    match seen {
        Observation::Running { .. } | Observation::Changing(_) => "running",
        Observation::Gone { .. } => "gone",
        Observation::Unknown(_) => "unknown",
    }
}

fn known(last: Option<&str>, is_trusted: bool) -> Query {
    Query {
        last_mark: last.map(str::to_owned),
        is_trusted,
        ..Query::default()
    }
}

#[test]
fn is_the_process_of_this_id_the_right_one() {
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let judge = |started: Option<SystemTime>, mark: &str, last: Option<&str>| {
        word(&judge_pid(
            Named {
                pid: 7,
                written,
                started,
                mark: mark.into(),
            },
            last,
        ))
    };
    let later = Some(written + Duration::from_secs(3));
    let (this, reused, rewritten) = ("7 1 100 boot", "7 1 200 boot", "7 2 200 boot");
    assert_eq!(judge(Some(written + START_SLACK), this, None), "running");
    assert_eq!(
        judge(Some(written - START_SLACK), this, Some(reused)),
        "running"
    );
    let long_ago = written - WRITTEN_WITHIN;
    assert_eq!(judge(Some(long_ago), this, None), "running");
    let longer_ago = Some(long_ago - Duration::from_secs(1));
    assert_eq!(
        judge(longer_ago, this, None),
        "unknown",
        "an older process of this number"
    );
    assert_eq!(judge(longer_ago, reused, Some(this)), "unknown");
    assert_eq!(
        judge(longer_ago, this, Some(this)),
        "running",
        "the clock was set"
    );
    assert_eq!(
        judge(later, this, None),
        "unknown",
        "another process, or the clock was set"
    );
    assert_eq!(
        judge(later, this, Some(this)),
        "running",
        "the clock was set"
    );
    assert_eq!(judge(later, reused, Some(this)), "gone");
    assert_eq!(judge(later, "7 1 100 another-boot", Some(this)), "gone");
    assert_eq!(
        judge(later, rewritten, Some(this)),
        "unknown",
        "the file is of a later run"
    );
    assert_eq!(judge(later, "8 1 100 boot", Some(this)), "unknown");
    assert_eq!(judge(None, this, None), "unknown");
}

#[test]
fn only_the_run_that_was_seen_counts_as_gone() {
    let run = "7 1800000000000000000";
    let judge = |last: Option<&str>, is_trusted: bool| {
        word(&judge_gone(7, run, &known(last, is_trusted), "is gone"))
    };
    assert_eq!(judge(Some(&format!("{run} 100 boot")), false), "gone");
    for other in [
        format!("7{run} 100 boot"),
        format!("{run}1 100 boot"),
        "7 1 100 boot".into(),
    ] {
        assert_eq!(judge(Some(&other), false), "unknown", "{other}");
        assert_eq!(judge(Some(&other), true), "gone", "{other}");
    }
    assert_eq!(judge(None, false), "unknown");
    assert_eq!(judge(None, true), "gone");
}

#[tokio::test]
async fn a_pid_file_is_another_source_in_another_pid_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let seen_from = |namespace: &str, path: &str| OnePidFile {
        path: path.into(),
        proc: ProcDir::at(&dir.path().join(namespace)),
    };
    for namespace in ["host", "container"] {
        fs::create_dir_all(dir.path().join(namespace).join("self/ns")).unwrap();
        fs::write(dir.path().join(namespace).join("self/ns/pid"), "").unwrap();
    }
    assert_eq!(seen_from("host", "/a").id(), seen_from("host", "/a").id());
    assert_ne!(
        seen_from("host", "/a").id(),
        seen_from("container", "/a").id()
    );
    assert_ne!(seen_from("host", "/a").id(), seen_from("host", "/b").id());
    // Where it is unknown, nothing is believed.
    let path = dir.path().join("bot.pid");
    fs::write(&path, std::process::id().to_string()).unwrap();
    let nowhere = seen_from("nowhere", &path.display().to_string());
    let seen = nowhere.observe(&known(None, true)).await.observation;
    assert!(
        matches!(&seen, Observation::Unknown(why) if why.contains("PID namespace")),
        "{seen:?}"
    );
    for tried in [
        nowhere.stop(CallOptions::new(Duration::ZERO)).await,
        nowhere.start(CallOptions::new(Duration::ZERO)).await,
    ] {
        assert!(!tried.unwrap_err().may_have_acted());
    }
}

#[test]
fn a_named_pipe_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bot.pid");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let (done, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(observe(&ProcDir::default(), &path, &Query::default()));
    });
    let seen = seen.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(seen.unwrap_err().contains("not a file"));
}

#[test]
fn pid_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bot.pid");
    let look = |last: Option<&str>| observe(&ProcDir::default(), &path, &known(last, false));
    assert!(look(None).unwrap_err().contains("cannot be read"));
    for nonsense in ["", "x", "-1", "0", "12 13", "99999999999", "4294967295"] {
        fs::write(&path, nonsense).unwrap();
        assert!(
            look(None).unwrap_err().contains("does not hold a number"),
            "{nonsense:?}"
        );
    }
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    fs::write(&path, format!("{}\n", child.id())).unwrap();
    let Observation::Running {
        pids,
        mark: Some(mark),
    } = look(None).unwrap()
    else {
        panic!("it runs")
    };
    assert_eq!(pids, [child.id()]);
    // As if the clock had been set forward since, or the number been given anew.
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    assert_eq!(word(&look(None).unwrap()), "unknown");
    assert_eq!(
        word(&look(Some(&mark)).unwrap()),
        "unknown",
        "the file is another one"
    );
    // As if an older process had the number that an old file names.
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    assert!(
        matches!(look(None).unwrap(), Observation::Unknown(why) if why.contains("more than 10m before"))
    );
    fs::write(&path, format!("{}\n", child.id())).unwrap();
    let Observation::Running {
        mark: Some(mark), ..
    } = look(None).unwrap()
    else {
        panic!("it runs")
    };
    child.kill().unwrap();
    for _ in 0..500 {
        if !ProcDir::default().runs(child.id()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(word(&look(None).unwrap()), "unknown");
    assert!(
        matches!(look(Some(&mark)).unwrap(), Observation::Gone { how, .. } if how.contains("has ended"))
    );
    child.wait().unwrap();
    assert!(
        matches!(look(Some(&mark)).unwrap(), Observation::Gone { how, .. } if how.contains("is gone"))
    );
    assert_eq!(word(&look(None).unwrap()), "unknown");
}

#[test]
fn names_that_are_refused() {
    let placeholders = Placeholders::new("session", "session_pattern", None);
    assert!(PidFile::new("bot.pid", &placeholders).is_err());
    assert!(PidFile::new("/run/{nobody}.pid", &placeholders).is_err());
    let file = PidFile::new("/run/{session}.pid", &placeholders).unwrap();
    assert_eq!(file.fill("a b").unwrap().path, Path::new("/run/a b.pid"));
    assert!(file.fill("../a").is_err());
}

#[test]
fn a_file_that_names_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bot.pid");
    let names_none = || names_none(&ProcDir::default(), &path);
    assert!(names_none(), "no file");
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    fs::write(&path, child.id().to_string()).unwrap();
    assert!(!names_none());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(names_none());
    fs::write(&path, "x").unwrap();
    assert!(!names_none(), "it cannot be understood");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!names_none(), "it cannot be read");
}
