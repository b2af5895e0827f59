use super::*;

fn settings(all: &[(&str, Option<u64>, Option<Severity>)]) -> AlertSettings {
    let setting = |(name, hold, severity): &(&str, Option<u64>, Option<Severity>)| {
        let hold = hold.map(Duration::from_secs);
        let severity = *severity;
        ((*name).to_owned(), AlertSetting { hold, severity })
    };
    all.iter().map(setting).collect()
}

/// The lines of the rule of this alert and severity, as the template gives them.
fn rule(template: &str, alert: &str, severity: &str) -> String {
    let found = template.split("\n\n").find(|block| {
        block.contains(&format!("alert: {alert}\n"))
            && block.contains(&format!("severity: {severity}\n"))
    });
    let found = found.unwrap_or_else(|| panic!("no {alert} of {severity}"));
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_block_between_blank_lines_holds_one_alert_at_most() {
    for block in TEMPLATE.split("\n\n") {
        assert!(block.matches("- alert:").count() < 2, "{block}");
    }
    assert_eq!(names().len(), TEMPLATE.matches("- alert:").count());
}

#[test]
fn the_names_say_the_severity_where_an_alert_has_two() {
    let names = names();
    for name in [
        "BaileysExporterDown",
        "BaileysBotDown/warning",
        "BaileysBotDown/critical",
        "BaileysAccountRestricted/critical",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    assert!(!names.iter().any(|known| known == "BaileysBotDown"));
}

#[test]
fn a_hold_time_is_in_the_rule_and_in_its_text() {
    let shipped = template(&AlertSettings::new());
    let text = rule(&shipped, "BaileysCredsBroken", "critical");
    assert!(text.contains("for: 2m") && text.contains("as a whole for 2 minutes."));
    let own = template(&settings(&[
        ("BaileysCredsBroken", Some(90), None),
        // One that the template does not hold.
        ("BaileysDecryptErrors", Some(600), None),
        ("BaileysBotDown/critical", Some(7 * 3600 - 600), None),
    ]));
    let text = rule(&own, "BaileysCredsBroken", "critical");
    assert!(text.contains("for: 90s labels:"), "{text}");
    assert!(text.contains("as a whole for 90 seconds."), "{text}");
    let text = rule(&own, "BaileysDecryptErrors", "warning");
    assert!(text.contains("for: 10m labels:"), "{text}");
    // The other rule of the name keeps its hold time, and tells of the page.
    let text = rule(&own, "BaileysBotDown", "critical");
    assert!(text.contains("for: 410m labels:"), "{text}");
    assert!(text.contains("A bot has been down for 7 hours."), "{text}");
    let text = rule(&own, "BaileysBotDown", "warning");
    assert!(text.contains("for: 5m labels:"), "{text}");
    assert!(text.contains("}}After 7 hours this is a page.{{"), "{text}");
    // Nothing else is another.
    let changed = shipped.lines().zip(own.lines());
    assert_eq!(shipped.lines().count() + 1, own.lines().count());
    assert!(changed.count() > 1000);
}

#[test]
fn a_severity_is_in_the_rule_and_a_page_that_is_none_is_not_promised() {
    let own = template(&settings(&[
        ("BaileysJournalLost", None, Some(Severity::Warning)),
        ("BaileysBotDown/critical", None, Some(Severity::Info)),
    ]));
    let text = rule(&own, "BaileysJournalLost", "warning");
    assert!(
        text.contains("for: 1m labels: severity: warning tier: none"),
        "{text}"
    );
    let text = rule(&own, "BaileysBotDown", "warning");
    assert!(
        text.contains("No page follows.") && !text.contains("this is a page"),
        "{text}"
    );
    assert!(rule(&own, "BaileysBotDown", "info").contains("for: 50m"));
}

#[test]
fn what_cannot_be_changed_is_refused_with_the_reason() {
    let warning = Some(Severity::Warning);
    for (name, hold, severity, expected) in [
        (
            "BaileysNone",
            Some(60),
            None,
            "BaileysNone: no alert of that name",
        ),
        (
            "BaileysBotDown",
            Some(60),
            None,
            "name one: BaileysBotDown/critical or BaileysBotDown/warning",
        ),
        (
            "BaileysAuthFilesWarning",
            Some(60),
            None,
            "the remediator acts on this tier after 2 minutes",
        ),
        (
            "BaileysAuthFilesCleanup",
            Some(600),
            None,
            "change its number of files instead (tiers)",
        ),
        (
            "BaileysAuthFilesEmergency",
            None,
            warning,
            "the remediator acts on this tier",
        ),
        (
            "BaileysJournalLost",
            None,
            None,
            "at least one of for and severity",
        ),
        (
            "BaileysJournalLost",
            Some(604_801),
            None,
            "BaileysJournalLost.for: whole seconds, 7d at most",
        ),
        (
            "BaileysBotDown/critical",
            None,
            warning,
            "BaileysBotDown has a rule of that severity",
        ),
    ] {
        let error = check(&settings(&[(name, hold, severity)])).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let own = settings(&[
        ("BaileysAuthFilesFatal", Some(1800), warning),
        ("BaileysLoginAtRisk", Some(0), None),
        (
            "BaileysBotDown/critical",
            Some(604_800),
            Some(Severity::Info),
        ),
        // Both are changed, and stay two.
        ("BaileysAccountRestricted/critical", None, warning),
        (
            "BaileysAccountRestricted/warning",
            None,
            Some(Severity::Info),
        ),
    ]);
    assert_eq!(check(&own), Ok(()));
}

#[test]
fn spans_are_written_in_their_largest_unit() {
    for (seconds, promql, words) in [
        (0, "0m", "0 seconds"),
        (1, "1s", "1 second"),
        (90, "90s", "90 seconds"),
        (60, "1m", "1 minute"),
        (900, "15m", "15 minutes"),
        (3600, "60m", "1 hour"),
        (5400, "90m", "90 minutes"),
        (172_800, "2880m", "2 days"),
    ] {
        let span = Duration::from_secs(seconds);
        assert_eq!(
            (in_promql(span).as_str(), in_words(span).as_str()),
            (promql, words)
        );
    }
}
