use std::time::{Duration, SystemTime};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn manual() -> (ManualClock, Clock) {
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH + HOUR);
    let clock = manual.clock();
    (manual, clock)
}

#[test]
fn a_manual_clock_stands_still_until_it_is_advanced() {
    let (manual, clock) = manual();
    let (start, boot) = (clock.now(), clock.boot());
    assert_eq!(clock.since(start), Duration::ZERO);
    manual.advance(HOUR);
    assert_eq!(clock.since(start), HOUR);
    assert_eq!(clock.wall(), SystemTime::UNIX_EPOCH + 2 * HOUR);
    assert_eq!(clock.boot(), boot + HOUR);
}

#[test]
fn a_step_of_wall_time_changes_nothing_else() {
    let (manual, clock) = manual();
    let (start, boot) = (clock.now(), clock.boot());
    manual.set_wall(SystemTime::UNIX_EPOCH);
    assert_eq!(clock.wall(), SystemTime::UNIX_EPOCH);
    assert_eq!((clock.now(), clock.boot()), (start, boot));
}

#[tokio::test]
async fn a_task_wakes_at_its_deadline_and_not_before() {
    let (manual, clock) = manual();
    let task = tokio::spawn(async move { clock.sleep(HOUR).await });
    manual.wait_for_sleepers(1).await;
    manual.advance(HOUR - Duration::from_nanos(1));
    manual.set_wall(SystemTime::UNIX_EPOCH + 100 * HOUR);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    assert_eq!(manual.sleepers(), 1);
    manual.advance(Duration::from_nanos(1));
    task.await.unwrap();
    assert_eq!(manual.sleepers(), 0);
}

#[test]
fn a_thread_wakes_at_its_deadline() {
    let (manual, clock) = manual();
    let start = clock.now();
    let sleeper = clock.clone();
    let thread = std::thread::spawn(move || {
        sleeper.block(HOUR);
        sleeper.since(start)
    });
    while manual.sleepers() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(manual.next_deadline(), Some(start + HOUR));
    manual.advance(2 * HOUR);
    assert_eq!(thread.join().unwrap(), 2 * HOUR);
}

#[tokio::test]
async fn a_timeout_drops_the_work() {
    let (manual, clock) = manual();
    assert_eq!(clock.timeout(HOUR, async { 7 }).await, Ok(7));
    let waits = clock.timeout(HOUR, std::future::pending::<()>());
    let (result, ()) = tokio::join!(waits, async {
        manual.wait_for_sleepers(1).await;
        manual.advance(HOUR);
    });
    assert_eq!(result, Err(TimedOut));
    assert_eq!(manual.sleepers(), 0);
}

#[tokio::test]
async fn the_system_clock_sleeps() {
    let clock = Clock::system();
    let (start, boot) = (clock.now(), clock.boot());
    clock.sleep(Duration::from_millis(2)).await;
    clock.block(Duration::from_millis(2));
    assert!(clock.since(start) >= Duration::from_millis(4));
    assert!(clock.boot() > boot);
    assert!(clock.wall() > SystemTime::UNIX_EPOCH + 1_000_000 * HOUR / 3);
}

#[tokio::test]
async fn a_fast_clock_is_faster_on_every_clock() {
    let (wall, fast) = (SystemTime::now(), Clock::fast(1000));
    let (start, boot) = (fast.now(), fast.boot());
    fast.sleep(Duration::from_secs(30)).await;
    fast.sleep_until(start + Duration::from_secs(40)).await;
    fast.block(Duration::from_secs(10));
    let slept = Duration::from_secs(50);
    assert!(fast.since(start) >= slept && fast.boot() - boot >= slept);
    assert!(fast.wall().duration_since(wall).unwrap() >= slept);
    let late = fast.timeout(slept, std::future::pending::<()>()).await;
    assert_eq!(late, Err(TimedOut));
}
