//! The alerting rules for sessions with tiers of their own, as the program prints them,
//! before the real promtool; and which sessions a glob names, as the running exporter sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::net;
use testkit::process;
use testkit::stack::INSTALL;
use testkit::world::World;

/// No program here takes longer.
const BOUND: Duration = Duration::from_secs(60);

/// A configuration, and the rules that the program prints for it.
struct Rules {
    world: World,
    promtool: PathBuf,
}

impl Rules {
    fn of(config: &str) -> Self {
        let promtool = process::find(&["promtool"])
            .unwrap_or_else(|| panic!("promtool is not installed; run: {INSTALL}"));
        let world = testkit::world!().configured(config);
        let ran = world.exporter(&["rules"]).must(0, &[]);
        assert!(
            ran.err.contains("set rules.runbooks and rules.dashboards"),
            "{}",
            ran.err
        );
        world.write("baileys.rules.yml", &ran.out);
        Self { world, promtool }
    }

    fn promtool(&self, command: &str, file: &str) -> String {
        let file = self.world.path(file).display().to_string();
        let (status, out, err) =
            process::run(&self.promtool, [command, "rules", &file], BOUND).unwrap();
        let said = format!("{out}{err}");
        assert!(status.success(), "promtool {command} rules: {said}");
        said
    }

    /// Tests what was printed; JSON is YAML.
    fn test(&self, series: &[Value], alerts: &[Value], expressions: &[Value]) {
        let test = json!({
            "rule_files": ["baileys.rules.yml"],
            "evaluation_interval": "1m",
            "tests": [{
                "interval": "1m", "input_series": series,
                "alert_rule_test": alerts, "promql_expr_test": expressions,
            }],
        });
        self.world.write("test.yml", &test.to_string());
        self.promtool("test", "test.yml");
    }
}

/// A string of PromQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn series(name: &str, session: &str, more: &str, values: &str) -> Value {
    let job = if name.starts_with("baileys_remediator") {
        "baileys_remediator"
    } else {
        "baileys"
    };
    let session = quoted(session);
    json!({
        "series": format!("{name}{{job=\"{job}\", instance=\"a:10273\", session={session}{more}}}"),
        "values": values,
    })
}

fn count(session: &str, files: usize) -> Value {
    series(
        "baileys_auth_accumulated_files",
        session,
        "",
        &format!("{files}x60"),
    )
}

/// The warning tier's alert, as its text promises it.
fn warning(session: &str, files: usize, cleanup: usize, group: Option<usize>) -> Value {
    let mut labels = json!({
        "severity": "warning", "ladder": "baileys_auth_files", "tier": "warning",
        "job": "baileys", "instance": "a:10273", "session": session,
    });
    if let Some(group) = group {
        labels["override"] = group.to_string().into();
    }
    let escaped = net::encode(session).replace("%20", "+");
    json!({
        "exp_labels": labels,
        "exp_annotations": {
            "summary": "A Baileys auth folder has reached the warning tier.",
            "description": format!(
                "{session} on a:10273 holds {files} files; clean-up starts at {cleanup}. The bot works, and \
                 nothing is moved at this tier. No growth is seen now. Run on a: baileys_remediator plan \
                 '{session}'"
            ),
            "runbook_url": "https://runbooks.invalid/baileys/baileysauthfileswarning",
            "dashboard_url": format!(
                "https://grafana.invalid/d/baileys-session?var-instance=a%3A10273&var-session={escaped}"
            ),
        },
    })
}

fn at(time: &str, alert: &str, expected: &[Value]) -> Value {
    json!({"eval_time": time, "alertname": alert, "exp_alerts": expected})
}

/// What fires, by session, alert and group of overrides.
fn firing(time: &str, expected: &[(&str, &str, Option<usize>)]) -> Value {
    let samples: Vec<Value> = expected
        .iter()
        .map(|(session, alert, group)| {
            let group = group
                .map(|group| format!(", override=\"{group}\""))
                .unwrap_or_default();
            let session = quoted(session);
            let labels = format!("{{session={session}, alertname=\"{alert}\"{group}}}");
            json!({"labels": labels, "value": 1})
        })
        .collect();
    json!({
        "eval_time": time,
        "expr": "count by (session, alertname, override) (ALERTS{alertstate=\"firing\", session!=\"\"})",
        "exp_samples": samples,
    })
}

const OVERRIDES: &str = "
overrides:
  - sessions: [\"big_*\"]
    tiers: {monitor: 220, warning: 240, cleanup: 300, emergency: 360, fatal: 400}
  - sessions: [one, \"big_2\"]
    tiers: {warning: 130}
";

#[test]
fn rules_with_overrides_are_valid_and_none_is_there_twice() {
    let rules = Rules::of(OVERRIDES);
    let said = rules.promtool("check", "baileys.rules.yml");
    assert!(
        said.contains("SUCCESS") && !said.to_lowercase().contains("duplicate"),
        "{said}"
    );
}

#[test]
fn sessions_with_tiers_of_their_own_fire_at_their_own_numbers_only() {
    let rules = Rules::of(OVERRIDES);
    let sessions = [
        ("big_200", 200),
        ("big_239", 239),
        ("big_245", 245),
        ("big_300", 300),
        ("big_360", 360),
        ("big_400", 400),
        // The first entry counts.
        ("big_2", 130),
        ("one", 129),
        ("onetwo", 119),
        ("two", 120),
        ("abig_3", 245),
    ];
    let mut input: Vec<Value> = sessions
        .iter()
        .map(|(session, files)| count(session, *files))
        .collect();
    // In these nothing can be moved.
    for session in ["big_200", "big_245", "big_360", "two"] {
        input.extend([
            series(
                "baileys_auth_removable_files",
                session,
                ", action=\"emergency\", kind=\"session\"",
                "0x60",
            ),
            series("baileys_auth_creds_valid", session, "", "1x60"),
            series("baileys_auth_newest_file_age_seconds", session, "", "60x60"),
        ]);
    }
    let own = 300;
    let warnings = [
        warning("abig_3", 245, 150, None),
        warning("two", 120, 150, None),
        warning("big_245", 245, own, Some(1)),
        warning("big_300", 300, own, Some(1)),
        warning("big_360", 360, own, Some(1)),
        warning("big_400", 400, own, Some(1)),
    ];
    let fires = firing(
        "30m",
        &[
            ("abig_3", "BaileysAuthFilesWarning", None),
            ("abig_3", "BaileysAuthFilesCleanup", None),
            ("abig_3", "BaileysAuthFilesEmergency", None),
            ("abig_3", "BaileysAuthFilesFatal", None),
            ("abig_3", "BaileysLoginAtRisk", None),
            ("two", "BaileysAuthFilesWarning", None),
            ("two", "BaileysCleanupIneffective", None),
            ("big_245", "BaileysAuthFilesWarning", Some(1)),
            ("big_245", "BaileysCleanupIneffective", Some(1)),
            ("big_300", "BaileysAuthFilesWarning", Some(1)),
            ("big_300", "BaileysAuthFilesCleanup", Some(1)),
            ("big_360", "BaileysAuthFilesWarning", Some(1)),
            ("big_360", "BaileysAuthFilesCleanup", Some(1)),
            ("big_360", "BaileysAuthFilesEmergency", Some(1)),
            ("big_360", "BaileysLoginAtRisk", Some(1)),
            ("big_360", "BaileysCleanupIneffective", Some(1)),
            ("big_400", "BaileysLoginAtRisk", Some(1)),
            ("big_400", "BaileysAuthFilesWarning", Some(1)),
            ("big_400", "BaileysAuthFilesCleanup", Some(1)),
            ("big_400", "BaileysAuthFilesEmergency", Some(1)),
            ("big_400", "BaileysAuthFilesFatal", Some(1)),
        ],
    );
    rules.test(
        &input,
        &[at("30m", "BaileysAuthFilesWarning", &warnings)],
        &[fires],
    );
}

#[test]
fn hold_times_and_severities_are_those_of_the_configuration() {
    let rules = Rules::of(
        "rules: {alerts: {BaileysPreKeysExhausted: {for: 25m, severity: critical}, BaileysBotDown/critical: {severity: info}}}",
    );
    let said = rules.promtool("check", "baileys.rules.yml");
    assert!(!said.to_lowercase().contains("duplicate"), "{said}");
    let expected = json!({
        "exp_labels": {
            "severity": "critical", "tier": "none", "job": "baileys", "instance": "a:10273",
            "session": "bot",
        },
        "exp_annotations": {
            "summary": "A bot has no pre-key left.",
            "description": "bot on a:10273 is paired and has had no pre-key for 25 minutes. A first message of a \
                            new contact cannot be read until a retry. Run on a: baileys_exporter status 'bot'",
            "runbook_url": "https://runbooks.invalid/baileys/baileysprekeysexhausted",
            "dashboard_url": "https://grafana.invalid/d/baileys-session?var-instance=a%3A10273&var-session=bot",
        },
    });
    let alert = "BaileysPreKeysExhausted";
    rules.test(
        &[
            series("baileys_auth_pre_keys", "bot", "", "0x60"),
            series("baileys_auth_logged_in", "bot", "", "1x60"),
        ],
        &[at("24m", alert, &[]), at("26m", alert, &[expected])],
        &[],
    );
}

#[test]
fn check_config_refuses_a_hold_time_of_a_tier_on_which_the_remediator_acts() {
    let world =
        testkit::world!().configured("rules: {alerts: {BaileysAuthFilesEmergency: {for: 30m}}}");
    let said = "rules.alerts.BaileysAuthFilesEmergency: the remediator acts on this tier";
    world.exporter(&["check-config"]).must(2, &[said]);
}

/// Each entry has a warning tier that no other has, so that the tier tells the entry.
const GLOBS: [&[&str]; 9] = [
    &["star*"],
    &["q?x"],
    &["[a-c]one", "[!a-c]two"],
    &["{left,right}_x", "{a,b?}{1,2}"],
    &["over*"],
    &["overlap", "later"],
    &[
        "a.b",
        "plus+",
        "(x)",
        "lit\\*",
        "sp ace",
        "we\"ird",
        "do$lar",
        "v|w",
        "back\\\\slash",
    ],
    &["*-eu-*"],
    &["?"],
];

/// What the names are matched against; those of `GLOBS` that are names too.
const NAMES: [&str; 56] = [
    "star",
    "starlight",
    "astar",
    "Star",
    "q1x",
    "qx",
    "q12x",
    "q.x",
    "aone",
    "cone",
    "done",
    "Aone",
    "aaone",
    "atwo",
    "ztwo",
    "two",
    "left_x",
    "right_x",
    "leftright_x",
    "{left,right}_x",
    "a1",
    "b1",
    "bb2",
    "b2",
    "a3",
    "over",
    "overt",
    "overlap",
    "later",
    "late",
    "a.b",
    "aXb",
    "plus+",
    "pluss",
    "plus",
    "(x)",
    "x",
    "lit*",
    "lit\\*",
    "litter",
    "sp ace",
    "space",
    "we\"ird",
    "do$lar",
    "v|w",
    "v",
    "w",
    "bot-eu-1",
    "-eu-",
    "boteu1",
    "back\\slash",
    "back\\\\slash",
    "q\u{fc}x",
    "\u{fc}",
    "\u{e9}tux",
    "\u{fc}two",
];

fn warning_tier(entry: usize) -> usize {
    1_000 + 100 * entry
}

/// The thresholds that the running exporter shows are those at which the rules fire.
#[test]
fn a_glob_names_the_same_sessions_to_the_exporter_and_to_prometheus() {
    let entries: Vec<Value> = (0..GLOBS.len())
        .map(|entry| {
            let first = warning_tier(entry);
            json!({
                "sessions": GLOBS[entry],
                "tiers": {
                    "monitor": first - 20, "warning": first, "cleanup": first + 10,
                    "emergency": first + 20, "fatal": first + 30,
                },
            })
        })
        .collect();
    let mut rules = Rules::of(&json!({ "overrides": entries }).to_string());
    let said = rules.promtool("check", "baileys.rules.yml");
    assert!(!said.to_lowercase().contains("duplicate"), "{said}");

    let sessions = rules.world.path("sessions");
    for name in NAMES {
        fs::create_dir_all(sessions.join(name)).unwrap();
        let creds = r#"{"noiseKey":{},"nextPreKeyId":31,"me":{"id":"447700900001:1@s.whatsapp.net"},"account":{}}"#;
        fs::write(sessions.join(name).join("creds.json"), creds).unwrap();
    }
    rules.world.start_exporter();
    let metrics = rules.world.metrics();

    let mut seen = BTreeMap::new();
    for sample in metrics.having("baileys_auth_tier_threshold_files", &[("tier", "warning")]) {
        seen.insert(sample.labels["session"].clone(), sample.value as usize);
    }
    assert_eq!(seen.len(), NAMES.len(), "{seen:?}");
    // Each entry and the rest have some, or the comparison says nothing.
    for tier in (0..GLOBS.len()).map(warning_tier).chain([120]) {
        assert!(
            seen.values().any(|seen| *seen == tier),
            "no session has the tier {tier}: {seen:?}"
        );
    }

    // At its own number each session warns, with its own numbers, and cleans nothing; one file
    // below, as of another host, it does not.
    let mut input = Vec::new();
    let mut expected = Vec::new();
    for (session, tier) in &seen {
        input.push(count(session, *tier));
        let mut below = count(session, tier - 1);
        below["series"] = below["series"]
            .as_str()
            .unwrap()
            .replace("a:10273", "b:10273")
            .into();
        input.push(below);
        let entry = tier.checked_sub(1_000).map(|above| above / 100 + 1);
        let cleanup = if entry.is_some() { tier + 10 } else { 150 };
        expected.push(warning(session, *tier, cleanup, entry));
    }
    let alerts = [
        at("10m", "BaileysAuthFilesWarning", &expected),
        at("10m", "BaileysAuthFilesCleanup", &[]),
    ];
    rules.test(&input, &alerts, &[]);
}
