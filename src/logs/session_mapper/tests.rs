use proptest::prelude::*;

use super::*;
use crate::logs::sessions::SessionMemory;

fn mapper() -> SessionMapper {
    SessionMapper::new(None, None, None, None).unwrap()
}

fn known(names: &[&str]) -> KnownSessions {
    KnownSessions::of(names.iter().map(|name| Arc::from(*name)))
}

/// These logs exist, and these of them contain a line of the library.
fn seen(logs: &[&str], bots: &[&str]) -> LogsSeen {
    let of = |paths: &[&str]| programs(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
    LogsSeen {
        programs: of(logs),
        bots: of(bots),
    }
}

fn placed(
    mapper: &SessionMapper,
    log: &str,
    sessions: &[&str],
    logs: &LogsSeen,
) -> Option<(String, Rule)> {
    mapper
        .place(Path::new(log), &known(sessions), logs)
        .map(|(session, rule)| (session.to_string(), rule))
}

fn by_path(log: &str, sessions: &[&str]) -> Option<String> {
    let (session, rule) = placed(&mapper(), log, sessions, &LogsSeen::default())?;
    assert_eq!(rule, Rule::Path);
    Some(session)
}

#[test]
fn the_name_of_the_file() {
    for (log, sessions, session) in [
        (
            "/root/.pm2/logs/company_962302-out.log",
            &["company_962302"][..],
            Some("company_962302"),
        ),
        (
            "/root/.pm2/logs/company-962302-error.log",
            &["company_962302"],
            Some("company_962302"),
        ),
        ("/l/bot-out__2026-01-01_00-00-00.log", &["bot"], Some("bot")),
        ("/l/bot-2026-11-28.log", &["bot"], Some("bot")),
        (
            "/l/bot-2026-11-28.log",
            &["bot", "bot-2026-11-28"],
            Some("bot-2026-11-28"),
        ),
        ("/l/bot-error.log", &["bot", "bot-error"], Some("bot")),
        ("/l/bot-error.log", &["bot-error"], Some("bot-error")),
        (
            "/l/bot-info-out.log",
            &["bot", "bot-info"],
            Some("bot-info"),
        ),
        (
            "/l/bot-err-error-2.log",
            &["bot", "bot-err"],
            Some("bot-err"),
        ),
        ("/l/bot-info.log", &["bot", "bot-info"], Some("bot-info")),
        ("/l/bot-info.log", &["bot"], Some("bot")),
        (
            "/l/default.log",
            &["default-c21f969b5f03d33d43e04f8f136e7682"],
            Some("default-c21f969b5f03d33d43e04f8f136e7682"),
        ),
        ("/l/bot.log", &["bot_sessions"], Some("bot_sessions")),
        ("/l/company-7.log", &["company_7", "company 7"], None),
        ("/l/index-out.log", &["auth_info_baileys"], None),
        ("/l/syslog", &["bot"], None),
    ] {
        assert_eq!(
            by_path(log, sessions).as_deref(),
            session,
            "{log} {sessions:?}"
        );
    }
}

#[test]
fn one_session_and_one_program_need_no_configuration() {
    let both = ["/l/index-out.log", "/l/index-error.log"];
    let place =
        |log: &str, sessions: &[&str], logs: &LogsSeen| placed(&mapper(), log, sessions, logs);
    let shown = seen(&both, &["/l/index-out.log"]);
    for log in both {
        let expected = Some(("auth".to_owned(), Rule::OnlyOne));
        assert_eq!(
            place(log, &["auth"], &shown),
            expected,
            "-out and -error are one"
        );
        assert_eq!(
            place(log, &["auth"], &seen(&both, &[])),
            None,
            "no line of the library"
        );
        assert_eq!(place(log, &["auth", "other"], &shown), None, "two sessions");
        assert_eq!(place(log, &[], &shown), None);
    }
    let two = ["/l/index-out.log", "/l/shop-out.log"];
    for log in two {
        assert_eq!(
            place(log, &["auth"], &seen(&two, &two)),
            None,
            "two programs"
        );
        assert_eq!(place(log, &["auth"], &seen(&two, &two[..1])), None);
    }
    // pm2's own modules are not bots, unless they show a line of the library.
    let modules = ["/l/index-out.log", "/l/pm2-logrotate-out.log", "/l/pm2.log"];
    let only = Some(("auth".to_owned(), Rule::OnlyOne));
    assert_eq!(
        place(both[0], &["auth"], &seen(&modules, &modules[..1])),
        only
    );
    assert_eq!(
        place(modules[1], &["auth"], &seen(&modules, &modules[..1])),
        None
    );
    assert_eq!(
        place(both[0], &["auth"], &seen(&modules, &modules[..2])),
        None
    );
    // A log that waits for a line of the library is searched for one.
    let wants = |sessions: &[&str], logs: &LogsSeen| {
        mapper().wants_evidence(Path::new(both[0]), &known(sessions), logs)
    };
    assert!(wants(&["auth"], &seen(&both, &[])));
    assert!(!wants(&["auth"], &shown));
    assert!(!wants(&["auth", "other"], &seen(&both, &[])));
}

#[test]
fn the_name_of_the_directory() {
    let logs = [
        "/srv/alpha/logs/app.log",
        "/srv/beta/out.log",
        "/srv/beta/error.log",
    ];
    let shown = seen(&logs, &logs);
    let place = |log: &str, logs: &LogsSeen| placed(&mapper(), log, &["alpha", "beta"], logs);
    assert_eq!(
        place(logs[0], &shown),
        Some(("alpha".into(), Rule::Directory))
    );
    assert_eq!(
        place(logs[1], &shown),
        Some(("beta".into(), Rule::Directory))
    );
    assert_eq!(
        place(logs[2], &shown),
        Some(("beta".into(), Rule::Directory))
    );
    assert_eq!(
        place(logs[0], &seen(&logs, &[])),
        None,
        "no line of the library"
    );
    // A session whose name two directories have.
    let deep = ["/srv/alpha/beta/logs/app.log"];
    let named = |sessions: &[&str]| placed(&mapper(), deep[0], sessions, &seen(&deep, &deep));
    for sessions in [&["alpha-beta", "other"][..], &["alpha-beta", "beta"]] {
        let expected = Some(("alpha-beta".into(), Rule::Directory));
        assert_eq!(named(sessions), expected);
    }
    assert_eq!(
        named(&["alpha", "beta"]),
        Some(("beta".into(), Rule::Directory))
    );
    // The home of the user `alpha`, with the logs of several programs.
    let many = ["/home/alpha/logs/app.log", "/home/alpha/logs/shop.log"];
    assert_eq!(place(many[0], &seen(&many, &many)), None);
}

#[test]
fn what_is_configured() {
    let glob = |text: &str| LogGlob::new(text).unwrap();
    let with = |default: Option<&str>| {
        SessionMapper::new(None, None, None, default)
            .unwrap()
            .with_sessions(
                vec![(glob("/l/index-*"), Arc::from("auth"))],
                DeclaredSessions::default(),
            )
    };
    let none = LogsSeen::default();
    let place = |mapper: &SessionMapper, log: &str| {
        let sessions = KnownSessions::new(&SessionMemory::default(), mapper.declared());
        mapper
            .place(Path::new(log), &sessions, &none)
            .map(|(session, rule)| (session.to_string(), rule))
    };
    let configured = Some(("auth".to_owned(), Rule::Configured));
    assert_eq!(place(&with(None), "/l/index-out.log"), configured);
    assert_eq!(
        place(&with(None), "/l/auth-out.log"),
        Some(("auth".into(), Rule::Path)),
        "it is declared"
    );
    assert_eq!(place(&with(None), "/l/shop-out.log"), None);
    let all = DeclaredSessions {
        globs: globset::GlobSetBuilder::new()
            .add(globset::Glob::new("*").unwrap())
            .build()
            .unwrap(),
        ..DeclaredSessions::default()
    };
    let all = mapper().with_sessions(Vec::new(), all);
    for log in ["/l/a-out.log", "/l/a-2026-11-28-error.log", "/l/a.log.1"] {
        assert_eq!(
            place(&all, log),
            Some(("a".into(), Rule::Path)),
            "the plainest name"
        );
    }
    assert_eq!(place(&all, "/l/syslog"), None);
    let rest = Some(("rest".to_owned(), Rule::Default));
    assert_eq!(place(&with(Some("rest")), "/l/index-out.log"), configured);
    assert_eq!(place(&with(Some("rest")), "/l/shop-out.log"), rest);
    assert_eq!(split_name("a=/l/*.log"), Ok((Some("a".into()), "/l/*.log")));
    assert_eq!(split_name("/l/a=b.log"), Ok((None, "/l/a=b.log")));
    assert!(split_name("=/l/*.log").is_err());
}

#[test]
fn a_glob_takes_no_log_that_is_named_after_another_session() {
    let sessions = known(&["tienda", "ventas", "ventas2", "soporte", "index", "bot"]);
    let owner = |globs: &[(&str, &str)], log: &str, logs: &[&str]| {
        let globs = globs
            .iter()
            .map(|(session, glob)| (LogGlob::new(glob).unwrap(), Arc::from(*session)));
        let mapper = mapper().with_sessions(globs.collect(), DeclaredSessions::default());
        let (session, _) = mapper
            .place(Path::new(log), &sessions, &seen(logs, &[]))
            .unwrap();
        let contested = mapper.contested(Path::new(log), &sessions);
        (
            session.to_string(),
            contested.map(|[claims, named]| format!("{claims} {named}")),
        )
    };
    let is =
        |session: &str, contested: Option<&str>| (session.to_owned(), contested.map(str::to_owned));
    let all = [("tienda", "/l/*-out.log")];
    let both = Some("tienda ventas");
    assert_eq!(owner(&all, "/l/ventas-out.log", &[]), is("ventas", both));
    assert_eq!(owner(&all, "/l/bot3-out.log", &[]), is("tienda", None));
    assert_eq!(owner(&all, "/l/tienda-out.log", &[]), is("tienda", None));
    assert_eq!(
        owner(&[("tienda", "/l/**/*.log")], "/l/x/ventas.log", &[]),
        is("ventas", both)
    );
    let longer = [("ventas", "/l/ventas*.log")];
    assert_eq!(
        owner(&longer, "/l/ventas2-out.log", &[]),
        is("ventas2", Some("ventas ventas2"))
    );
    assert_eq!(owner(&longer, "/l/ventas-out.log", &[]), is("ventas", None));
    // It contains the name.
    for glob in [
        "/l/index-*.log",
        "/l/index-out.log",
        "/l/index-{out,error}.log",
        "/l/index-out*",
    ] {
        assert_eq!(
            owner(&[("tienda", glob)], "/l/index-out.log", &[]),
            is("tienda", None),
            "{glob}"
        );
    }
    // Another one contains the name.
    let two = [all[0], ("soporte", "/l/ventas-out.log")];
    assert_eq!(owner(&two, "/l/ventas-out.log", &[]), is("soporte", None));
    // The directory is named after the session and has the logs of one program only.
    let dir = [("ventas", "/srv/ventas/logs/*.log")];
    let log = "/srv/ventas/logs/bot-out.log";
    assert_eq!(owner(&dir, log, &[log]), is("ventas", Some("ventas bot")));
    let several = [log, "/srv/ventas/logs/soporte-out.log"];
    assert_eq!(owner(&dir, log, &several), is("bot", Some("ventas bot")));
}

#[test]
fn a_name_of_another_session() {
    let mapper = SessionMapper::new(None, None, None, Some("bot")).unwrap();
    let sessions = known(&["wa", "wa.1", "bot", "a_b"]);
    let is = |path: &str| mapper.is_of_another(Path::new(path), Path::new("/l/wa.log"), &sessions);
    assert!(is("/l/wa.1.log"));
    assert!(is("/l/a-b-out.log"));
    assert!(!is("/l/wa.log.1"));
    assert!(!is("/l/wa.2.log"), "there is no such session");
    assert!(!is("/l/other.7"), "the name tells of none");
}

#[test]
fn a_backslash_in_a_name() {
    let session = SessionName::from_dir(r"a\xff".as_ref());
    let sessions = [session.as_str(), "other"];
    let place = placed(&mapper(), r"/l/a\xff-out.log", &sessions, &seen(&[], &[]));
    assert_eq!(place, Some((session.as_str().into(), Rule::Path)));
    let own = SessionMapper::new(Some(r"/l/(?<id>.+)-out"), None, Some("{id}"), None).unwrap();
    let place = placed(&own, r"/l/a\xff-out.log", &sessions, &seen(&[], &[]));
    assert_eq!(place, Some((session.as_str().into(), Rule::Path)));
}

#[test]
fn expressions_of_the_operators_own() {
    let mapper = SessionMapper::new(
        Some(r"ai-admin-(?<id>\d+)-(?:out|error)\.log$"),
        Some(r#""company":(?<id>\d+)"#),
        Some("company_{id}"),
        None,
    )
    .unwrap();
    let log = "/l/ai-admin-7-out.log";
    let all = seen(&[log], &[log]);
    let place = |log: &str, sessions: &[&str]| placed(&mapper, log, sessions, &all);
    assert_eq!(
        place(log, &["company_7"]),
        Some(("company_7".into(), Rule::Path))
    );
    assert_eq!(place(log, &["company_8"]), None, "nothing is guessed");
    assert_eq!(mapper.of_path(Path::new(log)).as_deref(), Some("company_7"));
    let of_line = |line: &[u8]| mapper.of_line(line);
    assert_eq!(of_line(br#"{"company":12}"#).as_deref(), Some("company_12"));
    assert_eq!(of_line(b"nothing"), None);
    let named = SessionMapper::new(None, None, Some("company_{session}"), None).unwrap();
    let place = placed(&named, "/l/7-out.log", &["company_7"], &LogsSeen::default());
    assert_eq!(place, Some(("company_7".into(), Rule::Path)));
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = |path, line, name| SessionMapper::new(path, line, name, None).unwrap_err().0;
    assert_eq!(refused(Some("("), None, None), "session_path");
    assert_eq!(refused(None, Some("("), None), "session_line");
    assert_eq!(refused(None, None, Some("{id}")), "session_path");
    assert_eq!(refused(None, Some("x"), None), "session_line");
    assert_eq!(refused(None, None, Some("{session")), "session_name");
    assert_eq!(refused(None, None, Some("all")), "session_name");
}

const NAMES: [&str; 6] = [
    "bot",
    "auth",
    "index",
    "company_7",
    "company-7",
    "bot-2026-11-28",
];
const LOGS: [&str; 8] = [
    "/l/index-out.log",
    "/l/index-error.log",
    "/l/bot-2026-11-28.log",
    "/l/company-7-out.log",
    "/srv/bot/logs/app.log",
    "/srv/auth/out.log",
    "/l/shop-out.log",
    "/l/bot.log.1",
];

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(of, 0..=of.len())
}

proptest! {
    /// A log is assigned only to a known session; without one it has none.
    #[test]
    fn only_a_known_session(sessions in some(&NAMES), logs in some(&LOGS), bots in some(&LOGS)) {
        for log in LOGS {
            if let Some((session, _)) = placed(&mapper(), log, &sessions, &seen(&logs, &bots)) {
                prop_assert!(sessions.contains(&session.as_str()));
            }
        }
    }

    /// A program that has shown no line of the library is assigned by its name alone.
    #[test]
    fn nothing_is_guessed_without_evidence(sessions in some(&NAMES), logs in some(&LOGS)) {
        for log in LOGS {
            let place = placed(&mapper(), log, &sessions, &seen(&logs, &[]));
            prop_assert!(place.is_none_or(|(_, rule)| rule == Rule::Path));
        }
    }

    /// By elimination a log is assigned only with one session and one program.
    #[test]
    fn one_of_each(sessions in some(&NAMES), logs in some(&LOGS), bots in some(&LOGS)) {
        let seen = seen(&logs, &bots);
        for log in LOGS {
            if let Some((_, Rule::OnlyOne)) = placed(&mapper(), log, &sessions, &seen) {
                prop_assert_eq!(sessions.len(), 1);
                prop_assert!(seen.programs.iter().all(|program| seen.is_no_other(&seen.program_of(Path::new(log)), program)));
            }
        }
    }

    /// Evidence and other logs never change the session that a file name tells.
    #[test]
    fn a_name_is_never_overruled(sessions in some(&NAMES), logs in some(&LOGS), bots in some(&LOGS)) {
        for log in LOGS {
            let alone = placed(&mapper(), log, &sessions, &LogsSeen::default());
            if alone.is_some() {
                prop_assert_eq!(placed(&mapper(), log, &sessions, &seen(&logs, &bots)), alone);
            }
        }
    }

    /// Another session never moves a line from one session to a third.
    #[test]
    fn another_session_changes_nothing_of_others(
        sessions in some(&NAMES), more in prop::sample::select(&NAMES[..]), logs in some(&LOGS), bots in some(&LOGS),
    ) {
        let seen = seen(&logs, &bots);
        let mut with = sessions.clone();
        with.push(more);
        for log in LOGS {
            let (before, after) = (placed(&mapper(), log, &sessions, &seen), placed(&mapper(), log, &with, &seen));
            if let (Some((before, _)), Some((after, _))) = (before, after) {
                prop_assert!(after == before || after == more, "{} {} {}", log, before, after);
            }
        }
    }
}

#[test]
fn a_log_of_errors_beside_another_log() {
    let place = |log: &str, logs: &[&str], bot: &str| {
        let logs = LogsSeen {
            programs: programs(&logs.iter().map(PathBuf::from).collect::<Vec<_>>()),
            ..LogsSeen::default()
        };
        let bots = [logs.program_of(Path::new(bot))].into();
        placed(&mapper(), log, &["auth"], &LogsSeen { bots, ..logs })
    };
    let only = Some(("auth".to_owned(), Rule::OnlyOne));
    for name in [
        "app",
        "bot",
        "debug",
        "server",
        "combined",
        "app-11-28-2026",
    ] {
        let two = [&*format!("/l/{name}.log"), "/l/error.log"];
        let pm2 = [&two[..], &["/l/pm2-logrotate-out.log"]].concat();
        for (log, bot) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert_eq!(place(two[log], &two, two[bot]), only, "{name} {log} {bot}");
            assert_eq!(place(two[log], &pm2, two[bot]), only, "{name} {log} {bot}");
        }
    }
    // Which of two programs writes it is not known.
    let three = ["/l/app.log", "/l/api.log", "/l/error.log"];
    assert_eq!(place(three[0], &three, three[0]), None);
    assert_eq!(place(three[2], &three, three[0]), None);
    let apart = ["/l/app.log", "/m/error.log"];
    assert_eq!(place(apart[0], &apart, apart[0]), None);
    let named = ["/auth/logs/app.log", "/auth/logs/error.log", "/l/nginx.log"];
    for log in &named[..2] {
        let (session, rule) = place(log, &named, named[1]).unwrap();
        assert_eq!((&*session, rule), ("auth", Rule::Directory));
    }
}
