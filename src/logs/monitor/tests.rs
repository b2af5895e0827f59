use super::*;

#[test]
fn the_first_reading_ends() {
    let start = Clock::system().now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut reading = ReadingProgress::new(start);
    assert!(!reading.is_over(false, 1000, at(1)));
    assert!(!reading.is_over(false, 900, at(50)));
    assert!(!reading.is_over(false, 950, at(109)), "it goes on");
    assert!(reading.is_over(false, 900, at(110)), "no more can be read");
    assert!(reading.is_over(true, 0, at(111)), "all is read");
}
