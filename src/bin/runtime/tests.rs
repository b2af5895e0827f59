use super::*;
use std::time::Instant;

#[test]
fn what_hangs_does_not_keep_the_program() {
    let began = Instant::now();
    let exit = run(async {
        drop(tokio::task::spawn_blocking(|| {
            std::thread::sleep(Duration::from_secs(40))
        }));
        tokio::time::sleep(Duration::from_millis(100)).await;
        ExitCode::from(7)
    });
    assert_eq!(exit, ExitCode::from(7));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}
