use super::*;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

fn build(yaml: &str) -> Result<HttpClient, String> {
    serde_saphyr::from_str::<HttpConfig>(yaml)
        .map_err(|error| error.to_string())?
        .build()
}

/// Sends one request and returns its header lines.
async fn asked(client: &HttpClient, status: &'static str) -> (String, Result<Bytes, HttpError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n[]");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    let answer = client.get(&url, Duration::from_secs(10), 100).await;
    (server.await.unwrap(), answer)
}

#[tokio::test]
async fn credentials_are_sent_and_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let token = secret(dir.path(), "token", "first\n");
    let client = build(&format!(
        "authorization: {{credentials_file: {}}}",
        token.display()
    ))
    .unwrap();
    let (header, answer) = asked(&client, "200 OK").await;
    assert!(
        header.contains("authorization: Bearer first\r\n"),
        "{header}"
    );
    assert_eq!(&answer.unwrap()[..], b"[]");
    std::fs::write(&token, "second").unwrap();
    let (header, answer) = asked(&client, "401 Unauthorized").await;
    assert!(
        header.contains("authorization: Bearer second\r\n"),
        "{header}"
    );
    let refused = answer.unwrap_err().to_string();
    assert!(refused.contains("correct authorization"), "{refused}");
    assert!(!refused.contains("second"), "{refused}");

    let password = secret(dir.path(), "password", "b:c");
    let basic = build(&format!(
        "basic_auth: {{username: a, password_file: {}}}",
        password.display()
    ))
    .unwrap();
    let (header, _) = asked(&basic, "200 OK").await;
    let pair = BASE64_STANDARD.encode("a:b:c");
    assert!(
        header.contains(&format!("authorization: Basic {pair}\r\n")),
        "{header}"
    );
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_not_sent() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let token = secret(dir.path(), "token", "first");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let client = build(&format!(
        "authorization: {{credentials_file: {}}}",
        token.display()
    ))
    .unwrap();
    let nowhere = "http://127.0.0.1:1/";
    let error = client
        .get(nowhere, Duration::from_secs(10), 1)
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::Credentials(_)), "{error}");
    assert!(!error.to_string().contains("first"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let client = build("follow_redirects: false").unwrap();
    let status = "302 Found\r\nLocation: http://127.0.0.1:1/elsewhere";
    let (_, answer) = asked(&client, status).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, HttpError::Status(302)), "{error}");
    assert!(error.to_string().contains("not followed"), "{error}");
}

#[test]
fn errors_name_the_key() {
    for (yaml, says) in [
        (
            "authorization: {credentials_file: a}\nbasic_auth: {username: a, password_file: b}",
            "give one of them",
        ),
        (
            "basic_auth: {username: 'a:b', password_file: b}",
            "basic_auth.username",
        ),
        ("tls_config: {cert_file: a}", "cert_file and key_file"),
        ("tls_config: {insecure_skip_verify: true}", "unknown field"),
        ("authorization: {credentials: secret}", "unknown field"),
        ("follow_redirects: true", "follow_redirects"),
    ] {
        let error = build(yaml).unwrap_err();
        assert!(error.contains(says), "{yaml}: {error}");
    }
}
