//! How many messages Alertmanager sends: routes, groups, inhibition, repeats and ends, as in its
//! 0.25 to 0.28 (`dispatch`, `notify.DedupStage`, `inhibit`). One Alertmanager that never fails.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

pub type Labels = BTreeMap<String, String>;

/// `12h` in seconds.
pub fn seconds(span: &str) -> u64 {
    let (number, unit) = span.split_at(span.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => panic!("{span}"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// `name=~"expression"`.
struct Matcher {
    label: String,
    must: bool,
    expression: Regex,
}

impl Matcher {
    fn of(text: &str) -> Self {
        let form = Regex::new(r#"^(\w+)(=~|!~|!=|=)"(.*)"$"#).unwrap();
        let parts = form.captures(text).unwrap();
        let expression = match &parts[2] {
            "=" | "!=" => regex::escape(&parts[3]),
            _ => parts[3].to_owned(),
        };
        Self {
            label: parts[1].to_owned(),
            must: !parts[2].starts_with('!'),
            expression: Regex::new(&format!("^(?:{expression})$")).unwrap(),
        }
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        self.expression.is_match(value) == self.must
    }
}

fn matchers(config: &Value, key: &str) -> Vec<Matcher> {
    let texts = config[key].as_array().into_iter().flatten();
    texts
        .map(|text| Matcher::of(text.as_str().unwrap()))
        .collect()
}

fn names(config: &Value) -> Vec<String> {
    let all = config.as_array().unwrap().iter();
    all.map(|name| name.as_str().unwrap().to_owned()).collect()
}

struct Route {
    /// Where it is in the tree: the index in each list of routes.
    path: Vec<usize>,
    matchers: Vec<Matcher>,
    receiver: String,
    group_by: Vec<String>,
    wait: u64,
    interval: u64,
    repeat: u64,
    goes_on: bool,
    routes: Vec<Self>,
}

impl Route {
    /// `parent`: whose values it takes where it has none.
    fn of(route: &Value, parent: Option<&Self>, path: Vec<usize>) -> Self {
        let span = |key: &str, of: fn(&Self) -> u64| match route[key].as_str() {
            Some(span) => seconds(span),
            None => of(parent.unwrap()),
        };
        let mut own = Self {
            matchers: matchers(route, "matchers"),
            receiver: match route["receiver"].as_str() {
                Some(receiver) => receiver.to_owned(),
                None => parent.unwrap().receiver.clone(),
            },
            group_by: match &route["group_by"] {
                Value::Null => parent.unwrap().group_by.clone(),
                labels => names(labels),
            },
            wait: span("group_wait", |parent| parent.wait),
            interval: span("group_interval", |parent| parent.interval),
            repeat: span("repeat_interval", |parent| parent.repeat),
            goes_on: route["continue"] == Value::Bool(true),
            routes: Vec::new(),
            path,
        };
        let routes = route["routes"].as_array().into_iter().flatten();
        own.routes = routes
            .enumerate()
            .map(|(index, route)| {
                let path = own.path.iter().copied().chain([index]).collect();
                Self::of(route, Some(&own), path)
            })
            .collect();
        own
    }

    /// The routes that take the alert: those below, or itself.
    fn of_alert(&self, alert: &Labels) -> Vec<&Self> {
        let mut found = Vec::new();
        for route in &self.routes {
            if route.matchers.iter().all(|matcher| matcher.matches(alert)) {
                found.extend(route.of_alert(alert));
                if !route.goes_on {
                    break;
                }
            }
        }
        if found.is_empty() {
            found.push(self);
        }
        found
    }
}

/// A group of alerts: the place of its route, and the values of the labels by which that groups.
type Key = (Vec<usize>, Vec<String>);

struct Inhibition {
    source: Vec<Matcher>,
    target: Vec<Matcher>,
    equal: Vec<String>,
}

/// A message to a person.
#[derive(Clone, Debug)]
pub struct Message {
    /// Seconds after the begin.
    pub at: u64,
    pub receiver: String,
    /// Names of the alerts, those that ended with "ended".
    pub alerts: BTreeSet<String>,
    /// What fires.
    pub firing: BTreeSet<Labels>,
}

/// The configuration.
pub struct Config {
    root: Route,
    inhibitions: Vec<Inhibition>,
    /// Receivers that are told of the end.
    tells_end: BTreeSet<String>,
}

/// The state of a group of alerts of one route.
struct Group {
    next: u64,
    seen: BTreeSet<Labels>,
}

/// What was sent last for a group.
struct Sent {
    at: u64,
    firing: BTreeSet<Labels>,
    resolved: BTreeSet<Labels>,
}

impl Config {
    /// Reads `alertmanager.yml`.
    pub fn of(config: &Value) -> Self {
        let rules = config["inhibit_rules"].as_array().unwrap().iter();
        let receivers = config["receivers"].as_array().unwrap().iter();
        let tells_end = receivers.filter(|receiver| {
            let kinds = receiver.as_object().unwrap().values();
            let mut all = kinds.filter_map(Value::as_array).flatten();
            all.any(|one| one["send_resolved"] == Value::Bool(true))
        });
        Self {
            root: Route::of(&config["route"], None, Vec::new()),
            inhibitions: rules
                .map(|rule| Inhibition {
                    source: matchers(rule, "source_matchers"),
                    target: matchers(rule, "target_matchers"),
                    equal: names(&rule["equal"]),
                })
                .collect(),
            tells_end: tells_end
                .map(|receiver| receiver["name"].as_str().unwrap().to_owned())
                .collect(),
        }
    }

    fn route(&self, path: &[usize]) -> &Route {
        let mut route = &self.root;
        for index in path {
            route = &route.routes[*index];
        }
        route
    }

    /// Whether another alert that fires silences this one.
    pub fn is_inhibited(&self, alert: &Labels, firing: &[Labels]) -> bool {
        self.inhibitions.iter().any(|rule| {
            let is_source = |other: &&Labels| {
                rule.source.iter().all(|matcher| matcher.matches(other))
                    && rule
                        .equal
                        .iter()
                        .all(|name| other.get(name) == alert.get(name))
            };
            rule.target.iter().all(|matcher| matcher.matches(alert))
                && firing.iter().any(|other| is_source(&other))
        })
    }

    /// The messages to all receivers. `timeline`: what fires, every `step` seconds.
    pub fn messages(&self, timeline: &[(u64, Vec<Labels>)], step: u64) -> Vec<Message> {
        let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
        let mut log: BTreeMap<Key, Sent> = BTreeMap::new();
        let mut messages = Vec::new();
        for (now, alerts) in timeline {
            let mut present: BTreeMap<Key, BTreeSet<Labels>> = BTreeMap::new();
            for alert in alerts {
                for route in self.root.of_alert(alert) {
                    let by = route.group_by.iter();
                    let key = by.map(|name| alert.get(name).cloned().unwrap_or_default());
                    let key = (route.path.clone(), key.collect());
                    present.entry(key).or_default().insert(alert.clone());
                }
            }
            for (key, alerts) in &present {
                let group = groups.entry(key.clone()).or_insert_with(|| Group {
                    next: now + self.route(&key.0).wait,
                    seen: BTreeSet::new(),
                });
                group.seen.extend(alerts.iter().cloned());
            }
            groups.retain(|key, group| {
                let none = BTreeSet::new();
                let present = present.get(key).unwrap_or(&none);
                while group.next < now + step {
                    let message = self.flush(key, group, present, alerts, &mut log);
                    messages.extend(message);
                    group.seen.clone_from(present);
                    group.next += self.route(&key.0).interval;
                    if present.is_empty() {
                        return false;
                    }
                }
                true
            });
        }
        messages.sort_by_key(|message| message.at);
        messages
    }

    fn flush(
        &self,
        key: &Key,
        group: &Group,
        present: &BTreeSet<Labels>,
        all: &[Labels],
        log: &mut BTreeMap<Key, Sent>,
    ) -> Option<Message> {
        let route = self.route(&key.0);
        let spoken = present
            .iter()
            .filter(|alert| !self.is_inhibited(alert, all));
        let firing: BTreeSet<Labels> = spoken.cloned().collect();
        let resolved: BTreeSet<Labels> = group.seen.difference(present).cloned().collect();
        let tells_end = self.tells_end.contains(&route.receiver);
        let is_due = match log.get(key) {
            None => !firing.is_empty(),
            Some(sent) if !firing.is_subset(&sent.firing) => true,
            Some(sent) if firing.is_empty() => !sent.firing.is_empty(),
            Some(sent) if tells_end && !resolved.is_subset(&sent.resolved) => true,
            Some(sent) => sent.at + route.repeat <= group.next,
        };
        if !is_due {
            return None;
        }
        let name = |alert: &Labels| alert["alertname"].clone();
        let mut alerts: BTreeSet<String> = firing.iter().map(name).collect();
        if tells_end {
            let ended = resolved.iter().map(name);
            alerts.extend(ended.map(|name| format!("{name} ended")));
        }
        let sent = Sent {
            at: group.next,
            firing: firing.clone(),
            resolved,
        };
        log.insert(key.clone(), sent);
        (!alerts.is_empty()).then(|| Message {
            at: group.next,
            receiver: route.receiver.clone(),
            alerts,
            firing,
        })
    }
}
