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
    let own = own.iter().map(|(sessions, tiers)| OwnTiers {
        hosts: &[],
        sessions,
        thresholds: *tiers,
    });
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
fn an_object_of_the_operator_holds_the_same_groups() {
    let text = rules(&[(&["a"], tiers(300))]).unwrap();
    let parse = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    let object = parse(&prometheus_rule(&text));
    assert_eq!(object["kind"], "PrometheusRule");
    assert_eq!(object["spec"]["groups"], parse(&text)["groups"]);
    assert!(object["spec"]["groups"].as_array().unwrap().len() > 3);
}

#[test]
fn no_mark_stays() {
    let text = rules(&[(&["a"], tiers(300))]).unwrap();
    assert!(!text.contains("<<") && !text.contains("#<"), "{text}");
    // The ladder stands once for each group, everything else once.
    for (alert, times) in [
        ("BaileysAuthFilesWarning", 2),
        ("BaileysCleanupIneffective", 2),
        ("BaileysAuthFilesRising", 1),
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
        "250. The bot works, and nothing is moved at this tier.",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn a_glob_that_prometheus_cannot_express_is_refused() {
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
            "runbook_url: https://wiki/b/baileysbotdown\n",
        ),
        (
            "https://git/docs/{page}.md",
            "runbook_url: https://git/docs/baileysbotdown.md\n",
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
            refused_for: Duration::from_secs(60),
            ..good.clone()
        },
    ] {
        bad.check().unwrap_err();
    }
}

/// Each host and session is in exactly one group, the first that matches both.
#[test]
fn hosts_and_sessions_part_what_is_left() {
    let owned = |texts: &[&str]| {
        texts
            .iter()
            .map(|t| (*t).to_owned())
            .collect::<Vec<String>>()
    };
    let entries = [
        (owned(&["a"]), owned(&["x"])),
        (owned(&["b"]), owned(&["*"])),
        (owned(&[]), owned(&["y"])),
    ];
    let own = entries.iter().enumerate().map(|(index, entry)| OwnTiers {
        hosts: &entry.0,
        sessions: &entry.1,
        thresholds: tiers(1000 * (index + 1)),
    });
    let scopes = scopes(tiers(0), own).unwrap();
    let matches = |matcher: &str, host: &str, session: &str| {
        let parts = matcher.split("\",").filter(|part| !part.is_empty());
        parts.into_iter().all(|part| {
            let (label, rest) = part.split_once(['=', '!']).unwrap();
            let wanted = part.contains("=~");
            let expression = rest
                .trim_start_matches(['=', '~', '"'])
                .trim_end_matches('"');
            let expression = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();
            let value = if label == "session" { session } else { host };
            expression.is_match(value) == wanted
        })
    };
    for host in ["a:1", "b", "b:2", "c:3"] {
        for session in ["x", "y", "z"] {
            let expected = match (host, session) {
                ("a:1", "x") => 1000,
                ("b" | "b:2", _) => 2000,
                (_, "y") => 3000,
                _ => 0,
            };
            let found: Vec<usize> = scopes
                .iter()
                .filter(|scope| matches(&scope.matcher, host, session))
                .map(|scope| scope.thresholds.monitor)
                .collect();
            assert_eq!(found, [expected], "{host} {session}");
        }
    }
    let many: Vec<_> = (0..12)
        .map(|n| (owned(&["a"]), vec![format!("s{n}")]))
        .collect();
    let many = many.iter().map(|entry| OwnTiers {
        hosts: &entry.0,
        sessions: &entry.1,
        thresholds: tiers(9),
    });
    assert!(
        super::scopes(tiers(0), many)
            .unwrap_err()
            .contains("too many")
    );
}
