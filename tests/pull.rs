//! Pull mode: `baileys_remediator serve` polls real Alertmanagers on loopback addresses, and
//! servers that answer what no Alertmanager would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::alertmanager::{Alertmanager, Options, shipped};
use testkit::canned::{Canned, CannedServer};
use testkit::fixture::Snapshot;
use testkit::net;
use testkit::world::{TOKEN, World};

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";

/// One configuration for all hosts: who a host is stands in its environment.
fn config(urls: &[&str], more: &str) -> String {
    format!(
        "alertmanager:\n  urls: {urls:?}\n  match: {{instance: \"${{HOST}}:10273\"}}\n  interval: 1s\n  timeout: 1s\n{more}"
    )
}

/// Starts the remediator of a host. It has no token, so that its webhook is off.
fn start(world: &mut World, name: &str) {
    let host = format!("HOST={name}");
    let mut args = world.serve_args();
    args.retain(|arg| !arg.starts_with("--webhook.token-file"));
    world.start(&["env", &host], Path::new(REMEDIATOR), args);
}

/// A host with a bloated bot that is stopped, and its remediator.
fn host_with_bot(yaml: &str, name: &str, session: &str) -> (World, Snapshot) {
    let mut world = testkit::world!().probed().configured(yaml);
    let before = world.bot(session, BLOATED, "disconnected");
    start(&mut world, name);
    (world, before)
}

/// An alert as Prometheus posts it, which began `began` seconds after now.
fn alert(host: &str, session: &str, tier: &str, began: i64) -> Value {
    let began = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(began);
    let mut name = tier.to_owned();
    name[..1].make_ascii_uppercase();
    json!({
        "labels": {
            "alertname": format!("BaileysAuthFiles{name}"), "ladder": "baileys_auth_files",
            "tier": tier, "session": session, "instance": format!("{host}:10273"),
            "job": "baileys", "severity": "info",
        },
        "startsAt": began.to_string(),
        "endsAt": "2099-01-01T00:00:00.000Z",
    })
}

/// The end of an alert.
fn over(mut alert: Value) -> Value {
    alert["endsAt"] = jiff::Timestamp::now().to_string().into();
    alert
}

/// Alertmanager with the shipped configuration; its webhook, and its mail, lead nowhere.
fn alertmanager(dir: &Path, options: Options<'_>) -> Alertmanager {
    alertmanager_with_webhook(dir, options, "http://127.0.0.1:1/")
}

/// The same, and its webhook leads there.
fn alertmanager_with_webhook(dir: &Path, options: Options<'_>, webhook: &str) -> Alertmanager {
    fs::create_dir_all(dir).unwrap();
    let token = dir.join("token");
    fs::write(&token, TOKEN).unwrap();
    let changes = [
        ("localhost:25", "127.0.0.1:1".to_owned()),
        ("http://127.0.0.1:10274/webhook", webhook.to_owned()),
        ("/etc/prometheus/webhook.token", token.display().to_string()),
        ("group_wait: 10s", "group_wait: 1s".to_owned()),
        ("group_interval: 1m", "group_interval: 1s".to_owned()),
    ];
    Alertmanager::start_with(dir, &changes, options).unwrap()
}

fn ready(world: &World, alertmanager: &Alertmanager) {
    world.wait("Alertmanager is ready", || alertmanager.ready());
}

/// Waits until a metric of the remediator has this value.
fn wait_for(world: &World, name: &str, labels: &[(&str, &str)], value: f64) {
    world.wait(name, || match world.metric(name, labels) {
        seen if seen == value => Ok(()),
        seen => Err(format!("{name} {labels:?} is {seen}, not {value}")),
    });
}

/// How many runs are armed.
fn armed(world: &World) -> usize {
    let name = "baileys_remediator_armed_runs";
    world.metrics().having(name, &[]).count()
}

fn wait_for_armed(world: &World, runs: usize) {
    world.wait("armed runs", || match armed(world) {
        seen if seen == runs => Ok(()),
        seen => Err(format!("{seen} are armed")),
    });
}

/// Waits until all that a poll finds for this host has this outcome.
fn wait_for_polled(world: &World, outcome: &str, alerts: f64) {
    wait_for(world, "polled_alerts", &[("outcome", outcome)], alerts);
}

/// Waits until the only run of a session is done, and fails unless it moved something.
fn wait_until_cleaned(world: &World, session: &str) {
    world.wait("a run", || match world.runs_of(session).len() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    world.wait_until_idle();
    let run = world.run_of(session);
    assert_eq!(run["status"], "done", "{run:#}");
    assert!(!world.quarantined(session).is_empty());
}

/// Waits until a server was asked as often again as `polls` says.
fn wait_for_polls(world: &World, server: &CannedServer, polls: usize) {
    let before = server.requests().len();
    world.wait("polls", || match server.requests().len() - before {
        seen if seen >= polls => Ok(()),
        seen => Err(format!("{seen} of {polls}")),
    });
}

/// Three hosts, two with a session of one name, and two clustered Alertmanagers of which one
/// is killed. One host's clock is a minute behind the one of Prometheus, one a minute ahead.
#[test]
fn each_session_is_cleaned_once_on_its_own_host() {
    let dir = tempfile::tempdir().unwrap();
    let options = |peer| Options {
        cluster: Some(peer),
        ..Options::default()
    };
    let mut first = alertmanager(&dir.path().join("a"), options(None));
    let second = alertmanager(&dir.path().join("b"), options(Some(&first)));
    let yaml = config(&[first.url(), second.url()], "");
    let (mut a, _) = host_with_bot(&yaml, "host-a", "bot");
    let (b, b_before) = host_with_bot(&yaml, "host-b", "bot");
    let (c, c_before) = host_with_bot(&yaml, "host-c", "other");
    for alertmanager in [&first, &second] {
        ready(&a, alertmanager);
    }
    for world in [&a, &b, &c] {
        wait_for(world, "alertmanager_up", &[], 2.0);
    }

    let on_a = alert("host-a", "bot", "cleanup", 0);
    first.post(vec![on_a.clone()]).unwrap();
    second.post(vec![on_a]).unwrap();
    wait_until_cleaned(&a, "bot");
    // The other hosts look at all hosts while there is no alert of their own.
    for world in [&b, &c] {
        wait_for(world, "alertmanager_up", &[], 2.0);
        assert!(world.runs().is_empty());
    }
    b.unchanged("bot", &b_before);
    c.unchanged("other", &c_before);

    first.process.kill();
    for world in [&a, &b, &c] {
        wait_for(world, "alertmanager_up", &[], 1.0);
    }
    second
        .post(vec![
            alert("host-b", "bot", "cleanup", 60),
            alert("host-c", "other", "cleanup", -60),
        ])
        .unwrap();
    wait_until_cleaned(&b, "bot");
    wait_until_cleaned(&c, "other");

    // The alerts go on, and so does a remediator that is started again: once is once.
    wait_for_polled(&a, "cooldown", 1.0);
    a.stop();
    start(&mut a, "host-a");
    for (world, session) in [(&a, "bot"), (&b, "bot"), (&c, "other")] {
        wait_for_polled(world, "cooldown", 1.0);
        assert_eq!(
            world.run_of(session)["requested_by"]
                .as_str()
                .unwrap()
                .split(' ')
                .next(),
            Some("alert")
        );
    }
    for world in [a, b, c] {
        world.finish();
    }
}

/// Of two Alertmanagers that do not share silences one has the silence. An inhibition is one
/// of the shipped configuration.
#[test]
fn what_is_silenced_or_inhibited_on_any_is_recorded_and_not_acted_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = alertmanager(&dir.path().join("a"), Options::default());
    let second = alertmanager(&dir.path().join("b"), Options::default());
    let (world, before) = host_with_bot(&config(&[first.url(), second.url()], ""), "h", "bot");
    let inhibited = world.bot("inhibited", BLOATED, "disconnected");
    ready(&world, &first);
    ready(&world, &second);

    let silence = second.silence("session", "bot").unwrap();
    let silenced = alert("h", "bot", "cleanup", 0);
    let emergency = alert("h", "inhibited", "emergency", 0);
    // The first one has not heard of the emergency, as in a partition.
    let cleanup = alert("h", "inhibited", "cleanup", 0);
    second
        .post(vec![silenced.clone(), emergency, cleanup.clone()])
        .unwrap();
    wait_for_polled(&world, "suppressed", 2.0);
    first.post(vec![silenced, cleanup]).unwrap();
    world.wait("the emergency's run", || {
        match world.runs_of("inhibited").len() {
            0 => Err("none".into()),
            _ => Ok(()),
        }
    });
    world.wait_until_idle();
    wait_for_polled(&world, "cooldown", 1.0);
    wait_for_polled(&world, "suppressed", 2.0);
    assert!(world.runs_of("bot").is_empty());
    assert_eq!(world.run_of("inhibited")["action"], "emergency");
    assert!(
        !inhibited
            .differences(&world.snapshot("inhibited"))
            .is_empty()
    );
    world.unchanged("bot", &before);
    let page = net::get(&world.url("/")).unwrap().ok().unwrap();
    assert!(page.contains("suppressed"), "{page}");
    world.wait_for_log("silenced or inhibited");

    second.end_silence(&silence).unwrap();
    wait_until_cleaned(&world, "bot");
    world.finish();
}

/// Every alert of the shipped rules fires at once, for the session and for its host, and none but a
/// higher tier keeps a tier from the remediator.
#[test]
fn no_other_alert_keeps_a_tier_from_the_remediator_that_polls() {
    let dir = tempfile::tempdir().unwrap();
    let server = alertmanager(&dir.path().join("a"), Options::default());
    let (world, _) = host_with_bot(&config(&[server.url()], ""), "h", "emergency");
    for session in ["cleanup", "warning"] {
        world.bot(session, BLOATED, "disconnected");
    }
    ready(&world, &server);

    let rules: Value = serde_saphyr::from_str(&shipped("baileys.rules.yml").unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let alerts: Vec<&Value> = rules.filter(|rule| rule["alert"].is_string()).collect();
    assert!(alerts.len() > 25);
    let tiers = ["warning", "cleanup", "emergency"];
    let rank = |tier: &str| tiers.iter().position(|known| *known == tier);
    let mut firing = Vec::new();
    for session in tiers {
        for rule in &alerts {
            // A higher tier asks for more than this one.
            if rank(rule["labels"]["tier"].as_str().unwrap()) > rank(session) {
                continue;
            }
            for job in ["baileys", "baileys_remediator"] {
                let mut one = alert("h", session, session, 0);
                one["labels"].as_object_mut().unwrap().remove("ladder");
                for (name, value) in rule["labels"].as_object().unwrap() {
                    one["labels"][name] = value.clone();
                }
                one["labels"]["alertname"] = rule["alert"].clone();
                one["labels"]["job"] = job.into();
                let is_tier = rank(rule["labels"]["tier"].as_str().unwrap()).is_some();
                if !is_tier {
                    // The same without a session, as of a host.
                    let mut of_host = one.clone();
                    of_host["labels"].as_object_mut().unwrap().remove("session");
                    firing.push(of_host);
                } else if job != "baileys" {
                    continue;
                }
                firing.push(one);
            }
        }
    }
    server.post(firing).unwrap();
    for session in tiers {
        world.wait("a run", || match world.runs_of(session).len() {
            0 => Err(format!("none of {session}")),
            _ => Ok(()),
        });
    }
    world.wait_until_idle();
    for (session, action) in [
        ("emergency", "emergency"),
        ("cleanup", "cleanup"),
        ("warning", "plan"),
    ] {
        assert_eq!(world.run_of(session)["action"], action);
    }
    for session in ["emergency", "cleanup"] {
        assert!(!world.quarantined(session).is_empty(), "{session}");
    }
    world.finish();
}

/// The answer of an Alertmanager with these alerts, all active.
fn listed(alerts: &[Value]) -> Canned {
    let listed = alerts.iter().map(|alert| {
        let mut alert = alert.clone();
        let labels = alert["labels"].to_string();
        alert["fingerprint"] = format!("{:016x}", labels.len()).into();
        alert["status"] =
            json!({"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []});
        alert
    });
    Canned::json(Value::from_iter(listed).to_string())
}

/// An armed run outlives a partition, in which the alert is absent wherever there is an answer,
/// and ends after two polls that all have answered without it.
#[test]
fn absence_is_the_end_only_when_all_have_answered_twice() {
    let dir = tempfile::tempdir().unwrap();
    let real = alertmanager(&dir.path().join("a"), Options::default());
    let other = CannedServer::start(listed(&[])).unwrap();
    let mut world = testkit::world!()
        .probed()
        .configured(&config(&[real.url(), &other.url()], ""));
    let before = world.bot("bot", BLOATED, "connected");
    start(&mut world, "h");
    ready(&world, &real);
    let firing = alert("h", "bot", "cleanup", 0);
    real.post(vec![firing.clone()]).unwrap();
    wait_for_armed(&world, 1);

    // The real one takes the connection and says nothing.
    real.process.signal(Signal::STOP);
    wait_for(&world, "alertmanager_up", &[], 1.0);
    wait_for_polls(&world, &other, 4);
    assert_eq!(armed(&world), 1);
    // Both are away.
    other.answers(Canned::Close);
    wait_for(&world, "alertmanager_up", &[], 0.0);
    wait_for_polls(&world, &other, 4);
    assert_eq!(armed(&world), 1);
    world.wait_for_log("no Alertmanager answers");

    real.process.signal(Signal::CONT);
    wait_for(&world, "alertmanager_up", &[], 1.0);
    real.post(vec![over(firing)]).unwrap();
    wait_for_polls(&world, &other, 4);
    assert_eq!(armed(&world), 1, "one of two has answered");
    other.answers(listed(&[]));
    wait_for_armed(&world, 0);
    world.wait_for_log("has resolved");
    // Each poll asks the other one once: what is left is that two were enough.
    world.unchanged("bot", &before);
    assert_eq!(world.run_of("bot")["reason"], "connected");
    world.finish();
}

/// A silence asks for nothing, and takes nothing back: `pause` is for that.
#[test]
fn an_armed_run_outlives_a_silence() {
    let dir = tempfile::tempdir().unwrap();
    let alertmanager = alertmanager(&dir.path().join("a"), Options::default());
    let mut world = testkit::world!()
        .probed()
        .configured(&config(&[alertmanager.url()], "armed: {look_every: 1s}\n"));
    let before = world.bot("bot", BLOATED, "connected");
    start(&mut world, "h");
    ready(&world, &alertmanager);
    alertmanager
        .post(vec![alert("h", "bot", "cleanup", 0)])
        .unwrap();
    wait_for_armed(&world, 1);
    alertmanager.silence("session", "bot").unwrap();
    wait_for_polled(&world, "suppressed", 1.0);
    assert_eq!(armed(&world), 1);
    world.unchanged("bot", &before);
    world.probe_says("bot", "disconnected");
    world.wait("the armed run", || {
        let runs = world.runs_of("bot");
        match runs.iter().any(|run| run["status"] == "done") {
            true => Ok(()),
            false => Err(format!("{runs:#?}")),
        }
    });
    world.finish();
}

/// A host with a bloated bot in this state, whose Alertmanager posts an alert about it and is
/// polled for the same; once the alert was delivered.
fn pushed_and_polled(state: &str) -> (World, Snapshot, Alertmanager, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = testkit::world!();
    world.with_probe();
    let webhook = world.url("/webhook");
    let alertmanager =
        alertmanager_with_webhook(&dir.path().join("a"), Options::default(), &webhook);
    world.with_config(&config(
        &[alertmanager.url()],
        "webhook: {match: {instance: \"h:10273\"}}\n",
    ));
    let before = world.bot("bot", BLOATED, state);
    let args = world.serve_args();
    world.start(&["env", "HOST=h"], Path::new(REMEDIATOR), args);
    ready(&world, &alertmanager);
    alertmanager
        .post(vec![alert("h", "bot", "cleanup", 0)])
        .unwrap();
    world.wait("a delivery", || {
        match world.metric("webhook_alerts_total", &[]) {
            0.0 => Err("none".into()),
            _ => Ok(()),
        }
    });
    (world, before, alertmanager, dir)
}

/// Pushed and polled, an alert asks for one run.
#[test]
fn push_and_pull_together_run_an_action_once() {
    let (world, _, _alertmanager, _dir) = pushed_and_polled("disconnected");
    wait_until_cleaned(&world, "bot");
    wait_for_polled(&world, "cooldown", 1.0);
    assert_eq!(world.metric("webhook_alerts_total", &[]), 1.0);
    world.finish();
}

/// A refused run does not make room for a second one of the same alert.
#[test]
fn push_and_pull_together_arm_a_run_once() {
    let (world, before, _alertmanager, _dir) = pushed_and_polled("connected");
    wait_for_polled(&world, "retry_later", 1.0);
    let runs = world.runs_of("bot");
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!(runs[0]["reason"], "connected", "{runs:#?}");
    assert_eq!(
        world
            .metrics()
            .having("baileys_remediator_armed_runs", &[])
            .count(),
        1
    );
    world.unchanged("bot", &before);
    world.finish();
}

#[test]
fn all_down_is_a_metric_and_a_log_line_and_no_action() {
    let dir = tempfile::tempdir().unwrap();
    let port = net::free_port(None).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let (world, before) = host_with_bot(&config(&[&url], ""), "h", "bot");
    world.wait("a line in the log", || {
        let log = world.log();
        let said = ["no Alertmanager answers", "polling failed", "was refused"];
        match said.iter().all(|words| log.contains(words)) {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    assert_eq!(world.metric("alertmanager_up", &[]), 0.0);
    assert_eq!(world.metric("polled_alerts", &[]), 0.0);
    // Without a token the webhook is off.
    let (status, _) = world.deliver(&[]);
    assert_eq!(status, 404);
    world.unchanged("bot", &before);

    let options = Options {
        port: Some(port),
        ..Options::default()
    };
    let alertmanager = alertmanager(&dir.path().join("a"), options);
    ready(&world, &alertmanager);
    wait_for(&world, "alertmanager_up", &[], 1.0);
    world.wait_for_log("answers again");
    alertmanager
        .post(vec![alert("h", "bot", "cleanup", 0)])
        .unwrap();
    wait_until_cleaned(&world, "bot");
    world.finish();
}

/// A match that fits no alert looks like a quiet host. Doctor, log and a metric tell.
#[test]
fn alerts_of_which_none_is_for_this_host_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let alertmanager = alertmanager(&dir.path().join("a"), Options::default());
    let mut world = testkit::world!()
        .probed()
        .configured(&config(&[alertmanager.url()], ""));
    let before = world.bot("bot", BLOATED, "disconnected");
    ready(&world, &alertmanager);
    alertmanager
        .post(vec![
            alert("elsewhere", "bot", "cleanup", 0),
            alert("elsewhere", "bot", "emergency", 0),
        ])
        .unwrap();
    start(&mut world, "h");
    wait_for(&world, "unmatched_alerts", &[], 2.0);
    let none = "none has the labels of this host";
    world.wait_for_log(none);

    let doctor = |host: &str, output: &str| {
        let flags = world.remediator_flags();
        let args = [&format!("HOST={host}"), REMEDIATOR, "doctor", output];
        world.run("env", &args, flags)
    };
    doctor("h", "--output=table").must(0, &[none, "instance=h:10273", "FOR THIS HOST"]);
    let told = doctor("h", "--output=json").must(0, &[]).json();
    let polled = &told[0]["alertmanagers"];
    assert_eq!(polled["answers"][0]["all_hosts"], 2, "{polled:#}");
    assert_eq!(polled["answers"][0]["this_host"], 0, "{polled:#}");
    let told = doctor("elsewhere", "--output=json").must(0, &[]).json();
    let polled = &told[0]["alertmanagers"];
    assert_eq!(polled["answers"][0]["this_host"], 2, "{polled:#}");
    assert_eq!(polled["to_fix"], json!([]), "{polled:#}");
    // Without the variable doctor says so, and the rest of its report stands.
    let ran = world.remediator(&["doctor"]);
    ran.must(0, &["alertmanager.match.instance", "\"HOST\" is not set"]);
    world.unchanged("bot", &before);
    assert!(world.runs().is_empty());

    // One is enough for the labels to be right, also one that asks for nothing.
    alertmanager
        .post(vec![alert("h", "bot", "monitor", 0)])
        .unwrap();
    wait_for(&world, "unmatched_alerts", &[], 0.0);
    world.finish();
}

/// Whatever answers, nothing is moved for it, memory and log stay small, and the next good
/// answer counts.
#[test]
fn a_hostile_answer_is_no_answer() {
    let elsewhere = CannedServer::start(listed(&[])).unwrap();
    let server = CannedServer::start(listed(&[])).unwrap();
    let mut world = testkit::world!().probed().configured("");
    let token = secret(&world, "alertmanager.token", TOKEN);
    let credentials = format!("  http_config: {{authorization: {{credentials_file: {token}}}}}\n");
    world.with_config(&config(&[&server.url()], &credentials));
    let before = world.bot("bot", BLOATED, "disconnected");
    start(&mut world, "h");
    let firing = alert("h", "bot", "cleanup", 0);

    let status = |status, headers: &str| {
        let body = serde_json::to_vec(&[&firing]).unwrap();
        Canned::Answer(status, headers.to_owned(), body)
    };
    let location = format!("Location: {}/api/v2/alerts\r\n", elsewhere.url());
    let cut = |canned| match canned {
        Canned::Answer(status, headers, mut body) => {
            body.pop();
            Canned::Answer(status, headers, body)
        }
        other => other,
    };
    let without_status = Canned::json(Value::from(vec![firing.clone()]).to_string());
    for (answer, said) in [
        (Canned::Endless(b"[{},{},{},"), "longer than"),
        (Canned::Endless(b"["), "longer than"),
        (Canned::Drip, "no complete answer within"),
        (Canned::Close, "no valid HTTP answer"),
        (
            Canned::json(format!("{TOKEN} privKey")),
            "not the list of alerts",
        ),
        (Canned::json("[".repeat(100_000)), "not the list of alerts"),
        (
            Canned::json(format!("[{}{{}}]", "{},".repeat(1_000_000))),
            "not the list of alerts",
        ),
        (without_status, "not the list of alerts"),
        (
            cut(listed(std::slice::from_ref(&firing))),
            "not the list of alerts",
        ),
        (status("401 Unauthorized", ""), "correct authorization"),
        (status("404 Not Found", ""), "correct the path"),
        (status("302 Found", &location), "redirects are not followed"),
        (status("500 Internal Server Error", ""), "status 500"),
        (status("204 No Content", ""), "status 204"),
    ] {
        let seen = world.log().len();
        let shown = format!("{answer:?}");
        let shown = &shown[..shown.len().min(80)];
        server.answers(answer);
        world.wait(said, || match world.log()[seen..].contains(said) {
            true => Ok(()),
            false => Err(format!("{shown}: {}", &world.log()[seen..])),
        });
        assert_eq!(world.metric("alertmanager_up", &[]), 0.0);
    }
    // A warning when it begins, and not at each poll.
    let log = world.log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("level=warn") && line.contains("polling failed"));
    assert_eq!(warnings.count(), 1, "{log}");
    assert!(elsewhere.requests().is_empty(), "a redirect was followed");
    let with_token = |request: &String| request.contains(&format!("Bearer {TOKEN}"));
    assert!(server.requests().iter().all(with_token));
    assert!(world.runs().is_empty());
    world.unchanged("bot", &before);
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let peak: u64 = peak
        .split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(peak < 200_000, "{peak} kB");
    server.answers(listed(&[firing]));
    wait_until_cleaned(&world, "bot");
    world.finish();
}

/// Without a retry it would be asked again after an hour.
#[test]
fn an_alertmanager_that_is_busy_is_asked_again_soon() {
    let busy = Canned::Answer("503 Service Unavailable", String::new(), Vec::new());
    let server = CannedServer::start(busy).unwrap();
    let yaml = config(&[&server.url()], "").replace("interval: 1s", "interval: 1h");
    let (world, _) = host_with_bot(&yaml, "h", "bot");
    wait_for_polls(&world, &server, 1);
    server.answers(listed(&[alert("h", "bot", "cleanup", 0)]));
    wait_for(&world, "alertmanager_up", &[], 1.0);
    wait_until_cleaned(&world, "bot");
    world.finish();
}

/// A file of its owner alone.
fn secret(world: &World, name: &str, text: &str) -> String {
    let path = world.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// An authority, a server's certificate for a name, and a client's.
struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    fn new(server: &str) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let issue = |name: &str| {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let key = KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, &issuer).unwrap();
            (cert.pem(), key.serialize_pem())
        };
        Self {
            authority,
            server: issue(server),
            client: issue("client"),
        }
    }
}

/// A real Alertmanager that asks for a client's certificate and for a password, under
/// another name than its address.
#[test]
fn tls_and_passwords_are_those_of_prometheus() {
    let mut world = testkit::world!().probed().configured("");
    world.bot("bot", BLOATED, "disconnected");
    let certificates = Certificates::new("am.example.org");
    let file = |name: &str, text: &str| secret(&world, name, text);
    let ca = file("ca.pem", &certificates.authority);
    let other_ca = file("other.pem", &Certificates::new("x").authority);
    let client = (
        file("c.pem", &certificates.client.0),
        file("c.key", &certificates.client.1),
    );
    let web = format!(
        "tls_server_config: {{cert_file: {}, key_file: {}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: {ca}}}\nbasic_auth_users: {{remediator: {:?}}}\n",
        file("s.pem", &certificates.server.0),
        file("s.key", &certificates.server.1),
        bcrypt::hash("right", 4).unwrap(),
    );
    let web = file("web.yml", &web);
    let options = Options {
        flags: vec![format!("--web.config.file={web}")],
        ..Options::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let alertmanager = alertmanager(dir.path(), options);
    let url = alertmanager.url().replace("http://", "https://");
    let password = file("password", "right\n");
    let wrong = file("wrong", "wrong");

    let identity = format!("cert_file: {}, key_file: {}", client.0, client.1);
    let with = |password: &str, tls: &str| {
        let http = format!(
            "  http_config:\n    basic_auth: {{username: remediator, password_file: {password}}}\n    tls_config: {{{tls}}}\n"
        );
        config(&[&url], &http).replace("${HOST}", "h")
    };
    let name = "server_name: am.example.org";
    let good = with(&password, &format!("ca_file: {ca}, {identity}, {name}"));
    world.with_config(&good);
    start(&mut world, "h");
    wait_for(&world, "alertmanager_up", &[], 1.0);

    for (yaml, said) in [
        (
            with(&wrong, &format!("ca_file: {ca}, {identity}, {name}")),
            "refused the credentials",
        ),
        (
            with(
                "/nonexistent",
                &format!("ca_file: {ca}, {identity}, {name}"),
            ),
            "/nonexistent",
        ),
        (
            with(&password, &format!("ca_file: {ca}, {identity}")),
            "no TLS with",
        ),
        (
            with(
                &password,
                &format!("ca_file: {other_ca}, {identity}, {name}"),
            ),
            "no TLS with",
        ),
        (
            with(&password, &format!("{identity}, {name}")),
            "no TLS with",
        ),
        // The alert of TLS 1.3 comes after the handshake.
        (with(&password, &format!("ca_file: {ca}, {name}")), "no "),
        (
            with(
                &password,
                &format!("ca_file: {ca}, cert_file: {}", client.0),
            ),
            "belong together",
        ),
        (good.clone().replace("https:", "http:"), "status 400"),
    ] {
        world.with_config(&yaml);
        let ran = world.remediator(&["doctor"]);
        let text = format!("{}{}", ran.out, ran.err);
        assert!(text.contains(said), "{said}: {text}");
        for word in ["right", "wrong\n"] {
            assert!(!text.contains(word), "{text}");
        }
    }
    world.with_config(&good);
    let told = world
        .remediator(&["doctor", "--output=json"])
        .must(0, &[])
        .json();
    assert_eq!(told[0]["alertmanagers"]["to_fix"], json!([]), "{told:#}");

    // The file is read at each poll.
    fs::write(&password, "wrong").unwrap();
    wait_for(&world, "alertmanager_up", &[], 0.0);
    fs::write(&password, "right").unwrap();
    wait_for(&world, "alertmanager_up", &[], 1.0);
    // Others could read it.
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    wait_for(&world, "alertmanager_up", &[], 0.0);
    world.wait_for_log("refused the credentials");
    world.wait_for_log("chmod");
    world.finish();
}

/// `serve` needs a source of alerts, and the variables of its configuration; nothing else does.
#[test]
fn a_source_and_its_variables_are_needed_by_serve_alone() {
    let mut world = testkit::world!().probed().configured("sessions: {}\n");
    let before = world.bot("bot", BLOATED, "disconnected");
    let port = format!("--web.listen-address=127.0.0.1:{}", world.port);
    world
        .remediator(&["serve", &port])
        .must(2, &["alertmanager.urls", "--webhook.token-file"]);
    world.with_config(&config(&["http://127.0.0.1:1"], ""));
    world
        .remediator(&["serve", &port])
        .must(2, &["alertmanager.match.instance", "\"HOST\""]);
    world.remediator(&["plan", "bot"]).must(0, &[]);
    // A folder is above warning.
    world.exporter(&["status"]).must(1, &["bot"]);
    world.with_config("alertmanager: {urls: ['http://user:password@am:9093']}\n");
    let ran = world
        .remediator(&["serve", &port])
        .must(2, &["alertmanager.urls[0]"]);
    assert!(!ran.err.contains("password"), "{ran:#?}");
    world.unchanged("bot", &before);
}
