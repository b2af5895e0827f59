//! How many messages a person gets in each scenario, and the budget for that: at most 2 pages and
//! 6 mails for one cause in a day, no page for a reboot under 15 minutes or a bot that is retired
//! on purpose, and the first page within 4 minutes of an emergency. docs/alerts.md has the result;
//! `UPDATE_DOCS=1 cargo test --test budget` writes it.
//!
//! The shipped rules run in the real promtool, on series that a scenario makes; promtool is asked
//! for all alerts at each step with an expectation that never holds, and says what it got. A model
//! of Alertmanager, which reads the shipped configuration, makes messages of that. A real
//! Alertmanager would take the days that the scenarios last.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};
use testkit::alertmanager::shipped;
use testkit::process;
use testkit::stack::INSTALL;

mod budget_model;

use budget_model::alertmanager::{Config, Labels, Message};
use budget_model::scenarios::{Evaluation, Scenario, days, hours};

/// Of promtool, on a busy machine.
const BOUND: Duration = Duration::from_secs(900);
const DAY: u64 = 86_400;
const PAGES: usize = 2;
const MAILS: usize = 6;
/// A reboot, and a bot that is retired or stopped on purpose.
const WITHOUT_A_PAGE: [u32; 5] = [6, 7, 16, 20, 23];
/// The minute at which the folder has 180 files, in the scenarios of emergencies.
const EMERGENCIES: [(u32, u64); 3] = [(2, 115), (3, 115), (19, 60)];

/// What fires, every step.
type Timeline = Vec<(u64, Vec<Labels>)>;

fn number_of(alert: &Labels) -> Option<u32> {
    let host = alert.get("instance")?.strip_prefix('s')?;
    let digits: String = host.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// In the notation of promtool.
fn values(value: &dyn Fn(i64) -> Option<i64>, step: i64, steps: i64) -> String {
    let mut runs: Vec<(Option<i64>, i64)> = Vec::new();
    for value in (0..=steps).map(|index| value(index * step)) {
        match runs.last_mut() {
            Some((same, count)) if *same == value => *count += 1,
            _ => runs.push((value, 1)),
        }
    }
    let mut text = String::new();
    for (index, (value, count)) in runs.iter().enumerate() {
        let more = count - 1;
        match value {
            Some(value) => write!(text, "{value}x{more} ").unwrap(),
            None if index == 0 => write!(text, "_x{count} ").unwrap(),
            None if more == 0 => text.push_str("stale "),
            None => write!(text, "stale _x{more} ").unwrap(),
        }
    }
    text
}

/// Runs the shipped rules. The alerts of each scenario, by its number.
fn evaluate(evaluation: &Evaluation, dir: &Path) -> BTreeMap<u32, Timeline> {
    let promtool = process::find(&["promtool"])
        .unwrap_or_else(|| panic!("promtool is not installed; run: {INSTALL}"));
    let rules = shipped("baileys.rules.yml").unwrap();
    let groups = Regex::new(r"(?m)^  - name: (\S+)$").unwrap();
    let order: Vec<&str> = groups
        .captures_iter(&rules)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    fs::write(dir.join("baileys.rules.yml"), &rules).unwrap();
    let step = evaluation.step_minutes;
    let steps = evaluation.hours * 60 / step;
    let series = evaluation
        .scenarios
        .iter()
        .flat_map(|scenario| &scenario.series);
    let series: Vec<Value> = series
        .map(|(name, value)| json!({"series": name, "values": values(value, step, steps)}))
        .collect();
    let never = json!([{"labels": "never{}", "value": 1}]);
    let asked: Vec<Value> = (0..=steps)
        .map(|index| {
            json!({
                "expr": "ALERTS{alertstate=\"firing\"}",
                "eval_time": format!("{}m", index * step), "exp_samples": never,
            })
        })
        .collect();
    let test = json!({
        "rule_files": ["baileys.rules.yml"],
        "evaluation_interval": format!("{step}m"),
        "group_eval_order": order,
        "tests": [{
            "interval": format!("{step}m"), "input_series": series, "promql_expr_test": asked,
        }],
    });
    let file = dir.join("budget.yml");
    fs::write(&file, test.to_string()).unwrap();
    let args = ["test", "rules", file.to_str().unwrap()];
    let (_, out, err) = process::run(&promtool, args, BOUND).unwrap();
    let said = format!("{out}{err}");
    assert!(!said.contains("err:"), "{}", &said[..said.len().min(2000)]);
    timelines(&said, evaluation)
}

/// Reads what promtool got.
fn timelines(said: &str, evaluation: &Evaluation) -> BTreeMap<u32, Timeline> {
    let sample = Regex::new(r#"\{((?:[^{}"]|"(?:[^"\\]|\\.)*")*)\} 1E\+00"#).unwrap();
    let label = Regex::new(r#"(\w+)=("(?:[^"\\]|\\.)*")"#).unwrap();
    let got: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("got: "))
        .collect();
    let step = u64::try_from(evaluation.step_minutes).unwrap() * 60;
    let steps = usize::try_from(evaluation.hours * 60 / evaluation.step_minutes).unwrap();
    assert_eq!(got.len(), steps + 1, "an answer for each step");
    let mut found: BTreeMap<u32, Timeline> = BTreeMap::new();
    for (now, got) in (0..).map(|index| index * step).zip(got) {
        for scenario in &evaluation.scenarios {
            found
                .entry(scenario.number)
                .or_default()
                .push((now, Vec::new()));
        }
        for sample in sample.captures_iter(got) {
            let labels = label.captures_iter(&sample[1]).map(|label| {
                let value: String = serde_json::from_str(&label[2]).unwrap();
                (label[1].to_owned(), value)
            });
            let alert: Labels = labels
                .filter(|(name, _)| !matches!(&**name, "__name__" | "alertstate"))
                .collect();
            let number = number_of(&alert).unwrap_or_else(|| panic!("of no scenario: {alert:?}"));
            let timeline = found.get_mut(&number).unwrap();
            timeline.last_mut().unwrap().1.push(alert);
        }
    }
    found
}

/// The most messages in any 24 hours.
fn in_a_day(messages: &[&Message]) -> usize {
    let within = |first: &Message| {
        let all = messages.iter();
        all.filter(|other| (first.at..first.at + DAY).contains(&other.at))
            .count()
    };
    messages
        .iter()
        .map(|first| within(first))
        .max()
        .unwrap_or(0)
}

/// An alert that the remediator acts on may be silenced only by a higher tier of its session.
fn assert_the_remediator_is_asked(config: &Config, timeline: &Timeline) {
    for (at, alerts) in timeline {
        for alert in alerts {
            let tier = alert["tier"].as_str();
            if !["warning", "cleanup", "emergency"].contains(&tier)
                || !config.is_inhibited(alert, alerts)
            {
                continue;
            }
            let is_higher = |other: &&Labels| {
                let tiers: &[&str] = match tier {
                    "warning" => &["cleanup", "emergency"],
                    "cleanup" => &["emergency"],
                    _ => &[],
                };
                tiers.contains(&other["tier"].as_str())
                    && other.get("session") == alert.get("session")
                    && other.get("instance") == alert.get("instance")
                    && !config.is_inhibited(other, alerts)
            };
            assert!(
                alerts.iter().any(|other| is_higher(&other)),
                "at {at} s nothing asks the remediator about {alert:?}"
            );
        }
    }
}

/// Every critical alert reaches the pager within 5 minutes, or within the hour after that where
/// its group had a page less than an hour before.
fn assert_each_is_told(timeline: &Timeline, pages: &[&Message], step: u64) {
    let mut since: BTreeMap<&Labels, u64> = BTreeMap::new();
    for (now, alerts) in timeline {
        since.retain(|alert, _| alerts.contains(alert));
        for alert in alerts {
            if alert["severity"] != "critical" || alert["tier"] == "emergency" {
                continue;
            }
            let began = *since.entry(alert).or_insert(*now);
            let is_of_group = |page: &&&Message| {
                let same = |other: &Labels| {
                    other["alertname"] == alert["alertname"]
                        && other.get("instance") == alert.get("instance")
                };
                page.at <= began && page.at + 3600 > began && page.firing.iter().any(same)
            };
            let within = match pages.iter().any(|page| is_of_group(&page)) {
                true => 3900,
                false => 300,
            };
            if *now != began + within / step * step + step {
                continue;
            }
            assert!(
                pages
                    .iter()
                    .any(|page| (began..=began + within + step).contains(&page.at)
                        && page.firing.contains(alert)),
                "since {began} s {alert:?} is in no page: {pages:?}"
            );
        }
    }
}

fn row(scenario: &Scenario, pages: &[&Message], mails: &[&Message]) -> String {
    let names = |messages: &[&Message]| {
        let all = messages.iter().flat_map(|message| &message.alerts);
        let mut names: Vec<&str> = all
            .map(|name| {
                name.trim_end_matches(" ended")
                    .trim_start_matches("Baileys")
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    };
    let all: Vec<&Message> = pages.iter().chain(mails).copied().collect();
    format!(
        "| {} | {} | {} | {} | {} |\n",
        scenario.number,
        scenario.title,
        in_a_day(pages),
        in_a_day(mails),
        names(&all)
    )
}

#[test]
fn every_scenario_keeps_the_budget() {
    let config: Value = serde_saphyr::from_str(&shipped("alertmanager.yml").unwrap()).unwrap();
    let config = Config::of(&config);
    let mut rows: BTreeMap<u32, String> = BTreeMap::new();
    let mut over = Vec::new();
    for evaluation in [hours(), days()] {
        let dir = tempfile::tempdir().unwrap();
        let timelines = evaluate(&evaluation, dir.path());
        let step = u64::try_from(evaluation.step_minutes).unwrap() * 60;
        for scenario in &evaluation.scenarios {
            let number = scenario.number;
            let timeline = &timelines[&number];
            assert_the_remediator_is_asked(&config, timeline);
            let messages = config.messages(timeline, step);
            let to = |receiver: &str| -> Vec<&Message> {
                let all = messages.iter();
                all.filter(|message| message.receiver == receiver).collect()
            };
            let (pages, mails) = (to("pager"), to("operator"));
            rows.insert(number, row(scenario, &pages, &mails));
            assert_each_is_told(timeline, &pages, step);
            let allowed = match WITHOUT_A_PAGE.contains(&number) {
                true => 0,
                false => PAGES,
            };
            if in_a_day(&pages) > allowed || in_a_day(&mails) > MAILS {
                over.push(format!("{number}: {pages:?} {mails:?}"));
            }
            if let Some((_, minute)) = EMERGENCIES.iter().find(|(of, _)| *of == number) {
                // The step is coarser than Prometheus' 15 seconds.
                let latest = minute * 60 + 240 + step;
                assert!(
                    pages.first().is_some_and(|page| page.at <= latest),
                    "{number}: no page within 4 minutes: {pages:?}"
                );
            }
        }
    }
    assert!(over.is_empty(), "over the budget:\n{}", over.join("\n"));
    let table: String = rows.into_values().collect();
    let table = format!(
        "| no. | scenario | pages a day | mails a day | alerts |\n|---|---|---|---|---|\n{table}"
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = "<!-- BEGIN budget -->\n";
    let from = text.find(begin).unwrap() + begin.len();
    let to = text.find("<!-- END budget -->").unwrap();
    let wanted = format!("{}{table}{}", &text[..from], &text[to..]);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "docs/alerts.md is behind; run: UPDATE_DOCS=1 cargo test --test budget"
        );
    }
}
