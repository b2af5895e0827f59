use super::*;

#[test]
fn names_of_pm2_files() {
    let mapper = SessionMapper::new(None, None, None, None).unwrap();
    for (path, session) in [
        (
            "/root/.pm2/logs/company_962302-out.log",
            Some("company_962302"),
        ),
        (
            "/root/.pm2/logs/company_962302-error.log",
            Some("company_962302"),
        ),
        ("/l/bot-error-12.log", Some("bot")),
        ("/l/bot-out__2026-01-01_00-00-00.log", Some("bot")),
        ("/l/bot-out.log.1", Some("bot")),
        ("/l/bot.log", Some("bot")),
        ("bot.jsonl", Some("bot")),
        ("/l/a.b-out.log", Some("a.b")),
        ("/l/syslog", None),
    ] {
        assert_eq!(
            mapper.of_path(Path::new(path)).as_deref(),
            session,
            "{path}"
        );
    }
}

#[test]
fn pm2_writes_a_dash_for_an_underscore() {
    let mapper = SessionMapper::new(None, None, None, None).unwrap();
    let of = |sessions: &[&str]| {
        let sessions = sessions.iter().map(|session| Arc::from(*session)).collect();
        mapper
            .session_of(Path::new("/l/company-7-out.log"), &sessions)
            .unwrap()
            .to_string()
    };
    assert_eq!(of(&["company_7", "other"]), "company_7");
    assert_eq!(of(&["company_7", "company-7"]), "company-7");
    assert_eq!(
        of(&["company_7", "company 7"]),
        "company-7",
        "which of them nobody can say"
    );
    assert_eq!(of(&[]), "company-7");
}

#[test]
fn a_name_of_another_session() {
    let mapper = SessionMapper::new(None, None, None, Some("bot")).unwrap();
    let sessions = ["wa", "wa.1", "bot", "a_b"]
        .into_iter()
        .map(Arc::from)
        .collect();
    let is = |path: &str| mapper.is_of_another(Path::new(path), Path::new("/l/wa.log"), &sessions);
    assert!(is("/l/wa.1.log"));
    assert!(is("/l/a-b-out.log"));
    assert!(!is("/l/wa.log.1"));
    assert!(!is("/l/wa.2.log"), "there is no such session");
    assert!(
        !is("/l/wa.7"),
        "the name tells of none, and the default is for what nobody tells"
    );
}

#[test]
fn lines_paths_and_the_default() {
    let mapper = SessionMapper::new(
        Some(r"ai-admin-(?<id>\d+)-(?:out|error)\.log$"),
        Some(r#""company":(?<id>\d+)"#),
        Some("company_{id}"),
        Some("bot"),
    )
    .unwrap();
    let of = |path: &str| mapper.of_path(Path::new(path));
    assert_eq!(of("/l/ai-admin-7-out.log").as_deref(), Some("company_7"));
    assert_eq!(of("/l/other.log").as_deref(), Some("bot"));
    assert_eq!(
        mapper.of_line(br#"{"company":12}"#).as_deref(),
        Some("company_12")
    );
    assert_eq!(mapper.of_line(b"nothing"), None);
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
