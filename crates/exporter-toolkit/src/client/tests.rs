#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECOND: Duration = Duration::from_secs(1);

/// Answers one connection with fixed bytes and returns what was asked.
async fn canned(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        String::from_utf8(asked).unwrap()
    });
    (url, task)
}

#[tokio::test]
async fn sends_what_was_asked_and_reads_the_answer() {
    let (url, asked) = canned(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello").await;
    let headers = [("X-Token".to_owned(), "abc".to_owned())];
    let (status, body) = get(&format!("{url}/a/b?c=d"), &headers, None, SECOND, 5)
        .await
        .unwrap();
    assert_eq!((status, &body[..]), (201, &b"hello"[..]));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("x-token: abc\r\n"), "{asked}");
    assert!(asked.contains("connection: close\r\n"), "{asked}");
}

#[tokio::test]
async fn resolves_names_and_defaults_the_path() {
    let (url, asked) = canned(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let url = url.replace("127.0.0.1", "localhost");
    assert_eq!(get(&url, &[], None, SECOND, 0).await.unwrap().0, 204);
    assert!(asked.await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (url, _) =
        canned(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
            .await;
    assert_eq!(get(&url, &[], None, SECOND, 10).await.unwrap().0, 302);
}

#[tokio::test]
async fn long_answers_are_refused() {
    let (url, _) = canned(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!").await;
    let error = get(&url, &[], None, SECOND, 5).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 5 }));
    let (url, _) = canned(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    )
    .await;
    let error = get(&url, &[], None, SECOND, 5).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 5 }));
}

#[tokio::test]
async fn a_silent_peer_is_given_up_on() {
    let (url, task) = canned(b"").await;
    let error = get(&url, &[], None, Duration::from_millis(100), 5)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    task.abort();
}

#[tokio::test]
async fn broken_peers_are_errors() {
    for answer in [
        &b"garbage\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    ] {
        let (url, _) = canned(answer).await;
        let error = get(&url, &[], None, SECOND, 100).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let error = get(&url, &[], None, SECOND, 5).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn bad_urls_are_refused_without_repeating_them() {
    for url in [
        "",
        "hunter2",
        "127.0.0.1:80/hunter2",
        "ftp://a/hunter2",
        "http:///hunter2",
        "http://a:/hunter2",
        "http://a:99999/hunter2",
        "http://a:0/hunter2",
        "http://a b/hunter2",
        "http://a/\r\nX: hunter2",
        "https://[a/hunter2",
        "http://user:hunter2@a/",
        "http://user:hun ter2@a/",
        "https://hunter2@a",
        "hunter2@a",
    ] {
        let error = get(url, &[], None, SECOND, 5).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("ter2@"), "{shown}");
        if url.starts_with("http") && url.contains('@') {
            assert!(matches!(error, ClientError::UserInfo), "{url}");
        }
    }
    // An @ in the path is no credential.
    for url in [
        "https://a/b",
        "http://a/@b",
        "http://[::1]:8/",
        "http://[::1]/",
    ] {
        assert!(parse_url(url).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn unsafe_headers_are_refused() {
    for (name, value) in [
        ("X", "hunter2\r\nY: z"),
        ("bad name", "hunter2"),
        ("Host", "hunter2"),
        ("Content-Length", "7"),
        ("Transfer-Encoding", "chunked"),
    ] {
        let headers = [(name.to_owned(), value.to_owned())];
        let error = get("http://127.0.0.1:1/", &headers, None, SECOND, 5)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::BadHeader { .. }), "{name}");
        assert!(!error.to_string().contains("hunter2"));
    }
}
