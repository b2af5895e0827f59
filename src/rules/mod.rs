//! Prints the alerting rules for the configured thresholds, as literal numbers. Sessions with
//! tiers of their own get a rule of the same name with their own matcher. Pure.
//!
//! The text is `baileys.rules.yml` beside this file. In it
//!
//! | mark | becomes |
//! |---|---|
//! | `#<each scope>` … `#<end>` | the lines between, once for each group of sessions with tiers of its own |
//! | `<<{sessions}>>` | nothing, or the matcher of the group in braces |
//! | `<<override>>` | nothing, or a label with the number of the group |
//! | `<<warning>>` and so on | the group's threshold of that tier |
//! | `<<hold warning>>` and so on | how long a folder holds that tier before its alert fires |
//! | `<<look back>>` | how old a reading may be, [`LOOK_BACK`] |
//! | `<<jump>>`, `<<refused seconds>>` | [`RuleSettings`] |
//! | `<<exporter_job>>`, `<<remediator_job>>`, `<<runbooks>>`, `<<dashboards>>` | the same |
//!
//! `alerting-rules/baileys.rules.yml` is the output for the default configuration.

use std::time::Duration;

use globset::Glob;

use crate::policy::ladder::LOOK_BACK;
use crate::policy::{Thresholds, Tier};

const TEMPLATE: &str = include_str!("baileys.rules.yml");

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
    /// A growth by this many files within an hour is a jump.
    pub jump_files: usize,
    /// How long clean-ups may be refused before an alert fires.
    pub refused_for: Duration,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            exporter_job: "baileys".into(),
            remediator_job: "baileys_remediator".into(),
            runbooks: "https://runbooks.invalid/baileys".into(),
            dashboards: "https://grafana.invalid".into(),
            jump_files: 50,
            refused_for: Duration::from_secs(86_400),
        }
    }
}

impl RuleSettings {
    /// Checks that the rules can contain these values.
    ///
    /// Errors: the key and its expected form; never the value.
    pub fn check(&self) -> Result<(), String> {
        let is_word = |text: &str, more: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
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
            let is_url = base.starts_with("http://") || base.starts_with("https://");
            if !is_url || base.ends_with('/') || !is_word(base, "_-./:~%@+") {
                return Err(format!(
                    "{key}: a URL such as https://wiki.example.org/baileys, without a trailing slash"
                ));
            }
        }
        if self.jump_files == 0 {
            return Err("jump_files: at least 1".into());
        }
        if self.refused_for < Duration::from_secs(3600) {
            return Err(
                "refused_for: at least 1h; clean-ups of a healthy bot are refused for hours".into(),
            );
        }
        Ok(())
    }
}

/// A group of sessions with the same tiers, as matchers for Prometheus.
#[derive(Debug)]
struct Scope {
    /// Number of the group; 0 for sessions without tiers of their own.
    number: usize,
    /// Matchers on the label `session`, with commas between; empty for all.
    matcher: String,
    thresholds: Thresholds,
}

/// The rules. The first entry of `own` whose globs match a session's name gives its tiers;
/// `common` holds for all other sessions.
///
/// Errors: a glob that Prometheus cannot express, with an alternative.
pub fn render<'a>(
    common: Thresholds,
    own: impl Iterator<Item = (&'a [String], Thresholds)>,
    settings: &RuleSettings,
) -> Result<String, String> {
    let scopes = scopes(common, own)?;
    let mut out = String::with_capacity(2 * TEMPLATE.len());
    let mut lines = TEMPLATE.lines();
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

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn with_settings(line: &str, settings: &RuleSettings) -> String {
    let page = |page: &str| match settings.runbooks.split_once("{page}") {
        Some((before, after)) => format!("{before}{page}{after}"),
        None => format!("{}/{page}", settings.runbooks),
    };
    if let Some((key, name)) = line.split_once("<<runbooks>>/") {
        return format!("{key}{}", page(name));
    }
    line.replace("<<exporter_job>>", &settings.exporter_job)
        .replace("<<remediator_job>>", &settings.remediator_job)
        .replace("<<runbooks>>", &settings.runbooks)
        .replace("<<dashboards>>", &settings.dashboards)
        .replace("<<jump>>", &settings.jump_files.to_string())
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
        line = line
            .replace(
                &format!("<<{tier}>>"),
                &scope.thresholds.of(tier).to_string(),
            )
            .replace(&format!("<<hold {tier}>>"), &minutes(tier.hold()));
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

fn scopes<'a>(
    common: Thresholds,
    own: impl Iterator<Item = (&'a [String], Thresholds)>,
) -> Result<Vec<Scope>, String> {
    let mut scopes = Vec::new();
    // A session belongs to the first entry that matches it.
    let mut taken: Vec<String> = Vec::new();
    for (globs, thresholds) in own {
        let expression = globs
            .iter()
            .map(|glob| expression(glob))
            .collect::<Result<Vec<_>, _>>()?
            .join("|");
        let mut matcher = format!("session=~{}", quoted(&expression));
        if !taken.is_empty() {
            matcher.push_str(&format!(",session!~{}", quoted(&taken.join("|"))));
        }
        taken.push(expression);
        scopes.push(Scope {
            number: scopes.len() + 1,
            matcher,
            thresholds,
        });
    }
    let matcher = if taken.is_empty() {
        String::new()
    } else {
        format!("session!~{}", quoted(&taken.join("|")))
    };
    scopes.insert(
        0,
        Scope {
            number: 0,
            matcher,
            thresholds: common,
        },
    );
    Ok(scopes)
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
