use super::*;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn the_key_is_read_at_each_ask() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let write = |key: &str, mode: u32| {
        std::fs::write(&path, key).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("first", 0o600);
    let probe = HttpProbe::preset("wppconnect", &base, "{session}", None).unwrap();
    let probe = probe
        .header(None, &path.display().to_string(), None)
        .unwrap();
    assert!(!format!("{probe:?}").contains("first"));
    let session = SessionName::from_dir(OsStr::new("bot"));
    for (key, sent) in [
        ("first\n", "Bearer first"),
        ("Bearer second", "Bearer second"),
    ] {
        write(key, 0o600);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"status\": true}";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        };
        let clock = Clock::system();
        let (said, request) =
            tokio::join!(probe.ask(&session, Duration::from_secs(5), &clock), server);
        let told = "wppconnect answered true: connected".to_owned();
        assert_eq!(said, Ok((Finding::Connected, told)));
        assert!(
            request.starts_with("GET /api/bot/check-connection-session HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("authorization: {sent}\r\n")),
            "{request}"
        );
    }
    // A key that was taken for a path.
    for pasted in [
        "/TOPSECRET123=".to_owned(),
        format!("/{}", "TOPSECRET123".repeat(40)),
    ] {
        let problem = HttpProbe::preset("waha", &base, "{session}", None)
            .and_then(|probe| probe.header(None, &pasted, None))
            .unwrap()
            .problem()
            .unwrap();
        assert!(
            problem.contains("the file named by connection.http.header.file"),
            "{problem}"
        );
        assert!(!problem.contains("TOPSECRET123"), "{problem}");
        let error = read_key(Path::new(&pasted)).unwrap_err();
        assert!(!error.contains("TOPSECRET123"), "{error}");
    }
    for mode in [0o644, 0o640, 0o620] {
        write("third", mode);
        let said = probe
            .ask(&session, Duration::from_secs(5), &Clock::system())
            .await
            .unwrap_err();
        assert!(
            said.contains("chmod 0600 ") && !said.contains("third"),
            "{said}"
        );
    }
}
