use super::*;

#[test]
fn a_process_as_proc_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let proc = ProcDir::at(dir.path());
    // An id that no real process has: the kernel is queried about missing ones.
    let info = |state: &str, threads: u32, flags: u32| {
        let place = dir.path().join("5000001");
        fs::create_dir_all(&place).unwrap();
        let stat = format!(
            "5000001 (a) S 1 (b) {state} 1 7 7 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 9 9 9{}",
            " 0".repeat(13)
        );
        fs::write(place.join("stat"), stat).unwrap();
        proc.info(5_000_001)
    };
    let is = |is_zombie, is_kernel| {
        Ok(Some(ProcessInfo {
            is_zombie,
            is_kernel,
            started: 4711,
            parent: 1,
        }))
    };
    assert_eq!(info("S", 11, 4_194_304), is(false, false));
    assert_eq!(info("Z", 1, 4_194_304), is(true, false));
    assert_eq!(info("Z", 3, 4_194_304), is(false, false));
    assert_eq!(info("I", 1, 69_238_880), is(false, true));
    fs::write(dir.path().join("5000001/stat"), "5000001 (a) S 1").unwrap();
    assert!(proc.info(5_000_001).is_err(), "cut off");
    assert_eq!(proc.info(5_000_002), Ok(None));
    // It is there, and not shown to this user.
    assert!(proc.info(std::process::id()).is_err());
}

#[test]
fn a_mark_is_of_one_process() {
    let proc = ProcDir::default();
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let (own, theirs) = (std::process::id(), other.id());
    assert!(proc.mark(&[own]).is_some());
    assert_eq!(proc.mark(&[own]), proc.mark(&[own]));
    assert_ne!(proc.mark(&[own]), proc.mark(&[theirs]));
    assert_ne!(proc.mark(&[own]), proc.mark(&[own, theirs]));
    assert_eq!(proc.mark(&[]), None);
    assert_eq!(proc.mark(&[u32::MAX]), None);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(proc.mark(&[theirs]), None);
}

#[test]
fn a_mark_tells_whether_its_processes_have_ended() {
    let proc = ProcDir::default();
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let own = std::process::id();
    let both = proc.mark(&[own, other.id()]).unwrap();
    let theirs = proc.mark(&[other.id()]).unwrap();
    let ended = |mark: &str| have_ended_in(&proc, mark);
    assert_eq!(ended(&theirs), Some(false));
    assert!(is_of_this_boot(&theirs));
    other.kill().unwrap();
    // It was not waited for yet.
    while proc.runs(other.id()) {
        std::thread::yield_now();
    }
    assert_eq!(ended(&theirs), Some(true));
    other.wait().unwrap();
    assert_eq!(ended(&theirs), Some(true));
    assert_eq!(ended(&both), Some(false));
    let started = proc.info(own).unwrap().unwrap().started;
    let boot = boot_id();
    let another_start = format!("{own} {} {boot}", started + 1);
    assert_eq!(ended(&another_start), Some(true));
    // That of a pid file, and of another boot.
    assert_eq!(ended(&format!("{own} 1 {started} {boot}")), None);
    assert_eq!(ended(&format!("{own} {started} another")), Some(true));
    assert!(!is_of_this_boot("7 8 another"));
    // Hidden from this user.
    let dir = tempfile::tempdir().unwrap();
    let hidden = ProcDir::at(dir.path());
    assert_eq!(have_ended_in(&hidden, &proc.mark(&[own]).unwrap()), None);
}

#[test]
fn only_the_start_of_an_environment_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let proc = ProcDir::at(dir.path());
    fs::create_dir(dir.path().join("5000001")).unwrap();
    let file = File::create(dir.path().join("5000001/environ")).unwrap();
    file.set_len(MAX_ENVIRON_BYTES + 1).unwrap();
    let read = proc.environ(5_000_001).unwrap();
    assert_eq!(read.len() as u64, MAX_ENVIRON_BYTES);
    assert_eq!(proc.environ(5_000_002), None);
}

#[test]
fn a_mark_tells_its_processes() {
    let proc = ProcDir::default();
    let own = std::process::id();
    let mark = proc.mark(&[own, own]).unwrap();
    let started = proc.info(own).unwrap().unwrap().started;
    assert_eq!(
        ProcDir::processes_in(&mark),
        [(own, started), (own, started)]
    );
    assert!(proc.is_same(own, started) && !proc.is_same(own, started + 1));
    for other in ["", "7", "7 8 another-boot", "7 8 "] {
        assert_eq!(ProcDir::processes_in(other), [], "{other}");
    }
}

#[test]
fn a_thread_and_this_program_are_no_processes_of_a_log() {
    let (send, receive) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        send.send(fs::read_link("/proc/thread-self").unwrap())
            .unwrap();
        let _ = ended.recv();
    });
    let place: std::path::PathBuf = receive.recv().unwrap();
    let thread_id = place.file_name().unwrap().to_str().unwrap();
    let thread_id: u32 = thread_id.parse().unwrap();
    assert_eq!(runs_since(thread_id, SystemTime::now()), None);
    assert_eq!(runs_since(std::process::id(), SystemTime::now()), None);
    drop(end);
    thread.join().unwrap();
}

/// What a process writes to its log as its number is the one that it has in its own PID namespace.
#[test]
fn a_process_with_another_number_of_its_own_has_written_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("5000001");
    fs::create_dir(&place).unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let since_the_boot = format!(
        "5000001 (a) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 0 9 9 9{}",
        " 0".repeat(13)
    );
    fs::write(place.join("stat"), since_the_boot).unwrap();
    let runs = |ids: &str, by: SystemTime| {
        let line = |line: &str| match line.split_once(':') {
            Some((key @ ("Tgid" | "Pid"), _)) => format!("{key}:\t5000001\n"),
            Some(("NSpid", _)) => format!("NSpid:\t{ids}\n"),
            _ => format!("{line}\n"),
        };
        fs::write(
            place.join("status"),
            own.lines().map(line).collect::<String>(),
        )
        .unwrap();
        runs_since_in(&ProcDir::at(dir.path()), 5_000_001, by)
    };
    let now = SystemTime::now();
    assert_eq!(runs("5000001", now), Some(true));
    assert_eq!(runs("5000001\t5000001", now), Some(true));
    assert_eq!(runs("5000001\t7", now), None);
    assert_eq!(runs("5000001\t40\t7", now), None);
    // It started later: the process of that time has ended.
    assert_eq!(runs("5000001\t7", SystemTime::UNIX_EPOCH), Some(false));
}

#[test]
fn which_mark_names_another_process() {
    let one = "7 100 boot";
    let two = "7 100 8 100 boot";
    for (before, after, another) in [
        (one, one, false),
        (one, "7 200 boot", true),
        (one, "8 100 boot", true),
        (one, "7 100 later", true),
        (one, two, true),
        (two, one, false),
        (two, "8 100 7 100 boot", false),
        (two, "7 100 8 200 boot", true),
        // Of a pid file: with the time of the file.
        ("7 5000 100 boot", "7 5000 100 boot", false),
        ("7 5000 100 boot", "7 6000 100 boot", true),
        ("7 5000 100 boot", "7 5000 200 boot", true),
        ("", one, true),
    ] {
        assert_eq!(names_another(before, after), another, "{before}, {after}");
    }
    let own = ProcDir::default().mark(&[std::process::id()]).unwrap();
    assert!(!names_another(&own, &own) && names_another(one, &own));
}
