use super::*;

const INTERVAL: Duration = Duration::from_secs(30);

fn ms(busy: u32, random: f64) -> u128 {
    pause(INTERVAL, busy, random).as_millis()
}

#[test]
fn a_regular_pause_is_the_interval_shifted_by_a_tenth() {
    assert_eq!(
        [0.0, 0.5, 1.0].map(|random| ms(0, random)),
        [27_000, 30_000, 33_000]
    );
    // Whatever the source of random numbers gives.
    assert_eq!([-1.0, 7.0].map(|random| ms(0, random)), [27_000, 33_000]);
}

#[test]
fn a_busy_alertmanager_is_asked_again_with_backoff_and_jitter() {
    for (busy, expected) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000)] {
        assert_eq!(ms(busy, 0.0), expected / 2);
        assert_eq!(ms(busy, 0.5), expected);
        assert_eq!(ms(busy, 1.0), expected * 3 / 2);
    }
}

#[test]
fn the_retries_are_bounded() {
    for busy in [5, 6, 1_000, u32::MAX] {
        assert_eq!(ms(busy, 0.5), 30_000, "{busy}");
    }
    // All of them together take less than an interval.
    let all: u128 = (1..=4).map(|busy| ms(busy, 1.0)).sum();
    assert!(all < INTERVAL.as_millis(), "{all}");
}

#[test]
fn a_retry_never_comes_later_than_the_next_poll() {
    for seconds in [1, 2, 5, 3_600] {
        let interval = Duration::from_secs(seconds);
        for busy in 0..8 {
            for random in [0.0, 0.3, 1.0] {
                let early = pause(interval, busy, random);
                assert!(early <= pause(interval, 0, random), "{interval:?} {busy}");
                assert!(early >= Duration::from_millis(500), "{interval:?} {busy}");
            }
        }
    }
}
