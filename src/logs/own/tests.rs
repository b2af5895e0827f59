use super::*;

#[test]
fn names_of_the_two_programs_and_of_the_container() {
    let own = OwnLogs {
        paths: HashSet::from([PathBuf::from("/home/bot/.pm2/logs/monitor-out.log")]),
        container: Some("0123456789ab".into()),
        ..OwnLogs::default()
    };
    for (path, is) in [
        ("/l/baileys_exporter.log", true),
        ("/l/baileys-exporter-error.log", true),
        ("/l/baileys-remediator-out-0.log.1", true),
        ("/home/bot/.pm2/logs/monitor-out.log", true),
        ("/home/bot/.pm2/logs/monitor-error.log", false),
        ("/c/0123456789ab0000/0123456789ab0000-json.log", true),
        ("/c/ff/ff-json.log", false),
        ("/l/baileys.log", false),
        ("/l/my_baileys_exporter_bot.log", false),
    ] {
        assert_eq!(own.is_own_path(Path::new(path)), is, "{path}");
    }
    assert!(is_container_id("0123456789ab") && !is_container_id("vm"));
}

#[test]
fn a_file_by_its_inode() {
    let dir = tempfile::tempdir().unwrap();
    let listed = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, "x").unwrap();
        let stat = Stat::from(&path.metadata().unwrap());
        Listed { path, stat }
    };
    let (own, other) = (listed("a.log"), listed("b.log"));
    let logs = OwnLogs {
        files: HashSet::from([own.stat.id]),
        ..OwnLogs::default()
    };
    assert!(logs.contains(&own) && !logs.contains(&other));
}
