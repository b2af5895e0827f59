use super::*;
use std::fs;
use std::time::Instant;

/// Longer than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Repeats an action until a wake-up reports it.
async fn woken(notifier: &Arc<Notifier>, act: impl Fn(u32), says: fn(&Wakeup) -> bool) -> bool {
    let began = Instant::now();
    for n in 0.. {
        act(n);
        let notifier = Arc::clone(notifier);
        let wait = move || notifier.wait(Duration::from_millis(100));
        if says(&tokio::task::spawn_blocking(wait).await.unwrap()) {
            return true;
        }
        if began.elapsed() > PATIENCE {
            break;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_renames_wake() {
    // Without inotify there is nothing to test here; see the next test.
    let Ok(events) = MuxedEvents::new() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (log, rotated) = (dir.path().join("a.log"), dir.path().join("b.log"));
    fs::write(&log, "x\n").unwrap();
    let notifier = Arc::new(Notifier::default());
    let directories = BTreeSet::from([dir.path().to_owned(), dir.path().join("not there")]);
    let _watcher = DirectoryWatcher::start_with(
        || Ok(events),
        &Handle::current(),
        directories,
        Arc::clone(&notifier),
    );
    let write = |_| fs::write(&log, "x\ny\n").unwrap();
    assert!(woken(&notifier, write, |w| w.any).await);
    let rename = |n: u32| {
        let (from, to) = if n.is_multiple_of(2) {
            (&log, &rotated)
        } else {
            (&rotated, &log)
        };
        fs::rename(from, to).unwrap();
    };
    assert!(woken(&notifier, rename, |w| w.names).await);
    assert!(notifier.take_events() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_inotify_only_calls_wake() {
    let dir = tempfile::tempdir().unwrap();
    let notifier = Arc::new(Notifier::default());
    let mut watcher = DirectoryWatcher::start_with(
        || Err(io::Error::from_raw_os_error(24)),
        &Handle::current(),
        BTreeSet::from([dir.path().to_owned()]),
        Arc::clone(&notifier),
    );
    // The watch ends and does not try again.
    tokio::time::timeout(PATIENCE, &mut watcher.task)
        .await
        .unwrap()
        .unwrap();
    fs::write(dir.path().join("a.log"), "x\n").unwrap();
    assert_eq!(notifier.wait(Duration::ZERO), Wakeup::default());
    notifier.call();
    assert!(notifier.wait_for_call(PATIENCE).called);
    assert_eq!(notifier.wait_for_call(Duration::ZERO), Wakeup::default());
}
