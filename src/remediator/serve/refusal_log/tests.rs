use super::*;

#[test]
fn one_line_a_minute_that_counts_what_was_left_out() {
    let mut limit = LogRateLimit::default();
    let begin = Clock::system().now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    assert_eq!(limit.take(at(0)), Some(0));
    for second in 1..60 {
        assert_eq!(limit.take(at(second)), None);
    }
    assert_eq!(limit.take(at(60)), Some(59));
    assert_eq!(limit.take(at(61)), None);
    assert_eq!(limit.take(at(200)), Some(1));
}
