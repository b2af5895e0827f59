use super::*;
use std::ffi::OsStr;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn session(name: &str) -> SessionName {
    SessionName::from_dir(OsStr::new(name))
}

async fn ask(line: &str) -> (Finding, String) {
    let probe = Probe::command_line(line, None).unwrap();
    let evidence = probe
        .ask(
            &session("company_962302"),
            Duration::from_secs(2),
            &Clock::system(),
        )
        .await;
    (evidence.finding, evidence.detail)
}

#[tokio::test]
async fn a_command_must_say_it_in_so_many_words() {
    for (line, finding) in [
        ("echo connected", Finding::Connected),
        ("printf disconnected", Finding::Disconnected),
        (
            "sh -c 'test \"$0\" = company_962302 && echo disconnected' {session}",
            Finding::Disconnected,
        ),
        ("true", Finding::Unreachable),
        ("false", Finding::Unreachable),
        ("sh -c 'exit 7'", Finding::Unreachable),
        (
            "sh -c 'echo connect ECONNREFUSED >&2; exit 1'",
            Finding::Unreachable,
        ),
        (
            "sh -c 'echo \"curl: (7) Failed to connect\" >&2; exit 4'",
            Finding::Unreachable,
        ),
        (
            "sh -c 'echo \"curl: (22) error: 500\" >&2; exit 4'",
            Finding::NoAnswer,
        ),
        (
            "sh -c 'echo \"access refused: wrong key\" >&2; exit 1'",
            Finding::NoAnswer,
        ),
        (
            "sh -c 'echo \"connection refused: 403 forbidden\" >&2; exit 1'",
            Finding::NoAnswer,
        ),
        (
            "sh -c 'echo \"curl: (28) timed out, 1 refused\" >&2; exit 4'",
            Finding::NoAnswer,
        ),
        ("sh -c 'echo broken >&2; exit 1'", Finding::NoAnswer),
        ("sh -c 'exit 126'", Finding::NoAnswer),
        ("sh -c 'exit 127'", Finding::NoAnswer),
        ("sh -c 'echo; exit 1'", Finding::NoAnswer),
        ("sh -c 'echo disconnected; exit 1'", Finding::NoAnswer),
        ("echo Disconnected", Finding::NoAnswer),
        ("echo ' disconnected'", Finding::NoAnswer),
        ("printf 'disconnected\\n\\n'", Finding::NoAnswer),
        ("printf 'disconnected\\nconnected\\n'", Finding::NoAnswer),
        ("sh -c 'kill -9 $$'", Finding::NoAnswer),
        ("/no/such/program", Finding::NoAnswer),
        ("yes disconnected", Finding::NoAnswer),
        ("echo '$(echo disconnected)'", Finding::NoAnswer),
    ] {
        let (found, detail) = ask(line).await;
        assert_eq!(found, finding, "{line}: {detail}");
    }
}

/// Neither a whole name nor a part of one that a group captured is an option.
#[tokio::test]
async fn no_name_that_begins_with_a_dash_reaches_a_command() {
    let pattern = Regex::new("(?<a>x?)(?<b>.+)").unwrap();
    for (word, name, is_asked) in [
        ("{session}", "-rf", false),
        ("--name={session}", "-rf", false),
        ("{a}{b}", "-rf", false),
        ("{a}-{b}", "rf", false),
        ("bot-{b}", "x-rf", false),
        ("{a}-{b}", "xrf", true),
        ("--name={session}", "rf-", true),
    ] {
        let argv = ["echo", "connected", word].map(str::to_owned);
        let probe = Probe::command(&argv, Some(&pattern)).unwrap();
        let evidence = probe
            .ask(&session(name), Duration::from_secs(20), &Clock::system())
            .await;
        let was_asked = !evidence.detail.contains("was not asked");
        assert_eq!(was_asked, is_asked, "{word} {name}: {}", evidence.detail);
    }
}

#[test]
fn variables_are_named_without_a_value() {
    for (name, is_fine) in [
        ("PM2_HOME", true),
        ("", false),
        ("A=b", false),
        ("A\0", false),
    ] {
        let probe = Probe::command_line("check", None).unwrap();
        assert_eq!(
            probe.with_env(&[name.to_owned()]).is_ok(),
            is_fine,
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn an_error_says_what_the_command_did() {
    for (line, says) in [
        ("sh -c 'exit 3'", "the command exited with 3"),
        (
            "sh -c 'echo >&2; echo no route to bot >&2; echo more >&2; exit 5'",
            "the command exited with 5; its error: no route to bot",
        ),
        (
            "sh -c 'echo the token: TOPSECRET123 is old >&2; echo what'",
            "the command printed neither `connected` nor `disconnected`; its error: the token: …",
        ),
        (
            "sh -c 'echo no chat with 447700900123 >&2; kill -9 $$'",
            "the command was ended by a signal; its error: no chat with …",
        ),
        (
            "/no/such/program",
            "the command cannot be started: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(ask(line).await.1, says, "{line}");
    }
}

#[tokio::test]
async fn a_command_that_says_a_lot_on_standard_error_is_heard_out() {
    let line = "sh -c 'yes refused | head -c 1000000 >&2; echo connected'";
    let (finding, detail) = ask(line).await;
    assert_eq!(finding, Finding::Connected, "{detail}");
    // What it leaves running holds its standard error.
    let (finding, detail) = ask("sh -c 'sleep 3 >&- & echo disconnected'").await;
    assert_eq!(finding, Finding::Disconnected, "{detail}");
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_with_its_children() {
    let marker = format!("{}.5", 70_000 + std::process::id() % 1000);
    let probe = Probe::command_line(&format!("sh -c 'sleep {marker} & wait'"), None).unwrap();
    let began = Instant::now();
    let evidence = probe
        .ask(&session("a"), Duration::from_millis(200), &Clock::system())
        .await;
    assert_eq!(evidence.finding, Finding::NoAnswer);
    assert!(
        evidence.detail.contains("longer than 200ms"),
        "{}",
        evidence.detail
    );
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "it does not wait for the sleep"
    );
    let is_gone = || {
        std::fs::read_dir("/proc").unwrap().flatten().all(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            !line.starts_with(b"sleep") || !String::from_utf8_lossy(&line).contains(&marker)
        })
    };
    for _ in 0..100 {
        if is_gone() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the child of the probe is still running");
}

async fn serve(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let n = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..n])
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    (url, task)
}

#[tokio::test]
async fn http_answers() {
    let pattern = Regex::new(r"company_(?<id>\d+)").unwrap();
    let ok = |body: &str| -> &'static str {
        Box::leak(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_boxed_str(),
        )
    };
    for (answer, finding) in [
        (ok(r#"{"status":{"connected":true}}"#), Finding::Connected),
        (
            ok(r#"{"status":{"connected":false}}"#),
            Finding::Disconnected,
        ),
        (ok(r#"{"status":{"connected":"false"}}"#), Finding::NoAnswer),
        (ok(r#"{"status":{"connected":null}}"#), Finding::NoAnswer),
        (ok(r#"{"error":"not found"}"#), Finding::NoAnswer),
        (ok("disconnected"), Finding::NoAnswer),
        (ok(""), Finding::NoAnswer),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 30\r\n\r\n{\"status\":{\"connected\":false}}\n",
            Finding::NoAnswer,
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            Finding::NoAnswer,
        ),
        ("nonsense\r\n\r\n", Finding::NoAnswer),
    ] {
        let (url, server) = serve(answer).await;
        let probe = Probe::http(
            &format!("{url}/webhook/whatsapp/baileys/status/{{id}}?n={{session}}"),
            "/status/connected",
            vec![true.into()],
            vec![false.into()],
            Some(&pattern),
        )
        .unwrap();
        let evidence = probe
            .ask(
                &session("company_962302"),
                Duration::from_secs(5),
                &Clock::system(),
            )
            .await;
        assert_eq!(evidence.finding, finding, "{answer}: {}", evidence.detail);
        let line = server.await.unwrap();
        assert_eq!(
            line,
            "GET /webhook/whatsapp/baileys/status/962302?n=company_962302 HTTP/1.1"
        );
        // Another session's name that merely contains the pattern is not asked for.
        let evidence = probe
            .ask(
                &session("old_company_962302"),
                Duration::from_secs(5),
                &Clock::system(),
            )
            .await;
        assert_eq!(evidence.finding, Finding::NoAnswer);
    }
}

#[tokio::test]
async fn no_listener_and_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let probe =
        |url: &str| Probe::http(url, "", vec![true.into()], vec![false.into()], None).unwrap();
    let silent = probe(&url)
        .ask(&session("a"), Duration::from_millis(100), &Clock::system())
        .await;
    assert_eq!(silent.finding, Finding::NoAnswer, "{}", silent.detail);
    drop(listener);
    let refused = probe(&url)
        .ask(&session("a"), Duration::from_secs(2), &Clock::system())
        .await;
    assert_eq!(refused.finding, Finding::Unreachable, "{}", refused.detail);
}

#[test]
fn templates() {
    let pattern = Regex::new(r"company_(?<id>\d+)").unwrap();
    let fill = |text: &str, name: &str| {
        SessionTemplate::parse(text, Some(&pattern))
            .unwrap()
            .fill(&session(name), |v| v.replace('/', "%2F"))
    };
    assert_eq!(fill("a {id} {{x}}", "company_7").unwrap(), "a 7 {x}");
    assert_eq!(fill("{session}", "x").unwrap(), "x");
    assert!(
        fill("{session}", "-rf").is_err(),
        "no name is ever taken for an option"
    );
    assert_eq!(fill("--name={session}", "-rf").unwrap(), "--name=-rf");
    assert!(SessionTemplate::parse("{nope}", Some(&pattern)).is_err());
    assert!(SessionTemplate::parse("{id}", None).is_err());
    assert!(SessionTemplate::parse("{", None).is_err());
    let refused = |text: &str| SessionTemplate::parse(text, None).unwrap_err().0;
    assert!(refused("a{{{nope_1}").starts_with("nothing fills {nope_1} at byte 3; "));
    assert!(refused("abc}").starts_with("a single `}` stands at byte 3; "));
    assert!(refused("{}").contains("what stands in the braces at byte 0"));
    assert!(!refused(&format!("{{{}}}", "x".repeat(41))).contains("xxx"));
    let http = |url: &str| {
        Probe::http(
            url,
            "/a",
            vec![true.into()],
            vec![false.into()],
            Some(&pattern),
        )
        .map(|_| ())
        .map_err(|e| e.0)
    };
    assert!(http("http://localhost:3000/{id}").is_ok());
    assert!(http("https://localhost/{id}").is_ok());
    assert!(
        http("https://{id}/")
            .unwrap_err()
            .contains("without a placeholder in the host")
    );
    assert!(
        http("http://{session}/")
            .unwrap_err()
            .contains("without a placeholder in the host")
    );
    assert!(http("{session}").is_err());
    for word in ["-{session}", "--{id}"] {
        let argv = ["check".to_owned(), word.to_owned()];
        let error = Probe::command(&argv, Some(&pattern)).unwrap_err().0;
        assert!(
            error.starts_with("word 2 of the connection command"),
            "{error}"
        );
    }
    for (line, says) in [
        (
            r#"curl -d '{"token": "TOPSECRET123"}'"#,
            "word 3 of the connection command: nothing fills what",
        ),
        (
            "check TOPSECRET123{id}",
            "word 2 of the connection command: nothing fills {id} at byte 12",
        ),
        (
            "check TOPSECRET123}",
            "word 2 of the connection command: a single `}` stands at byte 12",
        ),
        (
            "TOPSECRET123{ -x",
            "word 1 of the connection command: a single `{`",
        ),
    ] {
        let error = Probe::command_line(line, None).unwrap_err().0;
        assert!(
            error.starts_with(says) && !error.contains("TOPSECRET123"),
            "{error}"
        );
    }
    for url in [
        "http://u:TOPSECRET123@h/{nope}",
        "http://h/?key=TOPSECRET123&i={nope}",
        "http://h/{TOPSECRET 123}",
        "http://h/TOPSECRET123{",
        "TOPSECRET123",
        "https://h/TOPSECRET123{",
        "{session}TOPSECRET123",
    ] {
        let error = http(url).unwrap_err();
        assert!(
            error.starts_with("connection.http.url") && !error.contains("TOPSECRET"),
            "{error}"
        );
        let error = Probe::preset("waha", url, "{session}", None).unwrap_err().0;
        assert!(
            error.starts_with("connection.http.base_url") && !error.contains("TOPSECRET"),
            "{error}"
        );
    }
    assert!(Probe::command_line("echo 'x", None).is_err());
    assert!(Probe::command_line("", None).is_err());
}
