//! The groups of metrics that can be switched off: what the shipped rules and dashboards use is
//! shown without any of them switched on, and docs/metrics.md tells what a session costs.
//!
//! `UPDATE_DOCS=1 cargo test --test collectors` writes its tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use baileys_exporter::config::{CommonFlags, MetricGroup, MetricGroups, RemediatorFlags, Settings};
use baileys_exporter::exporter::latest::{ConnectionReading, LatestVerdicts};
use baileys_exporter::exporter::metrics::{self, metric_families};
use baileys_exporter::exporter::snapshot::{Collector, Snapshot};
use baileys_exporter::folder::{Kind, SessionsPath, Timestamp};
use baileys_exporter::logs::{Published, SessionLog};
use baileys_exporter::reload::ReloadState;
use clock::Clock;
use exporter_toolkit::exposition::{Format, encode};
use exporter_toolkit::metric_families::MetricDeclaration;
use regex::Regex;
use testkit::fixture;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: impl AsRef<Path>) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

/// Folders, and a configuration about them.
struct Folders {
    dir: tempfile::TempDir,
    config: String,
}

impl Folders {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            config: String::new(),
        }
    }

    fn add(&self, session: &str, fixture: &str) -> PathBuf {
        let folder = self.dir.path().join("sessions").join(session);
        fixture::unpack(fixture, &folder, SystemTime::now()).unwrap();
        folder
    }

    /// A folder that holds a file of every kind.
    fn add_with_every_kind(&self, session: &str) {
        let folder = self.add(session, "modern-1003");
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Creds) {
            let id = match kind {
                Kind::PreKey => "70000",
                Kind::Session => "15550001111.0",
                _ => "15550001111",
            };
            let name = format!("{}-{id}.json", kind.label());
            fs::write(folder.join(name), "{}").unwrap();
        }
    }

    fn settings(&self) -> Settings {
        let config_file = self.dir.path().join("config.yml");
        fs::write(&config_file, &self.config).unwrap();
        let path = |text: &str| SessionsPath::parse(text.as_ref()).unwrap();
        let (sessions, gone) = (self.dir.path().join("sessions"), self.dir.path().join("x"));
        let flags = CommonFlags {
            sessions_path: vec![
                path(sessions.to_str().unwrap()),
                path(&format!("gone={}", gone.display())),
            ],
            config_file: Some(config_file),
            ..CommonFlags::default()
        };
        Settings::load(&flags, &RemediatorFlags::default()).unwrap()
    }

    fn look(&self) -> (Snapshot, Settings) {
        let settings = self.settings();
        let mut collector = Collector::new(Arc::new(settings.clone()), Clock::system());
        (collector.collect(), settings)
    }
}

/// A scrape of the exporter with logs, and with a source that tells of every connection if
/// `has_sources`.
fn scrape(
    (snapshot, settings): &(Snapshot, Settings),
    groups: &MetricGroups,
    has_sources: bool,
) -> String {
    let patterns = settings.logs.patterns.as_ref();
    let names = patterns.patterns().iter().map(|pattern| &pattern.name);
    let events = names.map(|name| (Arc::from(name.as_ref()), 0)).collect();
    let mut reports: Vec<(Arc<str>, u64)> = Vec::new();
    for pattern in [
        "device_removed",
        "connection_replaced",
        "account_banned",
        "creds_corrupt",
    ] {
        reports.push((Arc::from(pattern), 0));
    }
    let log = SessionLog {
        events,
        reports,
        last_line: Some(Timestamp::now()),
        ..SessionLog::default()
    };
    let logs = Published {
        unheard: log.clone(),
        globs_matched: [(Arc::from("/logs/*.log"), true)].into(),
        unplaced_events: [(Arc::from("/logs/*.log"), log.events)].into(),
        ..Published::default()
    };
    let reload = ReloadState {
        successful: true,
        loaded_at: Timestamp::now(),
    };
    let verdicts = LatestVerdicts::default();
    let families = metric_families(
        snapshot,
        Some((&logs, patterns)),
        reload,
        groups,
        |session| ConnectionReading {
            is_unresolved: has_sources.then_some(false),
            is_stopped_on_request: has_sources.then_some(false),
            process_running: has_sources.then_some(false),
            has_shared_connection: has_sources,
            restarts: has_sources.then_some(0),
            ..verdicts.of(session, Instant::now())
        },
    );
    String::from_utf8(encode(families, Format::Text, false).unwrap()).unwrap()
}

/// A metric of the exporter that something shipped uses, with what it says of its labels.
#[derive(Debug)]
struct Use {
    /// The rule or panel, with all of its text.
    text: String,
    metric: String,
    /// Label and value.
    labels: Vec<(String, String)>,
}

/// Every use of a metric of the exporter in a text.
fn uses_in(text: &str, uses: &mut Vec<Use>) {
    // A recorded series has a colon before or behind the name.
    let selector =
        Regex::new(r"(^|[^:\w])(baileys_(?:auth|exporter)_\w+)(:?)(?:\{([^{}]*)\})?").unwrap();
    let matcher = Regex::new(r#"(\w+)(=~?)\\?["']([\w|-]+)\\?["']"#).unwrap();
    for found in selector.captures_iter(text) {
        if !found[3].is_empty() {
            continue;
        }
        let matchers = found.get(4).map_or("", |inside| inside.as_str());
        let labels = matcher.captures_iter(matchers).flat_map(|matcher| {
            let values: Vec<&str> = match &matcher[2] {
                "=~" => matcher.get(3).unwrap().as_str().split('|').collect(),
                _ => vec![matcher.get(3).unwrap().as_str()],
            };
            let label = matcher[1].to_owned();
            values
                .into_iter()
                .map(|value| (label.clone(), value.to_owned()))
                .collect::<Vec<_>>()
        });
        uses.push(Use {
            text: text.to_owned(),
            metric: found[2].to_owned(),
            labels: labels.collect(),
        });
    }
}

/// What the shipped rules and dashboards use.
fn shipped_uses() -> Vec<Use> {
    let mut uses = Vec::new();
    let rules = read("alerting-rules/baileys.rules.yml");
    for rule in Regex::new(r"(?m)^ +- (?:alert|record): ")
        .unwrap()
        .split(&rules)
    {
        uses_in(rule, &mut uses);
    }
    for name in ["fleet", "session", "remediation"] {
        let dashboard: serde_json::Value =
            serde_json::from_str(&read(format!("dashboards/{name}.json"))).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let targets = panel["targets"].as_array().into_iter().flatten();
            for target in targets {
                let expr = target["expr"].as_str().unwrap();
                let before = uses.len();
                uses_in(expr, &mut uses);
                for used in &mut uses[before..] {
                    used.text = panel["description"].as_str().unwrap().to_owned();
                }
            }
        }
        uses_in(&dashboard["templating"].to_string(), &mut uses);
        uses_in(&dashboard["annotations"].to_string(), &mut uses);
    }
    // The label of the ladder.
    uses.retain(|used| {
        used.metric != "baileys_auth_files"
            || !used.labels.is_empty()
            || !used.text.contains("ladder:")
    });
    uses
}

fn declared(metric: &str) -> Option<&'static MetricDeclaration> {
    metrics::ALL.iter().find(|declared| declared.name == metric)
}

/// What is used and not in the scrape, without saying which collector it needs.
fn missing(uses: &[Use], scrape: &str) -> Vec<String> {
    let is_there = |used: &Use, label: &str, value: &str| {
        scrape.lines().any(|line| {
            line.starts_with(&format!("{}{{", used.metric))
                && line.contains(&format!("{label}=\"{value}\""))
        })
    };
    let mut missing = Vec::new();
    for used in uses {
        let Some(declared) = declared(&used.metric) else {
            missing.push(format!("no such metric: {used:?}"));
            continue;
        };
        let named = declared.group.map(|group| format!("--collector.{group}"));
        if named.is_some_and(|flag| used.text.contains(&flag)) {
            continue;
        }
        let is_shown = scrape.lines().any(|line| {
            line.starts_with(&used.metric) && line[used.metric.len()..].starts_with([' ', '{'])
        });
        if !is_shown {
            missing.push(format!("{used:?}"));
        }
        let own = used
            .labels
            .iter()
            .filter(|(label, _)| declared.labels.contains(&label.as_str()) && label != "session");
        for (label, value) in own {
            if !is_there(used, label, value) {
                missing.push(format!("{label}={value}: {used:?}"));
            }
        }
    }
    missing
}

#[test]
fn shipped_rules_and_dashboards_need_no_other_collector_unless_they_say_so() {
    let mut folders = Folders::new();
    folders.add("bot", "bloated-classic-387");
    folders.add_with_every_kind("every-kind");
    folders.add("elsewhere", "normal");
    folders.config = "overrides: [{sessions: [elsewhere], creds: elsewhere}]\n".to_owned();
    let look = folders.look();
    let uses = shipped_uses();
    assert!(uses.len() > 150, "{}", uses.len());
    assert!(uses.iter().filter(|used| !used.labels.is_empty()).count() > 30);
    let default = scrape(&look, &MetricGroups::default(), true);
    assert_eq!(missing(&uses, &default), Vec::<String>::new());
    // The check finds what is not there: metrics, and values of labels.
    for gone in [
        "baileys_auth_pre_keys{",
        "baileys_auth_dormant{",
        "action=\"emergency\"",
        "kind=\"unknown\"",
        "state=\"disconnected\"",
    ] {
        let without = default.lines().filter(|line| !line.contains(gone));
        let without: String = without.map(|line| format!("{line}\n")).collect();
        assert_ne!(missing(&uses, &without), Vec::<String>::new(), "{gone}");
    }
    // A panel that needs one says so, and none says so without need.
    let optional: Vec<&Use> = uses
        .iter()
        .filter(|used| used.text.contains("--collector."))
        .collect();
    for used in optional {
        let group = declared(&used.metric).unwrap().group.unwrap();
        assert!(
            used.text.contains(&format!("--collector.{group}")),
            "{used:?}"
        );
        assert!(!MetricGroups::default().has_named(group), "{used:?}");
    }
}

#[test]
fn a_group_of_metrics_is_a_collector_and_has_metrics() {
    let mut metrics: BTreeMap<&str, usize> = BTreeMap::new();
    for declared in metrics::ALL {
        if let Some(group) = declared.group {
            *metrics.entry(group).or_default() += 1;
        }
    }
    // It changes what another one shows.
    metrics.insert(MetricGroup::EmptyKinds.name(), 0);
    let names = MetricGroup::ALL.iter().map(|group| group.name());
    assert!(metrics.keys().copied().eq(names), "{metrics:?}");
}

/// The series of a session in a scrape.
fn series(scrape: &str, session: &str) -> usize {
    let label = format!("session=\"{session}\"");
    scrape.lines().filter(|line| line.contains(&label)).count()
}

fn only(group: MetricGroup) -> MetricGroups {
    let mut groups = MetricGroups::none();
    groups.set(group, true);
    groups
}

#[test]
fn metrics_md_tells_what_a_session_costs() {
    let folders = Folders::new();
    folders.add("classic", "bloated-classic-387");
    folders.add("modern", "modern-1003");
    folders.add_with_every_kind("every-kind");
    let look = folders.look();
    let count = |groups: &MetricGroups, has_sources: bool| {
        let scrape = scrape(&look, groups, has_sources);
        ["classic", "modern", "every-kind"].map(|session| series(&scrape, session))
    };
    let without_logs = |mut groups: MetricGroups| {
        groups.set(MetricGroup::Logs, false);
        groups
    };
    let none = count(&MetricGroups::none(), true);
    let logs = count(&only(MetricGroup::Logs), true)[0] - none[0];
    let default = count(&without_logs(MetricGroups::default()), false);
    let all = count(&without_logs(MetricGroups::all()), false);
    let sources = count(&MetricGroups::all(), true)[0] - count(&MetricGroups::all(), false)[0];
    assert!(default[0] <= 40 && default[1] <= 40, "{default:?}");

    let mut costs = "| series of a session | Baileys 6 | Baileys 7 | a file of every kind |\n|---|---|---|---|\n".to_owned();
    let row = |name: &str, [classic, modern, every]: [usize; 3]| {
        format!("| {name} | {classic} | {modern} | {every} |\n")
    };
    costs += &row("default, without logs", default);
    costs += &row("default, with logs", default.map(|series| series + logs));
    costs += &row("all collectors, without logs", all);
    costs += &row("all collectors, with logs", all.map(|series| series + logs));
    writeln!(
        costs,
        "\n{sources} more where a source tells of the connection and of the process."
    )
    .unwrap();

    let mut table =
        "| collector | default | series of a session | what it shows |\n|---|---|---|---|\n"
            .to_owned();
    for group in MetricGroup::ALL {
        let mut shown = only(*group);
        let mut base = none;
        if *group == MetricGroup::EmptyKinds {
            base = count(&only(MetricGroup::Files), true);
            shown.set(MetricGroup::Files, true);
        }
        let counts = count(&shown, true);
        let mut series: Vec<usize> = (0..2).map(|folder| counts[folder] - base[folder]).collect();
        series.dedup();
        let series: Vec<String> = series.iter().map(ToString::to_string).collect();
        let default = if group.is_default() { "on" } else { "off" };
        writeln!(
            table,
            "| `{}` | {default} | {} | {} |",
            group.name(),
            series.join(" or "),
            group.help()
        )
        .unwrap();
    }
    let path = repository().join("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let wanted = with_table(&with_table(&text, "series", &costs), "collectors", &table);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "docs/metrics.md is behind; run: UPDATE_DOCS=1 cargo test --test collectors"
        );
    }
}

/// Replaces what stands between `<!-- BEGIN name -->` and `<!-- END name -->`.
fn with_table(text: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- BEGIN {name} -->\n");
    let from = text.find(&begin).unwrap() + begin.len();
    let to = text.find(&format!("<!-- END {name} -->")).unwrap();
    format!("{}{table}{}", &text[..from], &text[to..])
}
