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

#[test]
fn steps_are_found_and_what_cannot_be_measured_is_none() {
    let (manual, clock) = manual();
    let (second, hour) = (Duration::from_secs(1), HOUR);
    assert_eq!(clock.steady_for(), None);
    manual.advance(hour * 1_000);
    assert_eq!(clock.steady_for(), None);
    // A leap second.
    manual.set_wall(clock.wall() - second);
    assert_eq!(clock.steady_for(), None);
    // Small steps add up.
    manual.set_wall(clock.wall() - second);
    assert_eq!(clock.steady_for(), None);
    manual.set_wall(clock.wall() - second);
    assert_eq!(clock.steady_for(), Some(Duration::ZERO));
    manual.advance(hour);
    assert_eq!(clock.steady_for(), Some(hour));
    for wall in [clock.wall() + hour, clock.wall() - hour / 2] {
        manual.set_wall(wall);
        assert_eq!(clock.steady_for(), Some(Duration::ZERO));
        manual.advance(second);
        assert_eq!(clock.steady_for(), Some(second));
    }
    assert_eq!(Clock::system().steady_for(), None);
}

#[test]
fn a_reading_that_was_interrupted_is_no_step() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let second = Duration::from_secs;
    let at = |passed: u64, before: u64, after: u64| ClockReading {
        wall: wall + second(passed),
        before: second(before),
        after: second(after),
    };
    // The process slept for a minute within a reading.
    let steps = Steps::default().with(at(0, 10, 70)).with(at(100, 120, 180));
    assert_eq!(steps.steady_for(second(200)), None);
    let steps = steps.with(at(100, 300, 301));
    assert_eq!(steps.steady_for(second(311)), Some(second(10)));
}

#[test]
fn a_step_between_two_processes_is_found() {
    let (start, minute) = (SystemTime::UNIX_EPOCH + HOUR, Duration::from_secs(60));
    let (first, clock) = manual();
    clock.steady_for();
    let earlier = clock.steps();
    // A process that began after `minute`, with a clock that was set by `step` before.
    let later = |step: Duration| {
        let later = ManualClock::new(start + step);
        later.advance(minute);
        later.clock().add_earlier_steps(earlier);
        later
    };
    assert_eq!(later(Duration::ZERO).clock().steady_for(), None);
    let stepped = later(minute * 5);
    assert_eq!(stepped.clock().steady_for(), Some(Duration::ZERO));
    stepped.advance(minute);
    assert_eq!(stepped.clock().steady_for(), Some(minute));
    // Two that agree, whichever read first.
    let own = ManualClock::new(start);
    own.advance(minute);
    own.clock().steady_for();
    first.clock().add_earlier_steps(own.clock().steps());
    own.clock().add_earlier_steps(earlier);
    assert_eq!(first.clock().steady_for(), None);
    assert_eq!(own.clock().steady_for(), None);
    // Two that do not.
    let own = ManualClock::new(start + minute * 5);
    own.clock().steady_for();
    own.clock().add_earlier_steps(earlier);
    assert!(own.clock().steady_for().is_some());
}
