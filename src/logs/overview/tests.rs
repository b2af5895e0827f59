use super::*;
use crate::logs::{LogGlob, Patterns, SessionMapper};

fn settings(globs: &[&str], line: Option<&str>) -> LogSettings {
    LogSettings {
        globs: globs
            .iter()
            .map(|glob| LogGlob::new(glob).unwrap())
            .collect(),
        from_start: false,
        state_path: PathBuf::new(),
        mapper: SessionMapper::new(None, line, None, None).unwrap(),
        patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
    }
}

fn seen(
    settings: &LogSettings,
    files: &[&[&str]],
    sessions: &[&str],
    bots: &[&str],
) -> LogOverview {
    let files: Vec<Vec<PathBuf>> = files
        .iter()
        .map(|files| files.iter().map(PathBuf::from).collect())
        .collect();
    let folders: BTreeSet<Arc<str>> = sessions.iter().map(|name| Arc::from(*name)).collect();
    let logs = LogsSeen {
        programs: programs(files.iter().flatten()),
        bots: bots.iter().map(|log| Program::of(Path::new(log))).collect(),
    };
    overview(
        settings,
        &files,
        &KnownSessions::of(folders.clone()),
        &folders,
        &logs,
    )
}

#[test]
fn a_session_without_a_log_beside_a_log_without_a_session() {
    let settings = settings(&["/l/*"], None);
    let files = [
        "/l/index-error.log",
        "/l/index-out.log",
        "/l/79001234567-out.log",
    ];
    let LogOverview {
        programs, warnings, ..
    } = seen(&settings, &[&files], &["auth"], &[]);
    assert_eq!(programs.len(), 2);
    assert_eq!(programs[1].files, ["index-error.log", "index-out.log"]);
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    for part in [
        "session auth has no log",
        "index-error.log, index-out.log",
        "*-out.log",
        "--logs.path='auth=GLOB'",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    assert!(!warning.contains("7900"), "{warning}");
    // With a line of the library it is that session's.
    let placed = seen(&settings, &[&files[..2]], &["auth"], &files[..1]);
    assert_eq!(
        placed.programs[0].session,
        Some((Arc::from("auth"), Rule::OnlyOne))
    );
    assert_eq!(placed.warnings, Vec::<String>::new());
}

#[test]
fn what_is_in_order_and_what_is_not() {
    let none = Vec::<String>::new();
    let two = settings(&["/l/*-out.log", "/m/*.log"], None);
    let found = seen(
        &two,
        &[&["/l/a-out.log"], &["/m/c.log"]],
        &["a", "b", "c"],
        &[],
    );
    let without = "sessions without a log: b; while there is one, no log is evidence";
    assert!(
        found.warnings[0].starts_with(without),
        "{:?}",
        found.warnings
    );
    let found = seen(&two, &[&["/l/a-out.log"], &[]], &["a"], &[]);
    assert_eq!(found.warnings, ["--logs.path /m/*.log: no file matches"]);
    let found = seen(&two, &[&["/l/a-out.log"], &["/m/b.log"]], &["a", "b"], &[]);
    assert_eq!(found.warnings, none);
    let found = seen(
        &two,
        &[&["/l/a-out.log", "/l/x-out.log"], &["/m/b.log"]],
        &["a", "b"],
        &[],
    );
    assert!(found.warnings[0].starts_with("these logs belong to no session: x-out.log"));
    let found = seen(&two, &[&["/l/x-out.log"], &["/m/y.log"]], &["a", "b"], &[]);
    assert!(found.warnings[0].starts_with("sessions without a log: a, b; logs"));
    let by_line = settings(&["/l/*"], Some("bot=(?<session>.)"));
    assert_eq!(seen(&by_line, &[&["/l/x.log"]], &["a"], &[]).warnings, none);
    let found = seen(&settings(&["~/x*.log"], None), &[&[]], &["a"], &[]);
    assert_eq!(found.warnings, none, "told of elsewhere");
}

#[test]
fn the_end_of_a_log_shows_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("index-out.log");
    let settings = settings(&[&format!("{}/*", dir.path().display())], None);
    let look = || look_once(&settings, &found(&["auth"]));
    std::fs::write(&log, "ws: connection replaced\n").unwrap();
    assert_eq!(look().programs[0].session, None);
    std::fs::write(&log, "Session error:Error: Bad MAC Error: Bad MAC\n").unwrap();
    assert!(look().programs[0].session.is_some());
}

fn found(folders: &[&str]) -> SessionsSeen {
    SessionsSeen {
        found: folders.iter().map(|name| Arc::from(*name)).collect(),
        complete: true,
        ..SessionsSeen::default()
    }
}

#[test]
fn a_log_without_a_line_of_the_librarys_logger() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&[&format!("{}/*", dir.path().display())], None);
    let half = || {
        let found = look_once(&settings, &found(&["a", "b", "c", "d"]));
        let names = found.half_monitored.iter().map(|name| name.to_string());
        names.collect::<Vec<_>>()
    };
    let write = |log: &str, text: &str| std::fs::write(dir.path().join(log), text).unwrap();
    write("a-out.log", "Connection closed. Status: 401\n");
    write(
        "a-error.log",
        "Session error:Error: Bad MAC Error: Bad MAC\n",
    );
    write("b-out.log", "");
    write("c-out.log", "x\n");
    write(
        "c-error.log",
        "[18:15:27.956] INFO (7): opened connection to WA\n",
    );
    assert_eq!(half(), ["a"]);
    write(
        "a-error.log",
        "{\"level\":30,\"class\":\"baileys\",\"msg\":\"x\"}\n",
    );
    assert_eq!(half(), Vec::<String>::new());
}

/// What the warning offers for a log that belongs to no session.
fn offered(files: &[&str], sessions: &[&str]) -> String {
    let found = seen(&settings(&["/l/*"], None), &[files], sessions, &[]);
    let [warning] = found.warnings.as_slice() else {
        panic!("{:?}", found.warnings)
    };
    let from = warning.find("--logs.path='").unwrap() + "--logs.path='".len();
    let to = warning[from..].find('\'').unwrap();
    warning[from..from + to].to_owned()
}

#[test]
fn what_is_offered_matches_the_logs_of_one_program_only() {
    let three = [
        "/l/ventas-out.log",
        "/l/soporte-out.log",
        "/l/bot3-out.log",
        "/l/bot3-error.log",
    ];
    let sessions = ["ventas", "soporte", "tienda"];
    let text = offered(&three, &sessions);
    assert_eq!(
        text,
        "tienda=/l/{bot3-out.log,bot3-error.log}"
            .replace("bot3-out.log,bot3-error.log", "bot3-error.log,bot3-out.log")
    );
    let glob = LogGlob::new(text.strip_prefix("tienda=").unwrap()).unwrap();
    for log in three {
        assert_eq!(glob.matches(Path::new(log)), log.contains("bot3"), "{log}");
    }
    assert!(!glob.matches(Path::new("/l/bot3-shop-out.log")));
    // The rotations of a log are followed with it.
    let rotated = ["/l/x-out.log", "/l/x-out__2026-11-28_00-00-00.log"];
    assert_eq!(offered(&rotated, &["a"]), "a=/l/x-out.log");
    // Two programs: which of them is not guessed.
    assert_eq!(offered(&["/l/x-out.log", "/l/y-out.log"], &["a"]), "a=GLOB");
}

#[test]
fn what_is_offered_is_safe_to_copy() {
    let any = "=GLOB";
    for name in [
        "79001234567-out.log",
        "x'; rm -rf ~; '-out.log",
        "x*-out.log",
        "x[0-9]-out.log",
        "x{a,b}-out.log",
        "x?-out.log",
        "x\u{202e}-out.log",
        "x\\-out.log",
        "x$(id)-out.log",
        "x-2026-11-28.log",
    ] {
        let text = offered(&[&format!("/l/{name}")], &["a"]);
        assert_eq!(text, format!("a{any}"), "{name}");
    }
    assert_eq!(offered(&["/l/x.log"], &["it's"]), "NAME=/l/x.log");
    assert_eq!(offered(&["/l/x.log"], &["a=b"]), "NAME=/l/x.log");
}

#[test]
fn a_glob_that_matches_the_logs_of_other_sessions() {
    let glob = || LogGlob::new("/l/*-out.log").unwrap();
    let mut settings = settings(&["/l/*-out.log"], None);
    settings.mapper = settings.mapper.with_sessions(
        vec![(glob(), Arc::from("tienda"))],
        crate::logs::sessions::DeclaredSessions::default(),
    );
    let files = ["/l/ventas-out.log", "/l/soporte-out.log", "/l/bot3-out.log"];
    let found = seen(&settings, &[&files], &["ventas", "soporte", "tienda"], &[]);
    let whose: Vec<String> = found
        .programs
        .iter()
        .map(|logs| format!("{} {}", logs.files[0], logs.session.as_ref().unwrap().0))
        .collect();
    let own = [
        "bot3-out.log tienda",
        "soporte-out.log soporte",
        "ventas-out.log ventas",
    ];
    assert_eq!(whose, own);
    let [warning] = found.warnings.as_slice() else {
        panic!("{:?}", found.warnings)
    };
    let text = "--logs.path=tienda=GLOB also matches logs that are named after other sessions: soporte, ventas";
    assert!(warning.starts_with(text), "{warning}");
}

#[test]
fn modules_of_pm2_are_no_lost_logs() {
    let all = settings(&["/l/*"], None);
    let files = ["/l/index-out.log", "/l/pm2-logrotate-out.log", "/l/pm2.log"];
    let found = seen(&all, &[&files], &["auth"], &files[..1]);
    assert_eq!(found.warnings, Vec::<String>::new());
    assert_eq!(
        found.programs[0].session,
        Some((Arc::from("auth"), Rule::OnlyOne))
    );
    // One that shows lines of the library is a bot.
    let found = seen(&all, &[&files], &["auth"], &files[..2]);
    assert!(found.programs.iter().all(|logs| logs.session.is_none()));
    assert_eq!(found.warnings.len(), 1);
}
