use clock::ManualClock;

use super::*;

const RATE: Rate = Rate {
    interval: Duration::from_secs(2),
    burst: 3,
};

#[test]
fn a_bucket_fills_with_time() {
    let mut bucket = TokenBucket::default();
    let began = Clock::system().now();
    let mut at = |seconds: u64| bucket.take(RATE, began + Duration::from_secs(seconds));
    assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
    assert_eq!([at(1), at(2), at(3)], [false, true, false]);
    assert_eq!(
        [at(100), at(100), at(100), at(100)],
        [true, true, true, false]
    );
}

#[test]
fn one_too_many_gets_a_time_to_retry() {
    let time = ManualClock::new(std::time::UNIX_EPOCH);
    let limit = RateLimit::new(RATE, time.clock());
    for _ in 0..RATE.burst {
        assert!(limit.refusal().is_none());
    }
    let refusal = limit.refusal().unwrap();
    assert_eq!(refusal.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refusal.headers()[RETRY_AFTER], "2");
    time.advance(RATE.interval);
    assert!(limit.refusal().is_none());
    assert!(limit.refusal().is_some());
}
