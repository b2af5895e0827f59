use super::*;
use crate::logs::{LogGlob, Patterns, SessionMapper};

#[test]
fn the_first_reading_ends() {
    let start = Clock::system().now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut reading = ReadingProgress::new(start);
    assert!(!reading.is_over(false, 1000, at(1)));
    assert!(!reading.is_over(false, 900, at(50)));
    assert!(!reading.is_over(false, 950, at(109)), "it goes on");
    assert!(reading.is_over(false, 900, at(110)), "no more can be read");
    assert!(reading.is_over(true, 0, at(111)), "all is read");
}

/// A monitor whose thread does not run, with one empty log.
fn follower(dir: &Path, clock: &Clock) -> (Follower<CountingSink>, Arc<Shared>) {
    std::fs::write(dir.join("bot-out.log"), "").unwrap();
    let glob = LogGlob::new(&dir.join("*.log").display().to_string()).unwrap();
    let settings = Arc::new(LogSettings {
        globs: vec![glob.clone()],
        from_start: false,
        state_path: dir.join("state"),
        mapper: SessionMapper::new(None, None, None, None).unwrap(),
        patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
    });
    let shared = Arc::new(Shared {
        notifier: Arc::default(),
        orders: Mutex::default(),
        published: RwLock::default(),
        shown: Mutex::default(),
    });
    let mut resolver = SessionResolver::new(
        Arc::clone(&settings),
        SessionMemory::default(),
        BTreeSet::new(),
        OwnLogs::default(),
    );
    resolver.see(&SessionsSeen {
        found: BTreeSet::from([Arc::from("bot")]),
        complete: true,
        ..SessionsSeen::default()
    });
    let counter = Counter::new(
        Arc::clone(&settings),
        resolver,
        Counts::default(),
        time_of(clock),
    );
    let sink = CountingSink {
        shared: Arc::clone(&shared),
        counter,
        clock: clock.clone(),
        store: LogStore::open(&settings.state_path).unwrap(),
        settings,
        former: Arc::default(),
        reads_old_lines: false,
        commit_failed: false,
        problems: ProblemLog::default(),
        reading: ReadingProgress::new(clock.now()),
        changed: None,
        published_all: None,
    };
    let saved = log_tailer::Saved::default();
    (
        Follower::new(sink, vec![glob], false, saved, 10, clock.clone()),
        shared,
    )
}

#[test]
fn what_a_commit_changed_is_published_as_if_everything_were() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let (mut follower, shared) = follower(dir.path(), &clock);
    follower.sweep();
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .open(dir.path().join("bot-out.log"))
        .unwrap();
    let published = || Arc::clone(&shared.published.read().unwrap());
    let lines = [
        "Closing stale open session\n",
        "Session error:Error: Bad MAC Error: Bad MAC\nnothing\n",
        "{\"level\":50,\"class\":\"baileys\",\"msg\":\"stream errored out\",\"node\":{\"tag\":\"stream:error\",\"attrs\":{\"code\":\"401\"}}}\n",
        "nothing\n",
    ];
    let mut in_part = 0;
    for line in lines.iter().cycle().take(12) {
        log.write_all(line.as_bytes()).unwrap();
        follower.look(true);
        let changes = follower.changes();
        assert!(follower.consumer_mut().commit(&changes));
        follower.committed();
        let held = published();
        let at = clock.wall();
        let before = (follower.consumer().published_all, format!("{held:?}"));
        follower.show(at, true);
        assert_eq!(
            format!("{held:?}"),
            before.1,
            "a scrape keeps what it holds"
        );
        let (is_in_part, shown) = (
            before.0.is_some() && follower.consumer().published_all == before.0,
            published(),
        );
        follower.consumer_mut().published_all = None;
        follower.show(at, true);
        assert_eq!(format!("{shown:?}"), format!("{:?}", published()));
        in_part += u32::from(is_in_part);
    }
    assert!(in_part >= 10, "{in_part}");
    let bot = &published().sessions["bot"];
    assert_eq!(bot.lines, 15);
    assert!(bot.events.contains(&("bad_mac".into(), 3)));
}
