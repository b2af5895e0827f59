use super::*;
use crate::checkpoint::Changes;
use crate::lines::Consumer;
use crate::paths::LogGlob;
use crate::sink::{Orders, Progress};
use std::path::Path;
use std::sync::Mutex;

use crate::checkpoint::Saved;
use crate::lines::Block;

/// What a server did, as another thread sees it.
#[derive(Debug, Default)]
struct Seen {
    stop: bool,
    refuse: bool,
    read: u64,
    saved: u64,
    offset: u64,
    backlog: Option<u64>,
    /// The time that was last shown with all of it saved.
    shown_at: Option<SystemTime>,
    panic: bool,
}

#[derive(Debug, Default)]
struct TestSink(Arc<Mutex<Seen>>);

impl Consumer for TestSink {
    fn lines(&mut self, block: Block<'_>) {
        let panic = self.0.lock().unwrap().panic;
        assert!(!panic, "as asked for");
        self.0.lock().unwrap().read += block.lines.len() as u64;
    }

    fn begin_copy(&mut self) {}

    fn end_copy(&mut self, _complete: bool) {}

    fn is_of_another(&self, _path: &Path, _origin: &Path) -> bool {
        false
    }
}

impl Sink for TestSink {
    fn orders(&mut self) -> Orders {
        Orders {
            stop: self.0.lock().unwrap().stop,
            globs: None,
            commit: false,
        }
    }

    fn report(&mut self, problems: Vec<String>) {
        assert_eq!(problems, Vec::<String>::new());
    }

    fn is_dirty(&self) -> bool {
        let seen = self.0.lock().unwrap();
        seen.read > seen.saved
    }

    fn commit(&mut self, changes: &Changes) -> bool {
        let mut seen = self.0.lock().unwrap();
        if seen.refuse {
            return false;
        }
        seen.saved = seen.read;
        if let Some((_, checkpoint)) = changes.files.first() {
            seen.offset = checkpoint.offset;
        }
        if let Some((_, position)) = changes.moved.first() {
            seen.offset = position.offset;
        }
        true
    }

    fn show(&mut self, progress: &Progress<'_>, saved: bool) {
        let mut seen = self.0.lock().unwrap();
        seen.backlog = (!saved).then_some(progress.uncommitted_bytes);
        if saved {
            seen.shown_at = Some(progress.at);
        }
    }
}

/// Has the server look again and again, until this holds.
fn look_until(seen: &Mutex<Seen>, notifier: &Notifier, what: &str, done: &dyn Fn(&Seen) -> bool) {
    let began = Instant::now();
    while !done(&seen.lock().unwrap()) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{what}: {seen:?}"
        );
        notifier.call();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_saved_is_saved_later_and_at_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    std::fs::write(&path, "one\n").unwrap();
    let globs = vec![LogGlob::new(&path.display().to_string()).unwrap()];
    let seen = Arc::new(Mutex::new(Seen {
        refuse: true,
        ..Seen::default()
    }));
    let (clock, notifier) = (Clock::system(), Arc::new(Notifier::default()));
    let sink = TestSink(Arc::clone(&seen));
    let follower = Follower::new(sink, globs, true, Saved::default(), 10, clock.clone());
    let server = Tailer::new(follower, Arc::clone(&notifier), Handle::current(), clock);
    let thread = std::thread::spawn(move || server.run());
    let wait = |what: &str, done: &dyn Fn(&Seen) -> bool| {
        look_until(&seen, &notifier, what, done);
    };
    wait("a failure to save is reported", &|seen| {
        seen.backlog == Some(4)
    });
    assert_eq!(seen.lock().unwrap().offset, 0);
    seen.lock().unwrap().refuse = false;
    wait("it is saved later", &|seen| {
        (seen.saved, seen.offset) == (4, 4)
    });
    // The last lines are saved before the thread ends.
    std::fs::write(&path, "one\ntwo\n").unwrap();
    seen.lock().unwrap().stop = true;
    notifier.call();
    thread.join().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((seen.read, seen.saved, seen.offset), (8, 8, 8));
}

/// An alert fires when the time does not change for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn the_shown_time_changes_with_nothing_to_save_and_stays_when_saving_fails_or_the_thread_ends()
 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    std::fs::write(&path, "").unwrap();
    let globs = vec![LogGlob::new(&path.display().to_string()).unwrap()];
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (clock, notifier) = (Clock::system(), Arc::new(Notifier::default()));
    let sink = TestSink(Arc::clone(&seen));
    let follower = Follower::new(sink, globs, true, Saved::default(), 10, clock.clone());
    let server = Tailer::new(follower, Arc::clone(&notifier), Handle::current(), clock);
    assert_eq!(seen.lock().unwrap().shown_at, Some(SystemTime::UNIX_EPOCH));
    let thread = std::thread::spawn(move || server.run());
    let wait = |what: &str, done: &dyn Fn(&Seen) -> bool| {
        look_until(&seen, &notifier, what, done);
    };
    for _ in 0..3 {
        let before = seen.lock().unwrap().shown_at;
        wait("a look at a quiet log", &|seen| seen.shown_at > before);
    }
    seen.lock().unwrap().refuse = true;
    std::fs::write(&path, "one\n").unwrap();
    wait("a failure to save", &|seen| seen.backlog == Some(4));
    let stays_at = seen.lock().unwrap().shown_at;
    let began = Instant::now();
    while began.elapsed() < 2 * COMMIT {
        notifier.call();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(seen.lock().unwrap().shown_at, stays_at, "not saved");
    }
    seen.lock().unwrap().refuse = false;
    wait("it is saved", &|seen| seen.shown_at > stays_at);
    seen.lock().unwrap().panic = true;
    std::fs::write(&path, "one\ntwo\n").unwrap();
    notifier.call();
    assert!(thread.join().is_err(), "it panicked");
    let stays_at = seen.lock().unwrap().shown_at;
    notifier.call();
    std::thread::sleep(BEAT);
    assert_eq!(seen.lock().unwrap().shown_at, stays_at);
}
