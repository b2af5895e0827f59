use super::*;

#[test]
fn no_file_moves_long_after_the_last_look() {
    let manual = clock::ManualClock::new(std::time::SystemTime::UNIX_EPOCH);
    let halt = Halt {
        clock: manual.clock(),
        ..Halt::default()
    };
    manual.advance(MOVES_WITHIN * 100);
    assert!(halt.permit().is_some(), "a person forced it");
    halt.confirm();
    for _ in 0..10 {
        manual.advance(MOVES_WITHIN);
        let permit = halt.permit().unwrap();
        assert!(permit.was_in_time(), "one follows the other");
    }
    let permit = halt.permit().unwrap();
    manual.advance(MOVES_WITHIN + Duration::from_millis(1));
    assert!(
        !permit.was_in_time(),
        "frozen between the check and the move"
    );
    drop(permit);
    assert!(halt.permit().is_none());
    halt.confirm();
    assert!(halt.permit().is_some(), "looked at again");
    halt.halt();
    assert!(halt.permit().is_none());
}
