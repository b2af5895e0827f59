//! Storms: many posts, many sessions, a kill in the middle. Each session is cleaned once,
//! memory stays bounded, and nothing that was answered with 202 is lost. And alerts that
//! Alertmanager leaves out of its request are found by looking at every folder.
//!
//! `make test` sends 2,000 posts about 200 sessions, `make soak` 10,000 about 1,000:
//! `STORM_POSTS` and `STORM_SESSIONS` say how many.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

mod fleet;

use std::fs;
use std::path::Path;

use fleet::{Fleet, labels, name, payload};
use serde_json::{Value, json};
use testkit::net;
use testkit::process::{self, Process};
use testkit::stack::INSTALL;

/// What the process may need above what it had when it was ready.
///
/// 64 requests at a time, each with a thread's stack that is touched (some 100 KiB), a
/// body of 20 alerts and its JSON (some 40 KiB); the same for 16 probes and 4 runs; 2 MiB
/// of SQLite's page cache; and as much again for what the allocator keeps in its arenas.
/// A remediator that kept what it was sent would need more with every post.
const MORE_MEMORY_KIB: u64 = 48 << 10;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect("a number"))
}

fn sessions() -> usize {
    number("STORM_SESSIONS", 200)
}

fn posts() -> usize {
    number("STORM_POSTS", 2_000)
}

/// So many posts about sessions `0..count`, each of them named; now and then one of twenty.
fn bodies(posts: usize, count: usize) -> Vec<Value> {
    let body = |index: usize| {
        let some = if index % 10 == 9 { 20 } else { 1 };
        // Far apart, so that neighbours do not come together; every one comes up.
        let at = |step: usize| name((index * 7 + step * 13) % count);
        payload(&(0..some).map(at).collect::<Vec<_>>())
    };
    let mut all: Vec<Value> = (0..posts.saturating_sub(count)).map(body).collect();
    all.extend((0..count).map(|index| payload(&[name(index)])));
    all
}

#[test]
fn a_storm_from_a_load_generator() {
    let (sessions, posts) = (sessions(), posts());
    let half = sessions / 2;
    let mut fleet = Fleet::new(sessions, 0);
    fleet.start();
    let at_first = fleet.most_memory();

    // The first half of the fleet. Some runs go to their end, then the bots' API says no
    // more: four runs hang in the middle, the others wait.
    fleet.probe.close_after(2 * (half / 4) + 1);
    let mut away = fleet.storm(&bodies(posts / 2, half));
    let waiting = fleet.metric("queue_length", &[]).unwrap();
    assert!(
        waiting >= half as f64 / 4.0,
        "only {waiting} runs are there to be lost"
    );
    let first_memory = fleet.most_memory();
    fleet.kill();
    fleet.probe.open();

    // They are not requested again.
    fleet.start();
    let at_second = fleet.most_memory();
    fleet.wait_until_idle();
    let runs = fleet.runs();
    (0..half).for_each(|index| fleet.cleaned_once(&name(index), &runs));
    assert_eq!(runs.len(), half);

    // All of the fleet. The first half is left alone.
    away += fleet.storm(&bodies(posts - posts / 2, sessions));
    fleet.wait_until_idle();
    let runs = fleet.runs();
    (0..sessions).for_each(|index| fleet.cleaned_once(&name(index), &runs));
    let second_memory = fleet.most_memory();
    eprintln!(
        "{posts} posts, {away} turned away at first; {waiting} runs waited at the kill; most memory {at_first} -> {first_memory} KiB, {at_second} -> {second_memory} KiB"
    );
    for (before, after) in [(at_first, first_memory), (at_second, second_memory)] {
        assert!(after <= before + MORE_MEMORY_KIB, "{before} -> {after} KiB");
    }
}

/// Starts the real Alertmanager with the shipped configuration, in which only addresses and
/// durations are replaced, and `more`.
fn alertmanager(fleet: &Fleet, more: &[(&str, &str)]) -> (Process, u16) {
    let program = process::find(&["prometheus-alertmanager", "alertmanager"])
        .unwrap_or_else(|| panic!("Alertmanager is not installed; run: {INSTALL}"));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerting-rules/alertmanager.yml");
    let mut text = fs::read_to_string(shipped).unwrap();
    let (webhook, token) = (
        fleet.url("/webhook"),
        fleet.path("token").display().to_string(),
    );
    let changes = [
        ("http://127.0.0.1:10274/webhook", webhook.as_str()),
        ("/etc/prometheus/webhook.token", token.as_str()),
        (
            "smtp_smarthost: localhost:25",
            "smtp_smarthost: 127.0.0.1:1",
        ),
        ("group_wait: 10s", "group_wait: 1s"),
        ("group_interval: 1m", "group_interval: 1s"),
        ("repeat_interval: 5m", "repeat_interval: 1s"),
    ];
    for (from, to) in changes.iter().chain(more) {
        // The first route is that of the remediator.
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let config = fleet.path("alertmanager.yml");
    fs::write(&config, text).unwrap();
    let port = net::free_port(None).unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", fleet.path("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let process = Process::start(
        "alertmanager",
        &program,
        &args,
        &fleet.path("alertmanager.log"),
    )
    .unwrap();
    fleet.wait("alertmanager is ready", || {
        net::get(&format!("http://127.0.0.1:{port}/-/ready"))?.ok()
    });
    (process, port)
}

/// Tells Alertmanager that these alerts fire, from this moment on: it does not wait for the
/// rest of a group (`group_wait`) where an alert has been firing for longer than that.
fn fire(fleet: &Fleet, port: u16, sessions: &[String]) {
    let now = jiff::Timestamp::now().to_string();
    let alerts: Vec<Value> = sessions
        .iter()
        .map(|session| {
            json!({
                "labels": labels(session), "annotations": {"summary": "too many files"},
                "startsAt": now, "endsAt": "2099-01-01T00:00:00.000Z",
            })
        })
        .collect();
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    let body = Value::from(alerts).to_string();
    fleet.wait("alertmanager takes the alerts", || {
        net::post(
            &format!("http://127.0.0.1:{port}/api/v2/alerts"),
            &headers,
            body.as_bytes(),
        )?
        .ok()
    });
}

#[test]
fn a_storm_from_a_real_alertmanager() {
    let (sessions, posts) = (sessions(), posts());
    let mut fleet = Fleet::new(sessions, 0);
    fleet.start();
    let at_first = fleet.most_memory();
    let (mut alertmanager, port) = alertmanager(&fleet, &[]);
    // One group a session, as shipped: each is a post of its own, repeated every second or two.
    fire(&fleet, port, &(0..sessions).map(name).collect::<Vec<_>>());
    let accepted = |fleet: &Fleet, least: usize| -> usize {
        fleet.wait(&format!("{least} posts are accepted"), || {
            let seen = fleet.metric("webhook_requests_total", &[("code", "202")])? as usize;
            if seen >= least {
                Ok(seen)
            } else {
                Err(format!("{seen} posts"))
            }
        })
    };
    // Killed while runs are under way, and again in the middle of the repeats.
    let mut all = accepted(&fleet, sessions / 4);
    let first_memory = fleet.most_memory();
    fleet.kill();
    fleet.start();
    all += accepted(&fleet, posts / 2);
    let second_memory = fleet.most_memory();
    fleet.kill();
    fleet.start();
    let at_third = fleet.most_memory();
    all += accepted(&fleet, posts.saturating_sub(all).max(1));
    alertmanager.stop();
    fleet.wait_until_idle();
    let runs = fleet.runs();
    (0..sessions).for_each(|index| fleet.cleaned_once(&name(index), &runs));
    assert_eq!(runs.len(), sessions);
    let third_memory = fleet.most_memory();
    eprintln!(
        "at least {all} posts; most memory {at_first} -> {first_memory}, {second_memory}, {at_third} -> {third_memory} KiB"
    );
    assert!(all >= posts);
    for after in [first_memory, second_memory, third_memory] {
        assert!(
            after <= at_first.min(at_third) + MORE_MEMORY_KIB,
            "{at_first} -> {after} KiB"
        );
    }
}

/// With `max_alerts: 1` and all sessions in one group a single alert arrives, and of the
/// others only their number: that number is counted and logged, and nothing else is done.
#[test]
fn alerts_that_alertmanager_truncates_are_counted() {
    let bloated = 5;
    let mut fleet = Fleet::new(bloated, 0);
    fleet.start();
    let more = [
        (
            "        send_resolved: true\n        http_config:",
            "        max_alerts: 1\n        send_resolved: true\n        http_config:",
        ),
        (
            "group_by: [job, instance, session, alertname]",
            "group_by: [job, instance, alertname]",
        ),
        // All of them in one post, said once.
        ("group_wait: 1s", "group_wait: 5s"),
        ("repeat_interval: 1s", "repeat_interval: 1h"),
    ];
    let (mut alertmanager, port) = alertmanager(&fleet, &more);
    fire(&fleet, port, &(0..bloated).map(name).collect::<Vec<_>>());
    fleet.wait("the truncated alerts are counted", || {
        match fleet.metric("webhook_alerts_truncated_total", &[])? {
            truncated if truncated == (bloated - 1) as f64 => Ok(()),
            truncated => Err(format!("{truncated} alerts were truncated")),
        }
    });
    alertmanager.stop();
    fleet.wait("the alert that arrived is done", || {
        match fleet.metric("runs_total", &[("action", "cleanup")])? {
            1.0 => Ok(()),
            done => Err(format!("{done} runs\n{}", fleet.log_tail())),
        }
    });
    fleet.wait_until_idle();
    let runs = fleet.runs();
    assert_eq!(runs.values().flatten().count(), 1, "one alert arrived");
    let log = fleet.log_tail();
    assert!(log.contains("Alertmanager truncated its request"), "{log}");
}
