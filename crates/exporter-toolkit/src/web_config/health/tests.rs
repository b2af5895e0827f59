use super::*;

#[test]
fn an_address_that_is_listened_on_can_be_asked() {
    for (listened, asked) in [
        (":10273", "127.0.0.1:10273"),
        ("0.0.0.0:10273", "127.0.0.1:10273"),
        ("[::]:10273", "[::1]:10273"),
        ("[::1]:1", "[::1]:1"),
        ("10.0.0.7:65535", "10.0.0.7:65535"),
        ("bots1.example.org:80", "bots1.example.org:80"),
    ] {
        assert_eq!(reachable(listened).as_deref(), Ok(asked), "{listened}");
    }
    for wrong in ["10273", "", "a:", "a:b", ":0", ":65536"] {
        let error = reachable(wrong).unwrap_err();
        assert!(error.contains("--web.listen-address"), "{error}");
    }
}

#[test]
fn a_web_configuration_that_cannot_be_read_is_an_error() {
    let error = HealthCheck::new(Some(Path::new("/nowhere/web.yml"))).unwrap_err();
    assert!(error.contains("/nowhere/web.yml"), "{error}");
}

#[tokio::test]
async fn an_answer_of_another_status_is_not_healthy() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for status in ["200 OK", "401 Unauthorized", "503 Service Unavailable"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let check = HealthCheck::new(None).unwrap();
    let long = Duration::from_secs(60);
    assert_eq!(check.ask(&address, "/-/healthy", long).await, Ok(()));
    for status in ["401", "503"] {
        let error = check.ask(&address, "/-/healthy", long).await.unwrap_err();
        assert!(error.contains(status), "{error}");
    }
    server.await.unwrap();
    // Nothing listens any more.
    let error = check.ask(&address, "/-/healthy", long).await.unwrap_err();
    assert!(error.contains("refused"), "{error}");
}
