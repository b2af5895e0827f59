//! The loop with real processes: exporter, Prometheus, Alertmanager, remediator, and auth
//! folders that the real library wrote. Each test runs a loop of its own on free ports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::fixture::{self, Snapshot};
use testkit::stack::{Host, Programs, Setup, Stack};
use testkit::story::{self, BLOATED};
use testkit::{Patience, Result};

/// Everything in one test together; they take half a minute.
const BOUND: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn setup() -> Setup {
    Setup::new(Programs {
        exporter: env!("CARGO_BIN_EXE_baileys_exporter").into(),
        remediator: env!("CARGO_BIN_EXE_baileys_remediator").into(),
    })
}

/// Prints the ends of the logs before it fails.
fn or_explain<T>(result: Result<T>, stack: &Stack) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}\n\nthe ends of the logs:\n{}", stack.logs()))
}

/// A bloated folder of a bot that wrote last a quarter of an hour ago.
fn bloated(host: &Host, session: &str) -> Snapshot {
    let folder = host.folder(session);
    fixture::unpack("bloated-classic-387", &folder, quarter_of_an_hour_ago()).unwrap();
    Snapshot::take(&folder).unwrap()
}

fn quarter_of_an_hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(900)
}

fn emergency_fires(stack: &Stack, session: &str) -> Result<()> {
    let alerts = stack.prometheus_alerts()?;
    let fires = alerts.iter().any(|a| {
        a.session == session && a.name == "BaileysAuthFilesEmergency" && a.state == "firing"
    });
    if fires {
        Ok(())
    } else {
        Err(format!("no emergency fires for {session}: {alerts:?}"))
    }
}

/// 387 files: found, alerted, cleaned, resolved, while four healthy or nearly healthy bots
/// are left alone; nothing active is lost, and an undo brings back everything.
#[test]
fn the_loop_cleans_what_is_bloated_and_an_undo_brings_it_back() {
    let patience = Patience::new(BOUND);
    let mut stack = Stack::new(setup()).unwrap();
    story::lay_out(stack.host()).unwrap();
    let take = |stack: &Stack| -> BTreeMap<&str, Snapshot> {
        let snapshot =
            |bot: &story::Bot| Snapshot::take(&stack.host().folder(bot.session)).unwrap();
        story::BOTS
            .iter()
            .map(|bot| (bot.session, snapshot(bot)))
            .collect()
    };
    let before = take(&stack);
    let started = story::start(&mut stack, &patience);
    or_explain(started, &stack);
    let followed = story::follow(&mut stack, &patience, &mut |_, _| {});
    let cleaned = or_explain(followed, &stack);
    assert!(cleaned.left < 120, "{cleaned:?}");

    let after = take(&stack);
    for (session, before) in &before {
        if *session != BLOATED {
            assert_eq!(
                before.differences(&after[session]),
                Vec::<String>::new(),
                "{session}"
            );
        }
    }
    nothing_active_is_lost(&before[BLOATED], &after[BLOATED]);

    let (status, _, err) = stack.host().remediator(&["undo", &cleaned.run]).unwrap();
    assert!(status.success(), "undo: {status}: {err}");
    let undone = take(&stack);
    assert_eq!(
        before[BLOATED].differences(&undone[BLOATED]),
        Vec::<String>::new()
    );

    // The alert comes back, but what a person has undone is not cleaned again by it.
    let again = patience.wait_until(STEP, "the alert comes back", || {
        emergency_fires(&stack, BLOATED)
    });
    or_explain(again, &stack);
    let called = || {
        let metrics = stack.host().remediator_metrics()?;
        metrics.sum(
            "baileys_remediator_webhook_requests_total",
            &[("code", "202")],
        )
    };
    let calls = called().unwrap();
    let stays = patience.holds_for(Duration::from_secs(8), "the undo stays", || {
        let now = Snapshot::take(&stack.host().folder(BLOATED))?;
        match now.len() {
            387 => Ok(()),
            files => Err(format!("{files} files")),
        }
    });
    or_explain(stays, &stack);
    assert!(
        called().unwrap() > calls,
        "Alertmanager asked again meanwhile"
    );
}

/// What may go, stated naively: sessions and sender-keys (with their memory) of before the
/// last 14 active days, and pre-keys that are neither among the newest 50 nor young.
fn nothing_active_is_lost(before: &Snapshot, after: &Snapshot) {
    let mut left = before.clone();
    let gone: BTreeSet<String> = before
        .without(after)
        .into_iter()
        .map(str::to_owned)
        .collect();
    left.forget(&gone);
    assert_eq!(
        left.differences(after),
        Vec::<String>::new(),
        "what stays is untouched"
    );

    let active = |name: &str| last_activity(before, name);
    let newest = before
        .names()
        .filter(|name| name.starts_with("session-") || name.starts_with("sender-key-"))
        .map(active)
        .max()
        .unwrap();
    let pre_key = |name: &str| {
        name.strip_prefix("pre-key-")?
            .strip_suffix(".json")?
            .parse::<u32>()
            .ok()
    };
    let mut ids: Vec<u32> = before.names().filter_map(pre_key).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let newest_50: BTreeSet<u32> = ids.into_iter().take(50).collect();
    for name in &gone {
        let idle = match pre_key(name) {
            Some(id) => {
                assert!(!newest_50.contains(&id), "{name} is one of the newest 50");
                SystemTime::now().duration_since(active(name)).unwrap()
            }
            None => {
                assert!(
                    name.starts_with("session-") || name.starts_with("sender-key-"),
                    "{name} went"
                );
                newest.duration_since(active(name)).unwrap()
            }
        };
        assert!(idle > 14 * DAY, "{name} was idle for {idle:?} only");
    }
    assert!(
        gone.iter().any(|name| name.starts_with("session-")),
        "an old session goes too"
    );
}

/// The latest of the modification time and the times inside a session.
fn last_activity(snapshot: &Snapshot, name: &str) -> SystemTime {
    let mut latest = snapshot.modified(name).unwrap();
    if name.starts_with("session-") {
        let session: serde_json::Value =
            serde_json::from_slice(snapshot.bytes(name).unwrap()).unwrap();
        for state in session["_sessions"].as_object().unwrap().values() {
            for field in ["used", "created"] {
                let ms = state["indexInfo"][field].as_u64().unwrap();
                latest = latest.max(UNIX_EPOCH + Duration::from_millis(ms));
            }
        }
    }
    latest
}

/// From 90 to 387 files in one step: all three tiers fire at once, inhibition leaves the
/// webhook only the emergency, and the folder is cleaned all the same.
#[test]
fn a_jump_is_cleaned_by_the_emergency_alone() {
    const SESSION: &str = "company_jump";
    let patience = Patience::new(BOUND);
    let mut stack = Stack::new(Setup {
        tap_webhook: true,
        trust: true,
        ..setup()
    })
    .unwrap();

    // Everything but pre-keys, and as many of the newest of these as make 90.
    let mut files = fixture::read("bloated-classic-387", quarter_of_an_hour_ago()).unwrap();
    let id = |name: &str| {
        name.strip_prefix("pre-key-")
            .map(|rest| rest.trim_end_matches(".json").parse::<u32>())
    };
    files.sort_by_key(|file| id(&file.name).map(|id| std::cmp::Reverse(id.unwrap())));
    let later = files.split_off(90);
    let folder = stack.host().folder(SESSION);
    fixture::write(&files, &folder).unwrap();
    let staging = stack.dir().join("staging");
    fixture::write(&later, &staging).unwrap();
    stack.host().probe_says(SESSION, "disconnected").unwrap();
    let started = stack.start(&patience);
    or_explain(started, &stack);

    let accumulated = || {
        let value = stack.query("baileys_auth_accumulated_files")?;
        value
            .first()
            .map(|sample| sample.value)
            .ok_or_else(|| "not scraped yet".to_owned())
    };
    let healthy = patience.wait_until(STEP, "Prometheus sees 90 files", || match accumulated()? {
        90.0 => Ok(()),
        other => Err(format!("{other}")),
    });
    or_explain(healthy, &stack);
    let quiet = patience.holds_for(Duration::from_secs(4), "no alert at 90", || {
        match stack
            .prometheus_alerts()?
            .iter()
            .find(|alert| alert.session == SESSION)
        {
            None => Ok(()),
            Some(alert) => Err(format!("{alert:?}")),
        }
    });
    or_explain(quiet, &stack);

    // Two milliseconds, so that no scrape falls between.
    for file in &later {
        fs::rename(staging.join(&file.name), folder.join(&file.name)).unwrap();
    }
    let fires = patience.wait_until(STEP, "the emergency fires", || {
        emergency_fires(&stack, SESSION)
    });
    or_explain(fires, &stack);
    let cleaned = patience.wait_until(STEP, "the folder is cleaned", || match accumulated()? {
        left if left < 120.0 => Ok(()),
        left => Err(format!("{left}")),
    });
    or_explain(cleaned, &stack);

    let sent = stack.host().webhook().unwrap().sent();
    assert!(!sent.is_empty());
    for sent in sent {
        let sent = (
            sent.session.as_str(),
            sent.alert.as_str(),
            sent.status.as_str(),
            sent.code,
        );
        assert_eq!(sent, (SESSION, "BaileysAuthFilesEmergency", "firing", 202));
    }
    let tiers = stack
        .query("count by (alertname) (count_over_time(ALERTS{session!=\"\",alertstate=\"firing\"}[5m]))")
        .unwrap();
    // The emergency, and monitor, warning and cleanup below it.
    assert_eq!(tiers.len(), 4, "the lower tiers fired too: {tiers:?}");
    let runs = stack.host().runs().unwrap();
    let run = runs
        .iter()
        .find(|run| run["session"] == SESSION)
        .expect("a recorded run");
    assert_eq!(run["action"], "emergency", "{run}");
    assert_eq!(run["status"], "done", "{run}");
    assert_eq!(
        run["note"], "restart not allowed by the configuration",
        "{run}"
    );
}

/// Whatever is not a clear `disconnected` is no reason to clean, however high the tier.
#[test]
fn without_proof_of_disconnection_nothing_moves() {
    let patience = Patience::new(BOUND);
    let mut stack = Stack::new(Setup {
        trust: true,
        ..setup()
    })
    .unwrap();
    let answers = [
        ("company_connected", "connected"),
        ("company_nonsense", "disconnected, I think"),
        ("company_slow", "hang"),
        // A check that crashes after it has spoken has not spoken.
        ("company_crash", "crash"),
    ];
    let before: Vec<Snapshot> = answers
        .iter()
        .map(|(session, answer)| {
            stack.host().probe_says(session, answer).unwrap();
            bloated(stack.host(), session)
        })
        .collect();
    // Says disconnected, but a process still writes.
    const WRITING: &str = "company_writing";
    stack.host().probe_says(WRITING, "disconnected").unwrap();
    bloated(stack.host(), WRITING);
    let writer = write_every_50_ms(
        stack
            .host()
            .folder(WRITING)
            .join("session-12025550123.0.json"),
    );
    let started = stack.start(&patience);
    or_explain(started, &stack);

    let sessions: Vec<&str> = answers
        .iter()
        .map(|(session, _)| *session)
        .chain([WRITING])
        .collect();
    let refused = patience.wait_until(STEP, "every session is refused", || {
        for session in &sessions {
            emergency_fires(&stack, session)?;
        }
        let runs = stack.host().runs()?;
        let refused = |session| {
            runs.iter()
                .any(|run| run["session"] == session && run["status"] == "refused")
        };
        match sessions.iter().all(|session| refused(*session)) {
            true => Ok(runs),
            false => Err(format!("runs so far: {runs:?}")),
        }
    });
    let runs = or_explain(refused, &stack);

    let fires = patience.holds_for(Duration::from_secs(10), "the alerts keep firing", || {
        sessions
            .iter()
            .try_for_each(|session| emergency_fires(&stack, session))
    });
    or_explain(fires, &stack);
    for ((session, _), before) in answers.iter().zip(&before) {
        let after = Snapshot::take(&stack.host().folder(session)).unwrap();
        assert_eq!(
            before.differences(&after),
            Vec::<String>::new(),
            "{session}"
        );
    }
    assert!(!writer.is_finished(), "the bot wrote all the time");
    assert_eq!(
        Snapshot::take(&stack.host().folder(WRITING)).unwrap().len(),
        388
    );
    for session in &sessions {
        assert_eq!(
            stack.host().quarantined_runs(session).unwrap(),
            Vec::<String>::new(),
            "{session}"
        );
    }
    let metrics = stack.host().remediator_metrics().unwrap();
    assert_eq!(
        metrics.sum("baileys_remediator_files_moved_total", &[]),
        Ok(0.0),
        "{runs:?}"
    );
}

/// A bot that is sent a message every 50 ms. It writes as Baileys does, in place, and ends
/// when the file is gone.
fn write_every_50_ms(file: PathBuf) -> JoinHandle<()> {
    let session = br#"{"_sessions":{},"version":"v1"}"#;
    fs::write(&file, session).unwrap();
    std::thread::spawn(move || {
        let write = || {
            let mut open = fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&file)?;
            open.write_all(session)
        };
        while write().is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    })
}

/// Two hosts have a bot of the same name, and one Alertmanager calls both remediators:
/// each cleans for its own host's alert only.
#[test]
fn an_alert_cleans_on_its_own_host_only() {
    let patience = Patience::new(BOUND);
    let instances = vec![
        "bots1.example.org".to_owned(),
        "bots2.example.org".to_owned(),
    ];
    let mut stack = Stack::new(Setup {
        instances,
        tap_webhook: true,
        trust: true,
        ..setup()
    })
    .unwrap();
    let before: Vec<Snapshot> = stack
        .hosts
        .iter()
        .map(|host| {
            host.probe_says(BLOATED, "disconnected").unwrap();
            bloated(host, BLOATED)
        })
        .collect();
    let files = |stack: &Stack, host: usize| Snapshot::take(&stack.hosts[host].folder(BLOATED));
    let is_cleaned = |stack: &Stack, host: usize| match files(stack, host)?.len() {
        left if left < 120 => Ok(()),
        left => Err(format!("{left} files")),
    };

    // The second host is not watched yet, so only the first one's alert exists. Nothing
    // but the label keeps the second remediator from cleaning: all else is the same.
    let started = stack
        .start_remediator(0)
        .and_then(|()| stack.start_remediator(1))
        .and_then(|()| stack.start_exporter(0))
        .and_then(|()| stack.start_monitoring())
        .and_then(|()| stack.wait_ready(&patience));
    or_explain(started, &stack);
    let first = patience.wait_until(STEP, "the first host is cleaned", || is_cleaned(&stack, 0));
    or_explain(first, &stack);
    let heard = patience.wait_until(STEP, "the second remediator was called too", || {
        let sent = stack.hosts[1].webhook().unwrap().sent();
        match sent
            .iter()
            .any(|sent| sent.session == BLOATED && sent.code == 202)
        {
            true => Ok(()),
            false => Err(format!("{sent:?}")),
        }
    });
    or_explain(heard, &stack);
    let kept = patience.holds_for(
        Duration::from_secs(5),
        "the second host is left alone",
        || match before[1].differences(&files(&stack, 1)?).as_slice() {
            [] => Ok(()),
            differences => Err(format!("{} differences", differences.len())),
        },
    );
    or_explain(kept, &stack);

    // Its own alert does clean it.
    let started = stack
        .start_exporter(1)
        .and_then(|()| stack.wait_ready(&patience));
    or_explain(started, &stack);
    let second = patience.wait_until(STEP, "the second host is cleaned", || is_cleaned(&stack, 1));
    or_explain(second, &stack);
}
