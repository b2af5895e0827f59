//! Who hears of which tier, by a real Alertmanager with the shipped configuration: one
//! session's emergency silences its own lower tiers and nothing else. Only addresses and
//! durations are replaced, and each receiver by one that remembers what it was sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::Patience;
use testkit::alertmanager::{Alertmanager, shipped};
use testkit::notification;
use testkit::recorder::{Recorder, Sent};

/// Everything together; it takes a quarter of a minute.
const BOUND: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_secs(30);
/// Some evaluations of every group, in which nothing more may come.
const QUIET: Duration = Duration::from_secs(3);
const RECEIVERS: [&str; 4] = ["baileys_remediator", "operator", "pager", "null"];

/// An alert: a host, a session, and the alert's name without "Baileys".
type Alert = (&'static str, &'static str, &'static str);

/// Alertmanager, and a recorder for each of its receivers.
struct Receivers {
    alertmanager: Alertmanager,
    recorders: Vec<(&'static str, Recorder)>,
    /// The labels that the shipped rules give each alert.
    labels: BTreeMap<String, Value>,
    patience: Patience,
    _dir: tempfile::TempDir,
}

/// The labels of each alert in the shipped rules.
fn rule_labels() -> BTreeMap<String, Value> {
    let rules: Value = serde_saphyr::from_str(&shipped("baileys.rules.yml").unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let alerts =
        rules.filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule["labels"].clone())));
    alerts.collect()
}

impl Receivers {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recorders: Vec<_> = RECEIVERS
            .into_iter()
            .map(|name| (name, Recorder::start(None).unwrap()))
            .collect();
        let url = |name: &str| {
            recorders
                .iter()
                .find(|(other, _)| *other == name)
                .unwrap()
                .1
                .url()
        };
        let token = dir.path().join("webhook.token");
        fs::write(&token, "a token that is never checked").unwrap();

        let webhook = |name: &str| format!("    webhook_configs:\n      - url: {}\n", url(name));
        let changes = [
            ("http://127.0.0.1:10274/webhook", url("baileys_remediator")),
            ("/etc/prometheus/webhook.token", token.display().to_string()),
            (
                "    email_configs:\n      - to: operator@example.org  # REPLACE\n",
                webhook("operator"),
            ),
            (
                "    email_configs:\n      - to: oncall@example.org  # REPLACE\n",
                webhook("pager"),
            ),
            (
                "  - name: \"null\"\n",
                format!("  - name: \"null\"\n{}", webhook("null")),
            ),
            ("group_wait: 10m", "group_wait: 1s".to_owned()),
            ("group_wait: 10s", "group_wait: 1s".to_owned()),
            ("group_interval: 1m", "group_interval: 1s".to_owned()),
            ("group_wait: 5s", "group_wait: 1s".to_owned()),
            ("group_interval: 5m", "group_interval: 1s".to_owned()),
            (
                "group_by: [severity]\n      group_wait: 1m\n      group_interval: 12h",
                "group_by: [severity]\n      group_wait: 1s\n      group_interval: 1s".to_owned(),
            ),
            (
                "group_by: [alertname]\n      group_wait: 1m\n      group_interval: 12h",
                "group_by: [alertname]\n      group_wait: 1s\n      group_interval: 1s".to_owned(),
            ),
            (
                "group_by: [alertname]\n      group_wait: 1m\n      group_interval: 1h",
                "group_by: [alertname]\n      group_wait: 1s\n      group_interval: 1s".to_owned(),
            ),
            ("group_interval: 1d", "group_interval: 1s".to_owned()),
            (
                "[job, instance, alertname]\n      group_wait: 1m\n      group_interval: 1h",
                "[job, instance, alertname]\n      group_wait: 1s\n      group_interval: 1s"
                    .to_owned(),
            ),
            (
                "'alertname=\"BaileysBotDown\"']\n          group_wait: 5m",
                "'alertname=\"BaileysBotDown\"']\n          group_wait: 5s".to_owned(),
            ),
            (
                "[job, alertname]\n          group_wait: 5m\n          group_interval: 15m",
                "[job, alertname]\n          group_wait: 5s\n          group_interval: 1s"
                    .to_owned(),
            ),
        ];
        let alertmanager = Alertmanager::start(dir.path(), &changes).unwrap();
        let world = Self {
            alertmanager,
            recorders,
            labels: rule_labels(),
            patience: Patience::new(BOUND),
            _dir: dir,
        };
        world.wait("alertmanager is ready", || world.alertmanager.ready());
        world
    }

    fn wait<T>(&self, what: &str, attempt: impl FnMut() -> testkit::Result<T>) -> T {
        let seen = self.patience.wait_until(STEP, what, attempt);
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.alertmanager.process.log_tail(12)))
    }

    /// Tells Alertmanager of alerts as Prometheus would, all of one evaluation.
    fn say(&self, alerts: &[Alert], fires: bool) {
        let now = jiff::Timestamp::now().to_string();
        let body: Vec<Value> = alerts
            .iter()
            .map(|(host, session, name)| {
                let name = format!("Baileys{name}");
                let mut labels = self.labels[&name].clone();
                let of_remediator = name == "BaileysCleanupFailing";
                let (job, port) =
                    if of_remediator { ("baileys_remediator", 10274) } else { ("baileys", 10273) };
                labels["alertname"] = name.into();
                labels["job"] = job.into();
                labels["instance"] = format!("{host}:{port}").into();
                labels["session"] = (*session).into();
                match fires {
                    true => json!({"labels": labels, "startsAt": now, "endsAt": "2099-01-01T00:00:00.000Z"}),
                    // It has been firing for a while.
                    false => json!({"labels": labels, "endsAt": now}),
                }
            })
            .collect();
        self.alertmanager.post(body).unwrap();
    }

    /// The alerts that Alertmanager holds back, and those that it does not.
    fn states(&self) -> testkit::Result<(BTreeSet<String>, BTreeSet<String>)> {
        let alerts = self.alertmanager.alerts()?;
        let (silenced, heard): (Vec<&Value>, Vec<&Value>) = alerts
            .iter()
            .partition(|alert| alert["status"]["state"] == "suppressed");
        let names = |alerts: Vec<&Value>| {
            alerts
                .into_iter()
                .map(|alert| shown(&alert["labels"]))
                .collect()
        };
        Ok((names(silenced), names(heard)))
    }

    /// Waits until exactly these are held back and the others are not.
    fn must_hold_back(&self, silenced: &[Alert], heard: &[Alert]) {
        let expected = (lines(silenced), lines(heard));
        self.wait("the right alerts are silenced", || match self.states()? {
            states if states == expected => Ok(()),
            states => Err(format!("silenced, and not: {states:#?}")),
        });
    }

    /// What a receiver was sent so far.
    fn sent(&self, receiver: &str) -> BTreeSet<String> {
        let (_, recorder) = self
            .recorders
            .iter()
            .find(|(name, _)| *name == receiver)
            .unwrap();
        let line = |sent: Sent| {
            let end = if sent.status == "resolved" {
                " resolved"
            } else {
                ""
            };
            let host = sent.instance.split(':').next().unwrap().to_owned();
            format!(
                "{host} {} {}{end}",
                sent.session,
                sent.alert.trim_start_matches("Baileys")
            )
        };
        recorder.sent().into_iter().map(line).collect()
    }

    /// Waits until the receivers were sent exactly this, from the start on, and see that it
    /// stays so.
    fn must_have_sent(&self, expected: &[(&str, &[&str])]) {
        let expected: BTreeMap<&str, BTreeSet<String>> = expected
            .iter()
            .map(|(name, lines)| (*name, lines.iter().map(|line| (*line).to_owned()).collect()))
            .collect();
        assert!(RECEIVERS.iter().all(|name| expected.contains_key(name)));
        let check = || {
            let seen = RECEIVERS
                .into_iter()
                .map(|name| (name, self.sent(name)))
                .collect();
            if expected == seen {
                Ok(())
            } else {
                Err(format!("{seen:#?}\nexpected: {expected:#?}"))
            }
        };
        self.wait("every receiver got its alerts", check);
        self.patience
            .holds_for(QUIET, "no receiver gets more", check)
            .unwrap();
    }
}

fn shown(labels: &Value) -> String {
    let text = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    let host = text("instance").split(':').next().unwrap().to_owned();
    format!(
        "{host} {} {}",
        text("session"),
        text("alertname").trim_start_matches("Baileys")
    )
}

fn lines(alerts: &[Alert]) -> BTreeSet<String> {
    alerts
        .iter()
        .map(|(host, session, name)| format!("{host} {session} {name}"))
        .collect()
}

#[test]
fn an_emergency_silences_the_lower_tiers_of_its_own_session_and_nothing_else() {
    let world = Receivers::start();
    // Two sessions on two hosts. Fatal is beside the ladder, and so is what is no tier.
    let heard = [
        ("a", "one", "AuthFilesFatal"),
        ("a", "one", "AuthFilesEmergency"),
        ("a", "one", "DeviceRemoved"),
        ("a", "one", "CleanupIneffective"),
        ("a", "one", "CleanupFailing"),
        ("a", "two", "AuthFilesWarning"),
        ("b", "one", "AuthFilesCleanup"),
        ("b", "two", "DecryptErrors"),
    ];
    let silenced = [
        ("a", "one", "AuthFilesCleanup"),
        ("a", "one", "AuthFilesWarning"),
        ("b", "one", "AuthFilesWarning"),
    ];
    world.say(&[silenced.as_slice(), &heard].concat(), true);
    world.must_hold_back(&silenced, &heard);
    let machine = [
        "a one AuthFilesEmergency",
        "a two AuthFilesWarning",
        "b one AuthFilesCleanup",
    ];
    let operator = [
        "a one AuthFilesEmergency",
        "a one AuthFilesFatal",
        "a one DeviceRemoved",
        "a one CleanupIneffective",
        "a one CleanupFailing",
        "a two AuthFilesWarning",
        "b one AuthFilesCleanup",
        "b two DecryptErrors",
    ];
    let pager = ["a one AuthFilesFatal", "a one DeviceRemoved"];
    // For rules of an operator's own; none of ours has the severity info.
    let nothing = [];
    world.must_have_sent(&[
        ("baileys_remediator", &machine),
        ("operator", &operator),
        ("pager", &pager),
        ("null", &nothing),
    ]);

    // The emergency is over and 155 files are left: the tier that still fires is sent.
    world.say(
        &[
            ("a", "one", "AuthFilesEmergency"),
            ("a", "one", "AuthFilesFatal"),
        ],
        false,
    );
    let machine = [
        &machine[..],
        &[
            "a one AuthFilesEmergency resolved",
            "a one AuthFilesCleanup",
        ],
    ]
    .concat();
    let operator = [
        &operator[..],
        &[
            "a one AuthFilesEmergency resolved",
            "a one AuthFilesFatal resolved",
            "a one AuthFilesCleanup",
        ],
    ]
    .concat();
    world.must_have_sent(&[
        ("baileys_remediator", &machine),
        ("operator", &operator),
        ("pager", &pager),
        ("null", &nothing),
    ]);

    // 130, then 110 files; the other host's session of that name has an emergency meanwhile.
    world.say(&[("a", "one", "AuthFilesCleanup")], false);
    world.say(&[("b", "one", "AuthFilesEmergency")], true);
    let machine = [
        &machine[..],
        &[
            "a one AuthFilesCleanup resolved",
            "a one AuthFilesWarning",
            "b one AuthFilesEmergency",
        ],
    ]
    .concat();
    let operator = [
        &operator[..],
        &[
            "a one AuthFilesCleanup resolved",
            "a one AuthFilesWarning",
            "b one AuthFilesEmergency",
        ],
    ]
    .concat();
    world.must_have_sent(&[
        ("baileys_remediator", &machine),
        ("operator", &operator),
        ("pager", &pager),
        ("null", &nothing),
    ]);
    world.say(&[("a", "one", "AuthFilesWarning")], false);
    let machine = [&machine[..], &["a one AuthFilesWarning resolved"]].concat();
    let operator = [&operator[..], &["a one AuthFilesWarning resolved"]].concat();
    world.must_have_sent(&[
        ("baileys_remediator", &machine),
        ("operator", &operator),
        ("pager", &pager),
        ("null", &nothing),
    ]);
    world.must_hold_back(
        &[
            ("b", "one", "AuthFilesCleanup"),
            ("b", "one", "AuthFilesWarning"),
        ],
        &[
            ("a", "one", "CleanupIneffective"),
            ("a", "one", "CleanupFailing"),
            ("a", "one", "DeviceRemoved"),
            ("a", "two", "AuthFilesWarning"),
            ("b", "one", "AuthFilesEmergency"),
            ("b", "two", "DecryptErrors"),
        ],
    );
}

/// What has no session of its own in common with a tier is not silenced by what it lacks.
#[test]
fn alerts_that_are_no_tier_neither_inhibit_nor_are_inhibited() {
    let world = Receivers::start();
    let all = [
        // Every one that a session can have, with an emergency in the middle.
        ("a", "one", "AuthFilesEmergency"),
        ("a", "one", "LoginAtRisk"),
        ("a", "one", "AuthFilesRising"),
        ("a", "one", "BotDown"),
        ("a", "one", "CredsBroken"),
        ("a", "one", "LoggedOut"),
        ("a", "one", "SessionVanished"),
        ("a", "one", "ConnectionReplaced"),
        ("a", "one", "DeviceRemoved"),
        ("a", "one", "AuthFilesFatal"),
        ("a", "one", "CleanupIneffective"),
        ("a", "one", "CleanupFailing"),
        ("a", "", "ExporterDown"),
        ("a", "", "RemediatorDown"),
        ("a", "", "AuthFilesFatal"),
    ];
    world.say(&all, true);
    world.must_hold_back(&[], &all);
    // For some evaluations more.
    let seen = world
        .patience
        .holds_for(QUIET, "nothing is silenced", || match world.states()? {
            (silenced, _) if silenced.is_empty() => Ok(()),
            (silenced, _) => Err(format!("{silenced:?}")),
        });
    seen.unwrap();
    assert_eq!(
        world.sent("baileys_remediator"),
        lines(&[("a", "one", "AuthFilesEmergency")])
    );
}

/// The pages: the alerts of each message to the pager.
fn pages(world: &Receivers) -> BTreeSet<(String, String)> {
    let (_, pager) = world
        .recorders
        .iter()
        .find(|(name, _)| *name == "pager")
        .unwrap();
    let page = |sent: &Sent| {
        let group: Value = serde_json::from_str(&sent.group).unwrap();
        let host = sent.instance.split(':').next().unwrap();
        let name = sent.alert.trim_start_matches("Baileys");
        let alert = format!("{host} {} {name}", sent.session);
        (shown(&group), alert)
    };
    pager.sent().iter().map(page).collect()
}

/// All bots of a host, and all exporters that are away: one cause often breaks many. Not what ends
/// a login: a bot that was paired again is often removed again.
#[test]
fn a_critical_alert_is_one_page_for_all_bots_of_a_host_unless_it_ends_a_login() {
    let world = Receivers::start();
    let all = [
        ("a", "one", "LoginAtRisk"),
        ("a", "one", "AuthFilesFatal"),
        ("a", "one", "CredsBroken"),
        ("a", "one", "DeviceRemoved"),
        ("a", "two", "DeviceRemoved"),
        ("b", "one", "DeviceRemoved"),
        ("a", "one", "BotDown"),
        ("a", "two", "BotDown"),
        ("b", "one", "BotDown"),
        ("b", "", "ExporterDown"),
        ("c", "", "ExporterDown"),
    ];
    world.say(&all, true);
    world.wait("the pages", || match pages(&world) {
        seen if seen.len() == all.len() => Ok(()),
        seen => Err(format!("{seen:#?}")),
    });
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for (group, _) in pages(&world) {
        *groups.entry(group).or_default() += 1;
    }
    let mut sizes: Vec<usize> = groups.values().copied().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 1, 1, 1, 1, 2, 2], "{groups:#?}");
}

/// The texts of the receivers: of `alerting-rules/receivers`, and of docs/install.md.
fn templates() -> Vec<(String, String)> {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/install.md");
    let install = fs::read_to_string(install).unwrap();
    let (_, block) = install
        .split_once("<!-- test: alertmanager.yml -->\n```yaml\n")
        .unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut files = vec![("install.md".to_owned(), block.to_owned())];
    for name in ["telegram.yml", "slack.yml", "email.yml"] {
        files.push((
            name.to_owned(),
            shipped(&format!("receivers/{name}")).unwrap(),
        ));
    }
    let mut found = Vec::new();
    for (name, text) in files {
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        for receiver in config["receivers"].as_array().unwrap() {
            let kinds = receiver.as_object().unwrap().values();
            for one in kinds.filter_map(Value::as_array).flatten() {
                let text = one["message"].as_str().or(one["text"].as_str()).unwrap();
                found.push((name.clone(), text.to_owned()));
            }
        }
    }
    found
}

#[test]
fn a_message_about_many_alerts_names_them_and_fits() {
    let dir = tempfile::tempdir().unwrap();
    let alerts: Vec<Value> = (0..250)
        .map(|index| {
            let mut labels =
                json!({"alertname": "BaileysBotDown", "instance": "bots1.example.org:10273"});
            // The alert of an exporter has no session.
            if index > 3 {
                labels["session"] = format!("company_{index}").into();
            }
            json!({
                "labels": labels,
                "annotations": {
                    "summary": format!("A bot is down {index}."), "description": "d".repeat(500),
                    "runbook_url": "https://wiki.example.org/baileys/baileysbotdown",
                },
            })
        })
        .collect();
    let templates = templates();
    assert_eq!(templates.len(), 8, "of a pager and an operator each");
    for (file, template) in templates {
        let render = |count: usize| {
            let text = notification::render(&template, &alerts[..count], dir.path()).unwrap();
            assert!(!text.contains("<no value>"), "{file}: {text}");
            text
        };
        for count in [1, 5] {
            let text = render(count);
            assert_eq!(text.matches("ddd").count(), count * 166, "{file}: {text}");
            assert!(!text.contains("more"), "{file}: {text}");
        }
        let (named, most) = if file == "email.yml" {
            (200, usize::MAX)
        } else {
            (30, 4096)
        };
        let text = render(250);
        assert!(text.len() <= most, "{file}: {}", text.len());
        assert!(text.contains("A bot is down 0."), "{file}: {text}");
        let last = format!(
            "BaileysBotDown company_{} on bots1.example.org:10273\n",
            named - 1
        );
        assert!(text.contains(&last), "{file}: {text}");
        let more = format!("and {} more", 250 - named);
        assert!(text.ends_with(&more), "{file}: {text}");
        assert!(
            !text.contains(&format!("company_{named}")),
            "{file}: {text}"
        );
    }
    // ntfy refuses more than 32 KiB.
    let ntfy: Value = serde_saphyr::from_str(&shipped("receivers/ntfy.yml").unwrap()).unwrap();
    for receiver in ntfy["receivers"].as_array().unwrap() {
        assert_eq!(receiver["webhook_configs"][0]["max_alerts"], 8);
    }
}
