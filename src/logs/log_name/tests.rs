use proptest::prelude::*;

use super::*;

fn of(path: &str) -> Vec<String> {
    candidates(Path::new(path))
}

#[test]
fn names_of_files() {
    let is = |path: &str, expected: &[&str]| assert_eq!(of(path), expected, "{path}");
    is(
        "/l/company_962302-out.log",
        &["company_962302", "company_962302-out"],
    );
    is("/l/bot-error-12.log", &["bot", "bot-error-12"]);
    is(
        "/l/bot-out__2026-01-01_00-00-00.log",
        &["bot-out__2026-01-01_00-00-00", "bot", "bot-out"],
    );
    is(
        "/l/ventas-info-out.log",
        &["ventas-info", "ventas", "ventas-info", "ventas-info-out"],
    );
    is(
        "/l/ventas-info.log",
        &["ventas-info", "ventas", "ventas-info"],
    );
    is("/l/bot.log.1", &["bot"]);
    is("/l/a.b-out.log", &["a.b", "a.b-out"]);
    is("/l/bot-2026-11-28.log", &["bot-2026-11-28", "bot"]);
    is("/l/bot-20261128.log", &["bot-20261128", "bot"]);
    is("/l/bot.2026-11-28-14.log", &["bot.2026-11-28-14", "bot"]);
    is(
        "/l/bot-2026-11-28-error.log",
        &["bot-2026-11-28", "bot", "bot-2026-11-28-error"],
    );
    is("/l/2026-11-28-bot.log", &["2026-11-28-bot", "bot"]);
    is("/l/bot_28-11-2026.log", &["bot_28-11-2026", "bot"]);
    is("/l/bot-79001234567.log", &["bot-79001234567"]);
    is("/l/company_20261128.log", &["company_20261128", "company"]);
    is("/l/wa.1.log", &["wa.1", "wa"]);
    is("/l/bot-2026-11.log", &["bot-2026-11", "bot"]);
    is("/l/alpha", &["alpha"]);
    is("/l/.log", &[".log"]);
    is("/l/out.log", &["out"]);
}

#[test]
fn all_logs_of_one_program() {
    let same = |paths: &[&str], dir: &str, name: &str| {
        for path in paths {
            let expected = Program {
                dir: dir.into(),
                name: name.to_owned(),
            };
            assert_eq!(Program::of(Path::new(path)), expected, "{path}");
        }
    };
    same(
        &[
            "/l/index-out.log",
            "/l/index-error.log",
            "/l/index-out-1.log",
            "/l/index-error-0.log.3",
            "/l/index-2026-11-28.log",
            "/l/index-out__2026-01-01_00-00-00.log",
            "/l/index.log-20260101",
            "/l/index.log",
            "/l/index-11-28-2026.log",
            "/l/index-29-nov-2026.log",
            "/l/index_5.Dezembro.2026-error.log",
            "/l/index-Nov-29-2026.log",
            "/l/2026-nov-29-index.log",
            "/l/index-1764412800.log",
            "/l/index-error.1764412800123.log",
        ],
        "/l",
        "index",
    );
    same(
        &[
            "/l/out.log",
            "/l/combined.log",
            "/l/2026-11-28.log",
            "/l/0.log",
        ],
        "/l",
        "",
    );
    for errors in [
        "error.log",
        "stderr.log",
        "Warn.log",
        "exceptions-2026-11-28.log.1",
    ] {
        let program = Program::of(&Path::new("/l").join(errors));
        assert!(program.is_only_errors(), "{errors}");
    }
    for other in ["/l/bot-79001234567.log", "/l/bot-maria-2026.log"] {
        let name = &Program::of(Path::new(other)).name;
        assert_eq!(*name, plain_name(Path::new(other)).unwrap(), "{other}");
    }
    assert_eq!(
        plain_name(Path::new("/l/bot-1764412800.log")).unwrap(),
        "bot-1764412800"
    );
    let folders = |path: &str| Program::of(Path::new(path)).folders();
    assert_eq!(folders("/srv/alpha/out.log"), ["srv-alpha", "alpha"]);
    assert_eq!(folders("/srv/alpha/logs/out.log"), ["srv-alpha", "alpha"]);
    assert_eq!(folders("/alpha/out.log"), ["alpha"]);
    assert_eq!(folders("/out.log"), [""; 0]);
}

#[test]
fn a_name_without_numbers_of_phones() {
    for (text, shown) in [
        ("bot-79001234567-out.log", "bot-*-out.log"),
        ("company_7.log", "company_7.log"),
        ("79001234567", "*"),
        ("bot+7 900 123-45-67.log", "bot*.log"),
        ("bot-2026-11-28.log", "bot-*.log"),
        (
            "/home/bot/.pm2/logs/*-out.log",
            "/home/bot/.pm2/logs/*-out.log",
        ),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

proptest! {
    /// A date, a stream or a number at the end changes neither the program nor the plainest name.
    #[test]
    fn what_a_rotation_adds_changes_nothing(
        name in "[a-z][a-z_]{0,10}[a-z]",
        stream in prop::sample::select(vec!["", "-out", "-error", "_stdout", "-out-3"]),
        date in prop::sample::select(vec!["", "-2026-11-28", ".20261128", "-2026-11-28_10", "__2026-01-01_00-00-00"]),
        rotation in prop::sample::select(vec!["", ".1", "-20261128", ".2026-11-28"]),
    ) {
        prop_assume!(!STREAMS.contains(&name.as_str()) && without_stream(&name).is_none());
        let path = PathBuf::from(format!("/l/{name}{stream}{date}.log{rotation}"));
        prop_assert_eq!(Program::of(&path).name, name.clone());
        prop_assert!(candidates(&path).contains(&name));
        prop_assert_eq!(plain_name(&path), Some(name));
    }

    /// No name causes a panic.
    #[test]
    fn any_name(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let path = Path::new("/l").join(OsStr::from_bytes(&bytes));
        let _ = (Program::of(&path), candidates(&path), plain_name(&path));
        prop_assert!(candidates(&path).len() < 40);
    }
}
