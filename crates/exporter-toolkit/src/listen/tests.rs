#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use tokio::net::TcpStream;

#[tokio::test]
async fn addresses_that_work() {
    for address in ["127.0.0.1:0", "localhost:0", ":0", "[::1]:0"] {
        match bind(&[address.to_owned()]).await {
            Ok(listeners) => {
                let port = listeners[0].local_addr().unwrap().port();
                if address != "[::1]:0" {
                    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                }
            }
            // A machine without IPv6.
            Err(error) => assert!(address == "[::1]:0", "{error}"),
        }
    }
}

#[tokio::test]
async fn addresses_that_do_not_work() {
    for address in [
        "",
        "10273",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:70000",
        "127.0.0.1:-1",
        "::1:80",
        "[::1:80",
        "[nonsense]:80",
        "http://a:80",
        "a b:80",
    ] {
        let error = bind(&[address.to_owned()]).await.unwrap_err();
        assert!(
            matches!(error, BindError::Syntax { .. }),
            "{address}: {error}"
        );
        assert!(error.to_string().contains("--web.listen-address"));
    }
    assert!(matches!(bind(&[]).await, Err(BindError::NoAddress)));
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = held.local_addr().unwrap().port();
    for address in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!(":{port}"),
    ] {
        let error = bind(std::slice::from_ref(&address)).await.unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        let shown = error.to_string();
        assert!(
            shown.contains(&address) && shown.contains("--web.listen-address"),
            "{shown}"
        );
    }
    // Not an address of this machine.
    let error = bind(&["192.0.2.1:0".to_owned()]).await.unwrap_err();
    assert!(matches!(error, BindError::Other { .. }), "{error}");
}
