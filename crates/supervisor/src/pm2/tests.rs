use super::*;
use std::fs;

fn entry(json: &str) -> Pm2Process {
    serde_json::from_str(json).unwrap()
}

#[test]
fn what_has_ended() {
    for (status, pid, ended) in [
        ("stopped", "0", true),
        ("stopped", "null", true),
        ("errored", "0", true),
        // About to be started again.
        ("stopped", "77", false),
        // Could not be killed.
        ("errored", "77", false),
        // It waits, or only a further look tells.
        ("waiting restart", "77", false),
        ("waiting restart", "0", false),
        ("online", "77", false),
        ("online", "0", false),
        ("launching", "0", false),
        ("stopping", "77", false),
    ] {
        let entry = entry(&format!(
            r#"{{"name":"a","pm_id":1,"pid":{pid},"pm2_env":{{"status":"{status}"}}}}"#
        ));
        assert_eq!(entry.has_ended(), ended, "{status} {pid}");
        assert!(entry.pm2_env.is_known());
    }
}

#[test]
fn all_of_a_name_are_stopped_or_none() {
    let entry = |id: u32, status: &str, pid: u32| {
        entry(&format!(
            r#"{{"name":"a","pm_id":{id},"pid":{pid},"pm2_env":{{"status":"{status}"}}}}"#
        ))
    };
    let (one, two) = (entry(1, "online", 71), entry(2, "online", 72));
    let (stopped, errored) = (entry(3, "stopped", 0), entry(4, "errored", 0));
    for same in [[&one, &two], [&stopped, &errored]] {
        assert_eq!(obstacle_in(&same), None);
    }
    for mixed in [[&one, &stopped], [&errored, &two]] {
        assert_eq!(obstacle_in(&mixed), Some(RestartObstacle::EndedInPart));
    }
}

#[test]
fn what_others_start() {
    for (env, started) in [
        (r#""watch":false"#, false),
        (r#""watch":true"#, true),
        (r#""watch":["src"]"#, true),
        (r#""watch":[]"#, false),
        (r#""cron_restart":"0 3 * * *""#, true),
        (r#""cron_restart":null"#, false),
        (r#""cron_restart":"0""#, false),
    ] {
        let entry = entry(&format!(
            r#"{{"name":"a","pm_id":1,"pm2_env":{{"status":"online",{env}}}}}"#
        ));
        let refused = started.then_some(RestartObstacle::StartedByPm2);
        assert_eq!(obstacle_in(&[&entry]), refused, "{env}");
    }
}

/// A process that ends by itself is started again, or is `errored`.
#[test]
fn who_was_asked_to_stop() {
    for (env, asked) in [
        (r#""status":"stopped","autorestart":true"#, true),
        (
            r#""status":"stopped","autorestart":true,"stop_exit_codes":[]"#,
            true,
        ),
        (
            r#""status":"stopped","autorestart":true,"stop_exit_codes":null"#,
            true,
        ),
        (r#""status":"errored","autorestart":true"#, false),
        (r#""status":"stopped","autorestart":false"#, false),
        (r#""status":"stopped","autorestart":"false""#, false),
        (r#""status":"stopped""#, false),
        (
            r#""status":"stopped","autorestart":true,"stop_exit_codes":[0]"#,
            false,
        ),
    ] {
        let entry = entry(&format!(r#"{{"name":"a","pm_id":1,"pm2_env":{{{env}}}}}"#));
        assert_eq!(entry.pm2_env.was_asked_to_stop(), asked, "{env}");
    }
}

#[test]
fn a_name_is_meant_as_it_is() {
    let named = |name: &str| {
        entry(&format!(
            r#"{{"name":{name},"pm_id":1,"pm2_env":{{"status":"online"}}}}"#
        ))
    };
    assert!(named("\"all\"").is_named("all"));
    assert!(!named("\"bot\"").is_named("all"));
    assert!(named("7").is_named("7"));
    assert!(!named("\"bot-7\"").is_named("7"));
}

#[test]
fn what_remains_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let home = Path::new("/home/bots/.pm2");
    let (dir, proc) = (dir.path(), ProcDir::at(dir.path()));
    let proc = &proc;
    // Numbers that no real process has: the kernel is queried about missing ones.
    let process = |pid: u32, name: &str, state: &str, parent: u32, environ: &str| {
        let place = dir.join(pid.to_string());
        fs::create_dir(&place).unwrap();
        let stat = format!(
            "{pid} ({name}) {state} {parent} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {}{}",
            pid + 5,
            " 0".repeat(15)
        );
        fs::write(place.join("stat"), stat).unwrap();
        fs::write(place.join("environ"), environ.replace(' ', "\0")).unwrap();
    };
    process(5_000_001, "npm) S 1", "S", 1, "");
    process(5_000_002, "node", "S", 5_000_001, "");
    process(5_000_003, "sh", "S", 5_000_002, "");
    process(
        5_000_004,
        "other",
        "S",
        1,
        "PM2_HOME=/home/bots/.pm2 pm_id=12 ",
    );
    let roots = BTreeSet::from([5_000_001]);
    let all = tree(proc, &roots);
    let numbers: Vec<u32> = all.iter().map(|(pid, _)| *pid).collect();
    assert_eq!(numbers, [5_000_001, 5_000_002, 5_000_003]);

    let one = BTreeSet::from([1]);
    assert_eq!(remains(proc, &all, home, &one), Ok(true));
    for pid in [5_000_001, 5_000_003] {
        fs::remove_dir_all(dir.join(pid.to_string())).unwrap();
    }
    assert_eq!(
        remains(proc, &all, home, &one),
        Ok(true),
        "the grandchild is still there"
    );
    let other = BTreeSet::from([(5_000_002, 1)]);
    assert_eq!(
        remains(proc, &other, home, &one),
        Ok(false),
        "another process of that number"
    );
    fs::remove_dir_all(dir.join("5000002")).unwrap();
    assert_eq!(remains(proc, &all, home, &one), Ok(false));
    assert_eq!(
        remains(proc, &all, home, &BTreeSet::from([12])),
        Ok(true),
        "known by its environment"
    );
    assert_eq!(
        remains(proc, &all, Path::new("/home/bots"), &BTreeSet::from([12])),
        Ok(false)
    );
}

#[test]
fn the_list_of_pm2() {
    let entry = |name: &str, status: &str, pid: u32| {
        format!(
            r#"{{"pm_id":1,"pid":{pid},"name":"{name}","pm2_env":{{"status":"{status}","env":{{"a":"["}}}},"monit":{{}}}}"#
        )
    };
    for (entries, is) in [
        (vec![entry("bot", "online", 7)], "running"),
        (vec![entry("bot", "stopping", 7)], "changing"),
        (vec![entry("bot", "launching", 7)], "changing"),
        (
            vec![entry("bot", "online", 7), entry("bot", "stopping", 8)],
            "changing",
        ),
        (vec![entry("bot", "stopped", 0)], "gone"),
        (
            vec![entry("bot", "errored", 0), entry("bot", "stopped", 0)],
            "gone",
        ),
        (
            vec![entry("bot", "stopped", 0), entry("bot", "online", 8)],
            "running",
        ),
        (vec![entry("bot", "stopped", 7)], "changing"),
        (vec![entry("bot", "waiting restart", 0)], "changing"),
        (vec![entry("bot", "online", 0)], "changing"),
    ] {
        let answer = format!(
            ">>>> In-memory PM2 is out-of-date, do:\n>>>> $ pm2 update\n[PM2] a line\n[{}]\n",
            entries.join(",")
        );
        let list = list_in(answer.as_bytes()).unwrap();
        let named: Vec<&Pm2Process> = list.iter().filter(|entry| entry.is_named("bot")).collect();
        let word = match judge(&named).unwrap() {
            None => "gone",
            Some(Observation::Running { .. }) => "running",
            Some(_) => "changing",
        };
        assert_eq!(word, is, "{entries:?}");
    }
    assert!(list_in(b"").is_none());
    assert!(
        list_in(b"[PM2][ERROR] no\n[{\"pid\":1").is_none(),
        "cut off"
    );
}

#[test]
fn how_often_pm2_has_restarted_it() {
    let of = |env: &str| {
        entry(&format!(
            r#"{{"name":"a","pm_id":1,"pm2_env":{{"status":"waiting restart"{env}}}}}"#
        ))
    };
    let (three, four) = (of(r#","restart_time":3"#), of(r#","restart_time":4"#));
    assert_eq!(restarts(&[&three]), Some(3));
    assert_eq!(restarts(&[&three, &four]), Some(7), "of all together");
    let most = of(r#","restart_time":18446744073709551615"#);
    assert_eq!(restarts(&[&most, &four]), Some(u64::MAX));
    // One that does not tell.
    for none in [
        "",
        r#","restart_time":null"#,
        r#","restart_time":-1"#,
        r#","restart_time":"3""#,
    ] {
        assert_eq!(restarts(&[&three, &of(none)]), None, "{none}");
    }
}

#[test]
fn the_last_start_of_a_name() {
    let of = |env: &str| {
        entry(&format!(
            r#"{{"name":"a","pm_id":1,"pm2_env":{{"status":"stopped"{env}}}}}"#
        ))
    };
    let at = |millis| Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
    let (one, two, none) = (
        of(r#","pm_uptime":1500"#),
        of(r#","pm_uptime":2500"#),
        of(""),
    );
    assert_eq!(last_start(&[&one, &two]), at(2500));
    assert_eq!(last_start(&[&one, &none]), None);
}
