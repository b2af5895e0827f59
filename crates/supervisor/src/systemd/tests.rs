use super::*;

const GONE: &str = "LoadState=loaded\nActiveState=inactive\nSubState=dead\nMainPID=0\nControlPID=0\nControlGroup=\nTasksCurrent=[not set]\nTriggeredBy=\n";

fn word(text: &str, populated: Option<bool>) -> &'static str {
    match UnitState(text.into()).judge(populated) {
        Observation::Running { .. } | Observation::Changing(_) => "running",
        Observation::Gone { .. } => "gone",
        Observation::Unknown(_) => "unknown",
    }
}

#[test]
fn only_what_is_proven_is_gone() {
    assert_eq!(word(GONE, None), "gone");
    for (from, to, is) in [
        ("", "", "gone"),
        (
            "ActiveState=inactive\nSubState=dead",
            "ActiveState=failed\nSubState=failed",
            "gone",
        ),
        (
            "ActiveState=inactive\nSubState=dead",
            "ActiveState=active\nSubState=running",
            "running",
        ),
        (
            "ActiveState=inactive\nSubState=dead",
            "ActiveState=activating\nSubState=auto-restart",
            "running",
        ),
        (
            "ActiveState=inactive\nSubState=dead",
            "ActiveState=deactivating\nSubState=stop-sigterm",
            "running",
        ),
        // systemd 254 and later pass through these before a restart.
        (
            "SubState=dead",
            "SubState=dead-before-auto-restart",
            "running",
        ),
        (
            "ActiveState=inactive\nSubState=dead",
            "ActiveState=failed\nSubState=failed-before-auto-restart",
            "running",
        ),
        ("ActiveState=inactive", "ActiveState=maintenance", "unknown"),
        ("MainPID=0", "MainPID=77", "running"),
        ("ControlPID=0", "ControlPID=78", "running"),
        ("MainPID=0", "MainPID=", "unknown"),
        ("MainPID=0\n", "", "unknown"),
        ("ControlPID=0\n", "", "unknown"),
        ("LoadState=loaded", "LoadState=not-found", "unknown"),
        ("LoadState=loaded", "LoadState=masked", "unknown"),
        ("TriggeredBy=", "Job=12", "running"),
        ("TriggeredBy=", "Job=0", "gone"),
        ("TasksCurrent=[not set]", "TasksCurrent=2", "running"),
        ("TasksCurrent=[not set]", "TasksCurrent=0", "gone"),
        ("TasksCurrent=[not set]", "TasksCurrent=many", "unknown"),
        (
            "ControlGroup=\n",
            "ControlGroup=/system.slice/bot.service\n",
            "unknown",
        ),
        ("ControlGroup=\n", "", "unknown"),
        (
            "ControlGroup=\nTasksCurrent=[not set]",
            "ControlGroup=/a\nTasksCurrent=0",
            "gone",
        ),
        (
            "ControlGroup=\nTasksCurrent=[not set]",
            "ControlGroup=/a\nTasksCurrent=1",
            "running",
        ),
    ] {
        assert_eq!(word(&GONE.replace(from, to), None), is, "{from} -> {to}");
    }
    assert_eq!(word("", None), "unknown");
    let left = GONE.replace("ControlGroup=", "ControlGroup=/a");
    assert_eq!(word(&left, Some(true)), "running");
    assert_eq!(word(&left, Some(false)), "gone");
    assert_eq!(word(GONE, Some(true)), "running");
}

#[test]
fn a_control_group_is_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    for (events, says) in [
        ("populated 0\nfrozen 0\n", Some(false)),
        ("populated 1\nfrozen 0\n", Some(true)),
        ("frozen 0\n", None),
    ] {
        fs::write(dir.path().join("cgroup.events"), events).unwrap();
        assert_eq!(populated(dir.path()), says, "{events}");
    }
    assert_eq!(populated(&dir.path().join("none")), None);
    assert_eq!(UnitState("ControlGroup=/../../x".into()).cgroup(), None);
    assert_eq!(UnitState("ControlGroup=".into()).cgroup(), None);
}

#[test]
fn what_must_not_be_stopped() {
    let obstacle = |text: String| UnitState(text).obstacle(UnitFile::Other);
    assert_eq!(UnitState(GONE.into()).problem(), None);
    assert_eq!(obstacle(GONE.into()), None);
    for (to, is) in [
        ("TriggeredBy=bot.timer\n", RestartObstacle::TriggeredUnit),
        (
            "TriggeredBy=\nUpheldBy=bots.target\n",
            RestartObstacle::UpheldUnit,
        ),
    ] {
        assert_eq!(obstacle(GONE.replace("TriggeredBy=\n", to)), Some(is));
    }
    for (from, to, says) in [
        ("LoadState=loaded", "LoadState=merged", "not loaded"),
        ("LoadState=loaded\n", "", "cannot be understood"),
    ] {
        let problem = UnitState(GONE.replace(from, to)).problem().unwrap();
        assert!(problem.contains(says), "{problem}");
    }
    let none = UnitState(format!("{GONE}UpheldBy=\n"));
    assert_eq!(
        obstacle(none.0),
        None,
        "and an older systemd has no such key"
    );
    for key in ["TriggeredBy", "UpheldBy"] {
        assert!(PROPERTIES.split(['=', ',']).any(|asked| asked == key));
    }
}

/// As in a unit with RefuseManualStart=yes. systemd starts it for other units all the same.
#[test]
fn a_unit_that_systemd_does_not_start_on_request_is_not_stopped() {
    let of = |more: &str, file| UnitState(format!("{GONE}{more}")).obstacle(file);
    let refused = Some(RestartObstacle::NoManualStart);
    assert_eq!(of("CanStart=no\n", UnitFile::Other), refused);
    assert_eq!(of("CanStart=yes\n", UnitFile::Other), None);
    assert_eq!(of("", UnitFile::Other), None, "an older systemd");
    let missing = Some(RestartObstacle::NoUnitFile);
    assert_eq!(of("CanStart=no\n", UnitFile::Missing), missing);
    let unit = UnitState("LoadState=not-found\nCanStart=no\n".into());
    assert_eq!(unit.obstacle(UnitFile::Other), missing);
    assert!(
        PROPERTIES
            .split(['=', ','])
            .any(|asked| asked == "CanStart")
    );
}

/// With a file that cannot be loaded, there is such a unit, and systemd runs none.
#[test]
fn only_a_unit_that_systemd_does_not_find_or_may_not_start_is_absent() {
    let of = |load: &str| UnitState(GONE.replace("=loaded", load)).absence();
    assert_eq!(of("=not-found"), Some(Absence::HasNone));
    assert_eq!(of("=masked"), Some(Absence::HasNone), "a person did that");
    for load in ["=loaded", "=bad-setting", "=error"] {
        assert_eq!(of(load), Some(Absence::RunsNone), "{load}");
    }
    assert_eq!(of("="), None);
    assert_eq!(UnitState(String::new()).absence(), None);
    let runs = GONE.replace("MainPID=0", "MainPID=7");
    assert_ne!(runs, GONE);
    assert_eq!(UnitState(runs).absence(), None);
}

#[test]
fn what_could_not_be_started_again() {
    use RestartObstacle::{MaskedUnit, NoUnitFile, TransientUnit, UnloadableUnit};
    let of = |text: &str, file| UnitState(text.into()).obstacle(file);
    for (load, transient, file, obstacle) in [
        ("loaded", "no", UnitFile::Other, None),
        ("loaded", "", UnitFile::Other, None),
        ("loaded", "yes", UnitFile::Other, Some(TransientUnit)),
        ("loaded", "yes", UnitFile::Missing, Some(TransientUnit)),
        ("loaded", "no", UnitFile::Missing, Some(NoUnitFile)),
        ("loaded", "no", UnitFile::Masks, Some(MaskedUnit)),
        ("not-found", "no", UnitFile::Other, Some(NoUnitFile)),
        ("masked", "no", UnitFile::Other, Some(MaskedUnit)),
        ("bad-setting", "no", UnitFile::Other, Some(UnloadableUnit)),
        ("error", "no", UnitFile::Other, Some(UnloadableUnit)),
        ("merged", "no", UnitFile::Other, None),
    ] {
        let text = format!("LoadState={load}\nTransient={transient}\n");
        assert_eq!(of(&text, file), obstacle, "{text} {file:?}");
    }
    // An older systemd, or no answer at all.
    assert_eq!(of(GONE, UnitFile::Other), None);
    assert_eq!(of("", UnitFile::Missing), None);
}

/// A file that only this program does not see is no obstacle.
#[tokio::test]
async fn the_file_of_a_unit_counts_where_systemd_calls_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bot.service");
    let of = async |reload: &str, path: &str| {
        let text = format!("{GONE}FragmentPath={path}\nNeedDaemonReload={reload}\n");
        UnitState(text).obstacle_at(QUERY_TIMEOUT).await
    };
    let at = path.display().to_string();
    assert_eq!(of("yes", &at).await, Ok(Some(RestartObstacle::NoUnitFile)));
    assert_eq!(of("no", &at).await, Ok(None));
    assert_eq!(of("yes", "").await, Ok(None));
    fs::write(&path, "[Service]\n").unwrap();
    assert_eq!(of("yes", &at).await, Ok(None));
}

/// Without its file a unit runs on.
#[test]
fn a_unit_whose_file_is_gone_runs() {
    for load in ["not-found", "masked", "bad-setting"] {
        let text = GONE
            .replace("LoadState=loaded", &format!("LoadState={load}"))
            .replace("ActiveState=inactive", "ActiveState=active")
            .replace("MainPID=0", "MainPID=77");
        let running = matches!(
            UnitState(text).judge(None),
            Observation::Running { pids, .. } if pids == [77]
        );
        assert!(running, "{load}");
    }
}

#[test]
fn units_stopped_along() {
    let along = |more: &str| UnitState(format!("{GONE}{more}")).stopped_along().join(" ");
    assert_eq!(along(""), "");
    for key in STOPPED_ALONG {
        assert_eq!(
            along(&format!("{key}=bots.target b.service\n")),
            "bots.target b.service",
            "{key}"
        );
        for properties in [PROPERTIES, ALONG] {
            assert!(
                properties.split(['=', ',']).any(|asked| asked == key),
                "{key}"
            );
        }
    }
}

#[test]
fn which_units_run_a_program() {
    let runs = |text: &str| -> Vec<bool> {
        let all = UnitState(text.into()).of_each();
        all.iter().map(UnitState::runs_a_program).collect()
    };
    assert!(runs("").is_empty());
    assert_eq!(
        runs(
            "Id=a.service\nActiveState=inactive\n\nId=b.service\nActiveState=failed\n\nId=bots.target\nActiveState=active\nRequiredBy=\n"
        ),
        [false; 3]
    );
    for state in ["active", "activating", "deactivating", "reloading"] {
        let text = format!("Id=a.service\nActiveState={state}\n");
        assert_eq!(runs(&text), [true], "{state}");
    }
}

#[test]
fn a_unit_that_systemd_has_unloaded() {
    let unloaded = format!(
        "{GONE}InactiveEnterTimestampMonotonic=0\nRestart=always\nRestartPreventExitStatus=\nCollectMode=inactive\nStopWhenUnneeded=no\nBindsTo=\n"
    );
    let was = |text: &str| UnitState(text.into()).was_unloaded();
    assert!(was(&unloaded));
    assert!(was(&unloaded.replace("=always", "=on-success")));
    for (from, to) in [
        ("TimestampMonotonic=0", "TimestampMonotonic=9000900"),
        // It may have ended by itself.
        ("=always", "=on-failure"),
        ("=always", "=no"),
        ("PreventExitStatus=", "PreventExitStatus=3"),
        ("CollectMode=inactive", "CollectMode=inactive-or-failed"),
        ("Unneeded=no", "Unneeded=yes"),
        ("BindsTo=", "BindsTo=vpn.service"),
    ] {
        assert!(!was(&unloaded.replace(from, to)), "{from} -> {to}");
    }
    for key in ["CollectMode", "StopWhenUnneeded"] {
        assert!(
            PROPERTIES.split(['=', ',']).any(|asked| asked == key),
            "{key}"
        );
    }
}

/// For the verdict only a settled process counts as one that runs.
#[test]
fn only_an_active_unit_is_settled() {
    let settled = |from: &str, to: &str| {
        let state = UnitState(
            GONE.replace("SubState=dead", "SubState=running")
                .replace(from, to),
        );
        match state.judge(None) {
            Observation::Running { pids, .. } => Some(pids),
            Observation::Changing(_) => None,
            other => panic!("{other:?}"),
        }
    };
    for (state, is) in [
        ("active\nMainPID=77", Some(vec![77])),
        ("active\nMainPID=0", None),
        ("inactive\nMainPID=77", None),
        ("failed\nMainPID=77", None),
        ("activating\nMainPID=77", None),
        ("deactivating\nMainPID=77", None),
        ("reloading\nMainPID=77", None),
    ] {
        let to = format!("ActiveState={state}\n");
        assert_eq!(settled("ActiveState=inactive\n", &to), is, "{state}");
    }
}

/// Also between two restarts, and when it has given up.
#[test]
fn how_often_systemd_has_restarted_it() {
    let restarts = |text: &str| UnitState(text.into()).restarts();
    for state in [
        "ActiveState=active\nSubState=running\nMainPID=77",
        "ActiveState=activating\nSubState=auto-restart\nMainPID=0",
        "ActiveState=failed\nSubState=failed\nMainPID=0",
    ] {
        let text = format!("LoadState=loaded\n{state}\nControlPID=0\nNRestarts=12\n");
        assert_eq!(restarts(&text), Some(12), "{state}");
        // Such a unit has a count of its own, or none.
        for load in ["not-found", "masked", "bad-setting"] {
            let text = text.replace("loaded", load);
            assert_eq!(restarts(&text), None, "{load}");
        }
    }
    for none in ["", "NRestarts=", "NRestarts=[not set]", "NRestarts=-1"] {
        assert_eq!(restarts(&format!("{GONE}{none}\n")), None, "{none}");
    }
    assert!(
        PROPERTIES
            .split(['=', ','])
            .any(|asked| asked == "NRestarts")
    );
}

/// With another setting a unit that ends by itself with code 0 looks the same.
#[test]
fn who_was_asked_to_stop() {
    let asked = |text: &str| match UnitState(text.into()).judge(None) {
        Observation::Gone { on_request, .. } => on_request,
        other => panic!("{other:?}"),
    };
    let stopped = format!(
        "{GONE}InactiveEnterTimestampMonotonic=5\nResult=success\nRestart=always\nRestartPreventExitStatus=\nConditionResult=yes\nAssertResult=yes\nBindsTo=\n"
    );
    assert!(asked(&stopped));
    assert!(asked(
        &stopped.replace("Restart=always", "Restart=on-success")
    ));
    assert!(!asked(GONE), "an older systemd says less");
    for (from, to) in [
        ("Restart=always", "Restart=no"),
        ("Restart=always", "Restart=on-failure"),
        ("Result=success", "Result=exit-code"),
        ("ExitStatus=", "ExitStatus=3"),
        ("Monotonic=5", "Monotonic=0"),
        ("ConditionResult=yes", "ConditionResult=no"),
        (
            "ActiveState=inactive\nSubState=dead",
            "ActiveState=failed\nSubState=failed",
        ),
    ] {
        assert!(!asked(&stopped.replace(from, to)), "{from} -> {to}");
    }
}

/// `npm start` ends with 143 or 1 on SIGTERM.
#[test]
fn who_was_asked_to_stop_and_ended_with_another_code() {
    let asked = |text: &str| match UnitState(text.into()).judge(None) {
        Observation::Gone { on_request, .. } => on_request,
        other => panic!("{other:?}"),
    };
    let gone = GONE.replace(
        "ActiveState=inactive\nSubState=dead",
        "ActiveState=failed\nSubState=failed",
    );
    let stopped = format!(
        "{gone}InactiveEnterTimestampMonotonic=5\nResult=exit-code\nRestart=always\nNRestarts=0\nRestartPreventExitStatus=\nConditionResult=yes\nAssertResult=yes\nBindsTo=\n"
    );
    assert!(asked(&stopped));
    for (from, to) in [
        ("Restart=always", "Restart=on-failure"),
        ("Result=exit-code", "Result=signal"),
        ("Result=exit-code", "Result=timeout"),
    ] {
        assert!(asked(&stopped.replace(from, to)), "{from} -> {to}");
    }
    for (from, to) in [
        // At its start limit.
        ("NRestarts=0", "NRestarts=4"),
        ("NRestarts=0\n", ""),
        ("Restart=always", "Restart=no"),
        ("Restart=always", "Restart=on-success"),
        ("Restart=always", "Restart=on-abnormal"),
        ("Result=exit-code", "Result=start-limit-hit"),
        ("Result=exit-code", "Result=resources"),
        ("ExitStatus=", "ExitStatus=3"),
        ("ConditionResult=yes", "ConditionResult=no"),
        ("BindsTo=", "BindsTo=vpn.service"),
    ] {
        assert!(!asked(&stopped.replace(from, to)), "{from} -> {to}");
    }
    for key in ["NRestarts", "Result", "Restart", "BindsTo"] {
        assert!(PROPERTIES.split(['=', ',']).any(|asked| asked == key));
    }
}

/// A stop leaves `active` before the main process ends, whatever `Restart=` is. The times are
/// those of a real systemd 252.
#[test]
fn a_stop_comes_before_the_end_of_the_process() {
    let asked = |text: &str| match UnitState(text.into()).judge(None) {
        Observation::Gone { on_request, .. } => on_request,
        other => panic!("{other:?}"),
    };
    // After a crash.
    let stopped = format!(
        "{GONE}InactiveEnterTimestampMonotonic=9000900\nInactiveExitTimestampMonotonic=1000000\nActiveEnterTimestampMonotonic=1000000\nExecMainStartTimestampMonotonic=1000100\nActiveExitTimestampMonotonic=9000000\nExecMainExitTimestampMonotonic=9000285\nType=simple\nNotifyAccess=none\nRuntimeMaxUSec=infinity\nStopWhenUnneeded=no\nResult=success\nRestart=on-failure\nNRestarts=1\nRestartPreventExitStatus=\nConditionResult=yes\nAssertResult=yes\nBindsTo=\n"
    );
    let failed = stopped.replace(
        "ActiveState=inactive\nSubState=dead",
        "ActiveState=failed\nSubState=failed",
    );
    assert!(asked(&stopped));
    for (from, to) in [
        ("Restart=on-failure", "Restart=no"),
        ("Restart=on-failure", "Restart=always"),
        ("PreventExitStatus=", "PreventExitStatus=3"),
        ("Type=simple", "Type=forking"),
        ("Type=simple", "Type=exec"),
    ] {
        assert!(asked(&stopped.replace(from, to)), "{from} -> {to}");
    }
    for result in ["exit-code", "signal", "timeout", "core-dump"] {
        let text = failed.replace("Result=success", &format!("Result={result}"));
        assert!(asked(&text), "{result}");
    }
    for (key, from, to) in [
        // It has ended of itself.
        ("ExecMainExit", "9000285", "8999877"),
        // It cannot be told which came first.
        ("ExecMainExit", "9000285", "9000000"),
        ("ExecMainExit", "9000285", "0"),
        // Its last start has failed before it was active.
        ("InactiveExit", "1000000", "9100000"),
        ("ExecMainStart", "1000100", "9100000"),
        // It announces its end itself.
        ("NotifyAccess", "none", "main"),
        ("Type", "simple", "dbus"),
        // Another unit has ended, and nothing needs this one.
        ("StopWhenUnneeded", "no", "yes"),
        ("Result", "success", "watchdog"),
        ("Result", "success", "oom-kill"),
        ("BindsTo", "", "vpn.service"),
        ("ConditionResult", "yes", "no"),
    ] {
        let replaced = |text: &str| {
            ["", "TimestampMonotonic"]
                .iter()
                .fold(text.to_owned(), |text, end| {
                    text.replace(
                        &format!("\n{key}{end}={from}\n"),
                        &format!("\n{key}{end}={to}\n"),
                    )
                })
        };
        assert_ne!(replaced(&stopped), stopped, "{key}");
        assert!(!asked(&replaced(&stopped)), "{key}: {from} -> {to}");
    }
    // Its time to run was over.
    let over = failed.replace("Result=success", "Result=timeout");
    assert!(!asked(&over.replace("MaxUSec=infinity", "MaxUSec=1s")));
    // Where the order does not tell, what systemd would have done does.
    for unclear in [
        stopped.replace("NotifyAccess=none", "NotifyAccess=main"),
        stopped.replace("ExecMainExitTimestampMonotonic=9000285\n", ""),
    ] {
        assert!(!asked(&unclear));
        assert!(asked(&unclear.replace("=on-failure", "=always")));
    }
    for key in [
        "InactiveExitTimestampMonotonic",
        "ActiveEnterTimestampMonotonic",
        "ActiveExitTimestampMonotonic",
        "ExecMainStartTimestampMonotonic",
        "ExecMainExitTimestampMonotonic",
        "Type",
        "NotifyAccess",
        "RuntimeMaxUSec",
        "StopWhenUnneeded",
    ] {
        assert!(
            PROPERTIES.split(['=', ',']).any(|asked| asked == key),
            "{key}"
        );
    }
}

/// It ends with a unit that it requires or is a part of, and no one asked for that.
#[test]
fn a_unit_that_was_stopped_along_with_another_was_not_asked_to_stop() {
    let asked = |more: &str| {
        let stopped = format!(
            "{GONE}InactiveEnterTimestampMonotonic=5\nResult=success\nRestart=always\nRestartPreventExitStatus=\nConditionResult=yes\nAssertResult=yes\nBindsTo=\n{more}\n"
        );
        match UnitState(stopped).judge(None) {
            Observation::Gone { on_request, .. } => on_request,
            other => panic!("{other:?}"),
        }
    };
    for key in STOPPED_BY {
        assert!(asked(&format!("{key}=")));
        assert!(asked(&format!(
            "{key}=sysinit.target system.slice -.mount bot.socket"
        )));
        for unit in [
            "db.service",
            "a.target db.service",
            "renew.timer",
            "dev-a.device",
        ] {
            assert!(!asked(&format!("{key}={unit}")), "{key}={unit}");
        }
        assert!(PROPERTIES.split(['=', ',']).any(|asked| asked == key));
    }
}
