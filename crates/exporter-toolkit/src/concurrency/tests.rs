use super::*;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

#[tokio::test]
async fn places_are_bounded_and_given_back() {
    let limit = ConcurrencyLimit::new(2);
    let first = limit.try_acquire();
    let second = limit.clone().try_acquire();
    assert!(first.is_some() && second.is_some());
    assert!(limit.try_acquire().is_none());
    drop(first);
    assert!(limit.try_acquire().is_some());
    let refusal = limit.refusal();
    assert_eq!(refusal.status(), 503);
    let body = refusal.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        body,
        "Limit of concurrent requests reached (2), try again later.\n"
    );
    let open = ConcurrencyLimit::new(0);
    let all: Vec<_> = (0..100).map(|_| open.try_acquire()).collect();
    assert!(all.iter().all(Option::is_some));
}

#[tokio::test]
async fn work_keeps_its_place_after_the_client_has_gone() {
    let limit = ConcurrencyLimit::new(1);
    let (finish, finished) = oneshot::channel::<()>();
    let mut request = Box::pin(limit.run(async {
        let _ = finished.await;
        text(StatusCode::OK, "")
    }));
    assert!(futures_util::poll!(&mut request).is_pending());
    drop(request);
    assert_eq!(
        limit.run(async { text(StatusCode::OK, "") }).await.status(),
        503
    );
    finish.send(()).unwrap();
    while limit.try_acquire().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        limit.run(async { panic!("on purpose") }).await.status(),
        500
    );
    assert!(limit.try_acquire().is_some());
}
