use super::*;
use supervisor::exec::Exec;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_call_keeps_its_lock_after_this_program_has_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; cat", go.display());
    let argv = ["sh", "-c", &script].map(str::to_owned);
    let lock = CallLock::acquire(dir.path(), "bot", Duration::ZERO).await;
    let held = lock.stdin();
    assert!(held.is_some());
    let call = tokio::spawn(async move { Exec::new(&argv, LONG).stdin(held).read(9).run().await });
    // As if the program had been killed, once the call has begun.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(lock);
    let take = |service, patience| CallLock::acquire(dir.path(), service, patience);
    assert!(
        take("bot", Duration::ZERO).await.file.is_none(),
        "it is still under way"
    );
    assert!(
        take("bot", Duration::from_millis(300)).await.file.is_none(),
        "and waited for in vain"
    );
    assert!(
        take("another", Duration::ZERO).await.file.is_some(),
        "each service has its own"
    );
    let (next, _) = tokio::join!(take("bot", LONG), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        std::fs::write(&go, "").unwrap();
    });
    assert!(next.file.is_some() && next.has_waited, "it has ended");
    let ended = call.await.unwrap().unwrap();
    assert_eq!(
        (ended.code, ended.output),
        (Some(0), Vec::new()),
        "there is nothing to read"
    );
    let nowhere = dir.path().join("nowhere");
    assert!(
        CallLock::acquire(&nowhere, "bot", LONG)
            .await
            .stdin()
            .is_none(),
        "no reason not to call"
    );
}

#[tokio::test]
async fn what_is_held_for_longer_than_a_call_may_take_is_no_call() {
    let seconds = Duration::from_secs;
    assert_eq!(
        patience(seconds(60), seconds(0)),
        seconds(60),
        "a program that has just begun"
    );
    assert_eq!(patience(seconds(60), seconds(20)), seconds(40));
    assert_eq!(
        patience(seconds(60), seconds(3600)),
        SHOWS_WITHIN,
        "an operator's, beside it"
    );
    let dir = tempfile::tempdir().unwrap();
    let locks = CallLocks::new(dir.path());
    let _by_a_bot = locks.try_acquire("bot").await;
    let taken = tokio::time::timeout(LONG, locks.try_acquire("bot"))
        .await
        .unwrap();
    assert!(taken.stdin().is_none() && !taken.has_waited);
}

#[test]
fn its_file_is_private_and_names_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path(), "447700900001");
    for _ in 0..2 {
        open(&path).unwrap();
    }
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    assert!(!path.display().to_string().contains("447700900001"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_somebody_else_has_put_there_is_given_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    let (link, pipe) = (path(dir.path(), "link"), path(dir.path(), "pipe"));
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in [&link, &pipe] {
        assert!(open(path).is_err());
    }
}
