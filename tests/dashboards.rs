//! The dashboards: generated from their source, valid for Grafana, and every query of theirs
//! answered with data by a real Prometheus that scrapes the real exporter and remediator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baileys_exporter::folder::Timestamp;
use baileys_exporter::remediator::restart::state::{Phase, Restart, Times, Trigger};
use baileys_exporter::remediator::store::Store;
use baileys_exporter::remediator::store::clock::Moment;
use baileys_exporter::remediator::store::queue::{Accepted, Request, Via};
use baileys_exporter::remediator::store::runs::Action;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use testkit::net::{self, Metrics};
use testkit::process::{self, Process};
use testkit::{Doing, Patience, Result, fixture};

const BOUND: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_secs(60);
const NPM_BOUND: Duration = Duration::from_secs(300);
const DASHBOARDS: [&str; 3] = ["fleet", "session", "remediation"];
const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn dashboard(name: &str) -> Value {
    let path = repository().join("dashboards").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// One query of a dashboard.
#[derive(Clone, Debug)]
struct Query {
    /// Dashboard, panel and letter.
    place: String,
    expr: String,
    instant: bool,
}

impl Query {
    /// Without the number that stands where nothing is found: with it no query is ever empty.
    fn bare(&self) -> &str {
        let number = |tail: &str| {
            tail.strip_suffix(')')
                .is_some_and(|number| number.parse::<f64>().is_ok())
        };
        match self.expr.rsplit_once(" or vector(") {
            Some((bare, tail)) if number(tail) => bare,
            _ => &self.expr,
        }
    }
}

/// Of these the number is all there may be in the world of the test below, and why.
const MAY_BE_NUMBER_ONLY: [(&str, &str); 11] = [
    (r#"fleet, "Sessions by tier" "B""#, NOBODY_THERE),
    (r#"fleet, "Sessions by tier" "D""#, NOBODY_THERE),
    (r#"fleet, "Sessions by tier" "E""#, NOBODY_THERE),
    (r#"fleet, "Sessions by tier" "G""#, NOBODY_LOST),
    (r#"fleet, "Sessions by tier" "H""#, NOBODY_LOST),
    (r#"fleet, "Is all of it monitored?" "A""#, "all of it is"),
    (r#"session, "Clean-up tier in" "A""#, NO_HISTORY),
    (r#"session, "Emergency tier in" "A""#, NO_HISTORY),
    (r#"session, "Files an hour" "A""#, NO_HISTORY),
    (
        r#"session, "Change in 24 h" "A""#,
        "Prometheus has too little of it",
    ),
    (
        r#"session, "Tier" "A""#,
        "the tier of no session is unknown",
    ),
];
const NOBODY_LOST: &str = "no session is lost or unknown";
const NOBODY_THERE: &str = "no session needs to be in this tier";
const NO_HISTORY: &str = "a pace is known after half an hour";

/// These may return nothing there, and why.
const MAY_BE_EMPTY: [(&str, &str); 7] = [
    (r#"fleet, "The 12 that grow fastest" "A""#, NO_HISTORY),
    (r#"fleet, "The 12 that grow fastest" "B""#, NO_HISTORY),
    (r#"fleet, "The 12 that grow fastest" "C""#, NO_HISTORY),
    (
        r#"fleet, "Tier of the 20 worst sessions, the worst first" "B""#,
        NOBODY_THERE,
    ),
    (
        r#"fleet, "Tier of the 20 worst sessions, the worst first" "C""#,
        NOBODY_THERE,
    ),
    (
        r#"fleet, "Tier of the 20 worst sessions, the worst first" "E""#,
        NOBODY_THERE,
    ),
    (
        r#"fleet, "Tier of the 20 worst sessions, the worst first" "F""#,
        "each session may have been in a tier",
    ),
];

/// The queries of all panels, and of all annotations.
fn queries(name: &str) -> Vec<Query> {
    let dashboard = dashboard(name);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut queries = Vec::new();
    let rows = dashboard["panels"].as_array().unwrap();
    // The panels of a closed row are in it.
    let nested = rows.iter().filter_map(|row| row["panels"].as_array());
    let panels = rows.iter().chain(nested.flatten());
    for panel in panels.filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            queries.push(Query {
                place: format!("{name}, {} {}", panel["title"], target["refId"]),
                expr: text(&target["expr"]),
                instant: target["instant"].as_bool().unwrap(),
            });
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        if annotation["builtIn"].is_null() {
            assert_eq!(annotation["expr"], annotation["target"]["expr"], "{name}");
            queries.push(Query {
                place: format!("{name}, annotation {}", annotation["name"]),
                expr: text(&annotation["expr"]),
                instant: false,
            });
        }
    }
    assert!(queries.len() > 20, "{name}");
    queries
}

/// A variable of a dashboard, and what its list is made of.
#[derive(Clone, Debug)]
struct Variable {
    /// Dashboard and name.
    place: String,
    source: Source,
    label: String,
}

#[derive(Clone, Debug)]
enum Source {
    /// `label_values(SELECTOR, LABEL)`: what has a series in the time shown.
    Selector(String),
    /// `query_result(QUERY)`: what the query has at the end of it.
    Result(String),
}

impl Source {
    fn expr(&self) -> &str {
        match self {
            Self::Selector(expr) | Self::Result(expr) => expr,
        }
    }
}

fn variables(name: &str) -> Vec<Variable> {
    let dashboard = dashboard(name);
    let of = |variable: &Value| {
        let query = variable["query"]["query"].as_str()?;
        let regex = variable["regex"].as_str()?;
        let inner = |function: &str| query.strip_prefix(function)?.strip_suffix(')');
        let (source, label) = if let Some(result) = inner("query_result(") {
            // Grafana answers `{label="value"} 1 1700000000000`.
            let label = regex.strip_prefix(r"/^\{")?.split_once("=\"(.+")?.0;
            assert!(regex.ends_with(r#""\} /"#), "{regex}");
            (Source::Result(result.to_owned()), label)
        } else {
            let (selector, label) = inner("label_values(")?.rsplit_once(", ")?;
            assert_eq!(regex, "");
            (Source::Selector(selector.to_owned()), label)
        };
        Some(Variable {
            place: format!("{name}, ${}", variable["name"].as_str()?),
            source,
            label: label.to_owned(),
        })
    };
    let list = dashboard["templating"]["list"].as_array().unwrap();
    list.iter()
        .filter(|variable| variable["type"] == "query")
        .map(|variable| of(variable).unwrap_or_else(|| panic!("{variable}")))
        .collect()
}

/// The metrics in an expression: whatever is called like one of ours, or like a recorded one.
fn metrics_in(expr: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut word, mut quoted, mut ranged) = (String::new(), false, false);
    for c in expr.chars().chain([' ']) {
        quoted ^= c == '"';
        // A range such as `[1d:5m]`.
        ranged = c == '[' || (ranged && c != ']');
        if !quoted && !ranged && (c.is_ascii_alphanumeric() || c == '_' || c == ':') {
            word.push(c);
        } else {
            let word = std::mem::take(&mut word);
            if word.contains("baileys_")
                || word.contains(':')
                || ["up", "ALERTS"].contains(&word.as_str())
            {
                found.insert(word);
            }
        }
    }
    found
}

/// Source, types, the rules of Grafana's linter: `tests/dashboards/check.mjs`.
#[test]
fn the_dashboards_are_what_their_source_says_and_what_grafana_reads() {
    let dir = install();
    let check = dir.join("check.mjs");
    let (code, out, errors) = process::run(Path::new("node"), [&check], NPM_BOUND).unwrap();
    assert!(code.success(), "{out}{errors}");
}

#[test]
fn every_metric_in_a_query_is_documented_or_recorded() {
    let read = |name: &str| fs::read_to_string(repository().join(name)).unwrap();
    let (docs, rules) = (
        read("docs/metrics.md"),
        read("alerting-rules/baileys.rules.yml"),
    );
    let documented = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let recorded = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "));
    let mut known: BTreeSet<String> = documented
        .chain(recorded)
        .map(|name| name.trim().to_owned())
        .collect();
    // Prometheus' own series: of a scrape, and of an alert; which one is looked at below.
    known.extend(["up", "ALERTS"].map(str::to_owned));
    let mut used = BTreeSet::new();
    for name in DASHBOARDS {
        for query in queries(name) {
            let metrics = metrics_in(&query.expr);
            assert!(!metrics.is_empty(), "{query:?}");
            for alert in query.expr.split("alertname=\"").skip(1) {
                let alert = alert.split('"').next().unwrap();
                assert!(
                    rules.contains(&format!("- alert: {alert}\n")),
                    "no such alert: {query:?}"
                );
            }
            used.extend(metrics);
        }
        for variable in variables(name) {
            used.extend(metrics_in(variable.source.expr()));
        }
    }
    assert!(used.len() > 40, "{used:?}");
    let unknown: Vec<&String> = used.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "neither in docs/metrics.md nor recorded: {unknown:#?}"
    );
}

/// Everything that runs. Dropped in this order: processes before what they write to.
struct World {
    processes: Vec<Process>,
    prometheus: u16,
    exporter: u16,
    remediator: u16,
    patience: Patience,
    dir: tempfile::TempDir,
}

const CLEANED: &str = "company_cleaned";
const REFUSED: &str = "company_refused";
const GROWING: &str = "company_growing";
const ARMED: &str = "company_armed";
const MODERN: &str = "company_modern";
/// A directory that is no auth folder.
const NO_FOLDER: &str = "company_logs";

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = || net::free_port(None).unwrap();
        let (prometheus, exporter, remediator) = (port(), port(), port());
        Self {
            processes: Vec::new(),
            prometheus,
            exporter,
            remediator,
            patience: Patience::new(BOUND),
            dir,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn folder(&self, session: &str) -> PathBuf {
        self.at("sessions").join(session)
    }

    fn log(&self, session: &str, line: &str) {
        let path = self.at("logs").join(format!("{session}-out.log"));
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "{line}").unwrap();
    }

    /// Folders, logs, a probe, a token, and a journal in which something has happened before.
    fn lay_out(&self) {
        let now = SystemTime::now();
        let quiet = now - Duration::from_secs(20 * 60);
        fs::create_dir(self.at("logs")).unwrap();
        for (session, fixture, written) in [
            (CLEANED, "bloated-classic-387", quiet),
            (REFUSED, "bloated-classic-387", quiet),
            (GROWING, "normal", now),
            (ARMED, "warning-130", now),
            (MODERN, "modern-816", now),
        ] {
            fixture::unpack(fixture, &self.folder(session), written).unwrap();
            self.log(session, "the bot starts");
        }
        // Of no session.
        self.log("shop", "the shop starts");
        let says = format!(
            "case $1 in {CLEANED}) echo disconnected ;; {REFUSED}) echo connected ;; *) exit 1 ;; esac"
        );
        fs::write(self.at("probe"), says).unwrap();
        fs::write(self.at("token"), TOKEN).unwrap();
        fs::set_permissions(self.at("token"), PermissionsExt::from_mode(0o600)).unwrap();

        let now = Timestamp::now();
        let journal = Store::open(&self.at("state")).unwrap();
        let request = Request {
            session: ARMED.into(),
            action: Action::Emergency,
            tier: "emergency".into(),
            fingerprint: "f".into(),
            starts_at: "s".into(),
            via: Via::default(),
        };
        let Accepted::Queued(id) = journal.queue().accept(&[request], Moment::now()).unwrap()[0]
        else {
            panic!("not queued")
        };
        journal.armed().arm(id, Moment::now()).unwrap();
        // A service that has not come back.
        let second = std::time::Duration::from_secs(1);
        let times = Times {
            stop: second,
            gone: second,
            start: second,
            shows: second,
            connect: second,
            sockets: second,
            clean: second,
            retry: second,
        };
        let decided = now.nanos();
        let restart = Restart {
            phase: Phase::RunningNotConnected,
            late_ns: Some(decided),
            ..Restart::new("bots", MODERN, id, Trigger::Emergency, decided, times)
        };
        journal.restarts().save(&restart).unwrap();
        let process = format!(
            "processes: [{{sessions: [{MODERN}], name: bots, allow_restart: true, command: {{stop: ['true'], start: ['true'], gone: ['false']}}}}]\n"
        );
        fs::write(self.at("remediator.yml"), process).unwrap();
    }

    fn start(&mut self) {
        let file = |name: &str| self.at(name).display().to_string();
        let common = [
            format!("--sessions.path={}", file("sessions")),
            format!("--connection.command=sh {} {{session}}", file("probe")),
            "--connection.trust=*".to_owned(),
        ];
        let mut exporter = vec![
            format!("--sessions.path={NO_FOLDER}={}", file("logs")),
            format!("--web.listen-address=127.0.0.1:{}", self.exporter),
            format!("--logs.path={}/*-out.log", file("logs")),
            format!("--logs.state-path={}", file("log-state")),
            // Two panels say that they need it.
            "--collector.file_times".to_owned(),
        ];
        exporter.extend(common.iter().cloned());
        let mut remediator = vec![
            "serve".to_owned(),
            format!("--web.listen-address=127.0.0.1:{}", self.remediator),
            format!("--webhook.token-file={}", file("token")),
            format!("--state.path={}", file("state")),
            format!("--config.file={}", file("remediator.yml")),
        ];
        remediator.extend(common);
        fs::write(self.at("baileys.rules.yml"), rules()).unwrap();
        fs::write(self.at("prometheus.yml"), self.prometheus_yml()).unwrap();
        let prometheus = vec![
            format!("--web.listen-address=127.0.0.1:{}", self.prometheus),
            format!("--config.file={}", file("prometheus.yml")),
            format!("--storage.tsdb.path={}", file("prometheus")),
        ];
        let found = process::find(&["prometheus"]).expect(testkit::stack::INSTALL);
        for (name, program, args, port) in [
            (
                "exporter",
                Path::new(env!("CARGO_BIN_EXE_baileys_exporter")),
                exporter,
                self.exporter,
            ),
            (
                "remediator",
                Path::new(env!("CARGO_BIN_EXE_baileys_remediator")),
                remediator,
                self.remediator,
            ),
            ("prometheus", found.as_path(), prometheus, self.prometheus),
        ] {
            self.processes.push(
                Process::start(name, program, args, &self.at(&format!("{name}.log"))).unwrap(),
            );
            self.wait(&format!("the {name} is ready"), || {
                net::get(&format!("http://127.0.0.1:{port}/-/ready"))?.ok()
            });
        }
    }

    fn prometheus_yml(&self) -> String {
        let job = |name: &str, port: u16| {
            format!(
                "  - job_name: {name}\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n"
            )
        };
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [baileys.rules.yml]\nscrape_configs:\n{}{}",
            job("baileys", self.exporter),
            job("baileys_remediator", self.remediator)
        )
    }

    fn wait<T>(&self, what: &str, attempt: impl FnMut() -> Result<T>) -> T {
        self.patience
            .wait_until(STEP, what, attempt)
            .unwrap_or_else(|failure| {
                let logs: String = self
                    .processes
                    .iter()
                    .map(|p| format!("{}:\n{}", p.name(), p.log_tail(15)))
                    .collect();
                panic!("{failure}\n\n{logs}")
            })
    }

    fn api(&self, what: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/{what}", self.prometheus);
        let answer: Value = serde_json::from_str(&net::get(&url)?.body).doing(&url)?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(format!("{}", answer["error"])),
        }
    }

    /// An alert of the tier, as Alertmanager sends it, that began ten minutes ago.
    fn alert(&self, session: &str, tier: &str) {
        let began = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(10);
        let body = json!({
            "version": "4", "receiver": "remediator", "groupKey": "{}:{}",
            "alerts": [{
                "status": "firing", "fingerprint": format!("{session}-{tier}"), "startsAt": began.to_string(),
                "labels": {"ladder": "baileys_auth_files", "tier": tier, "session": session},
            }],
        });
        let url = format!("http://127.0.0.1:{}", self.remediator);
        let headers = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))];
        let answer = net::post(
            &format!("{url}/webhook"),
            &headers,
            body.to_string().as_bytes(),
        )
        .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }

    /// What a person in front of the dashboards would have seen happen.
    fn let_things_happen(&self) {
        self.wait("Prometheus has scraped both, and recorded", || {
            for expr in [
                "count_over_time(baileys_auth_signal_warnings_total[1m]) > 3",
                "count_over_time(baileys_remediator_queue_length[1m]) > 3",
                "count_over_time(session:baileys_auth_tier:rank5m[1m]) > 3",
                "count_over_time(session:baileys_auth_device_removed_total:last[1m]) > 3",
            ] {
                let found = self.api(&format!("query?query={}", net::encode(expr)))?;
                if found["result"].as_array().is_none_or(Vec::is_empty) {
                    return Err(format!("nothing yet: {expr}"));
                }
            }
            Ok(())
        });
        for number in 0..8 {
            fs::write(
                self.folder(GROWING)
                    .join(format!("session-1202555019{number}.0.json")),
                "{}",
            )
            .unwrap();
        }
        for session in [CLEANED, GROWING] {
            self.log(session, "Session error:Error: Bad MAC");
            self.log(session, r#"{"reason":"401","type":"device_removed"}"#);
        }
        self.log("shop", "Session error:Error: Bad MAC");
        self.alert(CLEANED, "cleanup");
        self.alert(REFUSED, "emergency");
        self.wait("the runs end", || {
            let metrics =
                Metrics::scrape(&format!("http://127.0.0.1:{}/metrics", self.remediator))?;
            let cleaned = metrics.sum("baileys_remediator_runs_total", &[("action", "cleanup")])?;
            let refused = metrics.sum(
                "baileys_remediator_refusals_total",
                &[("reason", "connected")],
            )?;
            if cleaned >= 1.0 && refused >= 1.0 {
                Ok(())
            } else {
                Err(format!("{cleaned} and {refused}"))
            }
        });
    }

    /// Asks as Grafana does; the error says what is wrong with the answer.
    fn ask(&self, query: &Query, session: &str) -> Result<()> {
        const RANGE: u64 = 300;
        let end = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let number_will_do = MAY_BE_NUMBER_ONLY
            .iter()
            .any(|(place, _)| *place == query.place);
        let mut expr = if number_will_do {
            &query.expr
        } else {
            query.bare()
        }
        .to_owned();
        for (variable, value) in [
            ("$__rate_interval_ms", "10000"),
            ("$__rate_interval", "10s"),
            ("$__range_s", &RANGE.to_string()),
            ("$__range", &format!("{RANGE}s")),
            ("$__interval", "2s"),
            ("=\"$session\"", &format!("=\"{session}\"")),
            (
                "=\"$instance\"",
                &format!("=\"127.0.0.1:{}\"", self.exporter),
            ),
            ("${host}", "127.0.0.1"),
            ("$session", ".+"),
            ("$job", ".+"),
            ("$instance", ".+"),
            ("$remediator", ".+"),
        ] {
            expr = expr.replace(variable, value);
        }
        // Of `label_replace`.
        let left = expr.replace("\"$1\"", "");
        assert!(!left.contains('$'), "{}: {expr}", query.place);
        let expr_encoded = net::encode(&expr);
        let what = match query.instant {
            true => format!("query?query={expr_encoded}&time={end}"),
            false => format!(
                "query_range?query={expr_encoded}&start={}&end={end}&step=2",
                end - RANGE
            ),
        };
        let data = self.api(&what)?;
        let is_number = |sample: &Value| sample[1].as_str().is_some_and(|value| value != "NaN");
        let series = data["result"].as_array().unwrap();
        let told = series.iter().any(|series| match query.instant {
            true => is_number(&series["value"]),
            false => series["values"].as_array().unwrap().iter().any(is_number),
        });
        if told {
            Ok(())
        } else {
            Err(format!("no data: {expr}"))
        }
    }

    /// What Grafana would list.
    fn values(&self, variable: &Variable) -> Result<BTreeSet<String>> {
        let mut expr = variable.source.expr().to_owned();
        for (chosen, value) in [
            // A replacement of `label_replace`.
            (", \"$instance\",", format!(", \"{}\",", self.instance())),
            ("=\"$session\"", "=~\".+\"".to_owned()),
            ("=\"$instance\"", "=~\".+\"".to_owned()),
            ("$cluster", ".*".to_owned()),
            ("$namespace", ".*".to_owned()),
            ("$job", ".+".to_owned()),
            ("$instance", ".+".to_owned()),
        ] {
            expr = expr.replace(chosen, &value);
        }
        assert!(!expr.contains('$'), "{expr}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Ok(match variable.source {
            Source::Selector(_) => {
                let (label, selector) = (&variable.label, net::encode(&expr));
                let data = self.api(&format!("label/{label}/values?match[]={selector}"))?;
                data.as_array().unwrap().iter().map(text).collect()
            }
            Source::Result(_) => {
                let data = self.api(&format!("query?query={}", net::encode(&expr)))?;
                let series = data["result"].as_array().unwrap();
                series
                    .iter()
                    .map(|series| {
                        let metric = series["metric"].as_object().unwrap();
                        assert_eq!(metric.len(), 1, "{}: {metric:?}", variable.place);
                        text(&metric[&variable.label])
                    })
                    .collect()
            }
        })
    }

    /// The exporter's.
    fn instance(&self) -> String {
        format!("127.0.0.1:{}", self.exporter)
    }

    /// All variables; an error where one that should have values has none.
    fn lists(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let mut lists = BTreeMap::new();
        for variable in DASHBOARDS.iter().flat_map(|name| variables(name)) {
            let values = self.values(&variable).doing(&variable.place)?;
            // No series has these labels here.
            let is_optional = matches!(variable.label.as_str(), "cluster" | "namespace");
            if values.is_empty() && !is_optional {
                return Err(format!("{} has none", variable.place));
            }
            lists.insert(variable.place, values);
        }
        Ok(lists)
    }
}

/// The shipped rules, evaluated every second.
fn rules() -> String {
    let text = fs::read_to_string(repository().join("alerting-rules/baileys.rules.yml")).unwrap();
    let line = |line: &str| match line.strip_prefix("    interval: ") {
        Some(_) => "    interval: 1s\n".to_owned(),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn only_listed_queries_may_be_a_number_only() {
    let all: Vec<Query> = DASHBOARDS.iter().flat_map(|name| queries(name)).collect();
    for (place, why) in MAY_BE_NUMBER_ONLY {
        let query = all.iter().find(|query| query.place == place);
        assert!(
            query.is_some_and(|query| query.bare() != query.expr),
            "{place}: {why}"
        );
    }
    for (place, why) in MAY_BE_EMPTY {
        assert!(
            all.iter().any(|query| query.place == place),
            "{place}: {why}"
        );
    }
    let bare = |expr: &str| {
        Query {
            place: String::new(),
            expr: expr.into(),
            instant: true,
        }
        .bare()
        .to_owned()
    };
    for (expr, expected) in [
        ("sum(a) or vector(0)", "sum(a)"),
        (
            "2 * max(a) > 0 or max(b) or vector(-1)",
            "2 * max(a) > 0 or max(b)",
        ),
        ("max(a or vector(0))", "max(a or vector(0))"),
        ("sum(a) or vector(0) + b", "sum(a) or vector(0) + b"),
        ("sum(a)", "sum(a)"),
    ] {
        assert_eq!(bare(expr), expected);
    }
}

/// No query fails, and none is empty, once something has happened in every part.
#[test]
fn every_query_of_every_dashboard_returns_data_from_the_real_programs() {
    let mut world = World::new();
    world.lay_out();
    world.start();
    world.let_things_happen();
    let lists = world.wait("every variable has values", || world.lists());
    assert_eq!(
        lists["fleet, $instance"],
        BTreeSet::from([world.instance()])
    );
    let sessions = &lists["fleet, $session"];
    assert_eq!(sessions.len(), 6, "{sessions:?}");
    // The dashboard of one session is asked about each: some were cleaned, others refused.
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    let all: Vec<Query> = DASHBOARDS.iter().flat_map(|name| queries(name)).collect();
    let answered = world
        .patience
        .wait_until(STEP, "every query returns data", || {
            missing.clear();
            for query in &all {
                let answers: Vec<Result<()>> = sessions
                    .iter()
                    .map(|session| world.ask(query, session))
                    .collect();
                if let Some(broken) = answers.iter().find_map(|answer| match answer {
                    Err(error) if !error.starts_with("no data") => Some(error),
                    _ => None,
                }) {
                    panic!("{}: {broken}\n{}", query.place, query.expr);
                }
                let may_be_empty = MAY_BE_EMPTY.iter().any(|(place, _)| *place == query.place);
                if !may_be_empty && answers.iter().all(Result::is_err) {
                    missing.insert(query.place.clone(), answers[0].clone().unwrap_err());
                }
            }
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("{} queries", missing.len()))
            }
        });
    assert!(answered.is_ok(), "{missing:#?}");

    // An exporter that is down stays in the lists, though none of its series is left.
    world
        .processes
        .retain(|process| process.name() != "exporter");
    world.wait("Prometheus finds the exporter down", || {
        let gone = "absent(baileys_auth_folder_up) and on () up{job=\"baileys\"} == 0";
        let found = world.api(&format!("query?query={}", net::encode(gone)))?;
        match found["result"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
        {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    let mut expected = lists.clone();
    for sessions in expected.values_mut() {
        // No tier was ever recorded of it.
        sessions.remove(NO_FOLDER);
    }
    assert_eq!(world.lists().unwrap(), expected);
}

/// Installs what `tests/dashboards` needs, unless the same lockfile has been installed before.
fn install() -> PathBuf {
    let dir = repository().join("tests/dashboards");
    let lockfile = File::open(dir.join("package-lock.json")).expect("the lockfile");
    flock(&lockfile, FlockOperation::LockExclusive).expect("a lock on the lockfile");
    for program in ["node", "npm"] {
        assert!(
            process::find(&[program]).is_some(),
            "no {program} on the PATH; this test needs Node.js 20 or newer with npm: apt-get install nodejs npm"
        );
    }
    let wanted = fs::read(dir.join("package-lock.json")).expect("the lockfile");
    let stamp = dir.join("node_modules/.installed-from-lockfile");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return dir;
    }
    let args = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
    ];
    let args = args.iter().map(OsStr::new).chain([dir.as_os_str()]);
    let (status, _, errors) = process::run(Path::new("npm"), args, NPM_BOUND).unwrap();
    assert!(
        status.success(),
        "npm ci in tests/dashboards ({status}); it needs the npm registry:\n{errors}"
    );
    fs::write(&stamp, &wanted).expect("the stamp");
    dir
}
