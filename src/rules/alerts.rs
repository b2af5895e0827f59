//! Hold times and severities that the configuration changes. Pure.
//!
//! A rule is named by its alert, and by `ALERT/SEVERITY` where an alert has rules of two
//! severities. In the text of a rule
//!
//! | mark | becomes |
//! |---|---|
//! | `<<hold warning>>` and so on | how long a folder holds that tier before its alert fires |
//! | `<<held>>`, `<<held 10m>>` | the hold time in words, with that span more |
//! | `<<page RULE 10m>>` | when the other rule fires, or that it is no page |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::logs::Severity;
use crate::policy::Tier;

const TEMPLATE: &str = include_str!("template.rules.yml");

/// What the configuration changes of rules, by their names.
pub type AlertSettings = BTreeMap<String, AlertSetting>;

/// What the configuration changes of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertSetting {
    /// How long its condition holds before it fires.
    pub hold: Option<Duration>,
    /// Who hears of it: the routes of Alertmanager go by it.
    pub severity: Option<Severity>,
}

const MAX_HOLD: Duration = Duration::from_secs(7 * 86_400);

/// A rule of the template.
struct AlertRule<'a> {
    alert: &'a str,
    severity: &'a str,
    hold: Duration,
    /// The tier whose alert it is.
    tier: Option<Tier>,
}

impl AlertRule<'_> {
    /// The rule in these lines; `None` where they hold no alert.
    fn of<'a>(lines: &[&'a str]) -> Option<AlertRule<'a>> {
        let value = |key: &str| {
            let found = lines.iter().find_map(|line| line.trim().strip_prefix(key));
            found.map(str::trim)
        };
        let mark =
            value("for: <<hold ").and_then(|rest| Tier::from_label(rest.strip_suffix(">>")?));
        let given = || value("for:").and_then(|text| humantime::parse_duration(text).ok());
        Some(AlertRule {
            alert: value("- alert:")?,
            severity: value("severity:").unwrap_or_default(),
            hold: mark.map(Tier::hold).or_else(given).unwrap_or_default(),
            tier: value("tier:").and_then(Tier::from_label),
        })
    }
}

/// The rules of the template by their names.
fn shipped() -> BTreeMap<String, AlertRule<'static>> {
    let lines: Vec<&str> = TEMPLATE.lines().collect();
    let blocks = lines.split(|line| line.is_empty());
    let rules: Vec<AlertRule> = blocks.filter_map(AlertRule::of).collect();
    let alerts: Vec<&str> = rules.iter().map(|rule| rule.alert).collect();
    let named = rules.into_iter().map(|rule| {
        let times = alerts.iter().filter(|alert| **alert == rule.alert).count();
        let name = match times {
            1 => rule.alert.to_owned(),
            _ => format!("{}/{}", rule.alert, rule.severity),
        };
        (name, rule)
    });
    named.collect()
}

/// The names that the configuration can use.
pub fn names() -> Vec<String> {
    shipped().into_keys().collect()
}

/// Checks what the configuration changes.
///
/// Errors: the name of the rule, and what to do.
pub fn check(settings: &AlertSettings) -> Result<(), String> {
    let shipped = shipped();
    for (name, setting) in settings {
        let Some(rule) = shipped.get(name) else {
            let of_alert = shipped.keys().filter(|known| {
                known
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            let of_alert: Vec<&str> = of_alert.map(String::as_str).collect();
            return Err(match of_alert.is_empty() {
                true => format!("{name}: no alert of that name"),
                false => format!(
                    "{name}: it has two severities; name one: {}",
                    of_alert.join(" or ")
                ),
            });
        };
        if matches!(
            rule.tier,
            Some(Tier::Warning | Tier::Cleanup | Tier::Emergency)
        ) {
            return Err(format!(
                "{name}: the remediator acts on this tier after {}, with alerts and without; change its number of files instead (tiers)",
                in_words(rule.hold)
            ));
        }
        if setting.hold.is_none() && setting.severity.is_none() {
            return Err(format!("{name}: at least one of for and severity"));
        }
        if setting
            .hold
            .is_some_and(|hold| hold > MAX_HOLD || hold.subsec_nanos() > 0)
        {
            return Err(format!("{name}.for: whole seconds, 7d at most"));
        }
        let severity = severity_of(name, rule, settings);
        let is_taken = shipped.iter().any(|(other, its)| {
            other != name
                && its.alert == rule.alert
                && severity_of(other, its, settings) == severity
        });
        if is_taken {
            return Err(format!(
                "{name}.severity: {} has a rule of that severity; info is sent to no person",
                rule.alert
            ));
        }
    }
    Ok(())
}

fn severity_of<'a>(name: &str, rule: &AlertRule<'a>, settings: &AlertSettings) -> &'a str {
    let changed = settings.get(name).and_then(|setting| setting.severity);
    changed.map_or(rule.severity, |severity| severity.label())
}

fn hold_of(name: &str, rule: &AlertRule, settings: &AlertSettings) -> Duration {
    let changed = settings.get(name).and_then(|setting| setting.hold);
    changed.unwrap_or(rule.hold)
}

/// The template with these hold times and severities.
pub fn template(settings: &AlertSettings) -> String {
    let shipped = shipped();
    let lines: Vec<&str> = TEMPLATE.lines().collect();
    let mut out = String::with_capacity(TEMPLATE.len());
    for (index, block) in lines.split(|line| line.is_empty()).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let Some(rule) = AlertRule::of(block) else {
            for line in block {
                push(&mut out, line);
            }
            continue;
        };
        let name = match shipped.contains_key(rule.alert) {
            true => rule.alert.to_owned(),
            false => format!("{}/{}", rule.alert, rule.severity),
        };
        let hold = hold_of(&name, &rule, settings);
        let hold_line = format!("        for: {}", in_promql(hold));
        let has_hold = block.iter().any(|line| line.starts_with("        for: "));
        for line in block {
            match line.trim_start() {
                text if text.starts_with("for: ") => push(&mut out, &hold_line),
                text if text.starts_with("severity: ") => {
                    let severity = severity_of(&name, &rule, settings);
                    push(&mut out, &format!("          severity: {severity}"));
                }
                "labels:" if !has_hold && !hold.is_zero() => {
                    push(&mut out, &hold_line);
                    push(&mut out, line);
                }
                _ => push(&mut out, &with_hold(line, hold, &shipped, settings)),
            }
        }
    }
    out
}

/// Adds a line.
pub(super) fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// A line of a rule's text.
fn with_hold(
    line: &str,
    hold: Duration,
    shipped: &BTreeMap<String, AlertRule>,
    settings: &AlertSettings,
) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("<<") {
        let Some((mark, after)) = after.split_once(">>") else {
            break;
        };
        out.push_str(before);
        let more = |text: &str| humantime::parse_duration(text.trim()).unwrap_or_default();
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("held", span) => out.push_str(&in_words(hold + more(span))),
            ("page", other) => {
                let (name, span) = other.split_once(' ').unwrap_or((other, ""));
                let page = shipped
                    .get(name)
                    .filter(|rule| severity_of(name, rule, settings) == Severity::Critical.label());
                out.push_str(&match page {
                    Some(rule) => {
                        let after = hold_of(name, rule, settings) + more(span);
                        format!("After {} this is a page.", in_words(after))
                    }
                    None => "No page follows.".to_owned(),
                });
            }
            _ => out.push_str(&format!("<<{mark}>>")),
        }
        rest = after;
    }
    out + rest
}

/// A span of whole seconds as Prometheus writes it.
fn in_promql(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// A span of whole seconds in the largest unit of which it is a multiple.
fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let fits = units
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, word) = fits.unwrap_or((1, "second"));
    match seconds / unit {
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    }
}

#[cfg(test)]
mod tests;
