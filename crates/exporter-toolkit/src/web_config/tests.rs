use super::*;

#[test]
fn a_bucket_fills_with_time() {
    let rate = Rate {
        interval: Duration::from_secs(2),
        burst: 3,
    };
    let mut bucket = TokenBucket::default();
    let began = Instant::now();
    let mut at = |seconds: u64| bucket.take(rate, began + Duration::from_secs(seconds));
    assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
    assert_eq!([at(1), at(2), at(3)], [false, true, false]);
    assert_eq!(
        [at(100), at(100), at(100), at(100)],
        [true, true, true, false]
    );
}
