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
mod tests {
    use super::*;

    fn tiers(first: usize) -> Thresholds {
        Thresholds {
            monitor: first,
            warning: first + 20,
            cleanup: first + 50,
            emergency: first + 80,
            fatal: first + 100,
        }
    }

    fn rules(own: &[(&[&str], Thresholds)]) -> Result<String, String> {
        let own: Vec<(Vec<String>, Thresholds)> = own
            .iter()
            .map(|(globs, tiers)| {
                (
                    globs.iter().map(|glob| (*glob).to_owned()).collect(),
                    *tiers,
                )
            })
            .collect();
        let own = own.iter().map(|(globs, tiers)| (globs.as_slice(), *tiers));
        render(Thresholds::default(), own, &RuleSettings::default())
    }

    #[test]
    fn the_committed_rules_are_those_of_the_defaults() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/alerting-rules/baileys.rules.yml"
        );
        let committed = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            rules(&[]).unwrap(),
            committed,
            "run: cargo run --bin baileys_exporter -- rules > alerting-rules/baileys.rules.yml"
        );
    }

    #[test]
    fn no_mark_stays() {
        let text = rules(&[(&["a"], tiers(300))]).unwrap();
        assert!(!text.contains("<<") && !text.contains("#<"), "{text}");
        // The ladder stands once for each group, everything else once.
        for (alert, times) in [
            ("BaileysAuthFilesWarning", 2),
            ("BaileysBusyBot", 2),
            ("BaileysAuthFilesJump", 1),
        ] {
            assert_eq!(
                text.matches(&format!("alert: {alert}\n")).count(),
                times,
                "{alert}"
            );
        }
    }

    #[test]
    fn sessions_with_tiers_of_their_own_have_matchers_of_their_own() {
        let text = rules(&[
            (&["company_7", "vip-*"], tiers(200)),
            (&["*_big"], tiers(400)),
        ])
        .unwrap();
        for expected in [
            r#"last_over_time(baileys_auth_accumulated_files{session!~"company_7|vip\\-.*|.*_big"}[5m]) >= 120"#,
            r#"last_over_time(baileys_auth_accumulated_files{session=~"company_7|vip\\-.*"}[5m]) >= 220"#,
            r#"last_over_time(baileys_auth_accumulated_files{session=~".*_big",session!~"company_7|vip\\-.*"}[5m]) >= 420"#,
            "the warning tier is 220, clean-up starts at 250.",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn a_glob_that_prometheus_cannot_be_told_is_refused() {
        assert!(
            rules(&[(&["бот_*"], tiers(200))])
                .unwrap_err()
                .contains("ASCII")
        );
        assert!(rules(&[(&["a\nb"], tiers(200))]).is_err());
        for glob in [
            "a",
            "a*",
            "a?",
            "[a-c]*",
            "{a,b}_*",
            "a.b",
            r#"we"ird"#,
            "back\\\\slash",
            "a#: b",
        ] {
            rules(&[(&[glob], tiers(200))]).unwrap();
        }
    }

    #[test]
    fn runbooks_may_be_pages_of_any_name() {
        for (runbooks, expected) in [
            (
                "https://wiki/b",
                "runbook_url: https://wiki/b/baileysbusybot\n",
            ),
            (
                "https://git/docs/{page}.md",
                "runbook_url: https://git/docs/baileysbusybot.md\n",
            ),
        ] {
            let settings = RuleSettings {
                runbooks: runbooks.into(),
                ..RuleSettings::default()
            };
            settings.check().unwrap();
            let text = render(Thresholds::default(), std::iter::empty(), &settings).unwrap();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn one_character_of_a_glob_is_one_of_ascii() {
        for (glob, expected) in [
            ("a?*b", r"a[\x00-\x7f].*b"),
            ("*?", r".*[\x00-\x7f]"),
            ("[!a-c]x[d]", r"[^\x{80}-\x{10ffff}a-c]x[d]"),
            (r"a.b\?\[!", r"a\.b\?\[!"),
        ] {
            assert_eq!(expression(glob).unwrap(), expected, "{glob}");
        }
    }

    #[test]
    fn what_would_break_the_file_is_refused() {
        let good = RuleSettings::default();
        good.check().unwrap();
        for bad in [
            RuleSettings {
                exporter_job: "a\"b".into(),
                ..good.clone()
            },
            RuleSettings {
                remediator_job: String::new(),
                ..good.clone()
            },
            RuleSettings {
                runbooks: "https://x/ #".into(),
                ..good.clone()
            },
            RuleSettings {
                runbooks: "https://x/".into(),
                ..good.clone()
            },
            RuleSettings {
                runbooks: "https://x/{page}/{page}".into(),
                ..good.clone()
            },
            RuleSettings {
                dashboards: "https://x/{page}".into(),
                ..good.clone()
            },
            RuleSettings {
                dashboards: "{{ x }}".into(),
                ..good.clone()
            },
            RuleSettings {
                jump_files: 0,
                ..good.clone()
            },
            RuleSettings {
                refused_for: Duration::from_secs(60),
                ..good.clone()
            },
        ] {
            bad.check().unwrap_err();
        }
    }
}
