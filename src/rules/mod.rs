//! Prints the alerting rules for the configured thresholds, as literal numbers. Sessions with
//! tiers of their own get a rule of the same name with their own matcher. Pure.
//!
//! The text is `template.rules.yml` beside this file. In it
//!
//! | mark | becomes |
//! |---|---|
//! | `#<each scope>` … `#<end>` | the lines between, once for each group of sessions with tiers of its own |
//! | `<<{sessions}>>` | nothing, or the matcher of the group in braces |
//! | `<<override>>` | nothing, or a label with the number of the group |
//! | `<<warning>>` and so on | the group's threshold of that tier |
//! | `<<hold warning>>`, `<<held>>`, `<<page RULE>>` | [`alerts`] |
//! | `<<look back>>` | how old a reading may be, [`LOOK_BACK`] |
//! | `<<refused seconds>>` | [`RuleSettings`] |
//! | `<<exporter_job>>`, `<<remediator_job>>`, `<<runbooks>>`, `<<dashboards>>` | the same |
//!
//! `alerting-rules/baileys.rules.yml` is the output for the default configuration.

pub mod alerts;

use std::time::Duration;

use globset::Glob;

use self::alerts::push;
use crate::policy::ladder::LOOK_BACK;
use crate::policy::{Thresholds, Tier};

/// Settings of the rules besides the tiers: section `rules` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// The scrape job of the exporters.
    pub exporter_job: String,
    /// The scrape job of the remediators.
    pub remediator_job: String,
    /// Address of the runbooks: a URL without a trailing slash, or one in which `{page}` is the
    /// name of a runbook.
    pub runbooks: String,
    /// Address of Grafana: a URL without a trailing slash.
    pub dashboards: String,
    /// How long clean-ups may be refused before an alert fires.
    pub refused_for: Duration,
    /// Hold times and severities of their own, by the names of the rules.
    pub alerts: alerts::AlertSettings,
    /// Names of the labels that the operator adds to every series: alerts keep them.
    pub labels: Vec<String>,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            exporter_job: "baileys".into(),
            remediator_job: "baileys_remediator".into(),
            runbooks: "https://runbooks.invalid/baileys".into(),
            dashboards: "https://grafana.invalid".into(),
            refused_for: Duration::from_secs(86_400),
            alerts: alerts::AlertSettings::new(),
            labels: Vec::new(),
        }
    }
}

impl RuleSettings {
    /// Address of the runbook of this name.
    pub fn runbook(&self, name: &str) -> String {
        match self.runbooks.split_once("{page}") {
            Some((before, after)) => format!("{before}{name}{after}"),
            None => format!("{}/{name}", self.runbooks),
        }
    }

    /// Checks that the rules can contain these values.
    ///
    /// Errors: the key and its expected form; never the value.
    pub fn check(&self) -> Result<(), String> {
        for (key, job) in [
            ("exporter_job", &self.exporter_job),
            ("remediator_job", &self.remediator_job),
        ] {
            if !is_word(job, "_-./:") {
                return Err(format!(
                    "{key}: letters, digits and _ - . / : as in prometheus.yml"
                ));
            }
        }
        let runbooks = self.runbooks.replacen("{page}", "page", 1);
        for (key, base) in [("runbooks", &runbooks), ("dashboards", &self.dashboards)] {
            if !is_base_url(base) {
                return Err(format!(
                    "{key}: a URL such as https://wiki.example.org/baileys, without a trailing slash"
                ));
            }
        }
        if self.refused_for < Duration::from_secs(3600) {
            return Err(
                "refused_for: at least 1h; clean-ups of a healthy bot are refused for hours".into(),
            );
        }
        alerts::check(&self.alerts).map_err(|error| format!("alerts.{error}"))
    }
}

impl RuleSettings {
    /// The keys of the links that lead nowhere, because they are not set.
    pub fn placeholders(&self) -> Vec<&'static str> {
        let links = [
            ("rules.runbooks", &self.runbooks),
            ("rules.dashboards", &self.dashboards),
        ];
        let host = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.split(['/', ':']).next().unwrap_or_default().to_owned()
        };
        let unset = links
            .into_iter()
            .filter(|(_, url)| host(url).ends_with(".invalid"));
        unset.map(|(key, _)| key).collect()
    }
}

fn is_word(text: &str, more: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    !text.is_empty() && text.chars().all(is_allowed)
}

/// Whether it is a URL to which a path can be added: without a trailing slash.
pub fn is_base_url(text: &str) -> bool {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    is_url && !text.ends_with('/') && is_word(text, "_-./:~%@+")
}

/// A group of sessions with the same tiers, as matchers for Prometheus.
#[derive(Debug)]
struct Scope {
    /// Number of the group; 0 for the first of the sessions without tiers of their own.
    number: usize,
    /// Matchers on the labels `session` and `instance`, with commas between; empty for all.
    matcher: String,
    thresholds: Thresholds,
}

/// Tiers of some sessions of some hosts.
#[derive(Clone, Copy, Debug)]
pub struct OwnTiers<'a> {
    /// Globs of host names, as they are in the label `instance`, with or without a port; empty
    /// for every host.
    pub hosts: &'a [String],
    /// Globs of session names.
    pub sessions: &'a [String],
    /// Where their tiers begin.
    pub thresholds: Thresholds,
}

/// The rules. The first entry of `own` whose globs match a session's name and host gives its
/// tiers; `common` holds for all other sessions.
///
/// Errors: a glob that Prometheus cannot express, with an alternative.
pub fn render<'a>(
    common: Thresholds,
    own: impl Iterator<Item = OwnTiers<'a>>,
    settings: &RuleSettings,
) -> Result<String, String> {
    let scopes = scopes(common, own)?;
    let template = alerts::template(&settings.alerts);
    let mut out = String::with_capacity(2 * template.len());
    let mut lines = template.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#<each scope>" {
            push(&mut out, &with_settings(line, settings));
            continue;
        }
        let block: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim() != "#<end>")
            .collect();
        for scope in &scopes {
            for line in &block {
                // The label keeps two rules of one name apart.
                if line.trim() == "<<override>>" {
                    if scope.number > 0 {
                        push(
                            &mut out,
                            &line.replace(
                                "<<override>>",
                                &format!("override: \"{}\"", scope.number),
                            ),
                        );
                    }
                    continue;
                }
                push(&mut out, &with_settings(&with_scope(line, scope), settings));
            }
        }
    }
    Ok(out)
}

/// The rules as an object of the Prometheus operator in Kubernetes.
pub fn prometheus_rule(rules: &str) -> String {
    let mut out = String::from(
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: baileys\nspec:\n",
    );
    for line in rules.lines() {
        let indent = if line.is_empty() { "" } else { "  " };
        push(&mut out, &format!("{indent}{line}"));
    }
    out
}

fn with_settings(line: &str, settings: &RuleSettings) -> String {
    if let Some((key, name)) = line.split_once("<<runbooks>>/") {
        return format!("{key}{}", settings.runbook(name));
    }
    // What is the same for all series of a target can be kept wherever its series meet.
    let mut kept = String::from("(job, instance");
    for label in &settings.labels {
        kept.push_str(", ");
        kept.push_str(label);
    }
    line.replace("(job, instance", &kept)
        .replace("<<exporter_job>>", &settings.exporter_job)
        .replace("<<remediator_job>>", &settings.remediator_job)
        .replace("<<runbooks>>", &settings.runbooks)
        .replace("<<dashboards>>", &settings.dashboards)
        .replace(
            "<<refused seconds>>",
            &settings.refused_for.as_secs().to_string(),
        )
}

fn with_scope(line: &str, scope: &Scope) -> String {
    let matcher = if scope.matcher.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", scope.matcher)
    };
    let mut line = line.replace("<<look back>>", &minutes(LOOK_BACK));
    for tier in Tier::ALL {
        line = line.replace(
            &format!("<<{tier}>>"),
            &scope.thresholds.of(tier).to_string(),
        );
    }
    // Quoted, because a name may contain YAML syntax.
    if let Some((key, expr)) = line.split_once("expr: ")
        && expr.contains("<<{sessions}>>")
        && !matcher.is_empty()
    {
        line = format!("{key}expr: |\n{key}  {expr}");
    }
    line.replace("<<{sessions}>>", &matcher)
}

/// Regions at most: an entry with hosts and sessions doubles those of what comes after it.
const MAX_REGIONS: usize = 32;

fn scopes<'a>(
    common: Thresholds,
    own: impl Iterator<Item = OwnTiers<'a>>,
) -> Result<Vec<Scope>, String> {
    let mut found: Vec<(Matchers, Thresholds)> = Vec::new();
    // A session belongs to the first entry that matches it: these match what none has matched.
    let mut left = vec![Matchers::default()];
    for entry in own {
        let hosts = match entry.hosts {
            [] => None,
            hosts => Some(format!("(?:{})(?::[0-9]+)?", alternatives(hosts)?)),
        };
        let is_every = entry.sessions.iter().any(|glob| glob == "*");
        let sessions = match is_every && hosts.is_some() {
            true => None,
            false => Some(alternatives(entry.sessions)?),
        };
        let mut after = Vec::new();
        for region in left {
            let with = |label, expression: &Option<String>, region: Matchers| match expression {
                Some(expression) => region.with(label, expression, true),
                None => region,
            };
            let on_host = with(INSTANCE, &hosts, region.clone());
            found.push((with(SESSION, &sessions, on_host.clone()), entry.thresholds));
            if let Some(hosts) = &hosts {
                after.push(region.with(INSTANCE, hosts, false));
            }
            if let Some(sessions) = &sessions {
                after.push(on_host.with(SESSION, sessions, false));
            }
        }
        if after.len() > MAX_REGIONS {
            return Err("overrides: too many entries with hosts and sessions and tiers of their own; join some of them".into());
        }
        left = after;
    }
    let common = left.into_iter().map(|region| (region, common));
    let mut all: Vec<(Matchers, Thresholds)> = common.collect();
    all.extend(found);
    let scope = |(number, (region, thresholds)): (usize, (Matchers, Thresholds))| Scope {
        number,
        matcher: region.text(),
        thresholds,
    };
    Ok(all.into_iter().enumerate().map(scope).collect())
}

const SESSION: &str = "session";
const INSTANCE: &str = "instance";

/// What a label must match, and must not.
#[derive(Clone, Debug, Default)]
struct Matchers(Vec<(&'static str, String, bool)>);

impl Matchers {
    fn with(mut self, label: &'static str, expression: &str, must: bool) -> Self {
        self.0.push((label, expression.to_owned(), must));
        self
    }

    /// For PromQL, without the braces.
    fn text(&self) -> String {
        let mut out = Vec::new();
        for label in [SESSION, INSTANCE] {
            let of_label = |wanted: bool| {
                let all = self.0.iter();
                all.filter(move |(name, _, must)| *name == label && *must == wanted)
                    .map(|(_, expression, _)| expression.as_str())
            };
            out.extend(of_label(true).map(|one| format!("{label}=~{}", quoted(one))));
            let not: Vec<&str> = of_label(false).collect();
            if !not.is_empty() {
                out.push(format!("{label}!~{}", quoted(&not.join("|"))));
            }
        }
        out.join(",")
    }
}

fn alternatives(globs: &[String]) -> Result<String, String> {
    let all: Result<Vec<String>, String> = globs.iter().map(|glob| expression(glob)).collect();
    Ok(all?.join("|"))
}

/// A glob as a regular expression of Prometheus, which is anchored at both ends.
fn expression(glob: &str) -> Result<String, String> {
    if !glob.chars().all(|c| c.is_ascii() && !c.is_ascii_control()) {
        return Err("overrides: a glob of sessions with tiers of their own holds ASCII only; give the folder such a name with --sessions.path=NAME=PATH".into());
    }
    let parsed = Glob::new(glob).map_err(|error| format!("overrides: {error}"))?;
    let inner = parsed
        .regex()
        .strip_prefix("(?-u)^")
        .and_then(|rest| rest.strip_suffix('$'));
    inner
        .map(ascii_only)
        .ok_or_else(|| "overrides: a glob that Prometheus cannot express".to_owned())
}

/// Limits wildcards for one character to ASCII.
///
/// `?` and `[!a]` match one byte in the exporter and one character in Prometheus. Without the
/// limit, `x?` would match `xü` in Prometheus only, and no rule would use the tiers of `xü`.
fn ascii_only(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '.' if chars.peek() != Some(&'*') => out.push_str("[\\x00-\\x7f]"),
            '[' if chars.peek() == Some(&'^') => {
                chars.next();
                out.push_str("[^\\x{80}-\\x{10ffff}");
            }
            _ => out.push(c),
        }
    }
    out
}

/// A span of whole minutes as Prometheus writes it.
fn minutes(span: Duration) -> String {
    format!("{}m", span.as_secs() / 60)
}

/// A string of PromQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
