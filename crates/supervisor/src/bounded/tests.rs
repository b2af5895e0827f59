use super::*;
use std::sync::mpsc;

#[tokio::test]
async fn tasks_that_hang_do_not_pile_up() {
    static HUNG: BoundedBlocking = BoundedBlocking::new();
    let soon = Duration::from_millis(20);
    let mut gates = Vec::new();
    // One that was given up before it began is not left behind.
    while gates.len() < 1000 {
        let (gate, hangs) = mpsc::channel::<()>();
        gates.push(gate);
        let said = HUNG
            .within("it", soon, move || Ok(hangs.recv().is_ok()))
            .await;
        if said.unwrap_err() != "it took longer than 20ms" {
            break;
        }
    }
    assert!(
        (MAX_LEFT_BEHIND as usize..1000).contains(&gates.len()),
        "{}",
        gates.len()
    );
    assert_eq!(HUNG.left_behind.load(Ordering::SeqCst), MAX_LEFT_BEHIND);
    let later = Duration::from_secs(60);
    let said = HUNG.within("it", later, || Ok(())).await;
    assert_eq!(
        said.unwrap_err(),
        "it was not tried: earlier ones have not come back"
    );
    // They come back.
    gates.clear();
    for _ in 0..1000 {
        if HUNG.left_behind.load(Ordering::SeqCst) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(HUNG.within("it", later, || Ok(7)).await, Ok(7));
    assert_eq!(
        HUNG.within("it", later, || Err::<(), _>("no".into()))
            .await
            .unwrap_err(),
        "no"
    );
    assert_eq!(
        HUNG.left_behind.load(Ordering::SeqCst),
        0,
        "what came back in time was never left behind"
    );
}
