use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test]
async fn a_mount_that_hangs_costs_few_threads_and_no_request_its_answer() {
    let readers = Arc::new(Semaphore::new(READERS));
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let (hangs, began) = (Arc::new(Mutex::new(hangs)), Arc::new(AtomicUsize::new(0)));
    let soon = Duration::from_millis(100);
    let asks: Vec<_> = (0..100)
        .map(|_| {
            let (readers, hangs, began) =
                (Arc::clone(&readers), Arc::clone(&hangs), Arc::clone(&began));
            tokio::spawn(async move {
                let hang = move || {
                    began.fetch_add(1, Ordering::SeqCst);
                    let _ = hangs.lock().map(|hangs| hangs.recv());
                };
                bounded(&readers, soon, hang).await
            })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap(), None);
    }
    assert_eq!(began.load(Ordering::SeqCst), READERS);
    assert_eq!(bounded(&readers, soon, || 1).await, None, "it still hangs");
    drop(release);
    assert_eq!(
        bounded(&readers, Duration::from_secs(20), || 1).await,
        Some(1)
    );
}
