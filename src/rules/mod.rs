//! The alerting rules, printed for the configured thresholds: literal numbers that a reader
//! of the file can see, and for sessions whose tiers differ a rule of the same name with a
//! matcher of their own. Pure.
//!
//! The text is `baileys.rules.yml` beside this file. In it
//!
//! | mark | becomes |
//! |---|---|
//! | `#<each scope>` … `#<end>` | the lines between, once for each group of sessions with tiers of its own |
//! | `<<{sessions}>>` | nothing, or the matcher of the group in braces |
//! | `<<override>>` | nothing, or a label with the number of the group |
//! | `<<warning>>` and so on | the group's threshold of that tier |
//! | `<<jump>>`, `<<refused seconds>>` | [`RuleSettings`] |
//! | `<<exporter_job>>`, `<<remediator_job>>`, `<<runbooks>>`, `<<dashboards>>` | the same |
//!
//! `alerting-rules/baileys.rules.yml` is what this makes of the defaults.

use std::time::Duration;

use globset::Glob;

use crate::policy::{Thresholds, Tier};

const TEMPLATE: &str = include_str!("baileys.rules.yml");

/// What the rules are printed with, beside the tiers. Section `rules` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// The scrape job of the exporters.
    pub exporter_job: String,
    /// The scrape job of the remediators.
    pub remediator_job: String,
    /// Where the runbooks are: an URL without a slash at its end, or one in which `{page}`
    /// stands for a runbook's name.
    pub runbooks: String,
    /// Where Grafana is, an URL without a slash at its end.
    pub dashboards: String,
    /// How many files more within an hour are a jump.
    pub jump_files: usize,
    /// How long a clean-up may be refused before somebody is told.
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
    /// Whether these can stand in the rules as they are.
    ///
    /// Errors: a key, and what it should be; no value is repeated.
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
                    "{key}: an address such as https://wiki.example.org/baileys, without a slash at its end"
                ));
            }
        }
        if self.jump_files == 0 {
            return Err("jump_files: at least 1".into());
        }
        if self.refused_for < Duration::from_secs(3600) {
            return Err("refused_for: not less than 1h; a healthy bot is refused for hours".into());
        }
        Ok(())
    }
}

/// Sessions that share their tiers, as Prometheus is told.
#[derive(Debug)]
struct Scope {
    /// 0 for those without tiers of their own.
    number: usize,
    /// Matchers on the label `session`, with commas between; empty for all.
    matcher: String,
    thresholds: Thresholds,
}

/// The rules: `common` for all sessions but those of `own`, of which the first entry whose
/// globs match a session's name counts.
///
/// Errors: a glob that cannot be told to Prometheus, with what to do instead.
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
    let mut line = line.to_owned();
    for tier in Tier::ALL {
        line = line.replace(
            &format!("<<{tier}>>"),
            &scope.thresholds.of(tier).to_string(),
        );
    }
    // Quoted, because a name may hold what means something to YAML.
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
    // What an earlier entry has taken is not a later one's any more.
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

/// A glob as an expression of Prometheus, which is anchored at both ends.
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
        .ok_or_else(|| "overrides: a glob that Prometheus cannot be told".to_owned())
}

/// What stands for one character, made to stand for one of ASCII.
///
/// `?` and `[!a]` are one byte to the exporter and one character to Prometheus, so that `x?`
/// would name `xü` to the latter only, and no rule would warn of it at the tier that it has.
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

/// A string of PromQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
